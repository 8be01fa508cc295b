"""Sources of what a feature network sees: clips of a place, or videos of a model."""

import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np
import tensorflow as tf

from tf_dvdgan.data import clips, windows
from tf_dvdgan.sampling import latents
from tf_dvdgan.sampling import sampler as sampler_lib

Row = Mapping[str, np.ndarray]
# Compiled: eagerly, 50,000 rows would take half a minute.
_draw_latents = tf.function(latents.draw, autograph=False)
_draw_labels = tf.function(latents.draw_labels, autograph=False)


class Source(Protocol):
    """Where videos come from.

    Attributes:
      num_clips: how many there are; a clip that cannot be read leaves a gap.
    """

    num_clips: int

    def rows(self, first: int, worker: int, num_workers: int) -> Iterator[Row | None]:
        """What `videos` needs of each clip.

        Args:
          first: number of the first clip.
          worker: number of this worker.
          num_workers: how many there are; they take clips in turn.

        Yields:
          Arrays by name, "label" among them, of the clips `first + worker`,
          `first + worker + num_workers` and so on; None for a gap.
        """

    def videos(self, rows: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Uint8 `[batch, time, height, width, 3]` of rows, on each replica."""

    def fingerprint(self) -> dict:
        """What distinguishes these clips from all others: only JSON's types."""


class ClipSelection:
    """Clips of a place: how many, which window of each, and with which labels.

    Args:
      source: where they lie.
      window: of each.
      at_most: only the first are taken; None takes all.
      class_names: that labels are numbers of, whatever numbers the source itself gives
        its classes; a class that is not among them has label -1. None takes its own.

    Attributes:
      source: as given.
      window: as given.
      num_clips: how many are taken.
    """

    def __init__(
        self,
        source: clips.ClipSource,
        window: windows.Window,
        at_most: int | None = None,
        class_names: Sequence[str] | None = None,
    ):
        self.source = source
        self.window = window
        self.num_clips = min(source.num_clips, at_most or source.num_clips)
        names = source.class_names if class_names is None else list(class_names)
        self._labels = {
            own: names.index(name) if name in names else -1
            for own, name in enumerate(source.class_names)
        }

    def rows(
        self, first: int, worker: int, num_workers: int
    ) -> Iterator[dict[str, np.ndarray] | None]:
        expected = first + worker
        for example in self.source.examples(self.window, first, worker, num_workers):
            while expected < min(example.number, self.num_clips):
                yield None
                expected += num_workers
            if example.number >= self.num_clips:
                return
            label = -1 if example.label is None else self._labels[example.label]
            yield {"video": example.video, "label": np.int32(label)}
            expected += num_workers

    def videos(self, rows: Mapping[str, tf.Tensor]) -> tf.Tensor:
        return rows["video"]

    def fingerprint(self) -> dict:
        window = self.window
        return {
            "key": self.source.key,
            "num_clips": self.num_clips,
            "window": [window.num_frames, window.stride, window.resolution],
            "consecutive_if_short": window.consecutive_if_short,
            "labels": list(self._labels.values()),
        }

    def first_frames(self, count: int, at_most: int | None = None) -> np.ndarray:
        """First frames of the clips: what a prediction model continues.

        Args:
          count: frames of each clip.
          at_most: only the first clips are read; None reads all.

        Returns:
          `[clips, count, height, width, 3]` uint8.
        """
        rows = (row for row in self.rows(0, 0, 1) if row is not None)
        # Copies: a view would keep the whole clip.
        return np.stack(
            [row["video"][:count].copy() for row in itertools.islice(rows, at_most)]
        )


class ArraySource:
    """Videos in memory, without classes.

    Args:
      array: `[count, time, height, width, 3]` uint8.
    """

    def __init__(self, array: np.ndarray):
        self._array = array
        self.num_clips = len(array)

    def rows(
        self, first: int, worker: int, num_workers: int
    ) -> Iterator[dict[str, np.ndarray]]:
        for i in range(first + worker, self.num_clips, num_workers):
            yield {"video": self._array[i], "label": np.int32(-1)}

    def videos(self, rows: Mapping[str, tf.Tensor]) -> tf.Tensor:
        return rows["video"]

    def fingerprint(self) -> dict:
        return {"array": sampler_lib.fingerprint([self._array])}


class ModelSource:
    """Videos of a model, as uint8 like those in files.

    Args:
      sampler: of the model.
      num_clips: how many.
      seed: of latents and classes; classes are drawn uniformly.
      truncation: factor of the latents.
      frames: `[count, conditioning_frames, height, width, 3]` uint8 that a model which
        starts from frames continues, in turn; None takes those of its frame bank.
      labels: `[num_clips]` class numbers, instead of drawn ones.
      num_frames: of each video, from its first one; None gives all.
    """

    def __init__(
        self,
        sampler: sampler_lib.Sampler,
        num_clips: int,
        seed: int,
        truncation: float = 1.0,
        frames: np.ndarray | None = None,
        labels: np.ndarray | None = None,
        num_frames: int | None = None,
    ):
        self._sampler = sampler
        self._networks = sampler.networks
        self._num_frames = num_frames or self._networks.generator.num_frames
        self._seed = seed
        self._truncation = truncation
        self._given_frames = frames
        self._given_labels = labels
        self.num_clips = num_clips

    def rows(
        self, first: int, worker: int, num_workers: int
    ) -> Iterator[dict[str, np.ndarray]]:
        frames = self._frames
        for i in range(first + worker, self.num_clips, num_workers):
            row = {"z": self._z[i], "label": np.int32(self._labels[i])}
            if frames is not None:
                row["frames"] = frames[i % len(frames)]
            yield row

    @functools.cached_property
    def _z(self) -> np.ndarray:
        numbers = tf.constant(self.num_clips), tf.constant(self._seed)
        return _draw_latents(self._networks.latent, *numbers).numpy()

    @functools.cached_property
    def _labels(self) -> np.ndarray:
        classes = self._networks.generator.num_classes
        if self._given_labels is not None:
            return self._given_labels
        if classes <= 1:  # as of files without classes
            return np.full(self.num_clips, -1)
        numbers = tf.constant(self.num_clips), tf.constant(self._seed)
        return _draw_labels(*numbers, classes).numpy()

    @property
    def _frames(self) -> np.ndarray | None:
        if not self._networks.generator.num_conditioning_frames:
            return None
        if self._given_frames is not None:
            return self._given_frames
        return self._networks.frame_bank

    def videos(self, rows: Mapping[str, tf.Tensor]) -> tf.Tensor:
        made = self._sampler.on_replicas(
            rows["z"], rows["label"], rows.get("frames"), self._truncation
        )
        if self._num_frames == self._networks.generator.num_frames:
            return made["videos"]
        return self._cut(made["videos"])

    @tf.function(autograph=False)
    def _cut(self, videos: tf.Tensor) -> tf.Tensor:
        strategy, count = self._sampler.strategy, self._num_frames
        return strategy.run(lambda x: x[:, :count], args=(videos,))

    def fingerprint(self) -> dict:
        generator, frames = self._networks.generator, self._frames
        return {
            "weights": sampler_lib.fingerprint_of_weights(generator),
            "standing_batches": self._sampler.num_batches,
            "size": [self._num_frames, generator.resolution],
            "z": sampler_lib.fingerprint([self._z]),
            "labels": sampler_lib.fingerprint([self._labels]),
            "seed": self._seed,
            "truncation": self._truncation,
            "frames": None if frames is None else sampler_lib.fingerprint([frames]),
        }
