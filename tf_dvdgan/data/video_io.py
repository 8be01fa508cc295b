"""Video files to frames and back. Frames are RGB uint8 `[height, width, 3]`.

OpenCV decodes (it is the fastest here), PyAV encodes and knows what the container
promised, Pillow makes GIF and PNG, and reads frames that are image files. Reading wants
a local file; see `files.local`.
"""

import contextlib
import io
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction

import av
import cv2
import numpy as np
from PIL import Image, ImageOps, PngImagePlugin

from tf_dvdgan.data import files

VIDEO_SUFFIXES = (".avi", ".mp4", ".mov", ".mkv", ".webm", ".mpg", ".mpeg", ".m4v")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")

_IMAGE_FORMATS = ("JPEG", "PNG", "BMP", "WEBP")  # others may run programs
# Of an mp4's and an avi's video stream.
_CODECS = {".mp4": "libx264", ".avi": "mpeg4"}
# What may be opened as a video. FFmpeg would also take plain text for a terminal's
# output, a picture for a video of one frame, and lists of other files, or of addresses,
# which it would then open.
_CONTAINERS = "avi,mov,matroska,mpeg,mpegvideo,mpegts,asf,flv,ogg,gif"
_PROBING = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"}
# A clip may end so many frames, or seconds, before its container says without being
# broken.
_MISSING_FRAMES_ALLOWED = 2
_MISSING_SECONDS_ALLOWED = 0.5


class VideoError(Exception):
    """A file that cannot be read as a video; the message is the reason."""


class VideoReader:
    """Reads a video file's frames in order, and checks that they are all there.

    What is in the file decides, not its name's ending. Frames stand upright.

    Args:
      path: of the file.
      smallest_side: size that frames are resized to; see `resize_smallest_side`.

    Attributes:
      fps: frames per second, as the container says; their mean where it varies.
      width: of the frames, in pixels, after rotation, before resizing.
      height: likewise.
      codec: its name, as FFmpeg has it.
      promised_frames: how many the container says there are; 0 if it does not.

    Raises:
      VideoError: there is no such file, it is empty, has a name that is no text, or
        no video stream.
    """

    def __init__(self, path: str, smallest_side: int | None = None):
        self.path = path
        self._smallest_side = smallest_side
        if not os.path.isfile(path):
            raise VideoError("not a file")
        if os.path.getsize(path) == 0:
            raise VideoError("empty file")
        if not _is_utf8(path):  # decoders bring the process down
            raise VideoError("a name that is not UTF-8")
        self.codec, self.promised_frames, self._promised_seconds = _promised(path)
        # One thread: of many clips, each core has its own.
        self._capture = cv2.VideoCapture(
            path, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1]
        )
        if not self._capture.isOpened():
            raise VideoError("not a video that can be decoded")
        self._capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)  # as the container says
        self.fps = self._capture.get(cv2.CAP_PROP_FPS) or 25.0
        self.width = int(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        self.height = int(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT))

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yields the frames.

        Raises:
          VideoError: there are none, or fewer than the container promised.
        """
        count = 0
        times = _times_shown(self.path) if self.codec == "gif" else []
        while True:
            read, frame = self._capture.read()
            if not read:
                break
            if self._smallest_side:  # first: fewer pixels are left to convert
                frame = resize_smallest_side(frame, self._smallest_side)
            frame = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
            yield from [frame] * (times[count] if count < len(times) else 1)
            count += 1
        self._capture.release()
        self._check_all_were_there(count)

    def _check_all_were_there(self, count: int) -> None:
        if count == 0:
            raise VideoError("no frame can be decoded")
        if count < self.promised_frames - _MISSING_FRAMES_ALLOWED:
            to_show = _frames_to_show(self.path, self.promised_frames)
            if count < to_show - _MISSING_FRAMES_ALLOWED:
                raise VideoError(f"truncated: {count} of {to_show} frames")
        if self._promised_seconds:
            end, promised = _last_second(self.path), self._promised_seconds
            if end < promised - _MISSING_SECONDS_ALLOWED:
                raise VideoError(f"truncated: {end:.1f} of {promised:.1f} seconds")


def _times_shown(path: str) -> list[int]:
    """How many frames each of a GIF's stands for.

    One that is like the one before is left out by those who write GIFs, Pillow among
    them, and that one is shown for longer.
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
    """Opens a video to look at what its container says of its frames."""
    try:
        with av.open(path, options=dict(_PROBING)) as container:
            yield container
    except (av.FFmpegError, ValueError) as error:
        raise VideoError("not a video that can be decoded") from error


def _promised(path: str) -> tuple[str, int, float]:
    """What a container says is in it: a codec, a number of frames, or else of seconds.

    0 is what it does not say. Matroska and WebM count no frames.
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
    """Seconds of a text such as 00:01:02.5; of another text 0."""
    found = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d*)?)", clock)
    if not found:
        return 0.0
    hours, minutes, seconds = map(float, found.groups())
    return 3600 * hours + 60 * minutes + seconds


def _frames_to_show(path: str, promised: int) -> int:
    """How many frames there should be, of so many that a container counts.

    Some are there only to decode others: what was cut out of an mp4 without encoding
    it again begins before its first frame. And an avi counts moments, also those at
    which nothing new is shown; if it ends with such a pause, it is no longer than one
    before.
    """
    with _opened(path) as container:
        packets = [p for p in container.demux(video=0) if p.pts is not None]
        counts_moments = container.format.name == "avi"
    to_show = promised - sum(packet.is_discard for packet in packets)
    if counts_moments:
        times = sorted([packet.pts for packet in packets])
        pauses = np.diff([*times, promised])
        if len(pauses) > 1 and pauses[-1] <= pauses[:-1].max():
            to_show = len(packets)
    return to_show


def _last_second(path: str) -> float:
    """When the last frame in the file has been shown."""
    end = 0.0
    with _opened(path) as container:
        for packet in container.demux(video=0):
            if packet.pts is not None:
                shown = packet.pts + (packet.duration or 0)
                end = max(end, float(shown * packet.time_base))
    return end


def numbered_images(names: Sequence[str]) -> list[str]:
    """Names of images that hold a number, by that number: 2.jpg before 10.jpg."""
    numbers = {
        name: re.findall(r"\d+", os.path.splitext(name)[0])
        for name in names
        if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")
    }
    numbered = [name for name in numbers if numbers[name]]
    return sorted(numbered, key=lambda name: (int(numbers[name][-1]), name))


def read_image(path: str) -> np.ndarray:
    """An image file's pixels; Pillow refuses one that was cut, OpenCV fills it up.

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
    """Resizes bilinearly so that the smaller side is `size`, aspect kept.

    (Paper 001, appendix B.1.)
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
      size: `(height, width)`; one number for the smaller side, aspect kept; or none to
        leave the frame as it is.
    """
    if len(size) == 1:
        return resize_smallest_side(frame, size[0])
    if not size or frame.shape[:2] == tuple(size):
        return frame
    return cv2.resize(frame, tuple(size[::-1]), interpolation=cv2.INTER_LINEAR)


def video_bytes(
    frames: Iterable[np.ndarray], suffix: str, fps: float, description: str = ""
) -> bytes:
    """Encodes frames as H.264 (.mp4) or MPEG-4 (.avi).

    Args:
      frames: uint8 RGB, all of one even height and width.
      suffix: '.mp4' or '.avi'.
      fps: frames per second.
      description: kept in the file as its comment and description.
    """
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=suffix[1:]) as container:
        if description:
            container.metadata.update(comment=description, description=description)
        stream = None
        for frame in frames:
            if stream is None:
                rate = Fraction(fps).limit_denominator(1001)
                stream = container.add_stream(_CODECS[suffix], rate=rate)
                stream.height, stream.width = frame.shape[:2]
                stream.pix_fmt = "yuv420p"
                stream.codec_context.thread_count = 1
                if suffix == ".avi":
                    stream.codec_context.qscale = True
                    stream.codec_context.global_quality = 2 * 118  # FF_QP2LAMBDA
                else:
                    # Without it x264 gives other bytes each time.
                    stream.options = {"crf": "18", "x264-params": "cpu-independent=1"}
            image = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), "rgb24")
            container.mux(stream.encode(image))
        if stream is not None:
            container.mux(stream.encode())
    return buffer.getvalue()


def gif_bytes(
    frames: Sequence[np.ndarray], fps: float = 12.5, description: str = ""
) -> bytes:
    """Encodes frames as an endlessly repeating GIF, a description as its comment."""
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


def png_bytes(image: np.ndarray, description: str = "") -> bytes:
    """Encodes one frame as PNG, a description as its text chunk `Description`."""
    buffer = io.BytesIO()
    texts = PngImagePlugin.PngInfo()
    if description:
        texts.add_text("Description", description)
    Image.fromarray(image).save(buffer, format="PNG", pnginfo=texts)
    return buffer.getvalue()


def write_video(
    path: str, frames: Iterable[np.ndarray], fps: float = 25.0, description: str = ""
) -> None:
    """Writes a file in the format that its suffix says, whole or not at all.

    Args:
      path: ends in .mp4, .avi, .gif, or in .png for the frames side by side.
      frames: uint8 RGB, all of one height and width; of .mp4 and .avi, even ones.
      fps: frames per second.
      description: text that the file carries in its metadata.

    Raises:
      ValueError: the suffix is another.
    """
    suffix = os.path.splitext(path)[1].lower()
    if suffix in _CODECS:
        data = video_bytes(frames, suffix, fps, description)
    elif suffix == ".gif":
        data = gif_bytes(list(frames), fps, description)
    elif suffix == ".png":
        data = png_bytes(np.concatenate(list(frames), axis=1), description)
    else:
        raise ValueError(f"Write .mp4, .avi, .gif or .png. Received: {path}")
    files.write_whole(path, data)
