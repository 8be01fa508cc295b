"""Pictures of videos for people: grids that move, strips of frames, names beside."""

import os
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from PIL import Image, ImageDraw, ImageFont

from tf_dvdgan import cli
from tf_dvdgan.data import files, video_io

_GAP = 2
_LONGEST_NAME = 40  # characters that are shown
_BACKGROUND = 24
_TEXT = (235, 235, 235)


def grid(videos: np.ndarray, columns: int, names: Sequence[str] = ()) -> np.ndarray:
    """Tiles videos row by row.

    Args:
      videos: `[count, time, height, width, 3]` uint8.
      columns: videos in a row.
      names: of the rows, written to their left.

    Returns:
      `[time, height', width', 3]` uint8, its sides even.
    """
    names = [_shown(name) for name in names]
    scale = _scale(videos)
    videos = videos.repeat(scale, axis=2).repeat(scale, axis=3)
    count, num_frames, height, width, _ = videos.shape
    rows = -(-count // columns)
    margin = _margin(names)
    canvas = np.full(
        [
            num_frames,
            _even(rows * (height + _GAP)),
            _even(margin + columns * (width + _GAP)),
            3,
        ],
        _BACKGROUND,
        np.uint8,
    )
    for i, video in enumerate(videos):
        top = i // columns * (height + _GAP)
        left = margin + i % columns * (width + _GAP)
        canvas[:, top : top + height, left : left + width] = video
    if names:
        label = _write_names(canvas[0], names, height + _GAP)
        canvas[:, :, :margin] = label[:, :margin]
    return canvas


def strips(videos: np.ndarray, names: Sequence[str] = ()) -> np.ndarray:
    """Lays each video's frames side by side, one video a row.

    Args:
      videos: `[count, time, height, width, 3]` uint8.
      names: of the rows.

    Returns:
      `[height', width', 3]` uint8.
    """
    count, num_frames, *frame = videos.shape
    return grid(videos.reshape(count * num_frames, 1, *frame), num_frames, names)[0]


def write(
    folder: str,
    videos: np.ndarray,
    stems: Sequence[str],
    file_format: str,
    fps: float,
    names: Sequence[str] = (),
) -> str:
    """Writes a file for each video, and all of them as one grid.

    Args:
      folder: to write to; it is made if it is not there.
      videos: `[count, time, height, width, 3]` uint8.
      stems: the files' names without their suffix.
      file_format: 'gif', 'mp4' or 'png'; as PNG, frames lie side by side.
      fps: frames per second.
      names: of the videos, written beside them where each has a row of its own.

    Returns:
      The grid's path.
    """
    tf.io.gfile.makedirs(folder)
    for stem, video in zip(stems, videos, strict=True):
        video_io.write_video(os.path.join(folder, f"{stem}.{file_format}"), video, fps)
    if file_format == "png":
        frames = strips(videos, names)[None]
    else:
        frames = grid(videos, max(1, round(len(videos) ** 0.5)))
    path = os.path.join(folder, f"grid.{file_format}")
    video_io.write_video(path, frames, fps)
    return path


def write_sheet(path: str, clips: Sequence[tuple[np.ndarray, str]]) -> None:
    """Writes a PNG of clips, one a row with its name.

    Args:
      path: where to.
      clips: `[time, height, width, 3]` uint8, all alike, and the name of each.
    """
    videos, names = zip(*clips, strict=True)
    image = strips(np.stack(videos), names)
    files.write_whole(path, video_io.png_bytes(image))


def _shown(name: str) -> str:
    """A name as it is written in a picture; it may come from data."""
    name = cli.printable(name)
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"


def _scale(videos: np.ndarray) -> int:
    """Small videos are shown larger: so many times."""
    return max(1, 64 // videos.shape[2])


def _even(size: int) -> int:
    return size + size % 2


def _margin(names: Sequence[str]) -> int:
    if not names:
        return 0
    return round(max(_font().getlength(name) for name in names)) + 12


def _font() -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size=12)


def _write_names(image: np.ndarray, names: Sequence[str], row: int) -> np.ndarray:
    picture = Image.fromarray(image)
    draw = ImageDraw.Draw(picture)
    for i, name in enumerate(names):
        draw.text((6, i * row + row // 2), name, _TEXT, _font(), anchor="lm")
    return np.asarray(picture)
