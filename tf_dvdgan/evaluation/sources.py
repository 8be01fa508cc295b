"""What is shown to a network: clips of a place, or videos that a model makes."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf

from tf_dvdgan import sampling
from tf_dvdgan.data import clip_files, readers, transforms
from tf_dvdgan.evaluation import clips
from tf_dvdgan.models import video_gan
from tf_dvdgan.training import standing_statistics

# Compiled: as they are, 50,000 rows would take half a minute.
_latents = tf.function(sampling.latents, autograph=False)
_labels = tf.function(sampling.labels, autograph=False)


class _Clips:
    """A source whose rows have their videos."""

    def videos(
        self, rows: Mapping[str, tf.Tensor], strategy: tf.distribute.Strategy
    ) -> tf.Tensor:
        """See `features.Source`."""
        del strategy
        return rows["video"]


class Files(_Clips):
    """Clips of a folder or of shards; generated ones too, once they are files.

    Args:
      place: where they lie.
      window: of each.
      at_most: so many of the first are taken; None takes all.
      class_names: that labels are numbers of, whatever numbers the place itself gives
        its classes; a class that is not among them has label -1. None takes its own.

    Attributes:
      taken: the same, for warnings.
    """

    def __init__(
        self,
        place: clips.Source,
        window: clip_files.Window,
        at_most: int | None = None,
        class_names: Sequence[str] | None = None,
    ):
        self._place = place
        self._window = window
        self.num_clips = min(place.num_clips, at_most or place.num_clips)
        self.taken = clips.Taken(place, window, self.num_clips)
        names = place.class_names if class_names is None else list(class_names)
        self._labels = {
            own: names.index(name) if name in names else -1
            for own, name in enumerate(place.class_names)
        }

    def rows(
        self, first: int, worker: int, num_workers: int
    ) -> Iterator[dict[str, np.ndarray] | None]:
        """See `features.Source`."""
        expected = first + worker
        for example in self._place.examples(self._window, first, worker, num_workers):
            while expected < min(example.number, self.num_clips):
                yield None
                expected += num_workers
            if example.number >= self.num_clips:
                return
            label = -1 if example.label is None else self._labels[example.label]
            yield {"video": example.video, "label": np.int32(label)}
            expected += num_workers

    def facts(self) -> dict:
        """See `features.Source`."""
        window = self._window
        return {
            "key": self._place.key,
            "num_clips": self.num_clips,
            "window": [window.num_frames, window.stride, window.resolution],
            "labels": list(self._labels.values()),
        }


class Prepared(_Clips):
    """Clips of shards, cut as the readers cut them for evaluation.

    Args:
      data_dir: of the shards.
      window: of each clip.
      split: of the data.
      at_most: so many of the first are taken; None takes all.
    """

    def __init__(
        self,
        data_dir: str,
        window: readers.Window,
        split: str,
        at_most: int | None = None,
    ):
        self._data_dir = data_dir
        self._window = window
        self._split = split
        self._manifest = readers.load_manifest(data_dir, window)
        count = self._manifest.num_clips(split)
        self.num_clips = min(count, at_most or count)

    def rows(
        self, first: int, worker: int, num_workers: int
    ) -> Iterator[dict[str, np.ndarray]]:
        """See `features.Source`."""
        dataset = readers.evaluation_dataset(
            self._data_dir, self._window, self._split, first, worker, num_workers
        )
        own = len(range(first + worker, self.num_clips, num_workers))
        return dataset.take(own).prefetch(16).as_numpy_iterator()

    def facts(self) -> dict:
        """See `features.Source`."""
        return {
            "manifest": dataclasses.asdict(self._manifest),
            "window": dataclasses.asdict(self._window),
            "split": self._split,
            "num_clips": self.num_clips,
        }


def first_frames(
    source: Files | Prepared, count: int, at_most: int | None = None
) -> np.ndarray:
    """What a model continues.

    Args:
      source: of the clips.
      count: how many frames of each.
      at_most: so many of the first clips are taken; None takes all.

    Returns:
      `[clips, count, height, width, 3]` uint8.
    """
    rows = (row for row in source.rows(0, 0, 1) if row is not None)
    # Copies: a view would keep the whole clip.
    return np.stack(
        [row["video"][:count].copy() for row in itertools.islice(rows, at_most)]
    )


class Generated:
    """Videos of a model, as uint8 like those in files.

    Args:
      gan: with averaged weights and standing statistics in place.
      num_clips: how many.
      seed: of latents and classes; classes are drawn uniformly.
      truncation: factor of the latents.
      frames: `[count, conditioning_frames, height, width, 3]` uint8 that a model which
        starts from frames continues, in turn; None takes those of its frame bank.
      labels: `[num_clips]` class numbers, instead of drawn ones.
      num_frames: so many of each video's first are given; None gives all.
    """

    def __init__(
        self,
        gan: video_gan.Networks,
        num_clips: int,
        seed: int,
        truncation: float = 1.0,
        frames: np.ndarray | None = None,
        labels: np.ndarray | None = None,
        num_frames: int | None = None,
    ):
        self._gan = gan
        self._num_frames = num_frames or gan.generator.num_frames
        self._seed = seed
        self._truncation = truncation
        self._given_frames = frames
        self._given_labels = labels
        self.num_clips = num_clips

    def rows(
        self, first: int, worker: int, num_workers: int
    ) -> Iterator[dict[str, np.ndarray]]:
        """See `features.Source`."""
        frames = self._frames
        for i in range(first + worker, self.num_clips, num_workers):
            row = {"z": self._z[i], "label": np.int32(self._labels[i])}
            if frames is not None:
                row["frames"] = frames[i % len(frames)]
            yield row

    @functools.cached_property
    def _z(self) -> np.ndarray:
        numbers = tf.constant(self.num_clips), tf.constant(self._seed)
        truncation = tf.constant(self._truncation, tf.float32)
        return _latents(self._gan.latent, *numbers, truncation).numpy()

    @functools.cached_property
    def _labels(self) -> np.ndarray:
        classes = self._gan.generator.num_classes
        if self._given_labels is not None:
            return self._given_labels
        if classes <= 1:  # as of files without classes
            return np.full(self.num_clips, -1)
        numbers = tf.constant(self.num_clips), tf.constant(self._seed)
        return _labels(*numbers, classes).numpy()

    @property
    def _frames(self) -> np.ndarray | None:
        if not self._gan.generator.num_conditioning_frames:
            return None
        if self._given_frames is not None:
            return self._given_frames
        return self._gan.frame_bank

    def videos(
        self, rows: Mapping[str, tf.Tensor], strategy: tf.distribute.Strategy
    ) -> tf.Tensor:
        """See `features.Source`."""
        return _maker(self._gan, self._num_frames, strategy)(rows)

    def facts(self) -> dict:
        """See `features.Source`."""
        generator = self._gan.generator
        norms = standing_statistics.norm_layers(generator)
        return {
            "weights": sampling.digest_of_weights(generator),
            # How many batches they are of: their values may round otherwise next time.
            "standing": [float(norm.standing_count.numpy()) for norm in norms[:1]],
            "size": [self._num_frames, generator.resolution],
            "z": sampling.digest([self._z]),
            "labels": sampling.digest([self._labels]),
            "seed": self._seed,
            "truncation": self._truncation,
            "frames": None if self._frames is None else sampling.digest([self._frames]),
        }


@functools.lru_cache(maxsize=4)
def _maker(
    gan: video_gan.Networks, num_frames: int, strategy: tf.distribute.Strategy
) -> Callable:
    """Makes uint8 videos of rows; traced once for all evaluations of a model."""

    def make(rows: Mapping[str, tf.Tensor]) -> tf.Tensor:
        frames = rows.get("frames")
        if frames is not None:
            frames = transforms.to_unit_range(frames)
        conditioning = gan.conditioning(rows["label"], frames)
        videos = gan.generate(rows["z"], conditioning)["videos"]
        return transforms.to_uint8(videos[:, :num_frames])

    @tf.function(autograph=False)
    def on_replicas(rows: Mapping[str, tf.Tensor]) -> tf.Tensor:
        return strategy.run(make, args=(rows,))

    return on_replicas
