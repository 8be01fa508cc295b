"""The order in which training sees the clips of a data set.

Each epoch is a permutation of all clips, drawn from (seed, epoch), each equally
likely. Row n of a run is clip n mod N of the permutation of epoch n div N, so it is a
function of the seed and n alone. Eight bytes a clip are held, and while a permutation
is drawn some 40.
"""

import numpy as np
import tensorflow as tf


class Order:
    """Which record is which row.

    Args:
      numbers: `[clips]`, the numbers of the records that take part.
      labels: `[clips]`, their class numbers; those from 0.
      seed: of the order.
      balanced: whether each class that has clips makes up an equal share of each
        epoch, to one row. Then a clip comes w/n times, rounded up or down, where its
        class has w rows and n clips; which ones come once more differs by epoch.

    Attributes:
      epoch_length: rows of an epoch: as many as there are clips, balanced or not.
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
        """The records of an epoch in order, `[epoch_length]` int64.

        Args:
          number: int64 scalar, of the epoch.
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
        """Repeats and drops clips, so that each class has its share.

        The j-th of the n clips of a class comes floor((j + 1) w / n) - floor(j w / n)
        times, which is w in all.
        """
        counts = self._counts
        filled = np.cumsum(counts > 0)
        share, rest = divmod(self.epoch_length, int(filled[-1]))
        wanted = np.where(counts > 0, share + (filled <= rest), 0)
        of_clip = tf.gather(self._labels, order)
        by_class = tf.argsort(of_clip, stable=True)
        label = tf.gather(of_clip, by_class)
        first = tf.gather(tf.constant(np.cumsum(counts) - counts, tf.int64), label)
        j = tf.range(self.epoch_length, dtype=tf.int64) - first
        w = tf.gather(tf.constant(wanted, tf.int64), label)
        n = tf.gather(tf.constant(counts, tf.int64), label)
        times = (j + 1) * w // n - j * w // n
        return tf.repeat(tf.gather(order, by_class), times)

    def rows(
        self, batch_size: int, first_batch: int, worker: int, num_workers: int
    ) -> tf.data.Dataset:
        """Endless (number of the row, number of the record) pairs of one worker.

        Args:
          batch_size: rows of a batch, over all workers; each has an equal part.
          first_batch: the number of the first batch given.
          worker: number of this worker.
          num_workers: how many there are.
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
