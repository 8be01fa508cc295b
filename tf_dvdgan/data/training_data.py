"""Training data of a GAN: prepared shards, or any `tf.data.Dataset` of videos.

Row n of a run is the same for any number of workers and wherever the run resumes.
Shards can be opened at any row; a dataset is read from its start to skip rows.
"""

import contextlib
import functools
import itertools
import time
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import tensorflow as tf

from tf_dvdgan import errors, terminal
from tf_dvdgan.data import manifest as manifest_lib
from tf_dvdgan.data import readers, transforms, windows

_CHECKED_ROWS = 256  # of a dataset, before training
_CHECK_SECONDS = 3.0  # after which no more of them are read
_COMPARED_ROWS = 8  # of two readings
_TOLERANCE = 0.75  # beyond [-1, 1]: resizing overshoots at edges, and is clipped


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
      dataset: pairs of a video `[time, height, width, 3]`, uint8 or floats in [-1, 1],
        and an integer label, or batches of them. It is not shuffled, and must yield the
        same elements each time it is read.
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
        if not (
            isinstance(spec, tuple)
            and len(spec) == 2
            and all(isinstance(part, tf.TensorSpec) for part in spec)
        ):
            raise errors.UserError(
                f"The dataset's elements must be pairs of video and label, not {spec}."
            )
        _check_dtypes(*spec)
        if spec[0].shape.rank == 5:
            dataset = dataset.unbatch()
        video, label = dataset.element_spec
        size = [window.num_frames, window.resolution, window.resolution, 3]
        if not (video.shape.is_compatible_with(size) and label.shape.rank in (0, None)):
            raise errors.UserError(
                f"The model needs videos {size} with scalar labels; the dataset has "
                f"{video.shape} with labels {label.shape}."
            )
        self._dataset = dataset
        self._size = size
        self._num_classes: int | None = None  # set by `check` if labels are used

    def check(self, class_conditional: bool, verbose: bool) -> None:
        """Checks the first rows; the labels of later ones too, when they are read.

        Args:
          class_conditional: whether the model uses classes, and labels must be valid.
          verbose: whether to print notices about the data.

        Raises:
          UserError: the data are not suitable, or cannot be read.
        """
        if class_conditional and len(self.class_names) < 2:
            raise errors.UserError(
                "A class-conditional model needs at least two classes; NUM_CLASSES = 0 "
                "makes a model without classes."
            )
        self._num_classes = len(self.class_names) if class_conditional else None
        with _reading():
            videos, first = self._first_rows()
            again = self._read_again(len(first))
        if not first:
            raise errors.UserError("The dataset is empty.")
        if not again:
            raise errors.UserError(
                "The dataset yields nothing when it is read again: it must yield the "
                "same elements each time."
            )
        if verbose and again != first:
            terminal.say(
                "The dataset yields other clips, or another order, each time it is "
                "read: a resumed run will not see exactly the data that it would have "
                "seen. If it is shuffled, set a seed and pass "
                "reshuffle_each_iteration=False"
            )
        if self._dataset.element_spec[0].dtype.is_floating:
            _check_range(videos, verbose)

    def _first_rows(self) -> tuple[np.ndarray, list[tuple[bytes, int]]]:
        """Reads the first rows, for a bounded time.

        Returns:
          `[rows, 2]` the least and the largest value of each video as it is given; and
          the first few rows as they are trained on.
        """
        given = self._dataset.map(lambda video, label: (video, self._row(video, label)))
        ranges: list[list[np.float32]] = []
        first: list[tuple[bytes, int]] = []
        began = time.monotonic()
        for video, row in given.take(_CHECKED_ROWS).as_numpy_iterator():
            ranges.append([np.float32(video.min()), np.float32(video.max())])
            if len(first) < _COMPARED_ROWS:
                first.append(_comparable(row))
            if time.monotonic() - began > _CHECK_SECONDS:
                break
        return np.array(ranges), first

    def _read_again(self, count: int) -> list[tuple[bytes, int]]:
        """Returns the first `count` rows of another reading."""
        rows = self._dataset.map(self._row).take(count)
        return [_comparable(row) for row in rows.as_numpy_iterator()]

    def _row(self, video: tf.Tensor, label: tf.Tensor) -> dict[str, tf.Tensor]:
        return _row(video, label, self._size, self._num_classes)

    def rows(
        self,
        global_batch_size: int,
        seed: int,
        first_batch: int = 0,
        worker: int = 0,
        num_workers: int = 1,
    ) -> tf.data.Dataset:
        # The dataset has its own order: the seed is only that of flips and reversals.
        rows = self._dataset.map(self._row).repeat()
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
        with _reading():
            return _stacked(self._dataset.map(self._row), at_most)["video"]

    def sample(self, at_most: int, held_out: bool) -> dict[str, np.ndarray] | None:
        if held_out:
            return None
        with _reading():
            return _stacked(self._dataset.map(self._row), at_most)


def unusable(error: tf.errors.OpError) -> errors.UserError:
    """Creates the error to raise when TensorFlow cannot read the rows of `Clips`.

    Args:
      error: TensorFlow's error.

    Returns:
      The error.
    """
    reason = errors.reason_of(error).rstrip(".")
    return errors.UserError(f"The dataset cannot be used: {reason}.")


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    """Reports TensorFlow's errors while it reads the rows of `Clips`."""
    try:
        yield
    except tf.errors.OpError as error:
        raise unusable(error) from error


def _check_dtypes(video: tf.TensorSpec, label: tf.TensorSpec) -> None:
    if video.dtype != tf.uint8 and not video.dtype.is_floating:
        raise errors.UserError(
            "The dataset's videos must be uint8, or floats in [-1, 1], not "
            f"{video.dtype.name}."
        )
    if not label.dtype.is_integer:
        raise errors.UserError(
            "The dataset's labels must be whole numbers, such as int64, not "
            f"{label.dtype.name}."
        )


def _check_range(ranges: np.ndarray, verbose: bool) -> None:
    """Checks the least and the largest values of float videos, `[videos, 2]`."""
    lowest, highest = float(ranges.min()), float(ranges.max())
    if max(-lowest, highest) > 1 + _TOLERANCE:
        raise errors.UserError(
            f"The dataset's videos have values from {lowest:g} to {highest:g}, but "
            "floats must be in [-1, 1]; values from 0 to 255 can be uint8."
        )
    if verbose and lowest >= 0:
        terminal.say(
            f"The first {len(ranges)} videos of the dataset have no value below 0: "
            "floats must be in [-1, 1], so map those in [0, 1] by 2 * video - 1"
        )


def _comparable(row: dict[str, np.ndarray]) -> tuple[bytes, int]:
    return row["video"].tobytes(), int(row["label"])


def _row(
    video: tf.Tensor,
    label: tf.Tensor,
    size: list[int | None],
    num_classes: int | None,
) -> dict[str, tf.Tensor]:
    """Makes a row of an element, with checks of what only its values show.

    Args:
      video: uint8 or floats in [-1, 1].
      label: integer.
      size: shape that the video must have.
      num_classes: number of classes; None for labels that the model does not use.

    Returns:
      "video" of the size, uint8, and "label", int32 scalar.

    Raises:
      InvalidArgumentError: when it is run, with the reason.
    """
    checks = []
    if None not in size and not video.shape.is_fully_defined():
        expected = ", ".join(map(str, size))
        found = tf.strings.as_string(tf.shape(video))
        found = tf.strings.reduce_join(found, separator=", ")
        parts = ["it has a video of shape (", found, f") instead of ({expected})"]
        checks.append(tf.debugging.Assert(found == expected, [tf.strings.join(parts)]))
    if num_classes is not None:
        number = tf.cast(label, tf.int64)
        is_known = tf.reduce_all((number >= 0) & (number < num_classes))
        found = tf.strings.reduce_join(tf.strings.as_string(number))
        only = f", but there are only {num_classes} classes, from 0"
        parts = ["it has the label ", found, only]
        checks.append(tf.debugging.Assert(is_known, [tf.strings.join(parts)]))
    if video.dtype.is_floating:
        is_finite = tf.reduce_all(tf.math.is_finite(video))
        message = "it has a video with values that are not finite"
        checks.append(tf.debugging.Assert(is_finite, [message]))
    with tf.control_dependencies(checks):
        video = tf.ensure_shape(video, size)
        label = tf.ensure_shape(tf.cast(label, tf.int32), [])
    if video.dtype != tf.uint8:
        video = transforms.to_uint8(video)
    return {"video": video, "label": label}


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
