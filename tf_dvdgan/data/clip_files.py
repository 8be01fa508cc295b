"""Reads the middle window of clips of every form that `clip_listing` finds.

A clip is resized and cropped like the records of prepared shards, see `readers`.
"""

import contextlib
import os
from collections.abc import Mapping, Sequence

import numpy as np

from tf_dvdgan import errors
from tf_dvdgan.data import (
    clip_frames,
    clip_listing,
    files,
    video_io,
    video_process,
    windows,
)


def probe(
    folder: str, clip: clip_listing.ClipFile, reader: video_process.Reader
) -> video_process.ClipInfo:
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
    if clip.form == "video":
        with files.local_copy(os.path.join(folder, clip.path)) as path:
            return reader.clip_info(path)
    frames = clip_frames.open_frames(folder, clip)
    height, width, _ = frames.read(0).shape
    return video_process.ClipInfo(frames.num_frames, height, width, frames.codec)


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
    frames = clip_frames.open_frames(folder, clip)
    chosen = window.frame_numbers(frames.num_frames).numpy().tolist()
    size = [] if window.resolution is None else [window.resolution]
    found = {n: video_io.resize(frames.read(n), size) for n in sorted(set(chosen))}
    return _fitted(found, chosen, window.resolution), frames.num_frames, None


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
    return _fitted(taken, numbers, resolution)


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


def _fitted(
    frames: Mapping[int, np.ndarray], numbers: Sequence[int], resolution: int | None
) -> np.ndarray:
    """The frames with some numbers, resized and cropped, as one array.

    Raises:
      VideoError: they differ in size, which preparation rejects too.
    """
    if len({frame.shape for frame in frames.values()}) > 1:
        raise video_io.VideoError("frames of different sizes")
    fitted = {number: fit(frame, resolution) for number, frame in frames.items()}
    return np.stack([fitted[number] for number in numbers])


def _read_video(
    path: str, window: windows.Window, reader: video_process.Reader
) -> tuple[np.ndarray, int, float | None]:
    info = reader.clip_info(path)
    expected = max(info.num_frames, 1)
    while True:
        # Only the end of a video shows where its middle is. But most containers declare
        # the right length; assuming it, only the window's frames are kept in memory.
        chosen = window.frame_numbers(expected).numpy().tolist()
        frames, count = reader.read(path, chosen, window.resolution)
        if count == expected:
            return _fitted(frames, chosen, window.resolution), count, info.fps
        expected = count
