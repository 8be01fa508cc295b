"""Decodes clips in a child process, so that no file can bring down a worker.

Decoders are large programs that parse untrusted input: some files make them hang,
crash or exhaust memory. A `Decoder` is a child process that decodes one clip after
another. It receives paths and returns encoded frames through pipes, some at a time, so
neither process holds a long clip. A child that makes no progress is killed, one that
crashes is replaced; in both cases the clip is rejected with that reason. The child
exits when its parent does, however the parent ends.

  python -m data_prep.decoder

runs the child. Each line on standard input is a request, a JSON object. A reply is a
line of JSON for some encoded frames, followed by their bytes, and for each dropped
segment; the last line has what is known of the clip, or the reason why it is rejected.
The child does not import TensorFlow.
"""

import dataclasses
import functools
import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any

import cv2

from tf_dvdgan.data import child_process, video_io

from . import decoding

_READY = b"ready\n"  # the child's first line
_SECONDS_TO_START = 120


class CrashError(video_io.VideoError):
    """The decoder process ended while decoding a clip; the message says how."""


class Decoder:
    """Decodes clips in a child process, which runs until `close`.

    Args:
      recipe: how to cut, resize and encode each clip.
      seconds: time limit for each 300 frames.
    """

    def __init__(self, recipe: decoding.Recipe, seconds: float):
        self._recipe = recipe
        self._seconds = seconds
        self._start()

    def decode(
        self, form: str, paths: Sequence[str], offset: int = 0
    ) -> decoding.Decoded:
        """Decodes a clip in the child process.

        An earlier clip may have corrupted the process, so a clip is rejected only if
        it crashes a fresh one.

        Args:
          form: `sources.Clip.form`.
          paths: local paths of its files, in order.
          offset: `sources.Clip.offset` in the first of them.

        Returns:
          The encoded segments.

        Raises:
          VideoError: the clip cannot be used, took too long or crashed the decoder.
        """
        request = {
            "form": form,
            "paths": list(paths),
            "offset": offset,
            "recipe": dataclasses.asdict(self._recipe),
            "seconds": self._seconds,
        }
        was_new = self._is_new
        try:
            return self._ask(request)
        except CrashError:
            if was_new:
                raise
        return self._ask(request)

    def close(self) -> None:
        """Kills the child process."""
        self._child.kill()
        self._child.communicate()

    def _start(self) -> None:
        self._child = child_process.start_child(_command())
        assert self._child.stdin and self._child.stdout
        self._requests = self._child.stdin
        self._replies = self._child.stdout
        self._is_new = True
        with child_process.TimeLimit(self._child, _SECONDS_TO_START):
            if self._replies.readline() != _READY:
                raise RuntimeError(
                    f"The decoder does not start, see standard error: {_command()}"
                )

    def _ask(self, request: dict[str, Any]) -> decoding.Decoded:
        self._is_new = False
        with child_process.TimeLimit(self._child, self._seconds) as limit:
            try:
                child_process.send(self._requests, request)
                reply = decoding.collect(
                    _read_reply(self._replies, limit.restart), self._recipe
                )
            except (OSError, EOFError):
                reply = None
        if reply is None or limit.exceeded:
            self.close()
            ended = self._child.returncode
            self._start()
        if limit.exceeded:
            raise video_io.VideoError(
                f"too slow to decode: over {self._seconds:g} s, see --decode_seconds"
            )
        if reply is None:
            raise CrashError(f"the decoder crashed: {_how_it_ended(ended)}")
        return reply


def _command() -> list[str]:
    return [sys.executable, "-m", __name__]


def _how_it_ended(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name
    return f"{name}, probably out of memory" if name == "SIGKILL" else name


def _read_reply(
    pipe: IO[bytes], progress: Callable[[], None]
) -> Iterator[decoding.Event]:
    """Reads a reply; calls `progress` every 300 frames, decoded ones and encoded ones.

    Raises:
      EOFError: the reply is incomplete.
      VideoError: the child rejected the clip.
    """
    num_frames = 0
    while True:
        reply = child_process.read_line(pipe)
        if not reply:
            progress()
        elif "sizes" in reply:
            sizes = reply["sizes"]
            frames = [child_process.read_bytes(pipe, size) for size in sizes]
            yield reply["segment"], frames
            num_frames += len(frames)
            if num_frames >= child_process.FRAMES_PER_LIMIT:
                progress()
                num_frames = 0
        elif "segment" in reply:
            yield reply["segment"], reply["reason"]
        elif "reason" in reply:
            raise video_io.VideoError(reply["reason"])
        else:
            yield reply
            return


def serve() -> None:
    """Runs the child process: answers requests until standard input closes."""
    replies = child_process.become_child()
    cv2.setNumThreads(1)
    requests: queue.SimpleQueue[dict] = queue.SimpleQueue()
    threading.Thread(target=_read_requests, args=[requests], daemon=True).start()
    replies.write(_READY)
    replies.flush()
    while True:
        _reply(requests.get(), replies)


def _read_requests(requests: queue.SimpleQueue[dict]) -> None:
    """Reads in a thread, to notice even during a clip that the parent has exited."""
    for line in sys.stdin.buffer:
        requests.put(json.loads(line))
    os._exit(0)


def _reply(request: dict, replies: IO[bytes]) -> None:
    send = functools.partial(child_process.send, replies)
    child_process.limit_child(request["seconds"])
    try:
        recipe = decoding.Recipe(**request["recipe"])
        place = request["form"], request["paths"], request["offset"]
        progress = child_process.reporter(replies, request["seconds"])
        for event in decoding.events(*place, recipe, progress):
            child_process.limit_child(request["seconds"])
            match event:
                case (segment, list() as frames):
                    sizes = list(map(len, frames))
                    send({"segment": segment, "sizes": sizes}, frames)
                case (segment, str() as reason):
                    send({"segment": segment, "reason": reason})
                case dict() as properties:
                    send(properties)
    except Exception as error:
        send({"reason": child_process.reason_of(error)})
    child_process.limit_child(0.0)


if __name__ == "__main__":
    serve()
