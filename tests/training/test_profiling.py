"""Which steps are traced, and what it leaves."""

import glob

import pytest
import tensorflow as tf

from tf_dvdgan.training import profiling


@pytest.fixture
def sessions(monkeypatch) -> list[str]:
    """What is asked of TensorFlow's profiler, in order."""
    asked = []
    profiler = tf.profiler.experimental
    monkeypatch.setattr(profiler, "start", lambda folder: asked.append("start"))
    monkeypatch.setattr(profiler, "stop", lambda: asked.append("stop"))
    return asked


def run(profiler: profiling.Profiler, sessions: list[str], most: int, total: int):
    """Runs steps as the loop does; gives those that were traced."""
    step, traced = 0, []
    with profiler:
        while step < total:
            num_steps = profiler.limit(min(most, total - step) if step else 1)
            with profiler.call(num_steps):
                if sessions.count("start") > sessions.count("stop"):
                    traced += range(step, step + num_steps)
            step += num_steps
    return traced


@pytest.mark.parametrize(("most", "count"), [(25, 3), (2, 3), (1, 1), (4, 4)])
def test_as_many_as_asked_for_and_never_the_first_call(sessions, most, count):
    traced = run(profiling.Profiler("/run", count), sessions, most, 30)
    assert traced == [*range(1, 1 + count)]
    assert sessions == ["start", "stop"]


def test_none_unless_asked_for(sessions):
    assert run(profiling.Profiler("/run"), sessions, 25, 30) == []
    assert sessions == []


def test_a_run_that_ends_before_writes_what_there_is(sessions):
    assert run(profiling.Profiler("/run", 100), sessions, 25, 30) == [*range(1, 30)]
    assert sessions == ["start", "stop"]


def test_a_real_trace_lies_where_tensorboard_looks(tmp_path):
    multiply = tf.function(lambda x: x @ x)
    with profiling.Profiler(str(tmp_path), 1) as profiler:
        for _ in range(3):
            with profiler.call(1):
                multiply(tf.ones([8, 8]))
    (trace,) = glob.glob(f"{tmp_path}/train/plugins/profile/*/*.xplane.pb")
    with open(trace, "rb") as file:
        assert b"MatMul" in file.read()


def test_a_failed_trace_is_reported_and_training_continues(capsys, monkeypatch):
    def fail(folder: str) -> None:
        raise tf.errors.AlreadyExistsError(None, None, "another profiler is running")

    monkeypatch.setattr(tf.profiler.experimental, "start", fail)
    with profiling.Profiler("/run", 2) as profiler:
        for _ in range(3):
            with profiler.call(1):
                pass
    assert capsys.readouterr().out.count("another profiler is running") == 1
