"""Looks into TFRecord shards: what they hold, and whether all of it can be read.

  python -m tools.inspect_tfrecord SHARDS

SHARDS is a folder of prepared shards, or a single TFRecord file. Every record is read;
its checksums, label, sizes, first and last frame are looked at, or with --frames=all
every frame. Prints what there is, and writes a picture of random clips. The exit code
is 1 if anything is wrong; what is wrong is listed.
"""

import collections

from absl import flags

from tf_dvdgan import cli, errors, terminal

FLAGS = flags.FLAGS

_SHOWN_PROBLEMS = 20


def define_flags() -> None:
    flags.DEFINE_enum("frames", "ends", ["ends", "all"], "Which frames are decoded.")
    flags.DEFINE_string(
        "sheet", "contact_sheet.png", "Picture of random clips; '' writes none."
    )
    flags.DEFINE_integer("num_clips", 12, "Clips on it.", lower_bound=1)
    flags.DEFINE_integer("seed", 0, "Of their choice.")


def main(argv: list[str]) -> int:
    from tf_dvdgan import visualize
    from tf_dvdgan.data import files, inspection

    if len(argv) != 2:
        raise errors.UserError("Name one folder of shards, or one TFRecord file.")
    files.ready(argv[1])
    if FLAGS.sheet:
        files.check_writable(FLAGS.sheet)
    class_names, shards = inspection.shards_at(argv[1])
    report = inspection.Report(class_names, FLAGS.num_clips, FLAGS.seed)
    progress = terminal.Progress("shards", len(shards))
    for done, (path, expected) in enumerate(shards):
        report.look_at(path, expected, FLAGS.frames == "all")
        progress.update(done + 1, f"  {report.num_clips} records")
    print(f"shards   {len(shards)}, {report.num_bytes / 2**20:.1f} MiB")
    print(f"records  {report.num_clips}: video id, label, class, fps, size, frames")
    print(f"frames   {_common(report.lengths)}")
    print(f"size     {_common(report.sizes)}")
    print(f"fps      {_common(report.rates)}")
    for line in inspection.histogram(report.class_counts):
        print(f"  {line}")
    if FLAGS.sheet and report.sheet:
        visualize.write_sheet(FLAGS.sheet, report.sheet)
        print(f"sheet    {files.absolute(FLAGS.sheet)}")
    for problem in report.problems[:_SHOWN_PROBLEMS]:
        print(f"WRONG    {terminal.printable(problem)}")
    if len(report.problems) > _SHOWN_PROBLEMS:
        print(f"WRONG    {len(report.problems) - _SHOWN_PROBLEMS} more")
    if not report.problems:
        print("Every record is whole")
    return 1 if report.problems else 0


def _common(values: list) -> str:
    """The most frequent values with their counts."""
    counts = collections.Counter(values)
    shown = counts.most_common(4)
    text = ", ".join(f"{value} ({count})" for value, count in shown)
    return text + (f" and {len(counts) - 4} others" if len(counts) > 4 else "")


def run() -> None:
    define_flags()
    cli.run(main, flags_parser=cli.parse_flags)  # a path is left


if __name__ == "__main__":
    run()
