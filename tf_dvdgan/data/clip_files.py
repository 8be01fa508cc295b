"""Reads the middle window of clips of every form that `clip_listing` finds.

A clip is resized and cropped like the records of prepared shards, see `readers`.
"""

import contextlib
import dataclasses
import os
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tf_dvdgan import errors
from tf_dvdgan.data import (
    clip_listing,
    files,
    filesystem,
    video_io,
    video_process,
    windows,
)

_CHANNELS = 3


@dataclasses.dataclass(frozen=True)
class ClipInfo:
    """Properties of a clip that are known without decoding it.

    Attributes:
      num_frames: number of frames that the file declares; 0 if unknown.
      height: height of the frames, in pixels.
      width: width of the frames, in pixels.
      codec: format of the frames; 'raw' for arrays.
      fps: frames per second; None if unknown.
    """

    num_frames: int
    height: int
    width: int
    codec: str
    fps: float | None = None


def probe(
    folder: str, clip: clip_listing.ClipFile, reader: video_process.Reader
) -> ClipInfo:
    """Reads a clip's properties; decodes at most one image.

    Args:
      folder: the listed folder.
      clip: the clip.
      reader: reads videos, in a child process.

    Returns:
      The properties.

    Raises:
      VideoError: the clip cannot be read.
    """
    if clip.form == "array":
        _check_is_array(clip)
        num_frames, height, width = clip.shape
        return ClipInfo(num_frames, height, width, codec="raw")
    with files.local_copy(os.path.join(folder, clip.paths[0])) as path:
        if clip.form == "frames":
            height, width, _ = video_io.read_image(path).shape
            codec = os.path.splitext(path)[1][1:].lower().replace("jpg", "jpeg")
            return ClipInfo(len(clip.names), height, width, codec)
        if clip.form == "strip":
            _, height, width, _ = _frames_of_strip(path, clip).shape
            return ClipInfo(clip.shape[0], height, width, "png")
        found = reader.properties(path)
        return ClipInfo(*found._replace(fps=round(found.fps, 2)))


def read(
    folder: str,
    clip: clip_listing.ClipFile,
    window: windows.Window,
    reader: video_process.Reader,
) -> tuple[np.ndarray, int, float | None]:
    """Reads the middle window of a clip; decodes a video to its end.

    Args:
      folder: the listed folder.
      clip: the clip.
      window: the window; repeats the last frame if the clip is too short.
      reader: reads videos, in a child process.

    Returns:
      `[num_frames, height, width, 3]` uint8, the number of frames in the clip, and a
      video's frames per second, with two decimals.

    Raises:
      VideoError: the clip cannot be read, or reading was stopped.
    """
    if clip.form == "video":
        with files.local_copy(os.path.join(folder, clip.path)) as path:
            return _read_video(path, window, reader)
    if clip.form == "strip":
        with files.local_copy(os.path.join(folder, clip.path)) as path:
            strip = _frames_of_strip(path, clip)
        numbers = window.frame_numbers(len(strip)).numpy()
        fitted = [fit(frame, window.resolution) for frame in strip[numbers]]
        return np.stack(fitted), len(strip), None
    read_one = {"array": _read_from_array, "frames": _read_image}[clip.form]
    count = len(clip.names) if clip.form == "frames" else _check_is_array(clip)
    chosen = window.frame_numbers(count).numpy().tolist()
    frames = {i: fit(read_one(folder, clip, i), window.resolution) for i in set(chosen)}
    return _stacked([frames[i] for i in chosen]), count, None


def read_frames(
    path: str,
    count: int,
    stride: int,
    start: int,
    resolution: int | None,
    reader: video_process.Reader | None = None,
) -> np.ndarray:
    """Reads conditioning frames of a video, resized and cropped as in evaluation.

    Args:
      path: local or remote path of the video.
      count: number of frames to read.
      stride: reads every n-th frame.
      start: index of the first frame to read.
      resolution: height and width in pixels; None keeps the video's.
      reader: decodes it, in a child process with limits; by default one of its own.

    Returns:
      `[count, resolution, resolution, 3]` uint8.

    Raises:
      UserError: the file is not a video, or too short.
    """
    try:
        with files.local_copy(path) as file:
            numbers = range(start, start + count * stride, stride)
            with contextlib.ExitStack() as own:
                used = reader or own.enter_context(video_process.Reader())
                taken, _ = used.read(file, numbers, resolution, to_end=False)
    except video_io.VideoError as error:
        raise errors.UserError(f"{path} cannot be used: {error}.") from None
    if len(taken) < count:
        raise errors.UserError(
            f"{path} is too short: the model needs {count} conditioning frames, "
            f"{stride} frames apart, from frame {start} on."
        )
    return _stacked([fit(taken[number], resolution) for number in numbers])


def fit(frame: np.ndarray, resolution: int | None) -> np.ndarray:
    """Resizes a frame's smaller side, and crops the square in the center.

    Args:
      frame: `[height, width, 3]` uint8.
      resolution: size of the square, in pixels; None keeps the frame as it is.

    Returns:
      `[resolution, resolution, 3]` uint8.
    """
    if resolution is None:
        return frame
    frame = video_io.resize_smallest_side(frame, resolution)
    top, left = (
        int(windows.offset(size, resolution, windows.MIDDLE))
        for size in frame.shape[:2]
    )
    return frame[top : top + resolution, left : left + resolution]


def _stacked(frames: Sequence[np.ndarray]) -> np.ndarray:
    if len({frame.shape for frame in frames}) > 1:
        raise video_io.VideoError("frames of several sizes")
    return np.stack(frames)


def _read_video(
    path: str, window: windows.Window, reader: video_process.Reader
) -> tuple[np.ndarray, int, float]:
    found = reader.properties(path)
    expected = max(found.num_frames, 1)
    while True:
        # Only the end of a video shows where its middle is. But most containers declare
        # the right length; assuming it, only the window's frames are kept in memory.
        chosen = window.frame_numbers(expected).numpy().tolist()
        frames, count = reader.read(path, chosen, window.resolution)
        if count == expected:
            fitted = {i: fit(frame, window.resolution) for i, frame in frames.items()}
            return _stacked([fitted[i] for i in chosen]), count, round(found.fps, 2)
        expected = count


def _read_image(folder: str, clip: clip_listing.ClipFile, number: int) -> np.ndarray:
    with files.local_copy(os.path.join(folder, clip.paths[number])) as path:
        return video_io.read_image(path)


def _frames_of_strip(path: str, clip: clip_listing.ClipFile) -> np.ndarray:
    return np.stack(video_io.split_strip(video_io.read_image(path), *clip.shape))


def _check_is_array(clip: clip_listing.ClipFile) -> int:
    """Checks that an array is not damaged; returns the number of frames."""
    if clip.damage:
        raise video_io.VideoError(clip.damage)
    return clip.shape[0]


def _read_from_array(
    folder: str, clip: clip_listing.ClipFile, number: int
) -> np.ndarray:
    """Reads one frame, and only its bytes."""
    shape = (*clip.shape[1:], _CHANNELS)
    size = int(np.prod(shape))
    try:
        with filesystem.GFile(os.path.join(folder, clip.path), "rb") as file:
            file.seek(clip.offset + number * size)
            data = file.read(size)
    except tf.errors.OpError as error:
        raise video_io.VideoError(f"cannot be read: {error.message}") from error
    if len(data) < size:
        raise video_io.VideoError("truncated")
    return np.frombuffer(data, np.uint8).reshape(shape)
