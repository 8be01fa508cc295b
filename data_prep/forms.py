"""Reads clips in every storage format ("form") that the data sets use.

Frames are RGB uint8 `[height, width, 3]`. Nothing here imports TensorFlow, so that
decoder processes start fast and stay small.
"""

import contextlib
import functools
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from google.protobuf import descriptor_pb2, message, message_factory, text_format

from tf_dvdgan.data import (
    clip_listing,
    files,
    filesystem,
    frame_names,
    video_io,
    video_reader,
)

from . import sources
from .sources import bair

_JESTER_FPS = 12.0
_NOMINAL_FPS = 25.0  # VGAN and BAIR do not publish theirs
_STACK_FRAMES = 32  # that VGAN reads from a stack
_BAIR_SIDE = 64
_BAIR_KEY = "{}/image_aux1/encoded"


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
            copy.write(_remote_record(path, clip.offset))
            copy.flush()
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


def _remote_record(path: str, offset: int) -> bytes:
    """Reads a record with its header from a remote TFRecord file; may be truncated."""
    import tensorflow as tf

    try:
        with filesystem.GFile(path, "rb") as file:
            file.seek(offset)
            header = file.read(bair.RECORD_HEADER.size)
            if len(header) < bair.RECORD_HEADER.size:
                return header
            return header + file.read(bair.RECORD_HEADER.unpack(header)[0])
    except (tf.errors.NotFoundError, FileNotFoundError):
        return b""


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
      ValueError: there is no such form.
    """
    if form == "video":
        reader = video_reader.VideoReader(paths[0], smallest_side, fps, progress)
        return reader.fps, iter(reader)
    nominal_fps = _JESTER_FPS if form == "frames" else _NOMINAL_FPS
    if form == "frames":
        frames = _images(paths)
    elif form == "array":
        frames = _of_array(paths[0], offset)
    elif form == "strip":
        frames = _of_strip(paths[0])
    elif form == "stack":
        frames = _stacked(paths[0])
    elif form == "softmotion":
        frames = _softmotion(paths[0], offset)
    else:
        raise ValueError(f"Unknown form of clip. Received: {form}")
    size = [] if smallest_side is None else [smallest_side]
    return nominal_fps, (video_io.resize(frame, size) for frame in frames)


def _images(paths: Sequence[str]) -> Iterator[np.ndarray]:
    if not paths:
        raise video_io.VideoError("not a folder of numbered images")
    yield from map(video_io.read_image, paths)


def _of_array(path: str, row: int) -> Iterator[np.ndarray]:
    folder, name = os.path.split(path)
    (clip,) = clip_listing.clips_of_array(folder, name, row)
    if clip.damage:
        raise video_io.VideoError(clip.damage)
    shape = (*clip.shape, 3)
    yield from np.memmap(path, np.uint8, "r", offset=clip.offset, shape=shape)


def _of_strip(path: str) -> Iterator[np.ndarray]:
    count = clip_listing.frames_of_strip(path)
    if not count:
        raise video_io.VideoError("not a strip of frames that tools.sample wrote")
    yield from video_io.split_strip(video_io.read_image(path), count)


def _stacked(path: str) -> Iterator[np.ndarray]:
    """Frames of a VGAN image: stacked squares, the last one repeated up to 32."""
    image = video_io.read_image(path)
    height, side, _ = image.shape
    count, rest = divmod(height, side)
    if rest or not count:
        raise video_io.VideoError(f"not a stack of square frames: {side} x {height}")
    if count == 1:
        raise video_io.VideoError("only one frame")
    for i in range(_STACK_FRAMES):
        first = min(i, count - 1) * side
        yield image[first : first + side]


def _softmotion(path: str, offset: int) -> Iterator[np.ndarray]:
    """Frames of a BAIR record, which stores raw pixels."""
    example = _example_class()()
    try:
        example.ParseFromString(_read_record(path, offset))
    except message.DecodeError as error:
        raise video_io.VideoError("not a record of a clip") from error
    values = {entry.key: entry.value for entry in example.features.feature}
    shape = (_BAIR_SIDE, _BAIR_SIDE, 3)
    count = sum(_BAIR_KEY.format(t) in values for t in range(len(values)))
    if not count:
        raise video_io.VideoError("not a record of a clip")
    for t in range(count):
        raw = b"".join(values[_BAIR_KEY.format(t)].bytes_list.value)
        if len(raw) != np.prod(shape):
            raise video_io.VideoError(f"wrong frame size: {len(raw)} bytes")
        yield np.frombuffer(raw, np.uint8).reshape(shape)


def _read_record(path: str, offset: int) -> bytes:
    if not os.path.isfile(path):
        raise video_io.VideoError("not a file")
    with open(path, "rb") as file:
        file.seek(offset)
        header = file.read(bair.RECORD_HEADER.size)
        available = os.path.getsize(path) - file.tell()
        if len(header) < bair.RECORD_HEADER.size:
            raise video_io.VideoError("truncated: incomplete record header")
        length, _ = bair.RECORD_HEADER.unpack(header)
        if length > available:
            raise video_io.VideoError(f"truncated: {available} of {length} bytes")
        return file.read(length)


@functools.cache
def _example_class() -> type[message.Message]:
    """A minimal `tf.train.Example` message class that does not need TensorFlow.

    On the wire a map is a list of entries. Unknown fields are skipped.
    """
    file = text_format.Parse(_EXAMPLE, descriptor_pb2.FileDescriptorProto())
    return message_factory.GetMessages([file])["tf_dvdgan.Example"]


_EXAMPLE = """
name: "tf_dvdgan/example.proto" package: "tf_dvdgan" syntax: "proto3"
message_type {
  name: "BytesList"
  field { name: "value" number: 1 type: TYPE_BYTES label: LABEL_REPEATED }
}
message_type {
  name: "Feature"
  field { name: "bytes_list" number: 1 type: TYPE_MESSAGE label: LABEL_OPTIONAL
          type_name: ".tf_dvdgan.BytesList" }
}
message_type {
  name: "Entry"
  field { name: "key" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
  field { name: "value" number: 2 type: TYPE_MESSAGE label: LABEL_OPTIONAL
          type_name: ".tf_dvdgan.Feature" }
}
message_type {
  name: "Features"
  field { name: "feature" number: 1 type: TYPE_MESSAGE label: LABEL_REPEATED
          type_name: ".tf_dvdgan.Entry" }
}
message_type {
  name: "Example"
  field { name: "features" number: 1 type: TYPE_MESSAGE label: LABEL_OPTIONAL
          type_name: ".tf_dvdgan.Features" }
}
"""
