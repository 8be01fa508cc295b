"""Beam's runner in processes of this machine: quiet, alone, and clean at its end."""

import contextlib
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent import futures

import grpc
from apache_beam.options import pipeline_options

from tf_dvdgan import errors

from . import receipts, tasks

_temporary_folders: list[str] = []  # of jobs that are running


def flags(num_tasks: int) -> list[str]:
    """Returns Beam's flags for a job of `num_tasks` tasks."""
    return [
        "--runner=FnApiRunner",
        "--direct_running_mode=multi_processing",
        f"--direct_num_workers={min(os.cpu_count() or 1, num_tasks)}",
    ]


@contextlib.contextmanager
def environment(settings: tasks.Settings) -> Iterator[None]:
    """Prepares this process for the runner: its log, its files, a full disk.

    Args:
      settings: of the job.

    Returns:
      A context manager.

    Raises:
      UserError: a disk is full, when the context ends.
    """
    with _local_log(), _temporary_files():
        try:
            yield
        except Exception as error:
            if not errors.is_full_disk(error):
                raise
            receipts.remove_leftovers(settings)
            raise errors.UserError(
                f"The disk of {settings.output_dir} is full. Finished shards are kept; "
                "free some space and run the same command again."
            ) from None


@contextlib.contextmanager
def _temporary_files() -> Iterator[None]:
    """Makes a folder for Beam's temporary files, see `remove_temporary_files`."""
    before = tempfile.tempdir
    with tempfile.TemporaryDirectory(prefix="tf_dvdgan-") as folder:
        tempfile.tempdir = folder
        _temporary_folders.append(folder)
        try:
            yield
        finally:
            _temporary_folders.remove(folder)
            tempfile.tempdir = before


def remove_temporary_files() -> None:
    """Removes Beam's temporary files, for a signal's handler that ends the process."""
    for folder in _temporary_folders:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def loopback_only(runner: str) -> Iterator[None]:
    """Makes servers of this process listen on this machine only.

    Beam's local runners talk to their workers by gRPC, and their servers would listen
    on all network interfaces.

    Args:
      runner: name of the runner; nothing is changed for one on other machines.

    Returns:
      A context manager.
    """
    known = pipeline_options.StandardOptions.LOCAL_RUNNERS
    if _plain(runner) not in map(_plain, known):
        yield
        return
    server_class = type(grpc.server(futures.ThreadPoolExecutor(1)))
    original = server_class.add_insecure_port

    def add_insecure_port(server: grpc.Server, address: str) -> int:
        return original(server, address.replace("[::]:", "127.0.0.1:"))

    server_class.add_insecure_port = add_insecure_port
    try:
        yield
    finally:
        server_class.add_insecure_port = original


def _plain(runner: str) -> str:
    """A runner's name as Beam compares them: any case, module and suffix."""
    return runner.rpartition(".")[2].lower().removesuffix("runner")


@contextlib.contextmanager
def _local_log() -> Iterator[None]:
    """Hides the verbose standard error of Beam's processes; keeps it if they fail.

    It goes through a pipe into memory. In a file it would fill a full disk's last
    bytes, and a worker that cannot write to it never reports its error.
    """
    original_fd, stream = os.dup(2), sys.stderr
    read_fd, write_fd = os.pipe()
    log = bytearray()
    reader = threading.Thread(target=_read_end, args=(read_fd, log), daemon=True)
    reader.start()
    os.dup2(write_fd, 2)
    os.close(write_fd)
    sys.stderr = os.fdopen(original_fd, "w", closefd=False)
    failed = False
    try:
        yield
    except errors.UserError:
        raise
    except Exception:
        failed = True
        raise
    finally:
        sys.stderr.flush()
        sys.stderr = stream
        os.dup2(original_fd, 2)
        os.close(original_fd)
        if failed:
            reader.join(1.0)  # a worker that lives on keeps the pipe open
            with tempfile.NamedTemporaryFile(
                prefix="prepare-", suffix=".log", delete=False
            ) as kept:
                kept.write(log)
            print(f"Beam's log: {kept.name}", file=sys.stderr)


def _read_end(read_fd: int, log: bytearray) -> None:
    """Reads a pipe until it is closed; keeps its last mebibyte or two in `log`."""
    with open(read_fd, "rb", buffering=0) as pipe:
        while chunk := pipe.read(2**16):
            log += chunk
            if len(log) > 2**21:
                del log[: 2**20]
