"""Notebook output: the curves of a run, and videos as an animated grid."""

import base64
import dataclasses
from collections.abc import Sequence

import numpy as np

from tf_dvdgan import errors, visualize
from tf_dvdgan.data import files, video_io


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

    def save(self, path: str) -> None:
        """Writes the grid as a GIF."""
        files.atomic_write(path, self.gif)


def show(
    videos: np.ndarray,
    names: Sequence[str] = (),
    columns: int | None = None,
    fps: float = 8.0,
) -> Shown:
    """Arranges videos in an animated grid; a notebook displays it.

    Args:
      videos: `[count, time, height, width, 3]` uint8, or a single video.
      names: caption of each video; empty for none.
      columns: number of columns; by default the grid is about square.
      fps: frames per second.

    Returns:
      The grid; its `save` writes a GIF.

    Raises:
      UserError: the videos have another shape, or there are not as many names.
    """
    if videos.dtype != np.uint8 or videos.ndim not in (4, 5) or not videos.size:
        raise errors.UserError(
            "`videos` must be uint8 [count, time, height, width, 3], not "
            f"{videos.dtype} {list(videos.shape)}."
        )
    videos = videos[np.newaxis] if videos.ndim == 4 else videos
    if names and len(names) != len(videos):
        raise errors.UserError(
            f"There are {len(names)} names for {len(videos)} videos."
        )
    cells = visualize.add_captions(videos, names) if names else videos
    columns = columns or max(1, round(len(videos) ** 0.5))
    frames = visualize.grid(cells, columns)
    _, height, width, _ = frames.shape
    return Shown(video_io.encode_gif(frames, fps), (width, height))
