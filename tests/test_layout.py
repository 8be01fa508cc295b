"""Who may import whom, where flags are read, and that Gin stays out of the layers."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parent.parent
SOURCES = [
    path
    for folder in ("tf_dvdgan", "data_prep", "tools")
    for path in sorted((ROOT / folder).rglob("*.py"))
]
# Each may import those before it and itself; what is not listed stands alone.
ORDER = [
    *("ops", "layers", "losses", "data", "flow", "models", "training"),
    "evaluation",
]
MAINS = {"run.py", "prepare.py", "versus_pytorch.py", "feature_extraction.py"}


def imports(path: pathlib.Path) -> set[str]:
    """Dotted names that a module imports, from this project or not."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def part(path: pathlib.Path) -> str:
    return path.relative_to(ROOT / "tf_dvdgan").parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_one_way(path):
    folder = path.relative_to(ROOT).parts[0]
    ours = {
        n
        for n in imports(path)
        if n.split(".")[0] in ("tf_dvdgan", "data_prep", "tools")
    }
    if folder == "tools":
        return
    assert not {n for n in ours if n.startswith("tools")}
    if folder == "data_prep":
        allowed = ("tf_dvdgan.cli", "tf_dvdgan.data", "tf_dvdgan.visualize")
        assert all(n.startswith(allowed) for n in ours), ours
        return
    assert not {n for n in ours if n.startswith("data_prep")}
    own = part(path)
    if own in ORDER:
        later = ORDER[ORDER.index(own) + 1 :]
        used = {n.split(".")[1] for n in ours if n.count(".")}
        assert not used & set(later), used


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_flags_are_read_in_mains_alone(path):
    is_main = path.name in MAINS or path.parent.name == "tools" or path.name == "cli.py"
    reads = any(name.startswith("absl") and "flags" in name for name in imports(path))
    assert is_main or not reads


@pytest.mark.parametrize("name", ["ops", "layers", "losses"])
def test_layers_do_not_know_gin(name):
    for path in SOURCES:
        if path.is_relative_to(ROOT / "tf_dvdgan") and part(path) == name:
            assert "gin" not in imports(path), path


def test_the_folder_gin_is_no_package():
    assert not list((ROOT / "gin").rglob("*.py"))
