"""Scores a trained model, sampled according to the protocols."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tf_dvdgan import errors, terminal
from tf_dvdgan.data import clips, windows
from tf_dvdgan.evaluation.features import extraction, sources
from tf_dvdgan.evaluation.features.networks import lpips
from tf_dvdgan.evaluation.metrics import prediction
from tf_dvdgan.evaluation.runs import (
    comparability,
    comparison,
    feature_metric,
    protocols,
    s3,
    scoring,
)
from tf_dvdgan.sampling import latents
from tf_dvdgan.sampling import sampler as sampler_lib


class ModelScores:
    """Computes scores of a trained model, or of a model in training.

    In its methods `real` are the clips to compare with, and `held_out` are clips that
    the model was not trained on, if it was trained on `real`.

    Args:
      sampler: sampler of the model, with averaged weights.
      trained_on: window of the model's videos.
      class_names: class names in the order of the model's labels.
      show_progress: whether to show progress bars of features.
    """

    def __init__(
        self,
        sampler: sampler_lib.Sampler,
        trained_on: windows.Window,
        class_names: Sequence[str],
        show_progress: bool = True,
    ):
        self._sampler = sampler
        self._trained_on = trained_on
        self._class_names = class_names
        self._show_progress = show_progress
        # Kept for the next checkpoint, because it decodes all clips.
        self._first_frames = functools.cache(self._read_first_frames)

    def by_features(
        self,
        metric: feature_metric.FeatureMetric,
        real: clips.ClipSource,
        held_out: clips.ClipSource | None = None,
        truncation: float = 1.0,
        num_resamples: int = 0,
        samples_dir: str | None = None,
    ) -> comparison.Result:
        """Scores samples of the model by a metric of features.

        Args:
          metric: the metric, with its protocol.
          real: clips to compare with.
          held_out: clips that the model was not trained on; None for none.
          truncation: factor of the latents.
          num_resamples: number of bootstrap resamples; 0 skips the bootstrap.
          samples_dir: folder for cached features of the samples, instead of the
            metric's.

        Returns:
          The score, without a value on workers other than the chief.

        Raises:
          UserError: the model's videos are too short for the protocol, or the metric
            compares classes and they differ.
        """
        protocol = metric.protocol
        metadata = self.metadata(metric, real, truncation)
        selection, generated = self.sides(protocol, real, truncation)
        of_real = of_held_out = of_copies = None
        if metric.needs_real:
            of_real = self._features(metric, selection, "real clips")
            if held_out is not None:
                others = self._select(
                    protocol, held_out, selection.window, protocol.num_real
                )
                of_held_out = self._features(metric, others, "held-out clips")
                metadata["held-out"] = held_out.describe()
                metadata["num_held-out"] = others.num_clips
        of_generated = [
            self._features(metric, source, "generated clips", samples_dir)
            for source in generated
        ]
        if self._given_frames and protocol.metric == protocols.FRECHET:
            copies = sources.RepeatedFrames(selection, self._given_frames)
            of_copies = self._features(metric, copies, "clips with repeated frames")
        score = metric.score(
            scoring.Sides(of_real, of_generated, of_held_out, of_copies), num_resamples
        )
        compared = [real, held_out] if metric.needs_real else []
        used = compared or ([real] if self._given_frames else [])  # or continued
        metadata["num_real"] = selection.num_clips if used else 0
        metadata["num_generated"] = generated[0].num_clips
        found = comparability.warnings_of_model(
            selection if metric.needs_real else None,
            generated[0].num_clips,
            metric.covariance_size,
        )
        return comparison.Result(score, metadata, found, self._hashes(*used))

    def metadata(
        self,
        metric: feature_metric.FeatureMetric,
        real: clips.ClipSource,
        truncation: float = 1.0,
    ) -> dict:
        """Returns the metadata of a score by features, before it is computed.

        Args:
          metric: the metric, with its protocol.
          real: clips to compare with.
          truncation: factor of the latents.

        Returns:
          The metadata, with the protocol's numbers of clips.

        Raises:
          UserError: the model's videos are too short for the protocol, or the metric
            compares classes and they differ.
        """
        window = self._window(metric.protocol)
        is_of_classes = self._sampler.networks.class_conditional
        if metric.protocol.metric == protocols.ACCURACY and not is_of_classes:
            raise errors.UserError(
                f"{metric.protocol.name} needs a model with classes, and this one has "
                "none: omit it. (In training: evaluation.Plan.protocols = "
                "['fid_small'].)"
            )
        metric.check_classes(self._class_names, "the model")
        comparison.check_classes(metric.protocol, real, self._class_names)
        return metric.metadata | self._metadata(window, real, truncation)

    def sides(
        self,
        protocol: protocols.Protocol,
        real: clips.ClipSource,
        truncation: float = 1.0,
    ) -> tuple[sources.ClipSelection, list[sources.ModelSource]]:
        """Returns the real clips and the samples that a protocol compares.

        Args:
          protocol: the protocol.
          real: clips to compare with; a prediction model continues them.
          truncation: factor of the latents.

        Returns:
          The protocol's clips, and the samples of each repeat.

        Raises:
          UserError: the model's videos are too short for the protocol, or it compares
            classes and they differ.
        """
        window = self._window(protocol)
        selection = self.selection(protocol, real)
        frames, count = None, protocol.num_generated
        if self._given_frames:
            frames = self._first_frames(real, window, selection.num_clips)
            of_each = min(count // len(frames), protocol.samples_per_clip)
            count = len(frames) * max(of_each, 1)  # all that it is compared with
        samples = [
            sources.ModelSource(
                self._sampler, count, protocol.seed + repeat, truncation, frames
            )
            for repeat in range(protocol.num_repeats)
        ]
        return selection, samples

    def selection(
        self, protocol: protocols.Protocol, real: clips.ClipSource
    ) -> sources.ClipSelection:
        """Returns the real clips that a protocol compares with.

        Args:
          protocol: the protocol.
          real: clips to select from.

        Returns:
          The protocol's clips.

        Raises:
          UserError: the model's videos are too short for the protocol, or it compares
            classes and they differ.
        """
        return self._select(protocol, real, self._window(protocol), protocol.num_real)

    def _read_first_frames(
        self, real: clips.ClipSource, window: windows.Window, at_most: int
    ) -> np.ndarray:
        selection = sources.ClipSelection(real, window, at_most)
        return selection.first_frames(self._given_frames)

    def _features(
        self,
        metric: feature_metric.FeatureMetric,
        source: sources.Source,
        task: str,
        cache_dir: str | None = None,
    ) -> extraction.Features:
        shown = task if self._show_progress else None
        return metric.extract_features(source, shown, cache_dir)

    def s3(
        self,
        protocol: protocols.Protocol,
        real: clips.ClipSource,
        held_out: clips.ClipSource | None,
        cache_dir: str,
        weights_files: Sequence[str] = (),
    ) -> comparison.Result:
        """Computes S3 with classifiers of real and of generated clips (paper 003).

        Args:
          protocol: protocol with the architecture of the classifiers.
          real: real training clips.
          held_out: real test clips.
          cache_dir: folder for trained classifiers.
          weights_files: weights files; the first that fits initializes the classifiers,
            unless the protocol starts from random weights.

        Returns:
          The score.

        Raises:
          UserError: there are no held-out clips, the model's videos are too short, or
            no weights file fits.
        """
        initial_weights = None
        if protocol.metric == protocols.S3:
            initial_weights = feature_metric.file_for(protocol, weights_files, None)
        if held_out is None:
            raise errors.UserError(
                f"{protocol.name} needs held-out real clips: set `real` to shards with "
                "both splits, or `held_out` to a folder."
            )
        window = self._window(protocol)
        train = self._select(protocol, real, window)
        test = self._select(protocol, held_out, window)
        sides = s3.Splits(train, test)
        generated = _samples(self._sampler, sides, protocol.seed, window.num_frames)
        scorer = s3.S3Scorer(
            protocol.network,
            protocol.preprocessing,
            len(self._class_names),
            cache_dir,
            initial_weights=initial_weights,
            strategy=self._sampler.strategy,
            task=protocol.name,
        )
        found = scorer(sides, generated)
        parts = {"SeR": found.ser, "ReS": found.res, "ReR": found.rer}
        others = {f"{name} (%)": 100.0 * part for name, part in parts.items()}
        metadata = dataclasses.asdict(protocol) | self._metadata(window, real, 1.0)
        metadata |= dict.fromkeys(("num_real", "num_generated"), sides.train.num_clips)
        metadata["weights"] = {"source": "random first weights"}
        if scorer.initial_metadata:
            metadata["weights"] = dataclasses.asdict(scorer.initial_metadata)
        score = scoring.Score(found.value, others=others)
        warnings = [
            *comparability.warnings_of("real", train),
            *comparability.warnings_of("held-out", test),
        ]
        hashes = self._hashes(real, held_out)
        return comparison.Result(score, metadata, warnings, hashes)

    def prediction(
        self,
        protocol: protocols.Protocol,
        real: clips.ClipSource,
        lpips_network: lpips.LPIPS | None = None,
        batch_size: int = 16,
    ) -> comparison.Result:
        """Compares continuations of real clips with their actual frames.

        The value of the score is the PSNR of each clip's best sample, in decibels;
        `Score.others` has the other scores, also for each predicted frame, and those of
        repeating the last given frame ("copy").

        Args:
          protocol: protocol with the number of clips, and of samples per clip.
          real: clips to continue.
          lpips_network: result of `networks.lpips.load`; None to skip LPIPS.
          batch_size: batch size of sampling; does not affect the score.

        Returns:
          The score.

        Raises:
          UserError: it is not a prediction model.
        """
        networks, count = self._sampler.networks, protocol.samples_per_clip
        given = self._given_frames
        if not given:
            raise errors.UserError(
                f"{protocol.name} needs a model that starts from frames; this one does "
                "not."
            )
        window = self._window(protocol)
        selection = self._select(protocol, real, window, protocol.num_real)
        z = latents.draw(networks.latent, selection.num_clips * count, protocol.seed)
        scores = prediction.PredictionScores(given, lpips_network)
        progress = terminal.Progress("clips continued", selection.num_clips)
        for i, row in enumerate(selection.rows(0, 0, 1)):
            if row is None:
                continue
            frames = np.repeat(row["video"][np.newaxis, :given], count, axis=0)
            part = z[i * count : (i + 1) * count]
            samples = self._sampler.sample(
                part, [0] * count, frames=frames, batch_size=batch_size
            )["videos"]
            scores.add(row["video"], samples[:, : window.num_frames])
            progress.update(i + 1)
        found = scores.result()
        metadata = dataclasses.asdict(protocol) | self._metadata(window, real, 1.0)
        metadata |= {"num_real": selection.num_clips, "weights": {}}
        if lpips_network is not None:
            name, digest = lpips_network.name, lpips_network.hash
            metadata["weights"] = {"source": name, "hash": digest}
        metadata["num_generated"] = selection.num_clips * count
        others = _named_by_frame(found, given)
        score = scoring.Score(others["psnr_best"], others=others)
        warnings = list(comparability.warnings_of("real", selection))
        return comparison.Result(score, metadata, warnings, self._hashes(real))

    @property
    def _given_frames(self) -> int:
        """Number of frames that the model continues; 0 if it starts from none."""
        return self._sampler.networks.generator.num_conditioning_frames

    def _window(self, protocol: protocols.Protocol) -> windows.Window:
        trained_on = self._trained_on
        if (protocol.num_frames or 0) > trained_on.num_frames:
            raise errors.UserError(
                f"{protocol.name} needs {protocol.num_frames} frames; the model's "
                f"videos have {trained_on.num_frames}."
            )
        window = comparison.window_of(
            protocol, trained_on.num_frames, trained_on.stride, trained_on.resolution
        )
        return dataclasses.replace(
            window, consecutive_if_short=trained_on.consecutive_if_short
        )

    def _select(
        self,
        protocol: protocols.Protocol,
        source: clips.ClipSource,
        window: windows.Window,
        at_most: int | None = None,
    ) -> sources.ClipSelection:
        """Selects clips, with the model's labels."""
        comparison.check_classes(protocol, source, self._class_names)
        return sources.ClipSelection(source, window, at_most, self._class_names)

    def _hashes(
        self,
        real: clips.ClipSource | None = None,
        held_out: clips.ClipSource | None = None,
    ) -> Callable[[], dict[str, str]]:
        """Returns what computes the hashes of clips and of the model."""
        sides = {"real": real, "held-out": held_out}
        known = {name: source for name, source in sides.items() if source is not None}
        networks = self._sampler.networks
        return lambda: {
            **comparison.content_hashes(known),
            **sampler_lib.hashes_of_model(networks),
        }

    def _metadata(
        self, window: windows.Window, real: clips.ClipSource, truncation: float
    ) -> dict:
        return comparison.window_metadata(window) | {
            "real": real.describe(),
            "truncation": truncation,
            "standing_batches": self._sampler.num_batches,
        }


def _samples(
    sampler: sampler_lib.Sampler, real: s3.Splits, seed: int, num_frames: int
) -> s3.Splits:
    """Returns as many samples of the model as there are real clips in each split."""
    train, test = (
        sources.ModelSource(sampler, side.num_clips, seed + i, num_frames=num_frames)
        for i, side in enumerate((real.train, real.test))
    )
    return s3.Splits(train, test)


def _named_by_frame(
    found: Mapping[str, Mapping[str, Any]], given: int
) -> dict[str, float]:
    """Names the scores of predictions: of all frames, then of each frame by number."""
    others: dict[str, float] = {}
    for metric, values in found.items():
        for kind in ("best", "mean", "copy"):
            others[f"{metric}_{kind}"] = values[kind]
    for metric, values in found.items():
        for kind in ("best", "copy"):
            for number, value in enumerate(values[f"{kind}_by_frame"], given + 1):
                others[f"{metric}_{kind}_of_frame_{number}"] = value
    return others
