"""Lays videos out as grids, frame strips and contact sheets, and writes their files."""

import dataclasses
import json
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tf_dvdgan import text_drawing
from tf_dvdgan.data import files, filesystem, video_io

_GAP = 2  # pixels between videos
_MIN_SIZE = 64  # pixels; smaller videos are enlarged


@dataclasses.dataclass(frozen=True)
class Style:
    """Where and how videos are written.

    Attributes:
      output: folder to write to.
      suffix: file format, 'gif', 'mp4' or 'png'.
      fps: frames per second.

    Raises:
      UserError: the folder cannot be written.
    """

    output: str
    suffix: str = "gif"
    fps: float = 8.0

    def __post_init__(self):
        files.check_writable(self.output, as_folder=True)


def grid(videos: np.ndarray, columns: int, names: Sequence[str] = ()) -> np.ndarray:
    """Tiles videos row by row.

    Args:
      videos: `[count, time, height, width, 3]` uint8.
      columns: videos per row.
      names: row names, written on the left.

    Returns:
      `[time, height', width', 3]` uint8, with even height and width.
    """
    names = [text_drawing.short_name(name) for name in names]
    videos = _enlarged(videos)
    count, num_frames, height, width, _ = videos.shape
    rows = -(-count // columns)
    margin = text_drawing.margin(names)
    canvas = np.full(
        [
            num_frames,
            _even(rows * (height + _GAP)),
            _even(margin + columns * (width + _GAP)),
            3,
        ],
        text_drawing.BACKGROUND,
        np.uint8,
    )
    for i, video in enumerate(videos):
        top = i // columns * (height + _GAP)
        left = margin + i % columns * (width + _GAP)
        canvas[:, top : top + height, left : left + width] = video
    if names:
        label = text_drawing.write_names(canvas[0], names, height + _GAP)
        canvas[:, :, :margin] = label[:, :margin]
    return canvas


def strips(videos: np.ndarray, names: Sequence[str] = ()) -> np.ndarray:
    """Lays each video's frames side by side, one video per row.

    Args:
      videos: `[count, time, height, width, 3]` uint8.
      names: row names, written on the left.

    Returns:
      `[height', width', 3]` uint8.
    """
    count, num_frames, *frame = videos.shape
    return grid(videos.reshape(count * num_frames, 1, *frame), num_frames, names)[0]


def columns(
    videos: np.ndarray,
    captions: Sequence[str],
    num_columns: int,
    most_frames: int = 8,
) -> np.ndarray:
    """Lays each video's frames one below the other, one video per column.

    This is how papers show interpolations (paper 001, figures 15 and 16; paper 003,
    figures 8 to 11).

    Args:
      videos: `[count, time, height, width, 3]` uint8.
      captions: a caption per video, written above it.
      num_columns: videos per row of columns; further videos follow below.
      most_frames: maximum number of frames to show, evenly spaced from the first to
        the last.

    Returns:
      `[height', width', 3]` uint8.
    """
    num_frames = videos.shape[1]
    shown = np.linspace(0, num_frames - 1, min(num_frames, most_frames))
    shown = shown.round().astype(int)
    names = [f"frame {i + 1}" for i in shown]
    blocks = []
    for i in range(0, len(videos), num_columns):
        block = videos[i : i + num_columns, shown]
        rows = block.swapaxes(0, 1).reshape(-1, 1, *block.shape[2:])
        image = grid(rows, num_columns, names)[0]
        width = _enlarged(rows[:1]).shape[3]
        above = np.full_like(image, text_drawing.BACKGROUND)
        own = text_drawing.caption_strips(captions[i : i + num_columns], width)
        for j, strip in enumerate(own):
            left = text_drawing.margin(names) + j * (width + _GAP)
            above[: len(strip), left : left + width] = strip
        blocks += [above[: len(strip)], image]
    return np.concatenate(blocks)


def first_frames(videos: np.ndarray) -> np.ndarray:
    """Tiles the videos' first frames in a square (paper 001, figures 4, 10 to 14).

    Args:
      videos: `[count, time, height, width, 3]` uint8.

    Returns:
      `[height', width', 3]` uint8.
    """
    return grid(videos[:, :1], math.ceil(len(videos) ** 0.5))[0]


def raster(videos: np.ndarray) -> np.ndarray:
    """Tiles all frames of each video in raster order (paper 001, figure 5).

    Args:
      videos: `[count, time, height, width, 3]` uint8; drawn one below the other.

    Returns:
      `[height', width', 3]` uint8, with about four columns for three rows.
    """
    num_columns = math.ceil((videos.shape[1] * 4 / 3) ** 0.5)
    pictures = [grid(video[:, np.newaxis], num_columns)[0] for video in videos]
    return np.concatenate(pictures)


def match_sizes(columns: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Gives the videos of several models a common shape.

    Args:
      columns: `[count, time, height, width, 3]` uint8 per model.

    Returns:
      The videos, cut to the shortest and resized to the largest height and width
      (nearest neighbor).
    """
    num_frames = min(videos.shape[1] for videos in columns)
    height, width = (max(v.shape[axis] for v in columns) for axis in (2, 3))
    fitted = []
    for videos in columns:
        ys = np.arange(height) * videos.shape[2] // height
        xs = np.arange(width) * videos.shape[3] // width
        fitted.append(videos[:, :num_frames][:, :, ys][:, :, :, xs])
    return fitted


def add_captions(videos: np.ndarray, captions: Sequence[str]) -> np.ndarray:
    """Writes a caption above each video; small videos are enlarged.

    Args:
      videos: `[count, time, height, width, 3]` uint8.
      captions: a caption per video, wrapped to the width of the video.

    Returns:
      `[count, time, height', width', 3]` uint8.
    """
    videos = _enlarged(videos)
    _, num_frames, _, width, _ = videos.shape
    above = text_drawing.caption_strips(captions, width)[:, np.newaxis]
    return np.concatenate([above.repeat(num_frames, axis=1), videos], axis=2)


def write(
    folder: str,
    videos: np.ndarray,
    stems: Sequence[str],
    file_format: str,
    fps: float,
    metadata: Sequence[Mapping[str, Any]],
    names: Sequence[str] = (),
    column_names: Sequence[str] = (),
) -> str:
    """Writes one file per video, and a grid of all videos.

    Args:
      folder: output folder; created if missing.
      videos: `[count, time, height, width, 3]` uint8.
      stems: file names without suffix, one per video.
      file_format: 'gif', 'mp4' or 'png'; a PNG shows the frames side by side.
      fps: frames per second.
      metadata: metadata of each video, stored in its file and merged for the grid.
      names: names of the videos, written above or beside them in the grid.
      column_names: column captions, if consecutive videos form rows of that length.

    Returns:
      Path of the grid.
    """
    for stem, video, own in zip(stems, videos, metadata, strict=True):
        write_video(folder, f"{stem}.{file_format}", video, fps, own)
    if file_format == "png":
        frames = strips(videos, _with_across(names, column_names))[None]
    elif column_names:
        captions = [*column_names] * (len(videos) // len(column_names))
        rows = add_captions(videos, captions)
        frames = grid(rows, len(column_names), names[:: len(column_names)])
    else:
        cells = add_captions(videos, names) if names else videos
        frames = grid(cells, max(1, round(len(videos) ** 0.5)))
    return write_video(folder, f"grid.{file_format}", frames, fps, _merged(metadata))


def write_video(
    folder: str, name: str, frames: np.ndarray, fps: float, metadata: Mapping[str, Any]
) -> str:
    """Writes an image or a video with metadata.

    Args:
      folder: output folder; created if missing.
      name: file name; its suffix is the format, as in `video_io.write_video`.
      frames: `[time, height, width, 3]` uint8.
      fps: frames per second.
      metadata: metadata to store in the file, as JSON.

    Returns:
      Path of the file.
    """
    filesystem.makedirs(folder)
    path = os.path.join(folder, name)
    if name.endswith(".png") and len(frames) > 1:
        metadata = {**metadata, "strip_frames": len(frames)}  # for `clip_listing`
    video_io.write_video(path, frames, fps, json.dumps(metadata))
    return path


def _with_across(names: Sequence[str], column_names: Sequence[str]) -> list[str]:
    if not column_names:
        return [*names]
    return [
        f"{name} {column_names[i % len(column_names)]}" for i, name in enumerate(names)
    ]


def _merged(metadata: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Merges the metadata of several videos; values that differ become lists."""
    merged = {}
    for key, first in metadata[0].items():
        values = [own[key] for own in metadata]
        merged[key] = first if all(v == first for v in values) else values
    return merged


def write_contact_sheet(path: str, clips: Sequence[tuple[np.ndarray, str]]) -> None:
    """Writes a contact sheet as PNG, one clip per row with its name.

    Args:
      path: output path.
      clips: videos, `[time, height, width, 3]` uint8 of one shape, and their names.
    """
    videos, names = zip(*clips, strict=True)
    image = strips(np.stack(videos), names)
    files.atomic_write(path, video_io.encode_png(image))


def _enlarged(videos: np.ndarray) -> np.ndarray:
    """Enlarges small videos by an integer factor, for visibility."""
    scale = max(1, _MIN_SIZE // videos.shape[2])
    return videos.repeat(scale, axis=2).repeat(scale, axis=3)


def _even(size: int) -> int:
    return size + size % 2
