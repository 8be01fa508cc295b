"""What a run does when it diverges: alarms, more augmentation, rollbacks, the end."""

from collections.abc import Mapping, Sequence

import tensorflow as tf

from tf_dvdgan import errors, run_directory, terminal
from tf_dvdgan.training import (
    checkpoint_manager,
    checkpoints,
    divergence,
    summaries,
)
from tf_dvdgan.training import strategy as strategy_lib
from tf_dvdgan.training import trainer as trainer_lib

_ADVICE = "Lower the learning rates or change trainer.build.seed, and start again."


class DivergedError(Exception):
    """The run has diverged, and must be rolled back.

    Args:
      alarm: the alarm.

    Attributes:
      alarm: as given.
    """

    def __init__(self, alarm: divergence.Alarm):
        super().__init__(alarm.message)
        self.alarm = alarm


class Alarms:
    """Checks a run for divergence, and takes the policy's actions.

    Args:
      trainer: trainer of the run, at its first step.
      saved: checkpoints of the run.
      policy: thresholds and actions.
      monitor: detects divergence; its variables are among those of the checkpoints.
      writer: writes alarms to TensorBoard.

    Attributes:
      check_every: steps between two calls of `check_accuracies`.
    """

    def __init__(
        self,
        trainer: trainer_lib.Trainer,
        saved: checkpoint_manager.CheckpointManager,
        policy: divergence.Divergence,
        monitor: divergence.DivergenceMonitor,
        writer: summaries.Summaries,
    ):
        self._trainer = trainer
        self._saved = saved
        self._directory = run_directory.RunDirectory(saved.model_dir)
        self._policy = policy
        self._writer = writer
        self._chief = strategy_lib.is_chief(trainer.strategy)
        self._monitor = monitor
        self.check_every = policy.check_every

    def check_metrics(self, step: int, metrics: Mapping[str, float]) -> None:
        """Checks that training metrics are finite.

        Args:
          step: current step.
          metrics: means over the steps since the last call, by name.

        Raises:
          UserError: the run has to stop.
          DivergedError: the run has to be rolled back.
        """
        self._handle(step, self._monitor.check_metrics(step, metrics))

    def check_accuracies(self, step: int) -> None:
        """Checks the discriminators' accuracies since the last call.

        Args:
          step: current step, a multiple of `check_every`.

        Raises:
          UserError: the run has to stop.
          DivergedError: the run has to be rolled back.
        """
        self._handle(step, self._monitor.check_accuracies(step))

    def check_diversity(self, step: int, share: float) -> None:
        """Checks the diversity of samples.

        Args:
          step: step of the samples.
          share: their diversity as a fraction of that of real clips; that of the
            chief counts.

        Raises:
          UserError: the run has to stop.
          DivergedError: the run has to be rolled back.
        """
        share = strategy_lib.broadcast_from_chief(self._trainer.strategy, share)
        self._handle(step, self._monitor.check_diversity(step, share))

    def roll_back(self, alarm: divergence.Alarm) -> int:
        """Restores the last good checkpoint, with other random numbers.

        Args:
          alarm: the alarm.

        Returns:
          The step of the checkpoint.

        Raises:
          UserError: there is none, or the run was rolled back too often.
        """
        trainer, limit = self._trainer, self._policy.max_roll_backs
        count = int(trainer.num_rollbacks.numpy()) + 1
        if count > limit:
            raise errors.UserError(
                f"{alarm.message} The run has already been rolled back {count - 1} "
                f"times. {_ADVICE}"
            )
        augmentation = trainer.augmentation
        num_raises = int(augmentation.num_raises.numpy()) if augmentation else 0
        step = self._saved.roll_back(alarm.last_good_step)
        if step is None:
            raise errors.UserError(
                f"{alarm.message} There is no checkpoint yet to roll back to. {_ADVICE}"
            )
        if step > alarm.last_good_step and self._chief:
            print(
                f"There is no checkpoint from before the problem: it began after step "
                f"{alarm.last_good_step}",
                flush=True,
            )
        message = (
            f"Rolled back to step {step}, with different random numbers and order of "
            f"the data ({count} of at most {limit} rollbacks)"
        )
        if alarm.kind != "non_finite" and num_raises < self._policy.max_raises:
            num_raises += 1
        self._continue_after(step, count, num_raises)
        if augmentation:
            probability = float(augmentation.probability.numpy())
            message += f", and augmentation of probability {probability:.2f}"
        if self._chief:
            print(message, flush=True)
            # A run that is killed now must not repeat what it was rolled back from; the
            # checkpoint stays as it is.
            try:
                written_at = checkpoints.written_at(self._directory.path, step)
                self._directory.write_rollback(step, written_at, count, num_raises)
            except (tf.errors.OpError, OSError) as error:
                reason = errors.reason_of(error)
                print(f"The rollback cannot be recorded: {reason}", flush=True)
        return step

    def resume(self, step: int) -> None:
        """Continues after a rollback to the checkpoint that a run resumes from.

        Args:
          step: step of the checkpoint.
        """
        found = None
        if self._chief:
            written_at = checkpoints.written_at(self._directory.path, step)
            found = self._directory.read_rollback(step, written_at)
        count, num_raises = (
            int(strategy_lib.broadcast_from_chief(self._trainer.strategy, number))
            for number in found or (0, 0)
        )
        if count > int(self._trainer.num_rollbacks.numpy()):
            self._continue_after(step, count, num_raises)
            self._say(f"It was rolled back to this step (rollback {count})")

    def _continue_after(self, step: int, num_rollbacks: int, num_raises: int) -> None:
        """Sets what is different from the checkpoint after a rollback to it."""
        self._trainer.num_rollbacks.assign(num_rollbacks)
        if augmentation := self._trainer.augmentation:
            # The checkpoint may be from before earlier raises.
            missing = num_raises - int(augmentation.num_raises.numpy())
            augmentation.raise_probability(self._policy.raise_by, missing)
        self._monitor.reset(step)

    def _handle(self, step: int, alarms: Sequence[divergence.Alarm]) -> None:
        for alarm in alarms:
            if self._chief:
                print(f"ALARM: {alarm.message}", flush=True)
            self._writer.scalars(step, {f"alarms/{alarm.kind}": 1.0})
            self._writer.text(step, f"alarms/{alarm.kind}", alarm.message)
        if any(alarm.action == "augment" for alarm in alarms):
            self._raise_augmentation()
        for alarm in alarms:
            if alarm.action == "stop":
                newest = self._saved.newest or "none: the run diverged before its first"
                raise errors.UserError(
                    f"{alarm.message} The last checkpoint is {newest}. {_ADVICE}"
                )
            if alarm.action == "roll_back":
                raise DivergedError(alarm)

    def _raise_augmentation(self) -> None:
        """Raises the probability of augmentation, at most `max_raises` times."""
        augmentation, most = self._trainer.augmentation, self._policy.max_raises
        if not augmentation:
            return
        if int(augmentation.num_raises.numpy()) >= most:
            self._say(f"The augmentation has already been raised {most} times")
            return
        if float(augmentation.probability.numpy()) >= 1.0:
            self._say("The probability of augmentation is 1 already")
            return
        raised = augmentation.raise_probability(self._policy.raise_by)
        count = int(augmentation.num_raises.numpy())
        self._say(
            f"The probability of augmentation is raised to {raised:.2f} "
            f"({count} of at most {most} raises)"
        )

    def _say(self, line: str) -> None:
        if self._chief:
            terminal.say(line)
