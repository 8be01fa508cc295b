"""The outer training loop: data, steps, and actions between them."""

import contextlib
import dataclasses
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

import tensorflow as tf

from tf_dvdgan import errors, terminal
from tf_dvdgan.data import readers, training_data
from tf_dvdgan.training import augmentation as augmentation_lib
from tf_dvdgan.training import (
    checkpoints,
    divergence,
    overfitting,
    profiling,
    stopping,
)
from tf_dvdgan.training import observer as observer_lib
from tf_dvdgan.training import schedule as schedule_lib
from tf_dvdgan.training import strategy as strategy_lib
from tf_dvdgan.training import trainer as trainer_lib


@dataclasses.dataclass(frozen=True)
class State:
    """State of a run when an action is called.

    Attributes:
      step: number of generator updates so far.
      model_dir: directory of the run.
      trainer: trainer with the networks and optimizers.
      metrics: means over the last call's steps, by name, such as 'loss/generator'.
    """

    step: int
    model_dir: str
    trainer: trainer_lib.Trainer
    metrics: Mapping[str, float]

    def averaged_weights(self) -> contextlib.AbstractContextManager[None]:
        """Gives the generator its averaged weights within a context."""
        return self.trainer.averaged_weights()


@dataclasses.dataclass(frozen=True)
class Action:
    """A function that is called every n steps of a run, and after its last step.

    Attributes:
      name: name for messages.
      every: steps between two calls.
      function: function of the state; called on every worker.
    """

    name: str
    every: int
    function: Callable[[State], None]

    def __post_init__(self):
        if self.every < 1:
            raise errors.InvalidValueError(
                f"every must be at least 1. Received: {self.every}"
            )


_KEEP_STEP = ("warn", "augment")  # actions after which the run continues from its step


class Evaluation(Protocol):
    """Scores a run's checkpoints while it trains."""

    def __call__(self, state: State) -> None:
        """Scores the state, whose checkpoint has been written."""

    def evaluate_if_missing(self, state: State) -> None:
        """Scores the state, unless it has scores."""


def distribute(
    trainer: trainer_lib.Trainer,
    data: training_data.TrainingData,
    first_batch: int,
) -> tf.data.Dataset | tf.distribute.DistributedDataset:
    """Distributes training batches to the trainer's devices.

    Args:
      trainer: trainer with the batch size, the seed and the strategy.
      data: training data.
      first_batch: number of the first batch.

    Returns:
      Infinite batches of "video" and "label".
    """
    global_batch_size = trainer.global_batch_size

    def dataset_of_worker(context: tf.distribute.InputContext) -> tf.data.Dataset:
        rows = data.rows(
            global_batch_size,
            trainer.data_seed,
            first_batch,
            worker=context.input_pipeline_id,
            num_workers=context.num_input_pipelines,
        )
        size = context.get_per_replica_batch_size(global_batch_size)
        return rows.batch(size, drop_remainder=True).prefetch(4)

    return trainer.strategy.distribute_datasets_from_function(dataset_of_worker)


def _probability(augmentation: augmentation_lib.Augmentation | None) -> str:
    """Names the probability of augmentation, for the end of a message."""
    if not augmentation:
        return ""
    return f", and augmentation of probability {augmentation.probability.numpy():.2f}"


class TrainingLoop:
    """Trains until the last step, or until a signal stops the process.

    Args:
      trainer: trainer with the state of the run.
      data: training data.
      schedule: schedule of the run.
      saved: checkpoints of the run.
      observer: reports the progress.
      policy: thresholds and actions if the run diverges.
      evaluation: scores each checkpoint; None for no scores.
      profiler: traces some of the steps.
      actions: functions to call every n steps, after the default ones.
      held_out: measures overfitting, for an adaptation that needs it.
    """

    def __init__(
        self,
        *,
        trainer: trainer_lib.Trainer,
        data: training_data.TrainingData,
        schedule: schedule_lib.Schedule,
        saved: checkpoints.Checkpoints,
        observer: observer_lib.Observer,
        policy: divergence.Divergence,
        evaluation: Evaluation | None,
        profiler: profiling.Profiler,
        actions: Sequence[Action],
        held_out: overfitting.HeldOutScores | None = None,
    ):
        self._held_out = held_out
        self._trainer = trainer
        self._data = data
        self._schedule = schedule
        self._saved = saved
        self._observer = observer
        self._policy = policy
        self._evaluation = evaluation
        self._profiler = profiler
        self._actions = [*self._default_actions(), *actions]
        self._alarms: list[divergence.Alarm] = []  # of the last call
        self._num_steps = 0  # of the last call

    def _default_actions(self) -> list[Action]:
        """Returns the actions: overfitting, checkpoints, scores, then sample sheets."""
        schedule = self._schedule
        measurement = []
        if self._held_out:
            every = self._held_out.every
            measurement = [Action("overfitting", every, self._measure_overfitting)]
        return [
            *measurement,
            Action("checkpoint", schedule.checkpoint_every, self._save),
            Action("scores", schedule.checkpoint_every, self._evaluate),
            Action("samples", schedule.samples_every, self._write_samples),
        ]

    @property
    def _chief(self) -> bool:
        return strategy_lib.is_chief(self._trainer.strategy)

    @property
    def _step(self) -> int:
        return int(self._trainer.step.numpy())

    def run(
        self, on_second_signal: Callable[[int], None] = stopping.exit_at_once
    ) -> signal.Signals | None:
        """Trains from the trainer's current step.

        Args:
          on_second_signal: called with the number of a second SIGINT or SIGTERM; the
            first one saves and stops.

        Returns:
          None after the last step, else the signal that stopped the run; the same on
          all workers.

        Raises:
          UserError: the data cannot be read, or the run has diverged.
        """
        try:
            return self._train(stopping.StopRequest(on_second_signal))
        except tf.errors.OpError as error:
            of_data = self._data_error(error)
            if of_data is None:
                raise
            sentence = str(of_data)
            if self._save_what_is_done():
                sentence += (
                    f" Step {self._step} is saved; the same command resumes from there."
                )
            raise errors.UserError(sentence) from error

    def _data_error(self, error: tf.errors.OpError) -> errors.UserError | None:
        """The error of the data that stopped a step; None if they can be read.

        Most errors of a step do not say whether data or networks failed: then the clips
        of the steps that were to come are read again.
        """
        trainer = self._trainer
        if not isinstance(self._data, training_data.Shards):
            return None
        if isinstance(error, tf.errors.ResourceExhaustedError):
            return None
        is_lost = isinstance(error, strategy_lib.LOST_WORKER_ERRORS)
        if is_lost and strategy_lib.spans_workers(trainer.strategy):
            return None
        # Without other workers, it is a remote store that is lost.
        if is_lost or isinstance(error, tf.errors.DataLossError):
            return readers.damaged(self._data.data_dir, error)
        worker, num_workers = strategy_lib.worker_index_and_count(trainer.strategy)
        num_batches = trainer.num_d_steps * self._num_steps
        num_clips = num_batches * trainer.global_batch_size // num_workers
        try:
            rows = self._data.rows(
                trainer.global_batch_size,
                trainer.data_seed,
                self._step * trainer.num_d_steps,
                worker=worker,
                num_workers=num_workers,
            )
            for _ in rows.take(num_clips):
                pass
        except errors.UserError as again:  # already the manifest or the index
            return again
        except tf.errors.OpError as again:
            return readers.damaged(self._data.data_dir, again)
        return None

    def _save_what_is_done(self) -> bool:
        """Saves the steps before data could not be read; workers would not agree."""
        if strategy_lib.spans_workers(self._trainer.strategy):
            return False
        with contextlib.suppress(checkpoints.SaveError):
            self._saved.wait()
        return self._try_to_save(self._step, wait=True) is None

    def _train(self, request: stopping.StopRequest) -> signal.Signals | None:
        schedule, observer = self._schedule, self._observer
        step = self._step
        self._monitor = divergence.DivergenceMonitor(self._policy, step)
        batches = self._batches(step)
        observer.start(schedule.num_steps)
        self._evaluate_start(step)
        seconds = stopped_by = None
        with request as stop, self._profiler:
            while step < schedule.num_steps:
                periods = [action.every for action in self._actions]
                planned = schedule.steps_from(step, seconds, periods)
                planned = self._profiler.limit(planned)
                stopped_by, num_steps = stopping.sync_decision(
                    self._trainer.strategy, stop.signal, planned
                )
                if stopped_by:
                    break
                self._num_steps = num_steps
                with self._profiler.call(num_steps):
                    metrics = self._trainer.run_steps(batches, num_steps)
                step += num_steps
                seconds = observer.progress(step, num_steps, metrics) or seconds
                self._alarms = self._monitor.check_metrics(step, metrics)
                self._raise_augmentation(self._alarms)
                if all(alarm.action in _KEEP_STEP for alarm in self._alarms):
                    self._act(self._state(step, metrics))
                if self._handle_alarms(step):
                    step = self._step
                    self._monitor.reset(step)
                    batches = self._batches(step)
            self._finish(step)
        return stopped_by

    def _state(self, step: int, metrics: Mapping[str, float]) -> State:
        return State(step, self._saved.model_dir, self._trainer, metrics)

    def _batches(self, step: int) -> Iterator[trainer_lib.Batch]:
        first = step * self._trainer.num_d_steps
        return iter(distribute(self._trainer, self._data, first))

    def _act(self, state: State) -> None:
        """Calls the actions that are due; excludes their time from that of steps."""
        began = time.monotonic()
        at_end = state.step == self._schedule.num_steps
        for action in self._actions:
            if state.step % action.every == 0 or at_end:
                action.function(state)
        self._observer.pause(began)

    def _evaluate_start(self, step: int) -> None:
        """Scores the initial state, or a checkpoint that lacks scores on resuming."""
        if not self._evaluation:
            return
        began, state = time.monotonic(), self._state(step, {})
        if step == 0:
            self._save(state)
            self._evaluate(state)
        elif step % self._schedule.checkpoint_every == 0:
            self._evaluation.evaluate_if_missing(state)
        self._observer.pause(began)

    def _measure_overfitting(self, state: State) -> None:
        # Not at the end, unless it is due: a longer run has the same numbers.
        held_out = self._held_out
        if held_out and state.step % held_out.every == 0:
            held_out.measure()

    def _save(self, state: State) -> None:
        """Writes a checkpoint.

        Raises:
          UserError: it cannot be written, and `on_failed_save` is 'stop'.
        """
        failure = self._try_to_save(state.step, wait=self._evaluation is not None)
        self._save_failed = failure is not None
        if failure is None:
            return
        if self._schedule.on_failed_save == "stop":
            raise failure
        if self._chief:
            print(f"{failure} Training continues.", flush=True)

    def _try_to_save(self, step: int, wait: bool) -> errors.UserError | None:
        """Writes a checkpoint; returns, on every worker, the error if it failed."""
        message = ""
        try:
            self._saved.save(step)
            if wait:
                self._saved.wait()
        except checkpoints.SaveError as error:
            newest = self._saved.newest or "none"
            message = (
                f"Step {step} cannot be saved ({error}); newest checkpoint: {newest}."
            )
        # Only the chief writes, but all workers must stop together.
        if not strategy_lib.broadcast_from_chief(self._trainer.strategy, bool(message)):
            return None
        return errors.UserError(message or f"The chief cannot save step {step}.")

    def _evaluate(self, state: State) -> None:
        """Scores the checkpoint that was just written."""
        if self._evaluation and not self._save_failed:
            self._evaluation(state)

    def _write_samples(self, state: State) -> None:
        """Writes sample sheets, and raises an alarm if their diversity is too low."""
        share = strategy_lib.broadcast_from_chief(
            self._trainer.strategy, self._observer.samples(state.step)
        )
        alarms = self._monitor.check_diversity(state.step, share)
        self._alarms += alarms
        if self._raise_augmentation(alarms) and self._is_saved(state.step):
            self._save(state)  # with the probability that training continues with

    def _is_saved(self, step: int) -> bool:
        return step % self._schedule.checkpoint_every == 0

    def _raise_augmentation(self, alarms: Sequence[divergence.Alarm]) -> bool:
        """Raises the probability of augmentation, if an alarm requires it."""
        augmentation, most = self._trainer.augmentation, self._policy.max_raises
        if not (augmentation and any(a.action == "augment" for a in alarms)):
            return False
        if int(augmentation.num_raises.numpy()) >= most:
            if self._chief:
                terminal.say(f"The augmentation has already been raised {most} times")
            return False
        raised = augmentation.raise_probability(self._policy.raise_by)
        if self._chief:
            count = int(augmentation.num_raises.numpy())
            terminal.say(
                f"The probability of augmentation is raised to {raised:.2f} "
                f"({count} of at most {most} raises)"
            )
        return True

    def _handle_alarms(self, step: int) -> bool:
        """Takes the policy's action; returns whether the run was rolled back.

        Raises:
          UserError: the run has to stop.
        """
        for alarm in self._alarms:
            self._observer.alarm(step, alarm)
        severe = [alarm for alarm in self._alarms if alarm.action not in _KEEP_STEP]
        if not severe:
            return False
        alarm, rollback = severe[0], int(self._trainer.num_rollbacks.numpy()) + 1
        advice = (
            "Lower the learning rates or change trainer.build.seed, and start again."
        )
        if alarm.action == "stop":
            newest = self._saved.newest or "none: the run diverged before its first"
            raise errors.UserError(
                f"{alarm.message} The last checkpoint is {newest}. {advice}"
            )
        if rollback > self._policy.max_roll_backs:
            raise errors.UserError(
                f"{alarm.message} The run has already been rolled back {rollback - 1} "
                f"times. {advice}"
            )
        restored = self._saved.roll_back(alarm.last_good_step)
        if restored is None:
            raise errors.UserError(
                f"{alarm.message} There is no checkpoint yet to roll back to. {advice}"
            )
        self._trainer.num_rollbacks.assign(rollback)
        augmentation = self._trainer.augmentation
        if augmentation and alarm.kind != "non_finite":
            # The checkpoint may be from before an earlier rollback.
            augmentation.raise_probability(rollback * self._policy.raise_by)
        if self._chief:
            limit = self._policy.max_roll_backs
            print(
                f"Rolled back to step {restored}, with different random numbers and "
                f"order of the data ({rollback} of at most {limit} rollbacks)"
                + _probability(augmentation),
                flush=True,
            )
        return True

    def _finish(self, step: int) -> None:
        """Saves the last checkpoint, and prints it and how to resume.

        All workers wait for the chief's checkpoint, because a launcher may kill the
        others as soon as one exits with a code other than 0.

        Raises:
          UserError: the checkpoint cannot be written.
        """
        with contextlib.suppress(checkpoints.SaveError):
            self._saved.wait()  # for an earlier checkpoint, which may have failed
        failure = self._try_to_save(step, wait=True)
        if failure is not None:
            raise failure
        if not self._chief:
            return
        if step < self._schedule.num_steps:
            print(
                f"Stopped at step {step}, saved; the same command resumes from there."
            )
        else:
            self._observer.finished()
            print(f"Trained {step} steps; newest checkpoint: {self._saved.newest}")
        sys.stdout.flush()
