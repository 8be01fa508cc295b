"""Sources of clips for evaluation: prepared shards, or folders of videos.

Every source yields each clip once, in a fixed arbitrary order: the middle window in
time and the center crop in space. Both sides of a comparison are therefore cut in the
same way, whatever their format. `evaluation.runs.comparability` warns about other
differences.
"""

import abc
import collections
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
    clip_layout,
    clip_listing,
    files,
    filesystem,
    manifest,
    prefetch,
    readers,
    record_index,
    records,
    video_io,
    video_process,
    windows,
)
from tf_dvdgan.data.video_process import ClipInfo

_MAX_BAD_SHARE = 0.05
_PROBED = 8  # number of clips that `clip_info` describes
_HASHED_AT_ONCE = 1 << 20  # bytes


class Example(NamedTuple):
    """A decoded clip.

    Attributes:
      video: `[num_frames, height, width, 3]` uint8.
      label: number of the class; None if there are no classes.
      number: number of the clip in the source, from 0 to `num_clips` - 1.
    """

    video: np.ndarray
    label: int | None
    number: int


class ClipSource(abc.ABC):
    """Clips of a folder or file, in an arbitrary but fixed order.

    Attributes:
      path: path of the folder or file.
      num_clips: number of clips, including unreadable ones.
      class_names: class names in the order of the labels; empty if there are none.
      skipped: summary of a folder's skipped files in one line; '' if there are none.
    """

    path: str
    num_clips: int
    class_names: list[str]
    skipped: str = ""

    def __init__(self) -> None:
        self._rejected: dict[str, str] = {}

    @property
    def rejected(self) -> list[tuple[str, str]]:
        """Paths of clips that could not be read so far, with the reasons."""
        return list(self._rejected.items())

    @property
    @abc.abstractmethod
    def key(self) -> str:
        """A SHA-256 that changes when the clips do."""

    @property
    @abc.abstractmethod
    def content_hash(self) -> str:
        """A SHA-256 of the clips' contents and names, wherever they are."""

    @property
    @abc.abstractmethod
    def clip_info(self) -> list[ClipInfo]:
        """Properties of a few of the clips."""

    @property
    def rates(self) -> collections.Counter[float]:
        """Number of clips by frames per second, of clips whose rate is known so far."""
        rates = (info.fps for info in self.clip_info)
        return collections.Counter(rate for rate in rates if rate is not None)

    @abc.abstractmethod
    def short_clips(self, window: windows.Window) -> str:
        """Describes the clips that are known to be shorter than a window, or ''."""

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
          window: window of each clip. Clips that are too short repeat the last frame.
          skip: number of clips to skip at the start.
          worker: index of this worker.
          num_workers: number of workers; each reads every `num_workers`-th clip.

        Yields:
          The clips in order, without those that cannot be read.

        Raises:
          UserError: too many clips cannot be read, or the frames differ in size and the
            window has no resolution.
        """

    def clips(
        self,
        window: windows.Window,
        skip: int = 0,
        worker: int = 0,
        num_workers: int = 1,
    ) -> Iterator[np.ndarray]:
        """Reads the videos of the clips.

        Args:
          window: window of each clip. Clips that are too short repeat the last frame.
          skip: number of clips to skip at the start.
          worker: index of this worker.
          num_workers: number of workers; each reads every `num_workers`-th clip.

        Yields:
          `[num_frames, height, width, 3]` uint8, as `examples`.
        """
        for example in self.examples(window, skip, worker, num_workers):
            yield example.video

    def describe(self) -> dict:
        """Returns the metadata that is written beside scores, as JSON types."""
        infos = self.clip_info
        return {
            "name": os.path.basename(self.path.rstrip("/")),
            "num_clips": self.num_clips,
            "fps": sorted({info.fps for info in infos if info.fps is not None}),
            "sizes": sorted({f"{info.width}x{info.height}" for info in infos}),
            "codecs": sorted({info.codec for info in infos}),
            "num_probed": len(infos),
        }


def is_prepared(path: str) -> bool:
    """Returns whether a folder contains prepared shards."""
    files.register_filesystems(path)
    return filesystem.exists(os.path.join(path, manifest.FILE_NAME))


def open_clips(
    path: str, split: str | None = None, classes: Sequence[str] = ()
) -> ClipSource:
    """Opens the clips at a path, without decoding them.

    Args:
      path: folder of prepared shards, folder of videos, arrays and frames, or a single
        video or array.
      split: split to use; by default the held-out split, or 'train' if there is none. A
        folder without folders of splits has none to choose.
      classes: the only classes of shards to use, see `windows.Window`; empty for all.

    Returns:
      The clips.

    Raises:
      UserError: there are no clips, or no such split or class.
    """
    if is_prepared(path):
        return ShardSource(path, split, classes)
    return FolderSource(path, split)


class ShardSource(ClipSource):
    """The clips of a split of prepared shards.

    Args:
      path: folder of the shards.
      split: name of the split; by default the held-out split, or 'train' if there is
        none.
      classes: the only classes to use; empty for all.
    """

    def __init__(
        self, path: str, split: str | None = None, classes: Sequence[str] = ()
    ):
        super().__init__()
        self.path = path
        self._classes = tuple(classes)
        self._manifest = readers.load_manifest(path, self._classes)
        self.split = split or self._manifest.held_out_split or "train"
        window = windows.Window(1, self._manifest.resolution)
        self._shards = readers.shards_of(self._manifest, path, self.split, window)
        self.num_clips = sum(shard.num_clips for shard in self._shards)
        self.class_names = list(self._manifest.class_names)

    @property
    def class_counts(self) -> list[int]:
        """Number of clips of each class."""
        return self._manifest.class_counts(self.split)

    @functools.cached_property
    def key(self) -> str:
        values = dataclasses.asdict(self._manifest)
        lines = [f"{name}: {values[name]}" for name in values]
        with readers.reading(self.path):
            content = record_index.checksum(self._paths)
        return _sha256([*lines, self.split, content])

    @property
    def content_hash(self) -> str:
        return self.key

    @property
    def _paths(self) -> list[str]:
        return [os.path.join(self.path, shard.file) for shard in self._shards]

    @functools.cached_property
    def clip_info(self) -> list[ClipInfo]:
        with readers.reading(self.path):
            return [
                _info_of_record(row)
                for row in record_index.rows(self._paths, at_most=_PROBED)
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
        with readers.reading(self.path):
            for number, row in zip(
                numbers, rows.prefetch(16).as_numpy_iterator(), strict=False
            ):
                video = row["video"]
                if window.resolution not in (None, side):
                    video = np.stack(
                        [clip_files.fit(frame, window.resolution) for frame in video]
                    )
                yield Example(video, int(row["label"]), number)


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
    """Clips that are videos, arrays and frames; see `clip_listing`.

    Args:
      path: folder, or a single video or array.
      split: name of the split, if the folder has folders of splits; by default 'test',
        else 'validation', else 'train'.

    Attributes:
      names: names of the clips, in order.
      split: the split; '' if the folder has none.
    """

    def __init__(self, path: str, split: str | None = None):
        super().__init__()
        self.path = path.rstrip("/")
        self._root = path if files.is_folder(path) else os.path.dirname(path)
        found = clip_listing.list_clips(self.path)
        layout = clip_layout.layout(found.clips, path)
        self.split = _chosen_split(set(layout.splits), split, path)
        rows = [
            (clip, name)
            for clip, own, name in zip(
                found.clips, layout.splits, layout.classes, strict=True
            )
            if own == self.split
        ]
        # Protocols use the first clips; sorted by name these would be a few classes.
        rows.sort(key=lambda row: _sha256([row[0].name]))
        self._clips = [clip for clip, _ in rows]
        self._classes = [name for _, name in rows]
        self.skipped = found.describe_skipped()
        self.names = [clip.name for clip in self._clips]
        self.num_clips = len(self._clips)
        self.class_names = layout.class_names
        # Rates and lengths by number of the clip; those of videos follow when they are
        # read.
        self._rates: dict[int, float | None] = {}
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
            stat = filesystem.stat(os.path.join(self._root, path))
            lines.append(f"{path}: {stat.length} bytes, {stat.mtime_nsec}")
        return _sha256(lines)

    @functools.cached_property
    def content_hash(self) -> str:
        lines = [clip.name for clip in self._clips]
        for path in dict.fromkeys(path for clip in self._clips for path in clip.paths):
            with filesystem.GFile(os.path.join(self._root, path), "rb") as file:
                found = hashlib.sha256()
                while block := file.read(_HASHED_AT_ONCE):
                    found.update(block)
            lines.append(found.hexdigest())
        return _sha256(lines)

    @functools.cached_property
    def clip_info(self) -> list[ClipInfo]:
        step = max(self.num_clips // _PROBED, 1)
        found = []
        with video_process.Reader() as reader:
            for number in range(0, self.num_clips, step)[:_PROBED]:
                try:
                    info = clip_files.probe(self._root, self._clips[number], reader)
                except video_io.VideoError:  # `examples` reports it
                    continue
                found.append(info)
                if info.num_frames:
                    self._lengths.setdefault(number, info.num_frames)
                self._rates[number] = info.fps
        return found

    @property
    def rates(self) -> collections.Counter[float]:
        rates = list(self._rates.values()) if self.clip_info else []
        return collections.Counter(rate for rate in rates if rate is not None)

    def short_clips(self, window: windows.Window) -> str:
        lengths = list(self._lengths.values()) if self.clip_info else []
        short = [length for length in lengths if length < window.length]
        if not short:
            return ""
        return (
            f"{len(short)} of {len(lengths)} examined, the shortest has {min(short)} "
            "frames"
        )

    def describe(self) -> dict:
        split = {"split": self.split} if self.split else {}
        return {**super().describe(), "kind": "folder", **split}

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
                    f"{_size(video.shape)}; set a resolution to resize all clips to."
                )
            yield Example(video, self._label(number), number)

    def _read(
        self, numbers: range, window: windows.Window
    ) -> Iterator[tuple[int, np.ndarray | video_io.VideoError]]:
        """Yields videos or errors by number, read ahead in a few threads."""
        # A child process for each thread.
        of_thread, every_reader = threading.local(), []

        def read(number: int) -> np.ndarray | video_io.VideoError:
            clip = self._clips[number]
            if not hasattr(of_thread, "reader"):
                of_thread.reader = video_process.Reader()
                every_reader.append(of_thread.reader)
            try:
                video, length, rate = clip_files.read(
                    self._root, clip, window, of_thread.reader
                )
            except video_io.VideoError as error:
                return error
            self._lengths[number], self._rates[number] = length, rate
            return video

        num_threads = max(2, min(os.cpu_count() or 2, 8))
        try:
            videos = prefetch.map_ahead(read, numbers, num_threads)
            yield from zip(numbers, videos, strict=True)
        finally:
            for reader in every_reader:
                reader.close()  # otherwise Ctrl-C would wait for whole videos

    def _check_few_are_bad(self, allowed: float) -> None:
        if len(self._rejected) > allowed:
            name, reason = self.rejected[0]
            raise errors.UserError(
                f"{len(self._rejected)} clips in {self.path} cannot be read: "
                f"{terminal.printable(name)} ({reason}); a score may skip at most "
                f"{_MAX_BAD_SHARE:.0%} of {self.num_clips} clips."
            )

    def _label(self, number: int) -> int | None:
        name = self._classes[number]
        return self.class_names.index(name) if name else None


def _chosen_split(splits: set[str], asked: str | None, path: str) -> str:
    """The split to use; '' if a folder has none."""
    if splits == {""}:
        if asked is None:
            return ""
        raise errors.UserError(
            f"{path} has no {manifest.FILE_NAME} and no folders of splits, so no split "
            f"{asked!r}."
        )
    if asked is None:
        return next(s for s in ("test", "validation", "train") if s in splits)
    if asked not in splits:
        raise errors.UserError(
            f"{path} has no split {asked!r}, only {' and '.join(sorted(splits))}."
        )
    return asked


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[2]}x{shape[1]}"


def _sha256(lines: list[str]) -> str:
    data = "\n".join(lines).encode("utf-8", "surrogateescape")
    return hashlib.sha256(data).hexdigest()
