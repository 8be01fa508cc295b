"""Reads some frames of a video in a child process, with limits on memory and time.

A file of a few bytes can make a decoder hang, crash or allocate gigabytes. The child
does not import TensorFlow.
"""

import itertools
import json
import os
import resource
import subprocess
import sys
from typing import IO

import numpy as np

from tf_dvdgan.data import video_io, video_reader

_MAX_BYTES = 4 * 2**30  # of the child's address space
_MAX_SECONDS = 60


def read_frames(
    path: str, count: int, stride: int, start: int, smallest_side: int | None
) -> np.ndarray:
    """Reads frames of a video, fewer if it ends before.

    Args:
      path: local path of the video.
      count: number of frames to read.
      stride: reads every n-th frame.
      start: index of the first frame to read.
      smallest_side: resize the smaller side to this, in pixels; None keeps the size.

    Returns:
      `[at most count, height, width, 3]` uint8.

    Raises:
      VideoError: the file cannot be read, or reading it takes too long or crashes.
    """
    request = json.dumps([path, count, stride, start, smallest_side])
    try:
        child = subprocess.run(
            [sys.executable, "-m", __name__, request],
            capture_output=True,
            check=False,
            timeout=_MAX_SECONDS,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )
    except subprocess.TimeoutExpired:
        raise video_io.VideoError("too slow to decode") from None
    header, _, data = child.stdout.partition(b"\n")
    if child.returncode or not header:
        raise video_io.VideoError("the decoder crashed")
    reply = json.loads(header)
    if "reason" in reply:
        raise video_io.VideoError(reply["reason"])
    return np.frombuffer(data, np.uint8).reshape(reply["shape"])


def become_child() -> IO[bytes]:
    """Limits this process's memory; returns the stream of its replies.

    What libraries print to standard output goes to standard error.
    """
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (_MAX_BYTES, _MAX_BYTES))
    return replies


def _main(request: str) -> None:
    path, count, stride, start, smallest_side = json.loads(request)
    output = become_child()
    end = start + (count - 1) * stride + 1
    frames = np.zeros([0, 0, 0, 3], np.uint8)
    try:
        reader = video_reader.VideoReader(path, smallest_side)
        taken = list(itertools.islice(reader, start, end, stride))
        if taken:
            frames = np.stack(taken)
        reply: dict[str, object] = {"shape": frames.shape}
    except video_io.VideoError as error:
        reply = {"reason": str(error)}
    except MemoryError:
        reply = {"reason": "the decoder failed: out of memory"}
    output.write(json.dumps(reply).encode() + b"\n")
    output.write(frames.tobytes())
    output.flush()


if __name__ == "__main__":
    _main(sys.argv[1])
