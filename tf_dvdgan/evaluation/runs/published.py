"""Scores published in papers 001 to 004, for comparison.

`published.csv` has one line per number, as printed. The note marks methods that a paper
quotes from others. A row names the protocol whose scores compare with it; numbers of
clips that the paper does not state may still differ.
"""

import csv
import dataclasses
import functools
import pathlib

from tf_dvdgan import terminal

_FILE = pathlib.Path(__file__).with_suffix(".csv")
_HEADINGS = ("method", "dataset", "clip", "metric", "score", "paper, table", "note")
_ARROWS = {"up": "(up)", "down": "(down)"}


@dataclasses.dataclass(frozen=True)
class Row:
    """A published score.

    Attributes:
      paper: number of the paper, such as '001'.
      table: number of the table, or the part of the text with the score.
      method: what was scored.
      dataset: name of the data set, such as 'UCF-101'.
      frames: frames per video, including given ones; None if the paper does not say.
      resolution: height in pixels; None if the paper does not say.
      metric: the paper's name of the metric.
      value: as printed.
      sd: standard deviation, as printed; None if there is none.
      better: 'up' if higher values are better, 'down' if lower values are.
      protocol: name of the protocol whose scores compare with it, or empty.
      note: what distinguishes rows of the same method.
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
        """Value and standard deviation as text."""
        return f"{self.value:g}" + (f" +- {self.sd:g}" if self.sd is not None else "")

    @property
    def clip(self) -> str:
        """Frames and size as text, such as 12x64x64."""
        size = f"{self.resolution}x{self.resolution}" if self.resolution else ""
        return "x".join(filter(None, [str(self.frames or ""), size])) or "-"


@functools.cache
def _all() -> tuple[Row, ...]:
    with open(_FILE, encoding="utf-8", newline="") as file:
        return tuple(_row(values) for values in csv.DictReader(file))


def _row(values: dict[str, str]) -> Row:
    return Row(
        paper=values["paper"],
        table=values["table"],
        method=values["method"],
        dataset=values["dataset"],
        frames=int(values["frames"]) if values["frames"] else None,
        resolution=int(values["resolution"]) if values["resolution"] else None,
        metric=values["metric"],
        value=float(values["value"]),
        sd=float(values["sd"]) if values["sd"] else None,
        better=values["better"],
        protocol=values["protocol"],
        note=values["note"],
    )


def rows(protocol: str | None = None, dataset: str | None = None) -> list[Row]:
    """Published scores, in the order of the papers.

    Args:
      protocol: selects rows that compare with scores by this protocol; None selects
        all.
      dataset: selects rows of this data set, such as 'UCF-101'; None selects all.

    Returns:
      The selected rows.
    """
    return [
        row
        for row in _all()
        if protocol in (None, row.protocol) and dataset in (None, row.dataset)
    ]


def table(protocol: str | None = None, dataset: str | None = None) -> str:
    """Formats published scores as a plain-text table.

    Args:
      protocol: selects rows that compare with scores by this protocol; None selects
        all.
      dataset: selects rows of this data set, such as 'UCF-101'; None selects all.

    Returns:
      A heading and one line per row; empty if there are no rows.
    """
    selected = rows(protocol, dataset)
    if not selected:
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
        for row in selected
    ]
    return terminal.table([_HEADINGS, *cells])
