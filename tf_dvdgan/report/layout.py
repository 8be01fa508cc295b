"""The sections that page.html renders."""

import dataclasses

from tf_dvdgan.report import charts, films


@dataclasses.dataclass
class Section:
    """A section of the page; empty parts are not shown.

    Attributes:
      id: HTML id, for links.
      short: link text in the navigation bar.
      title: heading.
      intro: one or two sentences below the heading.
      metadata: pairs of name and value.
      plots, cards, tables: shown in this order.
      size: of the cards: 'small', 'large', 'single', or empty for the default.
      missing: data that runs lack, each a sentence and the command that creates it.
      text: lines of preformatted text.
    """

    id: str
    short: str
    title: str
    intro: str = ""
    metadata: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    plots: list[charts.Chart] = dataclasses.field(default_factory=list)
    cards: list[films.Card] = dataclasses.field(default_factory=list)
    tables: list[charts.Table] = dataclasses.field(default_factory=list)
    size: str = ""
    missing: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    text: list[str] = dataclasses.field(default_factory=list)

    def plot(
        self,
        title: str,
        curves: dict[str, charts.Curve],
        x_label: str = "step",
        may_be_logarithmic: bool = False,
    ) -> None:
        """Adds a chart, unless no curve has a finite value.

        Args:
          title: what the chart shows.
          curves: by the name shown in the legend.
          x_label: name of the x axis.
          may_be_logarithmic: whether the y axis may be logarithmic, see `charts.chart`.
        """
        drawn = charts.chart(title, curves, x_label, may_be_logarithmic)
        if drawn:
            self.plots.append(drawn)

    def add_missing(self, message: str, command: str = "") -> None:
        """Adds a sentence about missing data.

        Args:
          message: what is missing.
          command: creates it; shown after the message.
        """
        self.missing.append((message, command))
