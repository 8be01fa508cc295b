"""Who may import whom, where flags are read, and that Gin stays out of the layers."""

import ast
import graphlib
import pathlib

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
        "pretrained",
        "terminal",
        "machine",
    ),
    *("array_files", "state_dict", "flops", "addons"),
    *("ops", "layers", "losses", "discriminator_terms"),
    *("data", "visualize", "shard_inspection", "demo_objects", "demo_videos", "cli"),
    "run_directory",
    *("flow", "models", "sampling", "training"),
    *("evaluation.metrics", "evaluation.features", "evaluation.runs"),
    *("config", "trained", "graph_check", "generators", "export"),
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


def part(name: str) -> str:
    """The part of the package that a dotted name within it belongs to."""
    first, *rest = name.split(".")
    return f"{first}.{rest[0]}" if first == "evaluation" and rest else first


def part_of(path: pathlib.Path) -> str:
    parts = path.relative_to(ROOT / "tf_dvdgan").with_suffix("").parts
    return part(".".join(parts).removesuffix(".__init__"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_in_one_direction(path):
    folder = path.relative_to(ROOT).parts[0]
    ours = {
        n
        for n in imports(path)
        if n.split(".")[0] in ("tf_dvdgan", "data_prep", "tools")
    }
    if folder == "tools":
        return
    assert not {n for n in ours if n.startswith("tools")}
    used = {part(n.partition(".")[2]) for n in ours if n.startswith("tf_dvdgan.")} - {
        "evaluation"
    }
    if folder == "data_prep":
        assert used <= {"cli", "errors", "onednn", "terminal", "data", "visualize"}
        return
    assert not {n for n in ours if n.startswith("data_prep")}
    own = part_of(path)
    if own in ("__init__", "evaluation"):
        return
    assert not used - set(ORDER[: ORDER.index(own) + 1]), used
    excluded = WITHOUT.get(own, set())
    assert not {n for n in used if n.split(".")[0] in excluded}, used


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


def test_every_part_of_the_package_has_its_place():
    parts = {part_of(path) for path in SOURCES if "tf_dvdgan" in path.parts}
    assert parts - {"__init__", "evaluation"} == set(ORDER)


def modules_imported(path: pathlib.Path) -> set[str]:
    """Files of this project that one imports, late imports too, as dotted names."""
    package = path.relative_to(ROOT).parts[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) + 1 - node.level]] if node.level else []
            base += node.module.split(".") if node.module else []
            names = [".".join([*base, alias.name]) for alias in node.names]
            names += [".".join(base)]
        else:
            continue
        found |= {name for name in names if (ROOT / file_of(name)).exists()}
    return found


def import_graph() -> dict[str, set[str]]:
    return {module_of(path): modules_imported(path) for path in SOURCES}


def module_of(path: pathlib.Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def file_of(name: str) -> str:
    return name.replace(".", "/") + ".py"


def test_no_imports_go_round_in_a_circle():
    graph = import_graph()
    assert "tf_dvdgan.launch" in graph["tf_dvdgan.run"]  # it is read at all
    assert "tools.tpu_compiler.hardware" in graph["tools.tpu_preflight"]
    graphlib.TopologicalSorter(graph).prepare()  # CycleError names the circle


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_flags_are_read_in_mains_alone(path):
    is_main = path.name in MAINS or path.parent.name == "tools" or path.name == "cli.py"
    reads = any(name.startswith("absl") and "flags" in name for name in imports(path))
    assert is_main or not reads


@pytest.mark.parametrize("name", ["ops", "layers", "losses"])
def test_layers_do_not_know_gin(name):
    for path in SOURCES:
        if path.is_relative_to(ROOT / "tf_dvdgan") and part_of(path) == name:
            assert "gin" not in imports(path), path


def test_the_folder_gin_is_no_package():
    assert not list((ROOT / "gin").rglob("*.py"))
