"""Finds the largest batch that fits with few compilations."""

import dataclasses
from collections.abc import Callable


@dataclasses.dataclass(frozen=True)
class Fit:
    """What the compiler says of a batch.

    Attributes:
      fits: whether it fits in memory.
      num_bytes: memory that it requires, if it is known.
    """

    fits: bool
    num_bytes: float | None = None


def largest_batch(
    measure: Callable[[int], Fit], first: int, available: float
) -> tuple[int, dict[int, Fit]]:
    """Finds the largest batch size that fits, such that the next one does not.

    Memory is nearly linear in the batch size, so two measurements predict the limit.
    Near the limit the compiler may trade time for memory, so the search measures the
    prediction and continues beyond it as long as batches fit.

    Args:
      measure: compiles for a batch size; takes minutes.
      first: batch size to start from.
      available: bytes.

    Returns:
      The largest batch size, 0 if not even one video fits, and all measurements.
    """
    known: dict[int, Fit] = {}
    stride = 1
    candidate = first
    while True:
        known[candidate] = measure(candidate)
        low = max((b for b, fit in known.items() if fit.fits), default=0)
        high = min((b for b, fit in known.items() if not fit.fits), default=None)
        if high is not None and high - low <= 1:
            return low, known
        guess = _predict(known, available)
        if high is None:
            if guess is None:
                candidate = 2 * low
            elif guess > low:
                candidate = guess
            else:  # beyond the prediction, in growing steps
                candidate = low + stride
                stride *= 2
        elif guess is None or len(known) > 8:
            candidate = (low + high) // 2
        else:
            candidate = min(max(guess, low + 1), high - 1)


def _predict(known: dict[int, Fit], available: float) -> int | None:
    """The batch size where a line through two measurements reaches `available`."""
    points = sorted((b, f.num_bytes) for b, f in known.items() if f.num_bytes)
    if len(points) < 2:
        return None
    points.sort(key=lambda point: abs(point[1] - available))
    (b0, bytes0), (b1, bytes1) = points[:2]
    slope = (bytes1 - bytes0) / (b1 - b0)
    if slope <= 0:
        return None
    return int(b0 + (available - bytes0) / slope)
