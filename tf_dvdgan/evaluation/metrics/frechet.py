"""Fréchet distance between Gaussians fitted to features (Heusel et al., 2017)."""

from collections.abc import Callable

import numpy as np


class Moments:
    """Mean and covariance of vectors, accumulated over batches in float64.

    Accumulators of separate batches merge into the moments of all vectors (Chan, Golub
    and LeVeque, 1979), so each worker can process a part.

    Args:
      size: dimension of a vector.

    Attributes:
      count: number of vectors so far.
      mean: `[size]`.
    """

    def __init__(self, size: int):
        self.count = 0
        self.mean = np.zeros(size)
        self._scatter = np.zeros([size, size])  # sum of products of deviations

    def add(self, features: np.ndarray) -> None:
        """Adds vectors, `[count, size]`."""
        features = np.asarray(features, np.float64)
        batch = Moments(features.shape[1])
        batch.count = len(features)
        batch.mean = features.mean(axis=0)
        deviations = features - batch.mean
        batch._scatter = deviations.T @ deviations
        self.merge(batch)

    def merge(self, other: "Moments") -> None:
        """Adds the vectors of another accumulator."""
        count = self.count + other.count
        if not other.count:
            return
        difference = other.mean - self.mean
        weight = self.count * other.count / count
        self._scatter += other._scatter
        self._scatter += np.outer(difference, difference) * weight
        self.mean = self.mean + difference * (other.count / count)
        self.count = count

    @property
    def covariance(self) -> np.ndarray:
        """Unbiased sample covariance, `[size, size]`."""
        return self._scatter / max(self.count - 1, 1)


def distance(a: Moments, b: Moments) -> float:
    """|m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a^(1/2) C_b C_a^(1/2))^(1/2)).

    Square roots are computed from eigenvalues of symmetric matrices. They are real, and
    stable with fewer vectors than dimensions.

    Args:
      a: moments of one set of vectors.
      b: moments of the other set.

    Returns:
      The distance, 0 for equal moments.

    Raises:
      ValueError: a set has fewer than two vectors.
    """
    return distance_from(a)(b)


def distance_from(a: Moments) -> Callable[[Moments], float]:
    """Returns `distance` with `a` fixed; computes C_a^(1/2) only once."""
    values, vectors = np.linalg.eigh(a.covariance)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T

    def distance_to(b: Moments) -> float:
        if min(a.count, b.count) < 2:
            raise ValueError(
                "A covariance needs at least two vectors. "
                f"Received: {a.count}, {b.count}"
            )
        product = root @ b.covariance @ root
        eigenvalues = np.linalg.eigvalsh((product + product.T) / 2)
        trace_of_root = np.sqrt(np.maximum(eigenvalues, 0.0)).sum()
        difference = a.mean - b.mean
        traces = np.trace(a.covariance) + np.trace(b.covariance)
        # Rounding can make the distance of nearly equal moments negative.
        return max(float(difference @ difference + traces - 2.0 * trace_of_root), 0.0)

    return distance_to
