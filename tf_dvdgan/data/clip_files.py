"""Lists the clips in any folder, and reads the middle window of each.

A clip is a video file, a NumPy array, a row of one, or a folder of numbered images. It
is resized and cropped like the records of prepared shards, see `readers`.
"""

import dataclasses
import itertools
import os
import re
from collections.abc import Callable, Iterable, Sequence
from typing import IO

import numpy as np
import tensorflow as tf

from tf_dvdgan import errors
from tf_dvdgan.data import files, filesystem, video_io, windows

_MOVIES = (*video_io.VIDEO_SUFFIXES, ".gif")
_ARRAYS = (".npy",)
_GRIDS = ("grid.gif", "grid.mp4")  # written by tools.sample beside its videos
_CHANNELS = 3
_DIGITS_OR_NOT = "([0-9]+)|([^0-9]+)"


@dataclasses.dataclass(frozen=True)
class ClipFile:
    """A clip in a folder.

    Attributes:
      path: path of its file or of its folder of images, relative to the listed folder.
      form: 'video', 'array' or 'frames'.
      names: names of the images, in order; empty for other forms.
      shape: (time, height, width) of an array's clip; empty for other forms, and for
        an array that cannot be read.
      offset: position of the clip's first byte in the array's file.
      number: index of the clip in its array; None if it is the file's only clip.
    """

    path: str
    form: str
    names: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    offset: int = 0
    number: int | None = None

    @property
    def name(self) -> str:
        """The clip's name in messages."""
        return self.path if self.number is None else f"{self.path}[{self.number}]"

    @property
    def paths(self) -> list[str]:
        """Paths of the clip's files, relative to the listed folder."""
        return [os.path.join(self.path, name) for name in self.names] or [self.path]


@dataclasses.dataclass(frozen=True)
class ClipInfo:
    """Properties of a clip that are known without decoding it.

    Attributes:
      num_frames: number of frames that the file declares; 0 if unknown.
      height: height of the frames, in pixels.
      width: width of the frames, in pixels.
      codec: format of the frames; 'raw' for arrays.
      fps: frames per second; None if unknown.
    """

    num_frames: int
    height: int
    width: int
    codec: str
    fps: float | None = None


def list_clips(path: str) -> list[ClipFile]:
    """Lists the clips below a folder, sorted by name; numbers in names are compared.

    Skips files that are not clips, and names that begin with a dot.

    Args:
      path: path of the folder, or of a single video file or array.

    Returns:
      The clips.

    Raises:
      UserError: there are no clips, a folder has both videos and numbered images, or
        an array does not hold clips.
    """
    if files.is_folder(path):
        clips = _clips_below(path)
    elif filesystem.exists(path):
        folder, name = os.path.split(path)
        clips = _clips_among(folder, "", [name])
    else:
        raise errors.UserError(f"There is nothing at {path}.")
    if not clips:
        raise errors.UserError(
            f"{path} has no clips: no videos ({', '.join(_MOVIES)}), arrays (.npy) or "
            "folders of numbered images."
        )
    return sorted(clips, key=lambda clip: (_by_number(clip.path), clip.number))


def _clips_below(folder: str) -> list[ClipFile]:
    clips: list[ClipFile] = []
    for parent, folders, names in files.walk(folder, (*_MOVIES, *_ARRAYS)):
        folders[:] = [name for name in folders if not name.startswith(".")]
        clips += _clips_among(folder, parent[len(folder) :].strip("/"), names)
    return clips


def _by_number(path: str) -> list[list[tuple[str, int]]]:
    """Sort key that puts 2.avi before 10.avi and keeps a folder's clips together."""
    return [
        [(text, int(digits or 0)) for digits, text in re.findall(_DIGITS_OR_NOT, name)]
        for name in path.split("/")
    ]


def _clips_among(folder: str, inside: str, names: Sequence[str]) -> list[ClipFile]:
    """The clips of one folder, without its sub-folders.

    Args:
      folder: the listed folder.
      inside: path of the folder below it.
      names: names of the folder's files.
    """
    names = [name for name in names if not name.startswith(".")]
    names = [name for name in names if name not in _GRIDS] or names
    images = video_io.numbered_images(names)
    movies = [name for name in names if name.lower().endswith(_MOVIES)]
    arrays = [name for name in names if name.lower().endswith(_ARRAYS)]
    if images and (movies or arrays):
        place, other = os.path.join(folder, inside), (movies + arrays)[0]
        raise errors.UserError(
            f"{place} has both numbered images and {other!r}, which may be copies of "
            "the same clip; move one kind to another folder."
        )
    if images:
        return [ClipFile(inside, "frames", tuple(images))]
    clips = [ClipFile(os.path.join(inside, name), "video") for name in movies]
    for name in arrays:
        clips += _clips_of_array(folder, os.path.join(inside, name))
    return clips


def _clips_of_array(folder: str, path: str) -> list[ClipFile]:
    try:
        with filesystem.GFile(os.path.join(folder, path), "rb") as file:
            shape, is_fortran, dtype = _array_header(file)
            start = file.tell()
    except (ValueError, OSError, tf.errors.OpError):
        return [ClipFile(path, "array")]  # reading it reports the error
    if dtype != np.uint8:
        raise errors.UserError(
            f"{path} holds {dtype}; clips are uint8, 0 to 255. Convert values in "
            "[-1, 1] by (x + 1) * 127.5, values in [0, 1] by x * 255, and round."
        )
    if len(shape) not in (4, 5) or shape[-1] != _CHANNELS or 0 in shape or is_fortran:
        order = " in Fortran order" if is_fortran else ""
        raise errors.UserError(
            f"{path} has the shape {list(shape)}{order}; clips are [time, height, "
            "width, 3] or [count, time, height, width, 3] in C order."
        )
    if len(shape) == 4:
        return [ClipFile(path, "array", shape=shape[:3], offset=start)]
    size = int(np.prod(shape[1:]))
    return [
        ClipFile(path, "array", shape=shape[1:4], offset=start + i * size, number=i)
        for i in range(shape[0])
    ]


def _array_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether in Fortran order, and type of a .npy file's array.

    Does not unpickle anything.
    """
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    return np.lib.format.read_array_header_2_0(file)


def probe(folder: str, clip: ClipFile) -> ClipInfo:
    """Reads a clip's properties; decodes at most one image.

    Args:
      folder: the listed folder.
      clip: the clip.

    Returns:
      The properties.

    Raises:
      VideoError: the clip cannot be read.
    """
    if clip.form == "array":
        _check_is_array(clip)
        num_frames, height, width = clip.shape
        return ClipInfo(num_frames, height, width, codec="raw")
    with files.local_copy(os.path.join(folder, clip.paths[0])) as path:
        if clip.form == "frames":
            height, width, _ = video_io.read_image(path).shape
            codec = os.path.splitext(path)[1][1:].lower().replace("jpg", "jpeg")
            return ClipInfo(len(clip.names), height, width, codec)
        reader = video_io.VideoReader(path)
        num_frames, fps = reader.declared_frames, round(reader.fps, 2)
        return ClipInfo(num_frames, reader.height, reader.width, reader.codec, fps)


def read(
    folder: str,
    clip: ClipFile,
    window: windows.Window,
    stopped: Callable[[], bool] = lambda: False,
) -> tuple[np.ndarray, int]:
    """Reads the middle window of a clip; decodes a video to its end.

    Args:
      folder: the listed folder.
      clip: the clip.
      window: the window; repeats the last frame if the clip is too short.
      stopped: called before each frame of a video; reading stops if it returns True.

    Returns:
      `[num_frames, height, width, 3]` uint8, and the number of frames in the clip.

    Raises:
      VideoError: the clip cannot be read, or reading was stopped.
    """
    if clip.form == "video":
        with files.local_copy(os.path.join(folder, clip.path)) as path:
            return _read_video(path, window, stopped)
    read_one = {"array": _read_from_array, "frames": _read_image}[clip.form]
    count = len(clip.names) if clip.form == "frames" else _check_is_array(clip)
    chosen = window.frame_numbers(count).numpy().tolist()
    frames = {i: fit(read_one(folder, clip, i), window.resolution) for i in set(chosen)}
    return _stacked([frames[i] for i in chosen]), count


def read_frames(
    path: str, count: int, stride: int, start: int, resolution: int | None
) -> np.ndarray:
    """Reads conditioning frames of a video, resized and cropped as in evaluation.

    Args:
      path: local or remote path of the video.
      count: number of frames to read.
      stride: reads every n-th frame.
      start: index of the first frame to read.
      resolution: height and width in pixels; None keeps the video's.

    Returns:
      `[count, resolution, resolution, 3]` uint8.

    Raises:
      UserError: the file is not a video, or too short.
    """
    end = start + (count - 1) * stride + 1
    try:
        with files.local_copy(path) as file:
            reader = video_io.VideoReader(file)
            taken = list(itertools.islice(reader, start, end, stride))
    except video_io.VideoError as error:
        raise errors.UserError(f"{path} cannot be used: {error}.") from None
    if len(taken) < count:
        raise errors.UserError(
            f"{path} is too short: the model needs {count} conditioning frames, "
            f"{stride} frames apart, from frame {start} on."
        )
    return np.stack([fit(frame, resolution) for frame in taken])


def fit(frame: np.ndarray, resolution: int | None) -> np.ndarray:
    """Resizes a frame's smaller side, and crops the square in the centre.

    Args:
      frame: `[height, width, 3]` uint8.
      resolution: size of the square, in pixels; None keeps the frame as it is.

    Returns:
      `[resolution, resolution, 3]` uint8.
    """
    if resolution is None:
        return frame
    frame = video_io.resize_smallest_side(frame, resolution)
    top, left = (
        int(windows.offset(size, resolution, windows.MIDDLE))
        for size in frame.shape[:2]
    )
    return frame[top : top + resolution, left : left + resolution]


def _stacked(frames: Sequence[np.ndarray]) -> np.ndarray:
    if len({frame.shape for frame in frames}) > 1:
        raise video_io.VideoError("frames of several sizes")
    return np.stack(frames)


def _read_video(
    path: str, window: windows.Window, stopped: Callable[[], bool]
) -> tuple[np.ndarray, int]:
    reader = video_io.VideoReader(path, window.resolution)
    expected = max(reader.declared_frames, 1)
    while True:
        # Only the end of a video shows where its middle is. But most containers declare
        # the right length; assuming it, only the window's frames are kept in memory.
        chosen = window.frame_numbers(expected).numpy().tolist()
        frames, count = _frames_of(reader, set(chosen), window.resolution, stopped)
        if count == expected:
            return _stacked([frames[i] for i in chosen]), count
        expected, reader = count, video_io.VideoReader(path, window.resolution)


def _frames_of(
    video: Iterable[np.ndarray],
    chosen: set[int],
    resolution: int | None,
    stopped: Callable[[], bool],
) -> tuple[dict[int, np.ndarray], int]:
    """The chosen frames of a video by index, and the video's number of frames."""
    frames, count = {}, 0
    for frame in video:
        if stopped():
            raise video_io.VideoError("reading was stopped")
        if count in chosen:
            frames[count] = fit(frame, resolution)
        count += 1
    return frames, count


def _read_image(folder: str, clip: ClipFile, number: int) -> np.ndarray:
    with files.local_copy(os.path.join(folder, clip.paths[number])) as path:
        return video_io.read_image(path)


def _check_is_array(clip: ClipFile) -> int:
    """Checks that an array's header could be read; returns the number of frames."""
    if not clip.shape:
        raise video_io.VideoError("not an array that NumPy wrote")
    return clip.shape[0]


def _read_from_array(folder: str, clip: ClipFile, number: int) -> np.ndarray:
    """Reads one frame, and only its bytes."""
    shape = (*clip.shape[1:], _CHANNELS)
    size = int(np.prod(shape))
    try:
        with filesystem.GFile(os.path.join(folder, clip.path), "rb") as file:
            file.seek(clip.offset + number * size)
            data = file.read(size)
    except tf.errors.OpError as error:
        raise video_io.VideoError(f"cannot be read: {error.message}") from error
    if len(data) < size:
        raise video_io.VideoError("truncated")
    return np.frombuffer(data, np.uint8).reshape(shape)
