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
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import IO, NamedTuple

import numpy as np

from tf_dvdgan.data import child_process, video_io, video_reader

_SECONDS = 60.0  # for each 300 frames


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
            self._child = child_process.start_child([sys.executable, "-m", __name__])
        child = self._child
        assert child.stdin and child.stdout
        try:
            with child_process.TimeLimit(child, self._seconds) as limit:
                child_process.send(child.stdin, {**request, "seconds": self._seconds})
                while (reply := child_process.read_line(child.stdout)) == {}:
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


def _read_frame(pipe: IO[bytes], shape: Sequence[int]) -> np.ndarray:
    data = child_process.read_bytes(pipe, math.prod(shape))
    return np.frombuffer(data, np.uint8).reshape(shape)


def _reply(request: dict, replies: IO[bytes]) -> None:
    frames: dict[int, np.ndarray] = {}
    reply: dict[str, object]
    count = 0
    child_process.limit_child(request["seconds"])
    try:
        reader = video_reader.VideoReader(
            request["path"],
            request.get("smallest_side"),
            progress=child_process.reporter(replies, request["seconds"]),
        )
        if "numbers" in request:
            numbers = set(request["numbers"])
            last = None if request["to_end"] else max(numbers, default=-1)
            for frame in reader:
                if count in numbers:
                    frames[count] = frame
                count += 1
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
        frames, reply = {}, {"reason": child_process.reason_of(error)}
    child_process.limit_child(0.0)
    data = (np.ascontiguousarray(frame).data for frame in frames.values())
    child_process.send(replies, reply, data)


def _serve() -> None:
    """Answers requests until standard input closes."""
    replies = child_process.become_child()
    for line in sys.stdin.buffer:
        _reply(json.loads(line), replies)


if __name__ == "__main__":
    _serve()
