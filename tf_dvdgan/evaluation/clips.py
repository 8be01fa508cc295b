"""Clips to be scored: prepared shards of ours, or any folder that others left.

Every clip is given once, in an order without meaning that stays the same, as the middle
window of it in the centre of its frames; so two sides of a comparison are cut alike,
whatever they came as. `warnings` says what else is not alike.
"""

import abc
import collections
import concurrent.futures
import contextlib
import dataclasses
import functools
import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tf_dvdgan import errors, terminal
from tf_dvdgan.data import clip_files, files, manifest, readers, records, video_io
from tf_dvdgan.data.clip_files import Facts, Window

_MAX_BAD_SHARE = 0.05
_PROBED = 8  # clips that stand for all of a folder's in what is said about it
_LOSSLESS = {"raw", "rawvideo", "png", "bmp", "ffv1", "huffyuv", "ffvhuff", "utvideo"}
_IMAGES = {"jpeg", "webp", "gif"}  # lossy, but frames by themselves


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


class Source(abc.ABC):
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
    def facts(self) -> list[Facts]:
        """What a handful of clips are like."""

    @abc.abstractmethod
    def short_clips(self, window: Window) -> str:
        """Says which clips are known to be shorter than a window; '' where none is."""

    @abc.abstractmethod
    def examples(
        self, window: Window, skip: int = 0, worker: int = 0, num_workers: int = 1
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
        self, window: Window, skip: int = 0, worker: int = 0, num_workers: int = 1
    ) -> Iterator[np.ndarray]:
        """The videos of `examples` alone."""
        for example in self.examples(window, skip, worker, num_workers):
            yield example.video

    def describe(self) -> dict:
        """What stands in a protocol: JSON's types alone."""
        facts = self.facts
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
    files.ready(path)
    return tf.io.gfile.exists(os.path.join(path, manifest.FILE_NAME))


def open_folder(
    path: str, split: str | None = None, classes: Sequence[str] = ()
) -> Source:
    """Finds out what lies in a place; nothing is decoded yet.

    Args:
      path: of prepared shards, of a folder of videos, arrays and frames, or of a single
        video or array.
      split: of shards; by default what is held out, or 'train' where nothing is.
      classes: of shards, the only ones that are taken; see `readers.Window`.

    Raises:
      UserError: there are no clips, or no such split or class.
    """
    if is_prepared(path):
        return Shards(path, split, classes)
    if split is not None:
        raise errors.UserError(
            f"{path} has no {manifest.FILE_NAME}, so no split {split!r}; name "
            "the folder of the split itself."
        )
    return Folder(path)


class Shards(Source):
    """A split of prepared shards.

    Args:
      path: of their folder.
      split: see `open_folder`.
      classes: see there.
    """

    def __init__(
        self, path: str, split: str | None = None, classes: Sequence[str] = ()
    ):
        super().__init__()
        self.path = path
        self._classes = tuple(classes)
        side = manifest.load(path).resolution
        window = readers.Window(1, side, classes=self._classes)
        self._manifest = readers.load_manifest(path, window)
        self.split = split or self._manifest.held_out_split or "train"
        self._shards = readers.shards_of(self._manifest, path, self.split, window)
        self.num_clips = sum(shard.num_clips for shard in self._shards)
        self.class_names = list(self._manifest.class_names)

    @functools.cached_property
    def key(self) -> str:
        values = dataclasses.asdict(self._manifest)
        return _sha256([f"{name}: {values[name]}" for name in values] + [self.split])

    @functools.cached_property
    def facts(self) -> list[Facts]:
        paths = [os.path.join(self.path, shard.file) for shard in self._shards]
        with _reading_shards(self.path):
            return [
                _facts_of_record(row)
                for row in tf.data.TFRecordDataset(paths).take(_PROBED)
            ]

    def short_clips(self, window: Window) -> str:
        short = [s for s in self._shards if s.fewest_frames < window.length]
        return f"some in {len(short)} of {len(self._shards)} shards" if short else ""

    def describe(self) -> dict:
        return {
            **super().describe(),
            "kind": "shards",
            "split": self.split,
            "dataset": self._manifest.dataset,
        }

    def examples(
        self, window: Window, skip: int = 0, worker: int = 0, num_workers: int = 1
    ) -> Iterator[Example]:
        side = self._manifest.resolution
        as_stored = readers.Window(
            window.num_frames, side, window.stride, classes=self._classes
        )
        rows = readers.evaluation_dataset(self.path, as_stored, self.split)
        rows = rows.enumerate().skip(skip).shard(num_workers, worker).prefetch(16)
        with _reading_shards(self.path):
            for number, row in rows.as_numpy_iterator():
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


def _facts_of_record(serialized: tf.Tensor) -> Facts:
    context, frames = records.parse(serialized)
    return Facts(
        num_frames=int(context["num_frames"]),
        height=int(context["height"]),
        width=int(context["width"]),
        codec="jpeg" if tf.io.is_jpeg(frames[0]) else "png",
        fps=round(float(context["fps"]), 2),
    )


class Folder(Source):
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
    def facts(self) -> list[Facts]:
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

    def short_clips(self, window: Window) -> str:
        lengths = list(self._lengths.values()) if self.facts else []
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
        self, window: Window, skip: int = 0, worker: int = 0, num_workers: int = 1
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
        self, numbers: range, window: Window
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

        try:
            yield from _ahead(read, numbers)
        finally:
            stopped.set()  # else an interrupted process waits for whole videos

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


def _ahead(function: Callable, arguments: range) -> Iterator[tuple]:
    """Pairs of argument and result, in order; a few results are made ahead.

    OpenCV decodes without Python's lock, so threads are enough.
    """
    num_threads = max(2, min(os.cpu_count() or 2, 8))
    executor = concurrent.futures.ThreadPoolExecutor(num_threads)
    waiting: collections.deque = collections.deque()
    try:
        for argument in arguments:
            waiting.append((argument, executor.submit(function, argument)))
            if len(waiting) > 2 * num_threads:
                done, result = waiting.popleft()
                yield done, result.result()
        for done, result in waiting:
            yield done, result.result()
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[2]}x{shape[1]}"


def _sha256(lines: list[str]) -> str:
    data = "\n".join(lines).encode("utf-8", "surrogateescape")
    return hashlib.sha256(data).hexdigest()


@dataclasses.dataclass(frozen=True)
class Taken:
    """What of a place is looked at.

    Attributes:
      place: where clips lie.
      window: of each.
      num_clips: so many of the first.
    """

    place: Source
    window: Window
    num_clips: int


def warnings(real: Taken, generated: Taken, feature_size: int) -> list[str]:
    """Says, a sentence each, why a score of these may not compare with others.

    Best asked for when both have been read: only then are all short clips known.

    Args:
      real: the one side.
      generated: the other side.
      feature_size: of what a covariance is made of; 0 where there is none.
    """
    found = []
    if real.num_clips != generated.num_clips:
        found.append(
            f"There are {real.num_clips} real clips and {generated.num_clips} "
            "generated ones; a score depends on how many there are."
        )
    for side, taken in (("real", real), ("generated", generated)):
        found += few(side, taken.num_clips, feature_size)
        found += warnings_of(side, taken)
    return [*found, *_differences(real.place, generated.place)]


def few(side: str, num_clips: int, feature_size: int) -> list[str]:
    """Says that a covariance of so many clips has no full rank, where it has none."""
    if not feature_size or num_clips > feature_size:
        return []
    return [
        f"{num_clips} {side} clips are too few for the covariance of {feature_size} "
        f"features, which wants {feature_size + 1} at least and many more to be stable."
    ]


def warnings_of(side: str, taken: Taken) -> Iterator[str]:
    """Says what of the clips of one side are not as they should be."""
    source, window = taken.place, taken.window
    short = source.short_clips(window)
    if short:
        yield (
            f"Of the {side} clips {short}, are shorter than the window of "
            f"{window.length}: their last frame is repeated."
        )
    if source.rejected:
        name, reason = source.rejected[0]
        yield (
            f"{len(source.rejected)} {side} clips cannot be read and are left out, "
            f"{terminal.printable(name)} among them ({reason})."
        )


def _differences(real: Source, generated: Source) -> Iterator[str]:
    codecs = [{fact.codec for fact in side.facts} for side in (real, generated)]
    lossy = [side - _LOSSLESS for side in codecs]
    if lossy[0] != lossy[1]:
        yield (
            f"The real clips are encoded by {_listed(codecs[0])}, the generated ones "
            f"by {_listed(codecs[1])}: what a lossy codec takes away counts as a "
            "difference, and re-encoding to mp4 shifts FVD."
        )
    elif lossy[0] - _IMAGES:
        yield (
            f"Both sides are encoded by {_listed(lossy[0])}: re-encoding to mp4 shifts "
            "FVD, so this compares with scores of files encoded alike."
        )
    rates = [{fact.fps for fact in side.facts} - {None} for side in (real, generated)]
    if all(rates) and rates[0] != rates[1]:
        yield (
            f"The real clips have {_listed(rates[0])} frames per second, the generated "
            f"ones {_listed(rates[1])}; frames are taken by number, so the speed of "
            "motion differs."
        )
    sides = [
        {min(fact.height, fact.width) for fact in side.facts}
        for side in (real, generated)
    ]
    if sides[0] != sides[1]:
        yield (
            f"The smaller side of real frames is {_listed(sides[0])} pixels, of "
            f"generated ones {_listed(sides[1])}: resizing makes one of them blurred "
            "or sharp."
        )


def _listed(values: set) -> str:
    return ", ".join(map(str, sorted(values)))
