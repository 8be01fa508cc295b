"""The Beam pipeline that every data set shares; each work item is one shard.

A hash of the seed and the clip names assigns clips to shards. A worker receives a
shard's list of paths, decodes, resizes and encodes one clip at a time, writes the
records, and renames the shard into place once it is complete. So clips never travel
between workers, memory use does not grow with the data set, a shard's bytes depend only
on its clips, and an interrupted job resumes with the missing shards.
"""

import atexit
import collections
import os
import sys
from collections.abc import Iterable, Iterator, Sequence

import apache_beam as beam
import tensorflow as tf

from tf_dvdgan.data import files, filesystem, records, video_io

from . import decoder, decoding, forms, receipts, sources
from .tasks import Settings, ShardTask


def run(
    pipeline: beam.Pipeline, tasks: Sequence[ShardTask], settings: Settings
) -> None:
    """Adds the job's steps to a pipeline; the caller runs it.

    Args:
      pipeline: a pipeline on any runner.
      tasks: the shards to write, from `receipts.start_job`.
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
        self._decoder = decoder.Decoder(
            self._settings.recipe, self._settings.decode_seconds
        )

    def teardown(self) -> None:
        self._decoder.close()

    def process(self, task: ShardTask) -> Iterable[str]:
        receipt = self._write_shard(task)
        receipts.write(task, self._settings, receipt)
        yield task.file

    def _write_shard(self, task: ShardTask) -> dict:
        """Writes the records of a shard and returns its receipt."""
        path = os.path.join(self._settings.output_dir, task.file)
        class_counts = [0] * len(task.class_names)
        rejected: list[dict] = []
        dropped: list[dict] = []
        lengths: list[int] = []  # of the clips, in frames
        hashes: dict[str, list[int]] = {}
        rates: collections.Counter[str] = collections.Counter()  # of the videos
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
                lengths += decoded.segments.lengths.values()
                class_counts[clip.label] += len(decoded.segments)
                hashes[clip.video_id] = decoded.hashes
                if clip.form == "video":
                    rates[f"{decoded.fps:.4g}"] += 1
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
            "rates": rates,
            "hashes": hashes,
            "rejected": rejected,
            "dropped": dropped,
            "decode_seconds": self._settings.decode_seconds,
        }

    def _rejection(self, clip: sources.Clip, error: video_io.VideoError) -> dict:
        stamp = receipts.stamp(clip.path, self._settings)
        return {"path": clip.path, "reason": str(error), "stamp": stamp}

    def _decode(self, clip: sources.Clip) -> decoding.Decoded:
        with forms.fetch(clip, self._settings.input_dir) as (paths, offset):
            return self._decoder.decode(clip.form, paths, offset)

    def _records(
        self, clip: sources.Clip, class_names: Sequence[str], decoded: decoding.Decoded
    ) -> Iterator[bytes]:
        """Serializes a clip's segments; if clips are cut, ids end in the number."""
        cut = self._settings.recipe.is_cut
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
