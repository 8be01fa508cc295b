"""Renders the HTML page of one run, or of several side by side."""

import base64
import functools
import hashlib
import pathlib
from collections.abc import Sequence

import jinja2
import markupsafe

from tf_dvdgan import errors, pretrained, run_directory, terminal, version
from tf_dvdgan.data import files
from tf_dvdgan.report import (
    film_sections,
    layout,
    overview_sections,
    plot_sections,
    run_data,
    score_sections,
    svg,
)

_FOLDER = pathlib.Path(__file__).parent


def write(
    model_dir: str | None = None,
    compare: Sequence[str] = (),
    step: int | str | None = None,
    data_dir: str | None = None,
    weights: Sequence[str] = (),
    output: str | None = None,
) -> str:
    """Writes the page of one run, or of several side by side; prints where.

    Args:
      model_dir: the run's directory; None to compare runs.
      compare: directories of the runs to compare, at least two.
      step: step of each run's checkpoint, or 'best'; the newest by default.
      data_dir: prepared shards of real clips, shown beside generated ones.
      weights: weights files of the small classifier, as in `of_run`.
      output: file to write; `report.html` in the run's directory by default.

    Returns:
      The path of the page.

    Raises:
      UserError: arguments exclude one another, the page cannot be written, a run or
        checkpoint does not exist, or the data do not match it.
    """
    if bool(model_dir) == bool(compare):
        raise errors.UserError("Set either `model_dir`, or `compare` for each run.")
    if len(compare) == 1:
        raise errors.UserError("`compare` needs at least two runs.")
    if compare and not output:
        raise errors.UserError("`compare` needs `output`, the page to write.")
    if compare and weights:
        raise errors.UserError(
            "`weights` needs `model_dir`; it has no effect with `compare`."
        )
    compare = [pretrained.resolve(path) for path in compare]
    if model_dir:
        model_dir = pretrained.resolve(model_dir)
        if not output and run_directory.RunDirectory(model_dir).is_exported:
            raise errors.UserError(
                f"{model_dir} is an exported run, whose files stay: set `output`, the "
                "page to write."
            )
    if output:
        files.check_writable(output)
    if compare:
        assert output
        files.register_filesystems(*compare)
        html = of_runs(compare, step, data_dir)
    else:
        assert model_dir
        output = output or run_directory.RunDirectory(model_dir).report
        html = of_run(model_dir, step, data_dir, weights)
    with files.report_write_errors(output):
        files.atomic_write(output, html)
    print(f"{len(html) / 1e6:.1f} MB: {output}")
    return output


def of_run(
    model_dir: str,
    step: int | str | None = None,
    data_dir: str | None = None,
    weights: Sequence[str] = (),
) -> str:
    """Renders the page of one run.

    Args:
      model_dir: the run's directory.
      step: step of the checkpoint, or 'best'; the newest by default.
      data_dir: prepared shards of real clips, shown beside generated ones.
      weights: weights files of the small classifier, whose features find the nearest
        neighbors. By default those of the run's config; pixels are compared if there
        are none.

    Returns:
      The page as HTML.

    Raises:
      UserError: there is no such run or checkpoint, or the data do not match it.
    """
    run = run_data.Run(model_dir, step, _name(model_dir))
    sections = [
        overview_sections.of_run(run),
        film_sections.samples([run], data_dir),
        film_sections.raw_and_averaged(run),
        plot_sections.truncation([run]),
        film_sections.interpolations(run),
        film_sections.neighbors(run, data_dir, weights),
        score_sections.of_run(run),
        plot_sections.curves([run]),
        plot_sections.throughput([run]),
        plot_sections.classification(run),
        overview_sections.config(run),
    ]
    shown = [section for section in sections if section is not None]
    at = "no checkpoint yet" if run.step is None else f"step {run.step:,}"
    return _render(f"{run.name}, {at}", overview_sections.subtitle(run), shown)


def of_runs(
    model_dirs: Sequence[str],
    step: int | str | None = None,
    data_dir: str | None = None,
) -> str:
    """Renders a page that compares several runs.

    Args:
      model_dirs: the runs' directories.
      step: step of each run's checkpoint, or 'best'; the newest by default.
      data_dir: prepared shards of real clips, shown beside generated ones.

    Returns:
      The page as HTML.

    Raises:
      UserError: a run or checkpoint does not exist, or the data do not match it.
    """
    names = [_name(path) for path in model_dirs]
    if len(set(names)) < len(names):
        names = [path.rstrip("/") for path in model_dirs]
    runs = [
        run_data.Run(path, step, name)
        for path, name in zip(model_dirs, names, strict=True)
    ]
    sections = [
        overview_sections.side_by_side(runs),
        film_sections.samples(runs, data_dir),
        plot_sections.truncation(runs),
        score_sections.side_by_side(runs),
        plot_sections.curves(runs),
        plot_sections.throughput(runs),
        overview_sections.config_differences(runs),
    ]
    return _render(f"{len(runs)} runs side by side", ", ".join(names), sections)


def _name(model_dir: str) -> str:
    return files.base_name(files.absolute(model_dir))


def _render(title: str, subtitle: str, sections: Sequence[layout.Section]) -> str:
    style, script = (
        markupsafe.Markup((_FOLDER / name).read_text(encoding="utf-8"))
        for name in ("page.css", "page.js")
    )
    # The page loads nothing from elsewhere and runs only its own script.
    policy = (
        "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; "
        f"media-src data:; style-src '{_hash(style)}'; script-src '{_hash(script)}'"
    )
    return _template().render(
        title=title,
        subtitle=subtitle,
        sections=sections,
        style=style,
        script=script,
        policy=policy,
        version=version.__version__,
        svg=lambda chart, id: markupsafe.Markup(svg.draw(chart, id)),
        legend_svg=lambda i: markupsafe.Markup(svg.legend(i)),
    )


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html")


def _printable(value: object) -> object:
    """Escapes invisible characters: names from data may reverse the text direction."""
    if isinstance(value, str) and not isinstance(value, markupsafe.Markup):
        return terminal.printable(value)
    return value


def _hash(text: str) -> str:
    """A hash source of a content security policy."""
    digest = hashlib.sha256(text.encode()).digest()
    return "sha256-" + base64.b64encode(digest).decode()
