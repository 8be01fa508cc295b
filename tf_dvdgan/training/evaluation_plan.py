"""The plan for scoring a run's checkpoints."""

import dataclasses
from collections.abc import Sequence

import gin

from tf_dvdgan.sampling import standing_statistics


@gin.register("Plan", module="evaluation")
@dataclasses.dataclass(frozen=True)
class EvaluationPlan:
    """How a run's checkpoints are scored.

    Attributes:
      protocols: names of the evaluation protocols.
      weights: weights files of the protocols' networks.
      mean: file of the mean of C3D's training clips, for protocols that need it.
      num_videos: number of generated videos, and maximum number of real clips, while
        the run trains.
      num_videos_at_end: replaces `num_videos` at the last step; None for each
        protocol's own numbers.
      batch_size: batch size of sampling and evaluation; does not affect the scores.
      standing_batches: number of batches of 32 for the standing statistics.
      best: name of the protocol that selects the checkpoint in `best/`.
      held_out: split that is used for 'test' in a protocol; None for 'test', or
        'validation' if the data have no 'test'.
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
