"""Draws videos as grids, frame strips and contact sheets with captions."""

import dataclasses
import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tf_dvdgan import terminal
from tf_dvdgan.data import files, filesystem, video_io

_GAP = 2  # pixels between videos
_FONT_SIZE = 12
_LINE_HEIGHT = 14
_MAX_LINES = 3  # of a caption
_MIN_SIZE = 64  # pixels; smaller videos are enlarged
_MAX_NAME = 40  # characters
_BACKGROUND = 24
_ACTIVE_SHARE = 0.005  # top share of a unit's activations (Zhou et al., 2015)
_DARKENING = 4  # divides pixels where a unit is not active
_TEXT = (235, 235, 235)


@dataclasses.dataclass(frozen=True)
class Style:
    """Where and how videos are written.

    Attributes:
      output: folder to write to.
      suffix: file format, 'gif', 'mp4' or 'png'.
      fps: frames per second.
    """

    output: str
    suffix: str = "gif"
    fps: float = 8.0


def grid(videos: np.ndarray, columns: int, names: Sequence[str] = ()) -> np.ndarray:
    """Tiles videos row by row.

    Args:
      videos: `[count, time, height, width, 3]` uint8.
      columns: videos per row.
      names: row names, written on the left.

    Returns:
      `[time, height', width', 3]` uint8, with even height and width.
    """
    names = [_shown(name) for name in names]
    videos = _enlarged(videos)
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
        above = np.full_like(image, _BACKGROUND)
        for j, strip in enumerate(_captions(captions[i : i + num_columns], width)):
            left = _margin(names) + j * (width + _GAP)
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
    return grid(np.stack(shown)[:, np.newaxis], len(best), names)[0]


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
    strips = _captions(captions, width)[:, np.newaxis].repeat(num_frames, axis=1)
    return np.concatenate([strips, videos], axis=2)


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


def _shown(name: str) -> str:
    """Makes a name from the data printable and shortens it."""
    name = terminal.printable(name)
    return name if len(name) <= _MAX_NAME else name[: _MAX_NAME - 1] + "…"


def _enlarged(videos: np.ndarray) -> np.ndarray:
    """Enlarges small videos by an integer factor, for visibility."""
    scale = max(1, _MIN_SIZE // videos.shape[2])
    return videos.repeat(scale, axis=2).repeat(scale, axis=3)


def _even(size: int) -> int:
    return size + size % 2


def _margin(names: Sequence[str]) -> int:
    if not names:
        return 0
    return round(max(_font().getlength(name) for name in names)) + 12


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=_FONT_SIZE)


def _write_names(image: np.ndarray, names: Sequence[str], row: int) -> np.ndarray:
    picture = Image.fromarray(image)
    draw = ImageDraw.Draw(picture)
    for i, name in enumerate(names):
        draw.text((6, i * row + row // 2), name, _TEXT, _font(), anchor="lm")
    return np.asarray(picture)


def _captions(captions: Sequence[str], width: int) -> np.ndarray:
    """Draws captions as images of one height, `[count, height, width, 3]` uint8."""
    texts = [_lines(_shown(caption), width) for caption in captions]
    height = _LINE_HEIGHT * max(map(len, texts)) + 4
    pictures = []
    for lines in texts:
        picture = Image.new("RGB", (width, height), (_BACKGROUND,) * 3)
        draw = ImageDraw.Draw(picture)
        for i, line in enumerate(reversed(lines)):  # aligned at the bottom
            middle = height - 2 - _LINE_HEIGHT * i - _LINE_HEIGHT // 2
            draw.text((width // 2, middle), line, _TEXT, _font(), anchor="mm")
        pictures.append(np.asarray(picture))
    return np.stack(pictures)


def _lines(text: str, width: int) -> list[str]:
    """Wraps a text to `width` pixels after spaces and dashes and before capitals."""
    font, lines = _font(), [""]
    for piece in re.split(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[\s_-])", text):
        if lines[-1] and font.getlength(lines[-1] + piece.rstrip()) > width:
            lines.append("")
        lines[-1] += piece
    if len(lines) > _MAX_LINES:
        lines = [*lines[: _MAX_LINES - 1], "".join(lines[_MAX_LINES - 1 :])]
    return [_cut(line.rstrip(), width) for line in lines]


def _cut(line: str, width: int) -> str:
    """Truncates a line to `width` pixels."""
    font = _font()
    if font.getlength(line) <= width:
        return line
    while line and font.getlength(line + "…") > width:
        line = line[:-1]
    return line + "…"
