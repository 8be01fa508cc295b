"""Decoding in a process of its own, so that no file can stop a worker.

Decoders are large programs that read what anybody may have written: on some files they
hang, crash, or take all memory. A `Decoder` is a child process that decodes one clip
after another. Paths go in and encoded frames come out, through pipes; one that takes
too long is killed, one that crashed is replaced, and the clip is given up with that
reason. The child ends when the process that started it does, however that ends.

  python -m data_prep.decoding

is the child: each line on standard input is a request, a JSON object. A reply is a line
of JSON, followed by the encoded frames. It does not import TensorFlow.
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
from typing import BinaryIO

import cv2
import numpy as np

from tf_dvdgan.data import video_io

from . import forms, stabilization

_READY = b"ready\n"  # the child's first line
_SECONDS_TO_START = 120
_MOST_BYTES = 2_000_000_000  # of a record's frames; a record has 2 GiB at the most


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What is made of each clip.

    Attributes:
      resolution: height and width of what is cut out of frames in training, in pixels.
      encoding: of the frames, 'jpeg' or 'png'.
      jpeg_quality: 1 to 100.
      segment_frames: clips are cut into segments of so many frames, at least 2. What
        is left over at the end is passed over, unless it is all there is. 0 for whole
        clips.
      stabilize: whether the camera's motion is taken out of each segment, at the size
        that the frames have.
      resize: what frames are resized to, as of `video_io.resize`; None for the smaller
        side to be `resolution`.
    """

    resolution: int
    encoding: str = "jpeg"
    jpeg_quality: int = 95
    segment_frames: int = 0
    stabilize: bool = False
    resize: Sequence[int] | None = None

    @property
    def size(self) -> Sequence[int]:
        """What frames are resized to, as of `video_io.resize`."""
        return [self.resolution] if self.resize is None else self.resize


@dataclasses.dataclass(frozen=True)
class Decoded:
    """What a clip has become.

    Attributes:
      fps: frames per second.
      height: of the frames, in pixels.
      width: of the frames, in pixels.
      segments: encoded frames of each, by its number; 0 is the whole clip if clips
        are not cut.
      dropped: the reasons why segments are missing, by their numbers.
    """

    fps: float
    height: int
    width: int
    segments: dict[int, list[bytes]]
    dropped: dict[int, str]


def decode(form: str, paths: Sequence[str], offset: int, recipe: Recipe) -> Decoded:
    """Decodes a clip in this process.

    Args:
      form: as `sources.Clip` has it.
      paths: of its files, local; in order.
      offset: of its record in the file, in bytes.
      recipe: what is made of it.

    Raises:
      VideoError: the clip cannot be used.
    """
    at_once = len(recipe.size) == 1 and not recipe.stabilize
    fps, frames = forms.read(form, paths, offset, recipe.size[0] if at_once else None)
    segments, dropped = {}, {}
    sizes = set()
    for number, segment in enumerate(_cut(frames, recipe.segment_frames)):
        if recipe.stabilize:
            segment = stabilization.stabilized(segment)
        try:
            encoded = [_encode(frame, recipe, sizes) for frame in segment]
        except stabilization.CameraMotionError as error:
            dropped[number] = str(error)
            continue
        if sum(map(len, encoded)) > _MOST_BYTES:
            raise video_io.VideoError(
                "too long for one record: over 2 GB, see --segment_frames"
            )
        if number == 0 or len(encoded) == recipe.segment_frames:
            segments[number] = encoded
    if not segments and not dropped:
        raise video_io.VideoError("no frame can be decoded")
    if not segments:
        raise video_io.VideoError(next(iter(dropped.values())))
    if [len(encoded) for encoded in segments.values()] == [1]:
        raise video_io.VideoError("only one frame")  # nothing moves
    ((height, width),) = sizes
    return Decoded(fps, height, width, segments, dropped)


def _cut(frames: Iterator[np.ndarray], length: int) -> Iterator[Iterable[np.ndarray]]:
    """Cuts into segments, each to be read before the next; all in one for length 0."""
    for first in frames:
        rest = itertools.islice(frames, length - 1 if length else None)
        yield itertools.chain([first], rest)
        collections.deque(rest, maxlen=0)  # a segment that was given up


def _encode(frame: np.ndarray, recipe: Recipe, sizes: set[tuple[int, int]]) -> bytes:
    """Encodes a frame; `sizes` holds those of the frames before."""
    frame = video_io.resize(frame, recipe.size)
    if min(frame.shape[:2]) < recipe.resolution:
        height, width = frame.shape[:2]
        raise video_io.VideoError(f"smaller than --resolution: {width} x {height}")
    sizes.add(frame.shape[:2])
    if len(sizes) > 1:
        raise video_io.VideoError("frames of different sizes")
    options = []
    if recipe.encoding == "jpeg":
        options = [cv2.IMWRITE_JPEG_QUALITY, recipe.jpeg_quality]
    bgr = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(f".{recipe.encoding}", bgr, options)
    return encoded.tobytes()


class CrashError(video_io.VideoError):
    """The decoder came to an end on a clip; the message says how."""


class Decoder:
    """A child process that decodes, for as long as this object is used.

    Args:
      recipe: what is made of each clip.
      seconds: that a clip may take.
    """

    def __init__(self, recipe: Recipe, seconds: float):
        self._recipe = dataclasses.asdict(recipe)
        self._seconds = seconds
        self._start()

    def decode(self, form: str, paths: Sequence[str], offset: int = 0) -> Decoded:
        """Decodes a clip; arguments as of the function `decode`.

        A crash may be due to what an earlier clip did to the process: a clip is given
        up if it crashes a new one.

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
        """Ends the child."""
        self._child.kill()
        self._child.communicate()

    def _start(self) -> None:
        self._child = subprocess.Popen(
            _command(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        self._is_new = True
        with _time_limit(self._child, _SECONDS_TO_START):
            if self._child.stdout.readline() != _READY:
                raise RuntimeError(f"{_command()} does not start; see standard error.")

    def _ask(self, line: bytes) -> Decoded:
        self._is_new = False
        with _time_limit(self._child, self._seconds) as too_long:
            try:
                self._child.stdin.write(line)
                self._child.stdin.flush()
                reply = _read_reply(self._child.stdout)
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
    """Kills a child that takes longer, which ends the wait for it; gives whether."""
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
    return f"{name}, as when memory runs out" if name == "SIGKILL" else name


def _read_reply(pipe: BinaryIO) -> Decoded:
    """Reads a reply.

    Raises:
      EOFError: it ends too early.
      VideoError: it is a reason.
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


def _read_all(pipe: BinaryIO, size: int) -> bytes:
    data = pipe.read(size)
    if len(data) < size:
        raise EOFError
    return data


def serve() -> None:
    """Answers requests until there is nobody to ask; the child's whole life."""
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no reply
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's to decide
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")  # if memory runs out, this one goes first
    cv2.setNumThreads(1)
    requests = queue.SimpleQueue()
    threading.Thread(target=_read_requests, args=[requests], daemon=True).start()
    replies.write(_READY)
    replies.flush()
    while True:
        _answer(requests.get(), replies)


def _read_requests(requests: queue.SimpleQueue) -> None:
    """Reads in a thread, to notice in the middle of a clip that the parent is gone."""
    for line in sys.stdin.buffer:
        requests.put(json.loads(line))
    os._exit(0)


def _answer(request: dict, replies: BinaryIO) -> None:
    # Ends this process should the parent be gone while a decoder holds Python's lock.
    signal.setitimer(signal.ITIMER_REAL, 2 * request["seconds"])
    try:
        decoded = decode(
            request["form"],
            request["paths"],
            request["offset"],
            Recipe(**request["recipe"]),
        )
    except video_io.VideoError as error:
        reply, frames = {"reason": str(error)}, []
    except MemoryError:
        reply, frames = {"reason": "the decoder failed: out of memory"}, []
    except Exception as error:
        first_line = f"{type(error).__name__} {error}".split("\n")[0]
        reply, frames = {"reason": f"the decoder failed: {first_line}"}, []
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
