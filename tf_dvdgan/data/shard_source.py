"""Clips of prepared shards as a source for evaluation."""

import dataclasses
import functools
import itertools
import os
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from tf_dvdgan.data import (
    clip_files,
    clip_source,
    files,
    readers,
    record_index,
    records,
    windows,
)
from tf_dvdgan.data.video_process import ClipInfo


class ShardSource(clip_source.ClipSource):
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
    def resolution(self) -> int:
        """Height and width of the clips, which may be crops of the stored frames."""
        return self._manifest.resolution

    @property
    def class_counts(self) -> list[int]:
        """Number of clips of each class."""
        return self._manifest.class_counts(self.split)

    @functools.cached_property
    def key(self) -> str:
        values = dataclasses.asdict(self._manifest)
        lines = [f"{name}: {values[name]}" for name in values]
        return clip_source.sha256_of([*lines, self.split, self._checksum])

    @functools.cached_property
    def _checksum(self) -> str:
        with readers.reading(self.path):
            return record_index.checksum(self._paths)

    @property
    def content_hash(self) -> str:
        if files.is_remote(self.path):  # reading a whole split would take too long
            return f"{clip_source.UNREAD}{self.key}"
        manifest = self._manifest
        of_clips = [*manifest.class_names, str(manifest.resolution), self.split]
        return clip_source.sha256_of([*of_clips, self._checksum])

    @property
    def _paths(self) -> list[str]:
        return [os.path.join(self.path, shard.file) for shard in self._shards]

    @functools.cached_property
    def clip_info(self) -> list[ClipInfo]:
        with readers.reading(self.path):
            rows = record_index.rows(self._paths, at_most=clip_source.NUM_PROBED)
            return [_info_of_record(row) for row in rows]

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
    ) -> Iterator[clip_source.Example]:
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
                yield clip_source.Example(video, int(row["label"]), number)


def _info_of_record(serialized: tf.Tensor) -> ClipInfo:
    context, frames = records.parse(serialized)
    return ClipInfo(
        num_frames=int(context["num_frames"]),
        height=int(context["height"]),
        width=int(context["width"]),
        codec="jpeg" if tf.io.is_jpeg(frames[0]) else "png",
        fps=round(float(context["fps"]), 2),
    )
