"""Line charts as plain numbers that a template draws: paths, ticks, and a table.

A chart is told three times: as a picture, in a sentence for each line, and as a table
of a few of its points, so that nobody has to see it to read it.
"""

import dataclasses
import functools
import html
import math
from collections.abc import Sequence

import numpy as np

NOTHING = "\N{EN DASH}"  # in a table, where there is no value
WIDTH, HEIGHT = 420, 244
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 10, 38
_MOST_POINTS = 240  # of a line; more are averaged
_MOST_DOTS = 12  # on a line; of more points none is marked
_TABLE_ROWS = 8
_TICKS = 5
_LETTER = 6  # pixels wide, of text in a notebook
_COLOURS = ("#1f5fa8", "#c2501c", "#2d7d46", "#8a4a9c", "#a88410", "#4d6a75")
_FAR_OFF_OF = 40  # values at the least, for some to be left out of an axis


@dataclasses.dataclass(frozen=True)
class Curve:
    """Values over steps, or over anything else.

    Attributes:
      x: `[count]`, rising.
      y: `[count]`; what is not finite leaves a gap.
      spread: `[count]`, a standard deviation of each y, drawn as a band; None for none.
    """

    x: np.ndarray
    y: np.ndarray
    spread: np.ndarray | None = None

    @property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """The lowest and the highest that is drawn, `[count]` each."""
        spread = 0.0 if self.spread is None else self.spread
        return self.y - spread, self.y + spread


def mean(curves: Sequence[Curve]) -> Curve | None:
    """Mean and sample standard deviation of curves, where all of them have a value.

    Args:
      curves: of runs that differ by chance alone.

    Returns:
      The curve itself if it is the only one; None where they share no x.
    """
    if len(curves) == 1:
        return curves[0]
    x = functools.reduce(np.intersect1d, [curve.x for curve in curves])
    if not len(x):
        return None
    y = np.stack([curve.y[np.searchsorted(curve.x, x)] for curve in curves])
    return Curve(x, y.mean(axis=0), y.std(axis=0, ddof=1))


@dataclasses.dataclass(frozen=True)
class Line:
    """One line as it is drawn.

    Attributes:
      name: for the legend.
      path: SVG's `d`.
      band: the same of its standard deviation; empty without.
      dots: where it has so few points that each is marked, their places.
      sentence: what it does, in words.
    """

    name: str
    path: str
    band: str
    dots: list[tuple[float, float]]
    sentence: str


@dataclasses.dataclass(frozen=True)
class Table:
    """Texts in rows, the first of each naming it.

    Attributes:
      caption: what is in it.
      header: of the columns.
      rows: as wide as the header.
      numeric: columns whose texts stand to the right.
      folded: whether it is opened by who wants it.
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: frozenset[int] = frozenset()
    folded: bool = False


@dataclasses.dataclass(frozen=True)
class Chart:
    """All that a template needs.

    Attributes:
      title: what is shown.
      x_label: under the horizontal axis.
      lines: in the order of the legend.
      x_ticks, y_ticks: place and text of each.
      table: a few of the values.
      note: what the picture does not show as it is.
    """

    title: str
    x_label: str
    lines: list[Line]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    table: Table
    note: str
    # What the template draws the frame by.
    left: float = _LEFT
    right: float = WIDTH - _RIGHT
    top: float = _TOP
    bottom: float = HEIGHT - _BOTTOM
    width: int = WIDTH
    height: int = HEIGHT


def chart(title: str, curves: dict[str, Curve], x_label: str = "step") -> Chart | None:
    """Lays a chart out.

    Args:
      title: what is shown.
      curves: by name.
      x_label: what x is.

    Returns:
      None where no curve has a finite value.
    """
    curves = {n: c for n, c in curves.items() if np.isfinite(c.y).any()}
    if not curves:
        return None
    drawn = {name: _averaged(curve) for name, curve in curves.items()}
    x_low, x_high = _range([curve.x for curve in drawn.values()])
    y_ticks = ticks(*_usual([y for c in drawn.values() for y in c.bounds]))
    y_low, y_high = y_ticks[0], y_ticks[-1]

    def place(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        across = (x - x_low) / (x_high - x_low)
        up = np.clip((y - y_low) / (y_high - y_low), 0.0, 1.0)
        return (
            _LEFT + across * (WIDTH - _LEFT - _RIGHT),
            HEIGHT - _BOTTOM - up * (HEIGHT - _TOP - _BOTTOM),
        )

    lines = []
    for name, curve in drawn.items():
        places = list(zip(*place(curve.x, curve.y), strict=True))
        marked = places if len(places) <= _MOST_DOTS else []
        dots = [(x, y) for x, y in marked if np.isfinite(y)]
        sentence = _sentence(name, curves[name], x_label)
        band = ""
        if curve.spread is not None:
            low, high = (place(curve.x, y) for y in curve.bounds)
            band = _band(np.stack(low, -1), np.stack(high, -1))
        lines.append(Line(name, _path(places), band, dots, sentence))
    inside = [t for t in ticks(x_low, x_high) if x_low <= t <= x_high]
    x_places = place(np.array(inside), np.zeros(len(inside)))[0]
    y_places = place(np.zeros(len(y_ticks)), np.array(y_ticks))[1]
    return Chart(
        title,
        x_label,
        lines,
        list(zip(x_places, map(short, inside), strict=True)),
        list(zip(y_places, map(short, y_ticks), strict=True)),
        _table(title, curves, x_label),
        _note(curves, y_low, y_high),
    )


def svg(drawn: Chart) -> str:
    """A chart as a picture that needs no style sheet, for a notebook."""
    text = 'font-family="sans-serif" font-size="11" fill="#555"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{drawn.width}" '
        f'height="{drawn.height + 44}" viewBox="0 -20 {drawn.width} '
        f'{drawn.height + 44}" role="img" style="background:#fff">',
        f"<desc>{html.escape(' '.join(line.sentence for line in drawn.lines))}</desc>",
        f'<text x="{drawn.left}" y="-6" {text} font-weight="bold">'
        f"{html.escape(drawn.title)}</text>",
    ]
    for y, label in drawn.y_ticks:
        parts.append(
            f'<path d="M{drawn.left} {y:.1f}H{drawn.right}" stroke="#ddd"/>'
            f'<text x="{drawn.left - 6}" y="{y + 4:.1f}" text-anchor="end" {text}>'
            f"{label}</text>"
        )
    for x, label in drawn.x_ticks:
        parts.append(
            f'<text x="{x:.1f}" y="{drawn.bottom + 16}" text-anchor="middle" {text}>'
            f"{label}</text>"
        )
    left = drawn.left
    for i, line in enumerate(drawn.lines):
        colour = _COLOURS[i % len(_COLOURS)]
        parts.append(
            f'<path d="{line.path}" fill="none" stroke="{colour}" stroke-width="1.6"/>'
            f'<text x="{left}" y="{drawn.height + 8}" {text} '
            f'style="fill:{colour}">{html.escape(line.name)}</text>'
        )
        left += _LETTER * len(line.name) + 14
    return "".join([*parts, "</svg>"])


def ticks(low: float, high: float) -> list[float]:
    """Round numbers, evenly spaced, from at most `low` to at least `high`."""
    rough = (high - low) / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{i * step:.12g}") for i in range(first, last + 1)]


def short(value: float) -> str:
    """A number for an axis: 20k, 1.5, 2e-05."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 10 * size or (abs(value) >= size and value % size == 0):
            return f"{value / size:.4g}{letter}"
    return f"{value:.4g}".replace("-", "\N{MINUS SIGN}")


def _range(arrays: Sequence[np.ndarray]) -> tuple[float, float]:
    """From the least to the largest finite value; never a single number."""
    values = np.concatenate(arrays)
    values = values[np.isfinite(values)]
    low, high = float(values.min()), float(values.max())
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        margin = 0.1 * abs(low) or 1.0
        low, high = low - margin, high + margin
    return low, high


def _usual(arrays: Sequence[np.ndarray]) -> tuple[float, float]:
    """The range of all values but a few that lie far off, as a run's first may."""
    values = np.concatenate(arrays)
    values = values[np.isfinite(values)]
    low, high = _range([values])
    if len(values) < _FAR_OFF_OF:
        return low, high
    inner = np.quantile(values, [0.02, 0.98])
    margin = 0.5 * (inner[1] - inner[0])
    return _range([np.clip([low, high], inner[0] - margin, inner[1] + margin)])


def _averaged(curve: Curve) -> Curve:
    """As many points as can be told apart: means of neighbours."""
    size = -(-len(curve.x) // _MOST_POINTS)
    if size <= 1:
        return curve
    starts = np.arange(0, len(curve.x), size)
    there = np.isfinite(curve.y)
    means = []
    columns = [(curve.x, np.ones_like(there)), (curve.y, there)]
    if curve.spread is not None:
        columns.append((curve.spread, there))
    for values, counted in columns:
        sums = np.add.reduceat(np.where(counted, values, 0.0), starts)
        counts = np.add.reduceat(counted.astype(float), starts)
        means.append(np.where(counts > 0, sums / np.maximum(counts, 1.0), np.nan))
    return Curve(*means)


def _path(places: Sequence[tuple[float, float]]) -> str:
    """SVG's path through places; it stops at what is not finite and starts after."""
    parts, pen = [], "M"
    for x, y in places:
        if np.isfinite(y):
            parts.append(f"{pen}{x:.1f} {y:.1f}")
        pen = "L" if np.isfinite(y) else "M"
    return "".join(parts)


def _band(low: np.ndarray, high: np.ndarray) -> str:
    """SVG's path around what lies between two lines `[count, 2]`."""
    there = np.isfinite(low[:, 1])
    around = np.concatenate([high[there], low[there][::-1]])
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in around) + "Z"


def _note(curves: dict[str, Curve], low: float, high: float) -> str:
    values = np.concatenate([curve.y for curve in curves.values()])
    beyond = np.count_nonzero((values < low) | (values > high))
    sentences = []
    if any(len(curve.x) > _MOST_POINTS for curve in curves.values()):
        sentences.append("Lines go through means of neighbouring steps.")
    if beyond:
        verb = "lie" if beyond > 1 else "lies"
        sentences.append(f"{beyond} of {len(values)} values {verb} beyond the axis.")
    return " ".join(sentences)


def _sentence(name: str, curve: Curve, x_label: str) -> str:
    finite = np.isfinite(curve.y)
    x, y = curve.x[finite], curve.y[finite]
    first, last = np.flatnonzero(finite)[[0, -1]]
    text = f"{name}: {_value(curve, first)} at {x_label} {x[0]:g}"
    if len(y) > 1:
        text += f", {_value(curve, last)} at {x_label} {x[-1]:g}"
        text += f", between {y.min():.4g} and {y.max():.4g}"
    if not finite.all():
        text += f"; {(~finite).sum()} values are not finite"
    return text + "."


def _value(curve: Curve, i: int) -> str:
    text = f"{curve.y[i]:.4g}"
    return text if curve.spread is None else f"{text} ± {curve.spread[i]:.2g}"


def _table(title: str, curves: dict[str, Curve], x_label: str) -> Table:
    """A few places, and what each curve is there or was last before."""
    places = np.unique(np.concatenate([curve.x for curve in curves.values()]))
    if len(places) > _TABLE_ROWS:
        chosen = np.linspace(0, len(places) - 1, _TABLE_ROWS).round().astype(int)
        places = places[chosen]
    rows = []
    for x in places:
        row = [f"{x:g}"]
        for curve in curves.values():
            i = np.searchsorted(curve.x, x, side="right") - 1
            row.append(_value(curve, i) if i >= 0 else NOTHING)
        rows.append(row)
    header = [x_label, *curves]
    return Table(f"{title}: values", header, rows, frozenset(range(len(header))))
