"""Child processes that decode files, with limits on memory and time.

A file of a few bytes can make a decoder hang, crash or allocate gigabytes. Parent and
child exchange messages through pipes: a line of JSON, and bytes after it. The parent
kills a child that sends nothing within the limit; while it works, a child sends a
message for every `FRAMES_PER_LIMIT` frames. Nothing here imports TensorFlow.
"""

import contextlib
import itertools
import json
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import IO

from tf_dvdgan.data import video_io

FRAMES_PER_LIMIT = 300  # the time limit begins again after so many
_MAX_BYTES = 4 * 2**30  # of the child's address space
_LIMIT_OF_CHILD = 2  # times the limit, after which it ends itself


class TimeLimit:
    """Kills a child after some seconds, which ends reads from it.

    Args:
      child: the child.
      seconds: the time limit.

    Attributes:
      exceeded: whether it has killed the child.
    """

    def __init__(self, child: subprocess.Popen, seconds: float):
        self.exceeded = False
        self._child = child
        self._seconds = seconds

    def __enter__(self) -> "TimeLimit":
        self._start()
        return self

    def __exit__(self, *error: object) -> None:
        self._timer.cancel()
        self._timer.join()

    def restart(self) -> None:
        """Restarts the timer."""
        self._timer.cancel()
        self._start()

    def _start(self) -> None:
        self._timer = threading.Timer(self._seconds, self._kill)
        self._timer.daemon = True
        self._timer.start()

    def _kill(self) -> None:
        self.exceeded = True
        self._child.kill()


def start_child(command: Sequence[str]) -> subprocess.Popen:
    """Starts a child process that is controlled through pipes.

    Args:
      command: its command.

    Returns:
      The child, with binary pipes for its standard input and output.
    """
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )


def become_child() -> IO[bytes]:
    """Limits this process's memory; returns the stream of its replies.

    What libraries print to standard output goes to standard error. The parent handles
    Ctrl-C. If the machine's memory runs out, this process is killed first.
    """
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (_MAX_BYTES, _MAX_BYTES))
    return replies


def limit_child(seconds: float) -> None:
    """Ends this child after twice its parent's limit, unless called again; 0 never.

    The parent may have exited while a decoder holds the GIL.

    Args:
      seconds: the parent's time limit.
    """
    signal.setitimer(signal.ITIMER_REAL, _LIMIT_OF_CHILD * seconds)


def reporter(replies: IO[bytes], seconds: float) -> Callable[[], None]:
    """Returns a function for a child to call for each frame that it decodes.

    Every `FRAMES_PER_LIMIT` frames it sends an empty message, which shows progress even
    if no frame is sent, and restarts the child's own limit.

    Args:
      replies: the pipe to the parent.
      seconds: the parent's time limit.

    Returns:
      The function.
    """
    numbers = itertools.count(1)

    def progress() -> None:
        if next(numbers) % FRAMES_PER_LIMIT == 0:
            limit_child(seconds)
            send(replies, {})

    return progress


def send(
    pipe: IO[bytes], message: Mapping, data: Iterable[bytes | memoryview] = ()
) -> None:
    """Writes a request or a reply to a pipe.

    Args:
      pipe: the pipe.
      message: JSON types, which become a line.
      data: bytes that follow it.
    """
    pipe.write(json.dumps(message).encode() + b"\n")
    for part in data:
        pipe.write(part)
    pipe.flush()


def read_line(pipe: IO[bytes]) -> dict:
    """Reads the line of a message from `send`.

    Raises:
      EOFError: the other process ended.
    """
    line = pipe.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    return json.loads(line)


def read_bytes(pipe: IO[bytes], size: int) -> bytes:
    """Reads bytes that follow a message.

    Args:
      pipe: the pipe.
      size: number of bytes.

    Returns:
      The bytes.

    Raises:
      EOFError: the other process ended.
    """
    data = pipe.read(size)
    if len(data) < size:
        raise EOFError
    return data


def reason_of(error: Exception) -> str:
    """Returns in one line why a child cannot use a clip, even if a library failed."""
    if isinstance(error, video_io.VideoError):
        return str(error)
    first_line = f"{type(error).__name__} {error}".split("\n")[0]
    what = "out of memory" if isinstance(error, MemoryError) else first_line
    return f"the decoder failed: {what}"
