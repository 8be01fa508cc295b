"""Decodes clips in a child process, so that no file can bring down a worker.

Decoders are large programs that parse untrusted input: some files make them hang,
crash or exhaust memory. A `Decoder` is a child process that decodes one clip after
another. It receives paths and returns encoded frames through pipes. A child that
exceeds the time limit is killed, one that crashes is replaced; in both cases the clip
is rejected with that reason. The child exits when its parent does, however the parent
ends.

  python -m data_prep.decoding

runs the child. Each line on standard input is a request, a JSON object; each reply is a
line of JSON followed by the encoded frames. The child does not import TensorFlow.
"""

import collections
import contextlib
import dataclasses
import itertools
import json
import os
import queue
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import IO, Any

import cv2
import numpy as np

from tf_dvdgan.data import video_io

from . import forms, stabilization

_READY = b"ready\n"  # the child's first line
_SECONDS_TO_START = 120
_MAX_BYTES = 2_000_000_000  # of encoded frames; a record holds at most 2 GiB


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How clips are cut, resized and encoded.

    Attributes:
      resolution: height and width of training's crops, in pixels; no frame may be
        smaller.
      encoding: format of the stored frames, 'jpeg' or 'png'.
      jpeg_quality: 1 to 100.
      segment_frames: length of the segments that clips are cut into, at least 2. A
        shorter remainder is dropped unless it is the whole clip. 0 keeps clips whole.
      stabilize: whether to remove the camera's motion from each segment, before
        resizing.
      resize: target size as in `video_io.resize`; None resizes the smaller side to
        `resolution`.
    """

    resolution: int
    encoding: str = "jpeg"
    jpeg_quality: int = 95
    segment_frames: int = 0
    stabilize: bool = False
    resize: Sequence[int] | None = None

    @property
    def size(self) -> Sequence[int]:
        """Target size of frames, as in `video_io.resize`."""
        return [self.resolution] if self.resize is None else self.resize


@dataclasses.dataclass(frozen=True)
class Decoded:
    """A decoded clip.

    Attributes:
      fps: frames per second.
      height: height of the frames, in pixels.
      width: width of the frames, in pixels.
      segments: segment number to encoded frames; segment 0 is the whole clip if clips
        are not cut.
      dropped: segment number to the reason why the segment was dropped.
    """

    fps: float
    height: int
    width: int
    segments: dict[int, list[bytes]]
    dropped: dict[int, str]


def decode(form: str, paths: Sequence[str], offset: int, recipe: Recipe) -> Decoded:
    """Decodes a clip in this process.

    Args:
      form: `sources.Clip.form`.
      paths: local paths of its files, in order.
      offset: position of its record in the file, in bytes.
      recipe: how to cut, resize and encode it.

    Returns:
      The encoded segments.

    Raises:
      VideoError: the clip cannot be used.
    """
    at_once = len(recipe.size) == 1 and not recipe.stabilize
    fps, frames = forms.read(form, paths, offset, recipe.size[0] if at_once else None)
    segments: dict[int, list[bytes]] = {}
    dropped: dict[int, str] = {}
    sizes: set[tuple[int, int]] = set()
    for number, segment in enumerate(_cut(frames, recipe.segment_frames)):
        if recipe.stabilize:
            segment = stabilization.stabilize(segment)
        try:
            encoded = [_encode(frame, recipe, sizes) for frame in segment]
        except stabilization.CameraMotionError as error:
            dropped[number] = str(error)
            continue
        if sum(map(len, encoded)) > _MAX_BYTES:
            raise video_io.VideoError(
                "too long for one record: over 2 GB, see --segment_frames"
            )
        if number == 0 or len(encoded) == recipe.segment_frames:
            segments[number] = encoded
    _check_usable(segments, dropped)
    ((height, width),) = sizes
    return Decoded(fps, height, width, segments, dropped)


def _check_usable(segments: dict[int, list[bytes]], dropped: dict[int, str]) -> None:
    """Rejects a clip without segments and a still image."""
    if not segments and not dropped:
        raise video_io.VideoError("no frame can be decoded")
    if not segments:
        raise video_io.VideoError(next(iter(dropped.values())))
    if [len(encoded) for encoded in segments.values()] == [1]:
        raise video_io.VideoError("only one frame")


def _cut(frames: Iterator[np.ndarray], length: int) -> Iterator[Iterable[np.ndarray]]:
    """Cuts frames into segments, to be read in order; length 0 makes one segment."""
    for first in frames:
        rest = itertools.islice(frames, length - 1 if length else None)
        yield itertools.chain([first], rest)
        collections.deque(rest, maxlen=0)  # skips the rest of a dropped segment


def _encode(frame: np.ndarray, recipe: Recipe, sizes: set[tuple[int, int]]) -> bytes:
    """Encodes a frame; `sizes` collects the sizes of the clip's frames."""
    frame = video_io.resize(frame, recipe.size)
    height, width = frame.shape[:2]
    if min(height, width) < recipe.resolution:
        raise video_io.VideoError(f"smaller than --resolution: {width} x {height}")
    sizes.add((height, width))
    if len(sizes) > 1:
        raise video_io.VideoError("frames of different sizes")
    options = []
    if recipe.encoding == "jpeg":
        options = [cv2.IMWRITE_JPEG_QUALITY, recipe.jpeg_quality]
    bgr = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(f".{recipe.encoding}", bgr, options)
    return encoded.tobytes()


class CrashError(video_io.VideoError):
    """The decoder process ended while decoding a clip; the message says how."""


class Decoder:
    """Decodes clips in a child process, which runs until `close`.

    Args:
      recipe: how to cut, resize and encode each clip.
      seconds: time limit per clip.
    """

    def __init__(self, recipe: Recipe, seconds: float):
        self._recipe = dataclasses.asdict(recipe)
        self._seconds = seconds
        self._start()

    def decode(self, form: str, paths: Sequence[str], offset: int = 0) -> Decoded:
        """Decodes a clip in the child process.

        An earlier clip may have corrupted the process, so a clip is rejected only if
        it crashes a fresh one.

        Args:
          form: `sources.Clip.form`.
          paths: local paths of its files, in order.
          offset: position of its record in the file, in bytes.

        Returns:
          The encoded segments.

        Raises:
          VideoError: the clip cannot be used, took too long or crashed the decoder.
        """
        request = {
            "form": form,
            "paths": list(paths),
            "offset": offset,
            "recipe": self._recipe,
            "seconds": self._seconds,
        }
        line = json.dumps(request).encode() + b"\n"
        was_new = self._is_new
        try:
            return self._ask(line)
        except CrashError:
            if was_new:
                raise
        return self._ask(line)

    def close(self) -> None:
        """Kills the child process."""
        self._child.kill()
        self._child.communicate()

    def _start(self) -> None:
        self._child = subprocess.Popen(
            _command(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert self._child.stdin and self._child.stdout
        self._requests = self._child.stdin
        self._replies = self._child.stdout
        self._is_new = True
        with _time_limit(self._child, _SECONDS_TO_START):
            if self._replies.readline() != _READY:
                raise RuntimeError(
                    f"The decoder does not start, see standard error: {_command()}"
                )

    def _ask(self, line: bytes) -> Decoded:
        self._is_new = False
        with _time_limit(self._child, self._seconds) as too_long:
            try:
                self._requests.write(line)
                self._requests.flush()
                reply = _read_reply(self._replies)
            except (OSError, EOFError):
                reply = None
        if reply is None or too_long.is_set():
            self.close()
            ended = self._child.returncode
            self._start()
        if too_long.is_set():
            raise video_io.VideoError(
                f"too slow to decode: over {self._seconds:g} s, see --decode_seconds"
            )
        if reply is None:
            raise CrashError(f"the decoder crashed: {_how_it_ended(ended)}")
        return reply


def _command() -> list[str]:
    return [sys.executable, "-m", __name__]


@contextlib.contextmanager
def _time_limit(child: subprocess.Popen, seconds: float) -> Iterator[threading.Event]:
    """Kills the child after `seconds`, which ends reads from it, and sets the event."""
    too_long = threading.Event()

    def kill() -> None:
        too_long.set()
        child.kill()

    timer = threading.Timer(seconds, kill)
    timer.daemon = True
    timer.start()
    try:
        yield too_long
    finally:
        timer.cancel()
        timer.join()


def _how_it_ended(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name
    return f"{name}, probably out of memory" if name == "SIGKILL" else name


def _read_reply(pipe: IO[bytes]) -> Decoded:
    """Reads a reply.

    Raises:
      EOFError: the reply is incomplete.
      VideoError: the child rejected the clip.
    """
    line = pipe.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    reply = json.loads(line)
    if "reason" in reply:
        raise video_io.VideoError(reply["reason"])
    segments = {
        number: [_read_all(pipe, size) for size in sizes]
        for number, sizes in reply["segments"]
    }
    return Decoded(**reply | {"segments": segments, "dropped": dict(reply["dropped"])})


def _read_all(pipe: IO[bytes], size: int) -> bytes:
    data = pipe.read(size)
    if len(data) < size:
        raise EOFError
    return data


def serve() -> None:
    """Runs the child process: answers requests until standard input closes."""
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # keeps library output out of the replies
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")  # if memory runs out, kill this process first
    cv2.setNumThreads(1)
    requests: queue.SimpleQueue[dict] = queue.SimpleQueue()
    threading.Thread(target=_read_requests, args=[requests], daemon=True).start()
    replies.write(_READY)
    replies.flush()
    while True:
        _answer(requests.get(), replies)


def _read_requests(requests: queue.SimpleQueue[dict]) -> None:
    """Reads in a thread, to notice even during a clip that the parent has exited."""
    for line in sys.stdin.buffer:
        requests.put(json.loads(line))
    os._exit(0)


def _answer(request: dict, replies: IO[bytes]) -> None:
    reply: dict[str, Any]
    frames: list[bytes] = []
    # Ends this process if the parent has exited while a decoder holds the GIL.
    signal.setitimer(signal.ITIMER_REAL, 2 * request["seconds"])
    try:
        decoded = decode(
            request["form"],
            request["paths"],
            request["offset"],
            Recipe(**request["recipe"]),
        )
    except video_io.VideoError as error:
        reply = {"reason": str(error)}
    except MemoryError:
        reply = {"reason": "the decoder failed: out of memory"}
    except Exception as error:
        first_line = f"{type(error).__name__} {error}".split("\n")[0]
        reply = {"reason": f"the decoder failed: {first_line}"}
    else:
        frames = list(itertools.chain.from_iterable(decoded.segments.values()))
        reply = vars(decoded) | {
            "segments": [(n, list(map(len, s))) for n, s in decoded.segments.items()],
            "dropped": list(decoded.dropped.items()),
        }
    signal.setitimer(signal.ITIMER_REAL, 0)
    replies.write(json.dumps(reply).encode() + b"\n")
    replies.writelines(frames)
    replies.flush()


if __name__ == "__main__":
    serve()
