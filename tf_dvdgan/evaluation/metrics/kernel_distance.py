"""Kernel distance of features, as KID (Binkowski et al., 2018, section 4)."""

import numpy as np

_BLOCK = 1024  # rows whose kernel with all others is in memory at once


def kernel_distance(real: np.ndarray, generated: np.ndarray) -> float:
    """Unbiased estimate of the squared maximum mean discrepancy of two sets.

    The kernel is k(x, y) = (x . y / size + 1)^3. KID averages this estimate over random
    subsets of 1,000 videos to save time; all pairs give its mean without their noise.

    Unlike the Fréchet distance it does not depend on the number of videos on average,
    so it can be compared between sets of different sizes, and used with few videos.

    Args:
      real: features `[count, size]`.
      generated: features `[others, size]`.

    Returns:
      The estimate: 0 on average for equal distributions, so it can be below 0.

    Raises:
      ValueError: a set has fewer than two vectors.
    """
    x, y = (np.asarray(features, np.float64) for features in (real, generated))
    m, n = len(x), len(y)
    if min(m, n) < 2:
        raise ValueError(f"Each set needs at least two vectors. Received: {m}, {n}")
    within = sum(
        (_sum_of_kernel(a, a) - _kernel_with_itself(a)) / (len(a) * (len(a) - 1))
        for a in (x, y)
    )
    return float(within - 2.0 * _sum_of_kernel(x, y) / (m * n))


def _sum_of_kernel(a: np.ndarray, b: np.ndarray) -> float:
    """Sum of the kernel over all pairs."""
    size = a.shape[1]
    blocks = (a[i : i + _BLOCK] for i in range(0, len(a), _BLOCK))
    return sum(float(((block @ b.T / size + 1.0) ** 3).sum()) for block in blocks)


def _kernel_with_itself(a: np.ndarray) -> float:
    """Sum of the kernel of each vector with itself."""
    return float((((a * a).sum(axis=1) / a.shape[1] + 1.0) ** 3).sum())
