"""Checks shards, prints a summary of them and draws a contact sheet."""

import collections

from tf_dvdgan import errors, terminal, visualize
from tf_dvdgan.data import files, inspection

_MAX_PROBLEMS = 20  # printed
_MAX_VALUES = 4  # of lengths, sizes and frame rates


def inspect_shards(
    path: str,
    frames: str = "ends",
    sheet: str | None = None,
    num_clips: int = 12,
    seed: int = 0,
) -> inspection.Report:
    """Checks every record of shards; prints a summary and the problems.

    Args:
      path: folder of prepared shards, or one TFRecord file.
      frames: frames to decode: 'ends', the first and the last, or 'all'.
      sheet: path of a contact sheet of random clips, a PNG; None to write none.
      num_clips: number of clips on the sheet.
      seed: seed of their choice.

    Returns:
      Statistics and problems.

    Raises:
      UserError: there are no shards, or the sheet cannot be written.
    """
    if frames not in ("ends", "all"):
        raise errors.UserError(f"`frames` must be 'ends' or 'all', not {frames!r}.")
    files.register_filesystems(path)
    if sheet:
        files.check_writable(sheet)
    report = inspection.inspect(path, frames == "all", num_clips, seed)
    _print_summary(report)
    if sheet and report.sheet:
        visualize.write_contact_sheet(sheet, report.sheet)
        print(f"sheet    {files.absolute(sheet)}")
    _print_problems(report.problems)
    return report


def _print_summary(report: inspection.Report) -> None:
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
    """Formats the most frequent values with their counts."""
    counts = collections.Counter(values)
    shown = counts.most_common(_MAX_VALUES)
    text = ", ".join(f"{value} ({count})" for value, count in shown)
    others = len(counts) - len(shown)
    return text + (f" and {others} others" if others else "")
