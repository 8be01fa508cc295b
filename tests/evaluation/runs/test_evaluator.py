"""What an evaluator scores and keeps, and that it ends no run when it cannot."""

import dataclasses
import json
import os
import resource

import gin
import numpy as np
import pytest
import tensorflow as tf
from conftest import TINY

from tf_dvdgan import config, errors, run_directory
from tf_dvdgan.data import clips, readers, windows
from tf_dvdgan.evaluation.metrics import frechet
from tf_dvdgan.evaluation.runs import arguments, protocols, receipts, scorer, watch
from tf_dvdgan.evaluation.runs import evaluator as evaluator_lib
from tf_dvdgan.models import video_gan
from tf_dvdgan.sampling import latents
from tf_dvdgan.sampling import sampler as sampler_lib
from tf_dvdgan.training import evaluation_plan

pytestmark = pytest.mark.usefixtures("quick_graphs")

NAME = "fid_pixels"
WINDOW = windows.Window(4, 16)


@pytest.fixture
def gan(tiny_config):
    made = video_gan.from_config([f"{i}" for i in range(9)])
    made.build()
    return made


@pytest.fixture
def evaluator_of(gan, demo_shards, tmp_path):
    """Makes an evaluator of a plan."""

    def make(num_steps=0, **plan) -> evaluator_lib.Evaluator:
        return evaluator_lib.Evaluator(
            str(tmp_path),
            demo_shards,
            WINDOW,
            evaluation_plan.EvaluationPlan(**{"num_videos": 4, **plan}),
            num_steps,
            gan,
        )

    return make


@pytest.fixture
def evaluator(evaluator_of, tmp_path):
    """Of a run with checkpoints of steps 1, 2 and 3."""
    weights = tf.train.Checkpoint(x=tf.Variable(0.0))
    manager = tf.train.CheckpointManager(
        weights, str(tmp_path / "checkpoints"), 3, checkpoint_name="step"
    )
    for step in (1, 2, 3):
        manager.save(checkpoint_number=step)
    return evaluator_of()


def write(evaluator, step, score, at_end=False, **of_step):
    """Writes a score as if it had been computed."""
    settings = evaluator._scorer.settings(evaluator._protocol(NAME, at_end))
    record = {"step": step, "scores": {NAME: score}, "evaluation": True, **settings}
    record |= of_step
    evaluator._write(step, [json.loads(json.dumps(record))], at_end)


def steps_of(evaluator) -> set[int]:
    """Steps with scores, of a run that was never rolled back."""
    assert {rollbacks for _, rollbacks in evaluator.evaluated()} <= {0, None}
    return {step for step, _ in evaluator.evaluated()}


def best(tmp_path) -> str:
    return os.path.basename(tf.train.latest_checkpoint(str(tmp_path / "best")))


def rows_of(tmp_path) -> list[dict]:
    with open(tmp_path / "scores.jsonl") as file:
        return [json.loads(line) for line in file]


def test_the_best_step_is_kept_and_scores_carry_their_protocol(evaluator, tmp_path):
    for step, score, expected in ((1, 5.0, 1), (2, 3.0, 2), (3, 4.0, 2)):
        write(evaluator, step, score)
        assert best(tmp_path) == f"step-{expected}"
    assert steps_of(evaluator) == {1, 2, 3}
    rows = rows_of(tmp_path)
    assert [row["scores"][NAME] for row in rows] == [5.0, 3.0, 4.0]
    protocol = rows[0]["protocol"]
    assert protocol["num_generated"] == protocol["num_real"] == 4
    assert protocol["real"]["split"] == "test"
    assert protocol["resolution"] == 16


def test_after_a_rollback_a_step_is_scored_again_and_the_best_stays(
    evaluator, tmp_path
):
    for step, score in ((1, 5.0), (2, 3.0), (3, 1.0)):
        write(evaluator, step, score, rollbacks=0)
    kept, again = (tmp_path / name / "step-3.index" for name in ("best", "checkpoints"))
    before = kept.read_bytes()
    again.write_bytes(b"of other weights")
    write(evaluator, 3, 2.5, rollbacks=1)
    done = evaluator.evaluated()
    assert done == {(1, 0), (2, 0), (3, 0), (3, 1)}
    assert evaluator_lib.is_in(3, 1, done) and not evaluator_lib.is_in(2, 1, done)
    assert evaluator_lib.is_in(2, 1, {(2, None)})  # a row of an earlier version
    assert kept.read_bytes() == before  # still the one with a score of 1
    write(evaluator, 3, 0.5, rollbacks=2)
    assert kept.read_bytes() == b"of other weights"


def test_scores_by_another_protocol_are_not_compared(evaluator, evaluator_of, tmp_path):
    write(evaluator, 1, 5.0)
    other = evaluator_of(num_videos=8)
    assert not other.evaluated()
    write(other, 2, 9.0)
    assert best(tmp_path) == "step-2"


def test_scores_of_an_earlier_version_count(evaluator, tmp_path):
    """Its rows had the scores of all protocols, and the window beside these."""
    write(evaluator, 1, 5.0)
    (row,) = rows_of(tmp_path)
    own = row["inputs"]["protocol"] | {"split": "test", "weights": {}}
    window = {"num_frames": 4, "resolution": 16, "stride": 2, "classes": []}
    scores = {NAME: 2.0, f"{NAME}/recall": 0.5, "scores/d_held_out": 1.0}
    earlier = {"step": 2, "scores": scores, "protocol": {"window": window, NAME: own}}
    run_directory.add_row(str(tmp_path / "scores.jsonl"), earlier)
    assert steps_of(evaluator) == {1, 2}
    write(evaluator, 3, 4.0)
    assert best(tmp_path) == "step-1"  # step 2 is better, but was not kept
    earlier["protocol"][NAME]["num_real"] = 3
    run_directory.add_row(str(tmp_path / "scores.jsonl"), {**earlier, "step": 4})
    assert steps_of(evaluator) == {1, 2, 3}


def test_scores_of_the_command_are_not_an_evaluation(evaluator, tmp_path):
    """Their checkpoint was not kept as the best, which a later one must beat."""
    write(evaluator, 1, 5.0)
    (row,) = rows_of(tmp_path)
    del row["evaluation"]
    others = [row | {"step": 2, "scores": {NAME: 1.0}}, {"step": 3, "protocol": {}}]
    run_directory.add_row(str(tmp_path / "scores.jsonl"), *others)
    assert steps_of(evaluator) == {1}
    write(evaluator, 3, 4.0)
    assert best(tmp_path) == "step-3"


def test_standing_statistics_are_a_setting(evaluator, evaluator_of):
    write(evaluator, 1, 5.0)
    assert not evaluator_of(standing_batches=2).evaluated()


def test_a_checkpoint_that_is_gone_costs_no_score(evaluator, tmp_path, capsys):
    write(evaluator, 7, 1.0)
    assert "The best checkpoint, step 7, cannot be copied" in capsys.readouterr().out
    assert steps_of(evaluator) == {7}


def test_a_full_disk_is_reported(evaluator, tmp_path, capsys):
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, old[1]))
    try:
        with evaluator_lib._skipping_failures("Scores of step 1 cannot be written"):
            write(evaluator, 1, 1.0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert "cannot be written" in capsys.readouterr().out
    assert not evaluator.evaluated()


def test_scores_are_those_of_their_definition(gan, evaluator_of, demo_shards):
    evaluator = evaluator_of(num_videos=20, standing_batches=2)
    found = evaluator.evaluate(step=1)
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


def test_the_last_step_is_scored_twice(evaluator_of, tmp_path):
    evaluator = evaluator_of(3, num_videos_at_end=12, standing_batches=1)
    assert not any(name.startswith("at_end") for name in evaluator.evaluate(2))
    found = evaluator.evaluate(3)
    assert found[NAME] != found[f"at_end/{NAME}"]
    rows = rows_of(tmp_path)
    counts = [(row["step"], row["protocol"]["num_generated"]) for row in rows]
    assert counts == [(2, 4), (3, 4), (3, 12)]
    assert [row["scores"][NAME] for row in rows[1:]] == [
        found[NAME],
        found[f"at_end/{NAME}"],
    ]
    assert steps_of(evaluator) == {2, 3}


def test_a_last_step_without_its_second_scores_is_not_done(evaluator_of):
    evaluator = evaluator_of(3, num_videos_at_end=12)
    write(evaluator, 2, 1.0)
    write(evaluator, 3, 1.0)
    assert steps_of(evaluator) == {2}
    write(evaluator, 3, 1.0, at_end=True)
    assert steps_of(evaluator) == {2, 3}
    longer = evaluator_of(6, num_videos_at_end=12)
    write(longer, 6, 1.0)
    assert steps_of(longer) == {2, 3}


def test_the_last_step_is_scored_once_where_the_numbers_are_the_same(
    evaluator_of, tmp_path
):
    evaluator = evaluator_of(3, num_videos_at_end=4, standing_batches=1)
    evaluator.evaluate(3)
    assert len(rows_of(tmp_path)) == 1 and steps_of(evaluator) == {3}


def test_real_clips_are_read_once_and_warnings_printed_once(
    evaluator_of, monkeypatch, capsys
):
    evaluator = evaluator_of(num_videos=20, standing_batches=1)
    evaluator.evaluate(1)
    warning = "fid_pixels: warning: 20 real clips are too few for the covariance"
    assert capsys.readouterr().out.count(warning) == 1
    folders = [evaluator._scorer._of_samples.name]
    read = []
    examples = clips.ShardSource.examples
    monkeypatch.setattr(
        clips.ShardSource,
        "examples",
        lambda self, *args: read.append(self.split) or examples(self, *args),
    )
    evaluator.evaluate(2)
    assert warning not in capsys.readouterr().out
    assert read == ["test"]  # for the discriminators, whose weights are others
    assert not os.path.exists(folders[0])  # features of the samples of step 1


@pytest.mark.parametrize(
    "plan, message",
    [
        ({"protocols": ("s3_mvt", NAME)}, "s3_mvt cannot score a run in training"),
        ({"protocols": ("prediction", NAME)}, "prediction cannot score a run"),
        ({"protocols": ("fid_pixel",)}, "Did you mean 'fid_pixels'"),
        ({"best": "fid_smal"}, "Did you mean 'fid_small'"),
        ({"best": "fid_small"}, "best is 'fid_small'.* has only fid_pixels"),
    ],
)
def test_an_invalid_plan_is_reported(plan, message):
    with pytest.raises(errors.UserError, match=message) as error:
        evaluator_lib.check_plan(evaluation_plan.EvaluationPlan(**plan))
    assert "\n" not in str(error.value)


def test_the_plan_of_a_config_is_checked_before_training():
    config.load([TINY], ["evaluation.Plan.best = 'fid_small'"])
    with pytest.raises(errors.UserError, match="best is 'fid_small'"):
        plan = gin.get_configurable("evaluation.Plan")()
        watch.EvaluationCallback("/nowhere", "/nowhere", WINDOW, plan, 3)


@pytest.fixture
def continuing_gan():
    sizes = ["RESOLUTION = 16", "STRIDE = 1", "CH = 2", "NUM_FRAMES = 6"]
    sizes += ["CONDITIONING_FRAMES = 2", "dvd_gan.SpatialDiscriminator.num_frames = 2"]
    config.load(["models/dvdgan_fp_v2.gin"], sizes)
    made = video_gan.from_config([f"{i}" for i in range(9)])
    made.build()
    made.frame_bank = np.zeros([4, 2, 16, 16, 3], np.uint8)  # for the statistics
    return made


def test_a_model_that_starts_from_frames_continues_what_it_is_compared_with(
    continuing_gan, demo_shards, tmp_path
):
    """Not the clips of its frame bank, which it was trained on."""
    window = windows.Window(6, 16, 1)
    plan = evaluation_plan.EvaluationPlan(num_videos=5)
    made = evaluator_lib.Evaluator(
        str(tmp_path), demo_shards, window, plan, 0, continuing_gan
    )
    _, source = made._scorer.sides(made._protocol(NAME, at_end=False))
    held_out = readers.evaluation_dataset(demo_shards, window, "test").take(5)
    expected = [row["video"][:2] for row in held_out.as_numpy_iterator()]
    found = [row["frames"] for row in source.rows(0, 0, 1)]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("kind", ["sampled", "continuing"])
def test_scores_in_training_are_those_of_the_same_step_afterwards(
    request, demo_shards, tmp_path, monkeypatch, kind
):
    """By `Scorer`, which `tools.score` and `tf_dvdgan.score` use."""
    networks = request.getfixturevalue("gan" if kind == "sampled" else "continuing_gan")
    window = WINDOW if kind == "sampled" else windows.Window(6, 16, 1)
    protocol = dataclasses.replace(
        protocols.get(NAME), split="train", samples_per_clip=2, by_frame=True
    )
    monkeypatch.setitem(protocols.PROTOCOLS, NAME, protocol)
    evaluator_lib.Evaluator(
        str(tmp_path),
        demo_shards,
        window,
        evaluation_plan.EvaluationPlan(num_videos=24, batch_size=5),
        last_step=9,
        networks=networks,
    ).evaluate(step=3)
    (row,) = rows_of(tmp_path)
    sampler = sampler_lib.Sampler(networks)
    names = clips.open_clips(demo_shards).class_names
    result = scorer.Scorer(
        demo_shards,
        scorer.Model(sampler, window, names, 3, str(tmp_path)),
        changes=arguments.Changes(num_generated=24, num_real=24),
        num_resamples=0,
        cache_dir=str(tmp_path / "cache"),
    )(NAME)
    afterwards = receipts.record_of(result)
    own = {n: v for n, v in row["scores"].items() if not n.startswith("scores/")}
    assert own == pytest.approx(afterwards["scores"], rel=1e-5, abs=1e-7)
    others = {"kernel_distance", "precision", "recall", "density", "coverage"}
    others |= {"memorization", "real_from_real", "until_frame_2"}
    if kind == "continuing":
        others |= {"copy", "copy_until_frame_3"}
    assert {f"{NAME}/{name}" for name in others} <= own.keys()
    row.pop("scores"), afterwards.pop("scores")
    assert row == afterwards | {"evaluation": True, "rollbacks": 0}
