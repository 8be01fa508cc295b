"""Inception Score (Salimans et al., 2016)."""

import numpy as np


def inception_score(
    probabilities: np.ndarray, num_splits: int = 10
) -> tuple[float, float]:
    """exp(E_x KL(p(y | x) || p(y))), with p(y) the mean over a split.

    Args:
      probabilities: `[count, classes]`, the classifier's output for each generated
        video; rows sum to 1 and are in random order.
      num_splits: number of splits of nearly equal size, each scored separately.

    Returns:
      Mean and standard deviation over the splits.

    Raises:
      ValueError: the values are not probabilities, or there are fewer rows than splits.
    """
    p = np.asarray(probabilities, np.float64)
    if p.ndim != 2 or len(p) < num_splits:
        raise ValueError(
            "Probabilities must be [count, classes] with at least "
            f"{num_splits} rows. Received: {p.shape}"
        )
    if p.min() < 0.0 or not np.allclose(p.sum(axis=1), 1.0, atol=1e-3):
        raise ValueError("Rows of probabilities must be non-negative and sum to 1.")
    scores = []
    for split in np.array_split(p, num_splits):
        marginal = split.mean(axis=0)
        # A term is 0 where p(y | x) is 0, which includes every class with p(y) = 0.
        ratio = np.divide(split, marginal, out=np.ones_like(split), where=split > 0.0)
        scores.append(np.exp((split * np.log(ratio)).sum(axis=1).mean()))
    return float(np.mean(scores)), float(np.std(scores))
