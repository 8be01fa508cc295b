"""How far a score would move with other clips of the same kind (Efron, 1979)."""

from collections.abc import Callable

import numpy as np


def standard_error(
    statistic: Callable[[np.ndarray], float],
    count: int,
    seed: int = 0,
    num_resamples: int = 100,
) -> float:
    """Standard deviation of a statistic over clips drawn with replacement.

    Scores such as the Fréchet distance depend on the number of different clips, which a
    resample has fewer of: its values lie beside the score, and their percentiles are no
    interval around it. Their spread is what can be used.

    Args:
      statistic: of the clips with given numbers, `[count]`.
      count: how many clips there are.
      seed: of the draws.
      num_resamples: how many draws.
    """
    rng = np.random.default_rng(seed)
    values = [statistic(rng.integers(count, size=count)) for _ in range(num_resamples)]
    return float(np.std(values, ddof=1))


def interval(score: float, error: float) -> tuple[float, float]:
    """95 % of a normal distribution around a score."""
    return score - 1.96 * error, score + 1.96 * error
