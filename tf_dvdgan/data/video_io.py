"""Reads and writes video files. Frames are RGB uint8 `[height, width, 3]`.

OpenCV decodes (the fastest here), PyAV encodes and reads what a container declares,
Pillow writes GIF and PNG and reads image files. Reading requires a local file; see
`files.local_copy`.
"""

import contextlib
import io
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from typing import Literal

import av
import cv2
import numpy as np
from PIL import Image, ImageOps, PngImagePlugin

from tf_dvdgan.data import files

VIDEO_SUFFIXES = (".avi", ".mp4", ".mov", ".mkv", ".webm", ".mpg", ".mpeg", ".m4v")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")

# Pillow's decoders of some other formats run programs.
_IMAGE_FORMATS = ("JPEG", "PNG", "BMP", "WEBP")
# Encoder by suffix.
_CODECS: dict[str, Literal["libx264", "mpeg4"]] = {".mp4": "libx264", ".avi": "mpeg4"}
# Containers that may be opened. FFmpeg would also treat plain text as terminal output,
# an image as a video of one frame, and a playlist as a request to open files or URLs.
_CONTAINERS = "avi,mov,matroska,mpeg,mpegvideo,mpegts,asf,flv,ogg,gif"
_PROBING = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"}
# A clip may end this much before the end that its container declares without being
# broken.
_MISSING_FRAMES_ALLOWED = 2
_MISSING_SECONDS_ALLOWED = 0.5


class VideoError(Exception):
    """A file that cannot be read as a video; the message is the reason."""


class VideoReader:
    """Reads the frames of a video file in order and checks that none is missing.

    The format is detected from the contents, not the suffix. Rotated videos are turned
    upright.

    Args:
      path: local path of the file.
      smallest_side: resize the smaller side to this, in pixels; None keeps the size.

    Attributes:
      fps: frames per second as declared by the container; the mean if the rate varies.
      width: width of the frames in pixels, after rotation and before resizing.
      height: height of the frames in pixels, after rotation and before resizing.
      codec: FFmpeg's name of the codec.
      declared_frames: number of frames that the container declares; 0 if unknown.

    Raises:
      VideoError: there is no such file, it is empty, its name is not UTF-8, or it has
        no video stream.
    """

    def __init__(self, path: str, smallest_side: int | None = None):
        self.path = path
        self._smallest_side = smallest_side
        if not os.path.isfile(path):
            raise VideoError("not a file")
        if os.path.getsize(path) == 0:
            raise VideoError("empty file")
        if not _is_utf8(path):  # would crash the decoders
            raise VideoError("file name is not UTF-8")
        self.codec, self.declared_frames, self._declared_seconds = _declared(path)
        # One thread, because each core decodes a clip of its own.
        self._capture = cv2.VideoCapture(
            path, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1]
        )
        if not self._capture.isOpened():
            raise VideoError("not a video that can be decoded")
        self._capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)  # rotate upright
        self.fps = self._capture.get(cv2.CAP_PROP_FPS) or 25.0
        self.width = int(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        self.height = int(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT))

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yields the frames.

        Raises:
          VideoError: there are none, or fewer than the container declares.
        """
        count = 0
        times = _times_shown(self.path) if self.codec == "gif" else []
        while True:
            read, frame = self._capture.read()
            if not read:
                break
            if self._smallest_side:  # first, to leave fewer pixels to convert
                frame = resize_smallest_side(frame, self._smallest_side)
            frame = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
            yield from [frame] * (times[count] if count < len(times) else 1)
            count += 1
        self._capture.release()
        self._check_complete(count)

    def _check_complete(self, count: int) -> None:
        if count == 0:
            raise VideoError("no frame can be decoded")
        if count < self.declared_frames - _MISSING_FRAMES_ALLOWED:
            to_show = _frames_to_show(self.path, self.declared_frames)
            if count < to_show - _MISSING_FRAMES_ALLOWED:
                raise VideoError(f"truncated: {count} of {to_show} frames")
        if self._declared_seconds:
            end, declared = _last_second(self.path), self._declared_seconds
            if end < declared - _MISSING_SECONDS_ALLOWED:
                raise VideoError(f"truncated: {end:.1f} of {declared:.1f} seconds")


def _times_shown(path: str) -> list[int]:
    """How many times each frame of a GIF has to be repeated.

    Instead of repeating a frame, GIF writers such as Pillow show it for longer.
    """
    with _opened(path) as container:
        shown = [p.duration or 0 for p in container.demux(video=0) if p.size]
    shortest = min(filter(None, shown), default=1)
    return [max(1, round(duration / shortest)) for duration in shown]


def _is_utf8(path: str) -> bool:
    try:
        return bool(path.encode())
    except UnicodeEncodeError:
        return False


@contextlib.contextmanager
def _opened(path: str) -> Iterator[av.container.InputContainer]:
    """Opens a video to read what its container declares."""
    try:
        with av.open(path, options=dict(_PROBING)) as container:
            yield container
    except (av.FFmpegError, ValueError) as error:
        raise VideoError("not a video that can be decoded") from error


def _declared(path: str) -> tuple[str, int, float]:
    """Codec, number of frames, and seconds if the number of frames is unknown.

    Unknown values are 0. Matroska and WebM do not declare a number of frames.
    """
    with _opened(path) as container:
        if not container.streams.video:
            raise VideoError("no video stream")
        stream = container.streams.video[0]
        codec = stream.codec_context.name if stream.codec_context else "unknown"
        if stream.frames:
            return codec, stream.frames, 0.0
        return codec, 0, _seconds(stream.metadata.get("DURATION", ""))


def _seconds(clock: str) -> float:
    """Parses a time such as 00:01:02.5 to seconds; other texts to 0."""
    found = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d*)?)", clock)
    if not found:
        return 0.0
    hours, minutes, seconds = map(float, found.groups())
    return 3600 * hours + 60 * minutes + seconds


def _frames_to_show(path: str, declared: int) -> int:
    """How many frames should be decoded, given the container's number of frames.

    Some frames serve only to decode others: an mp4 that was cut without re-encoding
    starts before its first shown frame. An avi counts time steps, including those that
    show no new frame; if it ends with such a pause, the pause is no longer than an
    earlier one.
    """
    times, num_discarded = [], 0
    with _opened(path) as container:
        for packet in container.demux(video=0):
            if packet.pts is not None:
                times.append(packet.pts)
                num_discarded += packet.is_discard
        counts_time_steps = container.format.name == "avi"
    if counts_time_steps:
        pauses = np.diff([*sorted(times), declared])
        if len(pauses) > 1 and pauses[-1] <= pauses[:-1].max():
            return len(times)
    return declared - num_discarded


def _last_second(path: str) -> float:
    """End time of the last frame in the file, in seconds."""
    end = 0.0
    with _opened(path) as container:
        for packet in container.demux(video=0):
            if packet.pts is not None:
                shown = packet.pts + (packet.duration or 0)
                end = max(end, float(shown * packet.time_base))
    return end


def numbered_images(names: Sequence[str]) -> list[str]:
    """Selects image names with a number and sorts by it: 2.jpg before 10.jpg."""
    numbers = {
        name: re.findall(r"\d+", os.path.splitext(name)[0])
        for name in names
        if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")
    }
    numbered = [name for name in numbers if numbers[name]]
    return sorted(numbered, key=lambda name: (int(numbers[name][-1]), name))


def read_image(path: str) -> np.ndarray:
    """Reads an image file as `[height, width, 3]` uint8 RGB.

    Uses Pillow because it rejects truncated files, which OpenCV pads.

    Raises:
      VideoError: there is no such file, or it cannot be decoded.
    """
    if not os.path.isfile(path):
        raise VideoError("not a file")
    try:
        with Image.open(path, formats=_IMAGE_FORMATS) as image:
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        name = os.path.basename(path)
        raise VideoError(f"an image cannot be decoded: {name}") from error


def resize_smallest_side(frame: np.ndarray, size: int) -> np.ndarray:
    """Resizes the smaller side bilinearly, keeping the aspect ratio.

    Paper 001, appendix B.1.

    Args:
      frame: `[height, width, 3]` uint8.
      size: new length of the smaller side, in pixels.

    Returns:
      `[height', width', 3]` uint8.
    """
    height, width = frame.shape[:2]
    scale = size / min(height, width)
    new_height = max(size, round(height * scale))
    new_width = max(size, round(width * scale))
    if (new_height, new_width) == (height, width):
        return frame
    return cv2.resize(frame, (new_width, new_height), interpolation=cv2.INTER_LINEAR)


def resize(frame: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Resizes bilinearly.

    Args:
      frame: `[height, width, 3]` uint8.
      size: `(height, width)` in pixels; one number for the smaller side, which keeps
        the aspect ratio; or empty to keep the frame as it is.

    Returns:
      `[height', width', 3]` uint8.
    """
    if len(size) == 1:
        return resize_smallest_side(frame, size[0])
    if not size or frame.shape[:2] == tuple(size):
        return frame
    return cv2.resize(frame, tuple(size[::-1]), interpolation=cv2.INTER_LINEAR)


def encode_video(
    frames: Iterable[np.ndarray], suffix: str, fps: float, description: str = ""
) -> bytes:
    """Encodes frames as H.264 (.mp4) or MPEG-4 (.avi).

    Args:
      frames: `[height, width, 3]` uint8 RGB each, all of one even height and width.
      suffix: '.mp4' or '.avi'.
      fps: frames per second.
      description: stored as the file's comment and description.

    Returns:
      The contents of the file.
    """
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=suffix[1:]) as container:
        if description:
            container.metadata.update(comment=description, description=description)
        stream = None
        for frame in frames:
            if stream is None:
                height, width = frame.shape[:2]
                stream = _add_stream(container, suffix, fps, height, width)
            image = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), "rgb24")
            container.mux(stream.encode(image))
        if stream is not None:
            container.mux(stream.encode())
    return buffer.getvalue()


def _add_stream(
    container: av.container.OutputContainer,
    suffix: str,
    fps: float,
    height: int,
    width: int,
) -> av.VideoStream:
    rate = Fraction(fps).limit_denominator(1001)
    stream = container.add_stream(_CODECS[suffix], rate=rate)
    stream.height, stream.width = height, width
    stream.pix_fmt = "yuv420p"
    stream.codec_context.thread_count = 1
    if suffix == ".avi":
        stream.codec_context.qscale = True
        stream.codec_context.global_quality = 2 * 118  # FF_QP2LAMBDA
    else:
        # Without cpu-independent x264's output is not deterministic.
        stream.options = {"crf": "18", "x264-params": "cpu-independent=1"}
    return stream


def encode_gif(
    frames: Iterable[np.ndarray], fps: float = 12.5, description: str = ""
) -> bytes:
    """Encodes frames as a GIF that loops forever.

    Args:
      frames: `[height, width, 3]` uint8 RGB each, all of one size.
      fps: frames per second.
      description: stored as the file's comment.

    Returns:
      The contents of the file.
    """
    images = [Image.fromarray(frame) for frame in frames]
    buffer = io.BytesIO()
    images[0].save(
        buffer,
        format="GIF",
        save_all=True,
        append_images=images[1:],
        duration=round(1000 / fps),
        loop=0,
        comment=description.encode(),
    )
    return buffer.getvalue()


def encode_png(image: np.ndarray, description: str = "") -> bytes:
    """Encodes an image as PNG.

    Args:
      image: `[height, width, 3]` uint8 RGB.
      description: stored as the text chunk `Description`.

    Returns:
      The contents of the file.
    """
    buffer = io.BytesIO()
    texts = PngImagePlugin.PngInfo()
    if description:
        texts.add_text("Description", description)
    Image.fromarray(image).save(buffer, format="PNG", pnginfo=texts)
    return buffer.getvalue()


def write_video(
    path: str, frames: Iterable[np.ndarray], fps: float = 25.0, description: str = ""
) -> None:
    """Writes a video atomically, in the format of the path's suffix.

    Args:
      path: path that ends in .mp4, .avi, .gif, or in .png for frames side by side.
      frames: `[height, width, 3]` uint8 RGB each, all of one size, which must be even
        for .mp4 and .avi.
      fps: frames per second.
      description: text to store in the file's metadata.

    Raises:
      ValueError: the suffix is not one of these.
    """
    suffix = os.path.splitext(path)[1].lower()
    if suffix in _CODECS:
        data = encode_video(frames, suffix, fps, description)
    elif suffix == ".gif":
        data = encode_gif(frames, fps, description)
    elif suffix == ".png":
        data = encode_png(np.concatenate(list(frames), axis=1), description)
    else:
        raise ValueError(f"Expected .mp4, .avi, .gif or .png. Received: {path}")
    files.atomic_write(path, data)
