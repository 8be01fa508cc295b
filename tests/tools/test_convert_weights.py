"""`tools.convert_weights` as a user calls it."""

import numpy as np
import pytest
from conftest import run_module

from tf_dvdgan.evaluation.features.networks import i3d, weights
from tf_dvdgan.models import variables


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> str:
    """An I3D for 7 classes as DeepMind names it, but for the file's kind."""
    network = i3d.I3D(7)
    network(np.zeros([1, *i3d.I3D.INPUT], np.float32))
    ends = {"kernel": "w", "bias": "b"}
    arrays = {}
    for name, variable in variables.by_path(network).items():
        start, _, end = name.rpartition("/")
        arrays[f"{start}/{ends.get(end, end)}"] = variable.numpy()
    path = str(tmp_path_factory.mktemp("i3d") / "i3d.npz")
    np.savez(path, **arrays)
    return path


def test_it_converts_and_says_what_it_has_written(source, tmp_path):
    output = str(tmp_path / "i3d.weights.h5")
    done = run_module(
        "tools.convert_weights",
        *("--network=i3d", f"--input={source}", f"--output={output}", "--note=of mine"),
    )
    assert done.returncode == 0, done.stderr
    _, metadata = weights.load(output)
    assert done.stdout.splitlines() == [
        "network  i3d",
        "classes  7",
        "source   i3d.npz (of mine)",
        f"hash     {metadata.hash}",
        f"file     {output}",
    ]


@pytest.mark.parametrize(
    ("flags", "code"),
    [
        (["--network=i4d", "--input=x", "--output=y.weights.h5"], 1),
        (["--network=i3d", "--input=/nowhere", "--output=y.weights.h5"], 1),
        (["--network=i3d", "--output=y.weights.h5"], 2),
    ],
)
def test_a_mistake_is_reported(flags, code):
    done = run_module("tools.convert_weights", *flags)
    assert done.returncode == code
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
