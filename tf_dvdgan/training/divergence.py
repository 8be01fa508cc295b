"""Detects divergence: non-finite values, pinned discriminators, mode collapse."""

import dataclasses
import math
from collections.abc import Mapping

import gin
import numpy as np

from tf_dvdgan import errors

_ACTIONS = ("warn", "augment", "stop", "roll_back")


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
    `on_collapsed` with a higher probability of augmentation, if there is one.

    Attributes:
      on_non_finite: action if a loss or a gradient norm is NaN or infinite; 'stop' or
        'roll_back'.
      on_pinned: action if a discriminator classifies nearly all videos correctly for a
        long time.
      on_collapsed: action if the samples of a class are nearly identical.
      max_roll_backs: maximum number of rollbacks before the run stops.
      raise_by: how much 'augment' and 'roll_back' raise the probability of
        augmentation.
      max_raises: maximum number of raises by 'augment'; further alarms only warn.
      pinned_accuracy: threshold of a discriminator's accuracy for `on_pinned`.
      pinned_steps: number of steps at or above the threshold for `on_pinned`.
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

    @property
    def augments(self) -> bool:
        """Whether an alarm only raises the probability of augmentation."""
        return "augment" in (self.on_pinned, self.on_collapsed)


class DivergenceMonitor:
    """Raises alarms from training metrics and from the diversity of samples.

    Args:
      policy: thresholds and actions.
      step: current step of the run.
    """

    def __init__(self, policy: Divergence, step: int):
        self._policy = policy
        self.reset(step)

    def reset(self, step: int) -> None:
        """Resets the monitor to a step, as after a rollback."""
        self._last_finite = step
        self._last_unpinned: dict[str, int] = {}  # step, by name of the metric
        self._start = self._last_diverse = step
        self._reported: set[str] = set()  # alarms that have not cleared yet

    def check_metrics(self, step: int, metrics: Mapping[str, float]) -> list[Alarm]:
        """Checks training metrics.

        Args:
          step: current step.
          metrics: means over the steps since the last call, by name.

        Returns:
          New alarms; one that lasts is reported only once.
        """
        policy = self._policy
        bad = [name for name, value in metrics.items() if not math.isfinite(value)]
        if bad:
            message = f"{', '.join(bad)} not finite at step {step}."
            last_finite = self._last_finite
            return [Alarm("non_finite", message, last_finite, policy.on_non_finite)]
        alarms = []
        self._last_finite = step
        for name, accuracy in metrics.items():
            if not name.startswith("accuracy/"):
                continue
            if accuracy < policy.pinned_accuracy:
                self._last_unpinned[name] = step
                self._reported.discard(name)
            since = self._last_unpinned.get(name, self._start)
            if step - since >= policy.pinned_steps and name not in self._reported:
                self._reported.add(name)
                message = (
                    f"{name} has been at least {policy.pinned_accuracy:g} from step "
                    f"{since} to {step}: the generator may have stopped learning."
                )
                alarms.append(Alarm("pinned", message, since, policy.on_pinned))
        return alarms

    def check_diversity(self, step: int, share: float) -> list[Alarm]:
        """Checks the diversity of samples.

        Args:
          step: step of the samples.
          share: their diversity as a fraction of that of real clips.

        Returns:
          New alarms; one that lasts is reported only once.
        """
        policy = self._policy
        if share >= policy.least_diversity:
            self._last_diverse = step
            self._reported.discard("diversity")
            return []
        if "diversity" in self._reported:
            return []
        self._reported.add("diversity")
        message = (
            f"The diversity of samples of a class is {100 * share:.1f} % of that of "
            f"real clips at step {step}: the generator has collapsed."
        )
        return [Alarm("collapsed", message, self._last_diverse, policy.on_collapsed)]


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
