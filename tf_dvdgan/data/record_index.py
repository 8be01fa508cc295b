"""Where every record of a prepared data set lies, so that each can be read by itself.

`index.npz` beside the manifest has two arrays for each split, in the order of the
manifest's shards and of the records in them: the records' lengths in bytes
("<split>/lengths", int64) and their labels ("<split>/labels", int32). Preparation
writes it. Without it, or where it does not fit the manifest, the shards are read
through once at every start instead.
"""

import dataclasses
import io
import os
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from tf_dvdgan import terminal
from tf_dvdgan.data import files, records
from tf_dvdgan.data import manifest as manifest_lib

FILE_NAME = "index.npz"
_FRAMING_BYTES = 16  # of a TFRecord: length and its checksum before, a checksum behind


@dataclasses.dataclass(frozen=True)
class Entries:
    """What the index keeps of some records, in their order.

    Attributes:
      lengths: `[records]` int64, bytes of the serialized records.
      labels: `[records]` int32, class numbers.
    """

    lengths: np.ndarray
    labels: np.ndarray

    @property
    def num_bytes(self) -> int:
        """Size of the TFRecord file that holds just these."""
        return int(self.lengths.sum()) + _FRAMING_BYTES * len(self.lengths)


def join(entries: Sequence[Entries]) -> Entries:
    """Entries one after the other."""
    if not entries:
        return Entries(np.zeros([0], np.int64), np.zeros([0], np.int32))
    return Entries(
        np.concatenate([e.lengths for e in entries]).astype(np.int64),
        np.concatenate([e.labels for e in entries]).astype(np.int32),
    )


class RecordIndex:
    """Reads any record of a split.

    Args:
      paths: of the split's shards.
      entries: of each shard's records.

    Attributes:
      labels: `[records]` int32, as `Entries.labels`.
    """

    def __init__(self, paths: Sequence[str], entries: Sequence[Entries]):
        counts = [len(e.lengths) for e in entries]
        sizes = [e.lengths + _FRAMING_BYTES for e in entries]
        offsets = [np.cumsum(s) - s for s in sizes]
        self.labels = join(entries).labels
        # Tensors: a dataset's functions then refer to them instead of copying them.
        self._paths = tf.constant(list(paths))
        self._shards = tf.constant(np.repeat(np.arange(len(paths)), counts), tf.int32)
        self._offsets = tf.constant(np.concatenate(offsets), tf.int64)
        self._sizes = tf.constant(np.concatenate(sizes), tf.int64)

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, number: tf.Tensor) -> tf.Tensor:
        """A serialized record, in a graph: one read of just its bytes.

        Args:
          number: int64 scalar, of the record in its split.

        Returns:
          A string scalar.
        """
        path = tf.gather(self._paths, tf.gather(self._shards, number))
        # `tf.data.TFRecordDataset` is this operation without an offset.
        variant = tf.raw_ops.TFRecordDatasetV2(
            filenames=[path],
            compression_type="",
            buffer_size=tf.gather(self._sizes, number),
            byte_offsets=[tf.gather(self._offsets, number)],
        )
        dataset = tf.data.experimental.from_variant(
            variant, tf.TensorSpec([], tf.string)
        )
        return dataset.take(1).get_single_element()


def load(data_dir: str, manifest: manifest_lib.Manifest, split: str) -> RecordIndex:
    """The index of a split.

    Args:
      data_dir: of the shards.
      manifest: as it lies there, with all classes.
      split: which split.

    Raises:
      DataLossError: there is no index, and a shard is damaged.
    """
    shards = manifest.splits[split]
    paths = [os.path.join(data_dir, shard.file) for shard in shards]
    saved = _saved(data_dir, split)
    if saved is not None:
        ends = np.cumsum([shard.num_clips for shard in shards])[:-1]
        parts = zip(
            np.split(saved.lengths, ends), np.split(saved.labels, ends), strict=True
        )
        entries = [Entries(lengths, labels) for lengths, labels in parts]
        if all(_fits(*pair) for pair in zip(entries, shards, strict=True)):
            return RecordIndex(paths, entries)
    terminal.say(
        f"{data_dir} has no index of its records; reading them once (the same command "
        "as prepared the data writes one)"
    )
    progress = terminal.Progress("shards", len(paths))
    entries = []
    for path in paths:
        entries.append(scan(path))
        progress.update(len(entries))
    return RecordIndex(paths, entries)


def save(data_dir: str, splits: Mapping[str, Entries]) -> None:
    """Writes `index.npz`; it is whole or not there at all.

    Args:
      data_dir: of the shards.
      splits: of each split the entries of all its shards, joined.
    """
    arrays = {}
    for split, entries in splits.items():
        arrays[f"{split}/lengths"] = entries.lengths
        arrays[f"{split}/labels"] = entries.labels
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    files.write_whole(os.path.join(data_dir, FILE_NAME), buffer.getvalue())


def scan(path: str) -> Entries:
    """Finds a shard's entries by reading all of it.

    Raises:
      DataLossError: it is damaged.
    """
    rows = tf.data.TFRecordDataset(path).map(
        lambda row: (tf.strings.length(row), records.label_of(row)),
        num_parallel_calls=os.cpu_count(),
    )
    options = tf.data.Options()
    options.autotune.enabled = False
    rows = list(rows.with_options(options).as_numpy_iterator())
    lengths, labels = np.array(rows, np.int64).reshape([-1, 2]).T
    return Entries(lengths, labels.astype(np.int32))


def _saved(data_dir: str, split: str) -> Entries | None:
    """A split's part of `index.npz`; None where there is no such thing to read."""
    try:
        with tf.io.gfile.GFile(os.path.join(data_dir, FILE_NAME), "rb") as file:
            arrays = np.load(io.BytesIO(file.read()), allow_pickle=False)
        found = Entries(arrays[f"{split}/lengths"], arrays[f"{split}/labels"])
    except (tf.errors.NotFoundError, KeyError, ValueError, EOFError, OSError):
        return None
    kinds = found.lengths.dtype, found.labels.dtype
    shapes = found.lengths.shape, found.labels.shape
    whole = kinds == (np.int64, np.int32) and shapes[0] == shapes[1]
    return found if whole and found.lengths.ndim == 1 else None


def _fits(entries: Entries, shard: manifest_lib.Shard) -> bool:
    """Whether entries can be those of a shard, by all that the manifest says of it."""
    in_range = (entries.labels >= 0) & (entries.labels < len(shard.class_counts))
    if len(entries.lengths) != shard.num_clips or not in_range.all():
        return False
    counts = np.bincount(entries.labels, minlength=len(shard.class_counts))
    return (
        bool((entries.lengths > 0).all())
        and entries.num_bytes == shard.num_bytes
        and counts.tolist() == list(shard.class_counts)
    )
