"""The manifest beside a prepared data set's shards: what they hold and how they came.

JSON, so that a person can read it and nothing that loads it runs code.
"""

import dataclasses
import itertools
import json
import os
import re
from collections.abc import Mapping

import tensorflow as tf

from tf_dvdgan import errors
from tf_dvdgan.data import files

FILE_NAME = "manifest.json"
SCHEMA_VERSION = 1
_HELD_OUT = ("test", "validation")  # the second where there is no first: Kinetics


@dataclasses.dataclass(frozen=True)
class Shard:
    """One TFRecord file.

    Attributes:
      file: its name, relative to the manifest.
      num_clips: records in it.
      num_bytes: its size.
      class_counts: clips of each class.
      fewest_frames: length of its shortest clip.
    """

    file: str
    num_clips: int
    num_bytes: int
    class_counts: list[int]
    fewest_frames: int


@dataclasses.dataclass(frozen=True)
class Manifest:
    """A prepared data set.

    Attributes:
      dataset: which source it came from.
      class_names: in the order of the labels.
      resolution: the smaller side of every frame, in pixels.
      splits: shards of each split.
      num_rejected: files left out, by reason; each is in `rejected.jsonl`.
      made_with: the flags of the preparation.
      schema_version: of this file and the records.
    """

    dataset: str
    class_names: list[str]
    resolution: int
    splits: dict[str, list[Shard]]
    num_rejected: dict[str, int]
    made_with: dict[str, str | int | float]
    schema_version: int = SCHEMA_VERSION

    @property
    def filled_splits(self) -> list[str]:
        """Names of the splits that have clips."""
        return [name for name in self.splits if self.num_clips(name)]

    @property
    def held_out_split(self) -> str | None:
        """That which is not trained on; None where all clips are."""
        held = [name for name in _HELD_OUT if name in self.filled_splits]
        return held[0] if held else None

    def class_counts(self, split: str) -> list[int]:
        """Clips of each class in a split."""
        counts = [0] * len(self.class_names)
        for shard in self.splits[split]:
            for label, count in enumerate(shard.class_counts):
                counts[label] += count
        return counts

    def num_clips(self, split: str) -> int:
        """Clips in a split."""
        return sum(shard.num_clips for shard in self.splits[split])

    def save(self, directory: str) -> None:
        """Writes `manifest.json`; it is whole or not there at all."""
        text = json.dumps(dataclasses.asdict(self), indent=1)
        files.write_whole(os.path.join(directory, FILE_NAME), text + "\n")


def load(directory: str) -> Manifest:
    """Reads a directory's manifest.

    Raises:
      UserError: there is none, it is damaged, or it is of another version.
    """
    path = os.path.join(directory, FILE_NAME)
    if not tf.io.gfile.exists(path):
        raise errors.UserError(
            f"No prepared data in {directory!r}: it has no {FILE_NAME}. Make it with "
            "python -m data_prep.prepare."
        )
    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            values = json.loads(file.read())
        return _from_json(values, path)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise errors.UserError(f"{path} is damaged ({error}); prepare again.") from None


def _from_json(values: Mapping, path: str) -> Manifest:
    version = values.get("schema_version")
    if version != SCHEMA_VERSION:
        raise errors.UserError(
            f"{path} has schema version {version}, this program reads "
            f"{SCHEMA_VERSION}; prepare the data again."
        )
    splits = {
        split: [Shard(**shard) for shard in shards]
        for split, shards in values["splits"].items()
    }
    for shard in itertools.chain.from_iterable(splits.values()):
        if not re.fullmatch(r"[\w-][\w.-]*", shard.file):
            raise errors.UserError(
                f"{path} names a shard {shard.file!r}; shards are files beside it, of "
                "letters, digits, dots and dashes. Do not use data that was tampered "
                "with."
            )
    return Manifest(**{**values, "splits": splits})
