"""Writes video files, reads image files. Frames are RGB uint8 `[height, width, 3]`.

PyAV encodes videos, Pillow writes GIF and PNG and reads images. Reading requires a
local file; see `files.local_copy`. `video_reader` decodes videos.
"""

import io
import os
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Literal

import av
import cv2
import numpy as np
from PIL import Image, ImageOps, PngImagePlugin

from tf_dvdgan.data import files

MAX_PIXELS = 2**26  # of a frame, some 8000 x 8000: larger ones are refused
# Pillow's decoders of some other formats run programs.
_IMAGE_FORMATS = ("JPEG", "PNG", "BMP", "WEBP")
# Encoder by suffix.
_CODECS: dict[str, Literal["libx264", "mpeg4"]] = {".mp4": "libx264", ".avi": "mpeg4"}


class VideoError(Exception):
    """A file that cannot be read as a video; the message is the reason."""


def read_image(path: str) -> np.ndarray:
    """Reads an image file as `[height, width, 3]` uint8 RGB.

    Uses Pillow because it rejects truncated files, which OpenCV pads.

    Raises:
      VideoError: there is no such file, it cannot be decoded, or is too large.
    """
    check_is_file(path)
    try:
        with Image.open(path, formats=_IMAGE_FORMATS) as opened:
            check_size(opened)
            image = ImageOps.exif_transpose(opened)
            if image.mode.startswith("I"):  # 16 bits of gray, which `convert` clips
                gray = np.rint(np.asarray(image) / 257.0)
                image = Image.fromarray(np.clip(gray, 0, 255).astype(np.uint8))
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        name = os.path.basename(path)
        raise VideoError(f"an image cannot be decoded: {name}") from error


def check_is_file(path: str) -> None:
    """Checks that a path leads to a file.

    Raises:
      VideoError: it does not.
    """
    if not os.path.isfile(path):
        raise VideoError(
            "its link leads nowhere" if os.path.islink(path) else "not a file"
        )


def check_size(image: Image.Image) -> None:
    """Refuses an opened image that is too large, before it is decoded.

    Raises:
      VideoError: it is too large.
    """
    if image.width * image.height > MAX_PIXELS:
        raise VideoError(f"an image has over {MAX_PIXELS // 10**6} million pixels")


def split_strip(image: np.ndarray, count: int) -> list[np.ndarray]:
    """Splits frames that are side by side.

    Args:
      image: `[height, count * width, 3]`.
      count: number of frames.

    Returns:
      The frames, `[height, width, 3]` each.

    Raises:
      VideoError: the image's width is not a multiple of the count.
    """
    if image.shape[1] % count:
        raise VideoError(f"not a strip of {count} frames: {image.shape[1]} pixels wide")
    return np.split(image, count, axis=1)


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
    return resize(frame, size_of_smallest_side(height, width, size))


def size_of_smallest_side(height: int, width: int, size: int) -> tuple[int, int]:
    """Computes the size of a frame whose smaller side is resized.

    Args:
      height: height of the frame, in pixels.
      width: width of the frame, in pixels.
      size: new length of the smaller side, in pixels.

    Returns:
      The new height and width.
    """
    scale = size / min(height, width)
    return max(size, round(height * scale)), max(size, round(width * scale))


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
