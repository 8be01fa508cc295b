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
import logging
import signal

from absl import flags

from tf_dvdgan import cli, errors

from . import sources

FLAGS = flags.FLAGS


def define_flags() -> None:
    flags.DEFINE_enum("dataset", "folder", sources.NAMES, "Data set in --input.")
    flags.DEFINE_string("input", None, "Folder of videos.", required=True)
    flags.DEFINE_string("output", None, "Folder for the shards.", required=True)
    flags.DEFINE_enum(
        "split_list", None, ["1", "2", "3"], "UCF-101 split to use; 1 by default."
    )
    flags.DEFINE_string(
        "lists", None, "The data set's list files, if they are not in --input."
    )
    flags.DEFINE_float(
        "test_share",
        None,
        "Fraction of each class's clips to hold out as the split 'test', for data sets "
        "without splits of their own.",
    )
    flags.DEFINE_integer(
        "num_shards",
        16,
        "Maximum number of shards per split; use a few per worker.",
    )
    flags.DEFINE_integer("seed", 0, "Seed of the order of the clips.")
    flags.DEFINE_bool(
        "drop_duplicates",
        False,
        "Drop training clips that are nearly the same as held-out ones, and copies "
        "within a split; duplicates.jsonl lists the remaining pairs.",
    )
    flags.DEFINE_bool(
        "no_follow_links",
        False,
        "Skip clips behind links that lead out of --input.",
    )
    flags.DEFINE_float(
        "max_bad_fraction",
        0.05,
        "Fail if more than this fraction of the files is rejected.",
    )
    _define_recipe_flags()


def _define_recipe_flags() -> None:
    """Defines the flags for cutting, resizing and encoding a clip."""
    flags.DEFINE_integer(
        "resolution",
        64,
        "Height and width of training's crops, and so of the model's videos, in "
        "pixels.",
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
    flags.DEFINE_integer("jpeg_quality", 95, "JPEG quality, from 1 to 100.")
    flags.DEFINE_integer(
        "segment_frames",
        None,
        "Cut clips into segments of this many frames and drop a shorter remainder.",
    )
    flags.DEFINE_float(
        "fps",
        None,
        "Resample videos to this rate by the frames' timestamps; by default a "
        "stride of training counts each video's own frames.",
    )
    flags.DEFINE_bool(
        "split_scenes",
        False,
        "Cut clips where their scene changes, before --segment_frames does.",
    )
    flags.DEFINE_bool(
        "stabilize",
        False,
        "Remove the camera's motion from each segment (paper 004, with segments of 32 "
        "frames); drop segments whose motion is too complex.",
    )
    flags.DEFINE_float(
        "decode_seconds",
        60.0,
        "Time limit in seconds for each 300 decoded frames; slower clips are rejected.",
    )


def main(beam_flags: list[str]) -> None:
    from . import job, local_runner

    resize = _resize()

    # Beam's workers get Ctrl-C too, and Beam would wait for them forever.
    def end(number: int, frame: object) -> None:
        local_runner.remove_temporary_files()
        cli.end_at_once(number, frame)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    job.prepare(
        FLAGS.input,
        FLAGS.output,
        dataset=FLAGS.dataset,
        resolution=FLAGS.resolution,
        resize=resize,
        encoding=FLAGS.encoding,
        jpeg_quality=FLAGS.jpeg_quality,
        segment_frames=FLAGS.segment_frames,
        fps=FLAGS.fps,
        split_scenes=FLAGS.split_scenes,
        stabilize=FLAGS.stabilize,
        follow_links=not FLAGS.no_follow_links,
        drop_duplicates=FLAGS.drop_duplicates,
        test_share=FLAGS.test_share,
        split_list=int(FLAGS.split_list) if FLAGS.split_list else None,
        lists=FLAGS.lists,
        num_shards=FLAGS.num_shards,
        seed=FLAGS.seed,
        max_bad_fraction=FLAGS.max_bad_fraction,
        decode_seconds=FLAGS.decode_seconds,
        beam_flags=beam_flags,
    )


def _resize() -> list[int] | None:
    """Parses --resize into a size as in `job.prepare`; None if it is not set."""
    if FLAGS.resize is None:
        return None
    words = [] if FLAGS.resize == "none" else FLAGS.resize.split(",")
    if len(words) > 2 or not all(word.strip().isdecimal() for word in words):
        raise errors.UserError(
            "--resize must be a number, HEIGHT,WIDTH or none, as in --resize=96,136; "
            f"not {FLAGS.resize!r}."
        )
    return [int(word) for word in words]


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
        any_store=("input", "output", "lists"),
    )


if __name__ == "__main__":
    run()
