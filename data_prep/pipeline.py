"""The Beam pipeline that every data set shares: a shard is one piece of work.

Clips are dealt to shards by a hash of the seed and their names. A worker gets a
shard's list of paths, has one clip at a time decoded, resized and encoded, writes its
records, and puts the shard in its place when it is whole. So clips never travel between
workers, memory does not grow with the data set, a shard's bytes depend on its clips
alone, and a job that was killed resumes with the shards that are missing.
"""

import atexit
import collections
import dataclasses
import hashlib
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence

import apache_beam as beam
import numpy as np
import tensorflow as tf

from tf_dvdgan import errors
from tf_dvdgan.data import files, record_index, records, video_io
from tf_dvdgan.data import manifest as manifest_lib

from . import decoding, forms, sources

_RECEIPTS = ".prepare"  # beside the shards; one file for each that is done


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is done to each clip.

    Attributes:
      input_dir: clips' paths are relative to it.
      output_dir: where shards go.
      recipe: what is made of a clip.
      decode_seconds: that decoding a clip may take.
    """

    input_dir: str
    output_dir: str
    recipe: decoding.Recipe
    decode_seconds: float = 60.0


@dataclasses.dataclass(frozen=True)
class ShardTask:
    """One shard to write: its file's name and its clips, in their order."""

    file: str
    clips: tuple[sources.Clip, ...]
    class_names: tuple[str, ...]

    def fingerprint(self, settings: Settings) -> str:
        """Of all that decides the shard's bytes."""
        clips = [[*vars(c).values(), self.class_names[c.label]] for c in self.clips]
        done = dataclasses.asdict(settings)
        del done["decode_seconds"]  # what was written within another limit is right
        if done["recipe"]["resize"] is None:  # as of versions that did not have it
            del done["recipe"]["resize"]
        text = json.dumps([clips, done], sort_keys=True)
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def plan(listing: sources.Listing, num_shards: int, seed: int) -> list[ShardTask]:
    """Deals the clips of each split to at most `num_shards` shards, in a mixed order.

    The order is that of a keyed hash: the same on every machine, whatever the order in
    which a file system lists files.
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


def _stable_hash(text: str, seed: int) -> bytes:
    encoded = text.encode("utf-8", "surrogateescape")
    return hashlib.blake2b(encoded, key=str(seed).encode()).digest()


def begin(tasks: Sequence[ShardTask], settings: Settings) -> list[ShardTask]:
    """Readies the output; gives the shards that are still to be written.

    A shard is written again if one of the clips that it lacks has been mended since, or
    may take longer now. While any is to be written there is no manifest: what it says
    of the shards may not be so any more.
    """
    tf.io.gfile.makedirs(receipts_dir(settings))
    remove_leftovers(settings)
    unfinished = [t for t in tasks if not _is_final(t, settings)]
    for task in unfinished:
        if tf.io.gfile.exists(_receipt_path(task, settings)):
            tf.io.gfile.remove(_receipt_path(task, settings))
    path = os.path.join(settings.output_dir, manifest_lib.FILE_NAME)
    if unfinished and tf.io.gfile.exists(path):
        tf.io.gfile.remove(path)
    return unfinished


def _is_final(task: ShardTask, settings: Settings) -> bool:
    """Whether a shard is there, and writing it again would give the same."""
    receipt = read_receipt(task, settings)
    if receipt is None or not receipt["rejected"]:
        return receipt is not None
    if settings.decode_seconds > receipt.get("decode_seconds", 0.0):
        return False
    return all(
        entry.get("stamp") == _stamp(entry["path"], settings)
        for entry in receipt["rejected"]
    )


def _stamp(path: str, settings: Settings) -> list[int] | None:
    """What tells a file, or a folder, from what will have taken its place."""
    whole_path = os.path.join(settings.input_dir, path)
    try:
        if not files.is_remote(whole_path):  # its name may be no text
            stat = os.stat(whole_path)
            return [stat.st_size, stat.st_mtime_ns]
        stat = tf.io.gfile.stat(whole_path)
    except (tf.errors.OpError, OSError):
        return None
    return [stat.length, stat.mtime_nsec]


def run(
    pipeline: beam.Pipeline, tasks: Sequence[ShardTask], settings: Settings
) -> None:
    """Adds the work to a pipeline; the caller runs it.

    Args:
      pipeline: on any runner.
      tasks: to write; of `begin`.
      settings: of every clip.
    """
    (
        pipeline
        | "Shards" >> beam.Create(tasks)
        | "Spread" >> beam.Reshuffle()
        | "Write" >> beam.ParDo(WriteShard(settings))
    )


class WriteShard(beam.DoFn):
    """Writes a shard, then its receipt: what is in it, and what was left out."""

    def __init__(self, settings: Settings):
        self._settings = settings

    def setup(self) -> None:
        files.ready(self._settings.input_dir)
        files.ready(self._settings.output_dir, writing=True)
        if "tensorflow_io" in sys.modules and _is_beams_own_process():
            atexit.register(os._exit, 0)  # it would abort; Beam takes that for a loss
        self._decoder = decoding.Decoder(
            self._settings.recipe, self._settings.decode_seconds
        )

    def teardown(self) -> None:
        self._decoder.close()

    def process(self, task: ShardTask) -> Iterable[str]:
        path = os.path.join(self._settings.output_dir, task.file)
        class_counts = [0] * len(task.class_names)
        rejected, dropped, lengths = [], [], []
        index = {"lengths": [], "labels": []}
        with files.whole(path) as place, tf.io.TFRecordWriter(place) as writer:
            for clip in task.clips:
                try:
                    decoded = self._decode(clip)
                except video_io.VideoError as error:
                    stamp = _stamp(clip.path, self._settings)
                    why = {"path": clip.path, "reason": str(error), "stamp": stamp}
                    rejected.append(why)
                    beam.metrics.Metrics.counter("prepare", "rejected").inc()
                    continue
                for record in self._records(clip, task.class_names, decoded):
                    writer.write(record)
                    index["lengths"].append(len(record))
                    index["labels"].append(clip.label)
                segments = decoded.segments.values()
                lengths += map(len, segments)
                class_counts[clip.label] += len(segments)
                dropped += [
                    {"path": clip.path, "segment": number, "reason": reason}
                    for number, reason in decoded.dropped.items()
                ]
                beam.metrics.Metrics.counter("prepare", "written").inc()
        receipt = {
            "fingerprint": task.fingerprint(self._settings),
            "num_written": len(task.clips) - len(rejected),
            "shard": {
                "file": task.file,
                "num_clips": len(lengths),
                "num_bytes": tf.io.gfile.stat(path).length,
                "class_counts": class_counts,
                "fewest_frames": min(lengths, default=0),
            },
            "index": index,
            "rejected": rejected,
            "dropped": dropped,
            "decode_seconds": self._settings.decode_seconds,
        }
        _write_receipt(task, self._settings, receipt)
        yield task.file

    def _decode(self, clip: sources.Clip) -> decoding.Decoded:
        with forms.fetched(clip, self._settings.input_dir) as (paths, offset):
            return self._decoder.decode(clip.form, paths, offset)

    def _records(
        self, clip: sources.Clip, class_names: Sequence[str], decoded: decoding.Decoded
    ) -> Iterator[bytes]:
        """The records of a clip's segments; numbered, if clips are cut."""
        cut = self._settings.recipe.segment_frames
        for number, frames in decoded.segments.items():
            yield records.serialize(
                frames,
                video_id=f"{clip.video_id}_{number:03}" if cut else clip.video_id,
                label=clip.label,
                class_name=class_names[clip.label],
                fps=decoded.fps,
                height=decoded.height,
                width=decoded.width,
                source=clip.path,
            )


def _is_beams_own_process() -> bool:
    """Whether this process does nothing but a worker's work."""
    spec = sys.modules["__main__"].__spec__
    return spec is not None and spec.name.endswith(".sdk_worker_main")


def receipts_dir(settings: Settings) -> str:
    """Where receipts lie; counting them tells how far a job is."""
    return os.path.join(settings.output_dir, _RECEIPTS)


def _receipt_path(task: ShardTask, settings: Settings) -> str:
    return os.path.join(receipts_dir(settings), f"{task.file}.json")


def _write_receipt(task: ShardTask, settings: Settings, receipt: dict) -> None:
    files.write_whole(_receipt_path(task, settings), json.dumps(receipt))


def read_receipt(task: ShardTask, settings: Settings) -> dict | None:
    """A finished shard's receipt; None if it is not finished, or not the same work."""
    path = _receipt_path(task, settings)
    shard = os.path.join(settings.output_dir, task.file)
    if not (tf.io.gfile.exists(path) and tf.io.gfile.exists(shard)):
        return None
    with tf.io.gfile.GFile(path) as file:
        receipt = json.load(file)
    same = receipt["fingerprint"] == task.fingerprint(settings)
    whole = receipt["shard"]["num_bytes"] == tf.io.gfile.stat(shard).length
    return receipt if same and whole else None


def remove_leftovers(settings: Settings) -> None:
    """Removes the unfinished files of a job that was killed on this machine."""
    if files.is_object_store(settings.output_dir):
        return  # where there are none
    for folder in (settings.output_dir, receipts_dir(settings)):
        for name in files.names_in(folder):
            found = re.search(r"\.unfinished-(\d+)$", name)
            if found and not _is_running(int(found.group(1))):
                tf.io.gfile.remove(os.path.join(folder, name))


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # somebody else's
    return True


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a finished job has done.

    Attributes:
      manifest: as it was written.
      num_written: clips of each split that are in the shards, with one record or
        several.
      rejected: clips that are not, with 'path' and 'reason'; where a clip lacks a
        'segment' alone, with its number.
      list_path: of the file of those.
    """

    manifest: manifest_lib.Manifest
    num_written: dict[str, int]
    rejected: list[dict]
    list_path: str


def finish(
    listing: sources.Listing,
    tasks: Sequence[ShardTask],
    settings: Settings,
    max_bad_fraction: float,
    made_with: Mapping[str, object],
) -> Outcome:
    """Counts what was written against what was listed; writes index, list, manifest.

    Raises:
      UserError: clips are missing, or too many were rejected.
    """
    splits = {clip.split: [] for clip in listing.clips}
    index = {split: [] for split in splits}
    num_written = dict.fromkeys(splits, 0)
    rejected, dropped = [], []
    for task in tasks:
        receipt = read_receipt(task, settings)
        written = receipt["num_written"] if receipt else 0
        left_out = receipt["rejected"] if receipt else []
        if written + len(left_out) != len(task.clips):
            raise errors.UserError(
                f"{task.file} should hold {len(task.clips)} clips, but {written} were "
                f"written and {len(left_out)} rejected: the runner lost work. Start "
                "the same command again, or use another --runner."
            )
        split = task.clips[0].split
        splits[split].append(manifest_lib.Shard(**receipt["shard"]))
        index[split].append(_entries(task, settings, receipt))
        num_written[split] += written
        rejected += [{k: entry[k] for k in ("path", "reason")} for entry in left_out]
        dropped += receipt["dropped"]
    list_path = os.path.join(settings.output_dir, "rejected.jsonl")
    lines = [json.dumps(entry) + "\n" for entry in rejected + dropped]
    files.write_whole(list_path, "".join(lines))
    bad = len(rejected) / max(len(listing.clips), 1)
    if bad > max_bad_fraction:
        raise errors.UserError(
            f"{len(rejected)} of {len(listing.clips)} files cannot be used, more than "
            f"--max_bad_fraction={max_bad_fraction}; {list_path} says why."
        )
    kinds = collections.Counter(_kind(entry["reason"]) for entry in rejected + dropped)
    manifest = manifest_lib.Manifest(
        dataset=str(made_with.get("dataset", "")),
        class_names=listing.class_names,
        resolution=settings.recipe.resolution,
        splits=splits,
        num_rejected=dict(kinds),
        made_with=dict(made_with),
    )
    joined = {split: record_index.join(entries) for split, entries in index.items()}
    record_index.save(settings.output_dir, joined)
    manifest.save(settings.output_dir)
    return Outcome(manifest, num_written, rejected + dropped, list_path)


def _entries(
    task: ShardTask, settings: Settings, receipt: Mapping
) -> record_index.Entries:
    """A shard's part of the index; receipts of earlier versions do not have it."""
    if "index" not in receipt:
        return record_index.scan(os.path.join(settings.output_dir, task.file))
    return record_index.Entries(
        np.array(receipt["index"]["lengths"], np.int64),
        np.array(receipt["index"]["labels"], np.int32),
    )


def _kind(reason: str) -> str:
    """A reason without its numbers, to count by."""
    return reason.split(":")[0]
