"""Nearest neighbors in feature space: precision, density and the like, memorization.

Distances are Euclidean, in float64, and computed in blocks, so memory does not grow
with the product of the two set sizes.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np

DEFAULT_K = 3  # neighbor that sets a ball's radius, as in Kynkäänniemi et al., 2019
DENSITY_K = 5  # the same for density and coverage, as in Naeem et al., 2020
_BLOCK = 1024  # rows whose distances to all others are in memory at once


@dataclasses.dataclass(frozen=True)
class Memorization:
    """Whether generated videos are closer to the training clips than real ones are.

    Attributes:
      rate: fraction of generated videos whose distance to the nearest training clip is
        below the `quantile` of the held-out clips' distances. It is about `quantile`
        if generated videos are no closer than new clips, 1 if they replay them.
      quantile: of the held-out clips' distances.
      nearest: `[count]`, index of each generated video's nearest training clip.
      distances: `[count]`, distance to that clip.
    """

    rate: float
    quantile: float
    nearest: np.ndarray
    distances: np.ndarray


def nearest(
    queries: np.ndarray, bank: np.ndarray, k: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Finds the k nearest neighbors of each query in a bank.

    Args:
      queries: `[count, size]`.
      bank: `[others, size]`.
      k: number of neighbors.

    Returns:
      Their indices and distances, `[count, k]` each, nearest first.

    Raises:
      ValueError: the bank has fewer than k vectors.
    """
    queries, bank = (np.asarray(x, np.float64) for x in (queries, bank))
    if len(bank) < k:
        raise ValueError(
            f"The bank must have at least k={k} vectors. Received: {len(bank)}"
        )
    center = bank.mean(axis=0)  # differences of large squares would lose precision
    queries, bank = queries - center, bank - center
    squares = (bank**2).sum(axis=1)
    indices, distances = [], []
    for i in range(0, len(queries), _BLOCK):
        block = queries[i : i + _BLOCK]
        approximate = (block**2).sum(axis=1)[:, None] + squares - 2.0 * block @ bank.T
        candidates = np.argpartition(approximate, k - 1, axis=1)[:, :k]
        # Recomputed: the expanded square is not exactly 0 for a clip and itself.
        exact = np.linalg.norm(block[:, None] - bank[candidates], axis=2)
        order = np.argsort(exact, axis=1, kind="stable")
        indices.append(np.take_along_axis(candidates, order, axis=1))
        distances.append(np.take_along_axis(exact, order, axis=1))
    return np.concatenate(indices), np.concatenate(distances)


def precision_and_recall(
    real: np.ndarray, generated: np.ndarray, k: int = DEFAULT_K
) -> tuple[float, float]:
    """Improved precision and recall (Kynkäänniemi et al., 2019, section 3).

    A set's manifold is the union of balls around its members; a ball's radius is the
    distance to the member's k-th nearest neighbor in the set. Precision is the
    fraction of generated videos in the real manifold, recall the fraction of real
    videos in the generated manifold.

    Args:
      real: features `[count, size]`.
      generated: features `[others, size]`.
      k: neighbor that sets a ball's radius; the paper uses 3.

    Returns:
      Precision and recall, both in [0, 1].
    """
    return _share_within(generated, real, k), _share_within(real, generated, k)


def density_and_coverage(
    real: np.ndarray, generated: np.ndarray, k: int = DENSITY_K
) -> tuple[float, float]:
    """Density and coverage (Naeem et al., 2020, section 3.2).

    Both use the balls around real videos of `precision_and_recall`. Density counts the
    balls that contain a generated video, so that a single outlier among the real videos
    does not raise it; coverage is the fraction of real videos whose ball contains a
    generated one, so that outliers among these do not raise it.

    Args:
      real: features `[count, size]`.
      generated: features `[others, size]`.
      k: neighbor that sets a ball's radius; the paper uses 5.

    Returns:
      Density, which is about 1 for equal distributions and may be larger, and coverage,
      in [0, 1].

    Raises:
      ValueError: there are no more than k real videos.
    """
    num_inside, covered = 0, np.zeros(len(real), bool)
    for _, of_real, inside in _inside(generated, real, k):
        num_inside += inside.sum()
        covered[of_real] |= inside.any(axis=0)
    return float(num_inside / (k * len(generated))), float(covered.mean())


def _share_within(queries: np.ndarray, members: np.ndarray, k: int) -> float:
    """Fraction of queries in the manifold of `members`."""
    within = np.zeros(len(queries), bool)
    for of_queries, _, inside in _inside(queries, members, k):
        within[of_queries] |= inside.any(axis=1)
    return float(within.mean())


def _inside(
    queries: np.ndarray, members: np.ndarray, k: int
) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """Finds which queries are in which members' balls, a block at a time.

    Args:
      queries: `[count, size]`.
      members: `[others, size]`.
      k: neighbor that sets a ball's radius.

    Yields:
      Rows of queries and of members, and `[rows of queries, rows of members]` Booleans.
    """
    queries, members = (np.asarray(x, np.float64) for x in (queries, members))
    _, distances = nearest(members, members, k + 1)  # the nearest is the member itself
    radii = distances[:, k]
    for i in range(0, len(queries), _BLOCK):
        for j in range(0, len(members), _BLOCK):
            rows, others = slice(i, i + _BLOCK), slice(j, j + _BLOCK)
            to_members = _distances(queries[rows], members[others])
            yield rows, others, to_members <= radii[others]


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Pairwise distances, `[len(a), len(b)]`."""
    center = b.mean(axis=0)
    a, b = a - center, b - center
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2.0 * a @ b.T
    return np.sqrt(np.maximum(squares, 0.0))


def memorization(
    generated: np.ndarray,
    training: np.ndarray,
    held_out: np.ndarray,
    quantile: float = 0.05,
) -> Memorization:
    """Compares how close generated and held-out videos are to the training clips.

    The Fréchet distance cannot tell a perfect generator from one that replays its
    training clips; this metric can.

    Args:
      generated: features of generated videos, `[count, size]`.
      training: features of the training clips, `[num_training, size]`.
      held_out: features of real clips outside the training set, `[num_held_out, size]`.
      quantile: a generated video counts as memorized below this quantile of the
        held-out clips' distances; if that is 0, because so many of them are in the
        training set, at 0.

    Returns:
      The memorized fraction, and each generated video's nearest training clip.
    """
    indices, distances = (x[:, 0] for x in nearest(generated, training))
    held_out_distances = nearest(held_out, training)[1][:, 0]
    threshold = np.quantile(held_out_distances, quantile)
    memorized = distances < threshold if threshold else distances == 0
    rate = float(memorized.mean())
    return Memorization(rate, quantile, indices, distances)
