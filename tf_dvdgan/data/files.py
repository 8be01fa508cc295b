"""Where files may lie, and how they come to be there whole.

The one module that knows of remote file systems. TensorFlow reads `gs://` by itself;
`s3://`, `az://`, `hdfs://`, `http://` and others come with TensorFlow I/O, which is
imported only when a path wants it. Keys come from the environment, as each system
documents; none may stand in a path, because paths are shown and stored.

TensorFlow is imported late, so that commands can look at their flags without it.
"""

import contextlib
import os
import re
import socket
import tempfile
from collections.abc import Iterator, Sequence

from tf_dvdgan import errors

_OBJECT_STORES = ("s3", "gs", "az", "oss")
_READ_ONLY = ("http", "https")


def ready(*paths: str, writing: bool = False) -> None:
    """Makes the file systems of paths usable in this process; local ones always are.

    Args:
      *paths: of files or folders.
      writing: whether something will be written there.

    Raises:
      UserError: a path's file system is unknown, holds a key, is set up wrongly, or
        cannot be written to.
    """
    for path in paths:
        scheme = _scheme(path)
        if not scheme:
            continue
        _check_for_keys(path, scheme)
        if writing and scheme in _READ_ONLY:
            raise errors.UserError(
                f"{path} is for reading; nothing is written by http."
            )
        if scheme == "s3":
            _check_endpoint()
        _register(scheme)
        if writing and scheme == "s3":
            _check_bucket(path)


def _scheme(path: str) -> str:
    """What stands before '://', or nothing for a local path."""
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", path)
    return found.group(1) if found else ""


def is_remote(path: str) -> bool:
    """Whether a path names another file system than the machine's own."""
    return bool(_scheme(path))


def is_object_store(path: str) -> bool:
    """Whether a file is seen there when it is closed, and moving would be copying."""
    return _scheme(path) in _OBJECT_STORES


def _check_for_keys(path: str, scheme: str) -> None:
    authority, _, rest = path.partition("://")[2].partition("/")
    user, at, _ = authority.rpartition("@")
    if ":" in user or (at and scheme in ("s3", *_READ_ONLY)):
        raise errors.UserError(
            f"A {scheme}:// path holds a name or a password before '@'. Paths are "
            "shown and stored: leave it out, keys come from the environment."
        )
    if scheme in _READ_ONLY and "?" in authority + rest:
        raise errors.UserError(
            f"A {scheme}:// path holds '?'. What follows may be a key, and paths are "
            "shown and stored: leave it out."
        )


def _check_endpoint() -> None:
    """Where it is wrong, TensorFlow takes a minute and says that nothing is there."""
    endpoint = os.environ.get("S3_ENDPOINT")
    if not endpoint:
        return
    found = re.match(r"(https?)://([^/@:]+)(?::(\d+))?/?$", endpoint)
    if not found:
        raise errors.UserError(
            "S3_ENDPOINT is http:// or https:// and a host, as in http://127.0.0.1:9000."
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
    """Loads TensorFlow I/O if TensorFlow alone does not know a scheme."""
    import tensorflow as tf

    if scheme in tf.io.gfile.get_registered_schemes():
        return
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
            f"There is no file system {scheme}://; there are "
            f"{', '.join(sorted(known - {'file', 'ram'}))}."
            + errors.did_you_mean(scheme, known)
        )


def _check_bucket(path: str) -> None:
    bucket = path.partition("://")[2].partition("/")[0]
    if not is_folder(f"s3://{bucket}"):
        raise errors.UserError(
            f"There is no bucket s3://{bucket}, or it cannot be reached with the keys, "
            "AWS_REGION and S3_ENDPOINT of the environment."
        )


def check_writable(path: str, as_folder: bool = False) -> None:
    """Refuses what could not be written in the end, before the work; makes nothing.

    Args:
      path: of a file, or of a folder to write into; neither need be there.
      as_folder: which of them.

    Raises:
      UserError: it cannot be written, or is the other.
    """
    import tensorflow as tf

    ready(path, writing=True)
    if tf.io.gfile.exists(path) and is_folder(path) != as_folder:
        other = "no folder" if as_folder else "a folder"
        raise errors.UserError(f"{path!r} cannot be written: it is {other}.")
    if is_object_store(path):  # it has no folders, and `ready` has seen the bucket
        return
    above = path if as_folder else os.path.dirname(path)
    while above and not tf.io.gfile.exists(above):
        above = os.path.dirname(above)
    trial = os.path.join(above, f".trial-{os.getpid()}")
    with cannot_be_written(path):
        write_whole(trial, "")
        tf.io.gfile.remove(trial)


@contextlib.contextmanager
def cannot_be_written(path: str) -> Iterator[None]:
    """Turns what systems say of a path that cannot be written into a sentence."""
    import tensorflow as tf

    try:
        yield
    except (tf.errors.OpError, OSError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise errors.UserError(f"{path!r} cannot be written: {reason}") from None


@contextlib.contextmanager
def whole(path: str) -> Iterator[str]:
    """Gives a path to write a file to, which is in its place when all is written."""
    if is_object_store(path):
        yield path
        return
    import tensorflow as tf

    unfinished = f"{path}.unfinished-{os.getpid()}"
    yield unfinished
    tf.io.gfile.rename(unfinished, path, overwrite=True)


def write_whole(path: str, data: str | bytes) -> None:
    """Writes a file that is whole or not there at all, and the folders above it."""
    import tensorflow as tf

    if not is_object_store(path):
        tf.io.gfile.makedirs(os.path.dirname(path) or ".")
    with whole(path) as place:
        mode = "wb" if isinstance(data, bytes) else "w"
        with tf.io.gfile.GFile(place, mode) as file:
            file.write(data)


@contextlib.contextmanager
def local(path: str) -> Iterator[str]:
    """Gives a local path to a file: its own, or that of a copy for as long.

    What is missing remotely is missing at the path given, too.
    """
    if not is_remote(path):
        yield path
        return
    import tensorflow as tf

    with tempfile.TemporaryDirectory(prefix="tf_dvdgan-") as folder:
        copy = os.path.join(folder, "copy" + os.path.splitext(path)[1])
        with contextlib.suppress(tf.errors.NotFoundError):
            data = tf.io.gfile.GFile(path, "rb").read()
            with open(copy, "wb") as file:
                file.write(data)
        yield copy


def absolute(path: str) -> str:
    """A path that means the same in every folder."""
    return path if is_remote(path) else os.path.abspath(path)


def is_folder(path: str) -> bool:
    """Whether there is a folder.

    Raises:
      UserError: it is on a system that cannot tell.
    """
    _check_has_folders(path)
    if not is_remote(path):
        return os.path.isdir(path)
    import tensorflow as tf

    return tf.io.gfile.isdir(_as_folder(path))


def names_in(folder: str) -> list[str]:
    """Names in a folder, sorted; none if there is no such folder.

    Raises:
      UserError: it is on a system that cannot tell.
    """
    _check_has_folders(folder)
    if not is_remote(folder):
        return sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    import tensorflow as tf

    try:
        names = tf.io.gfile.listdir(_as_folder(folder))
    except tf.errors.NotFoundError:
        return []
    return sorted(name.rstrip("/") for name in names)


def _check_has_folders(path: str) -> None:
    if _scheme(path) in _READ_ONLY:
        raise errors.UserError(
            f"{path} cannot be listed: http gives files, not folders. Copy them to a "
            "disk or an object store first."
        )


def missing(folder: str, names: Sequence[str]) -> list[str]:
    """Which of the names a folder does not have."""
    if _scheme(folder) in _READ_ONLY:
        import tensorflow as tf

        paths = {name: os.path.join(folder, name) for name in names}
        return [name for name in names if not tf.io.gfile.exists(paths[name])]
    there = set(names_in(folder))
    return [name for name in names if name not in there]


def walk(
    folder: str, suffixes: tuple[str, ...] = ()
) -> Iterator[tuple[str, list[str], list[str]]]:
    """As `os.walk`, remotely too.

    Args:
      folder: where to begin.
      suffixes: remote names that end so are files; of others each is asked for.
    """
    if not is_remote(folder):
        yield from os.walk(folder)
        return
    names = names_in(folder)
    folders = [
        name
        for name in names
        if not name.lower().endswith(suffixes) and is_folder(os.path.join(folder, name))
    ]
    yield folder, folders, [name for name in names if name not in folders]
    for name in folders:
        yield from walk(os.path.join(folder, name), suffixes)


def _as_folder(path: str) -> str:
    """A bucket is a folder only with a slash behind it."""
    return path.rstrip("/") + "/"


def safe_name(text: str) -> str:
    """A text as part of a file's name: letters, digits, dots and dashes stay."""
    return re.sub(r"[^\w.-]+", "_", text)
