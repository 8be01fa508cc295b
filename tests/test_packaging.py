"""The wheel: its contents, and that it works outside the repository."""

import importlib.metadata
import json
import os
import pathlib
import re
import subprocess
import sys
import zipfile

import packaging.requirements
import packaging.utils
import pytest
import yaml
from conftest import TINY_VGAN

ROOT = pathlib.Path(__file__).parent.parent
# Relative to the repository; they need a checkout.
NOT_INSTALLED = (
    "tools/benchmarks",
    "tools/tpu_compiler",
    "tools/tpu_preflight.py",
)


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory) -> pathlib.Path:
    """The wheel's contents, as site-packages would hold them."""
    folder = tmp_path_factory.mktemp("wheel")
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\0")
    source = folder / "source"
    for name in filter(None, tracked):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", str(source)],
        check=True,
        capture_output=True,
    )
    (wheel,) = (source / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def run(site: pathlib.Path, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=site.parent,
        env=os.environ | {"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_nothing_has_a_generic_name_at_the_top(unpacked):
    top = {p.name for p in unpacked.iterdir() if not p.name.endswith(".dist-info")}
    assert top == {"tf_dvdgan"}


def test_type_checkers_find_its_annotations(unpacked):
    assert (unpacked / "tf_dvdgan" / "py.typed").exists()


def test_it_has_every_gin_file_and_module_except_those_that_need_a_checkout(unpacked):
    expected = {
        path.relative_to(ROOT)
        for folder, pattern in (
            ("gin", "*.gin"),
            ("data_prep", "*.py"),
            ("tools", "*.py"),
        )
        for path in (ROOT / folder).rglob(pattern)
    }
    excluded = {
        path
        for path in expected
        if any(path.is_relative_to(place) for place in NOT_INSTALLED)
    }
    assert len(excluded) > len(NOT_INSTALLED)
    found = {
        path.relative_to(unpacked / "tf_dvdgan")
        for folder in ("gin", "data_prep", "tools")
        for path in (unpacked / "tf_dvdgan" / folder).rglob("*")
        if path.is_file() and path.parent.name != "__pycache__"
    }
    assert found == expected - excluded


def test_it_has_the_trained_generators(unpacked):
    places = ROOT / "tf_dvdgan" / "pretrained", unpacked / "tf_dvdgan" / "pretrained"
    files, installed = (
        {
            path.relative_to(place): path.read_bytes()
            for path in place.rglob("*")
            if path.is_file() and path.parent.name != "__pycache__"
        }
        for place in places
    )
    assert installed == files
    assert pathlib.Path("dvdgan_v2_shapes/generator.npz") in files


@pytest.mark.slow
def test_the_installed_benchmark_runs_without_the_excluded_modules(unpacked):
    figures = unpacked.parent / "figures.json"
    flags = ("--phase=generation", "--repeats=1", f"--json={figures}")
    module = "tf_dvdgan.tools.benchmark"
    result = run(unpacked, "-m", module, f"--gin_file={TINY_VGAN}", *flags)
    assert result.returncode == 0, result.stderr
    generation = json.loads(figures.read_text())["phases"]["generation"]
    assert generation["gflop_reference"] >= generation["gflop"] > 0


def test_installed_it_finds_its_gin_files(unpacked):
    script = """
import tf_dvdgan
from tf_dvdgan import config
config.load(["papers/dvdgan_v2/table2_ucf101_16x128.gin"])
print(tf_dvdgan.__file__)
"""
    result = run(unpacked, "-c", script)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(str(unpacked))


def test_every_console_script_says_what_it_does(unpacked):
    (entries,) = unpacked.glob("*.dist-info/entry_points.txt")
    modules = [
        line.split(" = ")[1].split(":")[0]
        for line in entries.read_text().splitlines()
        if " = " in line
    ]
    assert len(modules) >= 5
    for module in modules:
        result = run(unpacked, "-m", module, "--help")
        assert result.returncode == 0, (module, result.stderr)
        assert "--" in result.stdout, module
        documented = module.removeprefix("tf_dvdgan.").replace(".", "/") + ".py"
        first_line = (
            ROOT / documented if "/" in documented else ROOT / "tf_dvdgan" / documented
        )
        text = first_line.read_text().split('"""')[1].splitlines()[0]
        assert text in result.stdout, module


LANES = {  # what only one of them has, of what users install
    "3.11": {
        *("tensorflow==2.15.1", "keras==2.15.0", "tensorboard==2.15.2"),
        *("numpy<2,>=1.26", "tensorflow-addons==0.23.0", "tensorflow-io==0.36.0"),
    },
    "3.13": {
        *("tensorflow==2.20.0", "tf-keras==2.20.1", "tensorboard==2.20.0"),
        *("numpy>=2", "s3fs>=2026.9", "adlfs>=2026.8"),
    },
}


def requirements(site: pathlib.Path, python: str, extra: str = "") -> set[str]:
    """What the wheel requires on a version of Python."""
    (metadata,) = site.glob("*.dist-info/METADATA")
    found = set()
    for line in metadata.read_text().splitlines():
        if line.startswith("Requires-Dist: "):
            parsed = packaging.requirements.Requirement(line.partition(": ")[2])
            place = {"python_version": python, "extra": extra}
            if parsed.marker is None or parsed.marker.evaluate(place):
                found.add(f"{parsed.name}{parsed.specifier}")
    return found


def test_a_wheel_has_the_pins_of_both_lanes(unpacked):
    found = {python: requirements(unpacked, python) for python in LANES}
    assert requirements(unpacked, "3.12") == found["3.13"]
    for python, only in LANES.items():
        (other,) = {*LANES} - {python}
        assert found[python] - found[other] == only
    for python in LANES:
        gpu = requirements(unpacked, python, "gpu") - found[python]
        assert len(gpu) <= 1  # TensorFlow's extra for CUDA is of the same version


@pytest.mark.parametrize("lane", ["tensorflow2.15", "tensorflow2.20"])
def test_constraints_pin_every_requirement_with_hashes(unpacked, lane):
    python = "3.11" if lane == "tensorflow2.15" else "3.13"
    text = (ROOT / "constraints" / f"{lane}.txt").read_text()
    pins = dict(re.findall(r"^([a-z0-9._-]+)==(\S+) \\$", text, re.MULTILINE))
    blocks = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
    assert len(blocks) == len(pins) > 150
    assert all(block.count("--hash=sha256:") >= 1 for block in blocks)
    assert "://" not in text
    for line in requirements(unpacked, python, "tests"):
        parsed = packaging.requirements.Requirement(line)
        name = packaging.utils.canonicalize_name(parsed.name)
        if name != "torch":  # see the Makefile's `lock`
            assert pins[name] in parsed.specifier, line


@pytest.mark.skipif(sys.version_info[:2] not in {(3, 11), (3, 13)}, reason="a lane's")
def test_what_is_installed_here_is_what_the_constraints_say():
    lane = "tensorflow2.15" if sys.version_info < (3, 12) else "tensorflow2.20"
    text = (ROOT / "constraints" / f"{lane}.txt").read_text()
    for name, version in re.findall(r"^([a-z0-9._-]+)==(\S+) ", text, re.MULTILINE):
        assert importlib.metadata.version(name) == version, name


def test_containers_and_workflows_say_what_the_project_does():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text())
    (job,) = workflow["jobs"].values()
    pythons = job["strategy"]["matrix"]["python"]
    setup = (ROOT / "setup.py").read_text()
    assert pythons == ["3.11", "3.12", "3.13"]
    assert 'python_requires=">=3.11,<3.14"' in setup
    assert any(".ci/run" in step.get("run", "") for step in job["steps"])
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    lint = (ROOT / "Makefile").read_text().partition("\nlint:")[2]
    for hook in hooks["repos"][0]["hooks"]:
        command = hook["entry"].removeprefix(".venv/bin/python ")
        assert command in lint
    devcontainer = json.loads(
        (ROOT / ".devcontainer" / "devcontainer.json").read_text()
    )
    make = devcontainer["postCreateCommand"].split()[1]
    assert make == ".venv/ready"
    docker = (ROOT / "Dockerfile").read_text()
    assert "python:3.11" in docker
    assert "--require-hashes --requirement constraints/tensorflow2.15.txt" in docker
