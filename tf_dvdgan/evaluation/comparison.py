"""Real clips against generated ones, of files or of a model: a score and its facts."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from tf_dvdgan import cli
from tf_dvdgan.data import clip_files, readers
from tf_dvdgan.evaluation import clips, protocols, scoring, sources
from tf_dvdgan.models import video_gan
from tf_dvdgan.training import standing_statistics

_STANDING_BATCHES = 16
_STANDING_BATCH = 32


@dataclasses.dataclass(frozen=True)
class Result:
    """A score and what it must be told with.

    Attributes:
      score: its value, and how sure it is.
      facts: protocol, weights, clips of both sides: JSON's types alone.
      warnings: a sentence each, why it may not compare with others.
    """

    score: scoring.Score
    facts: dict
    warnings: list[str]


def window_of(
    protocol: protocols.Protocol,
    num_frames: int | None,
    stride: int | None,
    resolution: int | None,
) -> clip_files.Window:
    """What is taken of each real clip.

    Args:
      protocol: its frames and stride come first.
      num_frames: of a model's videos, or as the user says.
      stride: the same.
      resolution: of a model's videos; None for that of the files.

    Raises:
      UserError: nobody says how many frames.
    """
    if protocol.num_frames is None and num_frames is None:
        raise cli.UserError(
            f"{protocol.name} takes as many frames as there are; say how many with "
            "--num_frames."
        )
    return clip_files.Window(
        protocol.num_frames or num_frames, protocol.stride or stride or 1, resolution
    )


def of_folders(
    judge: scoring.Judge,
    real: clips.Source,
    generated: clips.Source,
    held_out: clips.Source | None,
    window: clip_files.Window,
    num_resamples: int,
) -> Result:
    """Scores generated clips that lie in files.

    Args:
      judge: looks at them.
      real: those to compare with.
      generated: all of them are taken.
      held_out: real ones that the generator has not seen, if `real` has those it has.
      window: of all.
      num_resamples: of the bootstrap.
    """
    protocol = judge.protocol
    sides = {"real": real, "generated": generated, "held-out": held_out}
    limits = {"real": protocol.num_real, "generated": protocol.num_generated}
    seen = {
        side: judge.look_at(
            sources.Files(place, window, limits.get(side)), f"{side} clips"
        )
        for side, place in sides.items()
        if place is not None
    }
    score = judge.score(
        seen["real"], [seen["generated"]], seen.get("held-out"), num_resamples
    )
    size = judge.network.FEATURES if protocol.metric == protocols.FRECHET else 0
    facts = judge.facts | _window_facts(window)
    facts |= {side: place.describe() for side, place in sides.items() if place}
    return Result(score, facts, clips.warnings(real, generated, size, window))


class ModelScores:
    """Scores of a trained model, at any truncation.

    Args:
      gan: with averaged weights in place, on the judges' strategy.
      trained_on: frames, stride and pixels of its videos.
      real: clips to compare with.
      held_out: real ones that it was not trained on, if `real` has those it was.
      num_resamples: of the bootstrap.
    """

    def __init__(
        self,
        gan: video_gan.VideoGAN,
        trained_on: readers.Window,
        real: clips.Source,
        held_out: clips.Source | None,
        num_resamples: int,
    ):
        self._gan = gan
        self._trained_on = trained_on
        self._real = real
        self._held_out = held_out
        self._num_resamples = num_resamples
        self._standing: standing_statistics.StandingStatistics | None = None
        self._truncation: float | None = None

    def at(self, judge: scoring.Judge, truncation: float = 1.0) -> Result:
        """Samples the model as the judge's protocol says, and scores that.

        Raises:
          UserError: the model makes fewer frames than the protocol wants.
        """
        protocol, made = judge.protocol, self._trained_on.num_frames
        if (protocol.num_frames or 0) > made:
            raise cli.UserError(
                f"{protocol.name} wants {protocol.num_frames} frames; the model makes "
                f"{made}."
            )
        window = window_of(
            protocol, made, self._trained_on.stride, self._trained_on.resolution
        )
        self._accumulate(judge, truncation)
        real = judge.look_at(
            sources.Files(self._real, window, protocol.num_real), "real clips"
        )
        held_out = None
        if self._held_out is not None:
            held_out = judge.look_at(
                sources.Files(self._held_out, window), "held-out clips"
            )
        generated = [
            judge.look_at(source, f"generated clips, truncation {truncation:g}")
            for source in self._generated(protocol, window, truncation)
        ]
        score = judge.score(real, generated, held_out, self._num_resamples)
        facts = judge.facts | _window_facts(window)
        facts |= {"real": self._real.describe(), "truncation": truncation}
        facts |= {"standing_batches": _STANDING_BATCHES}
        size = judge.network.FEATURES if protocol.metric == protocols.FRECHET else 0
        few = [
            f"{count} {side} clips are too few for the covariance of {size} features."
            for side, count in (
                ("real", self._real.num_clips),
                ("generated", protocol.num_generated),
            )
            if count <= size
        ]
        return Result(score, facts, few)

    def _accumulate(self, judge: scoring.Judge, truncation: float) -> None:
        """Standing statistics of this truncation, unless they are there."""
        if self._standing is None:
            replicas = judge.strategy.num_replicas_in_sync
            size = max(_STANDING_BATCH // replicas, 1) * replicas
            self._standing = standing_statistics.StandingStatistics(
                self._gan, size, judge.strategy
            )
        if self._truncation != truncation:
            self._standing.accumulate(_STANDING_BATCHES, truncation)
            self._truncation = truncation

    def _generated(
        self,
        protocol: protocols.Protocol,
        window: clip_files.Window,
        truncation: float,
    ) -> Iterator[sources.Generated]:
        gan = self._gan
        given = gan.generator.num_conditioning_frames
        frames, count = None, protocol.num_generated
        if given:
            place = sources.Files(self._real, window, protocol.num_real)
            rows = (row for row in place.rows(0, 0, 1) if row is not None)
            frames = np.stack([row["video"][:given] for row in rows])
            count = min(count, len(frames) * protocol.samples_per_clip)
        for repeat in range(protocol.num_repeats):
            seed = protocol.seed + repeat
            yield sources.Generated(gan, count, seed, truncation, frames)


def _window_facts(window: clip_files.Window) -> dict:
    """What of a window the protocol itself left open."""
    return {
        "num_frames": window.num_frames,
        "stride": window.stride,
        "resolution": window.resolution,
    }
