"""Reads the frames of a clip of every form that `clip_listing` finds.

Preparation and scoring both read clips here. Local files are read without TensorFlow,
so that child processes which decode start fast and stay small.
"""

import dataclasses
import functools
import os
from collections.abc import Callable, Iterator

import numpy as np

from tf_dvdgan.data import clip_listing, files, filesystem, video_io


@dataclasses.dataclass(frozen=True)
class Frames:
    """Frames of a clip that can be read in any order: images, an array or a strip.

    Attributes:
      num_frames: number of frames.
      codec: format of the frames; 'raw' for arrays.
      read: reads a frame by its number, from 0, as `[height, width, 3]` uint8 RGB;
        raises `VideoError` if it cannot.
    """

    num_frames: int
    codec: str
    read: Callable[[int], np.ndarray]

    def __iter__(self) -> Iterator[np.ndarray]:
        return map(self.read, range(self.num_frames))


def open_frames(folder: str, clip: clip_listing.ClipFile) -> Frames:
    """Opens a clip of any form but 'video', which `VideoReader` reads.

    Args:
      folder: local or remote folder that the clip's paths are relative to.
      clip: the clip.

    Returns:
      Its frames. Of an array and of images, only those are read that are asked for.

    Raises:
      VideoError: the clip cannot be used; reading its frames may raise it too.
    """
    paths = [os.path.join(folder, path) for path in clip.paths]
    if clip.form == "frames":
        if not clip.names:
            raise video_io.VideoError("not a folder of numbered images")
        suffix = os.path.splitext(paths[0])[1][1:].lower()
        codec = suffix.replace("jpg", "jpeg")
        return Frames(len(paths), codec, lambda number: _read_image(paths[number]))
    if clip.form == "strip":
        (count,) = clip.shape
        if not count:
            raise video_io.VideoError("not a strip of frames that tools.sample wrote")
        strip = functools.cache(
            lambda: video_io.split_strip(_read_image(paths[0]), count)
        )
        return Frames(count, "png", lambda number: strip()[number])
    if clip.damage:
        raise video_io.VideoError(clip.damage)
    read = functools.partial(_read_from_array, paths[0], clip)
    return Frames(clip.shape[0], "raw", read)


def _read_image(path: str) -> np.ndarray:
    with files.local_copy(path) as file:
        return video_io.read_image(file)


def _read_from_array(path: str, clip: clip_listing.ClipFile, number: int) -> np.ndarray:
    """Reads one frame, and only its bytes."""
    shape = (*clip.shape[1:], 3)
    size = int(np.prod(shape))
    try:
        data = filesystem.read_bytes(path, size, clip.offset + number * size)
    except OSError as error:
        reason = error.strerror or error
        raise video_io.VideoError(f"cannot be read: {reason}") from error
    if len(data) < size:
        raise video_io.VideoError("truncated")
    return np.frombuffer(data, np.uint8).reshape(shape)
