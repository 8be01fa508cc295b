"""Sphinx: these pages, and the reference made from docstrings.

`make docs` builds them; tests/test_docs_build.py does so with every warning an error.
Nothing is fetched: names of other packages stay plain text.
"""

import os
import pathlib
import shutil
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
_DOCS = pathlib.Path(__file__).resolve().parent
_ROOT = _DOCS.parent
sys.path.insert(0, str(_ROOT))

import tf_dvdgan  # noqa: E402

project = "tf_dvdgan"
author = "The tf_dvdgan authors"
copyright = author
release = tf_dvdgan.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "myst_parser"]
exclude_patterns = ["_build"]
default_role = "code"  # `x` in a docstring is code, as it is in Markdown
smartquotes = False  # would make a dash of --flag
html_theme = "furo"
html_title = "tf_dvdgan"
myst_heading_anchors = 3

autodoc_default_options = {
    "members": True,
    "ignore-module-all": True,  # each object stands once, where it is written
    "member-order": "bysource",
    "show-inheritance": True,
}
autodoc_inherit_docstrings = False  # Keras's say nothing of our layers
autodoc_preserve_defaults = True
autodoc_mock_imports = ["jax"]  # is in an environment of its own
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # dataclasses would have their attributes twice

# With nitpick on, every reference into the project must lead somewhere.
nitpick_ignore_regex = [
    (r"py:class", r"tf_dvdgan\.data\.prefetch\.[TU]"),  # type variables
    ("py:.*", r"(?!tf_dvdgan\.|data_prep\.|tools\.).*"),
    ("py:.*", r".*\._[a-z_A-Z]+$"),  # private ones have no entry
]


def _write_reference(app) -> None:
    """Writes a page for each module, in docs/api, which is not kept in git."""
    del app
    shutil.rmtree(_DOCS / "api", ignore_errors=True)
    (_DOCS / "api").mkdir()
    for package in ("tf_dvdgan", "data_prep", "tools"):
        for path in (_ROOT / package).rglob("*.py"):
            children = [p for p in path.parent.iterdir() if path.stem == "__init__"]
            names = sorted(filter(None, map(_dotted, {*children} - {path})))
            name = _dotted(path.parent if path.stem == "__init__" else path)
            page = f"{name}\n{'=' * len(name)}\n\n.. automodule:: {name}\n"
            if names:
                page += "\n.. toctree::\n\n   " + "\n   ".join(names) + "\n"
            (_DOCS / "api" / f"{name}.rst").write_text(page)


def _dotted(path: pathlib.Path) -> str:
    """The module at a path; nothing if there is none."""
    if path.suffix != ".py" and not (path / "__init__.py").exists():
        return ""
    return ".".join(path.relative_to(_ROOT).with_suffix("").parts)


def _mark_blocks(app, what, name, obj, options, lines: list[str]) -> None:
    """Makes blocks of code of Markdown tables, and of what a module shows indented."""
    del app, name, obj, options
    found, in_block, before = [], False, ""
    for line in lines:
        language = None
        if line.startswith("|"):
            language = "text"
        elif what == "module" and line.startswith("  python -m "):
            language = "bash"
        elif what == "module" and line.startswith("    ") and not before.strip():
            language = "python"
        if language and not in_block:
            found += ["", f".. code-block:: {language}", ""]
        in_block = bool(line.strip()) and (in_block or language is not None)
        found.append(f"   {line}" if in_block else line)
        before = line
    lines[:] = found


def setup(app) -> None:
    """Called by Sphinx."""
    app.connect("builder-inited", _write_reference)
    app.connect("autodoc-process-docstring", _mark_blocks)
