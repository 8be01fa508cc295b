"""What a preparation job writes: its settings, and the clips of each shard."""

import collections
import dataclasses
import hashlib
import json
from collections.abc import Collection, Sequence

from . import decoding, sources


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of a preparation job.

    Attributes:
      input_dir: folder that clips' paths are relative to.
      output_dir: folder for the shards.
      recipe: how clips are cut, resized and encoded.
      decode_seconds: time limit for decoding 300 frames of a clip.
    """

    input_dir: str
    output_dir: str
    recipe: decoding.Recipe
    decode_seconds: float = 60.0


@dataclasses.dataclass(frozen=True)
class ShardTask:
    """One shard to write.

    Attributes:
      file: name of the shard's file.
      clips: the clips, in the order of their records.
      class_names: names of all classes, in the order of the labels.
    """

    file: str
    clips: tuple[sources.Clip, ...]
    class_names: tuple[str, ...]

    def fingerprint(self, settings: Settings) -> str:
        """Hashes everything that determines the shard's bytes."""
        clips = [[*vars(c).values(), self.class_names[c.label]] for c in self.clips]
        values = dataclasses.asdict(settings)
        del values["decode_seconds"]  # records written under another limit are valid
        for name, default in (("resize", None), ("fps", None), ("split_scenes", False)):
            if values["recipe"][name] is default:  # matches versions without it
                del values["recipe"][name]
        text = json.dumps([clips, values], sort_keys=True)
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def plan(listing: sources.Listing, num_shards: int, seed: int) -> list[ShardTask]:
    """Distributes the clips of each split over shards, in a shuffled order.

    The order is that of a keyed hash, so it is the same on every machine and does not
    depend on the order in which a file system lists files.

    Args:
      listing: all clips of the data set.
      num_shards: maximum number of shards per split.
      seed: key of the hash.

    Returns:
      One task per shard.
    """
    by_split = collections.defaultdict(list)
    for clip in listing.clips:
        by_split[clip.split].append(clip)
    tasks = []
    for split, clips in sorted(by_split.items()):
        clips.sort(key=lambda clip: _stable_hash(clip.video_id, seed))
        count = min(num_shards, len(clips))
        for i in range(count):
            name = f"{split}-{i:05}-of-{count:05}.tfrecord"
            own = tuple(clips[i::count])
            tasks.append(ShardTask(name, own, tuple(listing.class_names)))
    return tasks


def without(tasks: Sequence[ShardTask], dropped: Collection[str]) -> list[ShardTask]:
    """Leaves out clips; all others stay in their shards.

    Args:
      tasks: the shards.
      dropped: ids of the clips to skip.

    Returns:
      The shards that still have clips.
    """
    left = [
        dataclasses.replace(
            task, clips=tuple(c for c in task.clips if c.video_id not in dropped)
        )
        for task in tasks
    ]
    return [task for task in left if task.clips]


def _stable_hash(text: str, seed: int) -> bytes:
    encoded = text.encode("utf-8", "surrogateescape")
    return hashlib.blake2b(encoded, key=str(seed).encode()).digest()
