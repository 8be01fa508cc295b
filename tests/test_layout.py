"""Who may import whom, where flags are read, and that Gin stays out of the layers."""

import ast
import graphlib
import pathlib
import re
from collections.abc import Sequence

import pytest

ROOT = pathlib.Path(__file__).parent.parent
SOURCES = [
    path
    for folder in ("tf_dvdgan", "data_prep", "tools")
    for path in sorted((ROOT / folder).rglob("*.py"))
]
# Each part of the package may import those before it and itself, late imports too.
ORDER = [
    *(
        "version",
        "keras_version",
        "onednn",
        "errors",
        "seeds",
        "terminal",
        "machine",
    ),
    *("array_files", "state_dict", "flops", "addons"),
    *("ops", "layers", "losses", "discriminator_terms"),
    *("data", "text_drawing", "visualize", "unit_grids", "shard_inspection"),
    *("demo_objects", "demo_videos", "cli"),
    *("pretrained", "run_directory", "run_copy"),
    *("flow", "models", "sampling", "training"),
    *("evaluation.metrics", "evaluation.features", "evaluation.runs"),
    *("config_files", "config_names", "config", "config_bindings"),
    *("trained", "graph_check", "generators", "export"),
    *("classification", "pictures"),
    *("benchmark", "doctor", "plan"),
    *(
        "report",
        "explorer",
        "notebook",
        "model_card",
        "launch",
        "video_gan",
        "scores",
        "run",
    ),
]
# What a part does not import although it may,
WITHOUT = {
    "config": {"evaluation"},  # whoever samples a run loads no scores
    "sampling": {"training", "evaluation"},
    "generators": {"evaluation", "config"},
    "explorer": {"evaluation", "training", "report"},
}
# and what is not loaded by its imports' imports either.
NOT_LOADED = {
    "config": {"evaluation"},
    "sampling": {"training", "evaluation"},
    "generators": {"evaluation"},
    "explorer": {"evaluation", "report"},
}
FOR_DATA_PREP = {"cli", "errors", "onednn", "terminal", "data", "visualize"}
# Modules that read flags, besides those directly in tools/.
MAINS = {
    "tf_dvdgan/cli.py",
    "tf_dvdgan/run.py",
    "data_prep/prepare.py",
    "tools/benchmarks/versus_pytorch.py",
    "tools/benchmarks/feature_extraction.py",
}


def imports(path: pathlib.Path) -> set[str]:
    """Dotted names that a module imports, from this project or not."""
    return imports_of(path.read_text(), path.relative_to(ROOT).parts[:-1])


def imports_of(source: str, package: Sequence[str]) -> set[str]:
    """Dotted names that a source imports, relative ones completed by its package."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) + 1 - node.level]] if node.level else []
            base += node.module.split(".") if node.module else []
            found |= {".".join([*base, alias.name]) for alias in node.names}
    return found


def part(name: str) -> str:
    """The part of the package that a dotted name within it belongs to."""
    first, *rest = name.split(".")
    return f"{first}.{rest[0]}" if first == "evaluation" and rest else first


def part_of(path: pathlib.Path) -> str:
    parts = path.relative_to(ROOT / "tf_dvdgan").with_suffix("").parts
    return part(".".join(parts).removesuffix(".__init__"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_in_one_direction(path):
    relative = path.relative_to(ROOT)
    own = part_of(path) if relative.parts[0] == "tf_dvdgan" else ""
    assert not wrong_imports(relative.parts[0], own, imports(path))


def wrong_imports(folder: str, own: str, names: set[str]) -> set[str]:
    """Names that a module must not import.

    Args:
      folder: top folder of the module.
      own: its part of the package; "" outside the package.
      names: dotted names that it imports.
    """
    if folder == "tools":
        return set()
    wrong = {name for name in names if name.split(".")[0] == "tools"}
    used = {n: n.partition(".")[2] for n in names if n.split(".")[0] == "tf_dvdgan"}
    if folder == "data_prep":
        return wrong | {n for n, of in used.items() if part(of) not in FOR_DATA_PREP}
    wrong |= {name for name in names if name.split(".")[0] == "data_prep"}
    if own == "__init__":  # imports what it exports when that is used
        return set()
    # Everything by its own name: the package itself loads parts that are used.
    allowed = set(ORDER if own == "evaluation" else ORDER[: ORDER.index(own) + 1])
    allowed -= {name for name in allowed if name.split(".")[0] in WITHOUT.get(own, ())}
    return wrong | {n for n, of in used.items() if part(of) not in allowed}


def test_an_import_in_the_wrong_direction_is_found():
    def wrong(text, folder="tf_dvdgan", own="layers"):
        return wrong_imports(folder, own, imports_of(text, [folder, own]))

    assert wrong("from tf_dvdgan import ops, models") == {"tf_dvdgan.models"}
    assert wrong("from .. import ops, models") == {"tf_dvdgan.models"}
    assert wrong("from ..models import vgan") == {"tf_dvdgan.models.vgan"}
    assert wrong("from . import attention") == set()
    assert wrong("import tf_dvdgan") == {"tf_dvdgan"}
    assert wrong("import tf_dvdgan", "data_prep") == {"tf_dvdgan"}
    assert wrong("import tools") == {"tools"}
    assert wrong("from tf_dvdgan import evaluation", own="run") == {
        "tf_dvdgan.evaluation"
    }


def test_what_a_part_must_not_load_is_not_loaded_by_what_it_imports_either():
    graph = import_graph()
    for path in SOURCES:
        excluded = NOT_LOADED.get(part_of(path)) if "tf_dvdgan" in path.parts else None
        if not excluded:
            continue
        found, waiting = set(), [module_of(path)]
        while waiting:
            found.add(name := waiting.pop())
            waiting += graph[name] - found
        loaded = {name for name in found if name.split(".")[1] in excluded}
        assert not loaded, (path, loaded)


def test_the_map_of_the_repository_has_the_same_order():
    text = (ROOT / "WORKSPACE.md").read_text()
    paragraph = text.split("**Who may import whom.**")[1].split(";")[0]
    listed = re.split(r"[,→]\s*", " ".join(paragraph.split()))
    names = [f"evaluation{n}" if n[0] == "." else n for n in map(str.strip, listed)]
    assert names == ORDER


def test_every_part_of_the_package_has_its_place():
    parts = {part_of(path) for path in SOURCES if "tf_dvdgan" in path.parts}
    assert parts - {"__init__", "evaluation"} == set(ORDER)


def modules_imported(path: pathlib.Path) -> set[str]:
    """Modules of this project that one imports, late imports too, as dotted names.

    Importing `a.b` runs `a/__init__.py` too. It is not counted for modules within `a`,
    which run after it began, nor for the project's top packages, which import nothing.
    """
    own, found = module_of(path), set()
    for name in imports(path):
        parts = name.split(".")
        prefixes = [".".join(parts[:end]) for end in range(1, len(parts) + 1)]
        modules = [module for p in prefixes if (module := module_named(p))]
        found |= set(modules[-1:])
        found |= {
            package
            for package in modules[1:-1]
            if not own.startswith(package.removesuffix("__init__"))
        }
    return found - {own}


def import_graph() -> dict[str, set[str]]:
    return {module_of(path): modules_imported(path) for path in SOURCES}


def module_of(path: pathlib.Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def module_named(name: str) -> str | None:
    """The module that a dotted name means, "a.__init__" for a package "a"."""
    for module in (name, f"{name}.__init__"):
        if (ROOT / (module.replace(".", "/") + ".py")).exists():
            return module
    return None


def test_there_are_no_import_cycles():
    graph = import_graph()
    assert "tf_dvdgan.launch" in graph["tf_dvdgan.run"]  # it is read at all
    assert "tools.tpu_compiler.hardware" in graph["tools.tpu_preflight"]
    assert "tf_dvdgan.models.__init__" in graph["tf_dvdgan.config"]  # packages too
    assert "tf_dvdgan.explorer.server" in graph["tf_dvdgan.explorer.__init__"]
    graphlib.TopologicalSorter(graph).prepare()  # CycleError names the circle


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_flags_are_read_in_mains_alone(path):
    name = path.relative_to(ROOT).as_posix()
    is_main = name in MAINS or path.parent == ROOT / "tools"
    reads = any(name.startswith("absl") and "flags" in name for name in imports(path))
    assert is_main or not reads


@pytest.mark.parametrize("name", ["ops", "layers", "losses"])
def test_layers_do_not_know_gin(name):
    for path in SOURCES:
        if path.is_relative_to(ROOT / "tf_dvdgan") and part_of(path) == name:
            assert "gin" not in {n.split(".")[0] for n in imports(path)}, path


def test_the_folder_gin_is_no_package():
    assert not list((ROOT / "gin").rglob("*.py"))
