"""Stopping, what workers agree on, when actions are called, and errors of both."""

import os
import signal
import traceback

import numpy as np
import pytest
import tensorflow as tf
from conftest import TINY_VGAN

import tf_dvdgan as dvd
from tf_dvdgan import launch
from tf_dvdgan.data import training_data
from tf_dvdgan.training import (
    checkpoint_manager,
    checkpoints,
    sample_sheets,
    stopping,
    tensorboard,
    trainer,
)
from tf_dvdgan.training import strategy as strategy_lib

pytestmark = pytest.mark.usefixtures("quick_graphs")


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


def start(data, model_dir, *actions, steps=9, strategy=None, **parameters) -> None:
    """Trains with one step per call and without checkpoints before the last step."""
    settings = {
        "Schedule.steps_per_loop": 1,
        "Schedule.checkpoint_every": 100,
        "Schedule.samples_every": 100,
        **parameters,
    }
    lines = [f"training.{name} = {value!r}" for name, value in settings.items()]
    sizes = {"resolution": 8, "num_frames": 2, "ch": 2}
    gan = dvd.VideoGAN.from_preset("vgan", [], **sizes, parameters=lines)
    gan.compile(batch_size=4)
    gan.fit(data, steps, str(model_dir), actions=actions, strategy=strategy)


def a_dataset(fault) -> tf.data.Dataset:
    """Clips of a generator; a function gives the number of frames of the i-th."""

    def elements():
        for i in range(1000):
            yield np.full([fault(i) or 2, 8, 8, 3], i % 256, np.uint8), 0

    spec = tf.TensorSpec([None, 8, 8, 3], tf.uint8), tf.TensorSpec([], tf.int64)
    return tf.data.Dataset.from_generator(elements, output_signature=spec)


def saved_step(message: str) -> int:
    """The step that an error of the fifth step's data says is saved."""
    step = int(message.split(" Step ")[1].split()[0])
    assert step >= 4
    assert message.endswith(
        f" Step {step} is saved; the same command resumes from there."
    )
    return step


def is_saved(model_dir, step: int) -> bool:
    return checkpoints.steps(str(model_dir)) == [step]


@pytest.fixture
def _few_rows_are_checked(monkeypatch):
    monkeypatch.setattr(training_data, "_CHECKED_ROWS", 4)


@pytest.mark.usefixtures("_few_rows_are_checked")
@pytest.mark.parametrize("devices", [None, ["CPU:0"]])
def test_a_clip_of_another_length_is_reported_and_costs_no_steps(devices, tmp_path):
    strategy = tf.distribute.MirroredStrategy(devices) if devices else None
    data = a_dataset(lambda i: 1 if i == 18 else 2)  # in the batch of the fifth step
    with pytest.raises(dvd.UserError) as error:
        start(data, tmp_path, strategy=strategy)
    message = str(error.value)
    assert message.startswith(
        "The dataset cannot be used: it has a video of shape (1, 8, 8, 3) instead of "
        "(2, 8, 8, 3). Step "
    )
    assert is_saved(tmp_path, saved_step(message))


@pytest.mark.usefixtures("_few_rows_are_checked")
def test_an_error_of_a_dataset_that_does_not_return_is_reported(tmp_path):
    """As of a network that is gone for a moment: a second reading finds nothing."""
    failed = []

    def fail_once(i):
        if i == 18 and not failed:
            failed.append(i)
            raise OSError("the server does not answer")

    message = r"cannot be used: OSError: the server does not answer\. Step"
    with pytest.raises(dvd.UserError, match=message) as error:
        start(a_dataset(fail_once), tmp_path)
    step = saved_step(str(error.value))
    assert is_saved(tmp_path, step)
    start(a_dataset(fail_once), tmp_path, steps=step + 2)
    assert checkpoints.steps(str(tmp_path)) == [step, step + 2]


@pytest.mark.parametrize(
    "raised",
    [
        pytest.param(ValueError("of one's own"), marks=pytest.mark.slow),
        dvd.UserError("of one's own"),
        tf.errors.InvalidArgumentError(None, None, "of one's own: IteratorGetNext"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_of_an_action_costs_no_steps(raised, tmp_path, capsys):
    def samples(state):
        if state.step == 4:
            raise raised

    with pytest.raises(type(raised), match="of one's own") as error:
        start(a_dataset(lambda i: 2), tmp_path, dvd.Action("samples", 2, samples))
    assert error.value is raised
    assert traceback.extract_tb(error.tb)[-1].name == "samples"
    assert is_saved(tmp_path, 4)
    out = capsys.readouterr().out
    assert "Step 4 is saved; the same command resumes from there." in out


def test_an_interrupt_in_an_action_ends_at_once(tmp_path):
    def interrupt(state):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        start(a_dataset(lambda i: 2), tmp_path, dvd.Action("own", 2, interrupt))
    assert not checkpoints.steps(str(tmp_path))


@pytest.mark.parametrize(
    "part",
    [
        (sample_sheets.SampleSheets, "write"),
        pytest.param(
            (tensorboard.TensorBoard, "write_metrics"), marks=pytest.mark.slow
        ),
    ],
)
def test_an_error_of_sheets_and_curves_costs_no_steps(part, tmp_path, monkeypatch):
    whole = getattr(*part)

    def write(self, state):
        if getattr(state, "step", state) == 4:
            raise OSError("no space")
        return whole(self, state)

    monkeypatch.setattr(*part, write)
    with pytest.raises(OSError, match="no space"):
        start(a_dataset(lambda i: 2), tmp_path, **{"Schedule.samples_every": 2})
    assert is_saved(tmp_path, 4)


def spoil(at_step: int, monkeypatch, metrics=(), weights=True) -> None:
    """Makes a step give metrics and weights that are no numbers."""
    run_steps = trainer.Trainer.run_steps

    def spoiled(self, batches, num_steps):
        found = run_steps(self, batches, num_steps)
        if int(self.step) == at_step:
            found.update(dict.fromkeys(metrics, float("nan")))
            if weights:
                variable = self.generator_variables[0]
                variable.assign(tf.fill(variable.shape, np.nan))
        return found

    monkeypatch.setattr(trainer.Trainer, "run_steps", spoiled)


def fail(state) -> None:
    raise ValueError("of one's own")


@pytest.mark.parametrize("weights", [False, True])
def test_an_alarm_that_stops_a_run_saves_nothing(weights, tmp_path, monkeypatch):
    spoil(4, monkeypatch, ["loss/generator"], weights)
    with pytest.raises(dvd.UserError, match="not finite at step 4"):
        start(a_dataset(lambda i: 2), tmp_path)
    assert not checkpoints.steps(str(tmp_path))


def test_a_state_that_no_alarm_has_seen_is_not_saved_either(tmp_path, monkeypatch):
    def write(self, state):
        if state.step == 4:
            fail(state)

    spoil(4, monkeypatch, ["loss/generator"], weights=False)
    monkeypatch.setattr(tensorboard.TensorBoard, "write_metrics", write)
    with pytest.raises(ValueError, match="of one's own"):  # before alarms
        start(a_dataset(lambda i: 2), tmp_path)
    assert not checkpoints.steps(str(tmp_path))


def test_weights_that_are_no_numbers_are_not_saved(tmp_path, monkeypatch, capsys):
    spoil(4, monkeypatch)
    with pytest.raises(ValueError, match="of one's own"):
        start(a_dataset(lambda i: 2), tmp_path, dvd.Action("own", 4, fail))
    assert not checkpoints.steps(str(tmp_path))
    assert "is saved" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"on_pinned": "stop", "pinned_accuracy": 0.0, "pinned_steps": 4},
            "from step 0 to 4",
        ),
        ({"on_collapsed": "stop", "least_diversity": 1e9}, "has collapsed"),
    ],
)
def test_a_diverged_run_is_not_saved_when_it_stops(settings, message, tmp_path):
    parameters = {f"Divergence.{name}": value for name, value in settings.items()}
    parameters["Schedule.samples_every"] = 4
    with pytest.raises(dvd.UserError, match=f"{message}.*The last checkpoint is none"):
        start(a_dataset(lambda i: 2), tmp_path, **parameters)
    assert not checkpoints.steps(str(tmp_path))


@pytest.mark.usefixtures("_few_rows_are_checked")
@pytest.mark.parametrize(
    ("of_saving", "of_data"),
    [(RuntimeError("disk"), False), (checkpoint_manager.SaveError("disk"), True)],
)
def test_a_failure_of_saving_does_not_hide_the_first_error(
    of_saving, of_data, tmp_path, monkeypatch, capsys
):
    def save(self, step, wait=False):
        raise of_saving

    monkeypatch.setattr(checkpoint_manager.CheckpointManager, "save", save)
    data = a_dataset(lambda i: 1 if of_data and i == 18 else 2)
    with pytest.raises(dvd.UserError if of_data else ValueError) as error:
        start(data, tmp_path, dvd.Action("own", 6, fail))
    assert str(error.value).endswith("(2, 8, 8, 3)." if of_data else "of one's own")
    out = capsys.readouterr().out
    assert "disk" in out and "is saved" not in out
    assert not os.path.exists(tmp_path / "checkpoints" / "step-6.index")
