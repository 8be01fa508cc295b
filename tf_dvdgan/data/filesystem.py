"""The functions of `tf.io.gfile`, also for object stores that TensorFlow cannot reach.

TensorFlow reads `gs://` by itself; TensorFlow I/O, which exists up to TensorFlow 2.15,
adds `s3://`, `az://` and others. Where it is not installed, fsspec's s3fs and adlfs
take its place here. TensorFlow's own readers and writers (of TFRecords, checkpoints,
summaries, SavedModels) cannot use those: `needs_fsspec` says which paths these are,
and callers work on local copies.

TensorFlow and fsspec are imported inside functions, so that commands can parse flags
without them.
"""

import contextlib
import functools
import importlib.util
import os
import re
import shutil
from collections.abc import Iterator
from typing import Any, NamedTuple

PACKAGES = {"s3": "s3fs", "az": "adlfs"}  # of fsspec, by scheme


class Stat(NamedTuple):
    """Properties of a file.

    Attributes:
      length: size in bytes.
      mtime_nsec: time of the last change in nanoseconds; 0 if it is unknown.
    """

    length: int
    mtime_nsec: int


def scheme_of(path: str) -> str:
    """Returns the part before '://'; empty for a local path."""
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", path)
    return found.group(1) if found else ""


@functools.cache
def has_tensorflow_io() -> bool:
    """Returns whether TensorFlow I/O is installed."""
    return importlib.util.find_spec("tensorflow_io") is not None


def needs_fsspec(path: str) -> bool:
    """Returns whether a path is in an object store that TensorFlow cannot reach."""
    package = PACKAGES.get(scheme_of(path))
    if package is None or has_tensorflow_io():
        return False
    return importlib.util.find_spec(package) is not None


def GFile(path: str, mode: str = "r") -> Any:
    """Opens a file; see `tf.io.gfile.GFile`.

    Args:
      path: local or remote path.
      mode: "r", "rb", "w" or "wb".

    Returns:
      The file, a context manager.
    """
    if needs_fsspec(path):
        store, name = _store_of(path)
        return store.open(name, mode, **({} if "b" in mode else {"encoding": "utf-8"}))
    return _gfile().GFile(path, mode)


def exists(path: str) -> bool:
    """Returns whether a file or folder exists."""
    if needs_fsspec(path):
        store, name = _store_of(path)
        return store.exists(name)
    return _gfile().exists(path)


def isdir(path: str) -> bool:
    """Returns whether a folder exists."""
    if needs_fsspec(path):
        store, name = _store_of(path)
        return store.isdir(name)
    return _gfile().isdir(path)


def listdir(path: str) -> list[str]:
    """Lists the names in a folder.

    Raises:
      FileNotFoundError, NotFoundError: there is no such folder.
    """
    if needs_fsspec(path):
        store, name = _store_of(path)
        found = (entry.rstrip("/") for entry in store.ls(name, detail=False))
        return [os.path.basename(entry) for entry in found if entry != name]
    return _gfile().listdir(path)


def glob(pattern: str) -> list[str]:
    """Lists the paths that match a pattern."""
    if needs_fsspec(pattern):
        store, name = _store_of(pattern)
        begin = pattern[: len(pattern) - len(name)]
        return [begin + entry for entry in store.glob(name)]
    return _gfile().glob(pattern)


def stat(path: str) -> Stat:
    """Returns the size and the time of the last change of a file.

    Raises:
      FileNotFoundError, NotFoundError: there is no such file.
    """
    if needs_fsspec(path):
        store, name = _store_of(path)
        info = store.info(name)
        changed = info.get("LastModified") or info.get("last_modified")
        return Stat(info["size"], int(changed.timestamp() * 1e9) if changed else 0)
    found = _gfile().stat(path)
    return Stat(found.length, found.mtime_nsec)


def makedirs(path: str) -> None:
    """Creates a folder and those above it; object stores have none to create."""
    if not needs_fsspec(path):
        _gfile().makedirs(path)


def remove(path: str) -> None:
    """Removes a file."""
    if needs_fsspec(path):
        store, name = _store_of(path)
        store.rm_file(name)
    else:
        _gfile().remove(path)


def rmtree(path: str) -> None:
    """Removes a folder with all that is in it."""
    if needs_fsspec(path):
        store, name = _store_of(path)
        store.rm(name, recursive=True)
    else:
        _gfile().rmtree(path)


def rename(source: str, target: str, overwrite: bool = False) -> None:
    """Renames a file or a folder; object stores copy and remove a file.

    Args:
      source: its path.
      target: its new path, on the same file system.
      overwrite: whether the target may exist.
    """
    if needs_fsspec(source):
        copy(source, target, overwrite)
        remove(source)
    else:
        _gfile().rename(source, target, overwrite)


def copy(source: str, target: str, overwrite: bool = False) -> None:
    """Copies a file, also between file systems.

    Args:
      source: path of the file.
      target: path of the copy.
      overwrite: whether the target may exist.

    Raises:
      FileExistsError, AlreadyExistsError: the target exists.
    """
    if not (needs_fsspec(source) or needs_fsspec(target)):
        _gfile().copy(source, target, overwrite)
        return
    if not overwrite and exists(target):
        raise FileExistsError(f"{target} exists")
    with GFile(source, "rb") as read, GFile(target, "wb") as write:
        shutil.copyfileobj(read, write, 1 << 22)


def upload(file: str, target: str) -> None:
    """Copies a local file to an object store that needs fsspec, in one piece.

    Args:
      file: local path.
      target: remote path; nothing appears there if it fails.
    """
    store, name = _store_of(target)
    store.put_file(file, name)


def read_bytes(path: str, size: int, start: int = 0) -> bytes:
    """Reads part of a file; a local one without TensorFlow, of any name.

    Args:
      path: local or remote path.
      size: number of bytes to read; there may be fewer.
      start: position of the first byte.

    Returns:
      The bytes.

    Raises:
      OSError: the file cannot be read.
    """
    if not scheme_of(path):
        with open(path, "rb") as file:
            file.seek(start)
            return file.read(size)
    with _os_errors(), GFile(path, "rb") as file:
        file.seek(start)
        return file.read(size)


def size_of(path: str) -> int:
    """Returns the size of a file in bytes; a local one's without TensorFlow.

    Raises:
      OSError: the file cannot be read.
    """
    if not scheme_of(path):
        return os.path.getsize(path)
    with _os_errors():
        return stat(path).length


@contextlib.contextmanager
def _os_errors() -> Iterator[None]:
    import tensorflow as tf

    try:
        yield
    except tf.errors.NotFoundError as error:
        raise FileNotFoundError(error.message) from error
    except tf.errors.OpError as error:
        raise OSError(error.message) from error


def _gfile() -> Any:
    import tensorflow as tf

    return tf.io.gfile


def _store_of(path: str) -> tuple[Any, str]:
    """Returns fsspec's file system of a path, and the path within it."""
    scheme = scheme_of(path)
    name = path.partition("://")[2].rstrip("/")
    if scheme == "s3":
        return _s3(os.environ.get("S3_ENDPOINT"), os.environ.get("AWS_REGION")), name
    # TensorFlow I/O's paths are az://ACCOUNT/CONTAINER/...
    account, _, name = name.partition("/")
    return _azure(account, os.environ.get("TF_AZURE_STORAGE_KEY")), name


@functools.cache
def _s3(endpoint: str | None, region: str | None) -> Any:
    import s3fs

    return s3fs.S3FileSystem(
        endpoint_url=endpoint,
        client_kwargs={"region_name": region} if region else {},
        use_listings_cache=False,
        skip_instance_cache=True,
    )


@functools.cache
def _azure(account: str, key: str | None) -> Any:
    import adlfs

    return adlfs.AzureBlobFileSystem(
        account_name=account,
        account_key=key,
        anon=False if key is None else None,  # the machine's or the user's identity
        use_listings_cache=False,
        skip_instance_cache=True,
    )
