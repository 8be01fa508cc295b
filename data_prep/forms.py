"""Reads clips in every storage format ("form") that the data sets use.

Frames are RGB uint8 `[height, width, 3]`. Nothing here imports TensorFlow, so that
decoder processes start fast and stay small.
"""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from tf_dvdgan.data import (
    clip_frames,
    clip_listing,
    files,
    frame_names,
    video_io,
    video_reader,
)

from . import sources
from .sources import bair, tinyvideo

_JESTER_FPS = 12.0
_NOMINAL_FPS = 25.0  # VGAN and BAIR do not publish theirs


@contextlib.contextmanager
def fetch(clip: sources.Clip, folder: str) -> Iterator[tuple[list[str], int]]:
    """Makes a clip's files available locally while the context is open.

    Remote files are copied to temporary files. A TFRecord file holds hundreds of
    clips, so only the clip's record is copied.

    Args:
      clip: a clip of any form.
      folder: the input folder, which `clip.path` is relative to.

    Yields:
      The local paths of the files, and the clip's offset in the first of them.
    """
    path = os.path.join(folder, clip.path)
    if clip.form == "softmotion" and files.is_remote(path):
        with tempfile.NamedTemporaryFile(prefix="tf_dvdgan-") as copy:
            bair.copy_record(path, clip.offset, copy.name)
            yield [copy.name], 0
        return
    paths = [path]
    if clip.form == "frames":
        groups = frame_names.groups_of_frames(_names_in(path))
        names = groups[clip.offset] if clip.offset < len(groups) else []
        paths = [os.path.join(path, name) for name in names]
    with contextlib.ExitStack() as copies:
        yield [copies.enter_context(files.local_copy(p)) for p in paths], clip.offset


def _names_in(folder: str) -> list[str]:
    try:
        return files.list_dir(folder)
    except OSError as error:
        raise video_io.VideoError(f"cannot be read: {error.strerror}") from error


def read(
    form: str,
    paths: Sequence[str],
    offset: int,
    smallest_side: int | None,
    fps: float | None,
    progress: Callable[[], None] = lambda: None,
) -> tuple[float, Iterator[np.ndarray]]:
    """Opens a clip and returns an iterator over its frames.

    Args:
      form: `sources.Clip.form`.
      paths: local paths of its files, in order.
      offset: `sources.Clip.offset` in the first of them.
      smallest_side: resize the smaller side to this, in pixels; None keeps the size.
      fps: rate that a video is resampled to; other forms have no times. None keeps it.
      progress: called for each frame of a video that is decoded, also of those that
        `fps` drops.

    Returns:
      Frames per second, and the frames, `[height, width, 3]` uint8 RGB each.

    Raises:
      VideoError: the clip cannot be used; iterating may raise it too.
    """
    if form == "video":
        reader = video_reader.VideoReader(paths[0], smallest_side, fps, progress)
        return reader.fps, iter(reader)
    if form == "stack":
        frames = tinyvideo.read_stack(paths[0])
    elif form == "softmotion":
        frames = bair.read_record(paths[0], offset)
    else:
        clip = clip_listing.clip_at(paths, form, offset)
        frames = iter(clip_frames.open_frames("", clip))
    size = [] if smallest_side is None else [smallest_side]
    nominal_fps = _JESTER_FPS if form == "frames" else _NOMINAL_FPS
    return nominal_fps, (video_io.resize(frame, size) for frame in frames)
