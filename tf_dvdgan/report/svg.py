"""Draws charts as SVG images."""

from xml.etree import ElementTree

from tf_dvdgan import terminal
from tf_dvdgan.report import charts

# For viewers without a style sheet; page.css overrides them (`.s0` to `.s5`).
_COLORS = ("#1a5a9e", "#b8450f", "#23704a", "#85379b", "#836000", "#4a5261")
_DASHES = ("", "7 4", "2 4", "9 4 2 4", "4 3")
_NAMESPACE = "http://www.w3.org/2000/svg"
_LETTER_WIDTH = 6  # pixels, at the font size of a standalone image
_TITLE_HEIGHT, _LEGEND_HEIGHT = 20, 24  # pixels, of a standalone image


def draw(chart: charts.Chart, id: str | None = None) -> str:
    """Draws a chart as an SVG image.

    Attributes style the image without a style sheet. A style sheet overrides them by
    the classes `grid` and `s0` to `s5`.

    Args:
      chart: the chart; its texts may come from data, they are escaped.
      id: start of the element ids, unique in a page that shows title and legend beside
        the image; None for a standalone image that contains both.

    Returns:
      SVG markup.
    """
    root = ElementTree.Element("svg", xmlns=_NAMESPACE, role="img")
    title = ElementTree.SubElement(root, "title")
    title.text = terminal.printable(chart.title)
    description = ElementTree.SubElement(root, "desc")
    description.text = terminal.printable(" ".join(s.summary for s in chart.lines))
    if id is None:
        _draw_surroundings(root, chart)
    else:
        root.set("viewBox", f"0 0 {chart.width} {chart.height}")
        title.set("id", f"{id}-title")
        description.set("id", f"{id}-text")
        root.set("aria-labelledby", f"{id}-title {id}-text")
    _draw_axes(root, chart)
    for i, line in enumerate(chart.lines):
        _draw_line(root, line, i)
    return ElementTree.tostring(root, encoding="unicode")


def legend(i: int) -> str:
    """Draws a short piece of a chart's i-th line, for a legend beside the chart."""
    root = ElementTree.Element("svg", width="26", height="8")
    _draw_line(root, charts.Line("", "M1 4H25", "", [], ""), i)
    return ElementTree.tostring(root, encoding="unicode")


def _draw_surroundings(root: ElementTree.Element, chart: charts.Chart) -> None:
    """Background, title and legend of a standalone image."""
    height = _TITLE_HEIGHT + chart.height + _LEGEND_HEIGHT
    size = {"width": str(chart.width), "height": str(height)}
    root.attrib |= size | {
        "viewBox": f"0 {-_TITLE_HEIGHT} {chart.width} {height}",
        "font-family": "sans-serif",
        "font-size": "11",
        "fill": "#555",
    }
    background = {"y": str(-_TITLE_HEIGHT), "fill": "#fff"}
    ElementTree.SubElement(root, "rect", size | background)
    title = _draw_text(root, chart.left, -6, chart.title)
    title.set("font-weight", "bold")
    x = chart.left
    for i, line in enumerate(chart.lines):
        name = _draw_text(root, x, chart.height + 8, line.name)
        name.set("fill", _COLORS[i % len(_COLORS)])
        x += _LETTER_WIDTH * len(line.name) + 14


def _draw_axes(root: ElementTree.Element, chart: charts.Chart) -> None:
    for y, text in chart.y_ticks:
        d = f"M{chart.left} {y:.1f}H{chart.right}"
        grid = {"class": "grid", "d": d, "stroke": "#ddd"}
        ElementTree.SubElement(root, "path", grid)
        _draw_text(root, chart.left - 8, y + 4, text, "end")
    for x, text in chart.x_ticks:
        _draw_text(root, x, chart.bottom + 17, text, "middle")
    _draw_text(root, chart.right, chart.height - 5, chart.x_label, "end")


def _draw_line(root: ElementTree.Element, line: charts.Line, i: int) -> None:
    """Band, line and markers, in the color and dashes of a chart's i-th line."""
    color = i % len(_COLORS)
    style = {
        "class": f"s{color}",
        "color": _COLORS[color],
        "stroke": "currentColor",
        "stroke-width": "1.8",
        "stroke-linejoin": "round",
        "stroke-linecap": "round",
    }
    group = ElementTree.SubElement(root, "g", style)
    if line.band:
        band = {"d": line.band, "fill": "currentColor", "opacity": "0.18"}
        ElementTree.SubElement(group, "path", band | {"stroke": "none"})
    path = {"d": line.path, "fill": "none"}
    if dashes := _DASHES[i % len(_DASHES)]:
        path["stroke-dasharray"] = dashes
    ElementTree.SubElement(group, "path", path)
    for x, y in line.dots:
        dot = {"cx": f"{x:.1f}", "cy": f"{y:.1f}", "r": "2.6", "fill": "#fff"}
        ElementTree.SubElement(group, "circle", dot)


def _draw_text(
    root: ElementTree.Element, x: float, y: float, text: str, anchor: str = "start"
) -> ElementTree.Element:
    place = {"x": f"{x:.1f}", "y": f"{y:.1f}", "text-anchor": anchor}
    element = ElementTree.SubElement(root, "text", place)
    element.text = terminal.printable(text)
    return element
