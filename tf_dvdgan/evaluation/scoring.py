"""Scores by a protocol: from real and generated clips to numbers with their facts."""

import dataclasses
import hashlib
import os
import tempfile
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from tf_dvdgan import errors
from tf_dvdgan.evaluation import (
    bootstrap,
    features,
    frechet,
    inception_score,
    neighbours,
    preprocessing,
    protocols,
)
from tf_dvdgan.evaluation.networks import i3d, pixels
from tf_dvdgan.evaluation.networks import weights as weights_lib

_NEIGHBOURS_OF = 10_000  # clips at the most, of each side


@dataclasses.dataclass(frozen=True)
class Score:
    """A value, and what one must know to defend it.

    Attributes:
      value: the mean over repeats.
      sd: over repeats of sampling, or over an Inception Score's splits; None of one.
      error: the value's standard error, by bootstrap of the first repeat's generated
        clips; None if not asked for.
      others: what else the features tell, by name.
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
            low, high = bootstrap.interval(self.value, self.error)
            text += f" (95 %: {low:.4g} to {high:.4g})"
        return text


class Judge:
    """A network that looks at clips as a protocol says.

    Args:
      protocol: names the network.
      weights: files of weights; the one that fits is taken.
      num_classes: of the data; None, or a single one, takes weights of any number,
        where the protocol does not say.
      strategy: where the network runs.
      mean: file of the clip that C3D's input is less, where C3D is the network.
      cache_dir: keeps features; None forgets them together with the judge.
      batch_size: clips at a time; it changes nothing.

    Attributes:
      protocol: the same.
      strategy: the same.
      class_names: of the network's logits; empty where its file does not say.

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
        wanted = protocol.num_classes or (None if num_classes == 1 else num_classes)
        with self.strategy.scope():
            if protocol.network == "pixels":
                network, self._facts = pixels.Pixels(), {}
            else:
                network, self._facts = _find(protocol, weights, wanted)
        self.class_names = list(self._facts.pop("class_names", ()))
        preprocess, mean_facts = _preprocessing(protocol, mean)
        self._facts |= mean_facts
        if cache_dir is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="tf_dvdgan-")
            cache_dir = self._temporary.name
        self._cache_dir = cache_dir
        self._feature_size = network.FEATURES

        def look(videos: tf.Tensor, labels: tf.Tensor) -> dict[str, tf.Tensor]:
            del labels
            videos = videos[:, : protocol.num_frames]  # a model may make more
            if protocol.network == "i3d" and videos.shape[1] < i3d.MIN_FRAMES:
                raise errors.UserError(
                    f"{protocol.name} wants {i3d.MIN_FRAMES} frames of a video at "
                    f"least; these have {videos.shape[1]}."
                )
            return dict(network(preprocess(videos), training=False))

        self._extract = features.Extractor(look, self.strategy, batch_size)

    @property
    def facts(self) -> dict:
        """The protocol and the weights: what stands beside a score."""
        return {**dataclasses.asdict(self.protocol), "weights": self._facts}

    @property
    def covariance_size(self) -> int:
        """Rows of the covariance that is compared; 0 where none is."""
        if self.protocol.metric != protocols.FRECHET:
            return 0
        of_logits = self.protocol.output == "logits"
        return self._facts["num_classes"] if of_logits else self._feature_size

    @property
    def wants_real(self) -> bool:
        """Whether a score is of real clips too; an Inception Score is not."""
        return self.protocol.metric != protocols.INCEPTION

    def check_classes(self, class_names: Sequence[str], whose: str) -> None:
        """Refuses labels that the network's are not, where labels are compared.

        Args:
          class_names: in the order of labels; none are never refused.
          whose: they are, for a sentence.

        Raises:
          UserError: they are others, or in another order.
        """
        if self.protocol.metric != protocols.ACCURACY or not self.class_names:
            return
        if class_names and list(class_names) != self.class_names:
            few = ", ".join(self.class_names[:5])
            raise errors.UserError(
                f"{self.protocol.name} goes by classes: the network's are {few}"
                f"{', ...' if len(self.class_names) > 5 else ''}, and those of {whose} "
                "are others, or in another order. Train it on the same data."
            )

    def look_at(
        self,
        source: features.Source,
        task: str | None = None,
        cache_dir: str | None = None,
    ) -> features.Features:
        """Shows clips to the network; see `features.Extractor`."""
        seen_as = {
            "network": self.protocol.network,
            "preprocessing": self.protocol.preprocessing,
            "num_frames": self.protocol.num_frames,
            "weights": self._facts,
        }
        return self._extract(source, seen_as, cache_dir or self._cache_dir, task)

    def score(
        self,
        real: features.Features | None,
        generated: Sequence[features.Features],
        held_out: features.Features | None = None,
        num_resamples: int = 0,
    ) -> Score:
        """Scores what was seen.

        Args:
          real: of real clips; an Inception Score wants none.
          generated: of generated ones, for each repeat of sampling.
          held_out: of real clips that the model was not trained on, where `real` has
            those that it was: tells what is memorized, and what distance real
            clips have from real clips.
          num_resamples: of the bootstrap; 0 leaves it out.
        """
        metrics = {
            protocols.FRECHET: self._frechet,
            protocols.INCEPTION: self._inception,
            protocols.ACCURACY: self._accuracy,
        }
        return metrics[self.protocol.metric](real, generated, held_out, num_resamples)

    def _frechet(self, real, generated, held_out, num_resamples) -> Score:
        output, seed = self.protocol.output, self.protocol.seed

        def moments_of(seen: features.Features) -> frechet.Moments:
            found = seen.moments(output)
            if found.count < 2:
                raise errors.UserError(
                    f"{self.protocol.name} compares sets of clips: each side wants "
                    "two at least."
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
                f"{self.protocol.name} wants generated clips with classes; these have "
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
    """What makes the network's input, and facts of the mean where it wants one."""
    function = getattr(preprocessing, protocol.preprocessing)
    if protocol.network != "c3d":
        return function, {}
    if mean is None:
        raise errors.UserError(
            f"{protocol.name} wants the mean of C3D's training clips, TGAN's "
            "mean2.npz: give it with --mean."
        )
    clip = preprocessing.load_mean(mean)
    found = hashlib.sha256(np.ascontiguousarray(clip)).hexdigest()
    facts = {"mean": os.path.basename(mean), "mean_hash": found}
    return lambda videos: function(videos, clip), facts


def _find(
    protocol: protocols.Protocol, paths: Sequence[str], num_classes: int | None
) -> tuple[tf.keras.Model, dict]:
    """The network of the file that fits, and the file's facts."""
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

    Raises:
      UserError: none fits.
    """
    held = []
    for path in paths:
        facts = weights_lib.read_facts(path)
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
        f"{protocol.name} wants weights of {protocol.network}{classes}, a file that "
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


def _has_classes(seen: features.Features) -> bool:
    return bool((seen.get("label", at_most=None) >= 0).all())


def _right(seen: features.Features) -> np.ndarray:
    """1 for each clip whose class is found, else 0."""
    found = seen.get("logits", at_most=None).argmax(axis=1)
    return (found == seen.get("label", at_most=None)).astype(np.float64)


def _probabilities(seen: features.Features) -> np.ndarray:
    logits = seen.get("logits", at_most=None).astype(np.float64)
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def _neighbours(real, generated, held_out, output: str) -> dict[str, float]:
    """Precision, recall and the share that is memorized."""
    sides = [real, generated] + ([held_out] if held_out is not None else [])
    sides = [side.get(output, _NEIGHBOURS_OF) for side in sides]
    if min(map(len, sides)) <= neighbours.K:
        return {}
    precision, recall = neighbours.precision_and_recall(*sides[:2])
    found = {"precision": precision, "recall": recall}
    if held_out is not None:
        memorized = neighbours.memorization(sides[1], sides[0], sides[2])
        found["memorization"] = memorized.share
    return found
