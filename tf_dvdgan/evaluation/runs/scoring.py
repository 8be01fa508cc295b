"""Computes scores by protocols from the features of real and generated clips."""

import dataclasses
import math
import re
from collections.abc import Callable, Sequence

import numpy as np

from tf_dvdgan import errors
from tf_dvdgan.evaluation.features import extraction
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
      value: mean over repeats of sampling; NaN on workers other than the chief, which
        do not have the features of all clips.
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


@dataclasses.dataclass(frozen=True)
class Sides:
    """Features of the clips that a score compares.

    Attributes:
      real: of real clips; None for an Inception Score.
      generated: of generated clips, for each repeat of sampling.
      held_out: of real clips that the model was not trained on, if it was trained on
        `real`; for memorization, and the distance between both kinds of real clips.
      copies: of the real clips that repeat their last given frame, for a prediction
        model's Fréchet distance.
    """

    real: extraction.Features | None
    generated: Sequence[extraction.Features]
    held_out: extraction.Features | None = None
    copies: extraction.Features | None = None


def score(
    protocol: protocols.Protocol,
    sides: Sides,
    num_resamples: int = 0,
    class_names: Sequence[str] = (),
) -> Score:
    """Computes a score from features.

    Args:
      protocol: the protocol; its metric is a Fréchet distance, an Inception Score or
        an accuracy.
      sides: the features.
      num_resamples: number of bootstrap resamples; 0 skips the bootstrap.
      class_names: class names of the network's logits; empty if unknown.

    Returns:
      The score.

    Raises:
      UserError: there are too few clips, or they have no classes.
    """
    if protocol.metric == protocols.INCEPTION:
        return _inception(protocol, sides, num_resamples)
    if protocol.metric == protocols.ACCURACY:
        return _accuracy(protocol, sides, num_resamples, class_names)
    return _frechet(protocol, sides, num_resamples)


def until(output: str, frame: int | str) -> str:
    """Names an output for clips that stand still from a frame on.

    Args:
      output: name of the network's output.
      frame: number of the frame, from 1; '' for the beginning of all such names.

    Returns:
      The name in the features.
    """
    return f"{output}_until_frame_{frame}"


def _frechet(protocol: protocols.Protocol, sides: Sides, num_resamples: int) -> Score:
    output, real, first = protocol.output, sides.real, sides.generated[0]
    assert real is not None  # only an Inception Score compares with none
    distance = frechet.distance_from(_moments(protocol, real))
    made = [_moments(protocol, features) for features in sides.generated]
    values = [distance(moments) for moments in made]
    error = None
    if num_resamples:
        vectors = first.get(output, at_most=None)

        def of_resample(numbers: np.ndarray) -> float:
            return distance(_moments_of(vectors[numbers]))

        count, seed = len(vectors), protocol.seed
        error = _error(of_resample, count, seed, num_resamples, len(values))
    others = _of_samples(real, first, sides.held_out, output)
    others |= _by_frame(protocol, real, first)
    if sides.held_out is not None:
        held_out = _moments(protocol, sides.held_out)
        if made[0].count < held_out.count:  # distances depend on the number of clips
            held_out = _moments_of(sides.held_out.get(output, made[0].count))
        elif held_out.count < made[0].count:
            fewer = first.get(output, held_out.count)
            others["as_many_as_real"] = distance(_moments_of(fewer))
        others["real_from_real"] = distance(held_out)
    if sides.copies is not None:
        others["copy"] = distance(_moments(protocol, sides.copies))
        by_frame = _by_frame(protocol, real, sides.copies)
        others |= {f"copy_{name}": value for name, value in by_frame.items()}
    return Score(float(np.mean(values)), _sd(values), error, others)


def _moments(
    protocol: protocols.Protocol, features: extraction.Features
) -> frechet.Moments:
    moments = features.moments(protocol.output)
    if moments.count < 2:
        raise errors.UserError(
            f"{protocol.name} compares sets of clips: each side needs at least two "
            "clips."
        )
    return moments


def _moments_of(vectors: np.ndarray) -> frechet.Moments:
    moments = frechet.Moments(vectors.shape[1])
    moments.add(vectors)
    return moments


def _by_frame(
    protocol: protocols.Protocol,
    real: extraction.Features,
    others: extraction.Features,
) -> dict[str, float]:
    """The distances of clips that stand still from each frame on, on both sides."""
    if not protocol.by_frame:
        return {}
    output = protocol.output
    frames = sum(name.startswith(until(output, "")) for name in real.outputs)
    found = {}
    for frame in range(1, frames + 1):
        sides = (side.moments(until(output, frame)) for side in (others, real))
        found[f"until_frame_{frame}"] = frechet.distance(*sides)
    return found


def _of_samples(
    real: extraction.Features,
    generated: extraction.Features,
    held_out: extraction.Features | None,
    output: str,
) -> dict[str, float]:
    """Computes the scores that need the features themselves, not their moments."""
    a, b = (side.get(output, _MAX_SAMPLES) for side in (real, generated))
    others = None if held_out is None else held_out.get(output, _MAX_SAMPLES)
    fewest = min(len(x) for x in (a, b, others) if x is not None)
    found = {"kernel_distance": kernel_distance.kernel_distance(a, b)}
    if fewest > neighbors.DEFAULT_K:
        precision, recall = neighbors.precision_and_recall(a, b)
        found |= {"precision": precision, "recall": recall}
        if others is not None:
            found["memorization"] = neighbors.memorization(b, a, others).rate
    if fewest > neighbors.DENSITY_K:
        density, coverage = neighbors.density_and_coverage(a, b)
        found |= {"density": density, "coverage": coverage}
    return found


def _inception(protocol: protocols.Protocol, sides: Sides, num_resamples: int) -> Score:
    def score(p: np.ndarray) -> tuple[float, float]:
        if len(p) < protocol.num_splits:
            raise errors.UserError(
                f"{protocol.name} is the mean over {protocol.num_splits} splits, "
                f"for which {len(p)} generated clips are too few."
            )
        return inception_score.inception_score(p, protocol.num_splits)

    found = [score(_probabilities(features)) for features in sides.generated]
    values = [value for value, _ in found]
    of_splits = found[0][1] if protocol.num_splits > 1 else None
    p = _probabilities(sides.generated[0])
    error = _error(
        lambda i: score(p[i])[0], len(p), protocol.seed, num_resamples, len(values)
    )
    sd = _sd(values) if len(values) > 1 else of_splits
    return Score(float(np.mean(values)), sd, error)


def _accuracy(
    protocol: protocols.Protocol,
    sides: Sides,
    num_resamples: int,
    class_names: Sequence[str],
) -> Score:
    if not all(map(_has_classes, sides.generated)):
        raise errors.UserError(
            f"{protocol.name} needs generated clips with classes; these have none."
        )
    correct = [_correct(features) for features in sides.generated]
    values = [float(of_repeat.mean()) for of_repeat in correct]
    error = _error(
        lambda i: float(correct[0][i].mean()),
        len(correct[0]),
        protocol.seed,
        num_resamples,
        len(values),
    )
    others = {}
    of_real = sides.held_out if sides.held_out is not None else sides.real
    if of_real is not None and _has_classes(of_real):
        others["real"] = float(_correct(of_real).mean())
    others |= _accuracy_of_words(sides.generated, class_names)
    return Score(float(np.mean(values)), _sd(values), error, others)


def _accuracy_of_words(
    generated: Sequence[extraction.Features], class_names: Sequence[str]
) -> dict[str, float]:
    """Accuracy of each word of classes that are combinations of words."""
    words = _combined_words(class_names)
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
