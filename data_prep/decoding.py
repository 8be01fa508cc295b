"""What a clip becomes: encoded frames of its segments.

`decoder` runs this in a child process, which does not import TensorFlow.
"""

import collections
import dataclasses
import itertools
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from tf_dvdgan.data import video_io

from . import duplicates, forms, stabilization
from . import scenes as scenes_lib

_MAX_BYTES = 2_000_000_000  # of a segment's encoded frames; a record holds 2 GiB
_MAX_BYTES_IN_MEMORY = 32_000_000  # of a clip's encoded frames; more go to a file
_FRAMES_AT_ONCE = 32  # that are in memory, and sent together


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How clips are cut, resized and encoded.

    Attributes:
      resolution: height and width of training's crops, in pixels; no frame may be
        smaller.
      encoding: format of the stored frames, 'jpeg' or 'png'.
      jpeg_quality: 1 to 100.
      segment_frames: length of the segments that clips are cut into, at least 2. A
        shorter remainder is dropped unless it is the whole clip. 0 keeps clips whole.
      stabilize: whether to remove the camera's motion from each segment, before
        resizing.
      resize: target size as in `video_io.resize`; None resizes the smaller side to
        `resolution`.
      fps: rate that videos are resampled to by their frames' times; None keeps frames.
      split_scenes: whether to cut clips where their scene changes, before they are cut
        into segments.
    """

    resolution: int
    encoding: str = "jpeg"
    jpeg_quality: int = 95
    segment_frames: int = 0
    stabilize: bool = False
    resize: Sequence[int] | None = None
    fps: float | None = None
    split_scenes: bool = False

    @property
    def is_cut(self) -> bool:
        """Whether clips become several records."""
        return bool(self.segment_frames or self.split_scenes)

    @property
    def size(self) -> Sequence[int]:
        """Target size of frames, as in `video_io.resize`."""
        return [self.resolution] if self.resize is None else self.resize


class Segments(Mapping[int, list[bytes]]):
    """Encoded frames of a clip's segments, by number; in a file if there are many.

    Segment 0 is the whole clip if clips are not cut.
    """

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(_MAX_BYTES_IN_MEMORY)
        self._places: dict[int, list[tuple[int, int]]] = {}
        self._end = 0

    def add(self, number: int, frame: bytes) -> None:
        """Appends a frame to a segment.

        Args:
          number: number of the segment.
          frame: the encoded frame.
        """
        self._places.setdefault(number, []).append((self._end, len(frame)))
        self._file.seek(self._end)
        self._file.write(frame)
        self._end += len(frame)

    def discard(self, number: int) -> None:
        """Removes a segment, if it exists."""
        self._places.pop(number, None)

    @property
    def lengths(self) -> dict[int, int]:
        """Number of frames of each segment, which reads none."""
        return {number: len(places) for number, places in self._places.items()}

    def __getitem__(self, number: int) -> list[bytes]:
        frames = []
        for start, size in self._places[number]:
            self._file.seek(start)
            frames.append(self._file.read(size))
        return frames

    def __iter__(self) -> Iterator[int]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


@dataclasses.dataclass(frozen=True)
class Decoded:
    """A decoded clip.

    Attributes:
      fps: frames per second.
      height: height of the frames, in pixels.
      width: width of the frames, in pixels.
      hashes: of some frames, see `duplicates`.
      segments: segment number to encoded frames.
      dropped: segment number to the reason why the segment was dropped.
    """

    fps: float
    height: int
    width: int
    hashes: list[int]
    segments: Segments
    dropped: dict[int, str]


# What `events` yields: encoded frames of a segment, why a segment was dropped, and at
# the end properties of the clip.
Event = tuple[int, list[bytes]] | tuple[int, str] | dict[str, Any]


def decode(form: str, paths: Sequence[str], offset: int, recipe: Recipe) -> Decoded:
    """Decodes a clip in this process.

    Args:
      form: `sources.Clip.form`.
      paths: local paths of its files, in order.
      offset: `sources.Clip.offset` in the first of them.
      recipe: how to cut, resize and encode it.

    Returns:
      The encoded segments.

    Raises:
      VideoError: the clip cannot be used.
    """
    return collect(events(form, paths, offset, recipe), recipe)


def events(
    form: str,
    paths: Sequence[str],
    offset: int,
    recipe: Recipe,
    progress: Callable[[], None] = lambda: None,
) -> Iterator[Event]:
    """Decodes a clip, some frames at a time; see `decode`.

    Args:
      form: `sources.Clip.form`.
      paths: local paths of its files, in order.
      offset: `sources.Clip.offset` in the first of them.
      recipe: how to cut, resize and encode it.
      progress: called for each frame of a video that is decoded.

    Yields:
      Encoded frames, dropped segments, and at the end properties of the clip.

    Raises:
      VideoError: the clip cannot be used.
    """
    at_once = len(recipe.size) == 1 and not recipe.stabilize
    smallest_side = recipe.size[0] if at_once else None
    fps, frames = forms.read(form, paths, offset, smallest_side, recipe.fps, progress)
    sizes: set[tuple[int, int]] = set()
    hashes: list[int] = []
    frames = _hashing(frames, hashes)
    scenes = scenes_lib.split(frames, fps) if recipe.split_scenes else [frames]
    segments = itertools.chain.from_iterable(
        _cut(iter(scene), recipe.segment_frames) for scene in scenes
    )
    for number, segment in enumerate(segments):
        num_bytes = 0
        try:
            if recipe.stabilize:
                segment = stabilization.stabilize(segment)
            frames_left = iter(segment)
            while block := list(itertools.islice(frames_left, _FRAMES_AT_ONCE)):
                encoded = [_encode(frame, recipe, sizes) for frame in block]
                num_bytes += sum(map(len, encoded))
                if num_bytes > _MAX_BYTES:
                    raise video_io.VideoError(
                        "too long for one record: over 2 GB, see --segment_frames"
                    )
                yield number, encoded
        except stabilization.CameraMotionError as error:
            yield number, str(error)
    if not sizes:  # all segments were dropped
        sizes.add((0, 0))
    ((height, width),) = sizes
    yield {"fps": fps, "height": height, "width": width, "hashes": hashes}


def _hashing(frames: Iterable[np.ndarray], hashes: list[int]) -> Iterator[np.ndarray]:
    """Yields frames; appends the hashes of some of them."""
    for number, frame in enumerate(frames):
        if number in duplicates.HASHED_FRAMES:
            hashes.append(duplicates.hash_of(frame))
        yield frame


def collect(events: Iterable[Event], recipe: Recipe) -> Decoded:
    """Collects what `events` yields.

    Args:
      events: the events.
      recipe: how the clip was cut.

    Returns:
      The encoded segments.

    Raises:
      EOFError: the properties at the end are missing.
      VideoError: no segment can be used, or the clip is a still image.
    """
    segments, dropped = Segments(), {}
    for event in events:
        match event:
            case (number, list() as frames):
                for frame in frames:
                    segments.add(number, frame)
            case (number, str() as reason):
                segments.discard(number)
                dropped[number] = reason
            case dict() as properties:
                for number in _remainders(segments.lengths, recipe):
                    segments.discard(number)
                _check_usable(segments, dropped)
                return Decoded(**properties, segments=segments, dropped=dropped)
    raise EOFError


def _remainders(lengths: dict[int, int], recipe: Recipe) -> list[int]:
    """Numbers of the segments that are too short; one is kept if there is no other."""
    least = max(recipe.segment_frames, 2 if recipe.split_scenes else 0)
    short = [number for number, length in lengths.items() if length < least]
    return short[1:] if len(short) == len(lengths) else short


def _check_usable(segments: Segments, dropped: dict[int, str]) -> None:
    """Rejects a clip without segments and a still image."""
    if not segments and not dropped:
        raise video_io.VideoError("no frame can be decoded")
    if not segments:
        raise video_io.VideoError(next(iter(dropped.values())))
    if list(segments.lengths.values()) == [1]:
        raise video_io.VideoError("only one frame")


def _cut(frames: Iterator[np.ndarray], length: int) -> Iterator[Iterable[np.ndarray]]:
    """Cuts frames into segments, to be read in order; length 0 makes one segment."""
    for first in frames:
        rest = itertools.islice(frames, length - 1 if length else None)
        yield itertools.chain([first], rest)
        collections.deque(rest, maxlen=0)  # skips the rest of a dropped segment


def _encode(frame: np.ndarray, recipe: Recipe, sizes: set[tuple[int, int]]) -> bytes:
    """Encodes a frame; `sizes` collects the sizes of the clip's frames."""
    frame = video_io.resize(frame, recipe.size)
    height, width = frame.shape[:2]
    if min(height, width) < recipe.resolution:
        raise video_io.VideoError(f"smaller than --resolution: {width} x {height}")
    sizes.add((height, width))
    if len(sizes) > 1:
        raise video_io.VideoError("frames of different sizes")
    options = []
    if recipe.encoding == "jpeg":
        options = [cv2.IMWRITE_JPEG_QUALITY, recipe.jpeg_quality]
    bgr = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(f".{recipe.encoding}", bgr, options)
    return encoded.tobytes()
