"""Decodes video files, by FFmpeg's libraries (PyAV).

One library opens, decodes and converts, and it may open nothing but the file itself:
what a check of the file says holds for the frames that come out.
"""

import collections
import io
import itertools
import os
import re
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from typing import Any

import av
import numpy as np
from PIL import Image

from tf_dvdgan.data import video_io
from tf_dvdgan.data.video_io import VideoError

# Containers that may be opened. FFmpeg would also treat plain text as terminal output,
# an image as a video of one frame, and a playlist as a request to open files or URLs.
_CONTAINERS = (
    "avi,mov,matroska,mpeg,mpegvideo,mpegts,asf,flv,ogg,gif,apng,webp,mxf,dv,nut,"
    "yuv4mpegpipe,h264,hevc,m4v,mjpeg,ivf,obu"
)
_OPTIONS = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"}
# PyAV 18 refuses a file whose title is not UTF-8, unless this is set; 19 does not.
_TEXTS: dict[str, Any] = (
    {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
)
# Larger frames are refused before memory is allocated for them.
_CODEC_OPTIONS = {"max_pixels": str(video_io.MAX_PIXELS)}
# A clip may end this much before the end that its container declares without being
# broken.
_MISSING_FRAMES_ALLOWED = 2
_MISSING_SECONDS_ALLOWED = 0.5
_DEFAULT_FPS = 25.0  # FFmpeg's, of streams that do not say
_MAX_PIXEL_RATIO = 8  # a pixel is at most so many times as wide as high, or the reverse
_ANIMATIONS = ("gif", "apng", "webp")  # whose writers omit repeated frames
_LONGEST_GAP_SECONDS = 60.0  # that resampling fills
_LONGEST_SECONDS = 2.0  # of a frame of an animation; longer ones are pauses


class VideoReader:
    """Reads the frames of a video file once, in order; checks that none is missing.

    The format is detected from the contents, not the suffix. Frames are as players show
    them: converted to RGB by the stream's matrix and range (BT.601 if it has none, as
    FFmpeg), upright, of square pixels, without interlacing (bwdif), and without alpha.
    A picture attached to a file, such as a cover, is not its video.

    Args:
      path: local path of the file.
      smallest_side: resize the smaller side to this, in pixels; None keeps the size.
      fps: repeats or drops frames for this rate, by their timestamps; None keeps them.
      progress: called for each decoded frame, also of those that `fps` drops.

    Attributes:
      fps: frames per second of what is read; the mean if the rate varies.
      width: width of the frames in pixels, as shown, before resizing.
      height: height of the frames in pixels, as shown, before resizing.
      codec: FFmpeg's name of the codec.
      declared_frames: number of frames that the container declares; 0 if unknown, and
        if `fps` is given.

    Raises:
      VideoError: there is no such file, it is empty, its name is not UTF-8, it has no
        video stream, or no frame can be decoded.
    """

    def __init__(
        self,
        path: str,
        smallest_side: int | None = None,
        fps: float | None = None,
        progress: Callable[[], None] = lambda: None,
    ):
        self.path = path
        self._progress = progress
        self._smallest_side = smallest_side
        _check_file(path)
        self._container = _opened(path)
        try:
            self._stream = stream = _video_stream(self._container)
            self._read_header(fps)
            decoded = self._decoded()
            first = next(decoded, None)
            if first is None:
                raise VideoError("no frame can be decoded")
        except BaseException:
            self._container.close()
            raise
        self._orientation = _Orientation(first)
        self._size = first.height, max(1, round(first.width * _pixel_shape(stream)))
        self.height, self.width = self._orientation.size(*self._size)
        self._frames = _as_rgb(itertools.chain([first], decoded))

    def _read_header(self, fps: float | None) -> None:
        stream = self._stream
        self.codec = "webp" if _is_webp(self.path) else stream.codec.canonical_name
        self._rate = fps
        self._mean_rate = float(stream.average_rate or 0) or _DEFAULT_FPS
        self._times_shown: list[int] = []
        if self.codec in _ANIMATIONS:
            self._mean_rate, self._times_shown = _timing_of_animation(self.path)
        self.fps = fps or self._mean_rate
        self._declared = stream.frames
        self.declared_frames = 0 if fps else stream.frames
        self._declared_seconds = 0.0
        if not stream.frames:  # Matroska and WebM
            self._declared_seconds = _seconds(stream.metadata.get("DURATION", ""))

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yields the frames.

        Raises:
          VideoError: there are fewer than the container declares, or sizes differ.
        """
        size = self._size
        if self._smallest_side:
            size = video_io.size_of_smallest_side(*size, self._smallest_side)
        try:
            for frame, times in self._repeated():
                image = video_io.resize(frame.to_ndarray(), size)
                yield from itertools.repeat(self._orientation.upright(image), times)
            self._check_complete()
        finally:
            self._container.close()

    def _repeated(self) -> Iterator[tuple[av.VideoFrame, int]]:
        """The frames, each with how many times it is to be yielded."""
        if self._rate:
            return _resampled(self._frames, self._rate, self._mean_rate)
        times = itertools.chain(self._times_shown, itertools.repeat(1))
        return zip(self._frames, times, strict=False)

    def _decoded(self) -> Iterator[av.VideoFrame]:
        """Decodes to the end, past errors; notes what was in the file."""
        self._count = self._end = 0
        self._packet_times: list[int] = []
        self._num_discarded = 0
        for packet in self._packets():
            if packet.pts is not None:
                self._packet_times.append(packet.pts)
                self._num_discarded += packet.is_discard
                self._end = max(self._end, packet.pts + (packet.duration or 0))
            try:
                frames = packet.decode()
            except (av.FFmpegError, ValueError):
                continue
            for frame in frames:
                self._count += 1
                self._progress()
                yield frame

    def _packets(self) -> Iterator[av.Packet]:
        try:
            yield from self._container.demux(self._stream)
        except (av.FFmpegError, ValueError):
            return  # `_check_complete` says what is missing

    def _check_complete(self) -> None:
        count, declared = self._count, self._declared
        if count < declared - _MISSING_FRAMES_ALLOWED:
            to_show = self._frames_to_show()
            if count < to_show - _MISSING_FRAMES_ALLOWED:
                raise VideoError(f"truncated: {count} of {to_show} frames")
        if self._declared_seconds:
            end = float(self._end * (self._stream.time_base or 0))
            whole = self._declared_seconds
            if end < whole - _MISSING_SECONDS_ALLOWED:
                raise VideoError(f"truncated: {end:.1f} of {whole:.1f} seconds")

    def _frames_to_show(self) -> int:
        """How many frames should be decoded, given the container's number of frames.

        Some frames serve only to decode others: an mp4 that was cut without re-encoding
        starts before its first shown frame. An avi counts time steps, including those
        that show no new frame; if it ends with such a pause, the pause is no longer
        than an earlier one.
        """
        if self._container.format.name == "avi":
            pauses = np.diff([*sorted(self._packet_times), self._declared])
            if len(pauses) > 1 and pauses[-1] <= pauses[:-1].max():
                return len(self._packet_times)
        return self._declared - self._num_discarded


def _check_file(path: str) -> None:
    if not os.path.isfile(path):
        raise VideoError("not a file")
    if os.path.getsize(path) == 0:
        raise VideoError("empty file")
    try:
        path.encode()
    except UnicodeEncodeError as error:  # the libraries take only UTF-8
        raise VideoError("file name is not UTF-8") from error


def _opened(path: str) -> av.container.InputContainer:
    try:
        return av.open(
            # Never the name of a protocol.
            _as_nut(path) if _is_webp(path) else os.path.abspath(path),
            mode="r",
            options=dict(_OPTIONS),
            **_TEXTS,
        )
    except (av.FFmpegError, ValueError, OSError, Image.DecompressionBombError) as error:
        raise VideoError("not a video that can be decoded") from error


def _video_stream(container: av.container.InputContainer) -> av.VideoStream:
    """The stream that players show, set up for decoding."""
    stream = container.streams.best("video")
    attached = av.stream.Disposition.attached_pic | av.stream.Disposition.still_image
    if not isinstance(stream, av.VideoStream) or stream.disposition & attached:
        raise VideoError("no video stream")
    if stream.codec_context is None:
        raise VideoError("this version of FFmpeg has no decoder for it")
    # One thread, because each core decodes a clip of its own.
    stream.codec_context.thread_count = 1
    stream.codec_context.options = _CODEC_OPTIONS
    return stream


def _pixel_shape(stream: av.VideoStream) -> float:
    """Width of a pixel divided by its height; 1 if unknown or unlikely."""
    ratio = float(stream.sample_aspect_ratio or 0)
    return ratio if 1 / _MAX_PIXEL_RATIO <= ratio <= _MAX_PIXEL_RATIO else 1.0


def _seconds(clock: str) -> float:
    """Parses a time such as 00:01:02.5 to seconds; other texts to 0."""
    found = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d*)?)", clock)
    if not found:
        return 0.0
    hours, minutes, seconds = map(float, found.groups())
    return 3600 * hours + 60 * minutes + seconds


def _timing_of_animation(path: str) -> tuple[float, list[int]]:
    """Frames per second, and how many times each frame has to be repeated.

    Instead of repeating a frame, writers such as Pillow show it for longer. The delay
    that most frames have is one frame's; a frame that is shown for over two seconds is
    a pause, and not repeated.
    """
    delays = list(_delays(path))
    counts = collections.Counter(filter(None, delays))
    unit = max(counts, key=lambda d: (counts[d], d), default=0.1)
    times = [
        max(1, round(delay / unit)) if delay <= _LONGEST_SECONDS else 1
        for delay in delays
    ]
    return 1 / unit, times


def _delays(path: str) -> Iterator[float]:
    """Seconds that each frame of an animation is shown for."""
    if _is_webp(path):
        with Image.open(path) as image:
            for number in range(_num_frames(image)):
                image.seek(number)
                image.load()
                yield image.info.get("duration", 0) / 1000
        return
    with _opened(path) as container:
        for packet in container.demux(video=0):
            if packet.size:
                yield float((packet.duration or 0) * packet.time_base)


def _num_frames(image: Image.Image) -> int:
    return getattr(image, "n_frames", 1)


def _is_webp(path: str) -> bool:
    with open(path, "rb") as file:
        header = file.read(12)
    return header[:4] == b"RIFF" and header[8:] == b"WEBP"


def _as_nut(path: str) -> io.BytesIO:
    """A WebP, whose animations FFmpeg does not read, in a container that it does."""
    buffer = io.BytesIO()
    with Image.open(path, formats=["WEBP"]) as image:
        with av.open(buffer, "w", format="nut") as container:
            stream = container.add_stream("png", rate=1000)
            stream.width, stream.height, stream.pix_fmt = *image.size, "rgb24"
            milliseconds = 0
            for number in range(_num_frames(image)):
                image.seek(number)
                rgb = np.asarray(image.convert("RGB"))
                frame = av.VideoFrame.from_ndarray(rgb, "rgb24")
                frame.pts, frame.time_base = milliseconds, Fraction(1, 1000)
                container.mux(stream.encode(frame))
                milliseconds += image.info.get("duration", 0)
            container.mux(stream.encode())
    buffer.seek(0)
    return buffer


class _Orientation:
    """The flips and the transposition that show frames upright."""

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
        return (width, height) if self._transposed else (height, width)

    def upright(self, image: np.ndarray) -> np.ndarray:
        if self._transposed:
            image = image.transpose(1, 0, 2)
        image = image[:: -1 if self._upside_down else 1, :: -1 if self._mirrored else 1]
        return np.ascontiguousarray(image)


def _as_rgb(frames: Iterable[av.VideoFrame]) -> Iterator[av.VideoFrame]:
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


def _resampled(
    frames: Iterable[av.VideoFrame], rate: float, source_rate: float
) -> Iterator[tuple[av.VideoFrame, int]]:
    """Each frame with the number of ticks of `rate` at which it is shown.

    A tick shows the last frame that began before or at it; the first one is at the
    first frame's time.

    Raises:
      VideoError: there is over a minute between two frames.
    """
    before, start, last, ticks = None, 0.0, 0.0, 0
    for number, frame in enumerate(frames):
        time = number / source_rate if frame.time is None else frame.time
        if before is None:
            start = time
        else:
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
