"""What a GAN trains on: prepared shards, or any `tf.data.Dataset` of videos.

Both give rows by number: row n of a run is the same however many workers there are and
wherever a run begins. Shards are opened at any row; a dataset is read from its start,
and what lies before is skipped.
"""

import itertools
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import tensorflow as tf

from tf_dvdgan import errors, terminal
from tf_dvdgan.data import manifest as manifest_lib
from tf_dvdgan.data import readers, transforms, windows


class TrainingData(Protocol):
    """What training asks of its data.

    Attributes:
      class_names: of the labels.
      name: of the data set; empty if nobody named it.
    """

    class_names: list[str]
    name: str

    def check(self, class_conditional: bool, verbose: bool) -> None:
        """Refuses what cannot be trained on, and tells of what is odd.

        Args:
          class_conditional: whether classes are looked at.
          verbose: whether this process tells.

        Raises:
          UserError: the data do not fit.
        """

    def rows(
        self,
        global_batch_size: int,
        seed: int,
        first_batch: int = 0,
        worker: int = 0,
        num_workers: int = 1,
    ) -> tf.data.Dataset:
        """Endless rows of one worker, as of `readers.training_dataset`."""

    def clips(self, at_most: int) -> np.ndarray:
        """Videos `[count, time, height, width, 3]` uint8, each of another row."""


class Shards:
    """Prepared shards, in an order that is drawn again each epoch.

    Args:
      data_dir: of the shards and the manifest.
      window: frames and pixels taken of each clip.

    Raises:
      UserError: there is no such data.
    """

    def __init__(self, data_dir: str, window: windows.Window):
        self.data_dir = data_dir
        self._window = window
        self._manifest = readers.load_manifest(data_dir, window)
        self.class_names = self._manifest.class_names
        self.name = self._manifest.dataset

    def check(self, class_conditional: bool, verbose: bool) -> None:
        """See `TrainingData`."""
        window = self._window
        shards = readers.shards_of(self._manifest, self.data_dir, "train", window)
        if verbose:
            _tell_of_short_clips(shards, window)
        if class_conditional:
            readers.check_classes(self._manifest)

    def rows(
        self,
        global_batch_size: int,
        seed: int,
        first_batch: int = 0,
        worker: int = 0,
        num_workers: int = 1,
    ) -> tf.data.Dataset:
        """See `TrainingData`."""
        return readers.training_dataset(
            self.data_dir,
            self._window,
            global_batch_size,
            seed,
            first_batch,
            worker=worker,
            num_workers=num_workers,
        )

    def clips(self, at_most: int) -> np.ndarray:
        """See `TrainingData`."""
        count = min(at_most, self._manifest.num_clips("train"))
        return _videos(self.rows(1, seed=0), count)


class Clips:
    """A dataset of `(video, label)`, in its own order, over and over.

    Args:
      dataset: of videos `[time, height, width, 3]`, uint8 or float32 in [-1, 1], and
        labels; or of batches of them. It is not shuffled here, and has to give the same
        elements each time it is read.
      class_names: of the labels.
      window: frames and pixels that the videos have.

    Raises:
      UserError: its elements are none of those.
    """

    name = ""

    def __init__(
        self,
        dataset: tf.data.Dataset,
        class_names: Sequence[str],
        window: windows.Window,
    ):
        self.class_names = list(class_names)
        spec = dataset.element_spec
        if not (isinstance(spec, tuple) and len(spec) == 2):
            raise errors.UserError(
                f"The dataset's elements are pairs of video and label, unlike {spec}."
            )
        if spec[0].shape.rank == 5:
            dataset = dataset.unbatch()
        video, label = dataset.element_spec
        size = [window.num_frames, window.resolution, window.resolution, 3]
        if not (video.shape.is_compatible_with(size) and label.shape.rank in (0, None)):
            raise errors.UserError(
                f"The model makes videos {size}; the dataset has {video.shape} with "
                f"labels {label.shape}."
            )
        self._dataset = dataset.map(lambda video, label: _row(video, label, size))

    def check(self, class_conditional: bool, verbose: bool) -> None:
        """See `TrainingData`."""
        del verbose
        if class_conditional and len(self.class_names) < 2:
            raise errors.UserError(
                "A model with classes wants two at least; NUM_CLASSES = 0 makes one "
                "without."
            )
        for row in self._dataset.take(1).as_numpy_iterator():
            if class_conditional and not 0 <= row["label"] < len(self.class_names):
                raise errors.UserError(
                    f"The dataset has label {row['label']}; there are "
                    f"{len(self.class_names)} classes."
                )
            return
        raise errors.UserError("The dataset is empty.")

    def rows(
        self,
        global_batch_size: int,
        seed: int,
        first_batch: int = 0,
        worker: int = 0,
        num_workers: int = 1,
    ) -> tf.data.Dataset:
        """See `TrainingData`; the order is the dataset's own, whatever the seed."""
        del seed
        rows = self._dataset.repeat().skip(first_batch * global_batch_size)
        own = global_batch_size // num_workers
        return rows.batch(own).shard(num_workers, worker).unbatch()

    def clips(self, at_most: int) -> np.ndarray:
        """See `TrainingData`."""
        return _videos(self._dataset, at_most)


def _row(video: tf.Tensor, label: tf.Tensor, size: list[int]) -> dict[str, tf.Tensor]:
    if video.dtype != tf.uint8:
        video = transforms.to_uint8(video)
    return {"video": tf.ensure_shape(video, size), "label": tf.cast(label, tf.int32)}


def _videos(rows: tf.data.Dataset, count: int) -> np.ndarray:
    """Videos of the first rows; copies, as what is read is taken back."""
    taken = itertools.islice(rows.as_numpy_iterator(), count)
    return np.stack([row["video"].copy() for row in taken])


def _tell_of_short_clips(
    shards: Sequence[manifest_lib.Shard], window: windows.Window
) -> None:
    fewest = min(shard.fewest_frames for shard in shards)
    if fewest < window.length:
        terminal.say(
            f"Some clips are shorter than the window of {window.length} frames (the "
            f"shortest has {fewest}): their last frame is repeated"
        )
