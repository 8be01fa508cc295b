"""Computes scores by protocols from the features of real and generated clips."""

import dataclasses
import hashlib
import math
import os
import re
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tf_dvdgan import errors
from tf_dvdgan.evaluation.features import extraction, preprocessing, sources
from tf_dvdgan.evaluation.features.networks import i3d, pixels
from tf_dvdgan.evaluation.features.networks import weights as weights_lib
from tf_dvdgan.evaluation.metrics import (
    bootstrap,
    frechet,
    inception_score,
    kernel_distance,
    neighbors,
)
from tf_dvdgan.evaluation.runs import protocols

_MAX_SAMPLES = 10_000  # clips per side, for kernel distance and neighbors


@dataclasses.dataclass(frozen=True)
class Score:
    """A score with its uncertainty.

    Attributes:
      value: mean over repeats of sampling.
      sd: standard deviation over repeats, or over the splits of an Inception Score;
        None for a single one.
      error: standard error of the value, from a bootstrap of the first repeat's
        generated clips; None if not requested.
      others: secondary scores of the same features, by name.
    """

    value: float
    sd: float | None = None
    error: float | None = None
    others: dict[str, float] = dataclasses.field(default_factory=dict)

    def __str__(self) -> str:
        text = f"{self.value:.4g}"
        if self.sd is not None:
            text += f" ± {self.sd:.2g}"
        if self.error is not None:
            low, high = bootstrap.confidence_interval(self.value, self.error)
            text += f" (95 %: {low:.4g} to {high:.4g})"
        return text


class FeatureMetric:
    """A metric of features: the network, preprocessing and statistic of a protocol.

    Args:
      protocol: the protocol.
      weights: weights files; the first that fits is used.
      num_classes: number of classes of the data; with None or 1, weights for any number
        of classes fit, unless the protocol sets the number.
      strategy: where the network runs.
      mean: file of the mean clip that is subtracted from C3D's input.
      cache_dir: folder for cached features; None deletes them together with this
        object.
      batch_size: batch size of the network; does not affect the scores.

    Attributes:
      protocol: as given.
      strategy: as given.
      class_names: class names of the network's logits; empty if its file has none.

    Raises:
      UserError: there are no weights for the network, or no mean.
    """

    def __init__(
        self,
        protocol: protocols.Protocol,
        weights: Sequence[str] = (),
        num_classes: int | None = None,
        strategy: tf.distribute.Strategy | None = None,
        mean: str | None = None,
        cache_dir: str | None = None,
        batch_size: int = 16,
    ):
        self.protocol = protocol
        self.strategy = strategy or tf.distribute.get_strategy()
        needed = protocol.num_classes or (None if num_classes == 1 else num_classes)
        self._weights: dict[str, Any]
        with self.strategy.scope():
            if protocol.network == "pixels":
                network, self._weights = pixels.Pixels(), {}
            else:
                network, self._weights = _find(protocol, weights, needed)
        self.class_names = list(self._weights.pop("class_names", ()))
        preprocess, mean_metadata = _preprocessing(protocol, mean)
        self._weights |= mean_metadata
        if cache_dir is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="tf_dvdgan-")
            cache_dir = self._temporary.name
        self._cache_dir = cache_dir
        self._feature_size = network.FEATURES

        def feature_fn(videos: tf.Tensor, labels: tf.Tensor) -> dict[str, tf.Tensor]:
            del labels
            videos = videos[:, : protocol.num_frames]  # a model's may be longer
            if protocol.network == "i3d" and videos.shape[1] < i3d.MIN_FRAMES:
                raise errors.UserError(
                    f"{protocol.name} needs at least {i3d.MIN_FRAMES} frames of a "
                    f"video; these have {videos.shape[1]}."
                )
            outputs = dict(network(preprocess(videos), training=False))
            if protocol.by_frame:
                frames = np.arange(videos.shape[1])
                for frame in frames[1:]:
                    still = tf.gather(videos, np.minimum(frames, frame - 1), axis=1)
                    of_still = network(preprocess(still), training=False)
                    outputs[_until(protocol.output, frame)] = of_still[protocol.output]
            return outputs

        self._extract = extraction.Extractor(feature_fn, self.strategy, batch_size)

    @property
    def metadata(self) -> dict:
        """Protocol and weights, as they are written beside a score."""
        return {**dataclasses.asdict(self.protocol), "weights": self._weights}

    @property
    def covariance_size(self) -> int:
        """Rows of the covariance in a Fréchet distance; 0 for other metrics."""
        if self.protocol.metric != protocols.FRECHET:
            return 0
        of_logits = self.protocol.output == "logits"
        return self._weights["num_classes"] if of_logits else self._feature_size

    @property
    def needs_real(self) -> bool:
        """Whether the metric compares with real clips; an Inception Score does not."""
        return self.protocol.metric != protocols.INCEPTION

    def check_classes(self, class_names: Sequence[str], whose: str) -> None:
        """Checks that classes are the network's, for metrics that compare labels.

        Args:
          class_names: class names in the order of the labels; an empty list is
            accepted.
          whose: owner of the classes, for the message.

        Raises:
          UserError: the classes differ, or are in another order.
        """
        if self.protocol.metric != protocols.ACCURACY or not self.class_names:
            return
        if class_names and list(class_names) != self.class_names:
            few = ", ".join(self.class_names[:5])
            raise errors.UserError(
                f"{self.protocol.name} compares classes: the network's are {few}"
                f"{', ...' if len(self.class_names) > 5 else ''}; those of {whose} "
                "differ, or are in another order. Use a network that was trained on "
                "the same data."
            )

    def extract_features(
        self,
        source: sources.Source,
        task: str | None = None,
        cache_dir: str | None = None,
    ) -> extraction.Features:
        """Runs the network on clips, unless their features are in the cache.

        Args:
          source: source of the clips.
          task: name of the progress bar; None for no progress bar.
          cache_dir: folder for cached features, instead of the metric's own.

        Returns:
          The features; only the chief has those of all clips.
        """
        seen_as = {
            "network": self.protocol.network,
            "preprocessing": self.protocol.preprocessing,
            "num_frames": self.protocol.num_frames,
            "by_frame": self.protocol.by_frame,
            "weights": self._weights,
        }
        return self._extract(source, seen_as, cache_dir or self._cache_dir, task)

    def score(
        self,
        real: extraction.Features | None,
        generated: Sequence[extraction.Features],
        held_out: extraction.Features | None = None,
        num_resamples: int = 0,
    ) -> Score:
        """Computes the score from features.

        Args:
          real: features of real clips; None for an Inception Score.
          generated: features of generated clips, for each repeat of sampling.
          held_out: features of real clips that the model was not trained on, if it was
            trained on `real`; for memorization, and the distance between both kinds of
            real clips.
          num_resamples: number of bootstrap resamples; 0 skips the bootstrap.

        Returns:
          The score.

        Raises:
          UserError: there are too few clips, or they have no classes.
        """
        metrics = {
            protocols.FRECHET: self._frechet,
            protocols.INCEPTION: self._inception,
            protocols.ACCURACY: self._accuracy,
        }
        return metrics[self.protocol.metric](real, generated, held_out, num_resamples)

    def _frechet(self, real, generated, held_out, num_resamples) -> Score:
        output, seed = self.protocol.output, self.protocol.seed

        def moments_of(features: extraction.Features) -> frechet.Moments:
            moments = features.moments(output)
            if moments.count < 2:
                raise errors.UserError(
                    f"{self.protocol.name} compares sets of clips: each side needs at "
                    "least two clips."
                )
            return moments

        distance = frechet.distance_from(moments_of(real))
        values = [distance(moments_of(features)) for features in generated]
        error = None
        if num_resamples:
            vectors = generated[0].get(output, at_most=None)

            def of_resample(numbers: np.ndarray) -> float:
                moments = frechet.Moments(vectors.shape[1])
                moments.add(vectors[numbers])
                return distance(moments)

            error = _error(of_resample, len(vectors), seed, num_resamples, len(values))
        others = _of_samples(real, generated[0], held_out, output)
        if self.protocol.by_frame:
            frames = sum(name.startswith(_until(output, "")) for name in real.outputs)
            for frame in range(1, frames + 1):
                sides = (x.moments(_until(output, frame)) for x in (generated[0], real))
                others[f"until_frame_{frame}"] = frechet.distance(*sides)
        if held_out is not None:
            others["real_from_real"] = distance(moments_of(held_out))
        return Score(float(np.mean(values)), _sd(values), error, others)

    def _inception(self, real, generated, held_out, num_resamples) -> Score:
        del real, held_out
        protocol = self.protocol

        def score(p: np.ndarray) -> tuple[float, float]:
            if len(p) < protocol.num_splits:
                raise errors.UserError(
                    f"{protocol.name} is the mean over {protocol.num_splits} splits, "
                    f"for which {len(p)} generated clips are too few."
                )
            return inception_score.inception_score(p, protocol.num_splits)

        found = [score(_probabilities(features)) for features in generated]
        values = [value for value, _ in found]
        of_splits = found[0][1] if protocol.num_splits > 1 else None
        p = _probabilities(generated[0])
        error = _error(
            lambda i: score(p[i])[0], len(p), protocol.seed, num_resamples, len(values)
        )
        sd = _sd(values) if len(values) > 1 else of_splits
        return Score(float(np.mean(values)), sd, error)

    def _accuracy(self, real, generated, held_out, num_resamples) -> Score:
        if not all(map(_has_classes, generated)):
            raise errors.UserError(
                f"{self.protocol.name} needs generated clips with classes; these have "
                "none."
            )
        correct = [_correct(features) for features in generated]
        values = [float(of_repeat.mean()) for of_repeat in correct]
        error = _error(
            lambda i: float(correct[0][i].mean()),
            len(correct[0]),
            self.protocol.seed,
            num_resamples,
            len(values),
        )
        others = {}
        of_real = held_out if held_out is not None else real
        if of_real is not None and _has_classes(of_real):
            others["real"] = float(_correct(of_real).mean())
        others |= self._accuracy_of_words(generated)
        return Score(float(np.mean(values)), _sd(values), error, others)

    def _accuracy_of_words(self, generated) -> dict[str, float]:
        """Accuracy of each word of classes that are combinations of words."""
        words = _combined_words(self.class_names)
        found = {}
        for place in range(len(words[0]) if words else 0):
            of_class = np.array([name[place] for name in words])
            of_repeats = [
                of_class[_predicted(features)]
                == of_class[features.get("label", at_most=None)]
                for features in generated
            ]
            found[f"word_{place + 1}"] = float(np.mean(of_repeats))
        return found


def _combined_words(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Splits names like "RoundCircle", if they are all combinations of their words.

    Args:
      names: class names.

    Returns:
      The words of each name; empty if some combination is missing, or if there is only
      one word in each place or one place.
    """
    words = [tuple(re.findall("[A-Z][a-z]*", name)) for name in names]
    if not words or {"".join(w) for w in words} != set(names):
        return []
    places = list(zip(*words, strict=False))
    if len(places) < 2 or any(len(w) != len(places) for w in words):
        return []
    kinds = [len(set(place)) for place in places]
    is_grid = min(kinds) > 1 and math.prod(kinds) == len(set(words)) == len(words)
    return words if is_grid else []


def _until(output: str, frame: int | str) -> str:
    """Names an output for clips that stand still from a frame on."""
    return f"{output}_until_frame_{frame}"


def _preprocessing(
    protocol: protocols.Protocol, mean: str | None
) -> tuple[Callable[[tf.Tensor], tf.Tensor], dict]:
    """Returns the preprocessing function, and metadata of the mean that C3D needs."""
    function = getattr(preprocessing, protocol.preprocessing)
    if protocol.network != "c3d":
        return function, {}
    if mean is None:
        raise errors.UserError(
            f"{protocol.name} needs the mean of C3D's training clips, TGAN's "
            "mean2.npz: set it with `mean`."
        )
    clip = preprocessing.load_c3d_mean(mean)
    digest = hashlib.sha256(clip.tobytes()).hexdigest()
    metadata = {"mean": os.path.basename(mean), "mean_hash": digest}
    return lambda videos: function(videos, clip), metadata


def _find(
    protocol: protocols.Protocol, paths: Sequence[str], num_classes: int | None
) -> tuple[tf.keras.Model, dict]:
    """Loads the network from the file that fits; returns the file's metadata too."""
    network, metadata = weights_lib.load(file_for(protocol, paths, num_classes))
    return network, dataclasses.asdict(metadata)


def file_for(
    protocol: protocols.Protocol, paths: Sequence[str], num_classes: int | None
) -> str:
    """Finds the weights file that fits a protocol.

    Args:
      protocol: the protocol, with its network.
      paths: weights files.
      num_classes: number of classes of the network; None for any.

    Returns:
      The path of the first file that fits.

    Raises:
      UserError: no file fits.
    """
    others = []
    for path in paths:
        metadata = weights_lib.read_metadata(path)
        network, classes = metadata.network, metadata.num_classes
        if network == protocol.network and num_classes in (None, classes):
            return path
        others.append(f"{path} has {network} of {classes} classes")
    is_small = protocol.network == "small_classifier"
    tool = "tools.train_classifier" if is_small else "tools.convert_weights"
    of_classes = f" of {num_classes} classes" if num_classes else ""
    raise errors.UserError(
        f"{protocol.name} needs weights of {protocol.network}{of_classes} from {tool}: "
        "set the file with `weights`" + (f"; {', '.join(others)}." if others else ".")
    )


def _error(
    statistic: Callable[[np.ndarray], float],
    count: int,
    seed: int,
    num_resamples: int,
    num_repeats: int,
) -> float | None:
    """Computes the standard error of a mean over repeats; None without resamples."""
    if not num_resamples:
        return None
    of_one = bootstrap.standard_error(statistic, count, seed, num_resamples)
    return of_one / num_repeats**0.5


def _sd(values: Sequence[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def _has_classes(features: extraction.Features) -> bool:
    return bool((features.get("label", at_most=None) >= 0).all())


def _correct(features: extraction.Features) -> np.ndarray:
    """Returns 1 for each clip that is classified correctly, else 0."""
    label = features.get("label", at_most=None)
    return (_predicted(features) == label).astype(np.float64)


def _predicted(features: extraction.Features) -> np.ndarray:
    return features.get("logits", at_most=None).argmax(axis=1)


def _probabilities(features: extraction.Features) -> np.ndarray:
    logits = features.get("logits", at_most=None).astype(np.float64)
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def _of_samples(real, generated, held_out, output: str) -> dict[str, float]:
    """Computes the scores that need the features themselves, not their moments."""
    sides = [real, generated] + ([held_out] if held_out is not None else [])
    sides = [side.get(output, _MAX_SAMPLES) for side in sides]
    fewest = min(map(len, sides))
    found = {"kernel_distance": kernel_distance.kernel_distance(*sides[:2])}
    if fewest > neighbors.DEFAULT_K:
        precision, recall = neighbors.precision_and_recall(*sides[:2])
        found |= {"precision": precision, "recall": recall}
        if held_out is not None:
            memorized = neighbors.memorization(sides[1], sides[0], sides[2])
            found["memorization"] = memorized.rate
    if fewest > neighbors.DENSITY_K:
        density, coverage = neighbors.density_and_coverage(*sides[:2])
        found |= {"density": density, "coverage": coverage}
    return found
