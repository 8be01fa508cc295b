r"""Turns a folder of videos into TFRecord shards that training reads.

  python -m data_prep.prepare --dataset=folder --input=VIDEOS --output=SHARDS \
      --resolution=64

--dataset=folder takes any folder with one sub-folder of videos for each class (or
without classes); --dataset=ucf101 takes UCF-101 as it unpacks. Apache Beam does the
work: on this machine's processes by default, or on any of its runners by its own
flags (--runner=..., with what that runner wants), which may stand beside these.

In --output: the shards, manifest.json (what they hold), rejected.jsonl (each file that
could not be used, and why). A file that cannot be used stops nothing, unless more than
--max_bad_fraction of them are so. Stopped and started again, the job goes on.
"""

import argparse
import collections
import contextlib
import json
import logging
import os
import sys
import tempfile
import threading
from collections.abc import Iterator

from absl import flags

from tf_dvdgan import cli

from . import pipeline, sources
from .sources import folder, ucf101

FLAGS = flags.FLAGS


def define_flags() -> None:
    flags.DEFINE_enum("dataset", "folder", ["folder", "ucf101"], "What --input is.")
    flags.DEFINE_string("input", None, "Folder of videos.", required=True)
    flags.DEFINE_string("output", None, "Folder for the shards.", required=True)
    flags.DEFINE_integer(
        "resolution",
        64,
        "Smaller side of the frames, in pixels; aspect is kept.",
        lower_bound=4,
    )
    flags.DEFINE_integer(
        "num_shards",
        16,
        "Files for each split; a few for each worker.",
        lower_bound=1,
    )
    flags.DEFINE_enum("split_list", "1", ["1", "2", "3"], "Which of UCF-101's splits.")
    flags.DEFINE_enum("encoding", "jpeg", ["jpeg", "png"], "Of the frames.")
    flags.DEFINE_integer(
        "jpeg_quality", 95, "Of JPEG frames.", lower_bound=1, upper_bound=100
    )
    flags.DEFINE_integer("seed", 0, "Of the order of the clips.")
    flags.DEFINE_float(
        "max_bad_fraction",
        0.05,
        "Fail if more than this share of the files cannot be used.",
        lower_bound=0,
        upper_bound=1,
    )


def main(beam_flags: list[str]) -> None:
    import tensorflow as tf

    if not os.path.isdir(FLAGS.input):
        raise cli.UserError(f"--input={FLAGS.input} is not a folder.")
    if FLAGS.dataset == "ucf101":
        listing = ucf101.list_clips(FLAGS.input, int(FLAGS.split_list))
    else:
        listing = folder.list_clips(FLAGS.input)
    _summarize_listing(listing)
    settings = pipeline.Settings(
        input_dir=os.path.abspath(FLAGS.input),
        output_dir=_absolute(FLAGS.output),
        resolution=FLAGS.resolution,
        encoding=FLAGS.encoding,
        jpeg_quality=FLAGS.jpeg_quality,
    )
    tasks = pipeline.plan(listing, FLAGS.num_shards, FLAGS.seed)
    tf.io.gfile.makedirs(pipeline.receipts_dir(settings))
    local = not any(flag.startswith("--runner") for flag in beam_flags)
    with _local_log() if local else contextlib.nullcontext():
        with _watch(tasks, settings):
            _run_beam(beam_flags, tasks, settings, local)
    _finish(listing, tasks, settings)


def _absolute(path: str) -> str:
    return path if "://" in path else os.path.abspath(path)


def _summarize_listing(listing: sources.Listing) -> None:
    splits = collections.Counter(clip.split for clip in listing.clips)
    counts = ", ".join(f"{n} {split}" for split, n in sorted(splits.items()))
    print(f"{len(listing.class_names)} classes; clips: {counts}", flush=True)


def _run_beam(beam_flags, tasks, settings, local: bool) -> None:
    import apache_beam as beam
    from apache_beam.options import pipeline_options

    if local:
        workers = min(os.cpu_count() or 1, len(tasks))
        beam_flags = [
            "--runner=FnApiRunner",
            "--direct_running_mode=multi_processing",
            f"--direct_num_workers={workers}",
            *beam_flags,
        ]
    options = pipeline_options.PipelineOptions(beam_flags)
    with beam.Pipeline(options=options) as beam_pipeline:
        pipeline.run(beam_pipeline, tasks, settings)


@contextlib.contextmanager
def _local_log() -> Iterator[None]:
    """Beam's own processes log a lot to standard error; a file takes it meanwhile."""
    terminal, stream = os.dup(2), sys.stderr
    fd, log = tempfile.mkstemp(prefix="prepare-", suffix=".log")
    os.dup2(fd, 2)
    sys.stderr = os.fdopen(terminal, "w", closefd=False)
    try:
        yield
    except Exception:
        print(f"Beam's log: {log}", file=sys.stderr)
        raise
    else:
        os.remove(log)
    finally:
        sys.stderr.flush()
        sys.stderr = stream
        os.dup2(terminal, 2)
        os.close(terminal)
        os.close(fd)


class _watch:
    """Shows how many clips are done, from the receipts of finished shards."""

    def __init__(self, tasks, settings):
        self._tasks = tasks
        self._settings = settings
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._show, daemon=True)

    def __enter__(self):
        self._thread.start()

    def __exit__(self, *error):
        self._stop.set()
        self._thread.join()

    def _show(self) -> None:
        total = sum(len(task.clips) for task in self._tasks)
        progress = cli.Progress("preparing clips", total)
        waiting = list(self._tasks)
        done = rejected = 0
        while waiting and not self._stop.wait(1.0):
            still = []
            for task in waiting:
                receipt = pipeline.read_receipt(task, self._settings)
                if receipt is None:
                    still.append(task)
                    continue
                done += len(task.clips)
                rejected += len(receipt["rejected"])
            waiting = still
            progress.update(done, f"  {rejected} rejected")


def _finish(listing, tasks, settings) -> None:
    """Counts what was written against what was listed; writes manifest and list."""
    import tensorflow as tf

    from tf_dvdgan.data import manifest as manifest_lib

    splits = {clip.split: [] for clip in listing.clips}
    rejected = []
    for task in tasks:
        receipt = pipeline.read_receipt(task, settings)
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
    with tf.io.gfile.GFile(list_path, "w") as file:
        file.write("".join(json.dumps(entry) + "\n" for entry in rejected))
    bad = len(rejected) / max(len(listing.clips), 1)
    if bad > FLAGS.max_bad_fraction:
        raise cli.UserError(
            f"{len(rejected)} of {len(listing.clips)} files cannot be used, more than "
            f"--max_bad_fraction={FLAGS.max_bad_fraction}; {list_path} says why."
        )
    manifest = manifest_lib.Manifest(
        dataset=FLAGS.dataset,
        class_names=listing.class_names,
        resolution=settings.resolution,
        splits=splits,
        num_rejected=dict(collections.Counter(_kind(r["reason"]) for r in rejected)),
        made_with={name: FLAGS[name].value for name in _FLAG_NAMES},
    )
    manifest.save(settings.output_dir)
    for split in splits:
        counts = manifest.class_counts(split)
        print(
            f"{split}: {manifest.num_clips(split)} clips in {len(splits[split])} shards"
            f", {min(counts)} to {max(counts)} of a class"
        )
    print(f"{len(rejected)} rejected ({list_path}); {settings.output_dir} is ready")


_FLAG_NAMES = (
    "dataset",
    "input",
    "resolution",
    "num_shards",
    "split_list",
    "encoding",
    "jpeg_quality",
    "seed",
)


def _kind(reason: str) -> str:
    """A reason without its numbers, to count by."""
    return reason.split(":")[0]


def _parse(argv: list[str]) -> list[str]:
    """Parses our flags; gives what is left, if Beam knows it."""
    logging.getLogger().setLevel(logging.ERROR)  # Beam warns of clouds not installed
    from apache_beam.options import pipeline_options

    try:
        rest = FLAGS(argv, known_only=True)[1:]
    except flags.Error as error:
        cli.exit_with_flag_error(error)
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for options in pipeline_options.PipelineOptions.__subclasses__():
        options._add_argparse_args(parser)
    unknown = [flag for flag in parser.parse_known_args(rest)[1] if flag[:2] == "--"]
    if unknown and not any(flag.startswith("--runner") for flag in rest):
        name = unknown[0][2:].split("=")[0]
        near = cli.did_you_mean(name, (*_FLAG_NAMES, "output", "max_bad_fraction"))
        cli.exit_with_flag_error(f"Neither this command nor Beam has --{name}.{near}")
    return rest


def run() -> None:
    define_flags()
    cli.run(main, flags_parser=_parse)


if __name__ == "__main__":
    sys.exit(run())
