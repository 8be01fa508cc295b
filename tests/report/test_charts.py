"""Charts: positions of lines, text of axes and tables, the SVG image."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from tf_dvdgan.report import charts, svg


def places(line: charts.Line) -> np.ndarray:
    """The points of a path, `[count, 2]`."""
    return np.array(re.findall(r"([\d.]+) ([\d.]+)", line.path), np.float64)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 1.0, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0.13, 0.92, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (-3.0, 7.0, [-4.0, -2.0, 0.0, 2.0, 4.0, 6.0, 8.0]),
        (1e-6, 3e-6, [1e-6, 1.5e-6, 2e-6, 2.5e-6, 3e-6]),
        (0.0, 4000.0, [0.0, 1000.0, 2000.0, 3000.0, 4000.0]),
    ],
)
def test_ticks_are_round_and_cover_the_range(low, high, expected):
    np.testing.assert_allclose(charts.ticks(low, high), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (1.0, 100.0, [1, 2, 5, 10, 20, 50, 100]),
        (0.8, 146.0, [0.5, 1, 2, 5, 10, 20, 50, 100, 200]),
        (3.0, 40000.0, [1, 10, 100, 1000, 10000, 100000]),
    ],
)
def test_logarithmic_ticks_cover_the_range(low, high, expected):
    assert charts.logarithmic_ticks(low, high) == expected


def test_rounding_of_logarithms_leaves_no_range_uncovered():
    for low in (np.nextafter(100.0, 0.0), 100.0, np.nextafter(100.0, 200.0)):
        for high in (1e4, np.nextafter(1e4, 1e5), np.nextafter(1e6, 0.0)):
            found = charts.logarithmic_ticks(low, high)
            assert found[0] <= low and found[-1] >= high and len(found) <= 9


def test_equal_ratios_are_equally_far_apart_on_a_logarithmic_axis():
    curve = charts.Curve(np.arange(3.0), np.array([100.0, 10.0, 1.0]))
    drawn = charts.chart("x", {"a": curve}, may_be_logarithmic=True)
    heights = places(drawn.lines[0])[:, 1]
    middle = (drawn.top + drawn.bottom) / 2
    np.testing.assert_allclose(heights, [drawn.top, middle, drawn.bottom])
    assert drawn.note == "The y axis is logarithmic."
    # A band that reaches below 0 ends at the axis.
    wide = charts.Curve(curve.x, curve.y, np.array([1.0, 1.0, 5.0]))
    (line,) = charts.chart("x", {"a": wide}, may_be_logarithmic=True).lines
    assert f" {drawn.bottom:.1f}" in line.band and "nan" not in line.band
    # Otherwise it is linear.
    for y in ([20.0, 1.0, 2.0], [100.0, 0.0, 1.0]):
        curve = charts.Curve(np.arange(3.0), np.array(y))
        assert not charts.chart("x", {"a": curve}, may_be_logarithmic=True).note


def test_a_long_curve_may_be_mostly_nan():
    y = np.full(300, np.nan)
    y[[0, 299]] = 1.0, 3.0
    drawn = charts.chart("x", {"a": charts.Curve(np.arange(300.0), y)})
    heights = places(drawn.lines[0])[:, 1]
    np.testing.assert_allclose(heights, [drawn.bottom, drawn.top])


def test_ticks_of_tiny_numbers_differ():
    assert len(set(charts.ticks(1e-14, 3e-14))) == len(charts.ticks(1e-14, 3e-14)) > 3


def test_a_line_goes_from_corner_to_corner():
    drawn = charts.chart(
        "x", {"a": charts.Curve(np.array([5.0, 15]), np.array([0, 1]))}
    )
    np.testing.assert_allclose(
        places(drawn.lines[0]), [[drawn.left, drawn.bottom], [drawn.right, drawn.top]]
    )
    assert drawn.y_ticks[0] == (drawn.bottom, "0")
    assert drawn.y_ticks[-1] == (drawn.top, "1")
    assert drawn.lines[0].summary == "a: 0 at step 5, 1 at step 15, range 0 to 1."


def test_long_curves_are_averaged():
    y = np.random.default_rng(0).normal(size=480)
    drawn = charts.chart("x", {"a": charts.Curve(np.arange(480.0), y)})
    found = places(drawn.lines[0])
    means = y.reshape(240, 2).mean(axis=1)
    inner = np.quantile(means, [0.02, 0.98])
    seen = (means > inner[0]) & (means < inner[1])  # not clipped by the axis
    up = (drawn.bottom - found[:, 1]) / (drawn.bottom - drawn.top)
    slope, start = np.polyfit(means[seen], up[seen], 1)
    np.testing.assert_allclose(up[seen], start + slope * means[seen], atol=1e-3)
    assert "neighboring" in drawn.note
    np.testing.assert_allclose(found[0, 0], drawn.left)


def test_values_that_are_not_finite_leave_a_gap():
    curve = charts.Curve(np.arange(4.0), np.array([0, np.nan, 1, 2]))
    (line,) = charts.chart("x", {"a": curve}).lines
    assert line.path.count("M") == 2 and len(places(line)) == 3
    assert line.summary.endswith("; 1 of 4 values not finite.")
    assert (
        charts.chart("x", {"a": charts.Curve(np.ones(2), np.full(2, np.inf))}) is None
    )


def test_outliers_do_not_flatten_the_rest():
    y = np.concatenate([[1000.0], np.linspace(0, 1, 99)])
    drawn = charts.chart("x", {"a": charts.Curve(np.arange(100.0), y)})
    assert drawn.note == "1 of 100 values lies outside the axis range."
    assert places(drawn.lines[0])[0, 1] == drawn.top
    assert np.ptp(places(drawn.lines[0])[1:, 1]) > 0.5 * (drawn.bottom - drawn.top)
    assert "1000" in drawn.lines[0].summary and "1000" in drawn.table.rows[0]


def test_a_single_value_is_drawn_as_a_dot():
    drawn = charts.chart("x", {"a": charts.Curve(np.array([7.0]), np.array([3.0]))})
    assert len(drawn.lines[0].dots) == 1


def test_the_table_has_the_latest_value_of_each_line():
    curves = {
        "a": charts.Curve(np.array([0.0, 10]), np.array([1.0, 2])),
        "b": charts.Curve(np.array([5.0]), np.array([9.0])),
    }
    table = charts.chart("x", curves).table
    assert table.header == ["step", "a", "b"]
    assert table.rows == [["0", "1", "\N{EN DASH}"], ["5", "1", "9"], ["10", "2", "9"]]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (20000, "20k"),
        (1500, "1500"),
        (4000, "4k"),
        (-0.25, "\N{MINUS SIGN}0.25"),
        (3e6, "3M"),
    ],
)
def test_numbers_of_axes_are_short(value, text):
    assert charts.short(value) == text


def test_curves_of_seeds_become_a_mean_and_a_band():
    x = np.arange(3.0)
    values = np.array([[0.0, 2, 4], [2, 2, 6], [4, 2, 2]])
    curve = charts.mean([charts.Curve(x, y) for y in values])
    np.testing.assert_array_equal(curve.x, x)
    np.testing.assert_allclose(curve.y, [2, 2, 4])
    np.testing.assert_allclose(curve.spread, [2, 0, 2])
    drawn = charts.chart("x", {"k = 8 (3 seeds)": curve})
    (line,) = drawn.lines
    outline = np.array(re.findall(r"([\d.]+) ([\d.]+)", line.band), np.float64)
    low = drawn.bottom - (drawn.bottom - drawn.top) * np.array([0, 2, 2]) / 6
    high = drawn.bottom - (drawn.bottom - drawn.top) * np.array([4, 2, 6]) / 6
    np.testing.assert_allclose(outline[:, 1], [*high, *low[::-1]], atol=0.06)
    assert line.summary.startswith("k = 8 (3 seeds): 2 ± 2 at step 0, 4 ± 2 at step 2")
    assert drawn.table.rows[1][1] == "2 ± 0"


def test_the_mean_covers_the_steps_that_all_curves_have():
    one = charts.Curve(np.array([1.0, 2, 3]), np.array([1.0, 2, 3]))
    other = charts.Curve(np.array([2.0, 3, 4]), np.array([4.0, 5, 6]))
    curve = charts.mean([one, other])
    np.testing.assert_allclose([curve.x, curve.y], [[2, 3], [3, 4]])
    assert charts.mean([one]) is one
    assert charts.mean([one, charts.Curve(np.array([9.0]), np.array([1.0]))]) is None


def test_bands_of_long_curves_are_averaged_too():
    x = np.arange(1000.0)
    curve = charts.mean([charts.Curve(x, x), charts.Curve(x, x + 2)])
    drawn = charts.chart("x", {"a": curve})
    assert drawn.lines[0].band.count("L") < 500


SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "<b>\N{RIGHT-TO-LEFT OVERRIDE}&"


@pytest.fixture
def two_lines() -> charts.Chart:
    x = np.arange(3.0)
    spread = charts.Curve(x, 2 * x, np.ones(3))
    return charts.chart(HOSTILE, {"a<b": charts.Curve(x, x), HOSTILE: spread})


def test_a_standalone_image_needs_no_style_sheet(two_lines):
    root = ElementTree.fromstring(svg.draw(two_lines))
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert {r"<b>\u202e&", "a<b", "step", "2"} <= set(texts)
    assert root.get("fill") and "style" not in root.attrib
    groups = root.findall(f"{SVG}g")
    assert len({group.get("color") for group in groups}) == len(groups) == 2
    for group in groups:
        assert group.get("stroke") == "currentColor"
        assert all(part.get("fill") for part in group)
    bands = [p for p in root.iter(f"{SVG}path") if p.get("d", "").endswith("Z")]
    assert [band.get("d") for band in bands] == [two_lines.lines[1].band]
    assert len(list(root.iter(f"{SVG}circle"))) == 6


def test_an_image_in_a_page_has_its_own_ids_and_no_legend(two_lines):
    picture = svg.draw(two_lines, "c1")
    assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in picture and "<b>" not in picture
    root = ElementTree.fromstring(picture)
    found = {element.get("id"): element.text for element in root.iter()}
    assert root.get("aria-labelledby") == "c1-title c1-text"
    assert found["c1-title"] == r"<b>\u202e&" and "0 at step 0" in found["c1-text"]
    assert "a<b" not in [element.text for element in root.iter(f"{SVG}text")]


def test_legend_and_line_have_the_same_style(two_lines):
    lines = ElementTree.fromstring(svg.draw(two_lines)).findall(f"{SVG}g")
    for i, line in enumerate(lines):
        (of_legend,) = ElementTree.fromstring(svg.legend(i))
        assert of_legend.tag == "g" and of_legend.attrib == line.attrib
        dashes = [p.get("stroke-dasharray") for p in line if p.get("fill") == "none"]
        assert dashes == [p.get("stroke-dasharray") for p in of_legend]
