"""The schedule of a run: its length, and what is due at which step."""

import dataclasses
from collections.abc import Sequence

import gin

from tf_dvdgan import errors

_SECONDS_PER_LOOP = 10.0


@gin.register(module="training")
@dataclasses.dataclass(frozen=True)
class Schedule:
    """The schedule of a run, in steps.

    Attributes:
      num_steps: length of the run.
      steps_per_loop: maximum number of steps per call to the device; progress is shown
        after each call. A call of slow steps has fewer, to take about ten seconds.
      checkpoint_every: steps between checkpoints.
      samples_every: steps between sample sheets.
      keep_checkpoints: number of newest checkpoints to keep; `Divergence` may need
        more.
      asynchronous_checkpoints: whether a thread writes checkpoints while training
        continues.
      on_failed_save: 'continue' or 'stop' if a checkpoint cannot be written; older ones
        are kept.
    """

    num_steps: int = 300_000
    steps_per_loop: int = 100
    checkpoint_every: int = 1000
    samples_every: int = 1000
    keep_checkpoints: int = 3
    asynchronous_checkpoints: bool = False
    on_failed_save: str = "continue"

    def __post_init__(self):
        names = ("steps_per_loop", "checkpoint_every", "samples_every")
        for name in (*names, "keep_checkpoints"):
            if getattr(self, name) < 1:
                raise errors.InvalidValueError(
                    f"{name} must be at least 1. Received: {getattr(self, name)}"
                )
        if self.on_failed_save not in ("continue", "stop"):
            raise errors.InvalidValueError(
                "on_failed_save must be 'continue' or 'stop'. Received: "
                f"{self.on_failed_save!r}"
            )

    def steps_from(
        self, step: int, seconds_per_step: float | None, periods: Sequence[int]
    ) -> int:
        """Chooses the number of steps of the next call, up to the next action.

        Args:
          step: current step of the run.
          seconds_per_step: measured time of a step; None before the first measurement.
          periods: steps between two calls of each action.

        Returns:
          The number of steps, at least 1.
        """
        if seconds_per_step is None:
            return 1
        until = min(every - step % every for every in periods)
        in_time = max(1, int(_SECONDS_PER_LOOP / max(seconds_per_step, 1e-6)))
        return min(until, in_time, self.steps_per_loop, self.num_steps - step)
