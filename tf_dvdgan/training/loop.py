"""The outer training loop: data, steps, and actions between them."""

import contextlib
import dataclasses
import math
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

import tensorflow as tf

from tf_dvdgan import errors
from tf_dvdgan.data import training_data
from tf_dvdgan.models import variables
from tf_dvdgan.training import alarms as alarms_lib
from tf_dvdgan.training import (
    checkpoint_manager,
    input_pipeline,
    profiling,
    progress,
    stopping,
)
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
      metrics: means over the steps of the last call to the device, by name, such as
        'loss/generator', and their speed, except that of the first call.
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
      every: steps between two calls; None for after every call to the device, which
        runs up to `Schedule.steps_per_loop` steps.
      function: function of the state; called on every worker.
    """

    name: str
    every: int | None
    function: Callable[[State], None]

    def __post_init__(self):
        if self.every is not None and self.every < 1:
            raise errors.InvalidValueError(
                f"every must be at least 1. Received: {self.every}"
            )


class Evaluation(Protocol):
    """Scores a run's checkpoints while it trains."""

    def __call__(self, state: State) -> None:
        """Scores the state, whose checkpoint has been written."""

    def evaluate_if_missing(self, state: State) -> None:
        """Scores the state, unless it has scores."""


class TrainingLoop:
    """Trains until the last step, or until a signal stops the process.

    Args:
      trainer: trainer with the state of the run.
      data: training data.
      schedule: schedule of the run.
      saved: checkpoints of the run.
      alarms: rolls the run back if an action finds that it has diverged.
      profiler: traces some of the steps.
      on_start: function of the state, called before the first step.
      on_end: function of the state, called after the last step's checkpoint is written.
      actions: functions to call every n steps, in this order.
    """

    def __init__(
        self,
        *,
        trainer: trainer_lib.Trainer,
        data: training_data.TrainingData,
        schedule: schedule_lib.Schedule,
        saved: checkpoint_manager.CheckpointManager,
        alarms: alarms_lib.Alarms,
        profiler: profiling.Profiler,
        on_start: Callable[[State], None],
        on_end: Callable[[State], None],
        actions: Sequence[Action],
    ):
        self._trainer = trainer
        self._data = data
        self._schedule = schedule
        self._saved = saved
        self._alarms = alarms
        self._profiler = profiler
        self._on_start = on_start
        self._on_end = on_end
        self._actions = actions
        self._chief = strategy_lib.is_chief(trainer.strategy)
        self._progress = progress.Progress(schedule.num_steps, self._chief)
        self._num_steps = 0  # of the last call
        self._is_traced = False  # whether a call has compiled the step

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
          Exception: an action failed. As for data, what is done is saved first.
        """
        return self._train(stopping.StopRequest(on_second_signal))

    @contextlib.contextmanager
    def _reporting_data_errors(self) -> Iterator[None]:
        """Saves what is done and raises `UserError` if the data cannot be read."""
        try:
            yield
        except tf.errors.OpError as error:
            of_data = input_pipeline.find_data_error(
                error, self._trainer, self._data, self._num_steps
            )
            if of_data is None:
                raise
            message = str(of_data)
            if self._save_what_is_done():
                message += (
                    f" Step {self._step} is saved; the same command resumes from there."
                )
            raise errors.UserError(message) from error

    def _save_what_is_done(self) -> bool:
        """Saves the steps before an error, which a failure of saving does not hide.

        If data could not be read, TensorFlow may have run parts of the step that needed
        them, such as the first of two discriminator updates: then what resumes is not
        equal to the bit to a run without the error.

        Returns:
          Whether they are saved; not of several workers, which would not agree, and not
          if weights are not finite.
        """
        if strategy_lib.spans_workers(self._trainer.strategy):
            return False
        trainer = self._trainer
        weights = [*trainer.generator_variables, *trainer.discriminator_variables]
        if not all(map(variables.is_finite, weights)):
            return False
        try:
            self._save_at_end(self._step)
        except Exception as error:
            print(f"What is done is lost: {errors.reason_of(error)}", flush=True)
            return False
        return True

    def _train(self, request: stopping.StopRequest) -> signal.Signals | None:
        step, num_steps = self._step, self._schedule.num_steps
        batches = self._batches(step)
        self._on_start(self._state(step, {}))
        seconds = stopped_by = None
        with request as stop, self._profiler:
            while step < num_steps:
                stopped_by, self._num_steps = stopping.sync_decision(
                    self._trainer.strategy, stop.signal, self._plan(step, seconds)
                )
                if stopped_by:
                    break
                with self._reporting_data_errors():
                    metrics = self._run_steps(batches)
                step += self._num_steps
                seconds = metrics.get("speed/seconds_per_step")
                try:
                    self._act(self._state(step, metrics))
                except alarms_lib.DivergedError as error:
                    step = self._alarms.roll_back(error.alarm)
                    batches = self._batches(step)
            self._finish(step)
        return stopped_by

    def _state(self, step: int, metrics: Mapping[str, float]) -> State:
        return State(step, self._saved.model_dir, self._trainer, metrics)

    def _batches(self, step: int) -> Iterator[trainer_lib.Batch]:
        first = step * self._trainer.num_d_steps
        with self._reporting_data_errors():
            return iter(input_pipeline.distribute(self._trainer, self._data, first))

    def _plan(self, step: int, seconds_per_step: float | None) -> int:
        """Chooses the number of steps of the next call to the device."""
        periods = [action.every for action in self._actions if action.every]
        planned = self._schedule.steps_from(step, seconds_per_step, periods)
        return self._profiler.limit(planned)

    def _run_steps(self, batches: Iterator[trainer_lib.Batch]) -> dict[str, float]:
        """Runs the steps of one call; returns their metrics and, if traced, speed."""
        trainer, num_steps = self._trainer, self._num_steps
        with self._profiler.call(num_steps):
            began = time.monotonic()
            metrics = trainer.run_steps(batches, num_steps)
            seconds = (time.monotonic() - began) / num_steps
        if self._is_traced:
            clips = trainer.global_batch_size * trainer.num_d_steps / seconds
            metrics["speed/seconds_per_step"] = seconds
            metrics["speed/clips_per_second"] = clips
        self._is_traced = True
        self._progress.update(self._step, seconds, metrics)
        return metrics

    def _act(self, state: State) -> None:
        """Calls the actions that are due; if one fails, saves what is done."""
        at_end = state.step == self._schedule.num_steps
        for action in self._actions:
            if at_end or not action.every or state.step % action.every == 0:
                try:
                    action.function(state)
                except Exception as error:
                    if not _is_end_of_diverged(action, error, state):
                        self._save_before_error(state.step)
                    raise

    def _save_before_error(self, step: int) -> None:
        if self._save_what_is_done():
            then = "the same command resumes from there"
            if step == self._schedule.num_steps:
                then = "the last; what failed is not called again"
            print(f"Step {step} is saved; {then}.", flush=True)

    def _save_at_end(self, step: int) -> None:
        """Saves and waits; an earlier checkpoint may have failed.

        Raises:
          SaveError: the checkpoint cannot be written.
        """
        with contextlib.suppress(checkpoint_manager.SaveError):
            self._saved.wait()
        self._saved.save(step, wait=True)

    def _finish(self, step: int) -> None:
        """Saves the last checkpoint, and prints it and how to resume.

        All workers wait for the chief's checkpoint, because a launcher may kill the
        others as soon as one exits with a code other than 0.

        Raises:
          SaveError: the checkpoint cannot be written.
        """
        self._save_at_end(step)
        if step >= self._schedule.num_steps:
            self._on_end(self._state(step, {}))
        if not self._chief:
            return
        if step < self._schedule.num_steps:
            print(
                f"Stopped at step {step}, saved; the same command resumes from there."
            )
        else:
            print(f"Trained {step} steps; newest checkpoint: {self._saved.newest}")
        sys.stdout.flush()


def _is_end_of_diverged(action: Action, error: Exception, state: State) -> bool:
    """Whether an action failed because a run has diverged, or after it has.

    An action of the package raises `UserError` if an alarm ends the run, or if a
    checkpoint cannot be written.
    """
    is_own = getattr(action.function, "__module__", "").startswith(f"{__package__}.")
    is_end = isinstance(error, errors.UserError) and is_own
    is_finite = all(map(math.isfinite, state.metrics.values()))
    return isinstance(error, alarms_lib.DivergedError) or is_end or not is_finite
