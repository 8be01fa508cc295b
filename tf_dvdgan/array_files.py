"""Checks HDF5 and npz files before their values are read: they may be a stranger's."""

import io
import math
import os
import zipfile
from collections.abc import Mapping
from typing import IO

import h5py
import numpy as np

_MAX_EXPANSION = 100  # bytes of values per byte of the file
_FREE_BYTES = 10_000_000


def load_npz(file: str | io.BytesIO) -> Mapping[str, np.ndarray]:
    """Reads an npz file whose arrays are as large as their headers say.

    Args:
      file: local path, or the contents.

    Returns:
      The arrays by name.

    Raises:
      ValueError: it is not an npz file, or damaged; an array's header says that it is
        larger; or it holds objects.
    """
    try:
        return _checked_npz(file)
    except Exception as error:  # zipfile and NumPy raise many kinds for a damaged file
        raise ValueError(str(error)) from error


def _checked_npz(file: str | io.BytesIO) -> Mapping[str, np.ndarray]:
    size = os.path.getsize(file) if isinstance(file, str) else len(file.getvalue())
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        check_expansion(size, sum(entry.file_size for entry in entries))
        for entry in entries:
            with archive.open(entry) as array:
                shape, _, dtype = read_header(array)
            if math.prod(shape) * dtype.itemsize > entry.file_size:
                raise ValueError(f"{entry.filename} holds less than its header says")
    if isinstance(file, io.BytesIO):
        file.seek(0)
    with np.load(file, allow_pickle=False) as arrays:
        return dict(arrays)


def read_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Reads the header of a .npy file, up to where its data begin; unpickles nothing.

    Args:
      file: the file, at its beginning.

    Returns:
      The array's shape, whether it is in Fortran order, and its type.

    Raises:
      ValueError: it is not a .npy file.
    """
    try:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            return np.lib.format.read_array_header_1_0(file)
        return np.lib.format.read_array_header_2_0(file)
    except Exception as error:  # NumPy passes on what Python's parser raises
        raise ValueError(str(error)) from error


def check_expansion(size: int, num_bytes: int) -> None:
    """Checks that a file's values are not far larger than the file.

    Args:
      size: size of the file in bytes.
      num_bytes: size of its values in memory.

    Raises:
      ValueError: they are.
    """
    if num_bytes > _FREE_BYTES + _MAX_EXPANSION * size:
        raise ValueError(f"{size} bytes would expand to {num_bytes}")


def check_hdf5(path: str) -> None:
    """Checks that a file holds its values itself, and about as many as its size allows.

    Args:
      path: local path of an HDF5 file.

    Raises:
      ValueError: it refers to other files, or would expand to far more than its size.
      OSError: it is not an HDF5 file, or damaged.
    """
    with h5py.File(path, "r") as file:
        try:
            num_bytes = _check_group(file, set())
        except RecursionError:
            raise ValueError("its groups are too deeply nested") from None
    check_expansion(os.path.getsize(path), num_bytes)


def _check_group(group: h5py.Group, seen: set[int]) -> int:
    """Checks a group and those in it; returns the bytes of all values.

    Several names may lead to one object, and so to exponentially many paths: `seen` are
    addresses of objects that are not entered again.
    """
    num_bytes = 0
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise ValueError(f"{name!r} is a link")
        node = group[name]
        address = h5py.h5o.get_info(node.id).addr
        if address in seen:
            continue
        seen.add(address)
        if isinstance(node, h5py.Group):
            num_bytes += _check_group(node, seen)
        elif isinstance(node, h5py.Dataset):
            if node.external or node.is_virtual:
                raise ValueError(f"the values of {name!r} are in other files")
            num_bytes += (node.size or 0) * node.dtype.itemsize  # None: no values
    return num_bytes
