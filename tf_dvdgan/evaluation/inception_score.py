"""Inception Score (Salimans et al., 2016)."""

import numpy as np


def inception_score(
    probabilities: np.ndarray, num_splits: int = 10
) -> tuple[float, float]:
    """exp(E_x KL(p(y | x) || p(y))), p(y) the mean over a split.

    Args:
      probabilities: `[count, classes]`, a classifier's of each generated video; rows
        sum to 1. They should come in random order.
      num_splits: parts of nearly equal size that are scored on their own.

    Returns:
      Mean and standard deviation over the splits.

    Raises:
      ValueError: they are no probabilities, or fewer than splits.
    """
    p = np.asarray(probabilities, np.float64)
    if p.ndim != 2 or len(p) < num_splits:
        raise ValueError(
            f"Give [count, classes], at least {num_splits} rows. Received: {p.shape}"
        )
    if p.min() < 0.0 or not np.allclose(p.sum(axis=1), 1.0, atol=1e-3):
        raise ValueError("Rows of probabilities are not negative and sum to 1.")
    scores = []
    for part in np.array_split(p, num_splits):
        marginal = part.mean(axis=0)
        # Where p(y | x) is 0 its term is; p(y) is 0 only there.
        ratio = np.divide(part, marginal, out=np.ones_like(part), where=part > 0.0)
        scores.append(np.exp((part * np.log(ratio)).sum(axis=1).mean()))
    return float(np.mean(scores)), float(np.std(scores))
