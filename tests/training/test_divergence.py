"""Alarms, and a run that goes back when its losses are no numbers any more."""

import shutil

import numpy as np
import pytest
import tensorflow as tf
from conftest import TINY_VGAN

import tf_dvdgan as dvd
from tf_dvdgan.training import checkpoints, divergence, trainer

pytestmark = pytest.mark.usefixtures("quick_graphs")


def monitor(step=0, **settings) -> divergence.DivergenceMonitor:
    made = divergence.DivergenceMonitor(
        divergence.Divergence(**settings), ["accuracy/c", "accuracy/d"]
    )
    made.start(step)
    return made


def test_a_value_that_is_not_finite_is_reported_with_the_last_good_step():
    seen = monitor()
    fine = {"accuracy/c": 0.5, "accuracy/d": 0.5, "loss/generator": 1.0}
    assert not seen.check_metrics(10, fine)
    bad = {**fine, "loss/generator": float("nan"), "loss/a": 1.0}
    (alarm,) = seen.check_metrics(20, bad)
    assert (alarm.kind, alarm.last_good_step, alarm.action) == (
        "non_finite",
        10,
        "stop",
    )
    assert "loss/generator not finite at step 20" in alarm.message


def pinned_alarms(seen, accuracies, first=0, length=1) -> list[divergence.Alarm]:
    """Alarms of steps with these accuracies of d, in calls of so many steps.

    As in a run, no call goes beyond a check, here at every fifth step.
    """
    alarms, step = [], first
    while step < len(accuracies):
        end = min(step + length, step - step % 5 + 5, len(accuracies))
        mean = float(np.mean(np.float32(accuracies[step:end])))
        alarms += seen.check_metrics(end, {"accuracy/c": 0.5, "accuracy/d": mean})
        if end % 5 == 0:
            alarms += seen.check_accuracies(end)
        step = end
    return alarms


def test_a_pinned_discriminator_is_reported_once_until_it_recovers():
    assert divergence.Divergence(pinned_steps=100).check_every == 5
    assert divergence.Divergence(pinned_steps=3).check_every == 1
    accuracies = [0.9] * 50 + [1.0] * 150 + [0.5] * 100 + [1.0] * 100
    seen = monitor(pinned_steps=100)
    first, second = pinned_alarms(seen, accuracies)
    assert (first.kind, first.last_good_step, first.action) == ("pinned", 50, "warn")
    assert "accuracy/d has been" in first.message
    assert "from step 50 to 150" in first.message
    assert "from step 300 to 400" in second.message


def test_alarms_depend_neither_on_the_length_of_calls_nor_on_a_break(tmp_path):
    """Accuracies about the threshold; the state is taken from a checkpoint."""
    rng = np.random.default_rng(0)
    accuracies = np.where(rng.uniform(size=2000) < 0.05, 0.9, 1.0)
    settings = {"pinned_steps": 100, "pinned_accuracy": 0.98}
    expected = pinned_alarms(monitor(**settings), accuracies)
    assert len(expected) >= 2
    assert pinned_alarms(monitor(**settings), accuracies, length=3) == expected
    assert pinned_alarms(monitor(**settings), accuracies, length=5) == expected
    alarm_at = expected[0].last_good_step + 100
    breaks = [alarm_at - 48, alarm_at]
    for end in breaks:  # within a window, before the alarm, and just at it
        begun = monitor(**settings)
        found = pinned_alarms(begun, accuracies[:end], length=4)
        path = tf.train.Checkpoint(monitor=begun).write(str(tmp_path / "state"))
        again = divergence.DivergenceMonitor(
            divergence.Divergence(**settings), ["accuracy/c", "accuracy/d"]
        )
        tf.train.Checkpoint(monitor=again).read(path).assert_consumed()
        again.start(end)
        found += pinned_alarms(again, accuracies, first=end, length=2)
        assert found == expected


def test_a_saved_alarm_is_acted_on_when_the_policy_has_changed(tmp_path):
    """A run that only warned is resumed with 'roll_back' or 'augment'."""
    warned = monitor(pinned_steps=100)
    assert pinned_alarms(warned, [1.0] * 200)
    assert warned.check_diversity(200, 0.001)
    path = tf.train.Checkpoint(monitor=warned).write(str(tmp_path / "state"))
    for action, count in (("warn", 0), ("roll_back", 1), ("augment", 3)):
        policy = divergence.Divergence(
            pinned_steps=100, on_pinned=action, on_collapsed=action
        )
        again = divergence.DivergenceMonitor(policy, ["accuracy/c", "accuracy/d"])
        tf.train.Checkpoint(monitor=again).read(path).assert_consumed()
        again.start(200)
        length = 205 if action == "roll_back" else 405  # it would go back at once
        alarms = pinned_alarms(again, [1.0] * length, first=200)
        assert [alarm.action for alarm in alarms] == [action] * count
        assert len(again.check_diversity(400, 0.001)) == min(count, 1)


def test_a_state_that_an_earlier_version_did_not_save_begins_where_a_run_resumes():
    alarms = pinned_alarms(monitor(200, pinned_steps=100), [1.0] * 400, first=200)
    assert [alarm.last_good_step for alarm in alarms] == [200]


def test_collapsed_samples_are_reported_with_the_last_sheet_that_varied():
    rng = np.random.default_rng(0)
    varied = rng.integers(0, 256, [8, 2, 4, 4, 3], np.uint8)
    same = varied[::4].repeat(4, axis=0)  # four of each of two videos
    assert divergence.diversity(varied, 4) == pytest.approx(
        np.sqrt(varied.reshape(2, 4, -1).astype(float).var(1).mean()), rel=1e-5
    )
    assert divergence.diversity(same, 4) == 0.0
    seen = monitor()
    assert not seen.check_diversity(100, 0.8)
    (alarm,) = seen.check_diversity(200, 0.001)
    assert (alarm.kind, alarm.last_good_step, alarm.action) == (
        "collapsed",
        100,
        "warn",
    )
    assert not seen.check_diversity(300, 0.001)
    seen.reset(250)
    assert seen.check_diversity(300, 0.001)[0].last_good_step == 250


@pytest.mark.parametrize(
    "settings",
    [
        {"on_non_finite": "warn"},
        {"on_pinned": "no"},
        {"raise_by": -0.1},
        {"pinned_steps": 0},
    ],
)
def test_values_out_of_range_are_refused(settings):
    with pytest.raises(ValueError, match="Received"):
        divergence.Divergence(**settings)


def steps_of(model_dir, tag: str) -> list[int]:
    """Steps at which TensorBoard has a tag, in the order of writing."""
    (path,) = (model_dir / "train").glob("events*")
    events = tf.compat.v1.train.summary_iterator(str(path))
    return [e.step for e in events for value in e.summary.value if value.tag == tag]


def test_a_run_rolls_back_and_continues_with_other_random_numbers(
    demo_shards, tmp_path, monkeypatch, capsys
):
    """Its fifth step gives no number, the first time it comes to it."""
    run_steps, seen = trainer.Trainer.run_steps, []
    killed = tmp_path.with_name("killed")

    def failing(self, batches, num_steps):
        metrics = run_steps(self, batches, num_steps)
        step, num_rollbacks = int(self.step), int(self.num_rollbacks)
        if (step, num_rollbacks) == (4, 1):  # as it is if the run is killed now
            if not killed.exists():
                shutil.copytree(tmp_path, killed)  # with the files' times
                assert checkpoints.num_rollbacks(str(killed), 3) == 0
        if step - num_steps < 5 <= step and num_rollbacks == 0:
            metrics["loss/generator"] = float("nan")
            self.generator_variables[0].assign_add(
                tf.fill(self.generator_variables[0].shape, np.nan)
            )
        else:
            seen.append((step, num_rollbacks, metrics["loss/generator"]))
        return metrics

    monkeypatch.setattr(trainer.Trainer, "run_steps", failing)
    parameters = [
        "training.Divergence.on_non_finite = 'roll_back'",
        "training.Schedule.steps_per_loop = 1",
    ]
    called = []
    actions = [dvd.Action("own", None, lambda state: called.append(state.step))]
    gan = dvd.VideoGAN.from_preset(TINY_VGAN, parameters=parameters)
    gan.fit(demo_shards, 6, str(tmp_path), actions=actions)
    assert called == [1, 2, 3, 4, 4, 5, 6]  # not at the step that is rolled back
    assert steps_of(tmp_path, "loss/generator") == [1, 2, 3, 4, 5, 4, 5, 6]
    assert steps_of(tmp_path, "alarms/non_finite") == [5, 5]  # a curve and a text
    out = capsys.readouterr().out
    assert "ALARM: loss/generator not finite at step 5" in out
    assert "Rolled back to step 3" in out and "Trained 6 steps" in out
    assert [row[:2] for row in seen] == [
        *[(step, 0) for step in (1, 2, 3, 4)],
        *[(step, 1) for step in (4, 5, 6)],
    ]
    # A run that is killed after the rollback does not repeat step 4 as it was first.
    again = dvd.VideoGAN.from_preset(TINY_VGAN, parameters=parameters)
    again.fit(demo_shards, 6, str(killed))
    assert "Resuming from step 3" in (out := capsys.readouterr().out)
    assert "It was rolled back to this step (rollback 1)" in out
    assert seen[7:] == seen[4:7]
    assert checkpoints.num_rollbacks(str(killed), 6) == 1
    assert seen[3][2] != seen[4][2]  # step 4, with other data
    saved = tf.train.load_checkpoint(f"{tmp_path}/checkpoints/step-6")
    assert saved.get_tensor("attempt/.ATTRIBUTES/VARIABLE_VALUE") == 1
    assert all(
        np.isfinite(saved.get_tensor(key)).all()
        for key, kind in saved.get_variable_to_dtype_map().items()
        if kind.is_floating
    )
