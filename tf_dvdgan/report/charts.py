"""Line charts as plain numbers: `svg.draw` makes an image of them.

A chart comes in three forms: an image, a sentence per line, and a table of a few
points, so that screen readers can read it too.
"""

import dataclasses
import functools
import math
from collections.abc import Iterable, Sequence

import numpy as np

NOTHING = "\N{EN DASH}"  # an empty cell of a table
WIDTH, HEIGHT = 420, 244
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 10, 38
_MAX_POINTS = 240  # per line; longer curves are averaged
_MAX_DOTS = 12  # lines with more points have no markers
_TABLE_ROWS = 8
_TICKS = 5
_MIN_VALUES_TO_CLIP = 40  # with fewer, the y axis covers every value
_WIDE = 30.0  # ratio of values from which an axis may be logarithmic


@dataclasses.dataclass(frozen=True)
class Curve:
    """Values over steps or any other x.

    Attributes:
      x: `[count]`, increasing.
      y: `[count]`; values that are not finite leave a gap.
      spread: `[count]`, standard deviation of each y, drawn as a band; None for no
        band.
    """

    x: np.ndarray
    y: np.ndarray
    spread: np.ndarray | None = None

    @property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper edge of the band, `[count]` each; both `y` without a band."""
        spread = 0.0 if self.spread is None else self.spread
        return self.y - spread, self.y + spread


def mean(curves: Sequence[Curve]) -> Curve | None:
    """Averages the curves of several seeds at the x values that all of them have.

    Args:
      curves: of runs that differ only in their seed.

    Returns:
      The mean with the sample standard deviation as `spread`; a single curve is
      returned unchanged; None if the curves share no x.
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
    """One line of a chart, in pixels.

    Attributes:
      name: shown in the legend.
      path: SVG path data of the line.
      band: SVG path data of its standard deviation; empty without one.
      dots: `(x, y)` of its markers; empty if the line has many points.
      summary: first, last, lowest and highest value in words.
    """

    name: str
    path: str
    band: str
    dots: list[tuple[float, float]]
    summary: str


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of texts; the first cell of each row is its header.

    Attributes:
      caption: what the table shows.
      header: column names.
      rows: cells, as many per row as the header has.
      numeric: indices of the columns to align right.
      folded: whether the table is collapsed until the reader opens it.
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: frozenset[int] = frozenset()
    folded: bool = False


@dataclasses.dataclass(frozen=True)
class Chart:
    """A chart's layout, in pixels.

    Attributes:
      title: what the chart shows.
      x_label: name of the x axis.
      lines: in the order of the legend.
      x_ticks, y_ticks: position and text of each tick.
      table: a few of the values.
      note: whether values were averaged or clipped or the y axis is logarithmic; empty
        if not.
      left, right, top, bottom: edges of the plot area in the image.
      width, height: of the image.
    """

    title: str
    x_label: str
    lines: list[Line]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    table: Table
    note: str
    left: float = _LEFT
    right: float = WIDTH - _RIGHT
    top: float = _TOP
    bottom: float = HEIGHT - _BOTTOM
    width: int = WIDTH
    height: int = HEIGHT


def chart(
    title: str,
    curves: dict[str, Curve],
    x_label: str = "step",
    may_be_logarithmic: bool = False,
) -> Chart | None:
    """Lays out a chart.

    Args:
      title: what the chart shows.
      curves: by the name shown in the legend.
      x_label: name of the x axis.
      may_be_logarithmic: whether the y axis is logarithmic if all values are above 0
        and the largest is at least 30 times the smallest.

    Returns:
      The chart; None if no curve has a finite value.
    """
    curves = {n: c for n, c in curves.items() if np.isfinite(c.y).any()}
    if not curves:
        return None
    drawn = {name: _averaged(curve) for name, curve in curves.items()}
    x_low, x_high = _range([curve.x for curve in drawn.values()])
    x_ticks = [t for t in ticks(x_low, x_high) if x_low <= t <= x_high]
    y_low, y_high = _range([curve.y for curve in curves.values()])
    is_logarithmic = may_be_logarithmic and y_low > 0 and y_high >= _WIDE * y_low
    if is_logarithmic:
        upper = [curve.bounds[1] for curve in drawn.values()]
        y_ticks = logarithmic_ticks(y_low, max(y_high, _range(upper)[1]))
    else:
        y_ticks = ticks(*_range_without_outliers(drawn.values()))
    axes = _Axes(x_low, x_high, y_ticks[0], y_ticks[-1], is_logarithmic)
    lines = [
        _line(name, curve, axes, _summary(name, curves[name], x_label))
        for name, curve in drawn.items()
    ]
    return Chart(
        title,
        x_label,
        lines,
        [(axes.x_pixels(t), short(t)) for t in x_ticks],
        [(axes.y_pixels(t), short(t)) for t in y_ticks],
        _table(title, curves, x_label),
        _note(curves, axes),
    )


@dataclasses.dataclass(frozen=True)
class _Axes:
    """Ranges of both axes, and where their values lie in the image."""

    x_low: float
    x_high: float
    y_low: float
    y_high: float
    is_logarithmic: bool

    def x_pixels(self, x):
        return _LEFT + (x - self.x_low) / (self.x_high - self.x_low) * (
            WIDTH - _LEFT - _RIGHT
        )

    def y_pixels(self, y):
        """Values beyond the axis lie on its end."""
        low, high, y = self.y_low, self.y_high, np.clip(y, self.y_low, self.y_high)
        if self.is_logarithmic:
            low, high, y = np.log(low), np.log(high), np.log(y)
        up = (y - low) / (high - low)
        return HEIGHT - _BOTTOM - up * (HEIGHT - _TOP - _BOTTOM)


def _line(name: str, curve: Curve, axes: _Axes, summary: str) -> Line:
    x = axes.x_pixels(curve.x)
    points = list(zip(x, axes.y_pixels(curve.y), strict=True))
    dots = []
    if len(points) <= _MAX_DOTS:
        dots = [(x, y) for x, y in points if np.isfinite(y)]
    band = ""
    if curve.spread is not None:
        low, high = (np.stack([x, axes.y_pixels(y)], -1) for y in curve.bounds)
        band = _band(low, high)
    return Line(name, _path(points), band, dots, summary)


def ticks(low: float, high: float) -> list[float]:
    """Chooses round, evenly spaced numbers that cover a range.

    Args:
      low: start of the range.
      high: end of the range, greater than `low`.

    Returns:
      About five numbers; the first is at most `low`, the last at least `high`.
    """
    rough = (high - low) / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{i * step:.12g}") for i in range(first, last + 1)]


def logarithmic_ticks(low: float, high: float) -> list[float]:
    """Chooses round numbers that cover a range of several powers of ten.

    Args:
      low: start of the range, above 0.
      high: end of the range, greater than `low`.

    Returns:
      1, 2 and 5 times powers of ten, or only these if the range has many; the first is
      at most `low`, the last at least `high`.
    """
    # One more on either side, as logarithms are rounded.
    powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
    digits = (1, 2, 5) if high <= 1000.0 * low else (1,)
    all_ticks = [float(f"{digit}e{power}") for power in powers for digit in digits]
    first = max(i for i, tick in enumerate(all_ticks) if tick <= low)
    last = min(i for i, tick in enumerate(all_ticks) if tick >= high)
    return all_ticks[first : last + 1]


def short(value: float) -> str:
    """Formats a number for an axis: 20k, 1.5, 2e-05."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 10 * size or (abs(value) >= size and value % size == 0):
            return f"{value / size:.4g}{letter}"
    return f"{value:.4g}".replace("-", "\N{MINUS SIGN}")


def _range(arrays: Sequence[np.ndarray]) -> tuple[float, float]:
    """The lowest and highest finite value, widened if they are equal."""
    values = np.concatenate(arrays)
    values = values[np.isfinite(values)]
    low, high = float(values.min()), float(values.max())
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        margin = 0.1 * abs(low) or 1.0
        low, high = low - margin, high + margin
    return low, high


def _range_without_outliers(curves: Iterable[Curve]) -> tuple[float, float]:
    """The y range without far outliers, such as the first values of a run."""
    values = np.concatenate([y for curve in curves for y in curve.bounds])
    values = values[np.isfinite(values)]
    low, high = _range([values])
    if len(values) < _MIN_VALUES_TO_CLIP:
        return low, high
    inner = np.quantile(values, [0.02, 0.98])
    margin = 0.5 * (inner[1] - inner[0])
    return _range([np.clip([low, high], inner[0] - margin, inner[1] + margin)])


def _averaged(curve: Curve) -> Curve:
    """Averages groups of neighboring points down to `_MAX_POINTS`."""
    size = -(-len(curve.x) // _MAX_POINTS)
    if size <= 1:
        return curve
    starts = np.arange(0, len(curve.x), size)
    finite = np.isfinite(curve.y)
    means = []
    columns = [(curve.x, np.ones_like(finite)), (curve.y, finite)]
    if curve.spread is not None:
        columns.append((curve.spread, finite))
    for values, counted in columns:
        sums = np.add.reduceat(np.where(counted, values, 0.0), starts)
        counts = np.add.reduceat(counted.astype(float), starts)
        means.append(np.where(counts > 0, sums / np.maximum(counts, 1.0), np.nan))
    return Curve(*means)


def _path(points: Sequence[tuple[float, float]]) -> str:
    """SVG path data through `(x, y)` points, with a gap where y is not finite."""
    parts, pen = [], "M"
    for x, y in points:
        if np.isfinite(y):
            parts.append(f"{pen}{x:.1f} {y:.1f}")
        pen = "L" if np.isfinite(y) else "M"
    return "".join(parts)


def _band(low: np.ndarray, high: np.ndarray) -> str:
    """SVG path data of the area between two lines, `[count, 2]` each."""
    finite = np.isfinite(low[:, 1])
    outline = np.concatenate([high[finite], low[finite][::-1]])
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in outline) + "Z"


def _note(curves: dict[str, Curve], axes: _Axes) -> str:
    values = np.concatenate([curve.y for curve in curves.values()])
    beyond = np.count_nonzero((values < axes.y_low) | (values > axes.y_high))
    notes = ["The y axis is logarithmic."] if axes.is_logarithmic else []
    if any(len(curve.x) > _MAX_POINTS for curve in curves.values()):
        notes.append("Lines show averages of neighboring steps.")
    if beyond:
        verb = "lie" if beyond > 1 else "lies"
        notes.append(f"{beyond} of {len(values)} values {verb} outside the axis range.")
    return " ".join(notes)


def _summary(name: str, curve: Curve, x_label: str) -> str:
    finite = np.isfinite(curve.y)
    x, y = curve.x[finite], curve.y[finite]
    first, last = np.flatnonzero(finite)[[0, -1]]
    text = f"{name}: {_value(curve, first)} at {x_label} {x[0]:g}"
    if len(y) > 1:
        text += f", {_value(curve, last)} at {x_label} {x[-1]:g}"
        text += f", range {y.min():.4g} to {y.max():.4g}"
    if not finite.all():
        text += f"; {(~finite).sum()} of {len(finite)} values not finite"
    return text + "."


def _value(curve: Curve, i: int) -> str:
    text = f"{curve.y[i]:.4g}"
    return text if curve.spread is None else f"{text} ± {curve.spread[i]:.2g}"


def _table(title: str, curves: dict[str, Curve], x_label: str) -> Table:
    """A few x values, each with the latest value that every curve has by then."""
    xs = np.unique(np.concatenate([curve.x for curve in curves.values()]))
    if len(xs) > _TABLE_ROWS:
        xs = xs[np.linspace(0, len(xs) - 1, _TABLE_ROWS).round().astype(int)]
    rows = []
    for x in xs:
        row = [f"{x:g}"]
        for curve in curves.values():
            i = np.searchsorted(curve.x, x, side="right") - 1
            row.append(_value(curve, i) if i >= 0 else NOTHING)
        rows.append(row)
    header = [x_label, *curves]
    return Table(f"{title}: values", header, rows, frozenset(range(len(header))))
