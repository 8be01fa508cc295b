"""Features of any number of clips, extracted on any strategy and kept on disk.

Clips are read in order, a network runs on them a batch at a time on all replicas, and
its outputs are written in parts. Existing parts are not made again: a stopped
evaluation resumes, and the features of real clips are extracted once.
"""

import functools
import hashlib
import io
import json
import os
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import tensorflow as tf

from tf_dvdgan import errors, terminal
from tf_dvdgan.data import files, prefetch
from tf_dvdgan.evaluation.features import sources
from tf_dvdgan.evaluation.metrics import frechet
from tf_dvdgan.training import strategy as strategy_lib

_CLIPS_OF_PART = 512
_KEEP = 20_000  # vectors held in memory at once; moments are over all


class Features:
    """A network's outputs of a source's clips, in parts in a folder.

    A part's name says which clips it covers. Complete parts count from the first one
    on, as long as each begins where the previous one ends: a part that was truncated,
    lost, or made with another batch size and not finished, is ignored.

    Args:
      folder: of these features alone.
    """

    def __init__(self, folder: str):
        self._folder = folder

    @property
    def num_places(self) -> int:
        """Clips of the source that are done, gaps included."""
        return _places(self._names[-1])[1] if self._names else 0

    @functools.cached_property
    def _names(self) -> list[str]:
        names, done = [], 0
        for name in files.list_dir(self._folder):
            places = _places(name)
            if places and places[0] == done and self._read(name):
                names.append(name)
                done = places[1]
        return names

    def _read(self, name: str) -> dict[str, np.ndarray] | None:
        """A part's rows; None if it is incomplete."""
        with tf.io.gfile.GFile(os.path.join(self._folder, name), "rb") as file:
            data = io.BytesIO(file.read())
        try:
            with np.load(data, allow_pickle=False) as arrays:
                return dict(arrays)
        except (OSError, EOFError, ValueError, zipfile.BadZipFile):
            return None

    def add(self, rows: Mapping[str, np.ndarray], num_places: int) -> None:
        """Writes the next part.

        Args:
          rows: arrays by name, `[count, ...]`.
          num_places: clips that are done with it, gaps included.
        """
        buffer = io.BytesIO()
        np.savez(buffer, **rows)
        name = f"part-{self.num_places:010}-{num_places:010}.npz"
        files.atomic_write(os.path.join(self._folder, name), buffer.getvalue())
        self._names.append(name)

    def parts(self) -> Iterator[Mapping[str, np.ndarray]]:
        """Rows in order, some hundreds at a time."""
        yield from map(self._read, self._names)

    def moments(self, output: str) -> frechet.Moments:
        """Mean and covariance of an output, over all clips."""
        moments = None
        for part in self.parts():
            moments = moments or frechet.Moments(part[output].shape[1])
            moments.add(part[output])
        return moments

    def get(self, output: str, at_most: int | None = _KEEP) -> np.ndarray:
        """An output of the first clips.

        Args:
          output: its name.
          at_most: clips; None returns all.

        Returns:
          `[count, ...]`.
        """
        found, count = [], 0
        for part in self.parts():
            found.append(part[output][: None if at_most is None else at_most - count])
            count += len(found[-1])
            if count == at_most:
                break
        return np.concatenate(found)


def _places(name: str) -> tuple[int, int] | None:
    """The first clip of a part, and the one after its last; None for another file."""
    found = re.fullmatch(r"part-(\d+)-(\d+)\.npz", name)
    return (int(found[1]), int(found[2])) if found else None


class Extractor:
    """Runs a network on clips.

    Args:
      feature_fn: of videos `[batch, time, height, width, 3]` uint8 and labels
        `[batch]`; returns outputs by name, `[batch, ...]`, float32 or int32.
      strategy: whose replicas share each batch; it has the network's variables.
      batch_size: clips at a time, over all replicas; rounded up to a multiple of them.
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
            videos: tf.Tensor, known: Mapping[str, tf.Tensor]
        ) -> dict[str, tf.Tensor]:
            outputs = {**feature_fn(videos, known["label"]), **known}
            context = tf.distribute.get_replica_context()
            # An argument itself has no device that it could be gathered from.
            return {
                name: context.all_gather(tf.identity(x), 0)
                for name, x in outputs.items()
            }

        @tf.function(autograph=False)
        def on_replicas(
            videos: tf.Tensor, known: Mapping[str, tf.Tensor]
        ) -> dict[str, tf.Tensor]:
            return strategy.run(extract_and_gather, args=(videos, known))

        self._run = on_replicas

    def __call__(
        self,
        source: sources.Source,
        seen_as: Mapping,
        cache_dir: str,
        task: str | None = None,
    ) -> Features:
        """Extracts the features of a source's clips that do not exist yet.

        Every worker of the strategy calls this. Only the chief writes, so that only it
        has the features of all clips in the end.

        Args:
          source: of the clips.
          seen_as: what the features depend on besides the source: network, weights.
          cache_dir: folder for the features of all sources and networks.
          task: name of the progress bar; None shows none.

        Returns:
          The features; of the chief, those of all clips.
        """
        text = json.dumps([source.fingerprint(), dict(seen_as)], sort_keys=True)
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
        """Outputs and labels of a global batch at a time, from a place on."""
        for columns in prefetch.ahead(self._columns(source, first)):
            given = self._dealt(columns)
            videos = source.videos(given)
            known = {name: given[name] for name in ("label", "there")}
            found = {
                name: self._in_order(self._strategy.experimental_local_results(x)[0])
                for name, x in self._run(videos, known).items()
            }
            there = found.pop("there") > 0
            yield {name: x[there] for name, x in found.items()}

    def _columns(
        self, source: sources.Source, first: int
    ) -> Iterator[Mapping[str, np.ndarray]]:
        """This worker's rows of each batch; "there" tells them from gaps."""
        rows = source.rows(first, self._worker, self._num_workers)
        any_row = None
        for _ in range(first, source.num_clips, self._batch_size):
            batch = [next(rows, None) for _ in range(self._size * self._replicas)]
            seen = (row for row in (*batch, any_row) if row is not None)
            any_row = next(seen, None) or _first_row(source)
            gap = {name: np.zeros_like(x) for name, x in any_row.items()}
            filled = [gap if row is None else row for row in batch]
            columns = {name: np.stack([row[name] for row in filled]) for name in gap}
            there = np.array([row is not None for row in batch], np.int32)
            yield {**columns, "there": there}  # as integers: truths are not gathered

    def _in_order(self, gathered: tf.Tensor) -> np.ndarray:
        """Rows in the order of the source, whose clips workers take in turn."""
        x = gathered.numpy()
        by_worker = x.reshape(self._num_workers, -1, *x.shape[1:])
        return by_worker.swapaxes(0, 1).reshape(x.shape)

    def _dealt(self, columns: Mapping[str, np.ndarray]) -> dict[str, tf.Tensor]:
        """This worker's rows on its replicas."""

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
    row = next((row for row in source.rows(0, 0, 1) if row is not None), None)
    if row is None:
        raise errors.UserError("None of the clips can be read.")
    return row
