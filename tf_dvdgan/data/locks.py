"""Locks on folders that one process at a time may write to."""

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from typing import IO

from tf_dvdgan import errors, terminal
from tf_dvdgan.data import files


@contextlib.contextmanager
def locked(path: str, user: str) -> Iterator[None]:
    """Holds a lock on a local file; the system releases it when the process ends.

    Remote file systems have no locks: nothing is held, and a line says so.

    Args:
      path: path of the lock's file, which exists only while it is held, or after the
        process was killed.
      user: what uses the folder, such as 'training', for messages.

    Yields:
      Nothing.

    Raises:
      UserError: another process holds it.
    """
    folder = os.path.dirname(path)
    if files.is_remote(path):
        terminal.say(f"{folder} cannot be locked: no other {user} may write there")
        yield
        return
    missing = _missing_folders(folder)
    os.makedirs(folder, exist_ok=True)
    try:
        with _locked_file(path, user) as file:
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}")
            file.flush()
            try:
                yield
            finally:
                os.unlink(path)
    finally:
        for created in missing:  # a mistake leaves no empty folders
            with contextlib.suppress(OSError):
                os.rmdir(created)


@contextlib.contextmanager
def one_at_a_time(path: str) -> Iterator[None]:
    """Waits until no other process changes a file of the same local folder this way.

    Remote file systems, and some network drives, have no locks: nothing is held.

    Args:
      path: path of the file, whose folder must exist.

    Yields:
      Nothing.
    """
    with contextlib.ExitStack() as stack:
        if not files.is_remote(path):
            folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY)
            stack.callback(os.close, folder)
            with contextlib.suppress(OSError):
                fcntl.flock(folder, fcntl.LOCK_EX)
        yield


def _missing_folders(folder: str) -> list[str]:
    """A folder and those above it that do not exist, the innermost first."""
    missing = []
    folder = os.path.abspath(folder)
    while not os.path.exists(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
    return missing


def _locked_file(path: str, user: str) -> IO[str]:
    while True:
        file = open(path, "a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            with file:
                holder = terminal.printable(file.read(200)) or "another process"
            raise errors.UserError(
                f"Another {user} is using {os.path.dirname(path)}: {holder}. Stop it, "
                "or choose another folder."
            ) from None
        except OSError as error:
            terminal.say(f"{path} cannot be locked: {error.strerror}")
            return file
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.stat(path), os.fstat(file.fileno())):
                return file
        file.close()  # its last holder has removed it in the meantime
