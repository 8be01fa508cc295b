"""Alarms of a run that goes wrong, and what is done about each."""

import dataclasses
import math
from collections.abc import Mapping

import gin
import numpy as np

from tf_dvdgan import errors

_ACTIONS = ("warn", "stop", "roll_back")


@dataclasses.dataclass(frozen=True)
class Alarm:
    """What has gone wrong.

    Attributes:
      kind: 'non_finite', 'pinned' or 'collapsed'.
      sentence: for the log.
      good_until: the last step at which nothing was wrong yet.
      action: 'warn', 'stop' or 'roll_back'.
    """

    kind: str
    sentence: str
    good_until: int
    action: str


@gin.register(module="training")
@dataclasses.dataclass(frozen=True)
class Divergence:
    """When a run is taken for lost, and what happens then.

    'warn' says so and continues, 'stop' ends the run, 'roll_back' goes back to the last
    good checkpoint and on with other random draws and another order of the data.

    Attributes:
      on_non_finite: a loss or a gradient is no number; 'stop' or 'roll_back'.
      on_pinned: a discriminator is right about nearly everything for long.
      on_collapsed: samples of a class have become nearly the same video.
      max_roll_backs: the run stops when it wants more.
      pinned_accuracy: share of real and fake videos that it is right about.
      pinned_steps: for so many steps on end.
      least_diversity: of samples, as a share of that of real clips; see `diversity`.
    """

    on_non_finite: str = "stop"
    on_pinned: str = "warn"
    on_collapsed: str = "warn"
    max_roll_backs: int = 3
    pinned_accuracy: float = 0.995
    pinned_steps: int = 2000
    least_diversity: float = 0.03

    def __post_init__(self):
        if self.on_non_finite not in _ACTIONS[1:]:
            raise errors.InvalidValueError(
                f"on_non_finite is one of {_ACTIONS[1:]}. "
                f"Received: {self.on_non_finite!r}"
            )
        for action in (self.on_pinned, self.on_collapsed):
            if action not in _ACTIONS:
                raise errors.InvalidValueError(
                    f"Actions are {_ACTIONS}. Received: {action!r}"
                )


class Watch:
    """Looks at each call's metrics, and at each sheet's diversity.

    Args:
      policy: when to sound an alarm.
      step: where the run is.
    """

    def __init__(self, policy: Divergence, step: int):
        self._policy = policy
        self.forget(step)

    def forget(self, step: int) -> None:
        """Starts again at a step, as after going back to it."""
        self._good = step
        self._free_until: dict[str, int] = {}  # by discriminator: last step not pinned
        self._start = self._varied = step
        self._told: set[str] = set()

    def metrics(self, step: int, metrics: Mapping[str, float]) -> list[Alarm]:
        """Alarms from the means over the steps that led to `step`."""
        policy = self._policy
        bad = [name for name, value in metrics.items() if not math.isfinite(value)]
        if bad:
            sentence = f"{', '.join(bad)} not finite at step {step}."
            return [Alarm("non_finite", sentence, self._good, policy.on_non_finite)]
        alarms = []
        self._good = step
        for name, accuracy in metrics.items():
            if not name.startswith("accuracy/"):
                continue
            if accuracy < policy.pinned_accuracy:
                self._free_until[name] = step
                self._told.discard(name)
            since = self._free_until.get(name, self._start)
            if step - since >= policy.pinned_steps and name not in self._told:
                self._told.add(name)
                sentence = (
                    f"{name} has been at {policy.pinned_accuracy:g} or more from step "
                    f"{since} to {step}: the generator may learn nothing any more."
                )
                alarms.append(Alarm("pinned", sentence, since, policy.on_pinned))
        return alarms

    def diversity(self, step: int, share: float) -> list[Alarm]:
        """Alarms from a sheet of samples: its diversity over that of real clips."""
        policy = self._policy
        if share >= policy.least_diversity:
            self._varied = step
            self._told.discard("diversity")
            return []
        if "diversity" in self._told:
            return []
        self._told.add("diversity")
        sentence = (
            f"Samples of a class differ by {100 * share:.1f} % of what real clips do "
            f"at step {step}: the generator has collapsed."
        )
        return [Alarm("collapsed", sentence, self._varied, policy.on_collapsed)]


def diversity(videos: np.ndarray, columns: int) -> float:
    """How much videos of a row differ: root of the mean variance of their pixels.

    Args:
      videos: `[rows * columns, time, height, width, 3]` uint8, row by row.
      columns: videos in a row.
    """
    rows = videos.reshape([-1, columns, *videos.shape[1:]]).astype(np.float32)
    return float(np.sqrt(rows.var(axis=1).mean()))
