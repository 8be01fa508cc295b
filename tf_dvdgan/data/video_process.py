"""Reads videos in a child process, with limits on memory and time.

A file of a few bytes can make a decoder hang, crash or allocate gigabytes. A `Reader`
is a child process that reads one video after another; one that makes no progress is
killed, and one that crashes is replaced. It does not import TensorFlow.

  python -m tf_dvdgan.data.video_process

runs the child. Each line on standard input is a request, a JSON object; a reply is a
line of JSON, followed by the bytes of its frames, and every 300 frames an empty object
before it, which shows progress.
"""

import contextlib
import json
import math
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import IO, NamedTuple

import numpy as np

from tf_dvdgan.data import video_io, video_reader

_MAX_BYTES = 4 * 2**30  # of the child's address space
_SECONDS = 60.0  # for each 300 frames
_FRAMES_PER_LIMIT = 300
_LIMIT_OF_CHILD = 2  # times the limit, after which it ends itself


class ClipInfo(NamedTuple):
    """Properties of a clip that are known without decoding it.

    Attributes:
      num_frames: number of frames that the file declares; 0 if unknown.
      height: height of the frames, in pixels.
      width: width of the frames, in pixels.
      codec: format of the frames; 'raw' for arrays.
      fps: frames per second, with two decimals; None if unknown.
    """

    num_frames: int
    height: int
    width: int
    codec: str
    fps: float | None = None


class Reader:
    """Reads frames of videos in a child process, which starts when it is needed.

    One thread at a time may read; another may `close` it, which ends a read.

    Args:
      seconds: time limit for each 300 frames.

    Attributes:
      closed: whether it was closed.
    """

    def __init__(self, seconds: float = _SECONDS):
        self._seconds = seconds
        self._child: subprocess.Popen | None = None
        self.closed = False

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def clip_info(self, path: str) -> ClipInfo:
        """Reads a video's properties; decodes at most one frame.

        Args:
          path: local path of the video.

        Returns:
          The properties.

        Raises:
          VideoError: the file cannot be read, takes too long or crashes the child.
        """
        reply, _ = self._ask({"path": path})
        return ClipInfo(*reply["clip_info"])

    def read(
        self,
        path: str,
        numbers: Iterable[int],
        smallest_side: int | None = None,
        to_end: bool = True,
        progress: Callable[[], None] = lambda: None,
    ) -> tuple[dict[int, np.ndarray], int]:
        """Reads frames of a video.

        Args:
          path: local path of the video.
          numbers: numbers of the frames to return, from 0.
          smallest_side: resizes the smaller side to this, in pixels; None keeps the
            size.
          to_end: whether to decode the video to its end, which counts its frames.
          progress: called every 300 frames; what it raises ends the read.

        Returns:
          The frames that exist, `[height, width, 3]` uint8, by number; and the number
          of frames that were decoded.

        Raises:
          VideoError: the file cannot be read, takes too long or crashes the child.
        """
        request = {
            "path": path,
            "numbers": sorted(set(numbers)),
            "smallest_side": smallest_side,
            "to_end": to_end,
        }
        reply, frames = self._ask(request, progress)
        return frames, reply["count"]

    def close(self) -> None:
        """Kills the child; a read in another thread ends with a `VideoError`."""
        self.closed = True
        self._kill()

    def _ask(
        self, request: dict, progress: Callable[[], None] = lambda: None
    ) -> tuple[dict, dict[int, np.ndarray]]:
        if self.closed:
            raise video_io.VideoError("reading was stopped")
        if self._child is None:
            self._child = start_child([sys.executable, "-m", __name__])
        child = self._child
        assert child.stdin and child.stdout
        try:
            with TimeLimit(child, self._seconds) as limit:
                send(child.stdin, {**request, "seconds": self._seconds})
                while (reply := read_line(child.stdout)) == {}:
                    limit.restart()
                    progress()
                frames = {
                    number: _read_frame(child.stdout, shape)
                    for number, *shape in reply.get("frames", ())
                }
        except BaseException as error:  # the child is in the middle of a reply
            self._kill()
            if limit.exceeded:
                raise video_io.VideoError("too slow to decode") from None
            # A ValueError: `close` has closed the pipes, or the reply is no JSON.
            if isinstance(error, OSError | EOFError | ValueError):
                raise video_io.VideoError("the decoder crashed") from None
            raise
        if "reason" in reply:
            raise video_io.VideoError(reply["reason"])
        return reply, frames

    def _kill(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            with contextlib.suppress(OSError, ValueError):
                child.communicate()  # closes the pipes, and waits


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


def _read_frame(pipe: IO[bytes], shape: Sequence[int]) -> np.ndarray:
    data = read_bytes(pipe, math.prod(shape))
    return np.frombuffer(data, np.uint8).reshape(shape)


def _reply(request: dict, replies: IO[bytes]) -> None:
    frames: dict[int, np.ndarray] = {}
    reply: dict[str, object]
    count = 0
    limit_child(request["seconds"])
    try:
        reader = video_reader.VideoReader(request["path"], request.get("smallest_side"))
        if "numbers" in request:
            numbers = set(request["numbers"])
            last = None if request["to_end"] else max(numbers, default=-1)
            for frame in reader:
                if count in numbers:
                    frames[count] = frame
                count += 1
                if count % _FRAMES_PER_LIMIT == 0:
                    send(replies, {})
                    limit_child(request["seconds"])
                if last is not None and count > last:
                    break
            reply = {
                "count": count,
                "frames": [[number, *frame.shape] for number, frame in frames.items()],
            }
        else:
            size = reader.declared_frames, reader.height, reader.width
            rate = round(float(reader.fps), 2)
            reply = {"clip_info": ClipInfo(*size, reader.codec, rate)}
    except Exception as error:
        frames, reply = {}, {"reason": reason_of(error)}
    limit_child(0.0)
    send(replies, reply, (np.ascontiguousarray(f).data for f in frames.values()))


def _serve() -> None:
    """Answers requests until standard input closes."""
    replies = become_child()
    for line in sys.stdin.buffer:
        _reply(json.loads(line), replies)


if __name__ == "__main__":
    _serve()
