"""The order in which training reads the clips of a data set.

Each epoch is a permutation of all clips, drawn uniformly from (seed, epoch). Row n of a
run is clip n mod N of the permutation of epoch n div N, so it depends only on the seed
and n. Memory is 8 bytes per clip, and about 40 while a permutation is drawn.
"""

import numpy as np
import tensorflow as tf


class Order:
    """Maps training rows to records.

    Args:
      numbers: `[clips]` integers, numbers of the records to use.
      labels: `[clips]` integers, their class numbers, from 0.
      seed: seed of the permutations.
      balanced: whether each class with clips gets an equal share of each epoch, to
        within one row. A clip then occurs w/n times per epoch, rounded up or down, if
        its class has w rows and n clips; which clips are rounded up differs by epoch.

    Attributes:
      epoch_length: number of rows per epoch, which is the number of clips.
    """

    def __init__(
        self,
        numbers: np.ndarray,
        labels: np.ndarray,
        seed: int,
        balanced: bool = False,
    ):
        self.epoch_length = len(numbers)
        self._numbers = tf.constant(numbers, tf.int64)
        self._labels = tf.constant(labels, tf.int64)
        self._counts = np.bincount(labels)
        self._seed = seed
        self._balanced = balanced

    def epoch(self, number: tf.Tensor) -> tf.Tensor:
        """The record numbers of an epoch in order.

        Args:
          number: int64 scalar, number of the epoch.

        Returns:
          `[epoch_length]` int64.
        """
        order = tf.random.experimental.stateless_shuffle(
            tf.range(self.epoch_length, dtype=tf.int64), [self._seed, number]
        )
        if self._balanced:
            order = tf.random.experimental.stateless_shuffle(
                self._equal_shares(order), [number, self._seed]
            )
        return tf.gather(self._numbers, order)

    def _equal_shares(self, order: tf.Tensor) -> tf.Tensor:
        """Repeats or drops clips so that each class gets its share of the rows.

        The j-th of a class's n clips occurs floor((j + 1) w / n) - floor(j w / n)
        times, w times in total.
        """
        counts = self._counts
        nonempty = np.cumsum(counts > 0)
        share, remainder = divmod(self.epoch_length, int(nonempty[-1]))
        num_rows = np.where(counts > 0, share + (nonempty <= remainder), 0)
        of_clip = tf.gather(self._labels, order)
        by_class = tf.argsort(of_clip, stable=True)
        label = tf.gather(of_clip, by_class)
        first = tf.gather(tf.constant(np.cumsum(counts) - counts, tf.int64), label)
        j = tf.range(self.epoch_length, dtype=tf.int64) - first
        w = tf.gather(tf.constant(num_rows, tf.int64), label)
        n = tf.gather(tf.constant(counts, tf.int64), label)
        times = (j + 1) * w // n - j * w // n
        return tf.repeat(tf.gather(order, by_class), times)

    def rows(
        self, batch_size: int, first_batch: int, worker: int, num_workers: int
    ) -> tf.data.Dataset:
        """The rows of one worker, as an infinite dataset.

        Args:
          batch_size: global batch size; each worker gets an equal part.
          first_batch: number of the first batch to return.
          worker: index of this worker, from 0.
          num_workers: number of workers.

        Returns:
          Pairs of row number and record number, int64 scalars.
        """
        first_row = first_batch * batch_size
        first_epoch, first_in_epoch = divmod(first_row, self.epoch_length)

        def epoch(number: tf.Tensor) -> tf.data.Dataset:
            seen = tf.where(number == first_epoch, first_in_epoch, 0)
            return tf.data.Dataset.from_tensor_slices(self.epoch(number)[seen:])

        rows = tf.data.Dataset.range(first_epoch, tf.int64.max).flat_map(epoch)
        rows = rows.enumerate(first_row)
        if num_workers == 1:
            return rows
        own = slice(
            worker * batch_size // num_workers, (worker + 1) * batch_size // num_workers
        )
        return rows.batch(batch_size).map(lambda *row: [x[own] for x in row]).unbatch()
