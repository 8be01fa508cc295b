"""Prints the summary of a preparation job and draws its contact sheet."""

import collections
import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Iterator

from tf_dvdgan import terminal, visualize
from tf_dvdgan.data import (
    files,
    filesystem,
    inspection,
    manifest,
    readers,
    windows,
)

from . import duplicates, receipts

SHEET = "contact_sheet.png"
_SHEET_CLIPS = 12
_SHEET_FRAMES = 8
_HISTOGRAM_LINES = 20


def show(outcome: receipts.Outcome, output_dir: str) -> None:
    """Prints the summary of a finished job and writes its contact sheet.

    Args:
      outcome: of the job.
      output_dir: folder of the shards.
    """
    for line in _table(outcome):
        print(line)
    print()
    _show_classes(outcome.manifest)
    _show_rates(outcome.rates)
    _show_duplicates(outcome)
    _show_rejected(outcome)
    clips = _random_clips(outcome.manifest, output_dir)
    if clips:
        path = os.path.join(output_dir, SHEET)
        visualize.write_contact_sheet(path, clips)
        print(f"{terminal.printable(path)} shows some of the clips")
    print(f"{terminal.printable(output_dir)} is ready")


def _table(outcome: receipts.Outcome) -> Iterator[str]:
    """One line per split."""
    yield (
        f"{'split':<12}{'clips':>9}{'records':>9}{'shards':>8}{'MiB':>9}"
        f"{'min per class':>19}{'max':>7}"
    )
    for split, shards in outcome.manifest.splits.items():
        counts = outcome.manifest.class_counts(split)
        size = sum(shard.num_bytes for shard in shards) / 2**20
        yield (
            f"{split:<12}{outcome.num_written[split]:>9}"
            f"{outcome.manifest.num_clips(split):>9}{len(shards):>8}{size:>9.1f}"
            f"{min(counts):>19}{max(counts):>7}"
        )


def _show_classes(found: manifest.Manifest) -> None:
    """Prints the class histogram, and a warning about classes without clips."""
    counts: collections.Counter[str] = collections.Counter()
    for split in found.splits:
        numbers = found.class_counts(split)
        counts.update(dict(zip(found.class_names, numbers, strict=True)))
    for line in inspection.histogram(dict(counts), _HISTOGRAM_LINES):
        print(f"  {line}")
    print()
    empty = [terminal.printable(name) for name, count in counts.items() if not count]
    if empty:
        more = f" and {len(empty) - 5} more" if len(empty) > 5 else ""
        print(
            f"warning: no clips of {', '.join(empty[:5])}{more}: a model cannot learn "
            "these classes. Remove their folders and prepare again, or list the other "
            "classes in data.Window.classes.\n"
        )


def _show_rates(rates: dict[str, int]) -> None:
    """Prints a warning and a histogram if videos have several frame rates."""
    if len(rates) < 2:
        return
    usual = max(rates, key=lambda rate: rates[rate])
    print(
        "warning: the videos have several frame rates. A stride counts frames, so the "
        f"same motion plays at different speeds; --fps={usual} resamples them."
    )
    by_rate = {f"{rate} fps": rates[rate] for rate in sorted(rates, key=float)}
    for line in inspection.histogram(by_rate, _HISTOGRAM_LINES):
        print(f"  {line}")
    print()


def _show_duplicates(outcome: receipts.Outcome) -> None:
    """Prints a warning if clips are in two splits, or twice in one."""
    if not outcome.duplicates:
        return
    across = len(list(duplicates.across_splits(outcome.duplicates)))
    within = len(outcome.duplicates) - across
    found = [
        f"{across} clips of one split are nearly the same as clips of another"
        if across
        else "",
        f"{within} pairs of clips in one split are nearly the same" if within else "",
    ]
    print(
        f"warning: {', and '.join(filter(None, found))} (duplicates.jsonl). Scores on "
        "held-out clips would be too good; --drop_duplicates leaves one of each.\n"
    )


def _show_rejected(outcome: receipts.Outcome) -> None:
    for kind, count in sorted(outcome.manifest.num_rejected.items()):
        print(f"rejected: {count:>6}  {terminal.printable(kind)}")
    segments = sum("segment" in entry for entry in outcome.rejected)
    of_others = f", and {segments} segments of other clips" if segments else ""
    print(
        f"{len(outcome.rejected) - segments} clips rejected{of_others} "
        f"({terminal.printable(outcome.list_path)})"
    )


def _random_clips(found: manifest.Manifest, output_dir: str) -> list[tuple]:
    """Frames and class names of some clips, as training would read them.

    Shards are shuffled already, so the first clips are a random sample.
    """
    for split, shards in found.splits.items():
        lengths = [shard.fewest_frames for shard in shards if shard.num_clips]
        if not lengths:
            continue
        stride = max(1, (min(lengths) - 1) // (_SHEET_FRAMES - 1))
        window = windows.Window(_SHEET_FRAMES, found.resolution, stride)
        with _first_shards(found, output_dir, split) as folder:
            rows = readers.evaluation_dataset(folder, window, split)
            return [
                (row["video"].numpy(), found.class_names[int(row["label"])])
                for row in rows.take(_SHEET_CLIPS)
            ]
    return []


@contextlib.contextmanager
def _first_shards(
    found: manifest.Manifest, output_dir: str, split: str
) -> Iterator[str]:
    """Yields a folder with the first shards: the output, or copies if it is remote."""
    if not files.is_remote(output_dir):
        yield output_dir
        return
    chosen: list[manifest.Shard] = []
    for shard in found.splits[split]:
        if sum(taken.num_clips for taken in chosen) < _SHEET_CLIPS:
            chosen.append(shard)
    with tempfile.TemporaryDirectory(prefix="tf_dvdgan-") as folder:
        for shard in chosen:
            filesystem.copy(
                os.path.join(output_dir, shard.file), os.path.join(folder, shard.file)
            )
        dataclasses.replace(found, splits={split: chosen}).save(folder)
        yield folder
