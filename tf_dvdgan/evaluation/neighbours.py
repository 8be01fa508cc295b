"""Nearest neighbours in feature space: precision, recall, and memorization.

Distances are Euclidean, float64, made a block at a time: memory does not grow with the
product of two sets' sizes.
"""

import dataclasses

import numpy as np

K = 3  # the neighbour that a ball reaches to, in the paper of precision and recall
_BLOCK = 1024  # rows whose distances to all others are held at once


@dataclasses.dataclass(frozen=True)
class Memorization:
    """Whether generated videos are nearer to the training clips than real ones are.

    Attributes:
      share: of the generated videos that lie nearer to a training clip than
        `quantile` of the held-out clips do. It is `quantile` for a generator that
        knows the training clips no better than a new clip does, 1 for one that
        replays them.
      quantile: of the held-out clips' distances.
      nearest: for each generated video the number of its nearest training clip.
      distances: to that.
    """

    share: float
    quantile: float
    nearest: np.ndarray
    distances: np.ndarray


def nearest(queries: np.ndarray, bank: np.ndarray, k: int = 1):
    """Finds the k nearest of a bank for each query.

    Args:
      queries: `[count, size]`.
      bank: `[others, size]`.
      k: how many.

    Returns:
      Their numbers and their distances, `[count, k]` each, the nearest first.

    Raises:
      ValueError: the bank has fewer than k.
    """
    queries, bank = (np.asarray(x, np.float64) for x in (queries, bank))
    if len(bank) < k:
        raise ValueError(f"{k} neighbours of {len(bank)} were asked for")
    centre = bank.mean(axis=0)  # squares of large numbers would lose their difference
    queries, bank = queries - centre, bank - centre
    squares = (bank**2).sum(axis=1)
    numbers, distances = [], []
    for i in range(0, len(queries), _BLOCK):
        block = queries[i : i + _BLOCK]
        gaps = (block**2).sum(axis=1)[:, None] + squares - 2.0 * block @ bank.T
        few = np.argpartition(gaps, k - 1, axis=1)[:, :k]
        # Exactly, for the few: a difference of sums is not 0 for a clip and itself.
        exact = np.linalg.norm(block[:, None] - bank[few], axis=2)
        order = np.argsort(exact, axis=1, kind="stable")
        numbers.append(np.take_along_axis(few, order, axis=1))
        distances.append(np.take_along_axis(exact, order, axis=1))
    return np.concatenate(numbers), np.concatenate(distances)


def precision_and_recall(
    real: np.ndarray, generated: np.ndarray, k: int = K
) -> tuple[float, float]:
    """Improved precision and recall (Kynkäänniemi et al., 2019, section 3).

    A set's manifold is the union of balls around its members, each as wide as the
    distance to its k-th nearest fellow. Precision is the share of generated videos in
    the manifold of the real ones, recall the share of real in that of the generated.

    Args:
      real: features `[count, size]`.
      generated: features `[others, size]`.
      k: see `K`.
    """
    return _share_within(generated, real, k), _share_within(real, generated, k)


def _share_within(queries: np.ndarray, members: np.ndarray, k: int) -> float:
    queries, members = (np.asarray(x, np.float64) for x in (queries, members))
    _, own = nearest(members, members, k + 1)  # the first of them is itself
    radii = own[:, k]
    inside = 0
    for i in range(0, len(queries), _BLOCK):
        block = queries[i : i + _BLOCK]
        within = np.zeros(len(block), bool)
        for j in range(0, len(members), _BLOCK):
            gaps = _distances(block, members[j : j + _BLOCK])
            within |= (gaps <= radii[j : j + _BLOCK]).any(axis=1)
        inside += within.sum()
    return float(inside / len(queries))


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Distances `[len(a), len(b)]`."""
    centre = b.mean(axis=0)
    a, b = a - centre, b - centre
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2.0 * a @ b.T
    return np.sqrt(np.maximum(squares, 0.0))


def memorization(
    generated: np.ndarray,
    training: np.ndarray,
    held_out: np.ndarray,
    quantile: float = 0.05,
) -> Memorization:
    """Compares distances to the training clips: of generated and of held-out videos.

    A Fréchet distance cannot tell a perfect generator from one that replays; this can.

    Args:
      generated: features `[count, size]`.
      training: those of the clips trained on.
      held_out: those of real clips not trained on.
      quantile: of the held-out clips' distances; below it counts as memorized.
    """
    numbers, distances = (x[:, 0] for x in nearest(generated, training))
    usual = nearest(held_out, training)[1][:, 0]
    share = float((distances < np.quantile(usual, quantile)).mean())
    return Memorization(share, quantile, numbers, distances)
