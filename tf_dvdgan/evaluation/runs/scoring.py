"""Scores by a protocol: from the features of real and generated clips to numbers."""

import dataclasses
import hashlib
import os
import tempfile
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from tf_dvdgan import errors
from tf_dvdgan.evaluation.features import extraction, preprocessing, sources
from tf_dvdgan.evaluation.features.networks import i3d, pixels
from tf_dvdgan.evaluation.features.networks import weights as weights_lib
from tf_dvdgan.evaluation.metrics import bootstrap, frechet, inception_score, neighbours
from tf_dvdgan.evaluation.runs import protocols

_NEIGHBOURS_OF = 10_000  # clips at the most, of each side


@dataclasses.dataclass(frozen=True)
class Score:
    """A value, and how certain it is.

    Attributes:
      value: the mean over repeats.
      sd: over repeats of sampling, or over an Inception Score's splits; None of one.
      error: the value's standard error, by bootstrap of the first repeat's generated
        clips; None if not requested.
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
    """A metric of features: a network, its input and the statistic of a protocol.

    Args:
      protocol: names the network.
      weights: files of weights; the first that fits is used.
      num_classes: of the data; with None or 1, weights for any number of classes fit,
        unless the protocol fixes the number.
      strategy: where the network runs.
      mean: file of the mean clip that is subtracted from C3D's input.
      cache_dir: keeps features; None deletes them together with this object.
      batch_size: clips at a time; it does not change scores.

    Attributes:
      protocol: as given.
      strategy: as given.
      class_names: of the network's logits; empty where its file does not name them.

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
            videos = videos[:, : protocol.num_frames]  # a model may make more
            if protocol.network == "i3d" and videos.shape[1] < i3d.MIN_FRAMES:
                raise errors.UserError(
                    f"{protocol.name} needs at least {i3d.MIN_FRAMES} frames of a "
                    f"video; these have {videos.shape[1]}."
                )
            return dict(network(preprocess(videos), training=False))

        self._extract = extraction.Extractor(feature_fn, self.strategy, batch_size)

    @property
    def metadata(self) -> dict:
        """The protocol and the weights, as they are written beside a score."""
        return {**dataclasses.asdict(self.protocol), "weights": self._weights}

    @property
    def covariance_size(self) -> int:
        """Rows of the covariance that is compared; 0 for other metrics."""
        if self.protocol.metric != protocols.FRECHET:
            return 0
        of_logits = self.protocol.output == "logits"
        return self._weights["num_classes"] if of_logits else self._feature_size

    @property
    def needs_real(self) -> bool:
        """Whether real clips are compared with; an Inception Score has none."""
        return self.protocol.metric != protocols.INCEPTION

    def check_classes(self, class_names: Sequence[str], whose: str) -> None:
        """Refuses classes other than the network's, where labels are compared.

        Args:
          class_names: in the order of labels; an empty list is accepted.
          whose: classes they are, for the message.

        Raises:
          UserError: they differ, or are in another order.
        """
        if self.protocol.metric != protocols.ACCURACY or not self.class_names:
            return
        if class_names and list(class_names) != self.class_names:
            few = ", ".join(self.class_names[:5])
            raise errors.UserError(
                f"{self.protocol.name} compares classes: the network's are {few}"
                f"{', ...' if len(self.class_names) > 5 else ''}, and those of {whose} "
                "differ, or are in another order. Train it on the same data."
            )

    def extract_features(
        self,
        source: sources.Source,
        task: str | None = None,
        cache_dir: str | None = None,
    ) -> extraction.Features:
        """Runs the network on clips, unless their features are in the cache.

        Args:
          source: of the clips.
          task: name of the progress bar; None shows none.
          cache_dir: instead of the metric's own.

        Returns:
          The features; on other workers than the chief, not of all clips.
        """
        seen_as = {
            "network": self.protocol.network,
            "preprocessing": self.protocol.preprocessing,
            "num_frames": self.protocol.num_frames,
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
          real: of real clips; None for an Inception Score.
          generated: of generated ones, for each repeat of sampling.
          held_out: of real clips that the model was not trained on, where `real` are
            those that it was trained on: for memorization, and for the distance between
            real clips and real clips.
          num_resamples: of the bootstrap; 0 skips it.

        Returns:
          The score.

        Raises:
          UserError: there are too few clips, or they lack classes.
        """
        metrics = {
            protocols.FRECHET: self._frechet,
            protocols.INCEPTION: self._inception,
            protocols.ACCURACY: self._accuracy,
        }
        return metrics[self.protocol.metric](real, generated, held_out, num_resamples)

    def _frechet(self, real, generated, held_out, num_resamples) -> Score:
        output, seed = self.protocol.output, self.protocol.seed

        def moments_of(seen: extraction.Features) -> frechet.Moments:
            found = seen.moments(output)
            if found.count < 2:
                raise errors.UserError(
                    f"{self.protocol.name} compares sets of clips: each side needs at "
                    "least two."
                )
            return found

        distance = frechet.distance_from(moments_of(real))
        values = [distance(moments_of(seen)) for seen in generated]
        error = None
        if num_resamples:
            made = generated[0].get(output, at_most=None)

            def of_resample(numbers: np.ndarray) -> float:
                moments = frechet.Moments(made.shape[1])
                moments.add(made[numbers])
                return distance(moments)

            error = _error(of_resample, len(made), seed, num_resamples, len(values))
        others = _neighbours(real, generated[0], held_out, output)
        if held_out is not None:
            others["real_from_real"] = distance(moments_of(held_out))
        return Score(float(np.mean(values)), _sd(values), error, others)

    def _inception(self, real, generated, held_out, num_resamples) -> Score:
        del real, held_out
        protocol = self.protocol

        def score(p: np.ndarray) -> tuple[float, float]:
            if len(p) < protocol.num_splits:
                raise errors.UserError(
                    f"{protocol.name} is the mean over {protocol.num_splits} parts; "
                    f"{len(p)} generated clips are too few."
                )
            return inception_score.inception_score(p, protocol.num_splits)

        found = [score(_probabilities(seen)) for seen in generated]
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
        rights = [_right(seen) for seen in generated]
        values = [float(right.mean()) for right in rights]
        error = _error(
            lambda i: float(rights[0][i].mean()),
            len(rights[0]),
            self.protocol.seed,
            num_resamples,
            len(values),
        )
        clips = held_out if held_out is not None else real
        known = clips is not None and _has_classes(clips)
        others = {"real": float(_right(clips).mean())} if known else {}
        return Score(float(np.mean(values)), _sd(values), error, others)


def _preprocessing(
    protocol: protocols.Protocol, mean: str | None
) -> tuple[Callable[[tf.Tensor], tf.Tensor], dict]:
    """What makes the network's input, and metadata of the mean that C3D needs."""
    function = getattr(preprocessing, protocol.preprocessing)
    if protocol.network != "c3d":
        return function, {}
    if mean is None:
        raise errors.UserError(
            f"{protocol.name} needs the mean of C3D's training clips, TGAN's "
            "mean2.npz: give it with --mean."
        )
    clip = preprocessing.load_c3d_mean(mean)
    found = hashlib.sha256(np.ascontiguousarray(clip)).hexdigest()
    metadata = {"mean": os.path.basename(mean), "mean_hash": found}
    return lambda videos: function(videos, clip), metadata


def _find(
    protocol: protocols.Protocol, paths: Sequence[str], num_classes: int | None
) -> tuple[tf.keras.Model, dict]:
    """The network of the file that fits, and the file's metadata."""
    network, facts = weights_lib.load(file_for(protocol, paths, num_classes))
    return network, dataclasses.asdict(facts)


def file_for(
    protocol: protocols.Protocol, paths: Sequence[str], num_classes: int | None
) -> str:
    """The file of weights that fits a protocol.

    Args:
      protocol: names the network.
      paths: of files of weights.
      num_classes: of the network; None for any.

    Returns:
      The path of the file.

    Raises:
      UserError: none fits.
    """
    held = []
    for path in paths:
        facts = weights_lib.read_metadata(path)
        if facts.network == protocol.network and num_classes in (
            None,
            facts.num_classes,
        ):
            return path
        held.append(f"{path} has {facts.network} of {facts.num_classes} classes")
    own = protocol.network == "small_classifier"
    how = "tools.train_classifier" if own else "tools.convert_weights"
    classes = f" of {num_classes} classes" if num_classes else ""
    raise errors.UserError(
        f"{protocol.name} needs weights of {protocol.network}{classes}, a file that "
        f"{how} makes: give it with --weights"
        + (f"; {', '.join(held)}." if held else ".")
    )


def _error(
    statistic: Callable[[np.ndarray], float],
    count: int,
    seed: int,
    num_resamples: int,
    num_repeats: int,
) -> float | None:
    """The standard error of a mean over repeats; None if nothing is drawn."""
    if not num_resamples:
        return None
    of_one = bootstrap.standard_error(statistic, count, seed, num_resamples)
    return of_one / num_repeats**0.5


def _sd(values: Sequence[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def _has_classes(seen: extraction.Features) -> bool:
    return bool((seen.get("label", at_most=None) >= 0).all())


def _right(seen: extraction.Features) -> np.ndarray:
    """1 for each clip whose class is found, else 0."""
    found = seen.get("logits", at_most=None).argmax(axis=1)
    return (found == seen.get("label", at_most=None)).astype(np.float64)


def _probabilities(seen: extraction.Features) -> np.ndarray:
    logits = seen.get("logits", at_most=None).astype(np.float64)
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def _neighbours(real, generated, held_out, output: str) -> dict[str, float]:
    """Precision, recall and the share that is memorized."""
    sides = [real, generated] + ([held_out] if held_out is not None else [])
    sides = [side.get(output, _NEIGHBOURS_OF) for side in sides]
    if min(map(len, sides)) <= neighbours.DEFAULT_K:
        return {}
    precision, recall = neighbours.precision_and_recall(*sides[:2])
    found = {"precision": precision, "recall": recall}
    if held_out is not None:
        memorized = neighbours.memorization(sides[1], sides[0], sides[2])
        found["memorization"] = memorized.rate
    return found
