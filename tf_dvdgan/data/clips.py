"""Clips to be scored: prepared shards of ours, or any folder that others left.

Every clip is given once, in an order without meaning that stays the same, as the middle
window of it in the centre of its frames; so two sides of a comparison are cut alike,
whatever they came as. `warnings` says what else is not alike.
"""

import abc
import contextlib
import dataclasses
import functools
import hashlib
import itertools
import os
import threading
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tf_dvdgan import errors, terminal
from tf_dvdgan.data import (
    clip_files,
    files,
    manifest,
    prefetch,
    readers,
    records,
    video_io,
    windows,
)
from tf_dvdgan.data.clip_files import ClipInfo

_MAX_BAD_SHARE = 0.05
_PROBED = 8  # clips that stand for all of a folder's in what is said about it


class Example(NamedTuple):
    """A clip that was read.

    Attributes:
      video: `[num_frames, height, width, 3]` uint8.
      label: of its class; None where there are no classes.
      number: in the source, of `num_clips`.
    """

    video: np.ndarray
    label: int | None
    number: int


class ClipSource(abc.ABC):
    """Clips of one place, in an order without meaning.

    Attributes:
      path: of the place.
      num_clips: how many there are; those that turn out bad are among them.
      class_names: in the order of the labels; empty where there are no classes.
    """

    path: str
    num_clips: int
    class_names: list[str]

    def __init__(self):
        self._rejected: dict[str, str] = {}

    @property
    def rejected(self) -> list[tuple[str, str]]:
        """Path and reason of what could not be read so far."""
        return list(self._rejected.items())

    @property
    @abc.abstractmethod
    def key(self) -> str:
        """A SHA-256 that changes when the clips do."""

    @property
    @abc.abstractmethod
    def clip_info(self) -> list[ClipInfo]:
        """What a handful of clips are like."""

    @abc.abstractmethod
    def short_clips(self, window: windows.Window) -> str:
        """Says which clips are known to be shorter than a window; '' where none is."""

    @abc.abstractmethod
    def examples(
        self,
        window: windows.Window,
        skip: int = 0,
        worker: int = 0,
        num_workers: int = 1,
    ) -> Iterator[Example]:
        """Reads the clips.

        Args:
          window: of each. A clip that is too short repeats its last frame.
          skip: so many of the first are left out.
          worker: number of the one that reads; the others read the other clips.
          num_workers: they take clips in turn.

        Raises:
          UserError: too many cannot be read, or frames differ in size and are not
            resized.
        """

    def clips(
        self,
        window: windows.Window,
        skip: int = 0,
        worker: int = 0,
        num_workers: int = 1,
    ) -> Iterator[np.ndarray]:
        """The videos of `examples` alone."""
        for example in self.examples(window, skip, worker, num_workers):
            yield example.video

    def describe(self) -> dict:
        """What stands in a protocol: JSON's types alone."""
        facts = self.clip_info
        return {
            "name": os.path.basename(self.path.rstrip("/")),
            "num_clips": self.num_clips,
            "fps": sorted({fact.fps for fact in facts if fact.fps is not None}),
            "sizes": sorted({f"{fact.width}x{fact.height}" for fact in facts}),
            "codecs": sorted({fact.codec for fact in facts}),
            "num_probed": len(facts),
        }


def is_prepared(path: str) -> bool:
    """Whether a place has prepared shards."""
    files.register_filesystems(path)
    return tf.io.gfile.exists(os.path.join(path, manifest.FILE_NAME))


def open_clips(
    path: str, split: str | None = None, classes: Sequence[str] = ()
) -> ClipSource:
    """Finds out what lies in a place; nothing is decoded yet.

    Args:
      path: of prepared shards, of a folder of videos, arrays and frames, or of a single
        video or array.
      split: of shards; by default what is held out, or 'train' where nothing is.
      classes: of shards, the only ones that are taken; see `windows.Window`.

    Raises:
      UserError: there are no clips, or no such split or class.
    """
    if is_prepared(path):
        return ShardSource(path, split, classes)
    if split is not None:
        raise errors.UserError(
            f"{path} has no {manifest.FILE_NAME}, so no split {split!r}; name "
            "the folder of the split itself."
        )
    return FolderSource(path)


class ShardSource(ClipSource):
    """A split of prepared shards.

    Args:
      path: of their folder.
      split: see `open_clips`.
      classes: see there.
    """

    def __init__(
        self, path: str, split: str | None = None, classes: Sequence[str] = ()
    ):
        super().__init__()
        self.path = path
        self._classes = tuple(classes)
        side = manifest.load(path).resolution
        window = windows.Window(1, side, classes=self._classes)
        self._manifest = readers.load_manifest(path, window)
        self.split = split or self._manifest.held_out_split or "train"
        self._shards = readers.shards_of(self._manifest, path, self.split, window)
        self.num_clips = sum(shard.num_clips for shard in self._shards)
        self.class_names = list(self._manifest.class_names)

    @property
    def class_counts(self) -> list[int]:
        """Clips of each class."""
        return self._manifest.class_counts(self.split)

    @functools.cached_property
    def key(self) -> str:
        values = dataclasses.asdict(self._manifest)
        return _sha256([f"{name}: {values[name]}" for name in values] + [self.split])

    @functools.cached_property
    def clip_info(self) -> list[ClipInfo]:
        paths = [os.path.join(self.path, shard.file) for shard in self._shards]
        with _reading_shards(self.path):
            return [
                _info_of_record(row)
                for row in tf.data.TFRecordDataset(paths).take(_PROBED)
            ]

    def short_clips(self, window: windows.Window) -> str:
        short = [s for s in self._shards if s.fewest_frames < window.length]
        return f"in {len(short)} of {len(self._shards)} shards" if short else ""

    def describe(self) -> dict:
        return {
            **super().describe(),
            "kind": "shards",
            "split": self.split,
            "dataset": self._manifest.dataset,
        }

    def examples(
        self,
        window: windows.Window,
        skip: int = 0,
        worker: int = 0,
        num_workers: int = 1,
    ) -> Iterator[Example]:
        side = self._manifest.resolution
        as_stored = dataclasses.replace(window, resolution=side, classes=self._classes)
        rows = readers.evaluation_dataset(
            self.path, as_stored, self.split, skip, worker, num_workers
        )
        numbers = itertools.count(skip + worker, num_workers)
        with _reading_shards(self.path):
            for number, row in zip(
                numbers, rows.prefetch(16).as_numpy_iterator(), strict=False
            ):
                video = row["video"]
                if window.resolution not in (None, side):
                    video = np.stack(
                        [clip_files.fit(frame, window.resolution) for frame in video]
                    )
                yield Example(video, int(row["label"]), number)


@contextlib.contextmanager
def _reading_shards(path: str) -> Iterator[None]:
    """Turns what TensorFlow says of damaged shards into a sentence."""
    try:
        yield
    except tf.errors.OpError as error:
        raise readers.damaged(path, error) from error


def _info_of_record(serialized: tf.Tensor) -> ClipInfo:
    context, frames = records.parse(serialized)
    return ClipInfo(
        num_frames=int(context["num_frames"]),
        height=int(context["height"]),
        width=int(context["width"]),
        codec="jpeg" if tf.io.is_jpeg(frames[0]) else "png",
        fps=round(float(context["fps"]), 2),
    )


class FolderSource(ClipSource):
    """Videos, arrays and folders of frames; see `clip_files`.

    Where all clips lie in sub-folders, and none deeper, these are the classes, in
    alphabetical order.

    Args:
      path: of the folder, or of a single video or array.

    Attributes:
      names: of the clips, in the order in which they are given.
    """

    def __init__(self, path: str):
        super().__init__()
        self.path = path.rstrip("/")
        self._root = path if files.is_folder(path) else os.path.dirname(path)
        # A protocol takes the first so many, which by name would be the first classes.
        self._clips = sorted(
            clip_files.list_clips(self.path), key=lambda clip: _sha256([clip.name])
        )
        self.names = [clip.name for clip in self._clips]
        self.num_clips = len(self._clips)
        folders = [clip.path.split("/")[:-1] for clip in self._clips]
        has_classes = all(len(above) == 1 for above in folders)
        self.class_names = sorted({above[0] for above in folders if has_classes})
        # Of each clip by its number, as far as known: videos are looked at, or read.
        self._lengths = {
            number: len(clip.names) or clip.shape[0]
            for number, clip in enumerate(self._clips)
            if clip.names or clip.shape
        }

    @functools.cached_property
    def key(self) -> str:
        paths = dict.fromkeys(path for clip in self._clips for path in clip.paths)
        lines = []
        for path in paths:
            stat = tf.io.gfile.stat(os.path.join(self._root, path))
            lines.append(f"{path}: {stat.length} bytes, {stat.mtime_nsec}")
        return _sha256(lines)

    @functools.cached_property
    def clip_info(self) -> list[ClipInfo]:
        step = max(self.num_clips // _PROBED, 1)
        found = []
        for number in range(0, self.num_clips, step)[:_PROBED]:
            try:
                fact = clip_files.probe(self._root, self._clips[number])
            except video_io.VideoError:  # counted when it is read
                continue
            found.append(fact)
            if fact.num_frames:
                self._lengths.setdefault(number, fact.num_frames)
        return found

    def short_clips(self, window: windows.Window) -> str:
        lengths = list(self._lengths.values()) if self.clip_info else []
        short = [length for length in lengths if length < window.length]
        if not short:
            return ""
        return (
            f"{len(short)} of {len(lengths)} that were looked at, the shortest of "
            f"{min(short)} frames"
        )

    def describe(self) -> dict:
        return {**super().describe(), "kind": "folder"}

    def examples(
        self,
        window: windows.Window,
        skip: int = 0,
        worker: int = 0,
        num_workers: int = 1,
    ) -> Iterator[Example]:
        numbers = range(skip + worker, self.num_clips, num_workers)
        allowed = _MAX_BAD_SHARE * self.num_clips / num_workers
        first: tuple[str, tuple[int, ...]] | None = None
        for number, video in self._read(numbers, window):
            clip = self._clips[number]
            if isinstance(video, video_io.VideoError):
                self._rejected[clip.name] = str(video)
                self._check_few_are_bad(allowed)
                continue
            first = first or (clip.name, video.shape)
            if video.shape != first[1]:
                raise errors.UserError(
                    f"{first[0]} has frames of {_size(first[1])} and {clip.name} of "
                    f"{_size(video.shape)}; name a resolution that both are resized to."
                )
            yield Example(video, self._label(clip), number)

    def _read(
        self, numbers: range, window: windows.Window
    ) -> Iterator[tuple[int, np.ndarray | video_io.VideoError]]:
        """Videos, or why there is none, read ahead by a few threads."""
        stopped = threading.Event()

        def read(number: int) -> np.ndarray | video_io.VideoError:
            clip = self._clips[number]
            try:
                video, length = clip_files.read(
                    self._root, clip, window, stopped.is_set
                )
            except video_io.VideoError as error:
                return error
            self._lengths[number] = length
            return video

        # OpenCV decodes without Python's lock, so threads are enough.
        num_threads = max(2, min(os.cpu_count() or 2, 8))
        try:
            videos = prefetch.map_ahead(read, numbers, num_threads)
            yield from zip(numbers, videos, strict=True)
        finally:
            stopped.set()  # or an interrupted process waits for whole videos

    def _check_few_are_bad(self, allowed: float) -> None:
        if len(self._rejected) > allowed:
            name, reason = self.rejected[0]
            raise errors.UserError(
                f"{len(self._rejected)} clips in {self.path} cannot be read, "
                f"{terminal.printable(name)} among them ({reason}); at most "
                f"{_MAX_BAD_SHARE:.0%} of {self.num_clips} may be left out of a score."
            )

    def _label(self, clip: clip_files.ClipFile) -> int | None:
        if not self.class_names:
            return None
        return self.class_names.index(clip.path.split("/")[0])


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[2]}x{shape[1]}"


def _sha256(lines: list[str]) -> str:
    data = "\n".join(lines).encode("utf-8", "surrogateescape")
    return hashlib.sha256(data).hexdigest()
