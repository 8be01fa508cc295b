"""Opens and decodes a video file, by FFmpeg's libraries (PyAV), or Pillow for WebP.

FFmpeg may open nothing but the file itself, so what a check of the file says holds for
the frames that come out.
"""

import itertools
import os
import re
import struct
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, Protocol

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
_HIGHEST_FPS = 10_000.0
_DEFAULT_FPS = 25.0  # FFmpeg's, of streams that do not say
_MAX_PIXEL_RATIO = 8  # a pixel is at most so many times as wide as high, or the reverse
_ANIMATIONS = ("gif", "apng")
# Decoders keep several canvases of an animation, and small files have large ones.
_LARGEST_ANIMATION = 2**24  # pixels
_CHUNK_HEADER = struct.Struct("<4sI")  # of a WebP: name, size of the data


class Stream(Protocol):
    """The frames of an opened file, decoded once, in order.

    Attributes:
      codec: FFmpeg's name of the codec.
      rate: mean number of frames per second.
      num_frames: number of frames that the container declares; 0 if unknown.
      delays: seconds that each frame of an animation is shown for; None for other
        videos.
    """

    codec: str
    rate: float
    num_frames: int
    delays: list[float] | None

    @property
    def pixel_ratio(self) -> float:
        """Width of a pixel divided by its height, once a frame is decoded."""

    def frames(self) -> Iterator[av.VideoFrame]:
        """Decodes the frames to the end, past errors."""

    def check_complete(self) -> None:
        """Checks, once all frames are decoded, that none is missing.

        Raises:
          VideoError: there are fewer than the container declares.
        """

    def close(self) -> None:
        """Closes the file."""


def open_stream(path: str) -> Stream:
    """Opens a file; the format is detected from the contents, not the suffix.

    Args:
      path: local path of the file.

    Returns:
      Its video.

    Raises:
      VideoError: there is no such file, it is empty, its name is not UTF-8, or it has
        no video that can be decoded.
    """
    video_io.check_is_file(path)
    if os.path.getsize(path) == 0:
        raise VideoError("empty file")
    try:
        path.encode()
    except UnicodeEncodeError as error:  # the libraries take only UTF-8
        raise VideoError("file name is not UTF-8") from error
    return _WebpStream(path) if _is_webp(path) else _FFmpegStream(path)


def _rate(stream: av.VideoStream) -> float:
    """Frames per second; the average of raw DV, for example, is 60000 or so.

    Raises:
      VideoError: the stream declares a rate that no video has.
    """
    average, guessed = map(float, (stream.average_rate or 0, stream.guessed_rate or 0))
    possible = [rate for rate in (average, guessed) if 0 < rate <= _HIGHEST_FPS]
    if average and not possible:
        raise VideoError(f"{average:.0f} frames per second are declared")
    return possible[0] if possible else _DEFAULT_FPS


class _FFmpegStream:
    def __init__(self, path: str):
        self._container = _opened(path)
        try:
            self._stream = stream = _video_stream(self._container)
            self.codec = stream.codec.canonical_name
            self.rate = _rate(stream)
            self.num_frames = stream.frames
            self.delays = None
            if self.codec in _ANIMATIONS:
                _check_animation(stream.width, stream.height)
                self.delays = _delays(path)
            self._declared_seconds = 0.0
            if not stream.frames:  # Matroska and WebM
                self._declared_seconds = _seconds(stream.metadata.get("DURATION", ""))
        except BaseException:
            self._container.close()
            raise

    @property
    def pixel_ratio(self) -> float:
        """Width of a pixel divided by its height; 1 if unknown or unlikely."""
        ratio = float(self._stream.sample_aspect_ratio or 0)
        return ratio if 1 / _MAX_PIXEL_RATIO <= ratio <= _MAX_PIXEL_RATIO else 1.0

    def frames(self) -> Iterator[av.VideoFrame]:
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
                yield frame

    def _packets(self) -> Iterator[av.Packet]:
        try:
            yield from self._container.demux(self._stream)
        except (av.FFmpegError, ValueError):
            return  # `check_complete` says what is missing

    def check_complete(self) -> None:
        if self._count < self.num_frames - _MISSING_FRAMES_ALLOWED:
            _check_count(self._count, self._frames_to_show())
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
            pauses = np.diff([*sorted(self._packet_times), self.num_frames])
            if len(pauses) > 1 and pauses[-1] <= pauses[:-1].max():
                return len(self._packet_times)
        return self.num_frames - self._num_discarded

    def close(self) -> None:
        self._container.close()


def _check_count(count: int, declared: int) -> None:
    if count < declared - _MISSING_FRAMES_ALLOWED:
        raise VideoError(f"truncated: {count} of {declared} frames")


def _opened(path: str) -> av.container.InputContainer:
    try:
        return av.open(
            os.path.abspath(path),  # never the name of a protocol
            mode="r",
            options=dict(_OPTIONS),
            **_TEXTS,
        )
    except (av.FFmpegError, ValueError, OSError) as error:
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


def _seconds(clock: str) -> float:
    """Parses a time such as 00:01:02.5 to seconds; other texts to 0."""
    found = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d*)?)", clock)
    if not found:
        return 0.0
    hours, minutes, seconds = map(float, found.groups())
    return 3600 * hours + 60 * minutes + seconds


def _check_animation(width: int, height: int) -> None:
    if width * height > _LARGEST_ANIMATION:
        millions = _LARGEST_ANIMATION // 10**6
        raise VideoError(f"an animation has over {millions} million pixels")


def _delays(path: str) -> list[float]:
    """Seconds that each frame of a GIF or an animated PNG is shown for."""
    with _opened(path) as container:
        return [
            float((packet.duration or 0) * packet.time_base)
            for packet in container.demux(video=0)
            if packet.size
        ]


class _WebpStream:
    """A WebP image; FFmpeg reads no animated ones."""

    pixel_ratio = 1.0
    codec = "webp"

    def __init__(self, path: str):
        try:
            self._image = Image.open(path, formats=["WEBP"])
        except (
            OSError,
            ValueError,
            SyntaxError,
            Image.DecompressionBombError,
        ) as error:
            raise VideoError("not a video that can be decoded") from error
        try:
            _check_animation(self._image.width, self._image.height)
            self.num_frames = getattr(self._image, "n_frames", 1)
            found = [*_durations(path), *itertools.repeat(0, self.num_frames)]
            self._milliseconds = found[: self.num_frames]
        except BaseException:
            self._image.close()
            raise
        self.rate = _DEFAULT_FPS
        self.delays: list[float] | None
        self.delays = [number / 1000 for number in self._milliseconds]

    def frames(self) -> Iterator[av.VideoFrame]:
        self._count = time = 0
        for number in range(self.num_frames):
            try:
                self._image.seek(number)
                pixels = np.asarray(self._image.convert("RGB"))
            except (OSError, EOFError, ValueError, SyntaxError):
                return  # `check_complete` says what is missing
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            self._count += 1
            yield frame
            time += self._milliseconds[number]

    def check_complete(self) -> None:
        _check_count(self._count, self.num_frames)

    def close(self) -> None:
        self._image.close()


def _is_webp(path: str) -> bool:
    with open(path, "rb") as file:
        header = file.read(12)
    return header[:4] == b"RIFF" and header[8:] == b"WEBP"


def _durations(path: str) -> list[int]:
    """Milliseconds that each frame of a WebP is shown for; reads no pixels."""
    found = []
    with open(path, "rb") as file:
        file.seek(12)
        while len(header := file.read(_CHUNK_HEADER.size)) == _CHUNK_HEADER.size:
            name, size = _CHUNK_HEADER.unpack(header)
            start = file.tell()
            if name == b"ANMF":
                found.append(int.from_bytes(file.read(16)[12:15], "little"))
            file.seek(start + size + size % 2)
    return found
