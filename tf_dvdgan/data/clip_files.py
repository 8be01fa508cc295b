"""Clips that lie in any folder: which there are, and the middle window of each.

A clip is a video file, an array of NumPy's, a part of one, or a folder of numbered
images. It is read as the records of prepared shards are: see `readers`.
"""

import dataclasses
import itertools
import os
import re
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import tensorflow as tf

from tf_dvdgan import errors
from tf_dvdgan.data import files, video_io, windows

_MOVIES = (*video_io.VIDEO_SUFFIXES, ".gif")
_ARRAYS = (".npy",)
_GRIDS = ("grid.gif", "grid.mp4")  # tools.sample writes one beside its videos
_CHANNELS = 3
_DIGITS_OR_NOT = "([0-9]+)|([^0-9]+)"


@dataclasses.dataclass(frozen=True)
class ClipFile:
    """A clip as it lies in a folder.

    Attributes:
      path: of the file, or of the folder of images; relative to the folder.
      form: 'video', 'array' or 'frames'.
      names: of the images, in order.
      shape: (time, height, width) in the array; empty if it is no array.
      offset: of its first byte in the array's file.
      number: in an array of several; None where it has a file of its own.
    """

    path: str
    form: str
    names: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    offset: int = 0
    number: int | None = None

    @property
    def name(self) -> str:
        """What a person calls it."""
        return self.path if self.number is None else f"{self.path}[{self.number}]"

    @property
    def paths(self) -> list[str]:
        """Its files, relative to the folder."""
        return [os.path.join(self.path, name) for name in self.names] or [self.path]


@dataclasses.dataclass(frozen=True)
class ClipInfo:
    """What is known of a clip before it is decoded.

    Attributes:
      num_frames: how many there should be; 0 where only decoding tells.
      height: of the frames, in pixels.
      width: likewise.
      codec: what the frames are encoded by; 'raw' in arrays.
      fps: frames per second; None where nothing tells.
    """

    num_frames: int
    height: int
    width: int
    codec: str
    fps: float | None = None


def list_clips(path: str) -> list[ClipFile]:
    """Lists the clips below a folder in the order of their names, by number.

    Files that are no clips are passed over, and names that begin with a dot.

    Args:
      path: of the folder; or of a single video file or array.

    Raises:
      UserError: there are none; videos and frames lie in one folder; or an array holds
        something else.
    """
    if files.is_folder(path):
        clips = _clips_below(path)
    elif tf.io.gfile.exists(path):
        folder, name = os.path.split(path)
        clips = _clips_among(folder, "", [name])
    else:
        raise errors.UserError(f"There is nothing at {path}.")
    if not clips:
        raise errors.UserError(
            f"{path} has no clips: no videos ({', '.join(_MOVIES)}), no arrays (.npy), "
            "no folders of numbered images."
        )
    return sorted(clips, key=lambda clip: (_by_number(clip.path), clip.number))


def _clips_below(folder: str) -> list[ClipFile]:
    clips = []
    for parent, folders, names in files.walk(folder, (*_MOVIES, *_ARRAYS)):
        folders[:] = [name for name in folders if not name.startswith(".")]
        clips += _clips_among(folder, parent[len(folder) :].strip("/"), names)
    return clips


def _by_number(path: str) -> list[list[tuple[str, int]]]:
    """A key that puts 2.avi before 10.avi, and a folder's clips together."""
    return [
        [(text, int(digits or 0)) for digits, text in re.findall(_DIGITS_OR_NOT, name)]
        for name in path.split("/")
    ]


def _clips_among(folder: str, inside: str, names: Sequence[str]) -> list[ClipFile]:
    """The clips of one folder, not of those below it.

    Args:
      folder: that paths are relative to.
      inside: path of the one.
      names: of its files.
    """
    names = [name for name in names if not name.startswith(".")]
    names = [name for name in names if name not in _GRIDS] or names
    images = video_io.numbered_images(names)
    movies = [name for name in names if name.lower().endswith(_MOVIES)]
    arrays = [name for name in names if name.lower().endswith(_ARRAYS)]
    if images and (movies or arrays):
        place, other = os.path.join(folder, inside), (movies + arrays)[0]
        raise errors.UserError(
            f"{place} has numbered images and {other!r} side by side, and one of them "
            "may be a copy of the other; move one kind away."
        )
    if images:
        return [ClipFile(inside, "frames", tuple(images))]
    clips = [ClipFile(os.path.join(inside, name), "video") for name in movies]
    for name in arrays:
        clips += _clips_of_array(folder, os.path.join(inside, name))
    return clips


def _clips_of_array(folder: str, path: str) -> list[ClipFile]:
    try:
        with tf.io.gfile.GFile(os.path.join(folder, path), "rb") as file:
            shape, fortran, dtype = _array_header(file)
            start = file.tell()
    except (ValueError, OSError, tf.errors.OpError):
        return [ClipFile(path, "array")]  # told when it is read, as other bad files
    if dtype != np.uint8:
        raise errors.UserError(
            f"{path} holds {dtype}; clips are uint8, 0 to 255. From [-1, 1] they are "
            "made by (x + 1) * 127.5, from [0, 1] by x * 255, rounded."
        )
    if len(shape) not in (4, 5) or shape[-1] != _CHANNELS or 0 in shape or fortran:
        order = ", in Fortran's order" if fortran else ""
        raise errors.UserError(
            f"{path} has the shape {list(shape)}{order}; clips are [time, height, "
            "width, 3] or [count, time, height, width, 3], in C's order."
        )
    if len(shape) == 4:
        return [ClipFile(path, "array", shape=shape[:3], offset=start)]
    size = int(np.prod(shape[1:]))
    return [
        ClipFile(path, "array", shape=shape[1:4], offset=start + i * size, number=i)
        for i in range(shape[0])
    ]


def _array_header(file: tf.io.gfile.GFile) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether in Fortran's order, and type of what a .npy file holds.

    Nothing is unpickled, whatever it is.
    """
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    return np.lib.format.read_array_header_2_0(file)


def probe(folder: str, clip: ClipFile) -> ClipInfo:
    """Looks at a clip, without decoding more than an image of it.

    Raises:
      VideoError: it cannot be read.
    """
    if clip.form == "array":
        _check_is_array(clip)
        return ClipInfo(*clip.shape, codec="raw")
    with files.local_copy(os.path.join(folder, clip.paths[0])) as path:
        if clip.form == "frames":
            height, width, _ = video_io.read_image(path).shape
            codec = os.path.splitext(path)[1][1:].lower().replace("jpg", "jpeg")
            return ClipInfo(len(clip.names), height, width, codec)
        reader = video_io.VideoReader(path)
        frames, fps = reader.declared_frames, round(reader.fps, 2)
        return ClipInfo(frames, reader.height, reader.width, reader.codec, fps)


def read(
    folder: str,
    clip: ClipFile,
    window: windows.Window,
    stopped: Callable[[], bool] = lambda: False,
) -> tuple[np.ndarray, int]:
    """Reads the middle window of a clip, which is decoded to its end.

    Args:
      folder: the clip's path is relative to it.
      clip: which one.
      window: of a clip that is too short the last frame is repeated.
      stopped: asked between the frames of a video; reading then ends at once.

    Returns:
      `[num_frames, height, width, 3]` uint8, and how many frames the clip has.

    Raises:
      VideoError: it cannot be read.
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
    path: str, count: int, stride: int, start: int, resolution: int
) -> np.ndarray:
    """Reads the frames to start from, resized and cropped as in evaluation.

    Returns:
      `[count, resolution, resolution, 3]` uint8.

    Raises:
      UserError: the file is no video, or too short.
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
            f"{path} is too short: the model starts from {count} frames, each "
            f"{stride} apart, from frame {start} on."
        )
    return np.stack([fit(frame, resolution) for frame in taken])


def fit(frame: np.ndarray, resolution: int | None) -> np.ndarray:
    """Resizes a frame's smaller side, and takes the square in the centre."""
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
        # Where the middle is, only the end tells; but most containers are right, and
        # so no more frames are held than are wanted.
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
    """Some frames of a video, by number, and how many it has."""
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
    """Gives the number of frames."""
    if not clip.shape:
        raise video_io.VideoError("not an array that NumPy wrote")
    return clip.shape[0]


def _read_from_array(folder: str, clip: ClipFile, number: int) -> np.ndarray:
    """One frame; no more of the file is read, however large it is."""
    shape = (*clip.shape[1:], _CHANNELS)
    size = int(np.prod(shape))
    try:
        with tf.io.gfile.GFile(os.path.join(folder, clip.path), "rb") as file:
            file.seek(clip.offset + number * size)
            data = file.read(size)
    except tf.errors.OpError as error:
        raise video_io.VideoError(f"cannot be read: {error.message}") from error
    if len(data) < size:
        raise video_io.VideoError("truncated")
    return np.frombuffer(data, np.uint8).reshape(shape)
