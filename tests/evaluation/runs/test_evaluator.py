"""What an evaluator scores and keeps, and that it ends no run when it cannot."""

import json
import os
import resource

import gin
import numpy as np
import pytest
import tensorflow as tf
from conftest import TINY

from tf_dvdgan import config, errors
from tf_dvdgan.data import readers, windows
from tf_dvdgan.evaluation.metrics import frechet
from tf_dvdgan.evaluation.runs import evaluator as evaluator_lib
from tf_dvdgan.evaluation.runs import watch
from tf_dvdgan.models import video_gan
from tf_dvdgan.sampling import latents
from tf_dvdgan.sampling import sampler as sampler_lib
from tf_dvdgan.training import schedule

NAME = "fid_pixels"
WINDOW = windows.Window(4, 16)


def evaluator_of(tmp_path, demo_shards, num_steps=0, **plan):
    return evaluator_lib.Evaluator(
        str(tmp_path),
        demo_shards,
        WINDOW,
        schedule.EvaluationPlan(**{"num_videos": 4, "held_out": "nowhere", **plan}),
        num_steps,
    )


@pytest.fixture
def evaluator(demo_shards, tmp_path):
    """Of a run with checkpoints of steps 1, 2 and 3."""
    weights = tf.train.Checkpoint(x=tf.Variable(0.0))
    manager = tf.train.CheckpointManager(
        weights, str(tmp_path / "checkpoints"), 3, checkpoint_name="step"
    )
    for step in (1, 2, 3):
        manager.save(checkpoint_number=step)
    return evaluator_of(tmp_path, demo_shards)


def best(tmp_path) -> str:
    return os.path.basename(tf.train.latest_checkpoint(str(tmp_path / "best")))


def rows_of(tmp_path) -> list[dict]:
    with open(tmp_path / "scores.jsonl") as file:
        return [json.loads(line) for line in file]


def test_the_best_step_is_kept_and_scores_carry_their_protocol(evaluator, tmp_path):
    for step, score, expected in ((1, 5.0, 1), (2, 3.0, 2), (3, 4.0, 2)):
        evaluator._write(step, {NAME: score}, at_end=False)
        assert best(tmp_path) == f"step-{expected}"
    assert evaluator.evaluated() == {1, 2, 3}
    rows = rows_of(tmp_path)
    assert [row["scores"][NAME] for row in rows] == [5.0, 3.0, 4.0]
    protocol = rows[0]["protocol"]
    assert protocol[NAME]["num_generated"] == protocol[NAME]["num_real"] == 4
    assert protocol[NAME]["split"] == "train"  # there is no other
    assert protocol["window"]["resolution"] == 16


def test_scores_by_another_protocol_are_not_compared(evaluator, demo_shards, tmp_path):
    evaluator._write(1, {NAME: 5.0}, at_end=False)
    other = evaluator_of(tmp_path, demo_shards, num_videos=8)
    assert not other.evaluated()
    other._write(2, {NAME: 9.0}, at_end=False)
    assert best(tmp_path) == "step-2"


def test_a_checkpoint_that_is_gone_costs_no_score(evaluator, tmp_path, capsys):
    evaluator._write(7, {NAME: 1.0}, at_end=False)
    assert "The best checkpoint, step 7, cannot be copied" in capsys.readouterr().out
    assert evaluator.evaluated() == {7}


def test_a_full_disk_is_reported(evaluator, tmp_path, capsys):
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, old[1]))
    try:
        with evaluator_lib._skipping_failures("Scores of step 1 cannot be written"):
            evaluator._write(1, {NAME: 1.0}, at_end=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert "cannot be written" in capsys.readouterr().out
    assert not evaluator.evaluated()


@pytest.fixture
def gan(tiny_config):
    made = video_gan.build([f"{i}" for i in range(9)])
    made.build()
    return made


def test_scores_are_those_of_their_definition(gan, demo_shards, tmp_path):
    evaluator = evaluator_of(
        tmp_path, demo_shards, num_videos=20, held_out="test", standing_batches=2
    )
    found = evaluator.evaluate(gan, step=1)
    rows = readers.evaluation_dataset(demo_shards, WINDOW, "test").take(20)
    real = np.stack([row["video"] for row in rows.as_numpy_iterator()])
    labels = latents.draw_labels(20, 0, 9)
    z = latents.draw(gan.latent, 20, 0)
    made = sampler_lib.Sampler(gan, None, 2).sample(z, labels)["videos"]

    def moments(videos):
        # 4 frames of 16 pixels, each averaged to 4x4.
        means = (videos / 127.5 - 1).reshape(20, 4, 4, 4, 4, 4, 3).mean((3, 5))
        seen = frechet.Moments(192)
        seen.add(means.reshape(20, 192))
        return seen

    expected = frechet.distance(moments(real), moments(made))
    np.testing.assert_allclose(found[NAME], expected, rtol=1e-3)
    for discriminator in gan.discriminators:
        said = discriminator(tf.constant(made / np.float32(127.5) - 1), labels)
        name = f"scores/{discriminator.name}_generated"
        np.testing.assert_allclose(found[name], np.mean(said), rtol=1e-3, atol=1e-4)
        assert f"scores/{discriminator.name}_held_out" in found


def test_the_last_step_is_scored_twice(gan, demo_shards, tmp_path):
    evaluator = evaluator_of(
        tmp_path, demo_shards, 3, num_videos_at_end=12, standing_batches=1
    )
    assert not any(name.startswith("at_end") for name in evaluator.evaluate(gan, 2))
    found = evaluator.evaluate(gan, 3)
    assert found[NAME] != found[f"at_end/{NAME}"]
    rows = rows_of(tmp_path)
    counts = [(row["step"], row["protocol"][NAME]["num_generated"]) for row in rows]
    assert counts == [(2, 4), (3, 4), (3, 12)]
    assert [row["scores"][NAME] for row in rows[1:]] == [
        found[NAME],
        found[f"at_end/{NAME}"],
    ]
    assert evaluator.evaluated() == {2, 3}


def test_a_last_step_without_its_second_scores_is_not_done(demo_shards, tmp_path):
    evaluator = evaluator_of(tmp_path, demo_shards, 3, num_videos_at_end=12)
    evaluator._write(2, {NAME: 1.0}, at_end=False)
    evaluator._write(3, {NAME: 1.0}, at_end=False)
    assert evaluator.evaluated() == {2}
    evaluator._write(3, {NAME: 1.0}, at_end=True)
    assert evaluator.evaluated() == {2, 3}
    longer = evaluator_of(tmp_path, demo_shards, 6, num_videos_at_end=12)
    longer._write(6, {NAME: 1.0}, at_end=False)
    assert longer.evaluated() == {2, 3}


def test_the_last_step_is_scored_once_where_the_numbers_are_the_same(
    gan, demo_shards, tmp_path
):
    evaluator = evaluator_of(
        tmp_path, demo_shards, 3, num_videos_at_end=4, standing_batches=1
    )
    evaluator.evaluate(gan, 3)
    assert len(rows_of(tmp_path)) == 1 and evaluator.evaluated() == {3}


@pytest.mark.parametrize(
    "plan, sentence",
    [
        ({"protocols": ("s3_mvt", NAME)}, "s3_mvt cannot score a run in training"),
        ({"protocols": ("prediction", NAME)}, "prediction cannot score a run"),
        ({"protocols": ("fid_pixel",)}, "Did you mean 'fid_pixels'"),
        ({"best": "fid_smal"}, "Did you mean 'fid_small'"),
        ({"best": "fid_small"}, "best is 'fid_small'.* has only fid_pixels"),
    ],
)
def test_a_plan_that_cannot_be_is_one_sentence(plan, sentence):
    with pytest.raises(errors.UserError, match=sentence) as error:
        evaluator_lib.check_plan(schedule.EvaluationPlan(**plan))
    assert "\n" not in str(error.value)


def test_a_configs_plan_is_looked_at_before_training():
    config.load([TINY], ["evaluation.Plan.best = 'fid_small'"])
    with pytest.raises(errors.UserError, match="best is 'fid_small'"):
        plan = gin.get_configurable("evaluation.Plan")()
        watch.EvaluationCallback("/nowhere", "/nowhere", WINDOW, plan, 3)


def test_a_model_that_starts_from_frames_continues_what_it_is_compared_with(
    demo_shards, tmp_path
):
    """Not the clips of its frame bank, which it was trained on."""
    sizes = ["RESOLUTION = 16", "STRIDE = 1", "CH = 2", "NUM_FRAMES = 6"]
    sizes += ["CONDITIONING_FRAMES = 2", "dvd_gan.SpatialDiscriminator.num_frames = 2"]
    config.load(["models/dvdgan_fp_v2.gin"], sizes)
    gan = video_gan.build(["video"])
    made = evaluator_lib.Evaluator(
        str(tmp_path),
        demo_shards,
        windows.Window(6, 16, 1),
        schedule.EvaluationPlan(num_videos=5),
        last_step=0,
    )
    (source,) = made._generated(gan, made._protocol(NAME, at_end=False))
    window = windows.Window(6, 16, 1)
    held_out = readers.evaluation_dataset(demo_shards, window, "test").take(5)
    expected = [row["video"][:2] for row in held_out.as_numpy_iterator()]
    found = [row["frames"] for row in source.rows(0, 0, 1)]
    np.testing.assert_array_equal(found, expected)
