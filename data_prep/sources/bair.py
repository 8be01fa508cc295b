"""BAIR robot pushing (Ebert et al., 2017): `softmotion30_44k`, clips in TFRecord files.

`train` and `test` hold `traj_*_to_*.tfrecords`; each record is one clip of 30 frames.
There are no classes. The frames are raw pixels at the resolution that papers use, so
they are stored as lossless PNG by default.
"""

import os
import struct
from collections.abc import Iterator
from concurrent import futures

from tf_dvdgan import errors
from tf_dvdgan.data import files, filesystem

from . import lists
from .clips import Clip, Listing, Options

_TOP = "softmotion30_44k"
_SPLITS = ("train", "test")
_SUFFIX = ".tfrecords"
RECORD_HEADER = struct.Struct("<QI")  # length, checksum of the length
_FOOTER_BYTES = 4  # checksum of the record
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
            if offset + RECORD_HEADER.size > size:
                return
            file.seek(offset)
            length, _ = RECORD_HEADER.unpack(file.read(RECORD_HEADER.size))
            offset += RECORD_HEADER.size + length + _FOOTER_BYTES
            if length < _MIN_BYTES or offset >= size:
                return
