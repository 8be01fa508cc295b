"""Scores a model or a folder of videos by any protocol: `Scorer`.

    scorer = scorer.Scorer("shards", "samples", weights=["small.weights.h5"])
    result = scorer("fid_small")

`tools.score` and `tf_dvdgan.score` both use it.
"""

import dataclasses
import functools
import os
from collections.abc import Sequence
from typing import Any, TypedDict

import tensorflow as tf

from tf_dvdgan import errors, run_directory, terminal
from tf_dvdgan.data import clips as clips_lib
from tf_dvdgan.data import files, windows
from tf_dvdgan.evaluation.features.networks import lpips as lpips_lib
from tf_dvdgan.evaluation.runs import (
    comparison,
    model_scores,
    protocols,
    published,
    receipts,
    scoring,
)
from tf_dvdgan.models import vgan
from tf_dvdgan.sampling import sampler as sampler_lib
from tf_dvdgan.training import strategy as strategy_lib

CACHE_DIR = os.path.join("~", ".cache", "tf_dvdgan")


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


@dataclasses.dataclass(frozen=True)
class Changes:
    """Changes to a protocol; None keeps the protocol's value.

    Attributes:
      num_generated: number of generated videos.
      num_real: maximum number of real clips.
      num_repeats: number of times a model is sampled.
    """

    num_generated: int | None = None
    num_real: int | None = None
    num_repeats: int | None = None

    def of(self, name: str) -> protocols.Protocol:
        """Returns the protocol with a name, with the changes.

        Raises:
          UserError: there is no such protocol.
        """
        changed = {n: v for n, v in vars(self).items() if v is not None}
        return dataclasses.replace(protocols.get(name), **changed)


class Computation(TypedDict, total=False):
    """Arguments of `Scorer` that do not determine the score, but how it is computed."""

    num_resamples: int
    batch_size: int
    cache_dir: str
    strategy: tf.distribute.Strategy | None


class Options(Computation, total=False):
    """Optional arguments of `Scorer`, which describes them; all but `changes`."""

    mean: str | None
    lpips: Sequence[str] | None
    split: str | None
    held_out: str | None
    held_out_split: str | None
    num_frames: int | None
    stride: int | None
    resolution: int | None


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
      cache_dir: folder for cached features.
      strategy: where the networks run.

    Attributes:
      strategy: where the networks run.

    Raises:
      UserError: a folder does not exist, the model is an autoencoder, or an argument
        does not apply.
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
        changes: Changes = Changes(),
        num_resamples: int = 100,
        batch_size: int = 16,
        cache_dir: str = CACHE_DIR,
        strategy: tf.distribute.Strategy | None = None,
    ):
        of_folders = {
            "num_frames": num_frames,
            "stride": stride,
            "resolution": resolution,
        }
        is_folder = isinstance(generated, str)
        unused = {"lpips": lpips} if is_folder else of_folders
        own, other = ("folder", "model") if is_folder else ("model", "folder")
        for name, value in unused.items():
            if value is not None:
                raise errors.UserError(
                    f"`{name}` is for the score of a {other}, not of a {own}."
                )
        self.strategy = strategy or tf.distribute.get_strategy()
        self._weights, self._mean, self._lpips = list(weights), mean, lpips
        self._changes = changes
        self._num_resamples, self._batch_size = num_resamples, batch_size
        self._cache_dir = os.path.expanduser(cache_dir)
        files.check_writable(self._cache_dir, as_folder=True)
        self._window = of_folders
        self._inputs: dict[str, Any] = {  # as `receipts` repeats them
            "real": _absolute(real),
            "generated": None,
            "model_dir": None,
            "step": None,
            "weights": list(map(files.absolute, weights)),
            "mean": _absolute(mean),
            "lpips": list(map(files.absolute, lpips)) if lpips else None,
            "split": split,
            "held_out": _absolute(held_out),
            "held_out_split": held_out_split,
            **of_folders,
        }
        self._model: Model | None = None
        classes: Sequence[str] = ()
        if isinstance(generated, str):
            self._inputs["generated"] = _absolute(generated)
            self._generated = clips_lib.open_clips(generated)
        else:
            self._model = generated
            self._inputs |= {
                "model_dir": _absolute(generated.place),
                "step": generated.step,
            }
            classes = generated.window.classes
            self._scores = self._scores_of(generated)
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
        self._metric = functools.cache(self._make_metric)

    def _scores_of(self, model: Model) -> model_scores.ModelScores:
        if isinstance(model.sampler.networks.generator, vgan.Autoencoder):
            raise errors.UserError(
                "The model is an autoencoder, which reconstructs whole clips: score "
                "videos from tools.sample, with `generated`."
            )
        return model_scores.ModelScores(model.sampler, model.window, model.class_names)

    def _make_metric(self, protocol: protocols.Protocol) -> scoring.FeatureMetric:
        return scoring.FeatureMetric(
            protocol,
            self._weights,
            len(self._real(protocol)[0].class_names) or None,
            self.strategy,
            self._mean,
            self._cache_dir,
            self._batch_size,
        )

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
        """Computes a score by a protocol of one's own.

        Args:
          protocol: the protocol.
          truncation: factor of a model's latents.

        Returns:
          The score, with its metadata, warnings and what repeats it.

        Raises:
          UserError: the clips, the weights or the model do not fit the protocol.
        """
        inputs = self._inputs | {
            "protocol": dataclasses.asdict(protocol),
            "truncation": truncation,
        }
        return dataclasses.replace(self._score(protocol, truncation), inputs=inputs)

    def _score(
        self, protocol: protocols.Protocol, truncation: float
    ) -> comparison.Result:
        if self._model is None:
            if truncation != 1.0:
                raise errors.UserError(
                    "`truncation` is for the score of a model, not of a folder."
                )
            return self._of_folder(protocol)
        if protocol.needs_model and truncation != 1.0:
            raise errors.UserError(f"{protocol.name} is defined only for truncation 1.")
        real, held_out = self._real(protocol)
        if protocol.is_s3:
            result = self._scores.s3(
                protocol, real, held_out, self._cache_dir, self._weights
            )
        elif protocol.metric == protocols.PREDICTION:
            network = lpips_lib.load(*self._lpips) if self._lpips else None
            result = self._scores.prediction(protocol, real, network, self._batch_size)
        else:
            result = self._scores.by_features(
                self._metric(protocol), real, held_out, truncation, self._num_resamples
            )
        result.metadata["step"] = self._model.step
        return result

    def _of_folder(self, protocol: protocols.Protocol) -> comparison.Result:
        if protocol.needs_model:
            raise errors.UserError(
                f"{protocol.name} scores models: pass one instead of videos."
            )
        real, held_out = self._real(protocol)
        window = comparison.window_of(protocol, **self._window)
        metric = self._metric(protocol)
        return comparison.compare_folders(
            metric, real, self._generated, held_out, window, self._num_resamples
        )


def _absolute(path: str | None) -> str | None:
    return files.absolute(path) if path else None


def print_scores(
    scorer: Scorer,
    names: Sequence[str],
    truncations: Sequence[float] = (1.0,),
    output: str | None = None,
    receipt: str | None = None,
) -> None:
    """Computes scores, prints each with its protocol, and adds them to a file.

    Of several workers, the chief prints and writes.

    Args:
      scorer: computes the scores.
      names: names of the protocols.
      truncations: factors of a model's latents.
      output: JSON Lines file; None to write no file.
      receipt: file for only these scores, see `receipts`; None to write no file.

    Raises:
      UserError: the clips, the weights or the model do not fit a protocol.
    """
    chief = strategy_lib.is_chief(scorer.strategy)
    curves: dict[str, list[float]] = {name: [] for name in names}
    best: dict[str, tuple[float, scoring.Score]] = {}
    records: list[dict] = []
    for truncation in truncations:
        for name in names:
            result = scorer(name, truncation)
            if not chief:
                continue
            print(_described(result))
            records.append(receipts.record_of(result))
            if output:
                run_directory.add_row(output, records[-1])
            value = result.score.value
            curves[name].append(value)
            if name not in best or value > best[name][1].value:
                best[name] = (truncation, result.score)
    if not chief:
        return
    if receipt:
        receipts.write(receipt, records)
    if len(truncations) > 1:
        print("\ntruncation  " + "  ".join(f"{name:>14}" for name in names))
        for truncation, values in zip(
            truncations, zip(*curves.values(), strict=True), strict=True
        ):
            cells = "  ".join(f"{value:14.4g}" for value in values)
            print(f"{truncation:10g}  {cells}")
        for name in names:
            if protocols.get(name).metric == protocols.INCEPTION:
                truncation, score = best[name]
                print(f"Best {name} at truncation {truncation:g}: {score}")
    for name in names:
        table = published.table(name)
        if table:
            print(f"\nPublished scores, to compare with {name}:\n{table}")


def _described(result: comparison.Result) -> str:
    """Formats a score with its metadata and warnings, in several lines."""
    metadata, weights = result.metadata, result.metadata["weights"]
    at = ""
    if "truncation" in metadata:
        at = f" at truncation {metadata['truncation']:g}"
    lines = [f"{metadata['name']}{at}: {result.score}"]
    others = result.score.others.items()
    if others:
        lines.append("  " + "  ".join(f"{name} {value:.4g}" for name, value in others))
    network = f"{metadata['network'] or 'none'} ({weights.get('source', 'no weights')}"
    network += f", {weights['hash'][:12]})" if "hash" in weights else ")"
    size = f", {metadata['resolution']} pixels" if metadata["resolution"] else ""
    lines.append(f"  {metadata['metric']} by {network}, {metadata['preprocessing']}")
    frames, stride = metadata["num_frames"], metadata["stride"]
    lines.append(f"  {frames} frames, stride {stride}{size}")
    for side in ("real", "generated", "held-out"):
        if side in metadata:
            clips = metadata[side]
            split = f", split {clips['split']}" if "split" in clips else ""
            used = metadata.get(f"num_{side}", clips["num_clips"])
            lines.append(
                f"  {side}: {used} of {clips['num_clips']} in {clips['name']}{split}"
            )
    if "truncation" in metadata:
        count, seed = metadata["num_generated"], metadata["seed"]
        lines.append(f"  generated: {count}, seed {seed}")
    lines.append(f"  compares with {metadata['compares_with']}")
    lines += [f"  warning: {sentence}" for sentence in result.warnings]
    # Names of files, and what weights files say, may hold control characters.
    return "\n" + "\n".join(map(terminal.printable, lines))
