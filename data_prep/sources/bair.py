"""BAIR robot pushing (Ebert et al., 2017): `softmotion30_44k`, clips in TFRecord files.

`train` and `test` hold `traj_*_to_*.tfrecords`; each record is one clip of 30 frames.
There are no classes. The frames are raw pixels at the resolution that papers use, so
they are stored as lossless PNG by default.
"""

import functools
import os
import struct
from collections.abc import Iterator
from concurrent import futures

import numpy as np
from google.protobuf import descriptor_pb2, message, message_factory, text_format

from tf_dvdgan import errors
from tf_dvdgan.data import files, filesystem, video_io

from . import lists
from .clips import Clip, Listing, Options

_TOP = "softmotion30_44k"
_SPLITS = ("train", "test")
_SUFFIX = ".tfrecords"
_RECORD_HEADER = struct.Struct("<QI")  # length, checksum of the length
_FOOTER_BYTES = 4  # checksum of the record
_FRAME_SHAPE = (64, 64, 3)
_FRAME_KEY = "{}/image_aux1/encoded"
_MIN_BYTES = 30 * 64 * 64 * 3  # of a clip's pixels
_NUM_THREADS = 16  # hides the latency of object stores


def list_clips(folder: str, options: Options = Options()) -> Listing:
    """Lists the records of all files, reading only the 12-byte header of each.

    Args:
      folder: holds `softmotion30_44k`, or `train` and `test`.
      options: unused.

    Returns:
      One class, and a clip per record.

    Raises:
      UserError: there are no TFRecord files.
    """
    del options
    names_in = lists.folder_reader(folder)
    top = _TOP if _TOP in names_in("") else ""
    places = [
        (split, os.path.join(top, split, name))
        for split in _SPLITS
        for name in sorted(names_in(os.path.join(top, split)))
        if name.endswith(_SUFFIX)
    ]
    if not places:
        raise errors.UserError(
            f"{folder} has no train/*{_SUFFIX} and no test/*{_SUFFIX}. `dataset=bair` "
            f"needs {_TOP} in `input_dir`, or that folder itself as `input_dir`."
        )
    with futures.ThreadPoolExecutor(_NUM_THREADS) as pool:
        paths = (os.path.join(folder, path) for _, path in places)
        offsets = list(pool.map(lambda path: list(_offsets(path)), paths))
    clips = [
        Clip(path, 0, _video_id(path, split, i), split, "softmotion", offset)
        for (split, path), in_file in zip(places, offsets, strict=True)
        for i, offset in enumerate(in_file)
    ]
    return Listing(["video"], clips, encoding="png")


def _video_id(path: str, split: str, index: int) -> str:
    stem = os.path.basename(path).removesuffix(_SUFFIX)
    return f"{split}/{stem}:{index:03}"


def _offsets(path: str) -> Iterator[int]:
    """Yields the offsets of a file's records, in bytes.

    A truncated, missing or malformed record is included as the file's last, for the
    decoder to reject.
    """
    if not filesystem.exists(path):  # a broken link
        yield 0
        return
    size = filesystem.stat(path).length
    # GFile reads half a megabyte after each seek, so local files are opened directly.
    remote = files.is_remote(path)
    with filesystem.GFile(path, "rb") if remote else open(path, "rb", 0) as file:
        offset = 0
        while True:
            yield offset
            if offset + _RECORD_HEADER.size > size:
                return
            file.seek(offset)
            length, _ = _RECORD_HEADER.unpack(file.read(_RECORD_HEADER.size))
            offset += _RECORD_HEADER.size + length + _FOOTER_BYTES
            if length < _MIN_BYTES or offset >= size:
                return


def copy_record(path: str, offset: int, target: str) -> None:
    """Copies a record with its header to a local file of its own.

    Args:
      path: local or remote path of a TFRecord file.
      offset: position of the record.
      target: path of the copy, which holds what there is of a record that is cut.
    """
    try:
        record = filesystem.read_bytes(path, _RECORD_HEADER.size, offset)
        if len(record) == _RECORD_HEADER.size:
            length, _ = _RECORD_HEADER.unpack(record)
            rest = filesystem.size_of(path) - offset - len(record)
            start = offset + len(record)
            record += filesystem.read_bytes(path, min(length, rest), start)
    except FileNotFoundError:  # the reader says so
        record = b""
    with open(target, "wb") as file:
        file.write(record)


def read_record(path: str, offset: int) -> Iterator[np.ndarray]:
    """Reads the frames of a record, which stores raw pixels.

    Args:
      path: local path of a TFRecord file.
      offset: position of the record.

    Yields:
      The frames, `[64, 64, 3]` uint8 RGB each.

    Raises:
      VideoError: there is no record of a clip.
    """
    example = _example_class()()
    try:
        example.ParseFromString(_record(path, offset))
    except message.DecodeError as error:
        raise video_io.VideoError("not a record of a clip") from error
    values = {entry.key: entry.value for entry in example.features.feature}
    count = sum(_FRAME_KEY.format(t) in values for t in range(len(values)))
    if not count:
        raise video_io.VideoError("not a record of a clip")
    for t in range(count):
        raw = b"".join(values[_FRAME_KEY.format(t)].bytes_list.value)
        if len(raw) != np.prod(_FRAME_SHAPE):
            raise video_io.VideoError(f"wrong frame size: {len(raw)} bytes")
        yield np.frombuffer(raw, np.uint8).reshape(_FRAME_SHAPE)


def _record(path: str, offset: int) -> bytes:
    if not os.path.isfile(path):
        raise video_io.VideoError("not a file")
    header = filesystem.read_bytes(path, _RECORD_HEADER.size, offset)
    if len(header) < _RECORD_HEADER.size:
        raise video_io.VideoError("truncated: incomplete record header")
    length, _ = _RECORD_HEADER.unpack(header)
    start = offset + len(header)
    available = filesystem.size_of(path) - start
    if length > available:
        raise video_io.VideoError(f"truncated: {available} of {length} bytes")
    return filesystem.read_bytes(path, length, start)


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
