"""Checks TFRecord shards and summarizes their contents.

  python -m tools.inspect_tfrecord SHARDS

SHARDS is a folder of prepared shards, or a single TFRecord file. Reads every record and
checks its checksums, label, frame size, and first and last frame, or with --frames=all
every frame. Prints a summary and the problems found; --sheet=FILE.png writes a contact
sheet of random clips. The exit code is 1 if there are problems.
"""

from absl import flags

from tf_dvdgan import cli, errors

FLAGS = flags.FLAGS


def define_flags() -> None:
    flags.DEFINE_enum(
        "frames", "ends", ["ends", "all"], "Frames to decode: first and last, or all."
    )
    flags.DEFINE_string(
        "sheet", None, "Path of a contact sheet to write; by default none."
    )
    flags.DEFINE_integer("num_clips", 12, "Clips on the contact sheet.", lower_bound=1)
    flags.DEFINE_integer("seed", 0, "Seed of the choice of clips.")


def main(argv: list[str]) -> int:
    if len(argv) != 2:
        raise errors.UserError("Name one folder of shards, or one TFRecord file.")
    from tf_dvdgan import shard_inspection

    report = shard_inspection.inspect_shards(
        argv[1], FLAGS.frames, FLAGS.sheet, FLAGS.num_clips, FLAGS.seed
    )
    return 1 if report.problems else 0


def run() -> None:
    define_flags()
    cli.run(main, flags_parser=cli.parse_flags)  # leaves the path


if __name__ == "__main__":
    run()
