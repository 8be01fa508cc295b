"""Notebook output: the curves of a run, and videos as an animated grid."""

import base64
import dataclasses
import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tf_dvdgan import errors, visualize
from tf_dvdgan.data import files, video_io

_LOWEST_FPS = 0.01  # GIF's times have 16 bits, in hundredths of a second


@dataclasses.dataclass(frozen=True)
class History:
    """TensorBoard's curves of a run; a notebook plots the losses.

    Attributes:
      history: values by tag, such as 'loss/generator'.
      steps: the steps of the values, by tag.
    """

    history: dict[str, list[float]]
    steps: dict[str, list[int]]

    def _repr_html_(self) -> str:
        from tf_dvdgan.report import charts, svg

        curves = {
            tag.removeprefix("loss/").replace("_", " "): charts.Curve(
                np.array(self.steps[tag], np.float64), np.array(values)
            )
            for tag, values in self.history.items()
            if tag.startswith("loss/")
        }
        drawn = charts.chart("Losses", curves)
        return svg.draw(drawn) if drawn else "no steps yet"


def history_of(model_dir: str) -> History:
    """Reads the training curves of a run from its directory."""
    from tf_dvdgan.report import history

    curves = history.read_events(model_dir, "train").curves
    return History(
        {tag: curve.y.tolist() for tag, curve in curves.items()},
        {tag: curve.x.astype(int).tolist() for tag, curve in curves.items()},
    )


class Shown:
    """Videos as an animated grid that a notebook displays.

    Args:
      gif: the encoded grid.
      size: width and height, in pixels.

    Attributes:
      gif: as given.
    """

    def __init__(self, gif: bytes, size: tuple[int, int]):
        self.gif = gif
        self._size = size

    def _repr_html_(self) -> str:
        data = base64.b64encode(self.gif).decode()
        width, height = self._size
        return (
            f'<img src="data:image/gif;base64,{data}" width="{width}" '
            f'height="{height}" alt="Generated videos">'
        )

    def save(self, path: str | os.PathLike) -> None:
        """Writes the grid as a GIF.

        Args:
          path: local or remote path.

        Raises:
          UserError: it cannot be written.
        """
        path = files.as_text(path)
        files.check_writable(path)
        files.atomic_write(path, self.gif)


def show(
    videos: npt.ArrayLike,
    names: Sequence[str] | np.ndarray = (),
    columns: int | None = None,
    fps: float = 8.0,
) -> Shown:
    """Arranges videos in an animated grid; a notebook displays it.

    Args:
      videos: `[count, time, height, width, 3]` uint8, or a single video: an array, a
        tensor, or a list of videos of one shape.
      names: caption of each video; empty for none.
      columns: number of columns; by default the grid is about square.
      fps: frames per second, at least 0.01.

    Returns:
      The grid; its `save` writes a GIF.

    Raises:
      UserError: the videos have another shape, there are not as many names, or a number
        is out of range.
    """
    array = _batch(videos)
    captions = _captions(names, len(array))
    if columns is None:
        columns = max(1, round(len(array) ** 0.5))
    if not isinstance(columns, int | np.integer) or columns < 1:
        raise errors.UserError(
            f"`columns` must be a whole number of at least 1, not {columns!r}."
        )
    is_number = isinstance(fps, int | float | np.integer | np.floating)
    if not is_number or not _LOWEST_FPS <= fps < math.inf:
        raise errors.UserError(
            f"`fps` must be a number of at least {_LOWEST_FPS}, not {fps!r}."
        )
    cells = visualize.add_captions(array, captions) if captions else array
    frames = visualize.grid(cells, columns)
    _, height, width, _ = frames.shape
    return Shown(video_io.encode_gif(frames, fps), (width, height))


def _batch(videos: Any) -> np.ndarray:
    """Checks the videos of `show`; returns them as `[count, ..., 3]`."""
    try:
        array = np.asarray(videos)
    except (TypeError, ValueError):  # such as videos of several shapes
        raise errors.UserError(
            "`videos` must be uint8 [count, time, height, width, 3], all of one shape."
        ) from None
    is_video = array.ndim in (4, 5) and array.shape[-1] == 3 and array.size
    if array.dtype != np.uint8 or not is_video:
        raise errors.UserError(
            "`videos` must be uint8 [count, time, height, width, 3], not "
            f"{array.dtype} {list(array.shape)}."
        )
    return array[np.newaxis] if array.ndim == 4 else array


def _captions(names: Any, count: int) -> list[str]:
    """Checks the names of `show`; returns them as a list, empty for none."""
    if isinstance(names, np.ndarray):
        names = names.tolist()
    names = [] if names is None else names
    is_one = isinstance(names, str) or not isinstance(names, Sequence)
    if is_one or not all(isinstance(name, str) for name in names):
        raise errors.UserError(f"`names` must be a list of names, not {names!r}.")
    if names and len(names) != count:
        raise errors.UserError(f"There are {len(names)} names for {count} videos.")
    return list(names)
