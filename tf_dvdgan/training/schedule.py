"""When things happen in a run, and what its checkpoints are scored by."""

import dataclasses
from collections.abc import Sequence

import gin

from tf_dvdgan import errors
from tf_dvdgan.sampling import standing_statistics

_SECONDS_PER_LOOP = 10.0


@gin.register(module="training")
@dataclasses.dataclass(frozen=True)
class Schedule:
    """When things happen, in steps.

    Attributes:
      num_steps: length of the run.
      steps_per_loop: most steps in one call to the device; progress is shown after
        each call. Slow steps are fewer, so that a call takes some seconds.
      checkpoint_every: steps between checkpoints.
      samples_every: steps between sample sheets.
      keep_checkpoints: how many of the newest are kept.
      asynchronous_checkpoints: whether a thread writes them while training continues.
      on_failed_save: 'continue' or 'stop' when one cannot be written; older ones stay.
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
                    f"{name} is at least 1. Received: {getattr(self, name)}"
                )
        if self.on_failed_save not in ("continue", "stop", "go_on"):  # the last: older
            raise errors.InvalidValueError(
                "on_failed_save is 'continue' or 'stop'. Received: "
                f"{self.on_failed_save!r}"
            )

    def steps_from(
        self, step: int, seconds_per_step: float | None, others: Sequence[int] = ()
    ) -> int:
        """How many steps to do in one call, none past the next action.

        Args:
          step: where the run is.
          seconds_per_step: as measured; None before the first measurement.
          others: steps between actions besides the schedule's.

        Returns:
          At least 1.
        """
        if seconds_per_step is None:
            return 1
        ends = (self.checkpoint_every, self.samples_every, *others)
        until = min(every - step % every for every in ends)
        in_time = max(1, int(_SECONDS_PER_LOOP / max(seconds_per_step, 1e-6)))
        return min(until, in_time, self.steps_per_loop, self.num_steps - step)


@gin.register("Plan", module="evaluation")
@dataclasses.dataclass(frozen=True)
class EvaluationPlan:
    """What a run's checkpoints are scored by.

    Attributes:
      protocols: their names.
      weights: files of the networks' weights.
      mean: of C3D's training clips, for the protocols that need it.
      num_videos: generated videos, and most real clips, while the run trains.
      num_videos_at_end: the same at its last step; None for each protocol's own number.
      batch_size: videos at a time; it does not change scores.
      standing_batches: batches of 32 for the standing statistics.
      best: the protocol that selects the checkpoint in `best/`.
      held_out: the split of real clips that are not trained on, where a protocol says
        'test'; None takes 'test', or 'validation' where there is no other.
    """

    protocols: Sequence[str] = ("fid_pixels",)
    weights: Sequence[str] = ()
    mean: str | None = None
    num_videos: int = 512
    num_videos_at_end: int | None = None
    batch_size: int = 16
    standing_batches: int = standing_statistics.NUM_BATCHES
    best: str = "fid_pixels"
    held_out: str | None = None
