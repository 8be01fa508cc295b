"""Fréchet distance between Gaussians fitted to features (Heusel et al., 2017)."""

from collections.abc import Callable

import numpy as np


class Moments:
    """Mean and covariance of any number of vectors, seen a few at a time.

    Two of them merge into that of all vectors (Chan, Golub and LeVeque, 1979), so that
    workers may each see a part. Everything is float64.

    Args:
      size: of a vector.
    """

    def __init__(self, size: int):
        self.count = 0
        self.mean = np.zeros(size)
        self._scatter = np.zeros([size, size])  # sum of products of deviations

    def add(self, features: np.ndarray) -> None:
        """Sees vectors, `[count, size]`."""
        features = np.asarray(features, np.float64)
        part = Moments(features.shape[1])
        part.count = len(features)
        part.mean = features.mean(axis=0)
        deviations = features - part.mean
        part._scatter = deviations.T @ deviations
        self.merge(part)

    def merge(self, other: "Moments") -> None:
        """Takes in what another has seen."""
        count = self.count + other.count
        if not other.count:
            return
        apart = other.mean - self.mean
        self._scatter += other._scatter
        self._scatter += np.outer(apart, apart) * (self.count * other.count / count)
        self.mean = self.mean + apart * (other.count / count)
        self.count = count

    @property
    def covariance(self) -> np.ndarray:
        """`[size, size]`, of a sample: divided by one less than the count."""
        return self._scatter / max(self.count - 1, 1)


def distance(a: Moments, b: Moments) -> float:
    """|m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a^(1/2) C_b C_a^(1/2))^(1/2)).

    The roots are taken by eigenvalues of symmetric matrices: real, and stable where
    there are fewer vectors than dimensions.

    Raises:
      ValueError: fewer than two vectors on a side.
    """
    return distance_from(a)(b)


def distance_from(a: Moments) -> Callable[[Moments], float]:
    """Makes `distance` from one side to many others; a root is taken once."""
    values, vectors = np.linalg.eigh(a.covariance)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T

    def distance_to(b: Moments) -> float:
        if min(a.count, b.count) < 2:
            raise ValueError(
                "A covariance wants two vectors at least. "
                f"Received: {a.count}, {b.count}"
            )
        inner = root @ b.covariance @ root
        both = np.sqrt(np.maximum(np.linalg.eigvalsh((inner + inner.T) / 2), 0.0)).sum()
        apart = a.mean - b.mean
        traces = np.trace(a.covariance) + np.trace(b.covariance)
        return float(apart @ apart + traces - 2.0 * both)

    return distance_to
