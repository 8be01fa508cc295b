"""What an evaluator keeps, and that it ends no run when it cannot."""

import json
import os
import resource

import pytest
import tensorflow as tf

from tf_dvdgan.data import readers
from tf_dvdgan.evaluation import evaluator as evaluator_lib

NAME = "frechet_distance/pixels"


@pytest.fixture
def evaluator(demo_shards, tmp_path):
    """Of a run with checkpoints of steps 1, 2 and 3."""
    weights = tf.train.Checkpoint(x=tf.Variable(0.0))
    manager = tf.train.CheckpointManager(
        weights, str(tmp_path / "checkpoints"), 3, checkpoint_name="step"
    )
    for step in (1, 2, 3):
        manager.save(checkpoint_number=step)
    window = readers.Window(4, 16)
    protocol = evaluator_lib.Protocol(num_videos=4, split="nowhere")
    return evaluator_lib.Evaluator(
        str(tmp_path), demo_shards, window=window, protocol=protocol
    )


def best(tmp_path) -> str:
    return os.path.basename(tf.train.latest_checkpoint(str(tmp_path / "best")))


def test_the_best_step_is_kept_and_scores_carry_their_protocol(evaluator, tmp_path):
    for step, score, expected in ((1, 5.0, 1), (2, 3.0, 2), (3, 4.0, 2)):
        evaluator._keep(step, {NAME: score})
        assert best(tmp_path) == f"step-{expected}"
    assert evaluator.evaluated() == {1, 2, 3}
    rows = [json.loads(line) for line in open(tmp_path / "scores.jsonl")]
    assert [row["scores"][NAME] for row in rows] == [5.0, 3.0, 4.0]
    assert rows[0]["protocol"]["num_videos"] == 4
    assert rows[0]["protocol"]["split"] == "train"  # there is no other
    assert rows[0]["protocol"]["window"]["resolution"] == 16


def test_scores_by_another_protocol_are_not_compared(evaluator, tmp_path):
    evaluator._keep(1, {NAME: 5.0})
    other = evaluator_lib.Evaluator(
        str(tmp_path),
        evaluator._data_dir,
        window=evaluator._window,
        protocol=evaluator_lib.Protocol(num_videos=8),
    )
    assert not other.evaluated()
    other._keep(2, {NAME: 9.0})
    assert best(tmp_path) == "step-2"


def test_a_checkpoint_that_is_gone_costs_no_score(evaluator, tmp_path, capsys):
    evaluator._keep(7, {NAME: 1.0})
    assert "Step 7 is the best, but cannot be kept" in capsys.readouterr().out
    assert evaluator.evaluated() == {7}


def test_a_full_disk_is_told(evaluator, tmp_path, capsys):
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, old[1]))
    try:
        with evaluator_lib._forgiving("Scores of step 1 cannot be written"):
            evaluator._keep(1, {NAME: 1.0})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert "cannot be written" in capsys.readouterr().out
    assert not evaluator.evaluated()
