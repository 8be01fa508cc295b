"""Checks TFRecord shards and summarizes their contents.

  python -m tools.inspect_tfrecord SHARDS

SHARDS is a folder of prepared shards, or a single TFRecord file. Reads every record and
checks its checksums, label, frame size, and first and last frame, or with --frames=all
every frame. Prints a summary and the problems found; --sheet=FILE.png writes a contact
sheet of random clips. The exit code is 1 if there are problems.
"""

import collections

from absl import flags

from tf_dvdgan import cli, errors, terminal

FLAGS = flags.FLAGS

_MAX_PROBLEMS = 20  # printed


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
    from tf_dvdgan import visualize
    from tf_dvdgan.data import files, inspection

    if len(argv) != 2:
        raise errors.UserError("Name one folder of shards, or one TFRecord file.")
    files.register_filesystems(argv[1])
    if FLAGS.sheet:
        files.check_writable(FLAGS.sheet)
    every = FLAGS.frames == "all"
    report = inspection.inspect(argv[1], every, FLAGS.num_clips, FLAGS.seed)
    _print_summary(report)
    if FLAGS.sheet and report.sheet:
        visualize.write_contact_sheet(FLAGS.sheet, report.sheet)
        print(f"sheet    {files.absolute(FLAGS.sheet)}")
    _print_problems(report.problems)
    return 1 if report.problems else 0


def _print_summary(report) -> None:
    from tf_dvdgan.data import inspection

    print(f"shards   {report.num_shards}, {report.num_bytes / 2**20:.1f} MiB")
    print(f"records  {report.num_clips}: video id, label, class, fps, size, frames")
    print(f"frames   {_common(report.lengths)}")
    print(f"size     {_common(report.sizes)}")
    print(f"fps      {_common(report.rates)}")
    for line in inspection.histogram(report.class_counts):
        print(f"  {line}")


def _print_problems(problems: list[str]) -> None:
    for problem in problems[:_MAX_PROBLEMS]:
        print(f"PROBLEM  {terminal.printable(problem)}")
    if len(problems) > _MAX_PROBLEMS:
        print(f"PROBLEM  {len(problems) - _MAX_PROBLEMS} more")
    if not problems:
        print("All records are valid")


def _common(values: list) -> str:
    """The most frequent values with their counts."""
    counts = collections.Counter(values)
    shown = counts.most_common(4)
    text = ", ".join(f"{value} ({count})" for value, count in shown)
    return text + (f" and {len(counts) - 4} others" if len(counts) > 4 else "")


def run() -> None:
    define_flags()
    cli.run(main, flags_parser=cli.parse_flags)  # leaves the path


if __name__ == "__main__":
    run()
