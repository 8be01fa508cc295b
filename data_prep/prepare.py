r"""Turns a folder of videos into TFRecord shards that training reads.

  python -m data_prep.prepare --dataset=folder --input=VIDEOS --output=SHARDS \
      --resolution=64

--dataset=folder takes any folder with one sub-folder of videos for each class (or
without classes); other names take a data set as it unpacks. Apache Beam does the work:
on this machine's processes by default, or on any of its runners by its own flags
(--runner=..., with what that runner wants), which may stand beside these.

In --output: the shards, manifest.json (what they hold), contact_sheet.png (some of it,
to look at) and rejected.jsonl (each file that could not be used, and why). A file that
cannot be used, or on which a decoder hangs or crashes, stops nothing, unless more than
--max_bad_fraction of them are so. Stopped and started again, the job resumes.
"""

import argparse
import collections
import contextlib
import dataclasses
import logging
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator

from absl import flags

from tf_dvdgan import cli, errors, terminal
from tf_dvdgan.data import files

from . import sources

FLAGS = flags.FLAGS


def define_flags() -> None:
    flags.DEFINE_enum("dataset", "folder", sources.NAMES, "What --input is.")
    flags.DEFINE_string("input", None, "Folder of videos.", required=True)
    flags.DEFINE_string("output", None, "Folder for the shards.", required=True)
    flags.DEFINE_integer(
        "resolution",
        64,
        "Height and width of what models see, in pixels: training crops frames to it.",
        lower_bound=4,
    )
    flags.DEFINE_string(
        "resize",
        None,
        "What frames are resized to before: a number for the smaller side (aspect is "
        "kept), HEIGHT,WIDTH, or none. By default the smaller side is --resolution.",
    )
    flags.DEFINE_integer(
        "num_shards",
        16,
        "Files for each split; a few for each worker.",
        lower_bound=1,
    )
    flags.DEFINE_enum("split_list", "1", ["1", "2", "3"], "Which of UCF-101's splits.")
    flags.DEFINE_string(
        "lists", None, "The data set's lists, where they are not in --input."
    )
    flags.DEFINE_float(
        "test_share",
        None,
        "Hold out this share of each class's clips as the split 'test', where the data "
        "set has no splits of its own.",
        lower_bound=0,
        upper_bound=0.9,
    )
    flags.DEFINE_enum(
        "encoding", None, ["jpeg", "png"], "Of the frames; the data set's by default."
    )
    flags.DEFINE_integer(
        "jpeg_quality", 95, "Of JPEG frames.", lower_bound=1, upper_bound=100
    )
    flags.DEFINE_integer(
        "segment_frames",
        None,
        "Cut clips into segments of so many frames; a shorter rest is left out.",
        lower_bound=2,
    )
    flags.DEFINE_bool(
        "stabilize",
        False,
        "Take out the camera's motion, in each segment (paper 004, which has 32 frames "
        "in one); leave out where it is too complex.",
    )
    flags.DEFINE_float(
        "decode_seconds", 60.0, "Give up clips that take longer.", lower_bound=0.1
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
    from . import decoding, pipeline, report

    _check_flags()
    resize = _resize()
    files.check_writable(FLAGS.output, as_folder=True)
    if not files.is_folder(FLAGS.input):
        raise errors.UserError(f"--input={FLAGS.input} is not a folder.")
    options = sources.Options(
        int(FLAGS.split_list), FLAGS.lists, FLAGS.test_share or 0.0
    )
    listing = sources.list_clips(FLAGS.dataset, FLAGS.input, options)
    _summarize_listing(listing)
    recipe = decoding.Recipe(
        resolution=FLAGS.resolution,
        encoding=FLAGS.encoding or listing.encoding,
        jpeg_quality=FLAGS.jpeg_quality,
        segment_frames=FLAGS.segment_frames or 0,
        stabilize=FLAGS.stabilize,
        resize=resize,
    )
    settings = pipeline.Settings(
        input_dir=files.absolute(FLAGS.input),
        output_dir=files.absolute(FLAGS.output),
        recipe=recipe,
        decode_seconds=FLAGS.decode_seconds,
    )
    tasks = pipeline.plan(listing, FLAGS.num_shards, FLAGS.seed)
    unfinished = pipeline.begin(tasks, settings)
    local = not any(flag.startswith("--runner") for flag in beam_flags)
    with _local_log() if local else contextlib.nullcontext():
        with _watch(tasks, settings):
            _run_beam(beam_flags, unfinished, settings, local)
    pipeline.remove_leftovers(settings)  # workers outlive a killed job for a while
    made_with = {name: FLAGS[name].value for name in _FLAG_NAMES}
    made_with |= dataclasses.asdict(recipe)
    made_with = {name: value for name, value in made_with.items() if value is not None}
    outcome = pipeline.finish(
        listing, tasks, settings, FLAGS.max_bad_fraction, made_with
    )
    report.show(outcome, settings.output_dir)


def _check_flags() -> None:
    """Refuses what would be passed over, and shards among the videos."""
    if FLAGS.lists and FLAGS.dataset not in sources.WITH_LISTS:
        raise errors.UserError(f"--dataset={FLAGS.dataset} has no lists; omit --lists.")
    if FLAGS["split_list"].present and FLAGS.dataset not in sources.WITH_SPLIT_LISTS:
        raise errors.UserError(
            f"--split_list is of UCF-101's lists, not of --dataset={FLAGS.dataset}."
        )
    videos, shards = files.absolute(FLAGS.input), files.absolute(FLAGS.output)
    if FLAGS.dataset == "folder" and shards.startswith(videos.rstrip("/") + "/"):
        raise errors.UserError(
            "--output is inside --input, where it would be taken for a class; name a "
            "folder outside."
        )


def _resize() -> list[int] | None:
    """What --resize says, as of `video_io.resize`; None where it says nothing."""
    if FLAGS.resize is None:
        return None
    words = [] if FLAGS.resize == "none" else FLAGS.resize.split(",")
    if len(words) > 2 or not all(word.strip().isdecimal() for word in words):
        raise errors.UserError(
            "--resize is a number, HEIGHT,WIDTH or none, as in --resize=96,136; not "
            f"{FLAGS.resize!r}."
        )
    size = [int(word) for word in words]
    if size and min(size) < FLAGS.resolution:
        raise errors.UserError(
            f"--resize={FLAGS.resize} makes frames smaller than "
            f"--resolution={FLAGS.resolution}, which is cut out of them."
        )
    return size


def _summarize_listing(listing: sources.Listing) -> None:
    splits = collections.Counter(clip.split for clip in listing.clips)
    counts = ", ".join(f"{n} {split}" for split, n in sorted(splits.items()))
    print(f"{len(listing.class_names)} classes; clips: {counts}", flush=True)


def _run_beam(beam_flags, tasks, settings, local: bool) -> None:
    import apache_beam as beam
    from apache_beam.options import pipeline_options

    from . import pipeline

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
    """Beam's own processes log a lot to standard error; a file takes it meanwhile.

    Ctrl-C ends this process at once: its workers get it too, and Beam would wait for
    them for ever.
    """
    terminal, stream = os.dup(2), sys.stderr
    fd, log = tempfile.mkstemp(prefix="prepare-", suffix=".log")
    os.dup2(fd, 2)
    sys.stderr = os.fdopen(terminal, "w", closefd=False)

    def end(number: int, frame: object) -> None:
        os.remove(log)
        cli.end_at_once(number, frame)

    handler = signal.signal(signal.SIGINT, end)
    try:
        yield
    except Exception:
        print(f"Beam's log: {log}", file=sys.stderr)
        raise
    else:
        os.remove(log)
    finally:
        signal.signal(signal.SIGINT, handler)
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
        from . import pipeline

        waiting = {f"{task.file}.json": task for task in self._tasks}
        progress = terminal.Progress(
            "preparing clips", sum(len(task.clips) for task in self._tasks)
        )
        done = rejected = 0
        while waiting and not self._stop.wait(1.0):
            there = files.names_in(pipeline.receipts_dir(self._settings))
            for name in waiting.keys() & set(there):
                receipt = pipeline.read_receipt(waiting[name], self._settings)
                if receipt is not None:
                    done += len(waiting.pop(name).clips)
                    rejected += len(receipt["rejected"])
            progress.update(done, f"  {rejected} rejected")


_FLAG_NAMES = (
    "dataset",
    "input",
    "num_shards",
    "split_list",
    "lists",
    "test_share",
    "seed",
)


def _parse(argv: list[str]) -> list[str]:
    """Parses our flags; gives what is left, if Beam knows it."""
    logging.getLogger().setLevel(logging.ERROR)  # Beam warns of clouds not installed
    from apache_beam.options import pipeline_options

    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for options in pipeline_options.PipelineOptions.__subclasses__():
        options._add_argparse_args(parser)
    known = {name[2:] for name in parser._option_string_actions if name[:2] == "--"}
    own_runner = any(flag.startswith("--runner") for flag in argv)
    for flag in argv[1:]:
        name = flag.lstrip("-").split("=")[0]
        ours = name in FLAGS or name.removeprefix("no") in FLAGS
        if flag[:1] != "-" or own_runner or name in known or ours:
            continue
        near = errors.did_you_mean(name, FLAGS)
        cli.exit_with_flag_error(f"Neither this command nor Beam has --{name}.{near}")
    return cli.parse_flags(argv, known_only=True)[1:]


def run() -> None:
    define_flags()
    cli.run(
        main,
        flags_parser=_parse,
        if_interrupted="Finished shards are kept; the same command resumes from there.",
    )


if __name__ == "__main__":
    sys.exit(run())
