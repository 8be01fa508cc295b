"""The Beam pipeline that every data set shares: a shard is one piece of work.

Clips are dealt to shards by a hash of the seed and their names. A worker gets a
shard's list of paths, decodes, resizes, encodes and writes one clip at a time, and
puts the shard in its place when it is whole. So clips never travel between workers,
memory does not grow with the data set, a shard's bytes depend on its clips alone, and
a job that was killed goes on with the shards that are missing.
"""

import atexit
import collections
import dataclasses
import hashlib
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence

import apache_beam as beam
import cv2
import numpy as np

from tf_dvdgan import cli
from tf_dvdgan.data import files, video_io

from . import sources

_RECEIPTS = ".prepare"  # beside the shards; one file for each that is done


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is done to each clip.

    Attributes:
      input_dir: clips' paths are relative to it.
      output_dir: where shards go.
      resolution: the smaller side, in pixels; aspect is kept.
      encoding: of the frames, 'jpeg' or 'png'.
      jpeg_quality: 1 to 100.
    """

    input_dir: str
    output_dir: str
    resolution: int
    encoding: str = "jpeg"
    jpeg_quality: int = 95


@dataclasses.dataclass(frozen=True)
class ShardTask:
    """One shard to write: its file's name and its clips, in their order."""

    file: str
    clips: tuple[sources.Clip, ...]
    class_names: tuple[str, ...]

    def fingerprint(self, settings: Settings) -> str:
        """Of all that decides the shard's bytes."""
        names = [(c.path, c.label, self.class_names[c.label]) for c in self.clips]
        text = json.dumps([names, dataclasses.asdict(settings)], sort_keys=True)
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


def run(
    pipeline: beam.Pipeline, tasks: Sequence[ShardTask], settings: Settings
) -> None:
    """Adds the work to a pipeline; the caller runs it.

    Args:
      pipeline: on any runner.
      tasks: shards that are already done are left as they are.
      settings: of every clip.
    """
    unfinished = [t for t in tasks if read_receipt(t, settings) is None]
    (
        pipeline
        | "Shards" >> beam.Create(unfinished)
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

    def process(self, task: ShardTask) -> Iterable[str]:
        import tensorflow as tf

        settings = self._settings
        path = os.path.join(settings.output_dir, task.file)
        class_counts = [0] * len(task.class_names)
        rejected, lengths = [], []
        with files.whole(path) as place, tf.io.TFRecordWriter(place) as writer:
            for clip in task.clips:
                try:
                    record, num_frames = _record_of(clip, task.class_names, settings)
                except video_io.VideoError as error:
                    rejected.append({"path": clip.path, "reason": str(error)})
                    beam.metrics.Metrics.counter("prepare", "rejected").inc()
                    continue
                writer.write(record)
                class_counts[clip.label] += 1
                lengths.append(num_frames)
                beam.metrics.Metrics.counter("prepare", "written").inc()
        receipt = {
            "fingerprint": task.fingerprint(settings),
            "shard": {
                "file": task.file,
                "num_clips": len(lengths),
                "num_bytes": tf.io.gfile.stat(path).length,
                "class_counts": class_counts,
                "fewest_frames": min(lengths, default=0),
            },
            "rejected": rejected,
        }
        _write_receipt(task, settings, receipt)
        yield task.file


def _is_beams_own_process() -> bool:
    """Whether this process does nothing but a worker's work."""
    spec = sys.modules["__main__"].__spec__
    return spec is not None and spec.name.endswith(".sdk_worker_main")


def _record_of(
    clip: sources.Clip, class_names: Sequence[str], settings: Settings
) -> tuple[bytes, int]:
    """A clip's record and its number of frames."""
    from tf_dvdgan.data import records

    frames = []
    with files.local(os.path.join(settings.input_dir, clip.path)) as path:
        reader = video_io.VideoReader(path, settings.resolution)
        for frame in reader:
            frames.append(_encode(frame, settings))
    height, width = frame.shape[:2]
    record = records.serialize(
        frames,
        video_id=clip.video_id,
        label=clip.label,
        class_name=class_names[clip.label],
        fps=reader.fps,
        height=height,
        width=width,
        source=clip.path,
    )
    return record, len(frames)


def _encode(frame: np.ndarray, settings: Settings) -> bytes:
    options = []
    if settings.encoding == "jpeg":
        options = [cv2.IMWRITE_JPEG_QUALITY, settings.jpeg_quality]
    bgr = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(f".{settings.encoding}", bgr, options)
    return encoded.tobytes()


def receipts_dir(settings: Settings) -> str:
    """Where receipts lie; counting them tells how far a job is."""
    return os.path.join(settings.output_dir, _RECEIPTS)


def _receipt_path(task: ShardTask, settings: Settings) -> str:
    return os.path.join(receipts_dir(settings), f"{task.file}.json")


def _write_receipt(task: ShardTask, settings: Settings, receipt: dict) -> None:
    files.write_whole(_receipt_path(task, settings), json.dumps(receipt))


def read_receipt(task: ShardTask, settings: Settings) -> dict | None:
    """A finished shard's receipt; None if it is not finished, or not the same work."""
    import tensorflow as tf

    path = _receipt_path(task, settings)
    shard = os.path.join(settings.output_dir, task.file)
    if not (tf.io.gfile.exists(path) and tf.io.gfile.exists(shard)):
        return None
    with tf.io.gfile.GFile(path) as file:
        receipt = json.load(file)
    same = receipt["fingerprint"] == task.fingerprint(settings)
    whole = receipt["shard"]["num_bytes"] == tf.io.gfile.stat(shard).length
    return receipt if same and whole else None


def finish(
    listing: sources.Listing,
    tasks: Sequence[ShardTask],
    settings: Settings,
    max_bad_fraction: float,
    made_with: Mapping[str, object],
) -> None:
    """Counts what was written against what was listed; writes manifest and list.

    Raises:
      UserError: clips are missing, or too many were rejected.
    """
    from tf_dvdgan.data import manifest as manifest_lib

    splits = {clip.split: [] for clip in listing.clips}
    rejected = []
    for task in tasks:
        receipt = read_receipt(task, settings)
        written = receipt["shard"]["num_clips"] if receipt else 0
        left_out = receipt["rejected"] if receipt else []
        if written + len(left_out) != len(task.clips):
            raise cli.UserError(
                f"{task.file} should hold {len(task.clips)} clips, but {written} were "
                f"written and {len(left_out)} rejected: the runner lost work. Start "
                "the same command again, or use another --runner."
            )
        splits[task.clips[0].split].append(manifest_lib.Shard(**receipt["shard"]))
        rejected += left_out
    list_path = os.path.join(settings.output_dir, "rejected.jsonl")
    files.write_whole(list_path, "".join(json.dumps(r) + "\n" for r in rejected))
    bad = len(rejected) / max(len(listing.clips), 1)
    if bad > max_bad_fraction:
        raise cli.UserError(
            f"{len(rejected)} of {len(listing.clips)} files cannot be used, more than "
            f"--max_bad_fraction={max_bad_fraction}; {list_path} says why."
        )
    manifest = manifest_lib.Manifest(
        dataset=str(made_with.get("dataset", "")),
        class_names=listing.class_names,
        resolution=settings.resolution,
        splits=splits,
        num_rejected=dict(collections.Counter(_kind(r["reason"]) for r in rejected)),
        made_with=dict(made_with),
    )
    manifest.save(settings.output_dir)
    for split in splits:
        counts = manifest.class_counts(split)
        print(
            f"{split}: {manifest.num_clips(split)} clips in {len(splits[split])} shards"
            f", {min(counts)} to {max(counts)} of a class"
        )
    print(f"{len(rejected)} rejected ({list_path}); {settings.output_dir} is ready")


def _kind(reason: str) -> str:
    """A reason without its numbers, to count by."""
    return reason.split(":")[0]
