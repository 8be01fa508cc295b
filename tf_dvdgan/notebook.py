"""What notebooks show: a run's curves, and videos in a grid that plays."""

import base64
import dataclasses
from collections.abc import Sequence

import numpy as np

from tf_dvdgan import visualize
from tf_dvdgan.data import files, video_io


@dataclasses.dataclass(frozen=True)
class History:
    """Curves of a run, as TensorBoard has them; a notebook draws the losses.

    Attributes:
      history: values by tag, such as 'loss/generator'.
      steps: their steps, by the same tags.
    """

    history: dict[str, list[float]]
    steps: dict[str, list[int]]

    def _repr_html_(self) -> str:
        from tf_dvdgan.report import charts

        curves = {
            tag.removeprefix("loss/").replace("_", " "): charts.Curve(
                np.array(self.steps[tag], np.float64), np.array(values)
            )
            for tag, values in self.history.items()
            if tag.startswith("loss/")
        }
        drawn = charts.chart("Losses", curves)
        return charts.svg(drawn) if drawn else "no steps yet"


def history_of(model_dir: str) -> History:
    """Reads the curves of a run's directory."""
    from tf_dvdgan.report import history

    curves = history.read_events(model_dir, "train").curves
    return History(
        {tag: curve.y.tolist() for tag, curve in curves.items()},
        {tag: curve.x.astype(int).tolist() for tag, curve in curves.items()},
    )


class Shown:
    """Videos as a notebook shows them: a grid that plays.

    Args:
      gif: the grid, encoded.
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
    """A grid of videos that plays in a notebook, when it is the last line of a cell.

    Args:
      videos: `[count, time, height, width, 3]` uint8, or a single one.
      names: of each, written above it.
      columns: of the grid; by default it is about square.
      fps: frames per second.

    Returns:
      The grid; its `save` writes a GIF.
    """
    videos = videos[np.newaxis] if videos.ndim == 4 else videos
    cells = visualize.add_captions(videos, names) if names else videos
    columns = columns or max(1, round(len(videos) ** 0.5))
    frames = visualize.grid(cells, columns)
    return Shown(video_io.encode_gif(frames, fps), frames.shape[2:0:-1])
