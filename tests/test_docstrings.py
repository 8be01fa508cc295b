"""Public docstrings say what goes in, what comes out and what is raised.

    python tests/test_docstrings.py tf_dvdgan/layers

lists what is missing in a folder or a file.
"""

import ast
import importlib
import inspect
import pathlib
import re
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
SOURCES = [
    path
    for folder in ("tf_dvdgan", "data_prep", "tools")
    for path in sorted((ROOT / folder).rglob("*.py"))
]
# They name what Keras calls them with, and Keras documents it.
KERAS = {"build", "compute_output_shape", "on_epoch_end"}


def is_public(name: str) -> bool:
    return not name.startswith("_") or name == "__call__"


def parameters(node: ast.FunctionDef) -> list[str]:
    """Names that a caller gives, without the object itself."""
    arguments = node.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    names = [a.arg for a in named if a.arg not in ("self", "cls")]
    return [n for n in names if not n.startswith("_")]


def raises(node: ast.AST) -> bool:
    """Whether a function itself raises an error by name, not one that it passes on."""
    inner = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)
    for child in ast.iter_child_nodes(node):
        if isinstance(child, inner):
            continue
        if isinstance(child, ast.Raise) and isinstance(child.exc, ast.Call):
            name = ast.unparse(child.exc.func).rpartition(".")[2]
            if name != "NotImplementedError":
                return True
        if raises(child):
            return True
    return False


def gives(node: ast.FunctionDef) -> bool:
    """Whether a function gives something back, by its annotation."""
    returned = node.returns
    if returned is None:
        return any(isinstance(n, ast.Return) and n.value for n in ast.walk(node))
    return ast.unparse(returned) not in ("None", "NoReturn", "typing.NoReturn")


def sections(text: str) -> dict[str, str]:
    """What stands under 'Args:', 'Returns:' and the like."""
    parts = re.split(r"^(Args|Attributes|Returns|Yields|Raises):", text, flags=re.M)
    found: dict[str, str] = {}
    for name, body in zip(parts[1::2], parts[2::2], strict=True):
        found[name] = found.get(name, "") + body
    return found


def missing_in(path: pathlib.Path) -> list[str]:
    """What is missing in a module's public docstrings, a line each."""
    if path.name.startswith("_") and path.name != "__init__.py":
        return []
    tree = ast.parse(path.read_text())
    found = []
    is_command = path.is_relative_to(ROOT / "tools")  # prints errors of its main
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and is_command and node.name == "main":
            continue
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            found += missing_of(node, ast.get_docstring(node) or "", node.name)
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            found += missing_of_class(node, path)
    return [f"{path.relative_to(ROOT)}: {line}" for line in found]


def missing_of_class(node: ast.ClassDef, path: pathlib.Path) -> list[str]:
    found = [f"{node.name}: Attributes lacks {name}" for name in unknown_fields(node)]
    for method in node.body:
        if not isinstance(method, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        name = f"{node.name}.{method.name}"
        if method.name == "__init__":
            text = ast.get_docstring(node) or ""
            held = sections(text).get("Args", "") + sections(text).get("Attributes", "")
            names = parameters(method)
            absent = [n for n in names if not re.search(rf"^\s*\W*{n}\b", held, re.M)]
            if len(names) > 1 and absent:
                found.append(f"{node.name}: Args lacks {', '.join(absent)}")
            unshaped = without_shape(method, text)
            found += [f"{node.name}: no shape of {n}" for n in unshaped]
        elif is_public(method.name) and method.name not in KERAS:
            text = ast.get_docstring(method)
            if text is None:  # a base of this project may say it
                text = inherited(path, node.name, method.name)
            found += missing_of(method, text, name)
    return found


def unknown_fields(node: ast.ClassDef) -> list[str]:
    """Public fields of a dataclass that its docstring lacks."""
    kinds = ast.unparse([*node.decorator_list, *node.bases])  # type: ignore[arg-type]
    if not re.search("dataclass|NamedTuple", kinds):
        return []
    fields = [n.target for n in node.body if isinstance(n, ast.AnnAssign)]
    names = [n.id for n in fields if isinstance(n, ast.Name) and n.id[0] != "_"]
    text = ast.get_docstring(node) or ""
    return [n for n in names if not re.search(rf"^ *(\w+, )*{n}(, \w+)*:", text, re.M)]


def inherited(path: pathlib.Path, owner: str, method: str) -> str:
    """A method's docstring in the first of its class's bases that has one."""
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    of_class = getattr(importlib.import_module(module), owner)
    for base in of_class.__mro__[1:]:
        ours = base.__module__.split(".")[0] in ("tf_dvdgan", "data_prep", "tools")
        if ours and method in base.__dict__ and base.__dict__[method].__doc__:
            return inspect.cleandoc(base.__dict__[method].__doc__)
    return ""


def missing_of(node: ast.FunctionDef, text: str, name: str) -> list[str]:
    names = parameters(node)
    if any(ast.unparse(d).endswith("setter") for d in node.decorator_list):
        return []
    found, held = [], sections(text)
    absent = [
        n for n in names if not re.search(rf"^\s+\W*{n}\b", held.get("Args", ""), re.M)
    ]
    if len(names) > 1 and absent:
        found.append(f"{name}: Args lacks {', '.join(absent)}")
    if len(names) > 1 and gives(node) and not held.keys() & {"Returns", "Yields"}:
        found.append(f"{name}: no Returns")
    if names and raises(node) and "Raises" not in held:
        found.append(f"{name}: no Raises")
    return found + [f"{name}: no shape of {n}" for n in without_shape(node, text)]


def without_shape(node: ast.FunctionDef, text: str) -> list[str]:
    """Parameters that are a tensor, and "Returns", whose docstring has no shape."""
    held, found = sections(text), []
    summary = re.split(r"^(?:Args|Returns|Yields|Raises):", text, flags=re.M)[0]
    for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs):
        if is_tensor(argument.annotation) and argument.arg[0] != "_":
            said = summary
            if "Args" in held:
                said = entry_of(argument.arg, held["Args"]) or ""
            if not has_shape(said):
                found.append(argument.arg)
    returned = held.get("Returns", held.get("Yields", summary))
    if is_tensor(node.returns) and not has_shape(returned):
        found.append("Returns")
    return found


def is_tensor(annotation: ast.expr | None) -> bool:
    """Whether a parameter is one tensor or array, which may be optional."""
    if annotation is None:
        return False
    kinds = {kind.strip() for kind in ast.unparse(annotation).split("|")}
    return bool(kinds & {"tf.Tensor", "np.ndarray"}) and kinds <= {
        *("tf.Tensor", "np.ndarray", "None")
    }


def has_shape(text: str) -> bool:
    """Whether a text has a shape as `[batch, ...]`, or says why there is none."""
    return bool(re.search(r"`\[[^`]*\]`|\b[Ss]calar|\bunused\b", text))


def entry_of(name: str, arguments: str) -> str | None:
    """What the section "Args" says of one parameter."""
    pattern = rf"^  (?:\w+, )*{name}(?:, \w+)*:(.*(?:\n    .*)*)"
    entry = re.search(pattern, arguments, re.M)
    return entry[1] if entry else None


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_public_functions_say_all_of_it(path):
    assert not missing_in(path)


def test_what_is_missing_is_found():
    text = '''
def scale(video, factor):
    """Scales a video.

    Args:
      video: frames.
    """
    if factor < 0:
        raise ValueError(factor)
    return video * factor
'''
    node = ast.parse(text).body[0]
    found = missing_of(node, ast.get_docstring(node), "scale")
    assert found == [
        "scale: Args lacks factor",
        "scale: no Returns",
        "scale: no Raises",
    ]


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("frames `[time, 3]`.", ["Returns"]),
        ("frames.", ["video", "Returns"]),
        ("frames.\n\nReturns:\n  `[time]`, their means.", ["video"]),
        ("frames\n    `[time, 3]`.\n\nReturns:\n  Scalar.", []),
        ("unused.\n\nReturns:\n  `[]`.", []),
    ],
)
def test_tensors_without_a_shape_are_found(said, found):
    text = "def mean(video: tf.Tensor | None, by: str) -> np.ndarray: ..."
    node = ast.parse(text).body[0]
    assert without_shape(node, f"Computes it.\n\nArgs:\n  video: {said}") == found


def test_a_function_of_one_parameter_says_what_it_raises():
    node = ast.parse("def check(x):\n    raise ValueError(x)").body[0]
    assert missing_of(node, "Checks x.", "check") == ["check: no Raises"]
    assert missing_of(node, "Checks x.\n\nRaises:\n  ValueError: no.", "check") == []


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    places = [pathlib.Path(name).resolve() for name in sys.argv[1:]] or [ROOT]
    lines = [
        line
        for source in SOURCES
        if any(source.is_relative_to(place) for place in places)
        for line in missing_in(source)
    ]
    print(*lines, sep="\n")
    print(f"{len(lines)} missing")
