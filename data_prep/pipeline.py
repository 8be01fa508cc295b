"""The Beam pipeline that every data set shares; each work item is one shard.

A hash of the seed and the clip names assigns clips to shards. A worker receives a
shard's list of paths, decodes, resizes and encodes one clip at a time, writes the
records, and renames the shard into place once it is complete. So clips never travel
between workers, memory use does not grow with the data set, a shard's bytes depend only
on its clips, and an interrupted job resumes with the missing shards.
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
from tf_dvdgan.data import files, filesystem, record_index, records, video_io
from tf_dvdgan.data import manifest as manifest_lib

from . import decoding, forms, sources

_RECEIPTS = ".prepare"  # folder beside the shards; one file per finished shard


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of a preparation job.

    Attributes:
      input_dir: folder that clips' paths are relative to.
      output_dir: folder for the shards.
      recipe: how clips are cut, resized and encoded.
      decode_seconds: time limit for decoding one clip.
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
        if values["recipe"]["resize"] is None:  # matches versions without `resize`
            del values["recipe"]["resize"]
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


def _stable_hash(text: str, seed: int) -> bytes:
    encoded = text.encode("utf-8", "surrogateescape")
    return hashlib.blake2b(encoded, key=str(seed).encode()).digest()


def start_job(tasks: Sequence[ShardTask], settings: Settings) -> list[ShardTask]:
    """Prepares the output folder and selects the shards that still have to be written.

    A shard is written again if one of its rejected clips has changed since, or if the
    time limit was raised. The manifest is removed while shards are missing, because it
    may no longer describe them.

    Args:
      tasks: all shards, from `plan`.
      settings: of the job.

    Returns:
      The tasks of the missing shards.
    """
    filesystem.makedirs(receipts_dir(settings))
    remove_leftovers(settings)
    unfinished = [t for t in tasks if not _is_final(t, settings)]
    for task in unfinished:
        if filesystem.exists(_receipt_path(task, settings)):
            filesystem.remove(_receipt_path(task, settings))
    path = os.path.join(settings.output_dir, manifest_lib.FILE_NAME)
    if unfinished and filesystem.exists(path):
        filesystem.remove(path)
    return unfinished


def _is_final(task: ShardTask, settings: Settings) -> bool:
    """Whether a shard exists and writing it again would produce the same bytes."""
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
    """Size and modification time of a file or folder; None if it does not exist."""
    full_path = os.path.join(settings.input_dir, path)
    try:
        if not files.is_remote(full_path):  # TensorFlow takes only UTF-8 names
            local = os.stat(full_path)
            return [local.st_size, local.st_mtime_ns]
        stat = filesystem.stat(full_path)
    except (tf.errors.OpError, OSError):
        return None
    return [stat.length, stat.mtime_nsec]


def run(
    pipeline: beam.Pipeline, tasks: Sequence[ShardTask], settings: Settings
) -> None:
    """Adds the job's steps to a pipeline; the caller runs it.

    Args:
      pipeline: a pipeline on any runner.
      tasks: the shards to write, from `start_job`.
      settings: of the job.
    """
    (
        pipeline
        | "Shards" >> beam.Create(tasks)
        | "Spread" >> beam.Reshuffle()
        | "Write" >> beam.ParDo(WriteShard(settings))
    )


class WriteShard(beam.DoFn):
    """Writes a shard, then its receipt, which lists its contents and rejected clips.

    Args:
      settings: of the job.
    """

    def __init__(self, settings: Settings):
        self._settings = settings

    def setup(self) -> None:
        for path in (self._settings.input_dir, self._settings.output_dir):
            files.register_filesystems(path, by_tensorflow=False)
        if "tensorflow_io" in sys.modules and _is_beams_own_process():
            atexit.register(os._exit, 0)  # a normal exit would abort and fail the job
        self._decoder = decoding.Decoder(
            self._settings.recipe, self._settings.decode_seconds
        )

    def teardown(self) -> None:
        self._decoder.close()

    def process(self, task: ShardTask) -> Iterable[str]:
        receipt = self._write_shard(task)
        _write_receipt(task, self._settings, receipt)
        yield task.file

    def _write_shard(self, task: ShardTask) -> dict:
        """Writes the records of a shard and returns its receipt."""
        path = os.path.join(self._settings.output_dir, task.file)
        class_counts = [0] * len(task.class_names)
        rejected: list[dict] = []
        dropped: list[dict] = []
        lengths: list[int] = []  # of the clips, in frames
        index: dict[str, list[int]] = {"lengths": [], "labels": []}  # of the records
        with (
            files.atomic_path(path) as unfinished,
            tf.io.TFRecordWriter(unfinished) as writer,
        ):
            for clip in task.clips:
                try:
                    decoded = self._decode(clip)
                except video_io.VideoError as error:
                    rejected.append(self._rejection(clip, error))
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
        return {
            "fingerprint": task.fingerprint(self._settings),
            "num_written": len(task.clips) - len(rejected),
            "shard": {
                "file": task.file,
                "num_clips": len(lengths),
                "num_bytes": filesystem.stat(path).length,
                "class_counts": class_counts,
                "fewest_frames": min(lengths, default=0),
            },
            "index": index,
            "rejected": rejected,
            "dropped": dropped,
            "decode_seconds": self._settings.decode_seconds,
        }

    def _rejection(self, clip: sources.Clip, error: video_io.VideoError) -> dict:
        stamp = _stamp(clip.path, self._settings)
        return {"path": clip.path, "reason": str(error), "stamp": stamp}

    def _decode(self, clip: sources.Clip) -> decoding.Decoded:
        with forms.fetch(clip, self._settings.input_dir) as (paths, offset):
            return self._decoder.decode(clip.form, paths, offset)

    def _records(
        self, clip: sources.Clip, class_names: Sequence[str], decoded: decoding.Decoded
    ) -> Iterator[bytes]:
        """Serializes a clip's segments; if clips are cut, ids end in the number."""
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
    """Whether this process is a Beam SDK worker."""
    spec = sys.modules["__main__"].__spec__
    return spec is not None and spec.name.endswith(".sdk_worker_main")


def receipts_dir(settings: Settings) -> str:
    """Folder of the receipts; their number is the job's progress."""
    return os.path.join(settings.output_dir, _RECEIPTS)


def _receipt_path(task: ShardTask, settings: Settings) -> str:
    return os.path.join(receipts_dir(settings), f"{task.file}.json")


def _write_receipt(task: ShardTask, settings: Settings, receipt: dict) -> None:
    files.atomic_write(_receipt_path(task, settings), json.dumps(receipt))


def read_receipt(task: ShardTask, settings: Settings) -> dict | None:
    """Reads the receipt of a finished shard.

    Args:
      task: the shard.
      settings: of the job.

    Returns:
      The receipt; None if the shard is unfinished or was written from other clips or
      with other settings.
    """
    path = _receipt_path(task, settings)
    shard = os.path.join(settings.output_dir, task.file)
    if not (filesystem.exists(path) and filesystem.exists(shard)):
        return None
    with filesystem.GFile(path) as file:
        receipt = json.load(file)
    same = receipt["fingerprint"] == task.fingerprint(settings)
    complete = receipt["shard"]["num_bytes"] == filesystem.stat(shard).length
    return receipt if same and complete else None


def remove_leftovers(settings: Settings) -> None:
    """Removes unfinished files of jobs that were killed on this machine."""
    if files.is_object_store(settings.output_dir):
        return  # files appear there only when they are complete
    for folder in (settings.output_dir, receipts_dir(settings)):
        for name in files.list_dir(folder):
            found = re.search(r"\.unfinished-(\d+)$", name)
            if found and not _is_running(int(found.group(1))):
                filesystem.remove(os.path.join(folder, name))


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # the process belongs to another user
    return True


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The result of a finished job.

    Attributes:
      manifest: as written to the output folder.
      num_written: number of clips per split that were written, each as one record or
        several.
      rejected: entries with 'path' and 'reason' for rejected clips; entries that also
        have 'segment' are dropped segments of clips that were written.
      list_path: path of `rejected.jsonl`, which has the same entries.
    """

    manifest: manifest_lib.Manifest
    num_written: dict[str, int]
    rejected: list[dict]
    list_path: str


def finish_job(
    listing: sources.Listing,
    tasks: Sequence[ShardTask],
    settings: Settings,
    max_bad_fraction: float,
    made_with: Mapping[str, object],
) -> Outcome:
    """Checks that every clip is accounted for; writes index, rejections and manifest.

    Args:
      listing: all clips of the data set.
      tasks: all shards, from `plan`.
      settings: of the job.
      max_bad_fraction: maximum fraction of rejected clips, 0 to 1.
      made_with: flags to record in the manifest.

    Returns:
      The result of the job.

    Raises:
      UserError: clips are missing, or too many were rejected.
    """
    receipts = [_checked_receipt(task, settings) for task in tasks]
    splits: dict[str, list[manifest_lib.Shard]] = {c.split: [] for c in listing.clips}
    index: dict[str, list[record_index.Entries]] = {split: [] for split in splits}
    num_written = dict.fromkeys(splits, 0)
    rejected: list[dict] = []
    dropped: list[dict] = []
    for task, receipt in zip(tasks, receipts, strict=True):
        split = task.clips[0].split
        splits[split].append(manifest_lib.Shard(**receipt["shard"]))
        index[split].append(_entries(task, settings, receipt))
        num_written[split] += receipt["num_written"]
        rejected += [
            {key: entry[key] for key in ("path", "reason")}
            for entry in receipt["rejected"]
        ]
        dropped += receipt["dropped"]
    list_path = _write_rejected(rejected + dropped, settings)
    bad = len(rejected) / max(len(listing.clips), 1)
    if bad > max_bad_fraction:
        raise errors.UserError(
            f"{len(rejected)} of {len(listing.clips)} files cannot be used, more than "
            f"--max_bad_fraction={max_bad_fraction}; {list_path} lists the reasons."
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


def _checked_receipt(task: ShardTask, settings: Settings) -> dict:
    """A shard's receipt, if it accounts for all of the shard's clips."""
    receipt = read_receipt(task, settings)
    num_written = receipt["num_written"] if receipt else 0
    num_rejected = len(receipt["rejected"]) if receipt else 0
    if receipt is None or num_written + num_rejected != len(task.clips):
        raise errors.UserError(
            f"{task.file} should hold {len(task.clips)} clips, but {num_written} were "
            f"written and {num_rejected} rejected: the runner lost work. Run the same "
            "command again, or use another --runner."
        )
    return receipt


def _write_rejected(entries: Sequence[Mapping], settings: Settings) -> str:
    """Writes `rejected.jsonl` and returns its path."""
    path = os.path.join(settings.output_dir, "rejected.jsonl")
    files.atomic_write(path, "".join(json.dumps(entry) + "\n" for entry in entries))
    return path


def _entries(
    task: ShardTask, settings: Settings, receipt: Mapping
) -> record_index.Entries:
    """A shard's index entries; receipts of earlier versions lack them."""
    if "index" not in receipt:
        return record_index.scan(os.path.join(settings.output_dir, task.file))
    return record_index.Entries(
        np.array(receipt["index"]["lengths"], np.int64),
        np.array(receipt["index"]["labels"], np.int32),
    )


def _kind(reason: str) -> str:
    """A reason without its details, for counting."""
    return reason.split(":")[0]
