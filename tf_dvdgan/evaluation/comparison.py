"""Real clips against generated ones, of files or of a model: a score and its facts."""

import dataclasses
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tf_dvdgan import errors, sampling, terminal
from tf_dvdgan.data import clip_files, readers, transforms
from tf_dvdgan.evaluation import clips, prediction, protocols, s3, scoring, sources
from tf_dvdgan.models import video_gan
from tf_dvdgan.training import standing_statistics


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
        raise errors.UserError(
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
      generated: as many of the first are taken as the protocol says.
      held_out: real ones that the generator has not seen, if `real` has those it has.
      window: of real clips; the others are made already with every frame that counts.
      num_resamples: of the bootstrap.
    """
    protocol = judge.protocol
    every_frame = dataclasses.replace(window, stride=1)
    sides = {"real": real, "generated": generated, "held-out": held_out}
    limits = {"real": protocol.num_real, "generated": protocol.num_generated}
    taken = {
        side: sources.Files(
            place, every_frame if side == "generated" else window, limits.get(side)
        )
        for side, place in sides.items()
        if place is not None
    }
    seen = {side: judge.look_at(x, f"{side} clips") for side, x in taken.items()}
    score = judge.score(
        seen["real"], [seen["generated"]], seen.get("held-out"), num_resamples
    )
    size = judge.network.FEATURES if protocol.metric == protocols.FRECHET else 0
    facts = judge.facts | _window_facts(window)
    facts |= {side: place.describe() for side, place in sides.items() if place}
    facts |= {f"num_{side}": source.num_clips for side, source in taken.items()}
    found = clips.warnings(real, generated, size, window, every_frame)
    return Result(score, facts, found)


class ModelScores:
    """Scores of a trained model, at any truncation.

    Args:
      gan: with averaged weights in place, on the strategy.
      trained_on: frames, stride and pixels of its videos.
      strategy: where it makes them.

    Of its methods' arguments, `real` are the clips to compare with, and `held_out`
    those that the model was not trained on, if `real` has those it was.
    """

    def __init__(
        self,
        gan: video_gan.VideoGAN,
        trained_on: readers.Window,
        strategy: tf.distribute.Strategy,
    ):
        self._gan = gan
        self._trained_on = trained_on
        self._strategy = strategy
        self._standing = standing_statistics.StandingStatistics(gan, strategy=strategy)
        self._truncation: float | None = None

    def at(
        self,
        judge: scoring.Judge,
        real: clips.Source,
        held_out: clips.Source | None = None,
        truncation: float = 1.0,
        num_resamples: int = 0,
    ) -> Result:
        """Samples the model as the judge's protocol says, and scores that.

        Args:
          judge: looks at the videos.
          real: see above.
          held_out: see above.
          truncation: factor of the latents; standing statistics are made for it.
          num_resamples: of the bootstrap.

        Raises:
          UserError: the model makes fewer frames than the protocol wants.
        """
        protocol = judge.protocol
        window = self._window(protocol)
        self._accumulate(truncation)
        real_source = sources.Files(real, window, protocol.num_real)
        seen, seen_held_out = judge.look_at(real_source, "real clips"), None
        if held_out is not None:
            source = sources.Files(held_out, window)
            seen_held_out = judge.look_at(source, "held-out clips")
        made = [
            self._generated(protocol, real_source, truncation, protocol.seed + repeat)
            for repeat in range(protocol.num_repeats)
        ]
        generated = [judge.look_at(source, "generated clips") for source in made]
        score = judge.score(seen, generated, seen_held_out, num_resamples)
        facts = judge.facts | _model_facts(window, real, truncation)
        facts["num_real"] = real_source.num_clips
        facts["num_generated"] = made[0].num_clips
        size = judge.network.FEATURES if protocol.metric == protocols.FRECHET else 0
        sides = {"real": real_source.num_clips, "generated": made[0].num_clips}
        few = [
            f"{count} {side} clips are too few for the covariance of {size} features."
            for side, count in sides.items()
            if count <= size
        ]
        return Result(score, facts, few)

    def s3(
        self,
        protocol: protocols.Protocol,
        real: clips.Source,
        held_out: clips.Source | None,
        cache_dir: str,
    ) -> Result:
        """Trains classifiers on real and on generated clips (paper 003).

        Args:
          protocol: names their architecture.
          real: see above.
          held_out: see above.
          cache_dir: keeps them.

        Raises:
          UserError: there are no held-out clips, or too few frames.
        """
        if held_out is None:
            raise errors.UserError(
                f"{protocol.name} tests with real clips that were not trained on: "
                "give shards with both splits as --real, or a folder as --held_out."
            )
        window = self._window(protocol)
        self._accumulate(1.0)
        sides = s3.Sides(sources.Files(real, window), sources.Files(held_out, window))
        count = sides.train.num_clips
        generated = s3.Sides(
            sources.Generated(self._gan, count, protocol.seed),
            sources.Generated(self._gan, sides.test.num_clips, protocol.seed + 1),
        )
        found = s3.Scorer(
            protocol.network,
            protocol.preprocessing,
            len(real.class_names),
            cache_dir,
            strategy=self._strategy,
            task=protocol.name,
        )(sides, generated)
        others = {"ReR": found.rer, "SeR": found.ser, "ReS": found.res}
        facts = dataclasses.asdict(protocol) | _model_facts(window, real, 1.0)
        facts |= {"num_real": count, "num_generated": count, "weights": {}}
        return Result(scoring.Score(found.value, others=others), facts, [])

    def prediction(
        self,
        protocol: protocols.Protocol,
        real: clips.Source,
        lpips_network: Callable | None = None,
        batch_size: int = 16,
    ) -> Result:
        """Continues real clips, and compares with how they went on.

        Its value is PSNR of the best of a clip's samples, in decibels; the rest stands
        in `Score.others`, with each predicted frame's under its number.

        Args:
          protocol: says how many clips, and samples of each.
          real: see above.
          lpips_network: of `networks.lpips.load`; without it LPIPS is left out.
          batch_size: videos at a time; it changes nothing.

        Raises:
          UserError: the model does not start from frames.
        """
        gan, count = self._gan, protocol.samples_per_clip
        given = gan.generator.num_conditioning_frames
        if not given:
            raise errors.UserError(
                f"{protocol.name} is for models that start from frames; this does not."
            )
        window = self._window(protocol)
        self._accumulate(1.0)
        source = sources.Files(real, window, protocol.num_real)
        z = sampling.latents(gan.latent, source.num_clips * count, protocol.seed)
        scores = prediction.PredictionScores(given, lpips_network)
        progress = terminal.Progress("clips continued", source.num_clips)
        for i, row in enumerate(source.rows(0, 0, 1)):
            if row is None:
                continue
            start = transforms.to_unit_range(row["video"][np.newaxis, :given])
            conditioning = gan.conditioning(
                tf.zeros([count], tf.int32), tf.repeat(start, count, axis=0)
            )
            part = z[i * count : (i + 1) * count]
            made = sampling.generate(gan, part, conditioning, batch_size)["videos"]
            scores.add(row["video"], made[:, : window.num_frames])
            progress.update(i + 1)
        found = scores.result()
        others = {}
        for metric, values in found.items():
            for kind in ("best", "mean"):
                others[f"{metric}_{kind}"] = values[kind]
        for metric, values in found.items():
            for number, value in enumerate(values["best_by_frame"], given + 1):
                others[f"{metric}_best_of_frame_{number}"] = value
        facts = dataclasses.asdict(protocol) | _model_facts(window, real, 1.0)
        facts |= {"num_real": source.num_clips, "weights": {}}
        facts["num_generated"] = source.num_clips * count
        score = scoring.Score(found["psnr"]["best"], others=others)
        return Result(score, facts, [])

    def _window(self, protocol: protocols.Protocol) -> clip_files.Window:
        made = self._trained_on.num_frames
        if (protocol.num_frames or 0) > made:
            raise errors.UserError(
                f"{protocol.name} wants {protocol.num_frames} frames; the model makes "
                f"{made}."
            )
        return window_of(
            protocol, made, self._trained_on.stride, self._trained_on.resolution
        )

    def _accumulate(self, truncation: float) -> None:
        """Standing statistics of this truncation, unless they are there."""
        if self._truncation != truncation:
            self._standing.accumulate(truncation=truncation)
            self._truncation = truncation

    def _generated(
        self,
        protocol: protocols.Protocol,
        real: sources.Files,
        truncation: float,
        seed: int,
    ) -> sources.Generated:
        """The model's videos; one that starts from frames continues real clips."""
        given = self._gan.generator.num_conditioning_frames
        frames, count = None, protocol.num_generated
        if given:
            rows = (row for row in real.rows(0, 0, 1) if row is not None)
            frames = np.stack([row["video"][:given] for row in rows])
            count = len(frames) * protocol.samples_per_clip
        return sources.Generated(self._gan, count, seed, truncation, frames)


def _model_facts(
    window: clip_files.Window, real: clips.Source, truncation: float
) -> dict:
    return _window_facts(window) | {
        "real": real.describe(),
        "truncation": truncation,
        "standing_batches": standing_statistics.NUM_BATCHES,
    }


def _window_facts(window: clip_files.Window) -> dict:
    """What of a window the protocol itself left open."""
    return {
        "num_frames": window.num_frames,
        "stride": window.stride,
        "resolution": window.resolution,
    }
