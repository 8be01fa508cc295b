"""Detects divergence: non-finite values, pinned discriminators, mode collapse."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import gin
import numpy as np
import tensorflow as tf

from tf_dvdgan import errors
from tf_dvdgan.training import schedule as schedule_lib

_ACTIONS = ("warn", "augment", "stop", "roll_back")
# A step that a checkpoint of an earlier version does not have.
_UNKNOWN = np.int64(-1)


@dataclasses.dataclass(frozen=True)
class Alarm:
    """A problem that was detected in a run.

    Attributes:
      kind: 'non_finite', 'pinned' or 'collapsed'.
      message: message for the log.
      last_good_step: last step before the problem.
      action: 'warn', 'augment', 'stop' or 'roll_back'.
    """

    kind: str
    message: str
    last_good_step: int
    action: str


@gin.register(module="training")
@dataclasses.dataclass(frozen=True)
class Divergence:
    """When a run counts as diverged, and the action to take.

    'warn' logs a message and continues, 'augment' also raises the probability of
    augmentation, 'stop' ends the run, 'roll_back' resumes from the last good checkpoint
    with different random numbers and another order of the data, and for `on_pinned` and
    `on_collapsed` with a higher probability of augmentation, if there is one. A run
    that may be rolled back for a lasting problem keeps enough checkpoints to return to
    one from before it.

    Attributes:
      on_non_finite: action if a loss or a gradient norm is NaN or infinite; 'stop' or
        'roll_back'.
      on_pinned: action if a discriminator classifies nearly all videos correctly for a
        long time.
      on_collapsed: action if the samples of a class are nearly identical.
      max_roll_backs: maximum number of rollbacks before the run stops.
      raise_by: how much 'augment' and 'roll_back' raise the probability of
        augmentation, up to 1. An `Adaptation` moves it on from there.
      max_raises: maximum number of raises, those of rollbacks included; after them
        'augment' only warns, and 'roll_back' only rolls back. While a problem lasts,
        'augment' raises again after `pinned_steps`, and with each sheet of samples.
      pinned_accuracy: threshold of a discriminator's accuracy for `on_pinned`.
      pinned_steps: number of steps at or above the threshold for `on_pinned`. What
        counts is the mean accuracy of each 20th of them, from one multiple of it to the
        next; no call to the device is longer.
      least_diversity: threshold of the samples' diversity for `on_collapsed`, as a
        fraction of that of real clips; see `diversity`.
    """

    on_non_finite: str = "stop"
    on_pinned: str = "warn"
    on_collapsed: str = "warn"
    max_roll_backs: int = 3
    raise_by: float = 0.1
    max_raises: int = 5
    pinned_accuracy: float = 0.995
    pinned_steps: int = 2000
    least_diversity: float = 0.03

    def __post_init__(self):
        if self.on_non_finite not in _ACTIONS[2:]:
            raise errors.InvalidValueError(
                f"on_non_finite must be one of {_ACTIONS[2:]}. "
                f"Received: {self.on_non_finite!r}"
            )
        for action in (self.on_pinned, self.on_collapsed):
            if action not in _ACTIONS:
                raise errors.InvalidValueError(
                    f"Actions must be one of {_ACTIONS}. Received: {action!r}"
                )
        if not 0.0 <= self.raise_by <= 1.0 or self.pinned_steps < 1:
            raise errors.InvalidValueError(
                "raise_by must be from 0 to 1, and pinned_steps at least 1. Received: "
                f"raise_by={self.raise_by}, pinned_steps={self.pinned_steps}"
            )

    @property
    def check_every(self) -> int:
        """Steps between two checks for `on_pinned`: a 20th of `pinned_steps`."""
        return max(1, self.pinned_steps // 20)

    def checkpoints_needed(self, schedule: schedule_lib.Schedule) -> int:
        """Number of newest checkpoints of which one is from before any problem.

        Args:
          schedule: schedule of the checkpoints and of the samples.

        Returns:
          The number; 0 if the run is not rolled back for a lasting problem.
        """
        reach = 0
        if self.on_pinned == "roll_back":
            reach = self.pinned_steps + self.check_every
        if self.on_collapsed == "roll_back":
            reach = max(reach, schedule.samples_every)
        return 1 + math.ceil(reach / schedule.checkpoint_every) if reach else 0

    @property
    def augments(self) -> bool:
        """Whether an alarm only raises the probability of augmentation."""
        return "augment" in (self.on_pinned, self.on_collapsed)


class DivergenceMonitor(tf.Module):
    """Raises alarms from training metrics and from the diversity of samples.

    Its variables belong to a run's checkpoint: a run that resumes raises the same
    alarms at the same steps as one that was not stopped. `start` comes first.

    Args:
      policy: thresholds and actions.
      accuracies: names of the discriminators' accuracies among the metrics.
    """

    def __init__(self, policy: Divergence, accuracies: Sequence[str]):
        super().__init__(name="divergence")
        self._policy = policy
        self._accuracies = tuple(accuracies)
        count = len(self._accuracies)
        self._total = _variable(np.zeros(count))  # of accuracies since the last check
        self._num_steps = _variable(np.int64(0))  # that it is of
        self._last_unpinned = _variable(np.full(count, _UNKNOWN, np.int64))
        self._last_diverse = _variable(_UNKNOWN)
        # Whether a lasting problem has been reported: a warning comes only once.
        self._is_pinned = _variable(np.zeros(count, bool))
        self._is_collapsed = _variable(False)

    def reset(self, step: int) -> None:
        """Forgets all that was seen, as after a rollback to a step."""
        for variable in self.variables:
            variable.assign(tf.zeros_like(variable))
        for last in (self._last_unpinned, self._last_diverse):
            last.assign(tf.fill(last.shape, _UNKNOWN))
        self.start(step)

    def start(self, step: int) -> None:
        """Starts or continues at a step, with the variables of its checkpoint."""
        self._last_finite = step
        for last in (self._last_unpinned, self._last_diverse):
            last.assign(tf.where(last == _UNKNOWN, np.int64(step), last))

    def check_metrics(self, step: int, metrics: Mapping[str, float]) -> list[Alarm]:
        """Checks for values that are not finite, and remembers the accuracies.

        Args:
          step: current step.
          metrics: means over the steps since the last call, by name.

        Returns:
          Alarms.
        """
        bad = [name for name, value in metrics.items() if not math.isfinite(value)]
        if bad:
            message = f"{', '.join(bad)} not finite at step {step}."
            action = self._policy.on_non_finite
            return [Alarm("non_finite", message, self._last_finite, action)]
        num_steps = step - self._last_finite
        self._last_finite = step
        accuracies = np.array([metrics[name] for name in self._accuracies], float)
        self._total.assign_add(num_steps * accuracies)
        self._num_steps.assign_add(num_steps)
        return []

    def check_accuracies(self, step: int) -> list[Alarm]:
        """Checks the mean accuracies since the last check.

        Called at multiples of `Divergence.check_every` only, so that alarms do not
        depend on how many steps a call to the device has.

        Args:
          step: current step.

        Returns:
          New alarms. If it lasts, a warning comes only once, and 'augment' again after
          `pinned_steps`.
        """
        policy, alarms = self._policy, []
        # Sums of other parts differ in their last bits.
        means = np.round(self._total.numpy() / max(self._num_steps.numpy(), 1), 6)
        is_pinned = self._is_pinned.numpy()
        unpinned = means < policy.pinned_accuracy
        last_unpinned = np.where(unpinned, step, self._last_unpinned.numpy())
        is_pinned &= ~unpinned
        for i, since in enumerate(last_unpinned.tolist()):
            if step - since < policy.pinned_steps:
                continue
            if policy.on_pinned == "warn" and is_pinned[i]:
                continue
            is_pinned[i] = True
            if policy.on_pinned == "augment":
                last_unpinned[i] = step  # it has so long again
            message = (
                f"{self._accuracies[i]} has been at least {policy.pinned_accuracy:g} "
                f"from step {since} to {step}: the generator may have stopped learning."
            )
            alarms.append(Alarm("pinned", message, since, policy.on_pinned))
        self._last_unpinned.assign(last_unpinned)
        self._is_pinned.assign(is_pinned)
        self._total.assign(np.zeros_like(means))
        self._num_steps.assign(0)
        return alarms

    def check_diversity(self, step: int, share: float) -> list[Alarm]:
        """Checks the diversity of samples.

        Args:
          step: step of the samples.
          share: their diversity as a fraction of that of real clips.

        Returns:
          New alarms. If it lasts, a warning comes only once, and 'augment' each time.
        """
        policy = self._policy
        if share >= policy.least_diversity:
            self._last_diverse.assign(step)
            self._is_collapsed.assign(False)
            return []
        if policy.on_collapsed == "warn" and self._is_collapsed.numpy():
            return []
        self._is_collapsed.assign(True)
        message = (
            f"The diversity of samples of a class is {100 * share:.1f} % of that of "
            f"real clips at step {step}: the generator has collapsed."
        )
        last_diverse = int(self._last_diverse.numpy())
        return [Alarm("collapsed", message, last_diverse, policy.on_collapsed)]


def diversity(videos: np.ndarray, columns: int) -> float:
    """Computes the diversity within rows: the root mean variance of each pixel.

    Args:
      videos: `[rows * columns, time, height, width, 3]` uint8, in row-major order.
      columns: number of videos per row, all of one class.

    Returns:
      The diversity in pixel values, 0 if the videos of each row are identical.
    """
    rows = videos.reshape([-1, columns, *videos.shape[1:]]).astype(np.float32)
    return float(np.sqrt(rows.var(axis=1).mean()))


def _variable(value: np.ndarray | np.int64 | bool) -> tf.Variable:
    return tf.Variable(value, trainable=False)
