"""Runs are prepared from constructors; Gin is only one caller of them."""

import functools
import json
import os
import shutil

import gin
import numpy as np
import pytest
import tensorflow as tf
from conftest import TINY, TINY_VGAN, run_process

import tf_dvdgan as dvd
from tf_dvdgan import config, errors, layers, losses
from tf_dvdgan.data import windows
from tf_dvdgan.models import dvd_gan, video_gan
from tf_dvdgan.report import page
from tf_dvdgan.training import optimizers, schedule, train, trainer

pytestmark = pytest.mark.usefixtures("quick_graphs")

STEPS = 2
WINDOW = windows.Window(4, 16, 2)


def networks(**changes) -> functools.partial:
    """Networks of tiny.gin, from constructors."""
    generator = functools.partial(
        dvd_gan.Generator,
        ch=2,
        recurrence=layers.ConvGRU,
        normalization=layers.ConditionalBatchNorm,
    )
    spatial = functools.partial(dvd_gan.SpatialDiscriminator, ch=2, num_frames=2)
    temporal = functools.partial(
        dvd_gan.TemporalDiscriminator, ch=2, downsampling="pool2"
    )
    arguments = {
        "window": WINDOW,
        "generator": generator,
        "discriminators": [spatial, temporal],
        "generator_loss": losses.hinge_generator_loss,
        "discriminator_loss": losses.hinge_discriminator_loss,
    }
    return functools.partial(video_gan.build, **arguments | changes)


def trainer_of(**changes) -> functools.partial:
    adam = functools.partial(optimizers.adam, beta_1=0.0, beta_2=0.999)
    average = functools.partial(
        optimizers.with_moving_average, decay=0.99, start_step=100
    )
    arguments = {
        "global_batch_size": 4,
        "num_d_steps": 1,
        "generator_learning_rate": 4e-4,
        "discriminator_learning_rate": 8e-4,
        "generator_optimizer": adam,
        "discriminator_optimizer": adam,
        "moving_average": average,
    }
    return functools.partial(trainer.build, **arguments | changes)


def start(folder, shards, changes=(), of_trainer=(), steps=STEPS, **others) -> None:
    with config.isolated():
        config.load(["models/vgan.gin"])  # another program's, which nobody may read
        before = gin.config_str(), gin.operative_config_str()
        loop = train.prepare(
            str(folder),
            shards,
            tf.distribute.get_strategy(),
            **{"window": WINDOW, **others},
            schedule=schedule.Schedule(steps, 3, 3, 1000),
            build_networks=networks(**dict(changes)),
            build_trainer=trainer_of(**dict(of_trainer)),
        )
        assert (gin.config_str(), gin.operative_config_str()) == before
    if loop:
        loop.run()


@pytest.fixture(scope="module")
def run(demo_shards, tmp_path_factory) -> str:
    """A run that was trained from constructors."""
    folder = str(tmp_path_factory.mktemp("run"))
    start(folder, demo_shards)
    return folder


def model_of(folder: str) -> dict:
    with open(os.path.join(folder, "model.json")) as file:
        return json.load(file)


def test_constructors_train_the_same_as_gin(run, demo_shards, tmp_path):
    of_gin = str(tmp_path / "gin")
    with config.isolated():
        config.load([TINY], [f"NUM_STEPS = {STEPS}"])
        strategy = tf.distribute.get_strategy()
        loop = train.from_config(of_gin, demo_shards, strategy)
    loop.run()
    checkpoints = [
        tf.train.load_checkpoint(f"{folder}/checkpoints/step-{STEPS}")
        for folder in (run, of_gin)
    ]
    shapes = checkpoints[0].get_variable_to_shape_map()
    assert shapes == checkpoints[1].get_variable_to_shape_map()
    for name in shapes:
        if "OBJECT_GRAPH" not in name:
            values = [checkpoint.get_tensor(name) for checkpoint in checkpoints]
            np.testing.assert_array_equal(*values, name)


def test_both_are_recorded_alike(run, demo_shards, tmp_path):
    """Gin's references and macros, and partials and instances."""
    with config.isolated():
        config.load([TINY], [f"NUM_STEPS = {STEPS}"])
        strategy = tf.distribute.get_strategy()
        train.from_config(str(tmp_path), demo_shards, strategy)
    assert model_of(run) == model_of(str(tmp_path))


def test_the_run_is_opened_and_resumed(run, demo_shards, capsys):
    assert dvd.load(run).sample(2, seed=1).std() > 1
    start(run, demo_shards)
    assert f"complete with {STEPS} steps" in capsys.readouterr().out
    with pytest.raises(
        errors.UserError, match=r"has no Gin config: resume it by the prog"
    ):
        dvd.load(run).fit(demo_shards, steps=9, model_dir=run)


def test_reports_and_exports_need_no_gin_config(run, demo_shards, tmp_path):
    page.write(run, [], None, None, [], str(tmp_path / "page.html"))
    assert "dvd_gan.Generator" in (tmp_path / "page.html").read_text()
    dvd.load(run).save(str(tmp_path / "exported"), as_run=True)
    paths = run, str(tmp_path / "exported")
    videos = [dvd.load(path).sample(2).astype(int) for path in paths]
    np.testing.assert_allclose(*videos, atol=2)  # its weights are float16
    for arguments in (
        {"model_dir": paths[1]},
        {"model_dir": str(tmp_path / "new"), "init_from": paths[1]},
    ):
        with pytest.raises(errors.UserError, match="is an exported run, which has no"):
            dvd.VideoGAN.from_preset(TINY_VGAN).fit(demo_shards, 9, **arguments)


def test_parts_are_registered_without_the_module_of_configs(demo_shards, tmp_path):
    script = f"""
import functools, sys
import tf_dvdgan
import tensorflow as tf
from tf_dvdgan import layers
from tf_dvdgan.data import windows
from tf_dvdgan.models import dvd_gan, video_gan
from tf_dvdgan.training import optimizers, train, trainer
window = windows.Window(4, 16)
generator = functools.partial(dvd_gan.Generator, ch=2, recurrence=layers.ConvGRU)
networks = functools.partial(
    video_gan.build, window=window, generator=generator, discriminators=[])
build = functools.partial(
    trainer.build, global_batch_size=2, generator_optimizer=optimizers.adam)
train.prepare({str(tmp_path / "run")!r}, {demo_shards!r}, tf.distribute.get_strategy(),
    window=window, build_networks=networks, build_trainer=build)
assert "tf_dvdgan.config" not in sys.modules
"""
    done = run_process("-c", script)
    assert done.returncode == 0, done.stderr[-2000:]
    assert model_of(str(tmp_path / "run"))["networks"]["part"] == "video_gan.build"


def test_changed_settings_are_said_when_a_run_resumes(run, demo_shards, capsys):
    adam = functools.partial(optimizers.adam, beta_2=0.99)
    changes = {"num_d_steps": 2, "discriminator_optimizer": adam}
    noise = {"discriminator_noise": 0.5}
    start(run, demo_shards, noise, changes, steps=STEPS + 1)
    said = capsys.readouterr().out
    assert f"Resuming from step {STEPS}" in said
    assert f"Trained {STEPS + 1} steps" in said
    assert [line for line in said.splitlines() if line.startswith("Changed")] == [
        "Changed: optimizers.adam.beta_2 is now 0.99 (was 0.999)",
        "Changed: trainer.build.num_d_steps is now 2 (was 1)",
        f"Changed: training.Schedule.num_steps is now {STEPS + 1} (was {STEPS})",
        "Changed: video_gan.build.discriminator_noise is now 0.5 (was 0.0)",
    ]
    start(run, demo_shards, noise, changes, steps=STEPS + 1)
    assert "Changed" not in capsys.readouterr().out


def test_a_window_that_the_networks_do_not_have_is_refused(demo_shards, tmp_path):
    with pytest.raises(errors.UserError, match=r"stride=3.*networks.*stride=2.*same"):
        start(tmp_path / "run", demo_shards, window=windows.Window(4, 16, 3))
    assert not (tmp_path / "run").exists()


def test_a_run_of_gin_keeps_its_config(demo_shards, tmp_path):
    with config.isolated():
        config.load([TINY])
        strategy = tf.distribute.get_strategy()
        train.from_config(str(tmp_path), demo_shards, strategy)
    with pytest.raises(errors.UserError, match=r"started from a Gin config: resume it"):
        start(tmp_path, demo_shards)
    assert "trainer.build" in (tmp_path / "config.gin").read_text()


@pytest.mark.parametrize("damage", ['{"networks": "x"}', '{"format": 1}', "[]"])
def test_a_damaged_description_is_one_sentence_when_a_run_resumes(
    run, demo_shards, damage, tmp_path
):
    copied = tmp_path / "run"
    shutil.copytree(run, copied)
    (copied / "model.json").write_text(damage)
    with pytest.raises(errors.UserError, match=r"model\.json is damaged"):
        start(copied, demo_shards, steps=9)


@dvd.register
class WithArrays(dvd_gan.Generator):
    """Its defaults are nothing that a run stores."""

    def __init__(self, *args, ch=None, mean=np.zeros(3), kinds=(tf.nn.relu,), **kwargs):
        super().__init__(*args, ch=2, **kwargs)


def test_defaults_that_are_no_data_are_omitted(demo_shards, tmp_path):
    start(tmp_path, demo_shards, {"generator": WithArrays}, steps=1)
    arguments = model_of(str(tmp_path))["networks"]["arguments"]["generator"]
    assert arguments["arguments"] == {"ch": None}


class Unregistered(dvd_gan.Generator):
    pass


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"generator": Unregistered},
            r"Unregistered is not registered, so a run could not store it: decorate",
        ),
        (
            {"generator": functools.partial(dvd_gan.Generator, 3)},
            r"Pass the arguments of dvd_gan.Generator by name",
        ),
        (
            {"generator": functools.partial(dvd_gan.Generator, ch=object())},
            r"A run cannot store <object object",
        ),
    ],
)
def test_what_a_run_cannot_store_is_reported_before_it_starts(
    changes, message, demo_shards, tmp_path
):
    with pytest.raises(errors.UserError, match=message):
        start(tmp_path / "run", demo_shards, changes)
    assert not (tmp_path / "run").exists()
