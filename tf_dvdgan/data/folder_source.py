"""Clips of a folder of videos, arrays and frames as a source for evaluation."""

import collections
import functools
import os
import threading
from collections.abc import Iterator

import numpy as np

from tf_dvdgan import errors, terminal
from tf_dvdgan.data import (
    clip_files,
    clip_layout,
    clip_listing,
    clip_source,
    files,
    filesystem,
    manifest,
    prefetch,
    video_io,
    video_process,
    windows,
)
from tf_dvdgan.data.video_process import ClipInfo

_MAX_BAD_SHARE = 0.05


class FolderSource(clip_source.ClipSource):
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
        rows.sort(key=lambda row: clip_source.sha256_of([row[0].name]))
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
            place = os.path.join(self._root, path)
            if files.is_remote(place):
                found = filesystem.stat(place)
                values = [place, found.length, found.mtime_nsec]
            else:
                # Archives give files of other folders the same times. ctime cannot be
                # set, and an inode is that of one file.
                stat = os.stat(place)
                values = [path, stat.st_size, stat.st_mtime_ns]
                values += [stat.st_ctime_ns, stat.st_ino]
            lines.append(": ".join(map(str, values)))
        return clip_source.sha256_of(lines)

    @functools.cached_property
    def content_hash(self) -> str:
        lines = [clip.name for clip in self._clips]
        for path in dict.fromkeys(path for clip in self._clips for path in clip.paths):
            lines.append(files.sha256(os.path.join(self._root, path)))
        return clip_source.sha256_of(lines)

    @functools.cached_property
    def clip_info(self) -> list[ClipInfo]:
        step = max(self.num_clips // clip_source.NUM_PROBED, 1)
        found = []
        with video_process.Reader() as reader:
            for number in range(0, self.num_clips, step)[: clip_source.NUM_PROBED]:
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
    ) -> Iterator[clip_source.Example]:
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
            yield clip_source.Example(video, self._label(number), number)

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
