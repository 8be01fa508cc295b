"""Extracts features of any number of clips on any strategy, and stores them on disk.

A network runs on batches of clips on all replicas, and its outputs are written in
parts. Existing parts are reused: an interrupted evaluation resumes, and features of
real clips are extracted only once.
"""

import functools
import hashlib
import io
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tf_dvdgan import array_files, errors, terminal, version
from tf_dvdgan.data import files, filesystem, prefetch
from tf_dvdgan.evaluation.features import sources
from tf_dvdgan.evaluation.metrics import frechet
from tf_dvdgan.training import strategy as strategy_lib

_CLIPS_OF_PART = 512
_MAX_VECTORS = 20_000  # in memory; moments are over all


class _Part(NamedTuple):
    """A file with the features of some clips, from `first` to before `end`."""

    name: str
    first: int
    end: int


class Features:
    """A network's outputs for the clips of a source, in parts in a folder.

    The name of a part says which clips it covers. Complete parts count from the first
    one on, as long as each begins where the previous one ends; others, which may be
    truncated or follow a lost part, are ignored.

    Args:
      folder: folder for only these features.
    """

    def __init__(self, folder: str):
        self._folder = folder

    @property
    def num_places(self) -> int:
        """Number of clips that are done, including unreadable ones."""
        return self._parts[-1].end if self._parts else 0

    @functools.cached_property
    def _parts(self) -> list[_Part]:
        parts, done = [], 0
        for name in files.list_dir(self._folder):
            part = _parsed(name)
            if part and part.first == done and self._read(name):
                parts.append(part)
                done = part.end
        return parts

    def _read(self, name: str) -> dict[str, np.ndarray] | None:
        """Reads the rows of a part; None if it is incomplete."""
        with filesystem.GFile(os.path.join(self._folder, name), "rb") as file:
            data = io.BytesIO(file.read())
        try:
            return dict(array_files.load_npz(data))
        except ValueError:
            return None

    def add(self, rows: Mapping[str, np.ndarray], num_places: int) -> None:
        """Writes the next part.

        Args:
          rows: arrays by name, `[count, ...]`.
          num_places: number of clips that are done after it, including unreadable ones.
        """
        buffer = io.BytesIO()
        np.savez(buffer, **rows)
        first = self.num_places
        part = _Part(f"part-{first:010}-{num_places:010}.npz", first, num_places)
        files.atomic_write(os.path.join(self._folder, part.name), buffer.getvalue())
        self._parts.append(part)

    def parts(self) -> Iterator[Mapping[str, np.ndarray]]:
        """Yields the rows in order, some hundreds at a time.

        Raises:
          OSError: a part has been lost or truncated since it was listed.
        """
        for part in self._parts:
            rows = self._read(part.name)
            if rows is None:
                raise OSError(f"{os.path.join(self._folder, part.name)} is incomplete.")
            yield rows

    @property
    def outputs(self) -> list[str]:
        """Names of the outputs; empty if there are no features."""
        return list(next(self.parts(), {}))

    def moments(self, output: str) -> frechet.Moments:
        """Computes mean and covariance of an output over all clips.

        Raises:
          ValueError: there are no features.
        """
        moments: frechet.Moments | None = None
        for rows in self.parts():
            if moments is None:
                moments = frechet.Moments(rows[output].shape[1])
            moments.add(rows[output])
        if moments is None:
            raise ValueError(f"There are no features in {self._folder}.")
        return moments

    def get(self, output: str, at_most: int | None = _MAX_VECTORS) -> np.ndarray:
        """Returns an output of the first clips.

        Args:
          output: name of the output.
          at_most: maximum number of clips; None for all.

        Returns:
          `[count, ...]`.
        """
        found, count = [], 0
        for rows in self.parts():
            found.append(rows[output][: None if at_most is None else at_most - count])
            count += len(found[-1])
            if count == at_most:
                break
        return np.concatenate(found)


def _parsed(name: str) -> _Part | None:
    """Parses the name of a part; None for another file."""
    found = re.fullmatch(r"part-(\d+)-(\d+)\.npz", name)
    return _Part(name, int(found[1]), int(found[2])) if found else None


class Extractor:
    """Runs a network on clips and stores its outputs.

    Args:
      feature_fn: function of videos `[batch, time, height, width, 3]` uint8 and labels
        `[batch]`; returns outputs by name, `[batch, ...]`, float32 or int32.
      strategy: strategy whose replicas share each batch, with the network's variables.
      batch_size: number of clips per batch over all replicas; rounded up to a multiple
        of the number of replicas.
    """

    def __init__(
        self,
        feature_fn: Callable[[tf.Tensor, tf.Tensor], Mapping[str, tf.Tensor]],
        strategy: tf.distribute.Strategy,
        batch_size: int = 16,
    ):
        self._strategy = strategy
        self._worker, self._num_workers = strategy_lib.worker_index_and_count(strategy)
        self._replicas = strategy.num_replicas_in_sync // self._num_workers
        self._size = -(-batch_size // strategy.num_replicas_in_sync)  # of a replica

        def extract_and_gather(
            videos: tf.Tensor, labels: Mapping[str, tf.Tensor]
        ) -> dict[str, tf.Tensor]:
            outputs = {**feature_fn(videos, labels["label"]), **labels}
            context = tf.distribute.get_replica_context()
            # all_gather needs a device, which an argument itself does not have.
            return {
                name: context.all_gather(tf.identity(x), 0)
                for name, x in outputs.items()
            }

        @tf.function(autograph=False)
        def on_replicas(
            videos: tf.Tensor, labels: Mapping[str, tf.Tensor]
        ) -> dict[str, tf.Tensor]:
            return strategy.run(extract_and_gather, args=(videos, labels))

        self._run = on_replicas

    def __call__(
        self,
        source: sources.Source,
        seen_as: Mapping,
        cache_dir: str,
        task: str | None = None,
    ) -> Features:
        """Extracts the missing features of a source's clips.

        Every worker of the strategy must call this. Only the chief writes, so only it
        has the features of all clips afterwards.

        Args:
          source: source of the clips.
          seen_as: JSON types that identify the network, its weights and input.
          cache_dir: folder for the features of all sources and networks.
          task: name of the progress bar; None for no progress bar.

        Returns:
          The features; on the chief, those of all clips.
        """
        made_by = [version.__version__, tf.__version__]
        identity = [source.fingerprint(), dict(seen_as), made_by]
        text = json.dumps(identity, sort_keys=True)
        key = hashlib.sha256(text.encode()).hexdigest()
        features = Features(os.path.join(cache_dir, key[:32]))
        chief = self._worker == 0
        own = features.num_places if chief else 0
        done = int(strategy_lib.broadcast_from_chief(self._strategy, own))
        if done >= source.num_clips:
            return features
        progress = terminal.Progress(task or "", source.num_clips, done=done)
        parts: list[Mapping[str, np.ndarray]] = []
        for outputs in self._batches(source, done):
            done = min(done + self._batch_size, source.num_clips)
            if not chief:
                continue
            parts.append(outputs)
            full = sum(len(part["label"]) for part in parts) >= _CLIPS_OF_PART
            if full or done == source.num_clips:
                names = parts[0]
                rows = {n: np.concatenate([p[n] for p in parts]) for n in names}
                features.add(rows, done)
                parts = []
            if task:
                progress.update(done)
        return features

    @property
    def _batch_size(self) -> int:
        return self._size * self._strategy.num_replicas_in_sync

    def _batches(
        self, source: sources.Source, first: int
    ) -> Iterator[Mapping[str, np.ndarray]]:
        """Yields outputs and labels of a global batch at a time."""
        for columns in prefetch.ahead(self._columns(source, first)):
            rows = self._on_replicas(columns)
            videos = source.videos(rows)
            labels = {name: rows[name] for name in ("label", "is_clip")}
            outputs = {
                name: self._in_order(self._strategy.experimental_local_results(x)[0])
                for name, x in self._run(videos, labels).items()
            }
            is_clip = outputs.pop("is_clip") > 0
            yield {name: x[is_clip] for name, x in outputs.items()}

    def _columns(
        self, source: sources.Source, first: int
    ) -> Iterator[Mapping[str, np.ndarray]]:
        """Yields this worker's rows of each batch; "is_clip" is 0 for gaps."""
        rows = source.rows(first, self._worker, self._num_workers)
        any_row = None
        for _ in range(first, source.num_clips, self._batch_size):
            batch = [next(rows, None) for _ in range(self._size * self._replicas)]
            seen = (row for row in (*batch, any_row) if row is not None)
            any_row = next(seen, None) or _first_row(source)
            gap = {name: np.zeros_like(x) for name, x in any_row.items()}
            filled = [gap if row is None else row for row in batch]
            columns = {name: np.stack([row[name] for row in filled]) for name in gap}
            # As integers, because Booleans cannot be gathered.
            is_clip = np.array([row is not None for row in batch], np.int32)
            yield {**columns, "is_clip": is_clip}

    def _in_order(self, gathered: tf.Tensor) -> np.ndarray:
        """Restores the order of the source, whose clips alternate between workers."""
        x = gathered.numpy()
        by_worker = x.reshape(self._num_workers, -1, *x.shape[1:])
        return by_worker.swapaxes(0, 1).reshape(x.shape)

    def _on_replicas(self, columns: Mapping[str, np.ndarray]) -> dict[str, tf.Tensor]:
        """Distributes this worker's rows to its replicas."""

        def part(context, column: np.ndarray) -> tf.Tensor:
            i = context.replica_id_in_sync_group % self._replicas * self._size
            return tf.constant(column[i : i + self._size])

        return {
            name: self._strategy.experimental_distribute_values_from_function(
                functools.partial(part, column=column)
            )
            for name, column in columns.items()
        }


def _first_row(source: sources.Source) -> sources.Row:
    row = next(source.readable_rows(), None)
    if row is None:
        raise errors.UserError("None of the clips can be read.")
    return row
