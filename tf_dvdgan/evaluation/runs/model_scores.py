"""Scores of a trained model, sampled as its protocols say."""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np

from tf_dvdgan import errors, terminal
from tf_dvdgan.data import clips, windows
from tf_dvdgan.evaluation.features import sources
from tf_dvdgan.evaluation.metrics import prediction
from tf_dvdgan.evaluation.runs import comparability, comparison, protocols, s3, scoring
from tf_dvdgan.sampling import latents
from tf_dvdgan.sampling import sampler as sampler_lib


class ModelScores:
    """Scores of a trained model, at any truncation.

    Args:
      sampler: of the model, with averaged weights in place.
      trained_on: window of its videos.
      class_names: of the videos it makes, in the order of its labels.

    In its methods `real` are the clips to compare with, and `held_out` those that the
    model was not trained on, if it was trained on `real`.
    """

    def __init__(
        self,
        sampler: sampler_lib.Sampler,
        trained_on: windows.Window,
        class_names: Sequence[str],
    ):
        self._sampler = sampler
        self._trained_on = trained_on
        self._class_names = class_names

    def by_features(
        self,
        metric: scoring.FeatureMetric,
        real: clips.ClipSource,
        held_out: clips.ClipSource | None = None,
        truncation: float = 1.0,
        num_resamples: int = 0,
    ) -> comparison.Result:
        """Samples the model as the metric's protocol says, and scores the samples.

        Args:
          metric: extracts features.
          real: clips to compare with.
          held_out: clips that the model was not trained on.
          truncation: factor of the latents.
          num_resamples: of the bootstrap; 0 skips it.

        Returns:
          The score.

        Raises:
          UserError: the model makes fewer frames than the protocol needs; or classes
            are compared, and differ.
        """
        protocol = metric.protocol
        window = self._window(protocol)
        metric.check_classes(self._class_names, "the model")
        real_selection = self._select(protocol, real, window, protocol.num_real)
        of_real = of_held_out = None
        if metric.needs_real:
            of_real = metric.extract_features(real_selection, "real clips")
            if held_out is not None:
                selection = self._select(protocol, held_out, window)
                of_held_out = metric.extract_features(selection, "held-out clips")
        generated = [
            self._generated(protocol, real_selection, truncation, protocol.seed + i)
            for i in range(protocol.num_repeats)
        ]
        of_generated = [
            metric.extract_features(source, "generated clips") for source in generated
        ]
        score = metric.score(of_real, of_generated, of_held_out, num_resamples)
        metadata = metric.metadata | self._metadata(window, real, truncation)
        metadata["num_real"] = real_selection.num_clips if metric.needs_real else 0
        metadata["num_generated"] = generated[0].num_clips
        size = metric.covariance_size
        found = comparability.few("generated", generated[0].num_clips, size)
        if metric.needs_real:
            found += comparability.few("real", real_selection.num_clips, size)
            found += comparability.warnings_of("real", real_selection)
        return comparison.Result(score, metadata, found)

    def s3(
        self,
        protocol: protocols.Protocol,
        real: clips.ClipSource,
        held_out: clips.ClipSource | None,
        cache_dir: str,
        weights_files: Sequence[str] = (),
    ) -> comparison.Result:
        """Trains classifiers on real and on generated clips (paper 003).

        Args:
          protocol: names their architecture.
          real: clips to compare with.
          held_out: clips that the model was not trained on.
          cache_dir: keeps the classifiers.
          weights_files: one of them has the weights that both start from, if the
            protocol says that they start from weights.

        Returns:
          The score.

        Raises:
          UserError: there are no held-out clips, too few frames, or no such weights.
        """
        initial_weights = None
        if protocol.metric == protocols.S3:
            initial_weights = scoring.file_for(protocol, weights_files, None)
        if held_out is None:
            raise errors.UserError(
                f"{protocol.name} tests with real clips that were not trained on: "
                "give shards with both splits as --real, or a folder as --held_out."
            )
        window = self._window(protocol)
        sides = s3.Splits(
            self._select(protocol, real, window),
            self._select(protocol, held_out, window),
        )
        count = sides.train.num_clips
        of_model = functools.partial(
            sources.ModelSource, self._sampler, num_frames=window.num_frames
        )
        generated = s3.Splits(
            of_model(count, protocol.seed),
            of_model(sides.test.num_clips, protocol.seed + 1),
        )
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
        metadata |= {"num_real": count, "num_generated": count}
        metadata["weights"] = {"source": "random first weights"}
        if scorer.initial_metadata:
            metadata["weights"] = dataclasses.asdict(scorer.initial_metadata)
        score = scoring.Score(found.value, others=others)
        return comparison.Result(score, metadata, [])

    def prediction(
        self,
        protocol: protocols.Protocol,
        real: clips.ClipSource,
        lpips_network: Callable | None = None,
        batch_size: int = 16,
    ) -> comparison.Result:
        """Continues real clips, and compares with their further frames.

        The value is the PSNR of the best of a clip's samples, in decibels; the rest is
        in `Score.others`, with each predicted frame's under its number.

        Args:
          protocol: says how many clips, and samples of each.
          real: clips to continue.
          lpips_network: of `networks.lpips.load`; None leaves LPIPS out.
          batch_size: videos at a time; it does not change the score.

        Returns:
          The score.

        Raises:
          UserError: the model does not start from frames.
        """
        networks, count = self._sampler.networks, protocol.samples_per_clip
        given = networks.generator.num_conditioning_frames
        if not given:
            raise errors.UserError(
                f"{protocol.name} is for models that start from frames; this does not."
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
            made = self._sampler.sample(
                part, [0] * count, frames=frames, batch_size=batch_size
            )["videos"]
            scores.add(row["video"], made[:, : window.num_frames])
            progress.update(i + 1)
        found = scores.result()
        metadata = dataclasses.asdict(protocol) | self._metadata(window, real, 1.0)
        metadata |= {"num_real": selection.num_clips, "weights": {}}
        metadata["num_generated"] = selection.num_clips * count
        others = _named_by_frame(found, given)
        score = scoring.Score(found["psnr"]["best"], others=others)
        return comparison.Result(score, metadata, [])

    def _window(self, protocol: protocols.Protocol) -> windows.Window:
        made = self._trained_on.num_frames
        if (protocol.num_frames or 0) > made:
            raise errors.UserError(
                f"{protocol.name} needs {protocol.num_frames} frames; the model makes "
                f"{made}."
            )
        return comparison.window_of(
            protocol, made, self._trained_on.stride, self._trained_on.resolution
        )

    def _select(
        self,
        protocol: protocols.Protocol,
        source: clips.ClipSource,
        window: windows.Window,
        at_most: int | None = None,
    ) -> sources.ClipSelection:
        """Clips with the model's labels."""
        comparison.check_classes(protocol, source, self._class_names)
        return sources.ClipSelection(source, window, at_most, self._class_names)

    def _generated(
        self,
        protocol: protocols.Protocol,
        real: sources.ClipSelection,
        truncation: float,
        seed: int,
    ) -> sources.ModelSource:
        """The model's videos; a model that starts from frames continues real clips."""
        given = self._sampler.networks.generator.num_conditioning_frames
        frames, count = None, protocol.num_generated
        if given:
            frames = real.first_frames(given)
            count = len(frames) * protocol.samples_per_clip
        return sources.ModelSource(self._sampler, count, seed, truncation, frames)

    def _metadata(
        self, window: windows.Window, real: clips.ClipSource, truncation: float
    ) -> dict:
        return comparison.window_metadata(window) | {
            "real": real.describe(),
            "truncation": truncation,
            "standing_batches": self._sampler.num_batches,
        }


def _named_by_frame(found: dict, given: int) -> dict[str, float]:
    """Scores of predictions by name: of all frames, then of each by its number."""
    others = {}
    for metric, values in found.items():
        for kind in ("best", "mean"):
            others[f"{metric}_{kind}"] = values[kind]
    for metric, values in found.items():
        for number, value in enumerate(values["best_by_frame"], given + 1):
            others[f"{metric}_best_of_frame_{number}"] = value
    return others
