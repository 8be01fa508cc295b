"""Scores that papers 001 to 004 print, to stand beside our own.

`published.csv` has them as they are printed: a line for each number. A method that a
paper quotes from others is marked in the note. A protocol is named where a row may be
compared with scores of ours by it; the numbers of clips that papers do not tell may
still differ.
"""

import csv
import dataclasses
import functools
import pathlib
from collections.abc import Sequence

_FILE = pathlib.Path(__file__).with_suffix(".csv")
_HEADINGS = ("method", "dataset", "clip", "metric", "score", "paper, table", "note")
_ARROWS = {"up": "(up)", "down": "(down)"}


@dataclasses.dataclass(frozen=True)
class Row:
    """A number of a paper's.

    Attributes:
      paper: its number.
      table: its number there, or the appendix whose text has it.
      method: what was scored.
      dataset: which one.
      frames: of a video, those that were given included; None where the paper does not
        tell.
      resolution: of a video, its height; None as above.
      metric: as the paper calls it.
      value: as printed.
      sd: standard deviation, as printed; None where there is none.
      better: 'up' or 'down'.
      protocol: of ours, by which scores may be compared; empty where none is.
      note: what sets rows of one method apart.
    """

    paper: str
    table: str
    method: str
    dataset: str
    frames: int | None
    resolution: int | None
    metric: str
    value: float
    sd: float | None
    better: str
    protocol: str
    note: str

    @property
    def score(self) -> str:
        """Value and deviation for a reader."""
        return f"{self.value:g}" + (f" +- {self.sd:g}" if self.sd is not None else "")

    @property
    def clip(self) -> str:
        """Frames and size for a reader, as 12x64x64."""
        size = f"{self.resolution}x{self.resolution}" if self.resolution else ""
        return "x".join(filter(None, [str(self.frames or ""), size])) or "-"


@functools.cache
def _all() -> tuple[Row, ...]:
    with open(_FILE, encoding="utf-8", newline="") as file:
        return tuple(_row(values) for values in csv.DictReader(file))


def _row(values: dict[str, str]) -> Row:
    numbers = {
        "frames": int(values["frames"]) if values["frames"] else None,
        "resolution": int(values["resolution"]) if values["resolution"] else None,
        "value": float(values["value"]),
        "sd": float(values["sd"]) if values["sd"] else None,
    }
    return Row(**{**values, **numbers})


def rows(protocol: str | None = None, dataset: str | None = None) -> list[Row]:
    """Published numbers, in the order of the papers.

    Args:
      protocol: only those that compare with scores by this one.
      dataset: only those of this one, such as 'UCF-101'.
    """
    return [
        row
        for row in _all()
        if protocol in (None, row.protocol) and dataset in (None, row.dataset)
    ]


def table(protocol: str | None = None, dataset: str | None = None) -> str:
    """The same as a table of plain text, a line each; empty where there are none."""
    found = rows(protocol, dataset)
    if not found:
        return ""
    cells = [
        (
            row.method,
            row.dataset,
            row.clip,
            f"{row.metric} {_ARROWS[row.better]}",
            row.score,
            f"{row.paper}, {row.table}",
            row.note,
        )
        for row in found
    ]
    return _aligned([_HEADINGS, *cells])


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) for cell, width in zip(line, widths, strict=True)
        ).rstrip()
        for line in lines
    )
