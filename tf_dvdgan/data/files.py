"""Local and remote files: registers file systems, writes files atomically.

TensorFlow reads `gs://` by itself; `s3://`, `az://`, `hdfs://`, `http://` and others
come with TensorFlow I/O, which is imported only when a path needs it. Where TensorFlow
I/O does not exist, `filesystem` reaches `s3://` and `az://`. Credentials come from the
environment, as each system documents. Paths must not contain any, because paths are
logged and stored.

TensorFlow is imported inside functions, so that commands can parse flags without it.
"""

import contextlib
import hashlib
import json
import os
import re
import socket
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

from tf_dvdgan import errors, terminal
from tf_dvdgan.data import filesystem

_OBJECT_STORES = ("s3", "gs", "az", "oss")
_READ_ONLY = ("http", "https")
_READ_AT_ONCE = 1 << 20  # bytes


def parse_json(text: str | bytes) -> Any:
    """Parses JSON that may be somebody else's.

    Args:
      text: the JSON.

    Returns:
      Its value.

    Raises:
      ValueError: it is not JSON, or too deeply nested to be read.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is too deeply nested") from None


def register_filesystems(
    *paths: str, writing: bool = False, by_tensorflow: bool = True
) -> None:
    """Registers the file systems of paths in this process; local ones need nothing.

    Args:
      *paths: paths of files or folders.
      writing: whether the paths will be written to.
      by_tensorflow: whether TensorFlow itself will read or write there (TFRecords,
        checkpoints, summaries), rather than only this module and `filesystem`.

    Raises:
      UserError: a file system is unknown, misconfigured or read-only, or a path
        contains credentials.
    """
    for path in paths:
        scheme = filesystem.scheme_of(path)
        if not scheme:
            continue
        _check_for_keys(path, scheme)
        if writing and scheme in _READ_ONLY:
            raise errors.UserError(f"{path} cannot be written: http is read-only.")
        if scheme == "s3":
            _check_endpoint()
        if not filesystem.needs_fsspec(path):
            _register(scheme)
        elif by_tensorflow:
            raise errors.UserError(
                f"{path} cannot be used here: without TensorFlow I/O, {scheme}:// "
                "serves only data_prep.prepare, the outputs of tools and "
                "tools.copy_run. Use a local folder, gs://, or Python 3.11."
            )
        if writing and scheme == "s3":
            _check_bucket(path)


def as_text(path: str | os.PathLike) -> str:
    """Returns a path as text, with `~` expanded.

    Args:
      path: local or remote path as text, or a local one such as a `pathlib.Path`.

    Returns:
      The path; a remote one is as it was.

    Raises:
      UserError: it is not a path, or a remote one as a `pathlib.Path`.
    """
    text = os.fspath(path) if isinstance(path, os.PathLike) else path
    if not isinstance(text, str):
        raise errors.UserError(f"A path must be text or a pathlib.Path, not {path!r}.")
    if text is not path and re.match(r"[A-Za-z][\w+.-]+:/", text):
        raise errors.UserError(
            f"{text!r} has only one slash, as pathlib.Path writes remote paths: pass "
            "them as text."
        )
    return os.path.expanduser(text)


def as_texts(paths: str | os.PathLike | Sequence[str | os.PathLike]) -> list[str]:
    """Returns one path or several as a list of texts, see `as_text`."""
    several = [paths] if isinstance(paths, str | os.PathLike) else paths
    return [as_text(path) for path in several]


def is_remote(path: str) -> bool:
    """Whether a path is on a remote file system."""
    return bool(filesystem.scheme_of(path))


def is_object_store(path: str) -> bool:
    """Whether files appear only when closed, and renaming would copy them."""
    return filesystem.scheme_of(path) in _OBJECT_STORES


def _check_for_keys(path: str, scheme: str) -> None:
    authority, _, rest = path.partition("://")[2].partition("/")
    user, at, _ = authority.rpartition("@")
    if ":" in user or (at and scheme in ("s3", *_READ_ONLY)):
        raise errors.UserError(
            f"A {scheme}:// path has a user name or password before '@'. Paths are "
            "logged and stored: remove it, keys come from the environment."
        )
    if scheme in _READ_ONLY and "?" in authority + rest:
        raise errors.UserError(
            f"A {scheme}:// path has a '?'. What follows may be a key, and paths are "
            "logged and stored: remove it."
        )


def _check_endpoint() -> None:
    """Checks S3_ENDPOINT: TensorFlow would wait a minute, then report missing files."""
    endpoint = os.environ.get("S3_ENDPOINT")
    if not endpoint:
        return
    found = re.match(r"(https?)://([^/@:]+)(?::(\d+))?/?$", endpoint)
    if not found:
        raise errors.UserError(
            "S3_ENDPOINT must be http:// or https:// and a host, as in "
            "http://127.0.0.1:9000."
        )
    scheme, host, port = found.groups()
    try:
        default = {"http": 80, "https": 443}[scheme]
        socket.create_connection((host, int(port or default)), timeout=10).close()
    except OSError as error:
        raise errors.UserError(
            f"Nothing answers at S3_ENDPOINT={endpoint}: {error.strerror or error}."
        ) from None


def _register(scheme: str) -> None:
    """Imports TensorFlow I/O if TensorFlow itself does not support the scheme."""
    import tensorflow as tf

    if scheme in tf.io.gfile.get_registered_schemes():
        return
    if not filesystem.has_tensorflow_io():
        served = ("gs", *filesystem.PACKAGES)
        raise errors.UserError(
            f"There is no file system {scheme}:// here; without TensorFlow I/O, the "
            f"supported ones are {', '.join(served)}."
            + errors.did_you_mean(scheme, served)
        )
    try:
        import tensorflow_io  # noqa: F401, it registers its file systems
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise errors.UserError(
            f"{scheme}:// needs tensorflow-io, which does not load: {reason}"
        ) from error
    known = {name for name in tf.io.gfile.get_registered_schemes() if name}
    if scheme not in known:
        raise errors.UserError(
            f"There is no file system {scheme}://; the supported ones are "
            f"{', '.join(sorted(known - {'file', 'ram'}))}."
            + errors.did_you_mean(scheme, known)
        )


def _check_bucket(path: str) -> None:
    bucket = path.partition("://")[2].partition("/")[0]
    if not is_folder(f"s3://{bucket}"):
        raise errors.UserError(
            f"There is no bucket s3://{bucket}, or it cannot be reached with the keys, "
            "AWS_REGION and S3_ENDPOINT in the environment."
        )


def check_writable(
    path: str, as_folder: bool = False, by_tensorflow: bool = False
) -> None:
    """Checks before the work starts that a path can be written; creates nothing.

    Args:
      path: path of a file, or of a folder to write into; it need not exist.
      as_folder: whether the path is a folder.
      by_tensorflow: see `register_filesystems`.

    Raises:
      UserError: the path is empty, cannot be written, is a folder although a file is
        expected, or a file although a folder is expected.
    """
    if not path:  # else it would be the working directory
        raise errors.UserError("The path to write to is empty.")
    register_filesystems(path, writing=True, by_tensorflow=by_tensorflow)
    if filesystem.exists(path) and is_folder(path) != as_folder:
        other = "not a folder" if as_folder else "a folder"
        raise errors.UserError(f"{path!r} cannot be written: it is {other}.")
    if is_object_store(path):  # no folders; the bucket has been checked
        return
    above = path if as_folder else os.path.dirname(path)
    while above and not filesystem.exists(above):
        above = os.path.dirname(above)
    trial = os.path.join(above, f".trial-{os.getpid()}")
    with report_write_errors(path):
        atomic_write(trial, "")
        filesystem.remove(trial)


def check_name_for_checkpoints(folder: str) -> None:
    """Checks that TensorFlow can read checkpoints and SavedModels in a folder.

    It takes their paths for patterns, and finds nothing if a name has a pattern's
    characters.

    Args:
      folder: path of the folder.

    Raises:
      UserError: it cannot.
    """
    if found := set(folder) & set("*?[]\\"):
        raise errors.UserError(
            f"TensorFlow cannot read checkpoints in {folder!r}: rename the folder "
            f"without {' or '.join(sorted(found))} in its name."
        )


@contextlib.contextmanager
def report_write_errors(path: str) -> Iterator[None]:
    """Turns errors of writing to a path into a `UserError`.

    Raises:
      UserError: the path cannot be written within the context.
    """
    import tensorflow as tf

    try:
        yield
    except (tf.errors.OpError, OSError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise errors.UserError(f"{path!r} cannot be written: {reason}") from None


@contextlib.contextmanager
def atomic_path(path: str) -> Iterator[str]:
    """Yields a temporary path to write to; renames it to `path` at the end.

    TensorFlow can write to the temporary path, also if it cannot write to `path`. An
    error removes the file.
    """
    if filesystem.needs_fsspec(path):
        with tempfile.TemporaryDirectory(prefix="tf_dvdgan-") as folder:
            unfinished = os.path.join(folder, "file")
            yield unfinished
            filesystem.upload(unfinished, path)
        return
    if is_object_store(path):
        yield path
        return

    unfinished = f"{path}.unfinished-{os.getpid()}"
    try:
        yield unfinished
        filesystem.rename(unfinished, path, overwrite=True)
    except BaseException:
        if filesystem.exists(unfinished):
            filesystem.remove(unfinished)
        raise


def make_folder_of(path: str) -> None:
    """Creates the folders above a file; object stores have none."""
    if not is_object_store(path):
        filesystem.makedirs(os.path.dirname(path) or ".")


def atomic_write(path: str, data: str | bytes) -> None:
    """Writes a file atomically and creates the folders above it.

    Args:
      path: local or remote path.
      data: contents of the file.
    """
    make_folder_of(path)
    with atomic_path(path) as unfinished:
        mode = "wb" if isinstance(data, bytes) else "w"
        with filesystem.GFile(unfinished, mode) as file:
            file.write(data)


@contextlib.contextmanager
def local_copy(path: str) -> Iterator[str]:
    """Yields a local path to a file: its own, or that of a temporary copy.

    If a remote file does not exist, there is no file at the yielded path either.
    """
    if not is_remote(path):
        yield path
        return
    import tensorflow as tf

    with tempfile.TemporaryDirectory(prefix="tf_dvdgan-") as folder:
        copy = os.path.join(folder, "copy" + os.path.splitext(path)[1])
        with contextlib.suppress(tf.errors.NotFoundError, FileNotFoundError):
            filesystem.copy(path, copy)
        yield copy


def copy_folder(source: str, target: str, last: Sequence[str] = ()) -> int:
    """Copies a folder's files, also between file systems; replaces those that exist.

    Args:
      source: local or remote folder.
      target: local or remote folder.
      last: names of files that mark the others as complete: they are copied after them.

    Returns:
      The number of files.
    """
    paths = [
        os.path.join(folder, name)
        for folder, _, names in walk(source)
        for name in names
    ]
    paths.sort(key=lambda path: (os.path.basename(path) in last, path))
    progress = terminal.Progress("copying files", len(paths))
    for i, path in enumerate(paths):
        copy = os.path.join(target, os.path.relpath(path, source))
        if not is_object_store(target):
            filesystem.makedirs(os.path.dirname(copy))
        filesystem.copy(path, copy, overwrite=True)
        progress.update(i + 1)
    return len(paths)


def base_name(path: str) -> str:
    """Returns the name of a file or folder, also if the path ends with a slash."""
    return os.path.basename(path.rstrip("/"))


def sha256(path: str) -> str:
    """Computes the SHA-256 of a file's contents."""
    if not is_remote(path):  # a third faster than TensorFlow's files
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    found = hashlib.sha256()
    with filesystem.GFile(path, "rb") as file:
        while block := file.read(_READ_AT_ONCE):
            found.update(block)
    return found.hexdigest()


def absolute(path: str) -> str:
    """Makes a local path absolute; remote paths stay as they are."""
    return path if is_remote(path) else os.path.abspath(path)


def is_folder(path: str) -> bool:
    """Whether a path is an existing folder.

    Raises:
      UserError: the file system has no folders.
    """
    _check_has_folders(path)
    if not is_remote(path):
        return os.path.isdir(path)

    return filesystem.isdir(_as_folder(path))


def list_dir(folder: str) -> list[str]:
    """Lists the names in a folder, sorted; empty if there is no such folder.

    Raises:
      UserError: the file system has no folders.
    """
    _check_has_folders(folder)
    if not is_remote(folder):
        return sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    import tensorflow as tf

    try:
        names = filesystem.listdir(_as_folder(folder))
    except (tf.errors.NotFoundError, FileNotFoundError):
        return []
    return sorted(name.rstrip("/") for name in names)


def _check_has_folders(path: str) -> None:
    if filesystem.scheme_of(path) in _READ_ONLY:
        raise errors.UserError(
            f"{path} cannot be listed: http serves files, not folders. Copy the folder "
            "to a disk or an object store first."
        )


def missing_names(folder: str, names: Sequence[str]) -> list[str]:
    """Finds the files that a folder lacks.

    Args:
      folder: local or remote folder.
      names: names of files expected in it.

    Returns:
      Those of the names that do not exist, in order.
    """
    if filesystem.scheme_of(folder) in _READ_ONLY:
        paths = {name: os.path.join(folder, name) for name in names}
        return [name for name in names if not filesystem.exists(paths[name])]
    existing = set(list_dir(folder))
    return [name for name in names if name not in existing]


def walk(
    folder: str, suffixes: tuple[str, ...] = ()
) -> Iterator[tuple[str, list[str], list[str]]]:
    """Like `os.walk`, but also for remote folders.

    Args:
      folder: folder to start from.
      suffixes: remote names with these suffixes are assumed to be files, which saves a
        request for each.

    Yields:
      Path of a folder, names of its sub-folders, names of its files.
    """
    if not is_remote(folder):
        yield from os.walk(folder)
        return
    names = list_dir(folder)
    folders = [
        name
        for name in names
        if not name.lower().endswith(suffixes) and is_folder(os.path.join(folder, name))
    ]
    yield folder, folders, [name for name in names if name not in folders]
    for name in folders:
        yield from walk(os.path.join(folder, name), suffixes)


def _as_folder(path: str) -> str:
    """Appends the slash without which a bucket does not count as a folder."""
    return path.rstrip("/") + "/"


def safe_name(text: str) -> str:
    """Makes a text usable in a file name: replaces all but letters, digits, `_.-`."""
    return re.sub(r"[^\w.-]+", "_", text)
