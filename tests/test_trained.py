"""Runs are reopened from what they say themselves: this version's and older ones."""

import json
import os
import shutil

import gin
import numpy as np
import pytest
import tensorflow as tf

from tf_dvdgan import config, errors, generators, run_directory, trained, video_gan
from tf_dvdgan.sampling import latents

pytestmark = pytest.mark.usefixtures("quick_graphs")

# From base.gin and flags, as Gin wrote it to a run's config before model.json existed:
# with names as short as possible.
OLDER = """
# Parameters for Evaluator:
# ==============================================================================
Evaluator.plan = @evaluation.Plan()
Evaluator.schedule = @training.Schedule()
Evaluator.window = @data.Window()

# Parameters for Schedule:
# ==============================================================================
Schedule.on_failed_save = 'go_on'

# Parameters for SpatialDiscriminator:
# ==============================================================================
SpatialDiscriminator.recompute = True

# Parameters for train:
# ==============================================================================
train.accept_other_facts = True

# Parameters for watch:
# ==============================================================================
watch.schedule = @training.Schedule()
"""
# The same names in full, as people write them.
OLDER_IN_FULL = """
evaluation.Evaluator.window = @data.Window()
evaluation.Evaluator.plan = @evaluation.Plan()
evaluation.Evaluator.schedule = @training.Schedule()
evaluation.watch.schedule = @training.Schedule()
training.train.accept_other_facts = True
training.Schedule.on_failed_save = 'go_on'
dvd_gan.SpatialDiscriminator.recompute = True
"""


@pytest.fixture
def run(tiny_run, tmp_path) -> run_directory.RunDirectory:
    shutil.copytree(tiny_run, tmp_path / "run")
    return run_directory.RunDirectory(str(tmp_path / "run"))


def older(run: run_directory.RunDirectory, bindings: str) -> None:
    """Makes a run what an earlier version left."""
    os.remove(os.path.join(run.path, "model.json"))
    run.write_config(run.read_config() + bindings)


def samples(path: str) -> np.ndarray:
    generator = generators.open_generator(path)
    z = latents.draw(generator.latent, 2, seed=3)
    return generator.videos(z, [0, 1], 0.5)


def test_a_run_of_an_earlier_version_gives_the_same_videos(run, tiny_run):
    older(run, OLDER)
    np.testing.assert_array_equal(samples(run.path), samples(tiny_run))


@pytest.mark.parametrize("bindings", [OLDER, OLDER_IN_FULL], ids=["short", "in_full"])
def test_names_of_earlier_versions_are_read(run, bindings):
    older(run, bindings)
    with config.isolated():
        config.load_run(run.path)
        assert gin.query_parameter("training.train.allow_config_mismatch") is True
        schedule = gin.get_configurable("training.Schedule")()
        assert schedule.on_failed_save == "continue"
        name = "dvd_gan.SpatialDiscriminator.gradient_checkpointing"
        assert gin.query_parameter(name) is True


def test_a_run_needs_its_config_no_more_to_be_sampled(run, tiny_run, monkeypatch):
    def refuse(*arguments):
        raise AssertionError("the config was read")

    monkeypatch.setattr(config, "load_run", refuse)
    np.testing.assert_array_equal(samples(run.path), samples(tiny_run))
    videos = video_gan.load(run.path).sample(2, seed=3)
    assert videos.shape[0] == 2


def test_a_run_is_opened_under_a_strategy_of_replicas(tiny_run):
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        assert trained.load(tiny_run).step == trained.load(tiny_run, "6").step == 6


def test_the_model_is_the_one_that_was_written_whatever_the_config_says(run):
    run.write_config(run.read_config().replace("CH = 2", "CH = 3"))
    gan, window = trained.build(run.path)
    assert window.resolution == gan.generator.resolution == 16
    assert trained.load(run.path).step > 0  # else its checkpoint would not fit


def test_weights_that_are_not_finite_are_refused(run, tmp_path):
    copy = str(tmp_path / "copy")
    video_gan.load(run.path).save(copy, as_run=True)
    path = os.path.join(copy, "generator.npz")
    with np.load(path) as file:
        values = dict(file)
    name = next(n for n in values if n.endswith("kernel"))
    values[name].flat[0] = np.nan
    np.savez(path, **values)
    with pytest.raises(errors.UserError, match=f"are not finite: .*{name[-9:]}"):
        trained.load(copy)


def test_a_run_writes_the_version_and_the_format_of_its_model(run):
    with open(os.path.join(run.path, "model.json")) as file:
        model = json.load(file)
    assert model["format"] == 1 and model["networks"]["part"] == "video_gan.build"
