"""What the template lays out: a page is a list of sections."""

import dataclasses

from tf_dvdgan.report import charts, films


@dataclasses.dataclass
class Section:
    """A part of the page; what is empty is not shown.

    Attributes:
      id: for addresses in the page.
      short: its name in the bar at the top.
      title: its heading.
      intro: a sentence or two.
      facts: pairs of name and value.
      plots, cards, tables: in their order.
      size: of cards, 'small', 'large', 'single' or as usual.
      missing: what runs lack, each a sentence and the command that makes it.
      text: lines to be shown as they are.
    """

    id: str
    short: str
    title: str
    intro: str = ""
    facts: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    plots: list[charts.Chart] = dataclasses.field(default_factory=list)
    cards: list[films.Card] = dataclasses.field(default_factory=list)
    tables: list[charts.Table] = dataclasses.field(default_factory=list)
    size: str = ""
    missing: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    text: list[str] = dataclasses.field(default_factory=list)

    def plot(
        self, title: str, curves: dict[str, charts.Curve], x_label: str = "step"
    ) -> None:
        """Adds a chart, unless there is nothing to draw; see `charts.chart`."""
        drawn = charts.chart(title, curves, x_label)
        if drawn:
            self.plots.append(drawn)

    def lack(self, sentence: str, command: str = "") -> None:
        """Says what is missing, and the command that makes it."""
        self.missing.append((sentence, command))
