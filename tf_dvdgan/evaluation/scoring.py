"""Scores by a protocol: from real and generated clips to numbers with their facts."""

import dataclasses
import os
import tempfile
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from tf_dvdgan import cli
from tf_dvdgan.evaluation import (
    bootstrap,
    features,
    frechet,
    inception_score,
    neighbours,
    preprocessing,
    protocols,
)
from tf_dvdgan.evaluation.networks import pixels
from tf_dvdgan.evaluation.networks import weights as weights_lib

_NEIGHBOURS_OF = 10_000  # clips at the most, of each side


@dataclasses.dataclass(frozen=True)
class Score:
    """A value, and what one must know to defend it.

    Attributes:
      value: the mean over repeats.
      sd: over repeats of sampling, or over an Inception Score's splits; None of one.
      error: standard error by bootstrap of the generated clips; None if not asked for.
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
      num_classes: of the data.
      strategy: where the network runs.
      mean: file of the clip that C3D's input is less, where C3D is the network.
      cache_dir: keeps features; None forgets them at the end of the process.
      batch_size: clips at a time; it changes nothing.

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
        wanted = protocol.num_classes or num_classes
        with self.strategy.scope():
            if protocol.network == "pixels":
                self.network, self._facts = pixels.Pixels(), {}
            else:
                self.network, self._facts = _find(protocol, weights, wanted)
        if mean and protocol.network == "c3d":
            self._facts["mean"] = os.path.basename(mean)
        if cache_dir is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="tf_dvdgan-")
            cache_dir = self._temporary.name
        self._cache_dir = cache_dir
        network, preprocess = self.network, _preprocessing(protocol, mean)

        def look(videos: tf.Tensor, labels: tf.Tensor) -> dict[str, tf.Tensor]:
            del labels
            videos = videos[:, : protocol.num_frames]  # a model may make more
            return dict(network(preprocess(videos), training=False))

        self._extract = features.Extractor(look, self.strategy, batch_size)

    @property
    def facts(self) -> dict:
        """The protocol and the weights: what stands beside a score."""
        return {**dataclasses.asdict(self.protocol), "weights": self._facts}

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
            those that it was: tells what is learnt by heart, and what distance real
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
        distance = frechet.distance_from(real.moments(output))
        values = [distance(seen.moments(output)) for seen in generated]
        made = generated[0].get(output)

        def of_resample(numbers: np.ndarray) -> float:
            moments = frechet.Moments(made.shape[1])
            moments.add(made[numbers])
            return distance(moments)

        error = _error(of_resample, len(made), seed, num_resamples)
        others = _neighbours(real, generated[0], held_out, output)
        if held_out is not None:
            others["real_from_real"] = distance(held_out.moments(output))
        return Score(float(np.mean(values)), _sd(values), error, others)

    def _inception(self, real, generated, held_out, num_resamples) -> Score:
        del real, held_out
        protocol = self.protocol

        def score(p: np.ndarray) -> tuple[float, float]:
            return inception_score.inception_score(p, protocol.num_splits)

        found = [score(_probabilities(seen)) for seen in generated]
        values = [value for value, _ in found]
        sd = found[0][1] if protocol.num_splits > 1 else None
        p = _probabilities(generated[0])
        error = _error(lambda i: score(p[i])[0], len(p), protocol.seed, num_resamples)
        return Score(float(np.mean(values)), _sd(values) or sd, error)

    def _accuracy(self, real, generated, held_out, num_resamples) -> Score:
        def right(seen: features.Features) -> np.ndarray:
            found = seen.get("logits").argmax(axis=1)
            return (found == seen.get("label")).astype(np.float64)

        values = [float(right(seen).mean()) for seen in generated]
        first = right(generated[0])
        error = _error(
            lambda i: float(first[i].mean()),
            len(first),
            self.protocol.seed,
            num_resamples,
        )
        clips = held_out if held_out is not None else real
        others = {"real": float(right(clips).mean())} if clips is not None else {}
        return Score(float(np.mean(values)), _sd(values), error, others)


def _preprocessing(
    protocol: protocols.Protocol, mean: str | None
) -> Callable[[tf.Tensor], tf.Tensor]:
    function = getattr(preprocessing, protocol.preprocessing)
    if protocol.network != "c3d":
        return function
    if mean is None:
        raise cli.UserError(
            f"{protocol.name} wants the mean of C3D's training clips, TGAN's "
            "mean2.npz: give it with --mean."
        )
    clip = preprocessing.load_mean(mean)
    return lambda videos: function(videos, clip)


def _find(
    protocol: protocols.Protocol, paths: Sequence[str], num_classes: int | None
) -> tuple[tf.keras.Model, dict]:
    """The network of the file that fits, and the file's facts."""
    held = []
    for path in paths:
        facts = weights_lib.read_facts(path)
        if facts.network == protocol.network and facts.num_classes == num_classes:
            network, facts = weights_lib.load(path)
            return network, dataclasses.asdict(facts)
        held.append(f"{path} has {facts.network} of {facts.num_classes} classes")
    own = protocol.network == "small_classifier"
    how = "tools.train_classifier" if own else "tools.convert_weights"
    raise cli.UserError(
        f"{protocol.name} wants weights of {protocol.network} of {num_classes} "
        f"classes, a file that {how} makes: give it with --weights"
        + (f"; {', '.join(held)}." if held else ".")
    )


def _error(statistic, count: int, seed: int, num_resamples: int) -> float | None:
    if not num_resamples:
        return None
    return bootstrap.standard_error(statistic, count, seed, num_resamples)


def _sd(values: Sequence[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def _probabilities(seen: features.Features) -> np.ndarray:
    logits = seen.get("logits").astype(np.float64)
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def _neighbours(real, generated, held_out, output: str) -> dict[str, float]:
    """Precision, recall and the share that is learnt by heart."""
    sides = [real, generated] + ([held_out] if held_out is not None else [])
    sides = [side.get(output, _NEIGHBOURS_OF) for side in sides]
    if min(map(len, sides)) <= neighbours.K:
        return {}
    precision, recall = neighbours.precision_and_recall(*sides[:2])
    found = {"precision": precision, "recall": recall}
    if held_out is not None:
        by_heart = neighbours.memorisation(sides[1], sides[0], sides[2])
        found["by_heart"] = by_heart.share
    return found
