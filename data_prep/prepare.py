r"""Prepares a folder of videos as TFRecord shards for training.

  python -m data_prep.prepare --dataset=folder --input=VIDEOS --output=SHARDS \
      --resolution=64

--dataset=folder takes any folder with one sub-folder of videos per class (or without
classes); the other names read a public data set in its published layout. The work runs
on Apache Beam: in processes on this machine by default, or on any other Beam runner
with Beam's own flags (--runner=... and what that runner requires).

--output receives the shards, manifest.json (their contents), contact_sheet.png (random
clips) and rejected.jsonl (each unusable file, with the reason). Files that cannot be
used, or on which a decoder hangs or crashes, are skipped; the job fails only if they
exceed --max_bad_fraction. An interrupted job resumes with the same command.
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
    flags.DEFINE_enum("dataset", "folder", sources.NAMES, "Data set in --input.")
    flags.DEFINE_string("input", None, "Folder of videos.", required=True)
    flags.DEFINE_string("output", None, "Folder for the shards.", required=True)
    flags.DEFINE_enum("split_list", "1", ["1", "2", "3"], "UCF-101 split to use.")
    flags.DEFINE_string(
        "lists", None, "The data set's list files, if they are not in --input."
    )
    flags.DEFINE_float(
        "test_share",
        None,
        "Fraction of each class's clips to hold out as the split 'test', for data sets "
        "without splits of their own.",
        lower_bound=0,
        upper_bound=0.9,
    )
    flags.DEFINE_integer(
        "num_shards",
        16,
        "Maximum number of shards per split; use a few per worker.",
        lower_bound=1,
    )
    flags.DEFINE_integer("seed", 0, "Seed of the order of the clips.")
    flags.DEFINE_float(
        "max_bad_fraction",
        0.05,
        "Fail if more than this fraction of the files is rejected.",
        lower_bound=0,
        upper_bound=1,
    )
    _define_recipe_flags()


def _define_recipe_flags() -> None:
    """Defines the flags for cutting, resizing and encoding a clip."""
    flags.DEFINE_integer(
        "resolution",
        64,
        "Height and width of training's crops, and so of the model's videos, in "
        "pixels.",
        lower_bound=4,
    )
    flags.DEFINE_string(
        "resize",
        None,
        "Size of the stored frames: a number for the smaller side (keeps the aspect "
        "ratio), HEIGHT,WIDTH, or none. By default the smaller side is --resolution.",
    )
    flags.DEFINE_enum(
        "encoding",
        None,
        ["jpeg", "png"],
        "Format of the stored frames; the default depends on the data set.",
    )
    flags.DEFINE_integer(
        "jpeg_quality", 95, "JPEG quality.", lower_bound=1, upper_bound=100
    )
    flags.DEFINE_integer(
        "segment_frames",
        None,
        "Cut clips into segments of this many frames and drop a shorter remainder.",
        lower_bound=2,
    )
    flags.DEFINE_bool(
        "stabilize",
        False,
        "Remove the camera's motion from each segment (paper 004, with segments of 32 "
        "frames); drop segments whose motion is too complex.",
    )
    flags.DEFINE_float(
        "decode_seconds", 60.0, "Reject clips that take longer.", lower_bound=0.1
    )


def main(beam_flags: list[str]) -> None:
    from . import pipeline, report

    _check_flags()
    resize = _resize()
    files.check_writable(FLAGS.output, as_folder=True)
    if not files.is_folder(FLAGS.input):
        raise errors.UserError(f"--input={FLAGS.input} is not a folder.")
    listing = _list_clips()
    settings = _settings(listing, resize)
    tasks = pipeline.plan(listing, FLAGS.num_shards, FLAGS.seed)
    unfinished = pipeline.start_job(tasks, settings)
    local = not any(flag.startswith("--runner") for flag in beam_flags)
    with _local_log() if local else contextlib.nullcontext():
        with _ProgressThread(tasks, settings):
            _run_beam(beam_flags, unfinished, settings, local)
    pipeline.remove_leftovers(settings)  # workers outlive a killed job for a while
    outcome = pipeline.finish_job(
        listing, tasks, settings, FLAGS.max_bad_fraction, _made_with(settings)
    )
    report.show(outcome, settings.output_dir)


def _list_clips() -> sources.Listing:
    options = sources.Options(
        int(FLAGS.split_list), FLAGS.lists, FLAGS.test_share or 0.0
    )
    listing = sources.list_clips(FLAGS.dataset, FLAGS.input, options)
    splits = collections.Counter(clip.split for clip in listing.clips)
    counts = ", ".join(f"{n} {split}" for split, n in sorted(splits.items()))
    print(f"{len(listing.class_names)} classes; clips: {counts}", flush=True)
    return listing


def _settings(listing: sources.Listing, resize: list[int] | None):
    """The `pipeline.Settings` that the flags describe."""
    from . import decoding, pipeline

    recipe = decoding.Recipe(
        resolution=FLAGS.resolution,
        encoding=FLAGS.encoding or listing.encoding,
        jpeg_quality=FLAGS.jpeg_quality,
        segment_frames=FLAGS.segment_frames or 0,
        stabilize=FLAGS.stabilize,
        resize=resize,
    )
    return pipeline.Settings(
        input_dir=files.absolute(FLAGS.input),
        output_dir=files.absolute(FLAGS.output),
        recipe=recipe,
        decode_seconds=FLAGS.decode_seconds,
    )


def _made_with(settings) -> dict[str, object]:
    """The flags to record in the manifest."""
    values = {name: FLAGS[name].value for name in _FLAG_NAMES}
    values |= dataclasses.asdict(settings.recipe)
    return {name: value for name, value in values.items() if value is not None}


def _check_flags() -> None:
    """Rejects flags that would have no effect, and an --output inside --input."""
    if FLAGS.lists and FLAGS.dataset not in sources.WITH_LISTS:
        raise errors.UserError(f"--dataset={FLAGS.dataset} has no lists; omit --lists.")
    if FLAGS["split_list"].present and FLAGS.dataset not in sources.WITH_SPLIT_LISTS:
        raise errors.UserError(
            f"--split_list applies only to UCF-101, not to --dataset={FLAGS.dataset}."
        )
    videos, shards = files.absolute(FLAGS.input), files.absolute(FLAGS.output)
    if FLAGS.dataset == "folder" and shards.startswith(videos.rstrip("/") + "/"):
        raise errors.UserError(
            "--output is inside --input, where it would count as a class; choose a "
            "folder outside."
        )


def _resize() -> list[int] | None:
    """Parses --resize into a size as in `video_io.resize`; None if it is not set."""
    if FLAGS.resize is None:
        return None
    words = [] if FLAGS.resize == "none" else FLAGS.resize.split(",")
    if len(words) > 2 or not all(word.strip().isdecimal() for word in words):
        raise errors.UserError(
            "--resize must be a number, HEIGHT,WIDTH or none, as in --resize=96,136; "
            f"not {FLAGS.resize!r}."
        )
    size = [int(word) for word in words]
    if size and min(size) < FLAGS.resolution:
        raise errors.UserError(
            f"--resize={FLAGS.resize} makes frames smaller than "
            f"--resolution={FLAGS.resolution}, the size of the crops; enlarge --resize."
        )
    return size


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
    """Redirects the verbose standard error of Beam's processes to a file.

    Ctrl-C ends this process at once: the workers receive it too, and Beam would wait
    for them forever.
    """
    original_fd, stream = os.dup(2), sys.stderr
    fd, log = tempfile.mkstemp(prefix="prepare-", suffix=".log")
    os.dup2(fd, 2)
    sys.stderr = os.fdopen(original_fd, "w", closefd=False)

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
        os.dup2(original_fd, 2)
        os.close(original_fd)
        os.close(fd)


class _ProgressThread:
    """Shows how many clips are done, by reading the receipts of finished shards."""

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
            found = files.list_dir(pipeline.receipts_dir(self._settings))
            for name in waiting.keys() & set(found):
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
    """Parses this command's flags and returns the others, which must be Beam's."""
    logging.getLogger().setLevel(logging.ERROR)  # Beam warns of missing cloud clients
    from apache_beam.options import pipeline_options

    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for options in pipeline_options.PipelineOptions.__subclasses__():
        options._add_argparse_args(parser)
    known = {name[2:] for name in parser._option_string_actions if name[:2] == "--"}
    own_runner = any(flag.startswith("--runner") for flag in argv)
    for flag in argv[1:]:
        name = flag.lstrip("-").split("=")[0]
        is_own = name in FLAGS or name.removeprefix("no") in FLAGS
        if flag[:1] != "-" or own_runner or name in known or is_own:
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
    run()
