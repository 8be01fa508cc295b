"""Sources of videos for feature networks: clips, arrays, or samples of a model."""

import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np
import tensorflow as tf

from tf_dvdgan.data import clips, windows
from tf_dvdgan.evaluation.metrics import prediction
from tf_dvdgan.sampling import latents
from tf_dvdgan.sampling import sampler as sampler_lib

Row = Mapping[str, np.ndarray]
# Compiled, because 50,000 rows would take half a minute in eager mode.
_draw_latents = tf.function(latents.draw, autograph=False)
_draw_labels = tf.function(latents.draw_labels, autograph=False)


class Source(Protocol):
    """Interface of sources of videos.

    Attributes:
      num_clips: number of clips, including those that cannot be read.
    """

    num_clips: int

    def rows(self, first: int, worker: int, num_workers: int) -> Iterator[Row | None]:
        """Yields what `videos` needs for each clip.

        Args:
          first: number of the first clip.
          worker: index of this worker.
          num_workers: number of workers; each gets every `num_workers`-th clip.

        Yields:
          Arrays by name, including "label", of the clips `first + worker`,
          `first + worker + num_workers` and so on; None for a clip that cannot be read.
        """

    def readable_rows(self) -> Iterator[Row]:
        """Yields the rows of all clips that can be read."""
        return (row for row in self.rows(0, 0, 1) if row is not None)

    def videos(self, rows: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Returns the videos of rows, `[batch, time, height, width, 3]` uint8.

        Rows and videos are per-replica values.
        """
        return rows["video"]

    def fingerprint(self) -> dict:
        """Returns JSON types that differ from those of all other sources."""


class ClipSelection(Source):
    """Clips of a clip source, with a window and labels.

    Args:
      source: the clip source.
      window: window of each clip.
      at_most: uses only the first clips; None for all.
      class_names: class names in the order of the labels; classes of the source that
        are not among them have label -1. None for those of the source.

    Attributes:
      source: as given.
      window: as given.
      num_clips: number of clips that are used.
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

    def rows(self, first: int, worker: int, num_workers: int) -> Iterator[Row | None]:
        expected = first + worker
        for example in self.source.examples(self.window, first, worker, num_workers):
            while expected < min(example.number, self.num_clips):
                yield None
                expected += num_workers
            if example.number >= self.num_clips:
                return
            label = -1 if example.label is None else self._labels[example.label]
            yield {"video": example.video, "label": _label(label)}
            expected += num_workers

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
        """Reads the first frames of the clips, for a prediction model.

        Args:
          count: number of frames per clip.
          at_most: reads only the first clips; None for all.

        Returns:
          `[clips, count, height, width, 3]` uint8.
        """
        rows = self.readable_rows()
        # Copies: a view would keep the whole clip.
        return np.stack(
            [row["video"][:count].copy() for row in itertools.islice(rows, at_most)]
        )


class RepeatedFrames(Source):
    """Clips whose last given frame is repeated: the prediction that nothing moves.

    Args:
      selection: the clips.
      given: number of leading frames to keep.
    """

    def __init__(self, selection: ClipSelection, given: int):
        self._selection = selection
        self._given = given
        self.num_clips = selection.num_clips

    def rows(self, first: int, worker: int, num_workers: int) -> Iterator[Row | None]:
        for row in self._selection.rows(first, worker, num_workers):
            if row is not None:
                video = prediction.repeat_last_frame(row["video"], self._given)
                row = {**row, "video": video}
            yield row

    def fingerprint(self) -> dict:
        return self._selection.fingerprint() | {"given": self._given}


class ArraySource(Source):
    """Videos in memory, without classes.

    Args:
      array: `[count, time, height, width, 3]` uint8.
    """

    def __init__(self, array: np.ndarray):
        self._array = array
        self.num_clips = len(array)

    def rows(self, first: int, worker: int, num_workers: int) -> Iterator[Row | None]:
        for i in range(first + worker, self.num_clips, num_workers):
            yield {"video": self._array[i], "label": _label(-1)}

    def fingerprint(self) -> dict:
        return {"array": sampler_lib.fingerprint([self._array])}


class ModelSource(Source):
    """Samples of a model, as uint8 like videos in files.

    Args:
      sampler: sampler of the model.
      num_clips: number of samples.
      seed: seed of the latents and classes.
      truncation: factor of the latents.
      frames: `[count, conditioning_frames, height, width, 3]` uint8, for a prediction
        model; samples cycle through them. None for the model's frame bank.
      labels: `[num_clips]` class numbers; None for uniformly random ones.
      num_frames: uses the first frames of each video; None for all.
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

    def rows(self, first: int, worker: int, num_workers: int) -> Iterator[Row | None]:
        frames = self._frames
        for i in range(first + worker, self.num_clips, num_workers):
            row = {"z": self._z[i], "label": _label(self._labels[i])}
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
        if classes <= 1:  # as for files without classes
            return np.full(self.num_clips, -1)
        numbers = tf.constant(self.num_clips), tf.constant(self._seed)
        return _draw_labels(*numbers, classes).numpy()

    @property
    def _frames(self) -> np.ndarray | None:
        if not self._networks.generator.num_conditioning_frames:
            return None
        if self._given_frames is not None:
            return self._given_frames
        return self._networks.require_frame_bank()

    def videos(self, rows: Mapping[str, tf.Tensor]) -> tf.Tensor:
        outputs = self._sampler.on_replicas(
            rows["z"], rows["label"], rows.get("frames"), self._truncation
        )
        if self._num_frames == self._networks.generator.num_frames:
            return outputs["videos"]
        return self._cut(outputs["videos"])

    @tf.function(autograph=False)
    def _cut(self, videos: tf.Tensor) -> tf.Tensor:
        strategy, count = self._sampler.strategy, self._num_frames
        return strategy.run(lambda x: x[:, :count], args=(videos,))

    def fingerprint(self) -> dict:
        generator, frames = self._networks.generator, self._frames
        bank = self._networks.frame_bank  # for the standing statistics
        return {
            **sampler_lib.fingerprint_of_weights(self._networks),
            "frame_bank": None if bank is None else sampler_lib.fingerprint([bank]),
            "standing_batches": self._sampler.num_batches,
            "size": [self._num_frames, generator.resolution],
            "z": sampler_lib.fingerprint([self._z]),
            "labels": sampler_lib.fingerprint([self._labels]),
            "seed": self._seed,
            "truncation": self._truncation,
            "frames": None if frames is None else sampler_lib.fingerprint([frames]),
        }


def _label(number: int) -> np.ndarray:
    return np.array(number, np.int32)
