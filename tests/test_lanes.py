"""Runs and SavedModels of either lane are used in the other.

`tests/lanes/` has what `make` wrote in each lane: a run of three steps, its SavedModel,
videos of both, and the averaged weights after three more steps. To write the file of a
lane again, run `python -m tests.test_lanes` with its Python.
"""

import os
import pathlib
import re
import shutil
import tarfile

import tf_dvdgan as dvd

# isort: split
import numpy as np
import pytest
import tensorflow as tf

from tf_dvdgan import run_directory
from tf_dvdgan.training import environment

FOLDER = pathlib.Path(__file__).parent / "lanes"
LANES = ("tensorflow2.15", "tensorflow2.20")
OWN = "tensorflow" + ".".join(tf.__version__.split(".")[:2])


def dataset() -> tf.data.Dataset:
    rng = np.random.default_rng(0)
    videos = rng.integers(0, 256, [24, 4, 16, 16, 3], np.uint8)
    return tf.data.Dataset.from_tensor_slices((videos, np.arange(24) % 2))


def train(folder: str, steps: int) -> dict[str, np.ndarray]:
    """Trains up to a step; returns the generator's averaged weights."""
    if run_directory.RunDirectory(folder).is_run:
        gan = dvd.load(folder)
    else:
        gan = dvd.VideoGAN.from_preset(
            "dvdgan_v2",
            ["a", "b"],
            resolution=16,
            num_frames=4,
            ch=1,
            parameters=[
                "video_gan.GaussianLatent.sizes = [8]",
                "dvd_gan.SpatialDiscriminator.num_frames = 2",
                "optimizers.with_moving_average.start_step = 1",
            ],
        )
        gan.compile(batch_size=4, num_d_steps=1)
    gan.fit(dataset(), steps, folder, checkpoint_every=3, samples_every=1000)
    variables = dvd.load(folder).generator.gan.generator.trainable_variables
    return {f"weights/{i}": v.numpy() for i, v in enumerate(variables)}


def videos_of(path: str) -> np.ndarray:
    return dvd.load(path).sample(4, truncation=0.5, seed=1)


def make(archive: str, folder: str) -> None:
    """Writes the file of this lane."""
    run, exported = f"{folder}/run", f"{folder}/exported"
    train(run, 3)
    dvd.load(run).save(exported)
    arrays = {"run": videos_of(run), "exported": videos_of(exported)}
    for name in ("train", "samples", "eval"):
        shutil.rmtree(f"{run}/{name}", ignore_errors=True)
    shutil.copytree(run, f"{folder}/longer")
    arrays |= train(f"{folder}/longer", 6)
    np.savez_compressed(f"{folder}/expected.npz", **arrays)
    with tarfile.open(archive, "w:xz") as file:
        for name in ("run", "exported", "expected.npz"):
            file.add(f"{folder}/{name}", name)


@pytest.fixture(
    params=[
        pytest.param(lane, marks=pytest.mark.slow if lane == OWN else ())
        for lane in LANES
    ]
)
def lane(request, tmp_path) -> tuple[str, pathlib.Path, dict[str, np.ndarray]]:
    """The name of a lane, the folder of its file's contents, and what it expects."""
    with tarfile.open(FOLDER / f"{request.param}.tar.xz") as file:
        file.extractall(tmp_path, filter="data")
    with np.load(tmp_path / "expected.npz") as expected:
        return request.param, tmp_path, dict(expected)


def test_this_lane_is_one_of_two():
    assert OWN in LANES


@pytest.mark.parametrize("kind", ["run", "exported"])
def test_videos_are_those_of_the_lane_that_wrote_it(lane, kind):
    _, folder, expected = lane
    found = videos_of(str(folder / kind))
    assert found.shape == (4, 4, 16, 16, 3) and np.ptp(found) > 20
    np.testing.assert_allclose(found.astype(int), expected[kind].astype(int), atol=1)


def test_a_run_resumes_in_either_lane_and_says_so(lane, capsys):
    name, folder, expected = lane
    weights = train(str(folder / "run"), 6)
    printed = capsys.readouterr().out
    assert "Resuming from step 3" in printed
    said = re.search(r"trained with TensorFlow (\S+) and resumes with (\S+?),", printed)
    assert bool(said) == (name != OWN)
    if said:
        assert said[1].startswith(name.removeprefix("tensorflow"))
        assert said[2] == tf.__version__
    assert len(weights) > 20 and {*weights} <= {*expected}
    for key, value in weights.items():
        np.testing.assert_allclose(value, expected[key], atol=1e-4, err_msg=key)


def test_the_environment_of_a_run_names_keras_of_this_lane():
    metadata = environment.describe(tf.distribute.get_strategy())
    keras = metadata["keras" if OWN == LANES[0] else "tf-keras"]
    assert keras.startswith(OWN.removeprefix("tensorflow"))


def test_the_page_on_gpus_says_what_the_wheel_is_built_for():
    info = tf.sysconfig.get_build_info()
    page = (FOLDER.parent.parent / "docs" / "gpu.md").read_text()
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in page.splitlines()
        if line.startswith("|")
    ]
    cells = {row[0]: row[1 + LANES.index(OWN)] for row in rows if len(row) == 3}
    (cuda,) = (cells[title] for title in cells if title.startswith("CUDA"))
    kernels, ptx = (
        [f"{c[-2]}.{c[-1]}" for c in info["cuda_compute_capabilities"] if kind in c]
        for kind in ("sm_", "compute_")
    )
    assert cells["TensorFlow"] == tf.__version__
    assert cuda == f"{info['cuda_version']}, {info['cudnn_version']}"
    assert cells["compiled kernels for"] == ", ".join(kernels)
    assert [cells[title] for title in cells if title.startswith("PTX")] == ptx


if __name__ == "__main__":
    import tempfile

    os.makedirs(FOLDER, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        make(str(FOLDER / f"{OWN}.tar.xz"), work)
