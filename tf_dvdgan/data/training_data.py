"""Training data of a GAN: prepared shards, or any `tf.data.Dataset` of videos.

Row n of a run is the same for any number of workers and wherever the run resumes.
Shards can be opened at any row; a dataset is read from its start to skip rows.
"""

import functools
import itertools
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import tensorflow as tf

from tf_dvdgan import errors, terminal
from tf_dvdgan.data import manifest as manifest_lib
from tf_dvdgan.data import readers, transforms, windows


class TrainingData(Protocol):
    """Interface of training data.

    Attributes:
      class_names: class names in the order of the labels.
      name: name of the data set; empty if it has none.
      num_clips: number of training clips; None if unknown.
    """

    class_names: list[str]
    name: str
    num_clips: int | None

    def check(self, class_conditional: bool, verbose: bool) -> None:
        """Checks that the data are suitable for a model.

        Args:
          class_conditional: whether the model uses classes.
          verbose: whether to print notes about the data.

        Raises:
          UserError: the data are not suitable.
        """

    def rows(
        self,
        global_batch_size: int,
        seed: int,
        first_batch: int = 0,
        worker: int = 0,
        num_workers: int = 1,
    ) -> tf.data.Dataset:
        """Creates the infinite training data of one worker, in order, not batched.

        Args:
          global_batch_size: rows per batch over all workers, which have equal shares.
          seed: seed of all random choices.
          first_batch: number of the first batch, to resume a run.
          worker: index of this worker.
          num_workers: number of workers.

        Returns:
          Elements {'video': `[time, height, width, 3]` uint8, 'label': int32 scalar}.
        """

    def clips(self, at_most: int) -> np.ndarray:
        """Returns up to `at_most` videos, `[count, time, height, width, 3]` uint8."""

    def sample(self, at_most: int, held_out: bool) -> dict[str, np.ndarray] | None:
        """Returns some clips with their labels, the same ones in each call.

        Args:
          at_most: largest number of clips.
          held_out: whether to take clips that are not trained on.

        Returns:
          "video" `[count, time, height, width, 3]` uint8 and "label" `[count]`; None if
          there are no held-out clips.
        """


class Shards(TrainingData):
    """Prepared shards, in a new random order each epoch.

    Args:
      data_dir: folder of prepared shards.
      window: window of each clip.

    Attributes:
      data_dir: as given.

    Raises:
      UserError: there is no such data.
    """

    def __init__(self, data_dir: str, window: windows.Window):
        self.data_dir = data_dir
        self._window = window
        self._manifest = readers.load_manifest(data_dir, window.classes)
        self.class_names = self._manifest.class_names
        self.name = self._manifest.dataset
        self.num_clips = self._manifest.num_clips("train")

    def check(self, class_conditional: bool, verbose: bool) -> None:
        window = self._window
        shards = readers.shards_of(self._manifest, self.data_dir, "train", window)
        if verbose:
            _print_short_clips(shards, window)
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
        count = min(at_most, self._manifest.num_clips("train"))
        with readers.reading(self.data_dir):
            return _stacked(self.rows(1, seed=0), count)["video"]

    def sample(self, at_most: int, held_out: bool) -> dict[str, np.ndarray] | None:
        split = self._manifest.held_out_split if held_out else "train"
        if split is None:
            return None
        with readers.reading(self.data_dir):
            rows = readers.evaluation_dataset(self.data_dir, self._window, split)
            return _stacked(rows, at_most)


class Clips(TrainingData):
    """A dataset of `(video, label)`, repeated in its own order.

    Args:
      dataset: pairs of a video `[time, height, width, 3]`, uint8 or float32 in [-1, 1],
        and a label, or batches of them. It is not shuffled, and must yield the same
        elements each time it is read.
      class_names: class names in the order of the labels.
      window: window with the length and resolution of the videos; `flips` and
        `reverses` apply, too.

    Raises:
      UserError: the dataset has other elements, or the window selects classes, which
        only shards can do.
    """

    name = ""
    num_clips = None

    def __init__(
        self,
        dataset: tf.data.Dataset,
        class_names: Sequence[str],
        window: windows.Window,
    ):
        self.class_names = list(class_names)
        self._window = window
        if window.classes or window.balanced:
            raise errors.UserError(
                "data.Window.classes and data.Window.balanced need prepared shards: "
                "select the clips in the dataset itself."
            )
        spec = dataset.element_spec
        if not (isinstance(spec, tuple) and len(spec) == 2):
            raise errors.UserError(
                f"The dataset's elements must be pairs of video and label, not {spec}."
            )
        if spec[0].shape.rank == 5:
            dataset = dataset.unbatch()
        video, label = dataset.element_spec
        size = [window.num_frames, window.resolution, window.resolution, 3]
        if not (video.shape.is_compatible_with(size) and label.shape.rank in (0, None)):
            raise errors.UserError(
                f"The model needs videos {size} with scalar labels; the dataset has "
                f"{video.shape} with labels {label.shape}."
            )
        self._dataset = dataset.map(lambda video, label: _row(video, label, size))

    def check(self, class_conditional: bool, verbose: bool) -> None:
        del verbose
        if class_conditional and len(self.class_names) < 2:
            raise errors.UserError(
                "A class-conditional model needs at least two classes; NUM_CLASSES = 0 "
                "makes a model without classes."
            )
        for row in self._dataset.take(1).as_numpy_iterator():
            if class_conditional and not 0 <= row["label"] < len(self.class_names):
                raise errors.UserError(
                    f"The dataset has the label {row['label']}, but there are only "
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
        # The dataset has its own order: the seed is only that of flips and reversals.
        rows = self._dataset.repeat()
        if self._window.flips or self._window.reverses:
            rows = rows.enumerate().map(functools.partial(self._symmetric, seed))
        rows = rows.skip(first_batch * global_batch_size)
        own = global_batch_size // num_workers
        return rows.batch(own).shard(num_workers, worker).unbatch()

    def _symmetric(
        self, seed: int, number: tf.Tensor, row: dict[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        video = readers.with_symmetries(row["video"], self._window, seed, number)
        return row | {"video": video}

    def clips(self, at_most: int) -> np.ndarray:
        return _stacked(self._dataset, at_most)["video"]

    def sample(self, at_most: int, held_out: bool) -> dict[str, np.ndarray] | None:
        return None if held_out else _stacked(self._dataset, at_most)


def _row(
    video: tf.Tensor, label: tf.Tensor, size: list[int | None]
) -> dict[str, tf.Tensor]:
    if video.dtype != tf.uint8:
        video = transforms.to_uint8(video)
    return {"video": tf.ensure_shape(video, size), "label": tf.cast(label, tf.int32)}


def _stacked(rows: tf.data.Dataset, count: int) -> dict[str, np.ndarray]:
    """Returns copies of the first rows; the iterator reuses its buffers."""
    taken = itertools.islice(rows.as_numpy_iterator(), count)
    copies = [{name: np.copy(value) for name, value in row.items()} for row in taken]
    return {name: np.stack([row[name] for row in copies]) for name in copies[0]}


def _print_short_clips(
    shards: Sequence[manifest_lib.Shard], window: windows.Window
) -> None:
    fewest = min(shard.fewest_frames for shard in shards)
    if fewest < window.length:
        terminal.say(
            f"Some clips are shorter than the window of {window.length} frames (the "
            f"shortest has {fewest}); their last frame is repeated"
        )
