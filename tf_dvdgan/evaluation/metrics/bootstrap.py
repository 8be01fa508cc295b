"""Bootstrap standard errors and confidence intervals of scores (Efron, 1979)."""

from collections.abc import Callable

import numpy as np


def standard_error(
    statistic: Callable[[np.ndarray], float],
    count: int,
    seed: int = 0,
    num_resamples: int = 100,
) -> float:
    """Standard deviation of a statistic over clips drawn with replacement.

    Scores such as the Fréchet distance depend on the number of distinct clips, and a
    resample has fewer of them: its scores are biased, and their percentiles are not a
    confidence interval. Only their spread is usable.

    Args:
      statistic: maps the indices of a resample, `[count]`, to a score.
      count: number of clips.
      seed: of the resampling.
      num_resamples: number of resamples.

    Returns:
      The standard error, in the statistic's unit.
    """
    rng = np.random.default_rng(seed)
    values = [statistic(rng.integers(count, size=count)) for _ in range(num_resamples)]
    return float(np.std(values, ddof=1))


def confidence_interval(score: float, error: float) -> tuple[float, float]:
    """95 % confidence interval of a normally distributed score.

    Args:
      score: the estimate.
      error: its standard error.

    Returns:
      Lower and upper bound.
    """
    return score - 1.96 * error, score + 1.96 * error
