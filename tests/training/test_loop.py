"""Stopping, what workers agree on between steps, and when actions are called."""

import signal

import pytest
from conftest import TINY_VGAN

import tf_dvdgan as dvd
from tf_dvdgan import launch
from tf_dvdgan.training import stopping, trainer
from tf_dvdgan.training import strategy as strategy_lib


@pytest.mark.parametrize(
    ("received", "agreed"),
    [
        ((None, None, None), None),
        ((None, signal.SIGTERM, None), signal.SIGTERM),
        ((None, None, signal.SIGINT), signal.SIGINT),
        ((signal.SIGINT, signal.SIGINT, signal.SIGINT), signal.SIGINT),
        ((signal.SIGINT, None, signal.SIGTERM), signal.SIGTERM),
    ],
)
def test_workers_agree_on_a_signal_and_on_the_chiefs_steps(
    received, agreed, monkeypatch
):
    """Each worker is asked twice: for what it adds to the sums, and with the sums."""
    steps = (5, 3, 7)

    def ask(worker: int, summed) -> tuple[signal.Signals | None, int]:
        monkeypatch.setattr(strategy_lib, "is_chief", lambda strategy: worker == 0)
        monkeypatch.setattr(strategy_lib, "sum_over_workers", summed)
        return stopping.sync_decision(None, received[worker], steps[worker])

    added = []

    def note(strategy, values):
        added.append(values)
        return values

    for worker in range(3):
        ask(worker, note)
    sums = [sum(values) for values in zip(*added, strict=True)]
    for worker in range(3):
        assert ask(worker, lambda strategy, values: sums) == (agreed, 5)


@pytest.mark.parametrize("at_step", [3, 6])
def test_train_returns_the_signal_that_stopped_it(
    at_step, demo_shards, tmp_path, monkeypatch
):
    """In a notebook, say, nothing is raised; at the last step, it is no stop."""
    run_steps = trainer.Trainer.run_steps

    def interrupted(self, batches, num_steps):
        metrics = run_steps(self, batches, num_steps)
        if int(self.step) == at_step:
            signal.raise_signal(signal.SIGINT)
        return metrics

    monkeypatch.setattr(trainer.Trainer, "run_steps", interrupted)
    stopped_by = launch.train(str(tmp_path), demo_shards, TINY_VGAN)
    assert stopped_by == (signal.SIGINT if at_step == 3 else None)
    assert (tmp_path / "checkpoints" / f"step-{at_step}.index").exists()


def test_actions_without_a_period_are_called_after_every_call_to_the_device(
    demo_shards, tmp_path
):
    seen = []
    actions = [
        dvd.Action("all", None, lambda state: seen.append((state.step, state.metrics))),
        dvd.Action("some", 5, lambda state: seen.append((state.step, "some"))),
    ]
    gan = dvd.VideoGAN.from_preset(TINY_VGAN)
    gan.fit(demo_shards, 7, str(tmp_path), actions=actions)
    (first, metrics), *others = seen
    # The first call has the time of tracing, so the second one, too, is of one step.
    assert first == 1 and "speed/seconds_per_step" not in metrics
    assert [step for step, _ in others] == [2, 3, 5, 5, 6, 7, 7]
    assert [step for step, what in others if what == "some"] == [5, 7]
    assert all("speed/seconds_per_step" in m for _, m in others if m != "some")
    with pytest.raises(ValueError, match="every must be at least 1"):
        dvd.Action("never", 0, print)
