"""Shows what single units of a network respond to."""

from collections.abc import Sequence

import cv2
import numpy as np

from tf_dvdgan import visualize

_ACTIVE_SHARE = 0.005  # top share of a unit's activations (Zhou et al., 2015)
_DARKENING = 4  # divides pixels where a unit is not active


def selective_units(active: np.ndarray, count: int) -> list[int]:
    """Selects the units with the largest ratio of maximum to mean activation.

    Args:
      active: `[frames, height, width, units]` activations, at least 0.
      count: number of units to select.

    Returns:
      Indices of the units, most selective first.
    """
    mean = active.mean(axis=(0, 1, 2))
    ratio = active.max(axis=(0, 1, 2)) / np.where(mean > 0, mean, np.inf)
    return [int(unit) for unit in np.argsort(-ratio, kind="stable")[:count]]


def unit_grid(
    frames: np.ndarray, active: np.ndarray, numbers: Sequence[int], num_columns: int
) -> np.ndarray:
    """Shows where units are active in their top frames (paper 004, figure 6).

    A unit is active at a pixel where its activation, enlarged bilinearly, is in the top
    0.5 % of all its activations. The other pixels are darkened.

    Args:
      frames: `[count, height, width, 3]` uint8.
      active: `[count, height', width', units]` activations.
      numbers: indices of the units to show, one per row.
      num_columns: frames per unit.

    Returns:
      `[height'', width'', 3]` uint8.
    """
    height, width = frames.shape[1:3]
    shown = []
    for number in numbers:
        own = active[..., number]
        threshold = np.quantile(own, 1.0 - _ACTIVE_SHARE)
        best = np.argsort(-own.max(axis=(1, 2)), kind="stable")[:num_columns]
        for i in best:
            enlarged = cv2.resize(own[i], (width, height))
            is_active = (enlarged >= threshold)[..., np.newaxis]
            shown.append(np.where(is_active, frames[i], frames[i] // _DARKENING))
    names = [f"unit {number}" for number in numbers]
    return visualize.grid(np.stack(shown)[:, np.newaxis], len(best), names)[0]
