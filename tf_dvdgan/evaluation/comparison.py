"""Real clips against generated ones, of files or of a model: a score and its facts."""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from tf_dvdgan import errors, sampling, terminal
from tf_dvdgan.data import clip_files, readers, transforms
from tf_dvdgan.data import manifest as manifest_lib
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

    Raises:
      UserError: classes are compared, and a place has others.
    """
    protocol = judge.protocol
    every_frame = dataclasses.replace(window, stride=1)
    class_names = judge.class_names or real.class_names
    sides = {"generated": generated}
    if judge.wants_real:
        sides |= {"real": real} | ({"held-out": held_out} if held_out else {})
    limits = {"real": protocol.num_real, "generated": protocol.num_generated}
    taken = {}
    for side, place in sides.items():
        _check_known(protocol, place, class_names)
        its_window = every_frame if side == "generated" else window
        taken[side] = sources.Files(place, its_window, limits.get(side), class_names)
    seen = {side: judge.look_at(x, f"{side} clips") for side, x in taken.items()}
    score = judge.score(
        seen.get("real"), [seen["generated"]], seen.get("held-out"), num_resamples
    )
    facts = judge.facts | _window_facts(window)
    facts |= {side: place.describe() for side, place in sides.items()}
    facts |= {f"num_{side}": source.num_clips for side, source in taken.items()}
    if judge.wants_real:
        compared = (taken[side].taken for side in ("real", "generated"))
        found = clips.warnings(*compared, judge.covariance_size)
    else:
        found = list(clips.warnings_of("generated", taken["generated"].taken))
    return Result(score, facts, found)


def real_clips(
    protocol: protocols.Protocol,
    place: str,
    split: str | None = None,
    held_out: str | None = None,
    held_out_split: str | None = None,
    classes: Sequence[str] = (),
) -> tuple[clips.Source, clips.Source | None]:
    """Real clips of a protocol, and those held out where the others are trained on.

    Args:
      protocol: says which split.
      place: folder of videos, or of prepared shards.
      split: of shards, instead of the protocol's.
      held_out: another folder of clips that are not trained on.
      held_out_split: of shards; by default 'test', or 'validation'.
      classes: of shards, these alone.

    Raises:
      UserError: a folder or a split is not there.
    """

    def held_split(path: str) -> str | None:
        return held_out_split or manifest_lib.load(path).held_out_split

    others = None
    if clips.is_prepared(place):
        held = held_split(place)
        if split is None:
            split = "train" if protocol.split == "train" else held or "train"
        if split == "train" and held:
            others = clips.open_folder(place, held, classes)
    real = clips.open_folder(place, split, classes)
    if held_out:
        other_split = None
        if clips.is_prepared(held_out):
            other_split = held_split(held_out)
            if other_split is None:
                raise errors.UserError(
                    f"{held_out} has no split that is held out; say which is meant "
                    "with --held_out_split."
                )
        others = clips.open_folder(held_out, other_split, classes)
    return real, others


def _check_known(
    protocol: protocols.Protocol, place: clips.Source, class_names: Sequence[str]
) -> None:
    """Refuses classes that are not known, where a score goes by them."""
    if protocol.metric != protocols.ACCURACY and not protocol.is_s3:
        return
    if len(class_names) < 2:
        raise errors.UserError(f"{protocol.name} goes by classes; here are none.")
    for name in place.class_names:
        if name not in class_names:
            raise errors.UserError(
                f"{protocol.name} goes by classes, and {place.path} has one that the "
                f"others have not, {name!r}." + errors.did_you_mean(name, class_names)
            )


class ModelScores:
    """Scores of a trained model, at any truncation.

    Args:
      gan: with averaged weights in place, on the strategy.
      trained_on: frames, stride and pixels of its videos.
      strategy: where it makes them.
      class_names: that it makes videos of, in the order of its labels.

    Of its methods' arguments, `real` are the clips to compare with, and `held_out`
    those that the model was not trained on, if `real` has those it was.
    """

    def __init__(
        self,
        gan: video_gan.Networks,
        trained_on: readers.Window,
        strategy: tf.distribute.Strategy,
        class_names: Sequence[str],
    ):
        self._class_names = class_names
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
          UserError: the model makes fewer frames than the protocol wants; or classes
            are compared, and are not alike.
        """
        protocol = judge.protocol
        window = self._window(protocol)
        judge.check_classes(self._class_names, "the model")
        real_source = self._files(protocol, real, window, protocol.num_real)
        seen = seen_held_out = None
        if judge.wants_real:
            seen = judge.look_at(real_source, "real clips")
            if held_out is not None:
                source = self._files(protocol, held_out, window)
                seen_held_out = judge.look_at(source, "held-out clips")
        self._accumulate(truncation)
        made = [
            self._generated(protocol, real_source, truncation, protocol.seed + repeat)
            for repeat in range(protocol.num_repeats)
        ]
        generated = [judge.look_at(source, "generated clips") for source in made]
        score = judge.score(seen, generated, seen_held_out, num_resamples)
        facts = judge.facts | _model_facts(window, real, truncation)
        facts["num_real"] = real_source.num_clips if judge.wants_real else 0
        facts["num_generated"] = made[0].num_clips
        size = judge.covariance_size
        found = clips.few("generated", made[0].num_clips, size)
        if judge.wants_real:
            found += clips.few("real", real_source.num_clips, size)
            found += clips.warnings_of("real", real_source.taken)
        return Result(score, facts, found)

    def s3(
        self,
        protocol: protocols.Protocol,
        real: clips.Source,
        held_out: clips.Source | None,
        cache_dir: str,
        weights_files: Sequence[str] = (),
    ) -> Result:
        """Trains classifiers on real and on generated clips (paper 003).

        Args:
          protocol: names their architecture.
          real: see above.
          held_out: see above.
          cache_dir: keeps them.
          weights_files: of which one is what both start from, where the protocol says
            that they start from weights.

        Raises:
          UserError: there are no held-out clips, too few frames, or no such weights.
        """
        first_weights = None
        if protocol.metric == protocols.S3:
            first_weights = scoring.file_for(protocol, weights_files, None)
        if held_out is None:
            raise errors.UserError(
                f"{protocol.name} tests with real clips that were not trained on: "
                "give shards with both splits as --real, or a folder as --held_out."
            )
        window = self._window(protocol)
        self._accumulate(1.0)
        sides = s3.Sides(
            self._files(protocol, real, window),
            self._files(protocol, held_out, window),
        )
        count = sides.train.num_clips
        of_model = functools.partial(
            sources.Generated, self._gan, num_frames=window.num_frames
        )
        generated = s3.Sides(
            of_model(count, protocol.seed),
            of_model(sides.test.num_clips, protocol.seed + 1),
        )
        scorer = s3.Scorer(
            protocol.network,
            protocol.preprocessing,
            len(self._class_names),
            cache_dir,
            first_weights=first_weights,
            strategy=self._strategy,
            task=protocol.name,
        )
        found = scorer(sides, generated)
        parts = {"SeR": found.ser, "ReS": found.res, "ReR": found.rer}
        others = {f"{name} (%)": 100.0 * part for name, part in parts.items()}
        facts = dataclasses.asdict(protocol) | _model_facts(window, real, 1.0)
        facts |= {"num_real": count, "num_generated": count}
        facts["weights"] = {"source": "random first weights"}
        if scorer.first:
            facts["weights"] = dataclasses.asdict(scorer.first)
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
        source = self._files(protocol, real, window, protocol.num_real)
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

    def _files(
        self,
        protocol: protocols.Protocol,
        place: clips.Source,
        window: clip_files.Window,
        at_most: int | None = None,
    ) -> sources.Files:
        """Clips with the model's labels."""
        _check_known(protocol, place, self._class_names)
        return sources.Files(place, window, at_most, self._class_names)

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
            frames = sources.first_frames(real, given)
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
