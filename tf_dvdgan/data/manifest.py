"""The manifest of a prepared data set: its shards, and how they were made.

It is JSON, which people can read and which runs no code when it is loaded.
"""

import dataclasses
import itertools
import json
import os
import re
from collections.abc import Mapping

from tf_dvdgan import errors
from tf_dvdgan.data import files, filesystem

FILE_NAME = "manifest.json"
SCHEMA_VERSION = 1
_HELD_OUT = ("test", "validation")  # in order of preference; Kinetics may lack 'test'


@dataclasses.dataclass(frozen=True)
class Shard:
    """One TFRecord file.

    Attributes:
      file: name of the file, in the manifest's folder.
      num_clips: number of records.
      num_bytes: size of the file.
      class_counts: number of clips per class, in the order of the labels.
      fewest_frames: length of the shortest clip, in frames.
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
      dataset: the --dataset that was prepared.
      class_names: class names in the order of the labels.
      resolution: height and width of training's crops, in pixels.
      splits: name of each split to its shards.
      num_rejected: kind of reason to the number of clips rejected for it;
        `rejected.jsonl` lists them.
      made_with: flags of the preparation, as JSON values.
      schema_version: version of this file and of the records.
    """

    dataset: str
    class_names: list[str]
    resolution: int
    splits: dict[str, list[Shard]]
    num_rejected: dict[str, int]
    made_with: dict[str, object]
    schema_version: int = SCHEMA_VERSION

    @property
    def nonempty_splits(self) -> list[str]:
        """Names of the splits that have clips."""
        return [name for name in self.splits if self.num_clips(name)]

    @property
    def held_out_split(self) -> str | None:
        """The split to evaluate on; None if all clips are for training."""
        held = [name for name in _HELD_OUT if name in self.nonempty_splits]
        return held[0] if held else None

    def class_counts(self, split: str) -> list[int]:
        """Number of clips per class in a split, in the order of the labels."""
        counts = [0] * len(self.class_names)
        for shard in self.splits[split]:
            for label, count in enumerate(shard.class_counts):
                counts[label] += count
        return counts

    def num_clips(self, split: str) -> int:
        """Number of clips in a split."""
        return sum(shard.num_clips for shard in self.splits[split])

    def save(self, directory: str) -> None:
        """Writes `manifest.json` atomically."""
        text = json.dumps(dataclasses.asdict(self), indent=1)
        files.atomic_write(os.path.join(directory, FILE_NAME), text + "\n")


def load(directory: str) -> Manifest:
    """Reads the manifest of a folder of shards.

    Raises:
      UserError: the manifest is missing, damaged, or of another version.
    """
    path = os.path.join(directory, FILE_NAME)
    if not filesystem.exists(path):
        raise errors.UserError(
            f"No prepared data in {directory!r}: it has no {FILE_NAME}. Run "
            "python -m data_prep.prepare first."
        )
    try:
        with filesystem.GFile(path, "rb") as file:
            values = files.parse_json(file.read())
        return _from_json(values, path)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise errors.UserError(
            f"{path} is damaged ({error}); prepare the data again."
        ) from None


def _check_numbers(values: Mapping, path: str) -> None:
    """Checks that counts are possible: they size arrays and decide what is read."""
    num_classes = len(values["class_names"])
    shards = list(itertools.chain.from_iterable(values["splits"].values()))
    numbers = [values["resolution"] - 1]
    for shard in shards:
        numbers += [shard["num_clips"], shard["num_bytes"], shard["fewest_frames"]]
        numbers += shard["class_counts"]
    possible = all(type(n) is int and 0 <= n < 2**63 for n in numbers) and all(
        len(shard["class_counts"]) == num_classes
        and sum(shard["class_counts"]) == shard["num_clips"]
        and 16 * shard["num_clips"] <= shard["num_bytes"]
        for shard in shards
    )
    if not possible or not all(isinstance(n, str) for n in values["class_names"]):
        raise ValueError("its counts are impossible")
    names = [shard["file"] for shard in shards]
    if len(set(names)) < len(names):
        raise ValueError("it names a shard twice")
    kinds = {"dataset": str, "num_rejected": dict, "made_with": dict}
    for key, kind in kinds.items():
        if not isinstance(values[key], kind):
            raise ValueError(f"its {key} is {values[key]!r}")


def _from_json(values: Mapping, path: str) -> Manifest:
    version = values.get("schema_version")
    if version != SCHEMA_VERSION:
        raise errors.UserError(
            f"{path} has schema version {version}, but this program reads version "
            f"{SCHEMA_VERSION}; prepare the data again."
        )
    _check_numbers(values, path)
    splits = {
        split: [Shard(**shard) for shard in shards]
        for split, shards in values["splits"].items()
    }
    for shard in itertools.chain.from_iterable(splits.values()):
        if not re.fullmatch(r"[\w-][\w.-]*", shard.file):
            raise errors.UserError(
                f"{path} names a shard {shard.file!r}, but shards are files beside it "
                "with names of letters, digits, dots and dashes. Do not use this data: "
                "it may have been tampered with."
            )
    return Manifest(**{**values, "splits": splits})
