"""Runs with the options for small data: resumed, exported, warmly started, alarmed."""

import json
import shutil
import types

import numpy as np
import pytest
import tensorflow as tf
from conftest import TINY, TINY_VGAN

import tf_dvdgan as dvd
from tf_dvdgan import errors, launch
from tf_dvdgan.models import dvd_gan, dvd_gan_fp, variables, vgan, video_gan
from tf_dvdgan.training import (
    alarms,
    augmentation,
    divergence,
    loop,
    overfitting,
    resuming,
    trainer,
    warm_start,
)

pytestmark = pytest.mark.usefixtures("quick_graphs")

ALL = [
    "trainer.build.augmentation = @augmentation.Augmentation",
    "augmentation.Augmentation.probability = 0.3",
    "augmentation.Augmentation.flip = True",
    "augmentation.Augmentation.reverse = True",
    "augmentation.Augmentation.zoom = 0.2",
    "augmentation.Augmentation.adaptation = @augmentation.Adaptation",
    "augmentation.Adaptation.measure = 'held_out'",
    "augmentation.Adaptation.every = 2",
    "augmentation.Adaptation.clips = 100",
    "video_gan.build.discriminator_terms = "
    "[@discriminator_terms.LeCam, @discriminator_terms.R1]",
    "discriminator_terms.LeCam.start_step = 1",
    "discriminator_terms.R1.every = 2",
    "video_gan.build.generator_loss = @losses.relativistic_hinge_generator_loss",
    "video_gan.build.discriminator_loss = "
    "@losses.relativistic_hinge_discriminator_loss",
    "trainer.build.accumulate_steps = 2",
    "trainer.build.frozen = ['*/conv_0/*']",
    "trainer.build.rates_for_batch_size = 8",
    "trainer.build.discriminator_learning_rate = 0.01",  # it prefers real clips
]


def run(model_dir, shards, *parameters, file=TINY_VGAN, **settings):
    launch.train(str(model_dir), shards, file, parameters, **settings)


def saved(model_dir, step=4) -> dict[str, np.ndarray]:
    reader = tf.train.load_checkpoint(f"{model_dir}/checkpoints/step-{step}")
    return {
        key: reader.get_tensor(key)
        for key in reader.get_variable_to_shape_map()
        if "OBJECT_GRAPH" not in key and "save_counter" not in key
    }


@pytest.fixture(scope="module")
def whole(demo_shards, tmp_path_factory) -> str:
    folder = str(tmp_path_factory.mktemp("whole"))
    run(folder, demo_shards, *ALL, "NUM_STEPS = 4")
    return folder


def test_a_run_with_all_of_it_resumes_to_the_bit(whole, demo_shards, tmp_path, capsys):
    run(tmp_path, demo_shards, *ALL, "NUM_STEPS = 1")
    run(tmp_path, demo_shards, *ALL, "NUM_STEPS = 4")
    out = capsys.readouterr().out
    assert "Resuming from step 1" in out and "  r1 " in out and "  p 0." in out
    expected, found = saved(whole), saved(tmp_path)
    assert expected.keys() == found.keys()
    state = {key.split("/")[0] for key in expected}
    assert {"augmentation", "lecam"} <= state
    for key, value in expected.items():
        np.testing.assert_array_equal(found[key], value, err_msg=key)
    measured = expected[
        "augmentation/adaptation/overfitting/.ATTRIBUTES/VARIABLE_VALUE"
    ]
    assert measured != np.float32(0.6)  # the target, before the first measurement


def test_such_a_run_is_sampled_and_exported_as_any(whole, tmp_path):
    gan = dvd.load(whole)
    videos = gan.sample(2, seed=1)
    gan.save(str(tmp_path / "export"))
    again = dvd.load(str(tmp_path / "export")).sample(2, seed=1)
    assert np.abs(videos.astype(int) - again).max() <= 1


class Brightness(tf.keras.Model):
    """A discriminator: the score of a clip is its mean, plus its label."""

    def num_uniforms(self, num_frames):
        return 0

    def call(self, videos, labels, uniform_noise, training=None):
        return tf.reduce_mean(videos, [1, 2, 3, 4]) + tf.cast(labels, tf.float32)


def test_held_out_scores_are_those_of_the_clips_and_labels():
    """Training clips of 0.5 and label 1, held-out ones of -0.5 and 2, generated: 0."""
    clips = {
        False: {"video": np.full([8, 2, 4, 4, 3], 191.25), "label": np.ones(8, int)},
        True: {"video": np.full([8, 2, 4, 4, 3], 63.75), "label": np.full(8, 2)},
    }
    gan = types.SimpleNamespace(
        discriminators=[Brightness()],
        latent=video_gan.GaussianLatent(),
        conditioning=lambda labels, videos: {"labels": labels},
        generate=lambda z, conditioning, training: {
            "videos": tf.zeros([4, 2, 4, 4, 3])
        },
    )
    made = types.SimpleNamespace(
        gan=gan, global_batch_size=4, seed=0, step=tf.constant(0, tf.int64)
    )
    measured = []
    taking = types.SimpleNamespace(every=1, measured=lambda *m: measured.extend(m))
    data = types.SimpleNamespace(sample=lambda count, held_out: clips[held_out])
    overfitting.HeldOutScores(made, taking, data).measure()
    np.testing.assert_allclose(tf.concat(measured, 0), [1.5, 1.5, 1.0], atol=1e-6)


def test_held_out_scores_need_held_out_clips():
    videos = np.zeros([4, 8, 16, 16, 3], np.uint8)
    dataset = tf.data.Dataset.from_tensor_slices((videos, [0] * 4))
    gan = dvd.VideoGAN.from_preset(TINY_VGAN, [], parameters=ALL)
    with pytest.raises(errors.UserError, match="needs a split 'test' or 'validation'"):
        gan.fit(dataset, 2, "/nowhere/run")


def test_a_run_cannot_go_on_with_less_or_more_state_than_it_has(
    demo_shards, tmp_path, capsys
):
    run(tmp_path, demo_shards, "NUM_STEPS = 1")
    more = "NUM_STEPS = 2"
    augmented = "trainer.build.augmentation = @augmentation.Augmentation"
    with pytest.raises(errors.UserError, match=r"has no augmentation\. Use the config"):
        run(tmp_path, demo_shards, augmented, more)
    # Layers may be frozen from a step on: the optimizer keeps its state of them.
    run(tmp_path, demo_shards, "trainer.build.frozen = ['*']", more)
    assert "Changed: trainer.build.frozen is now ['*']" in capsys.readouterr().out
    run(tmp_path, demo_shards, "NUM_STEPS = 3")


def test_layers_that_were_never_trained_stay_frozen(whole, demo_shards):
    parameters = [p for p in ALL if "frozen" not in p]
    with pytest.raises(
        errors.UserError, match=r"has frozen \['\*/conv_0/\*'\], so its"
    ):
        run(whole, demo_shards, *parameters, "NUM_STEPS = 5")


@pytest.mark.slow
def test_an_attempt_that_froze_nothing_does_not_bind_the_run(
    demo_shards, tmp_path, monkeypatch
):
    """It ended before it saved a checkpoint."""
    run(tmp_path, demo_shards, "NUM_STEPS = 1")

    def failing(self, batches, num_steps):
        raise KeyboardInterrupt

    monkeypatch.setattr(trainer.Trainer, "run_steps", failing)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, demo_shards, "trainer.build.frozen = ['*']", "NUM_STEPS = 2")
    monkeypatch.undo()
    run(tmp_path, demo_shards, "NUM_STEPS = 2")
    with pytest.raises(errors.UserError, match="has no augmentation"):  # it trained
        run(tmp_path, demo_shards, ALL[0], "NUM_STEPS = 3")


def test_frozen_layers_do_not_keep_a_run_with_a_damaged_checkpoint(
    whole, demo_shards, tmp_path, capsys
):
    run_dir = shutil.copytree(whole, tmp_path / "run")
    run(run_dir, demo_shards, *ALL, "NUM_STEPS = 5")
    (run_dir / "checkpoints" / "step-5.index").write_bytes(b"damaged")
    run(run_dir, demo_shards, *ALL, "NUM_STEPS = 6")
    assert "Resuming from step 4" in capsys.readouterr().out


def test_a_wider_pattern_freezes_no_less():
    frozen = {"training": {"trainer": {"arguments": {"frozen": ["*/block_0/*"]}}}}
    last, first = (tf.Variable(0.0, name=f"d/block_{i}/kernel") for i in (1, 0))
    resuming._check_frozen(frozen, [last], set())
    resuming._check_frozen(frozen, [last, first], {"d/block_0/kernel"})
    with pytest.raises(errors.UserError, match="no state of 'd/block_0/kernel'"):
        resuming._check_frozen(frozen, [last, first], set())


MISTAKES = {
    "trainer.build.rates_for_batch_size = 0": "must be at least 1. Received: 0",
    "trainer.build.accumulate_steps = 2.0": "must be a whole number above 0",
    "trainer.build.frozen = '*/conv_0/*'": "must be a list of patterns",
    "trainer.build.augmentation = @augmentation.Augmentation()": "without parenthes",
    "video_gan.build.discriminator_terms = "
    "[@discriminator_terms.LeCam()]": "discriminator_terms must create a part",
    "video_gan.build.discriminator_terms = @discriminator_terms.LeCam": "be a list",
    "video_gan.build.discriminator_terms = "
    "[@discriminator_terms.R1, @discriminator_terms.R1]": "must have names of their",
    "video_gan.build.generator_loss = @losses.relativistic_hinge_generator_loss": "need"
    "s the other one, too",
    "video_gan.build.discriminator_loss = "
    "@losses.relativistic_hinge_generator_loss": "is a generator's loss",
    "training.Divergence.raise_by = -1": "raise_by must be from 0 to 1",
}


@pytest.mark.parametrize("parameter", MISTAKES)
def test_a_mistake_is_reported(parameter, demo_shards, tmp_path):
    with pytest.raises(errors.UserError, match=MISTAKES[parameter]):
        run(tmp_path, demo_shards, parameter)
    assert not (tmp_path / "checkpoints").exists()


def test_a_step_without_its_run_and_a_step_that_is_none_are_reported(
    whole, demo_shards, tmp_path
):
    with pytest.raises(errors.UserError, match="`init_step` needs `init_from`"):
        run(tmp_path, demo_shards, init_step="best")
    with pytest.raises(errors.UserError, match=r"by its step or 'best'.*'last'"):
        run(tmp_path, demo_shards, init_from=whole, init_step="last")


# An alarm that acts.


def raised(model_dir, shards, monkeypatch, *parameters, steps=6):
    """A run of six steps, the discriminator of which is always right."""
    run_steps = trainer.Trainer.run_steps

    def pinned(self, batches, num_steps):
        metrics = run_steps(self, batches, num_steps)
        return {n: 1.0 if "accuracy" in n else v for n, v in metrics.items()}

    monkeypatch.setattr(trainer.Trainer, "run_steps", pinned)
    run(
        *(model_dir, shards, "trainer.build.augmentation = @augmentation.Augmentation"),
        "augmentation.Augmentation.probability = 0.25",
        "training.Divergence.pinned_steps = 2",
        f"NUM_STEPS = {steps}",
        "training.Schedule.checkpoint_every = 3",
        *parameters,
    )
    monkeypatch.undo()
    return float(
        saved(model_dir, steps)["augmentation/probability/.ATTRIBUTES/VARIABLE_VALUE"]
    )


def test_a_pinned_discriminator_raises_the_augmentation(
    demo_shards, tmp_path, monkeypatch, capsys
):
    """Again and again, while it lasts; the first checkpoint is of a step with one."""
    p = raised(
        *(tmp_path, demo_shards, monkeypatch),
        "training.Divergence.on_pinned = 'augment'",
        "training.Schedule.checkpoint_every = 2",
    )
    out = capsys.readouterr().out
    assert p == pytest.approx(0.55)
    assert "ALARM" in out and "raised to 0.35 (1 of at most 5 raises)" in out
    assert "raised to 0.55 (3 of at most 5 raises)" in out
    at_alarm = saved(tmp_path, 2)["augmentation/probability/.ATTRIBUTES/VARIABLE_VALUE"]
    assert at_alarm == pytest.approx(0.35)  # saved after it was raised
    # Another constant probability applies when the run resumes, with the three raises.
    resumed = []
    monkeypatch.setattr(
        loop.TrainingLoop, "run", lambda self: resumed.append(self._trainer)
    )
    run(
        *(tmp_path, demo_shards, "NUM_STEPS = 7"),
        "trainer.build.augmentation = @augmentation.Augmentation",
        "augmentation.Augmentation.probability = 0.5",
    )
    assert float(resumed[0].augmentation.probability) == pytest.approx(0.8)
    said = capsys.readouterr().out
    assert "augmentation.Augmentation.probability is now 0.5 (was 0.25)" in said


@pytest.mark.slow
def test_a_run_with_alarms_resumes_to_the_bit(demo_shards, tmp_path, monkeypatch):
    """It is stopped between two checks, after an alarm of the samples."""
    parameters = (
        "training.Divergence.on_pinned = 'augment'",
        "training.Divergence.on_collapsed = 'augment'",
        "training.Divergence.pinned_steps = 40",
        "training.Divergence.least_diversity = 10.0",
        "training.Schedule.samples_every = 30",
        "training.Schedule.checkpoint_every = 50",
    )
    whole, parts = str(tmp_path / "whole"), str(tmp_path / "parts")
    raised(whole, demo_shards, monkeypatch, *parameters, steps=50)
    for steps in (33, 50):
        raised(parts, demo_shards, monkeypatch, *parameters, steps=steps)
    at_break = saved(parts, 33)["divergence/_num_steps/.ATTRIBUTES/VARIABLE_VALUE"]
    assert at_break == 1  # since the check at step 32
    expected, found = saved(whole, 50), saved(parts, 50)
    assert expected.keys() == found.keys()
    for key, value in expected.items():
        np.testing.assert_array_equal(found[key], value, err_msg=key)
    # At step 30 the samples, at 40 the discriminator.
    assert expected["augmentation/num_raises/.ATTRIBUTES/VARIABLE_VALUE"] == 2


def test_an_alarm_of_the_samples_raises_the_augmentation_before_the_step_is_saved(
    demo_shards, tmp_path, capsys
):
    """So a run that is killed at any time resumes with the raised probability."""
    run(
        *(tmp_path, demo_shards, "NUM_STEPS = 2"),
        "trainer.build.augmentation = @augmentation.Augmentation",
        "augmentation.Augmentation.probability = 0.25",
        "training.Divergence.on_collapsed = 'augment'",
        "training.Divergence.least_diversity = 10.0",
        "training.Schedule.checkpoint_every = 1",
        "training.Schedule.samples_every = 1",
    )
    assert "raised to 0.45 (2 of at most 5 raises)" in capsys.readouterr().out
    for step, expected in ((1, 0.35), (2, 0.45)):
        key = "augmentation/probability/.ATTRIBUTES/VARIABLE_VALUE"
        assert saved(tmp_path, step)[key] == pytest.approx(expected)


def test_each_rollback_raises_the_augmentation_once_more(
    demo_shards, tmp_path, monkeypatch, capsys
):
    """Whether its checkpoint is from before an earlier raise or from after it."""
    with pytest.raises(errors.UserError, match="already been rolled back 4 times"):
        raised(
            *(tmp_path, demo_shards, monkeypatch),
            "training.Divergence.on_pinned = 'roll_back'",
            "training.Divergence.max_roll_backs = 4",
            "training.Divergence.max_raises = 3",
            "training.Schedule.checkpoint_every = 1",
        )
    out = capsys.readouterr().out
    assert "no checkpoint from before the problem: it began after step 0" in out
    found = [line[-4:] for line in out.splitlines() if "of probability" in line]
    assert found == ["0.35", "0.45", "0.55", "0.55"]


def test_an_alarm_cannot_raise_what_there_is_not(demo_shards, tmp_path):
    with pytest.raises(errors.UserError, match="but there is none"):
        run(tmp_path, demo_shards, "training.Divergence.on_collapsed = 'augment'")


def test_raises_end_at_their_limit(capsys):
    trainer = types.SimpleNamespace(
        step=tf.Variable(0),
        strategy=tf.distribute.get_strategy(),
        augmentation=augmentation.Augmentation(probability=0.0),
    )
    policy = divergence.Divergence(on_pinned="augment", max_raises=2, raise_by=0.25)
    saved = types.SimpleNamespace(model_dir="/nowhere")
    guard = alarms.Alarms(trainer, saved, policy, None, None)
    for expected in (0.25, 0.5, 0.5):
        guard._raise_augmentation()
        assert float(trainer.augmentation.probability) == expected
    assert "(2 of at most 2 raises)" in (said := capsys.readouterr().out)
    assert "already been raised 2 times" in said
    # Where the probability is 1, nothing is raised, and nothing counted.
    trainer.augmentation = augmentation.Augmentation(probability=0.9)
    for raises in (1, 1):
        guard._raise_augmentation()
        assert float(trainer.augmentation.probability) == 1.0
        assert int(trainer.augmentation.num_raises) == raises
    assert "is 1 already" in capsys.readouterr().out


def test_a_probability_of_1_cannot_be_raised(demo_shards, tmp_path):
    parameters = (
        "trainer.build.augmentation = @augmentation.Augmentation",
        "training.Divergence.on_pinned = 'augment'",
    )
    with pytest.raises(errors.UserError, match="which is 1 already"):
        run(tmp_path, demo_shards, *parameters)


def test_a_rollback_reaches_back_before_a_long_problem(
    demo_shards, tmp_path, monkeypatch, capsys
):
    """Although that is more checkpoints than the run keeps otherwise."""
    run_steps = trainer.Trainer.run_steps

    def pinned_from_step_4(self, batches, num_steps):
        metrics = run_steps(self, batches, num_steps)
        accuracy = float(self.step.numpy() >= 4)
        return {n: accuracy if "accuracy" in n else v for n, v in metrics.items()}

    monkeypatch.setattr(trainer.Trainer, "run_steps", pinned_from_step_4)
    with pytest.raises(errors.UserError, match="already been rolled back 1 times"):
        run(
            *(tmp_path, demo_shards, "training.Divergence.on_pinned = 'roll_back'"),
            "training.Divergence.pinned_steps = 8",
            "training.Divergence.max_roll_backs = 1",
            "training.Schedule.checkpoint_every = 1",
            "training.Schedule.steps_per_loop = 1",
            "NUM_STEPS = 20",
        )
    out = capsys.readouterr().out
    assert "Rolled back to step 3," in out and "no checkpoint from before" not in out


# Warm start.


@pytest.mark.long
@pytest.mark.slow
def test_a_run_starts_from_one_of_fewer_pixels_and_other_classes(
    tiny_run, demo_videos, tmp_path, monkeypatch, capsys
):
    shards = str(tmp_path / "shards")
    names = ["RoundCircle", "HorizontalSquare", "VerticalTriangle"]
    dvd.prepare(demo_videos, shards, dataset="ucf101", resolution=32, num_shards=1)
    started = {}

    def start_only(self):
        gan = self._trainer.gan
        for network in (gan.generator, *gan.discriminators):
            started[network.name] = {
                p: v.numpy() for p, v in variables.by_path(network).items()
            }

    monkeypatch.setattr(loop.TrainingLoop, "run", start_only)
    few = f"data.Window.classes = {names}"
    out_dir = tmp_path / "run"
    run(out_dir, shards, "RESOLUTION = 32", few, file=TINY, init_from=tiny_run)
    out = capsys.readouterr().out
    assert "Starting from step 6 of" in out and "3 of 3 classes are the same" in out
    record = json.loads((out_dir / "model.json").read_text())["initialized_from"]
    assert record["step"] == 6 and record["classes"] == names
    # Raw weights, so those of the checkpoint.
    old = saved(tiny_run, 6)
    end = "/.ATTRIBUTES/VARIABLE_VALUE"
    np.testing.assert_array_equal(
        started["generator"]["last/kernel"], old[f"generator/last/kernel{end}"]
    )
    with open(f"{tiny_run}/dataset.json") as file:
        before = json.load(file)["class_names"]
    np.testing.assert_array_equal(
        started["generator"]["embedding/kernel"],
        old[f"generator/embedding/kernel{end}"][[before.index(n) for n in names]],
    )
    copied = record["networks"]
    assert 0.5 < copied["generator"]["copied"] / copied["generator"]["all"] < 1
    # The last stages are those of the run of fewer pixels.
    kept = started["generator"]["stage_2/stage_2_recurrence/reset/kernel"]
    assert any(np.array_equal(kept, value) for value in old.values())
    # Later blocks of a discriminator are too: its first ones see other pixels.
    kept = started["spatial_discriminator"]["block_3/conv_1/kernel"]
    assert any(np.array_equal(kept, value) for value in old.values())


def test_the_average_starts_from_the_weights_of_the_other_run(
    whole, demo_shards, tmp_path, monkeypatch, capsys
):
    pairs = []

    def start_only(self):
        made = self._trainer
        for weights in made.generator_variables:
            average = made.generator_optimizer.get_slot(weights, "average")
            pairs.append((weights.numpy(), average.numpy()))

    monkeypatch.setattr(loop.TrainingLoop, "run", start_only)
    run(tmp_path, demo_shards, init_from=whole)
    assert "% of the values\n" in capsys.readouterr().out  # it has no classes
    assert pairs
    for weights, average in pairs:
        np.testing.assert_array_equal(average, weights)


def test_a_start_that_was_lost_is_not_claimed(
    whole, demo_shards, tmp_path, monkeypatch
):
    """The process ended before the first checkpoint."""

    def failing(self, batches, num_steps):
        raise KeyboardInterrupt

    monkeypatch.setattr(trainer.Trainer, "run_steps", failing)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, demo_shards, init_from=whole)
    monkeypatch.undo()
    monkeypatch.setattr(loop.TrainingLoop, "run", lambda self: None)
    with pytest.raises(errors.UserError, match="pass `init_from`"):
        run(tmp_path, demo_shards)
    run(tmp_path, demo_shards, init_from=whole)
    record = json.loads((tmp_path / "model.json").read_text())["initialized_from"]
    assert record["run"] == whole


def vgan_of(resolution: int) -> video_gan.Networks:
    made = video_gan.Networks(
        vgan.Generator(resolution, 8, 0, ch=24),
        [vgan.Discriminator(resolution, 0, ch=24)],
        video_gan.GaussianLatent((100,)),
        class_conditional=False,
    )
    made.build()
    return made


def continuing(resolution: int, skip_connections: bool) -> video_gan.Networks:
    made = video_gan.Networks(
        dvd_gan_fp.Generator(
            *(resolution, 4, 1),
            num_conditioning_frames=2,
            ch=2,
            skip_connections=skip_connections,
        ),
        [dvd_gan.TemporalDiscriminator(resolution, 1, ch=2)],
        video_gan.GaussianLatent(),
    )
    made.build()
    return made


@pytest.mark.parametrize(
    ("old", "new", "copies"),
    [
        (
            lambda: vgan_of(16),
            lambda: vgan_of(32),
            {"foreground/conv_2/kernel": "foreground/conv_1/kernel"},
        ),
        (
            lambda: continuing(16, False),
            lambda: continuing(32, False),
            {
                "conditioned/stage_2/stage_2_block_1/conv_1/kernel": "conditioned"
                "/stage_1/stage_1_block_1/conv_1/kernel",
                "encoder/block_3/conv_1/kernel": "encoder/block_2/conv_1/kernel",
            },
        ),
        (
            lambda: continuing(32, True),
            lambda: continuing(16, True),
            {
                "encoder/block_2/conv_1/kernel": "encoder/block_3/conv_1/kernel",
            },
        ),
    ],
    ids=["vgan", "fp_v2", "fp_v1_to_fewer_pixels"],
)
def test_blocks_within_a_part_of_a_generator_are_matched(old, new, copies, monkeypatch):
    old, new = old(), new()
    monkeypatch.setattr(warm_start, "_build", lambda _: (old, ["a"]))
    monkeypatch.setattr(warm_start.checkpoints, "restore_networks", lambda *_: 6)
    warm_start.initialize(new, ["a"], "RUN")
    target, source = (variables.by_path(gan.generator) for gan in (new, old))
    for path, of_old in copies.items():
        np.testing.assert_array_equal(target[path], source[of_old], err_msg=path)


def test_classes_are_not_the_same_if_only_one_model_has_them(monkeypatch, capsys):
    old, new = networks_of(16, []), networks_of(16, ["a", "b"])
    monkeypatch.setattr(warm_start, "_build", lambda _: (old, ["a", "b"]))
    monkeypatch.setattr(warm_start.checkpoints, "restore_networks", lambda *_: 6)
    assert warm_start.initialize(new, ["a", "b"], "RUN")["classes"] == []
    assert "classes are the same" not in capsys.readouterr().out


def networks_of(resolution: int, class_names: list[str]) -> video_gan.Networks:
    made = video_gan.Networks(
        dvd_gan.Generator(resolution, 2, len(class_names), ch=2),
        [
            dvd_gan.SpatialDiscriminator(
                resolution, len(class_names), ch=2, num_frames=1
            )
        ],
        video_gan.GaussianLatent(),
        class_conditional=bool(class_names),
    )
    made.build()
    return made


def test_frozen_layers_that_are_not_copied_are_refused(monkeypatch):
    """A discriminator of more pixels has other first blocks."""
    old, new = (networks_of(side, ["a", "b"]) for side in (16, 32))
    monkeypatch.setattr(warm_start, "_build", lambda _: (old, ["a", "b"]))
    monkeypatch.setattr(
        warm_start.checkpoints, "restore_networks", lambda *_: 6, raising=True
    )
    by_name = {v.name.removesuffix(":0"): v for v in new.discriminator_variables}
    first, last = (
        [v for n, v in by_name.items() if block in n] for block in ("k_0/", "k_3/")
    )
    assert first and last
    warm_start.initialize(new, ["a", "b"], "RUN", frozen=last)
    with pytest.raises(errors.UserError, match=r"frozen matches '.*block_0.*random"):
        warm_start.initialize(new, ["a", "b"], "RUN", frozen=first)
    # Of a class that the other run does not have there is no embedding.
    embedding = [v for n, v in by_name.items() if "embedding" in n]
    warm_start.initialize(new, ["b", "a"], "RUN", frozen=embedding)
    with pytest.raises(errors.UserError, match=r"frozen matches '.*embedding"):
        warm_start.initialize(new, ["b", "c"], "RUN", frozen=embedding)


def test_embeddings_are_not_copied_between_models_with_and_without_classes():
    rows = {0: 0, 1: 1}
    for initial, source in (((3, 2), (1, 2)), ((1, 2), (3, 2))):
        found, whole = warm_start._by_class(np.zeros(initial), np.ones(source), rows)
        np.testing.assert_array_equal(found, np.zeros(initial))
        assert not whole


def test_another_width_cannot_be_started_from(whole, demo_shards, tmp_path):
    with pytest.raises(errors.UserError, match=r"Only \d % of the generator match"):
        run(tmp_path, demo_shards, "CH = 3", init_from=whole)


def test_a_folder_without_a_run_cannot_be_started_from(demo_shards, tmp_path):
    with pytest.raises(errors.UserError, match="has no model"):
        run(tmp_path / "new", demo_shards, init_from=str(tmp_path))
