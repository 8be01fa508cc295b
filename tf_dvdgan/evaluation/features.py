"""Features of any number of clips: by any strategy, stopped and gone on with, kept.

A source of clips is read in order, a network looks at them a batch at a time on all
replicas, and what it says is kept in parts on disk. A part that is there is not made
again: so an evaluation that was stopped goes on, and real clips are looked at once.
"""

import functools
import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

import numpy as np
import tensorflow as tf

from tf_dvdgan import cli
from tf_dvdgan.data import files
from tf_dvdgan.evaluation import frechet
from tf_dvdgan.training import strategy as strategy_lib

Row = Mapping[str, np.ndarray]
_CLIPS_OF_PART = 512
_KEEP = 20_000  # features that are given whole; moments are of all


class Source(Protocol):
    """Where clips come from.

    Attributes:
      num_clips: how many places there are; a clip that cannot be read leaves a gap.
    """

    num_clips: int

    def rows(self, first: int, worker: int, num_workers: int) -> Iterator[Row | None]:
        """Arrays by name, "label" among them, of every clip; None for a gap.

        Those of the clips `first + worker`, `first + worker + num_workers` and so on.
        """

    def videos(
        self, rows: Mapping[str, tf.Tensor], strategy: tf.distribute.Strategy
    ) -> tf.Tensor:
        """Uint8 `[batch, time, height, width, 3]` of rows, on each replica."""

    def facts(self) -> dict:
        """What tells these clips from all others."""


class Features:
    """What a network said of a source's clips, in parts in a folder.

    Args:
      folder: of these features alone.
    """

    def __init__(self, folder: str):
        self._folder = folder

    @property
    def num_places(self) -> int:
        """Places of the source that are done with, gaps among them."""
        path = os.path.join(self._folder, "places.json")
        if not tf.io.gfile.exists(path):
            return 0
        with tf.io.gfile.GFile(path) as file:
            return json.load(file)

    def add(self, rows: Mapping[str, np.ndarray], num_places: int) -> None:
        """Keeps the next rows; now so many places are done with."""
        tf.io.gfile.makedirs(self._folder)
        buffer = io.BytesIO()
        np.savez(buffer, **rows)
        # The count comes last: a part that is not counted is made again.
        name = f"part-{num_places:010}.npz"
        files.write_whole(os.path.join(self._folder, name), buffer.getvalue())
        path = os.path.join(self._folder, "places.json")
        files.write_whole(path, json.dumps(num_places))

    def parts(self) -> Iterator[Mapping[str, np.ndarray]]:
        """Rows in their order, some hundreds at a time."""
        for name in sorted(tf.io.gfile.listdir(self._folder)):
            ours = name.startswith("part-") and name.endswith(".npz")
            if ours and int(name[5:-4]) <= self.num_places:
                with tf.io.gfile.GFile(os.path.join(self._folder, name), "rb") as file:
                    yield np.load(io.BytesIO(file.read()), allow_pickle=False)

    def moments(self, output: str) -> frechet.Moments:
        """Mean and covariance of an output, over all clips."""
        moments = None
        for part in self.parts():
            moments = moments or frechet.Moments(part[output].shape[1])
            moments.add(part[output])
        return moments

    def get(self, output: str, at_most: int = _KEEP) -> np.ndarray:
        """An output of the first clips, `[count, ...]`."""
        found, count = [], 0
        for part in self.parts():
            if count < at_most:
                found.append(part[output][: at_most - count])
                count += len(found[-1])
        return np.concatenate(found)


class Extractor:
    """Shows clips to a network.

    Args:
      look: of videos `[batch, time, height, width, 3]` uint8 and labels `[batch]`;
        gives outputs by name, `[batch, ...]`.
      strategy: whose replicas share each batch; it has the network's variables.
      batch_size: clips at a time, over all replicas; rounded up to as many for each.
    """

    def __init__(
        self,
        look: Callable[[tf.Tensor, tf.Tensor], Mapping[str, tf.Tensor]],
        strategy: tf.distribute.Strategy,
        batch_size: int = 16,
    ):
        self._strategy = strategy
        self._worker, self._num_workers = strategy_lib.place_among_workers(strategy)
        self._replicas = strategy.num_replicas_in_sync // self._num_workers
        self._size = -(-batch_size // strategy.num_replicas_in_sync)  # of a replica

        @tf.function(autograph=False)
        def on_replicas(videos: tf.Tensor, labels: tf.Tensor) -> dict[str, tf.Tensor]:
            return strategy.run(look, args=(videos, labels))

        self._look = on_replicas

    def __call__(
        self, source: Source, facts: Mapping, cache_dir: str, task: str | None = None
    ) -> Features:
        """Shows a source's clips, as far as that has not been done before.

        Every worker of the strategy calls this; the chief keeps what is found, so it
        alone has the features of all clips in the end.

        Args:
          source: of the clips.
          facts: what the features depend on besides the source.
          cache_dir: for the features of all sources and networks.
          task: shown with the progress; None shows none.
        """
        text = json.dumps([source.facts(), dict(facts)], sort_keys=True)
        key = hashlib.sha256(text.encode()).hexdigest()
        features = Features(os.path.join(cache_dir, key[:32]))
        chief = self._worker == 0
        own = features.num_places if chief else 0
        done = int(strategy_lib.sum_over_workers(self._strategy, [own])[0])
        if done >= source.num_clips:
            return features
        progress = cli.Progress(task or "", source.num_clips)
        parts: list[Mapping[str, np.ndarray]] = []
        for outputs in self._batches(source, done):
            done = min(done + self._batch_size, source.num_clips)
            parts.append(outputs)
            full = sum(len(part["label"]) for part in parts) >= _CLIPS_OF_PART
            if chief and (full or done == source.num_clips):
                names = parts[0]
                rows = {n: np.concatenate([p[n] for p in parts]) for n in names}
                features.add(rows, done)
                parts = []
            if chief and task:
                progress.update(done)
        return features

    @property
    def _batch_size(self) -> int:
        return self._size * self._strategy.num_replicas_in_sync

    def _batches(
        self, source: Source, first: int
    ) -> Iterator[Mapping[str, np.ndarray]]:
        """Outputs and labels of a global batch at a time, from a place on."""
        strategy = self._strategy
        rows = source.rows(first, self._worker, self._num_workers)
        example = next((r for r in source.rows(0, 0, 1) if r is not None), None)
        if example is None:
            raise cli.UserError("None of the clips can be read.")
        gap = {name: np.zeros_like(x) for name, x in example.items()}
        for _ in range(first, source.num_clips, self._batch_size):
            batch = [next(rows, None) for _ in range(self._size * self._replicas)]
            there = np.array([row is not None for row in batch], np.int32)
            filled = [gap if row is None else row for row in batch]
            columns = {n: np.stack([row[n] for row in filled]) for n in gap}
            given = self._dealt(columns)
            outputs = self._look(source.videos(given, strategy), given["label"])
            outputs = {**outputs, "label": given["label"]}
            gathered = {n: strategy.gather(x, 0).numpy() for n, x in outputs.items()}
            all_there = strategy.gather(self._dealt({"there": there})["there"], 0)
            kept = all_there.numpy() > 0
            yield {name: x[kept] for name, x in gathered.items()}

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
