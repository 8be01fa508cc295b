"""Scores a model or a folder of videos by any protocol: `Scorer`.

    scorer = scorer.Scorer("shards", "samples", weights=["small.weights.h5"])
    result = scorer("fid_small")

`tools.score`, `tf_dvdgan.score` and the evaluation of runs in training all use it.
"""

import dataclasses
import functools
import os
import tempfile
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tf_dvdgan import errors, pretrained, run_directory
from tf_dvdgan.data import clips as clips_lib
from tf_dvdgan.data import files, windows
from tf_dvdgan.evaluation.features import sources
from tf_dvdgan.evaluation.features.networks import lpips as lpips_lib
from tf_dvdgan.evaluation.runs import (
    arguments,
    comparison,
    feature_metric,
    model_scores,
    protocols,
)
from tf_dvdgan.sampling import sampler as sampler_lib


@dataclasses.dataclass(frozen=True)
class Model:
    """A trained model to score.

    Attributes:
      sampler: sampler of the model.
      window: window of the training clips.
      class_names: class names in the order of the labels.
      step: step of the checkpoint.
      place: directory of the run; empty if there is none.
    """

    sampler: sampler_lib.Sampler
    window: windows.Window
    class_names: list[str]
    step: int
    place: str = ""


class Scorer:
    """Scores a model, or clips in files, by named protocols.

    Opens real clips and networks once per protocol, and caches features on disk.

    Args:
      real: folder of real videos or prepared shards.
      generated: folder of generated clips, or a model.
      weights: weights files of the protocols' networks; the first that fits is used.
      mean: file of the mean of C3D's training clips, for protocols that need it.
      lpips: weights files of LPIPS: of the backbone and of the linear layers.
      split: split of real shards, instead of the protocol's.
      held_out: folder of real clips that the model was not trained on.
      held_out_split: held-out split of shards; by default 'test', or 'validation'.
      num_frames: frames per clip in folders, if the protocol does not set it.
      stride: takes every n-th frame of real clips in folders, if the protocol does not
        set it.
      resolution: resizes clips in folders; None keeps their size.
      changes: changes to the protocols.
      num_resamples: number of bootstrap resamples; 0 skips the bootstrap.
      batch_size: batch size of the networks; does not affect the scores.
      cache_dir: folder for cached features; None keeps those of clips as long as this
        object, those of samples until `weights_changed`.
      strategy: where the networks run.
      show_progress: whether to show progress bars of features.

    Attributes:
      strategy: where the networks run.

    Raises:
      UserError: a folder does not exist, or an argument does not apply.
    """

    def __init__(
        self,
        real: str,
        generated: str | Model,
        weights: Sequence[str] = (),
        *,
        mean: str | None = None,
        lpips: Sequence[str] | None = None,
        split: str | None = None,
        held_out: str | None = None,
        held_out_split: str | None = None,
        num_frames: int | None = None,
        stride: int | None = None,
        resolution: int | None = None,
        changes: arguments.Changes = arguments.Changes(),
        num_resamples: int = 100,
        batch_size: int = 16,
        cache_dir: str | None = arguments.CACHE_DIR,
        strategy: tf.distribute.Strategy | None = None,
        show_progress: bool = True,
    ):
        of_folders = {
            "num_frames": num_frames,
            "stride": stride,
            "resolution": resolution,
        }
        is_model = isinstance(generated, Model)
        arguments.check(
            is_model, lpips=lpips, num_repeats=changes.num_repeats, **of_folders
        )
        self.strategy = strategy or tf.distribute.get_strategy()
        weights = [pretrained.resolve(path) for path in weights]
        self._weights, self._mean, self._lpips = weights, mean, lpips
        self._changes = changes
        self._num_resamples, self._batch_size = num_resamples, batch_size
        self._set_cache(cache_dir)
        self._window = of_folders
        self._inputs: dict[str, Any] = {  # as `receipts` repeats them
            **dict.fromkeys(("generated", "model_dir", "step")),
            **of_folders,
            **{"split": split, "held_out_split": held_out_split},
            **_absolute(real=real, mean=mean, held_out=held_out),
            **_absolute(weights=weights, lpips=lpips),
        }
        self._model: Model | None = None
        classes: Sequence[str] = ()
        if isinstance(generated, Model):
            classes = generated.window.classes
            self._set_model(generated, show_progress)
        else:
            files.register_filesystems(generated)
            if run_directory.RunDirectory(generated).is_run:
                raise errors.UserError(
                    f"{generated} is a run, and its sample sheets are no clips: set "
                    "`model_dir`, or in Python load it."
                )
            self._inputs |= _absolute(generated=generated)
            self._generated = clips_lib.open_clips(generated)
        # By split: opening shards for another protocol would hash them again.
        self._real = functools.cache(
            functools.partial(
                comparison.real_clips,
                place=real,
                split=split,
                held_out=held_out,
                held_out_split=held_out_split,
                classes=classes,
            )
        )
        self._network = functools.cache(self._make_metric)

    def _set_cache(self, cache_dir: str | None) -> None:
        self._of_samples: tempfile.TemporaryDirectory | None = None
        if cache_dir is None:
            self._temporary = _temporary_directory()
            self._of_samples = _temporary_directory()
            cache_dir = self._temporary.name
        self._cache_dir = os.path.expanduser(cache_dir)
        files.check_writable(self._cache_dir, as_folder=True)

    def _set_model(self, model: Model, show_progress: bool) -> None:
        self._model = model
        self._inputs |= {
            **_absolute(model_dir=model.place),
            "step": model.step,
            "standing_batches": model.sampler.num_batches,
        }
        self._scores = model_scores.ModelScores(
            model.sampler, model.window, model.class_names, show_progress
        )

    def weights_changed(self, step: int) -> None:
        """Discards what depends on the model's weights; call it when they change.

        Without a `cache_dir` these are the cached features of samples, too.

        Args:
          step: step of the new weights.
        """
        assert self._model
        self._model = dataclasses.replace(self._model, step=step)
        self._inputs["step"] = step
        self._model.sampler.weights_changed()
        if self._of_samples:
            self._of_samples.cleanup()
            self._of_samples = _temporary_directory()

    def _make_metric(
        self, protocol: protocols.Protocol
    ) -> feature_metric.FeatureMetric:
        real, _ = self._real(protocol.split)
        return feature_metric.FeatureMetric(
            protocol,
            self._weights,
            len(real.class_names) or None,
            self.strategy,
            self._mean,
            self._cache_dir,
            self._batch_size,
        )

    def _metric(self, protocol: protocols.Protocol) -> feature_metric.FeatureMetric:
        """Returns the protocol's metric; other numbers of clips share its network."""
        own = dataclasses.replace(
            protocol, num_real=None, num_generated=0, num_repeats=1, samples_per_clip=1
        )
        return self._network(own).with_protocol(protocol)

    def settings(self, protocol: protocols.Protocol) -> dict:
        """Returns what determines a model's score by features, before it is computed.

        Args:
          protocol: the protocol.

        Returns:
          "protocol" and "inputs", as in `receipts.record_of`, for `receipts.settings`.

        Raises:
          UserError: the clips, the weights or the model do not fit the protocol.
        """
        real, _ = self._real(protocol.split)
        metadata = self._scores.metadata(self._metric(protocol), real)
        return {"protocol": metadata, "inputs": self._inputs_of(protocol, 1.0)}

    def sides(
        self, protocol: protocols.Protocol
    ) -> tuple[sources.ClipSelection, sources.ModelSource]:
        """Returns the real clips and the model's samples that a protocol compares.

        Args:
          protocol: the protocol.

        Returns:
          The clips, and the samples of the first repeat.

        Raises:
          UserError: the clips or the model do not fit the protocol.
        """
        real, _ = self._real(protocol.split)
        selection, samples = self._scores.sides(protocol, real)
        return selection, samples[0]

    def selection(self, protocol: protocols.Protocol) -> sources.ClipSelection:
        """Returns the real clips that a protocol compares a model with.

        Args:
          protocol: the protocol.

        Returns:
          The clips.

        Raises:
          UserError: the clips or the model do not fit the protocol.
        """
        real, _ = self._real(protocol.split)
        return self._scores.selection(protocol, real)

    def _inputs_of(self, protocol: protocols.Protocol, truncation: float) -> dict:
        """Returns the arguments that repeat a score, see `receipts`."""
        return self._inputs | {
            "protocol": dataclasses.asdict(protocol),
            "truncation": truncation,
        }

    def __call__(self, name: str, truncation: float = 1.0) -> comparison.Result:
        """Computes a score.

        Args:
          name: name of the protocol.
          truncation: factor of a model's latents.

        Returns:
          The score, with its metadata and warnings.

        Raises:
          UserError: the clips, the weights or the model do not fit the protocol.
        """
        return self.score(self._changes.of(name), truncation)

    def score(
        self, protocol: protocols.Protocol, truncation: float = 1.0
    ) -> comparison.Result:
        """Computes a score by a custom protocol.

        Args:
          protocol: the protocol.
          truncation: factor of a model's latents.

        Returns:
          The score, with its metadata, warnings and what repeats it.

        Raises:
          UserError: the clips, the weights or the model do not fit the protocol.
        """
        arguments.check_protocol(protocol, self._model is not None, truncation)
        result = self._score(protocol, truncation)
        return dataclasses.replace(result, inputs=self._inputs_of(protocol, truncation))

    def _score(
        self, protocol: protocols.Protocol, truncation: float
    ) -> comparison.Result:
        real, held_out = self._real(protocol.split)
        if self._model is None:
            window = comparison.window_of(protocol, **self._window)
            return comparison.compare_folders(
                self._metric(protocol),
                real,
                self._generated,
                held_out,
                window,
                self._num_resamples,
            )
        if protocol.is_s3:
            result = self._scores.s3(
                protocol, real, held_out, self._cache_dir, self._weights
            )
        elif protocol.metric == protocols.PREDICTION:
            network = lpips_lib.load(*self._lpips) if self._lpips else None
            result = self._scores.prediction(protocol, real, network, self._batch_size)
        else:
            result = self._scores.by_features(
                self._metric(protocol),
                real,
                held_out,
                truncation,
                self._num_resamples,
                self._of_samples.name if self._of_samples else None,
            )
        result.metadata["step"] = self._model.step
        return result


def _temporary_directory() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix="tf_dvdgan-")


def _absolute(**places: str | Sequence[str] | None) -> dict[str, Any]:
    """Makes paths and lists of paths absolute; '' becomes None."""

    def absolute(place: str | Sequence[str] | None) -> str | list[str] | None:
        if isinstance(place, str):
            return files.absolute(place) if place else None
        return None if place is None else list(map(files.absolute, place))

    return {name: absolute(place) for name, place in places.items()}
