"""The position of every record in a prepared data set, for random access.

`index.npz` beside the manifest has two arrays per split, in the order of the manifest's
shards and of the records in them: the records' lengths in bytes ("<split>/lengths",
int64) and their labels ("<split>/labels", int32). Preparation writes it. If it is
missing or does not match the manifest, the shards are scanned once at every start.
"""

import dataclasses
import hashlib
import io
import os
import struct
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from tf_dvdgan import array_files, terminal
from tf_dvdgan.data import files, filesystem, records
from tf_dvdgan.data import manifest as manifest_lib

FILE_NAME = "index.npz"
_HEADER = struct.Struct("<QI")  # length, its checksum
_FOOTER_BYTES = 4  # the data's checksum
_FRAMING_BYTES = _HEADER.size + _FOOTER_BYTES  # per TFRecord


@dataclasses.dataclass(frozen=True)
class Entries:
    """The index entries of consecutive records.

    Attributes:
      lengths: `[records]` int64, sizes of the serialized records in bytes.
      labels: `[records]` int32, class numbers.
    """

    lengths: np.ndarray
    labels: np.ndarray

    @property
    def num_bytes(self) -> int:
        """Size of a TFRecord file that holds exactly these records, in bytes."""
        return int(self.lengths.sum()) + _FRAMING_BYTES * len(self.lengths)


def join(entries: Sequence[Entries]) -> Entries:
    """Concatenates entries."""
    if not entries:
        return Entries(np.zeros([0], np.int64), np.zeros([0], np.int32))
    return Entries(
        np.concatenate([e.lengths for e in entries]).astype(np.int64),
        np.concatenate([e.labels for e in entries]).astype(np.int32),
    )


class RecordIndex:
    """Random access to the records of a split.

    Args:
      paths: paths of the split's shards.
      entries: index entries of each shard.

    Attributes:
      labels: `[records]` int32, class numbers of the split's records.
    """

    def __init__(self, paths: Sequence[str], entries: Sequence[Entries]):
        counts = [len(e.lengths) for e in entries]
        sizes = [e.lengths + _FRAMING_BYTES for e in entries]
        offsets = [np.cumsum(s) - s for s in sizes]
        self.labels = join(entries).labels
        # Tensors, because a dataset's functions capture them instead of copying them.
        self._paths = tf.constant(list(paths))
        self._shards = tf.constant(np.repeat(np.arange(len(paths)), counts), tf.int32)
        self._offsets = tf.constant(np.concatenate(offsets), tf.int64)
        self._sizes = tf.constant(np.concatenate(sizes), tf.int64)

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, number: tf.Tensor) -> tf.Tensor:
        """Reads one record, and only its bytes; can run in a graph.

        Args:
          number: int64 scalar, the record's number in the split.

        Returns:
          The serialized record, a string scalar.
        """
        path = tf.gather(self._paths, tf.gather(self._shards, number))
        # `tf.data.TFRecordDataset` wraps this operation but takes no offset.
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


def rows(paths: Sequence[str], at_most: int | None = None) -> tf.data.Dataset:
    """Records of TFRecord files, in order.

    A record may say that it is longer than its file. TensorFlow would allocate what it
    says, and crash; this is found before.

    Args:
      paths: paths of the files.
      at_most: largest number of records; None for all.

    Returns:
      Serialized records.

    Raises:
      DataLossError: a record of a local file is longer than the file.
    """
    checked, count = [], 0
    for path in paths:
        if at_most is not None and count >= at_most:
            break
        count += _num_records(path)
        checked.append(path)
    return tf.data.TFRecordDataset(checked).take(-1 if at_most is None else at_most)


def checksum(paths: Sequence[str]) -> str:
    """Hashes the bytes of local TFRecord files.

    Args:
      paths: paths of the files.

    Returns:
      A SHA-256. Of remote files it covers size and time of the last change instead.

    Raises:
      DataLossError: a record of a local file is longer than the file.
    """
    found = hashlib.sha256()
    for path in paths:
        if files.is_remote(path):
            found.update(repr(filesystem.stat(path)).encode())
        elif os.path.isfile(path):
            _num_records(path)  # refuses a damaged file before it is read
            found.update(files.sha256(path).encode())
    return found.hexdigest()


def _num_records(path: str) -> int:
    """Number of records of a local file by their lengths; 0 for others.

    Raises:
      DataLossError: a record is longer than the file.
    """
    if files.is_remote(path) or not os.path.isfile(path):
        return 0
    size, count = os.path.getsize(path), 0
    with open(path, "rb") as file:
        while len(header := file.read(_HEADER.size)) == _HEADER.size:
            length, _ = _HEADER.unpack(header)
            if length > size:
                raise tf.errors.DataLossError(
                    None,
                    None,
                    f"{os.path.basename(path)} has a record of {length} bytes, more "
                    "than the file",
                )
            file.seek(length, os.SEEK_CUR)
            footer = file.read(_FOOTER_BYTES)
            count += len(footer) == _FOOTER_BYTES
    return count


def _check_lengths(paths: Sequence[str], entries: Sequence[Entries]) -> None:
    """Checks that local files have the size, and no longer records, than in the index.

    Raises:
      DataLossError: one has not.
    """
    for path, of_shard in zip(paths, entries, strict=True):
        # A missing file may have none of the classes that are read.
        if files.is_remote(path) or not os.path.isfile(path) or not of_shard.num_bytes:
            continue
        size = os.path.getsize(path)
        if size != of_shard.num_bytes:
            raise _is_not_as_indexed(
                path, f"it has {size} bytes instead of {of_shard.num_bytes}"
            )
        sizes = of_shard.lengths + _FRAMING_BYTES
        starts = np.cumsum(sizes) - sizes
        data = np.memmap(path, np.uint8, "r")
        headers = data[starts[:, None] + np.arange(8)]
        lengths = headers.copy().view("<u8")[:, 0]
        if (lengths > of_shard.lengths.astype(np.uint64)).any():
            raise _is_not_as_indexed(path, "it has longer records")


def _is_not_as_indexed(path: str, why: str) -> tf.errors.DataLossError:
    name = os.path.basename(path)
    return tf.errors.DataLossError(
        None, None, f"{name} is not what {FILE_NAME} says: {why}"
    )


def load(data_dir: str, manifest: manifest_lib.Manifest, split: str) -> RecordIndex:
    """Loads the index of a split, or scans its shards if there is no valid index.

    Args:
      data_dir: folder of the shards.
      manifest: the manifest in that folder.
      split: name of the split.

    Returns:
      The index.

    Raises:
      DataLossError: a shard is not what its index says, or there is no valid index and
        a shard is damaged.
    """
    shards = manifest.splits[split]
    paths = [os.path.join(data_dir, shard.file) for shard in shards]
    entries = _saved_entries(data_dir, split, shards)
    if entries is None:
        terminal.say(
            f"{data_dir} has no index that matches its shards; scanning them (run the "
            "same preparation again to write one)"
        )
        entries = _scan_all(paths)
    else:
        _check_lengths(paths, entries)
    return RecordIndex(paths, entries)


def _saved_entries(
    data_dir: str, split: str, shards: Sequence[manifest_lib.Shard]
) -> list[Entries] | None:
    """The saved entries of each shard; None if there are none or they do not match."""
    saved = _read_saved(data_dir, split)
    if saved is None:
        return None
    ends = np.cumsum([shard.num_clips for shard in shards])[:-1]
    parts = zip(
        np.split(saved.lengths, ends), np.split(saved.labels, ends), strict=True
    )
    entries = [Entries(lengths, labels) for lengths, labels in parts]
    matches = all(_matches(*pair) for pair in zip(entries, shards, strict=True))
    return entries if matches else None


def _scan_all(paths: Sequence[str]) -> list[Entries]:
    progress = terminal.Progress("shards", len(paths))
    entries = []
    for path in paths:
        entries.append(scan(path))
        progress.update(len(entries))
    return entries


def save(data_dir: str, splits: Mapping[str, Entries]) -> None:
    """Writes `index.npz` atomically.

    Args:
      data_dir: folder of the shards.
      splits: name of each split to the joined entries of its shards.
    """
    arrays = {}
    for split, entries in splits.items():
        arrays[f"{split}/lengths"] = entries.lengths
        arrays[f"{split}/labels"] = entries.labels
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    files.atomic_write(os.path.join(data_dir, FILE_NAME), buffer.getvalue())


def scan(path: str) -> Entries:
    """Computes a shard's entries by reading the whole file.

    Raises:
      DataLossError: the shard is damaged.
    """
    found = rows([path]).map(
        lambda row: (tf.strings.length(row), records.label_of(row)),
        num_parallel_calls=os.cpu_count(),
    )
    options = tf.data.Options()
    options.autotune.enabled = False
    table = list(found.with_options(options).as_numpy_iterator())
    lengths, labels = np.array(table, np.int64).reshape([-1, 2]).T
    # Readers refuse labels out of range; none may wrap around to a valid one.
    return Entries(lengths, labels.clip(-1, 2**31 - 1).astype(np.int32))


def _read_saved(data_dir: str, split: str) -> Entries | None:
    """Reads a split's part of `index.npz`; None if it is missing or malformed."""
    try:
        with filesystem.GFile(os.path.join(data_dir, FILE_NAME), "rb") as file:
            arrays = array_files.load_npz(io.BytesIO(file.read()))
        found = Entries(arrays[f"{split}/lengths"], arrays[f"{split}/labels"])
    except (tf.errors.NotFoundError, KeyError, ValueError, OSError):
        return None
    dtypes = found.lengths.dtype, found.labels.dtype
    shapes = found.lengths.shape, found.labels.shape
    valid = dtypes == (np.int64, np.int32) and shapes[0] == shapes[1]
    return found if valid and found.lengths.ndim == 1 else None


def _matches(entries: Entries, shard: manifest_lib.Shard) -> bool:
    """Whether entries agree with what the manifest states about a shard."""
    in_range = (entries.labels >= 0) & (entries.labels < len(shard.class_counts))
    if len(entries.lengths) != shard.num_clips or not in_range.all():
        return False
    counts = np.bincount(entries.labels, minlength=len(shard.class_counts))
    return (
        bool((entries.lengths > 0).all())
        and entries.num_bytes == shard.num_bytes
        and counts.tolist() == list(shard.class_counts)
    )
