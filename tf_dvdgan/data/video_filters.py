"""What players do to decoded frames: colors, fields, orientation, and times.

Frames stay FFmpeg's until `VideoReader` makes arrays of them.
"""

import collections
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import av
import numpy as np

from tf_dvdgan.data.video_io import VideoError

_LONGEST_GAP_SECONDS = 60.0  # that resampling fills
_LONGEST_SECONDS = 2.0  # of a frame of an animation; longer ones are pauses


class Orientation:
    """The flips and the transposition that show frames upright.

    Args:
      frame: the first frame, whose matrix is that of all.
    """

    def __init__(self, frame: av.VideoFrame):
        self._transposed = self._mirrored = self._upside_down = False
        data: Any = frame.side_data.get("DISPLAYMATRIX")
        if data is None:
            return
        # Of x' = a x + c y and y' = b x + d y; the other five numbers are a shift.
        a, b, _, c, d = np.frombuffer(data, np.int32)[:5].tolist()
        self._transposed = abs(b) > abs(a)
        x, y = (c, b) if self._transposed else (a, d)
        self._mirrored, self._upside_down = x < 0, y < 0

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Computes the size of upright frames.

        Args:
          height: height of the decoded frames.
          width: width of the decoded frames.

        Returns:
          Height and width.
        """
        return (width, height) if self._transposed else (height, width)

    def upright(self, image: np.ndarray) -> np.ndarray:
        """Turns and flips a frame, `[height, width, 3]`."""
        if self._transposed:
            image = image.transpose(1, 0, 2)
        image = image[:: -1 if self._upside_down else 1, :: -1 if self._mirrored else 1]
        return np.ascontiguousarray(image)


def as_rgb(frames: Iterable[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    """Converts frames to RGB by their own matrix and range, and fields to frames.

    Raises:
      VideoError: the size changes, or the colors cannot be converted.
    """
    graph, first = None, None
    try:
        for frame in frames:
            first = first or frame
            if (frame.height, frame.width) != (first.height, first.width):
                raise VideoError("frames of different sizes")
            if graph is None:
                graph = _filters(frame, deinterlace=frame.interlaced_frame)
            elif frame.interlaced_frame and not first.interlaced_frame:
                yield from _rest(graph)
                graph, first = _filters(frame, deinterlace=True), frame
            graph.push(frame)
            if first.interlaced_frame:  # a frame needs the fields of the next
                yield from _pulled(graph)
            else:
                yield graph.vpull()
        if graph is not None:
            yield from _rest(graph)
    except (av.FFmpegError, ValueError) as error:
        raise VideoError("its frames cannot be converted to RGB") from error


def _filters(frame: av.VideoFrame, deinterlace: bool) -> av.filter.Graph:
    graph = av.filter.Graph()
    graph.threads = 1
    source = graph.add_buffer(
        width=frame.width,
        height=frame.height,
        format=frame.format,
        time_base=frame.time_base,
    )
    filters = [("scale", ""), ("format", "pix_fmts=rgb24"), ("buffersink", "")]
    if deinterlace:
        filters.insert(0, ("bwdif", "mode=send_frame:deint=interlaced"))
    nodes = [graph.add(name, arguments) for name, arguments in filters]
    graph.link_nodes(source, *nodes).configure()
    return graph


def _rest(graph: av.filter.Graph) -> Iterator[av.VideoFrame]:
    graph.push(None)
    yield from _pulled(graph)


def _pulled(graph: av.filter.Graph) -> Iterator[av.VideoFrame]:
    try:
        while True:
            yield graph.vpull()
    except (av.BlockingIOError, av.EOFError):
        return


def repetitions(delays: Sequence[float]) -> tuple[float, list[int]]:
    """Computes an animation's rate, and how many times each frame has to be repeated.

    Instead of repeating a frame, writers such as Pillow show it for longer. The delay
    that most frames have is one frame's; a frame that is shown for over two seconds is
    a pause, and not repeated.

    Args:
      delays: seconds that each frame is shown for.

    Returns:
      Frames per second, and a number for each frame.
    """
    counts = collections.Counter(filter(None, delays))
    unit = max(counts, key=lambda d: (counts[d], d), default=0.1)
    times = [
        max(1, round(delay / unit)) if delay <= _LONGEST_SECONDS else 1
        for delay in delays
    ]
    return 1 / unit, times


def resampled(
    frames: Iterable[av.VideoFrame], rate: float, source_rate: float
) -> Iterator[tuple[av.VideoFrame, int]]:
    """Counts the ticks of another rate at which each frame is shown.

    A tick shows the last frame that began before or at it; the first one is at the
    first frame's time. Where times begin again, as in joined recordings, the frame
    follows the one before.

    Args:
      frames: the frames, with their times.
      rate: ticks per second.
      source_rate: frames per second of frames without times.

    Yields:
      Each frame with its number of ticks.

    Raises:
      VideoError: there is over a minute between two frames.
    """
    before, start, last, ticks, shift = None, 0.0, 0.0, 0, 0.0
    for frame in frames:
        following = 0.0 if before is None else last + 1 / source_rate
        if frame.time is None:
            time = following
        elif before is None or frame.time >= last:  # also after one wrong time
            time, shift = frame.time, 0.0
        else:
            time = frame.time + shift
        if before is None:
            start = time
        else:
            if time < last - 0.5 / source_rate:  # times begin again
                shift += following - time
                time = following
            if time - last > _LONGEST_GAP_SECONDS:
                raise VideoError(f"no frame for {time - last:.0f} seconds")
            # A thousandth of a tick makes up for rounded times.
            due = int(np.ceil((time - start) * rate - 1e-3))
            yield before, max(0, due - ticks)
            ticks = max(ticks, due)
        before, last = frame, time
    if before is not None:
        end = last + 1 / source_rate
        yield before, max(1 if not ticks else 0, round((end - start) * rate) - ticks)
