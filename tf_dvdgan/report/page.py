"""The page: what is known of a run, or of several side by side, in sections."""

import base64
import collections
import dataclasses
import functools
import hashlib
import os
import pathlib
from collections.abc import Sequence

import gin
import jinja2
import markupsafe
import numpy as np
import tensorflow as tf

import tf_dvdgan
from tf_dvdgan import cli, config, generators, trained
from tf_dvdgan.data import files
from tf_dvdgan.evaluation import published
from tf_dvdgan.report import charts, films, history
from tf_dvdgan.training import checkpoints

_FOLDER = pathlib.Path(__file__).parent
_PUBLISHED = (
    "method",
    "data set",
    "clip",
    "metric",
    "score",
    "protocol",
    "paper, table",
    "note",
)


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
      missing: sentence and command for what the run lacks.
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


class Run:
    """A run as the page wants it.

    Args:
      model_dir: of the run.
      step: which checkpoint, by its number or 'best'; the newest by default.
      name: for titles.

    Raises:
      UserError: it is no run's directory, or has no such checkpoint.
    """

    def __init__(self, model_dir: str, step: int | str | None, name: str):
        self.model_dir = model_dir
        self.name = name
        config.load_run(model_dir)
        self.plan = gin.get_configurable("evaluation.Plan")()
        self.model: trained.TrainedModel | None = None
        if step is not None or checkpoints.steps(model_dir):
            self.model = trained.load(model_dir, step)
            self.generator = generators.RunGenerator(self.model)
        self.step = self.model.step if self.model else None
        self.train = history.curves(model_dir, "train")
        self.panels = history.panels(self.train, history.curves(model_dir, "eval"))
        self.scores = history.scores(model_dir)
        self.config = history.operative_config(model_dir, self.step)

    @property
    def trained_steps(self) -> int:
        """The last step that left a trace."""
        return max((int(curve.x[-1]) for curve in self.train.values()), default=0)

    def command(self, module: str, *flags: str) -> str:
        """A command about this run, as one types it."""
        return " ".join(["python -m", module, f"--model_dir={self.model_dir}", *flags])


def of_run(
    model_dir: str,
    step: int | str | None = None,
    data_dir: str | None = None,
    weights: Sequence[str] = (),
) -> str:
    """A page of one run.

    Args:
      model_dir: of the run.
      step: which checkpoint, by its number or 'best'; the newest by default.
      data_dir: shards of real clips, to show beside generated ones.
      weights: of the small classifier, by whose features neighbours are found; by
        default those that the run is scored by, else pixels are compared.

    Returns:
      HTML.

    Raises:
      UserError: there is no such run or checkpoint, or the data do not fit it.
    """
    run = Run(model_dir, step, _name(model_dir))
    made = _samples(run)
    sections = [
        Section("run", "Run", "The run", facts=_facts(run)),
        _sample_section([run], [made], data_dir),
        _weights_section(run),
        _truncation_section([run]),
        _interpolation_section(run),
        _neighbour_section(run, made, data_dir, weights),
        _score_section(run),
        _curve_section([run]),
        _speed_section([run]),
        _config_section(run),
    ]
    at = f"step {run.step:,}" if run.model else "no checkpoint yet"
    return _render(f"{run.name}, {at}", _subtitle(run), sections)


def of_runs(
    model_dirs: Sequence[str],
    step: int | str | None = None,
    data_dir: str | None = None,
) -> str:
    """A page of several runs side by side; arguments and errors as `of_run`."""
    names = [_name(path) for path in model_dirs]
    if len(set(names)) < len(names):
        names = [path.rstrip("/") for path in model_dirs]
    runs, made = [], []
    for path, name in zip(model_dirs, names, strict=True):
        runs.append(Run(path, step, name))
        made.append(_samples(runs[-1]))
    sections = [
        _fact_section(runs),
        _sample_section(runs, made, data_dir),
        _truncation_section(runs),
        _compared_score_section(runs),
        _curve_section(runs),
        _speed_section(runs),
        _difference_section(runs),
    ]
    title = f"{len(runs)} runs side by side"
    return _render(title, ", ".join(run.name for run in runs), sections)


def _name(model_dir: str) -> str:
    return os.path.basename(files.absolute(model_dir).rstrip("/"))


def _subtitle(run: Run) -> str:
    dataset = history.dataset_name(run.model_dir)
    if not run.model:
        return dataset
    generator = run.generator
    side, names = generator.resolution, generator.class_names
    classes = f", {len(names)} classes" if run.model.gan.class_conditional else ""
    return (
        f"{generator.facts['model']} on {dataset or 'unnamed data'}: "
        f"{generator.num_frames} frames of {side}x{side} pixels{classes}"
    )


def _samples(run: Run) -> dict[str, np.ndarray]:
    """Generated clips by class; none where there is no checkpoint."""
    if not run.model:
        return {}
    with cli.clock(f"Samples of {run.name}"):
        shown = films.shown_classes(run.generator.class_names)
        return films.samples(run.generator, shown)


def _facts(run: Run) -> list[tuple[str, str]]:
    """What one wants to know first."""
    facts = {
        "Data set": history.dataset_name(run.model_dir) or "unnamed",
        "Trained for": f"{run.trained_steps:,} steps",
        "Throughput": _throughput(run),
    }
    if run.model:
        facts |= _model_facts(run)
    return [(name, value) for name, value in facts.items() if value]


def _model_facts(run: Run) -> dict[str, str]:
    gan, generator = run.model.gan, run.generator
    side, given = generator.resolution, generator.num_conditioning_frames
    facts = {
        "This page shows": f"step {run.step:,}",
        "Video": f"{generator.num_frames} frames of {side}x{side} pixels, "
        f"stride {generator.stride}" + (f", {given} of them given" if given else ""),
        "Latent": f"{generator.latent.size} numbers",
        "Generator": f"{generator.facts['model']}, {_parameters(gan.generator)}",
    }
    for discriminator in gan.discriminators:
        name = discriminator.name.replace("_", " ").capitalize()
        facts[name] = _parameters(discriminator)
    facts["Weights"] = generator.facts["weights"][:12] + " (SHA-256, averaged)"
    names = generator.class_names
    if gan.class_conditional:
        more = f" and {len(names) - 24} more" if len(names) > 24 else ""
        facts[f"{len(names)} classes"] = ", ".join(names[:24]) + more
    return facts


def _parameters(network: tf.keras.Model) -> str:
    count = sum(v.shape.num_elements() for v in network.trainable_variables)
    return f"{count:,} parameters"


def _throughput(run: Run) -> str:
    curves = [
        run.train.get(f"speed/{name}")
        for name in ("seconds_per_step", "clips_per_second")
    ]
    if not all(curves):
        return ""
    seconds, clips = (float(np.median(curve.y)) for curve in curves)
    return f"{seconds:.3g} s a step, {clips:.3g} clips a second (medians)"


def _fact_section(runs: Sequence[Run]) -> Section:
    of_runs_ = [dict(_facts(run)) for run in runs]
    names = dict.fromkeys(name for facts in of_runs_ for name in facts)
    rows = [[n, *(facts.get(n, "\N{EN DASH}") for facts in of_runs_)] for n in names]
    header = ["", *(run.name for run in runs)]
    table = charts.Table("What the runs are", header, rows)
    return Section("run", "Runs", "The runs", tables=[table])


def _no_checkpoint(run: Run) -> tuple[str, str]:
    return (
        f"{run.name} has no checkpoint to sample yet; training makes them:",
        run.command("tf_dvdgan.run", "--mode=train", "--data_dir=SHARDS"),
    )


def _sample_section(
    runs: Sequence[Run], made: Sequence[dict[str, np.ndarray]], data_dir: str | None
) -> Section:
    """Samples by class; of several runs from the same latents, side by side."""
    section = Section("samples", "Samples", "Samples by class")
    section.missing = [_no_checkpoint(run) for run in runs if not run.model]
    sides = [(run, clips) for run, clips in zip(runs, made, strict=True) if clips]
    if not sides:
        return section
    names = [n for n in sides[0][1] if all(n in clips for _, clips in sides)]
    if not names:
        section.missing.append(("The runs have no class in common.", ""))
        return section
    real = {}
    if data_dir:
        with cli.clock("Real clips"):
            model = sides[0][0].model
            by_class = model.gan.class_conditional
            real = films.real_clips(data_dir, model.window, names, by_class)
    else:
        flags = ("--data_dir=SHARDS",)
        command = runs[0].command("tools.report", *flags)
        if len(runs) > 1:
            paths = ",".join(run.model_dir for run in runs)
            command = f"python -m tools.report --compare={paths} {flags[0]}"
        section.missing.append(("Real clips stand beside these with", command))
    section.intro = (
        f"{films.OF_CLASS} samples of each class, truncation 1, from the same latents "
        f"in every class (seed {films.SEED}); weights are the moving average."
    )
    for name in names:
        section.cards.append(_class_card(name, sides, real.get(name)))
    several = len(sides) + bool(real) > 1
    section.size = "large" if len(sides) > 1 else "" if several else "small"
    return section


def _class_card(
    name: str,
    sides: Sequence[tuple[Run, dict[str, np.ndarray]]],
    real: np.ndarray | None,
) -> films.Card:
    shown = []
    for run, clips in sides:
        label = run.name if len(sides) > 1 else "Generated" if real is not None else ""
        alt = f"{len(clips[name])} generated clips of {name}, {run.name}."
        shown.append(films.film(clips[name], 2, alt, label))
    if real is not None:
        alt = f"{len(real)} real clips of {name}."
        shown.append(films.film(real, 2, alt, "Real"))
    return films.Card(name, shown)


def _weights_section(run: Run) -> Section:
    """The run's own sheets: what averaging does to samples."""
    section = Section(
        "weights", "Raw and averaged", "Raw weights against their average"
    )
    shown = []
    for kind, label in (("samples_raw", "Raw"), ("samples_ema", "Moving average")):
        found = history.sheet(run.model_dir, kind, run.step)
        if found:
            alt = f"Samples, a class a row, step {found[0]}: {label.lower()} weights."
            shown.append((found[0], films.of_gif(found[1], alt, label)))
    if len(shown) < 2:
        command = run.command("tf_dvdgan.run", "--mode=train", "--data_dir=SHARDS")
        sentence = (
            "The run has no sheets of samples so far; training makes them, every "
        )
        sentence += "training.Schedule.samples_every steps:"
        section.missing.append((sentence, command))
        return section
    section.intro = "Samples of the same latents, made while the run was trained."
    title = f"Step {shown[-1][0]:,}"
    section.cards.append(films.Card(title, [film for _, film in shown]))
    section.size = "single"
    return section


def _truncation_section(runs: Sequence[Run]) -> Section:
    """Scores over truncations, and of a single run what it looks like."""
    section = Section(
        "truncation",
        "Truncation",
        "Truncation",
        "Latents are multiplied by the truncation: below 1 samples are nearer the "
        "mean and less diverse. Statistics are made anew for each.",
    )
    curves: dict[str, dict[str, charts.Curve]] = collections.defaultdict(dict)
    for run in runs:
        for protocol, curve in _truncation_curves(run).items():
            curves[protocol][run.name] = curve
    for protocol, of_runs_ in curves.items():
        name = _protocol_name(runs, protocol)
        section.plots += _drawn(f"{name} by truncation", of_runs_, "truncation")
    if not curves:
        flags = "--protocol=fid_small --weights=WEIGHTS --real=SHARDS"
        command = runs[0].command("tools.score", flags)
        command += " --truncations=0.2,0.4,0.6,0.8,1"
        section.missing.append(
            ("No scores by truncation so far; they come with", command)
        )
    if len(runs) == 1 and runs[0].model:
        generator = runs[0].generator
        with cli.clock("Samples by truncation"):
            names = films.shown_classes(generator.class_names)
            section.cards = films.truncation_sheet(generator, names)
        section.size = "small"
    return section


def _truncation_curves(run: Run) -> dict[str, charts.Curve]:
    """Of each protocol that was asked at several truncations: those of one step."""
    found = {}
    for protocol, scores in _by_protocol(run.scores).items():
        newest = max(score.step or 0 for score in scores)
        points = {s.truncation: s.value for s in scores if (s.step or 0) == newest}
        if len(points) > 1:
            x = np.array(sorted(points))
            found[protocol] = charts.Curve(x, np.array([points[t] for t in x]))
    return found


def _by_protocol(scores: Sequence[history.Score]) -> dict[str, list[history.Score]]:
    found = collections.defaultdict(list)
    for score in scores:
        found[score.protocol].append(score)
    return found


def _protocol_name(runs: Sequence[Run], protocol: str) -> str:
    return next(s.name for r in runs for s in r.scores if s.protocol == protocol)


def _interpolation_section(run: Run) -> Section:
    section = Section("interpolations", "Interpolations", "Interpolations")
    section.intro = "What a generator has learnt changes step by step, without jumps."
    section.size = "large"
    if run.model:
        with cli.clock("Interpolations"):
            names = films.shown_classes(run.generator.class_names)
            section.cards = films.interpolations(run.generator, names)
    else:
        section.missing.append(_no_checkpoint(run))
    return section


def _neighbour_section(
    run: Run,
    made: dict[str, np.ndarray],
    data_dir: str | None,
    weights: Sequence[str],
) -> Section:
    """Whether generated clips are training clips, learnt by heart."""
    section = Section("neighbours", "Neighbours", "Nearest training clips")
    section.size = "large"
    if not made:
        section.missing.append(_no_checkpoint(run))
        return section
    if not data_dir:
        command = run.command("tools.report", "--data_dir=SHARDS")
        section.missing.append(("Training clips are looked through with", command))
        return section
    judge = _judge(run, weights)
    section.cards = films.nearest_real(made, data_dir, run.model.window, judge)
    by = {
        "pixels": "a few averaged pixels of a few frames",
        "small_classifier": "the features of the small classifier",
    }
    section.intro = (
        "A generator that replays its data shows the same clip twice here. Likeness "
        f"is by {by[judge.protocol.network]}, among the first {films.BANK:,} training "
        "clips at the most."
    )
    return section


def _judge(run: Run, weights: Sequence[str]):
    """By the weights that are given; else by the run's, if they still are there."""
    num_classes = len(run.generator.class_names)
    if weights:
        return films.judge_of(weights, num_classes)
    there = [path for path in run.plan.weights if tf.io.gfile.exists(path)]
    try:
        return films.judge_of(there, num_classes)
    except cli.UserError:  # of other networks
        return films.judge_of((), num_classes)


def _score_section(run: Run) -> Section:
    section = Section("scores", "Scores", "Scores")
    section.intro = (
        "A score stands with its protocol: another number of clips, other weights or "
        "another resize move it further than most papers' improvements."
    )
    if not run.scores:
        flags = "--protocol=fvd_unterthiner --weights=WEIGHTS --real=SHARDS"
        section.missing.append(
            (
                "The run has no scores yet; they come with",
                run.command("tools.score", flags),
            )
        )
    groups = _by_protocol([s for s in run.scores if s.truncation == 1.0])
    rows = [_score_row(scores) for scores in groups.values()]
    if rows:
        header = ["score", "newest", "step", "best", "step", "also", "protocol"]
        table = charts.Table("This run", header, rows, frozenset({1, 2, 3, 4}))
        section.tables.append(table)
    names = {score.name for score in run.scores}
    theirs = [row for row in published.rows() if row.protocol in names]
    if theirs:
        section.tables.append(_published("Papers, by the same protocols", theirs))
    elif run.scores:
        sentence = "No paper prints scores by these protocols."
        section.missing.append((sentence, ""))
    caption = "All that the papers print, with the protocols that compare"
    folded = dataclasses.replace(_published(caption, published.rows()), folded=True)
    section.tables.append(folded)
    return section


def _score_row(scores: Sequence[history.Score]) -> list[str]:
    """The newest and the best of scores by one protocol."""
    newest = max(enumerate(scores), key=lambda pair: (pair[1].step or 0, pair[0]))[1]
    lower = newest.facts.get("metric") == "frechet_distance"
    best = (min if lower else max)(scores, key=lambda score: score.value)
    also = ", ".join(f"{n.replace('_', ' ')} {v:.4g}" for n, v in newest.others.items())
    if newest.error is not None:
        also = f"standard error {newest.error:.2g}" + (f", {also}" if also else "")
    return [
        newest.name,
        str(newest),
        _step(newest),
        f"{best.value:.4g}",
        _step(best),
        also,
        _protocol(newest.facts),
    ]


def _step(score: history.Score) -> str:
    return f"{score.step:,}" if score.step is not None else "\N{EN DASH}"


def _protocol(facts: dict) -> str:
    """What fixes a score's value, for a reader."""
    weights, real = facts.get("weights") or {}, facts.get("real") or {}
    by = facts.get("network", "")
    if "hash" in weights:
        by += f" ({weights.get('source', '')}, {weights['hash'][:12]})"
    window = facts.get("window") or {}
    frames = facts.get("num_frames") or window.get("num_frames")
    stride = facts.get("stride") or window.get("stride")
    num_real = facts.get("num_real") or real.get("num_clips") or "all"
    parts = [
        f"{facts.get('metric', '').replace('_', ' ')} by {by}",
        facts.get("preprocessing", ""),
        f"{facts.get('num_generated')} generated against {num_real} real clips "
        f"({real.get('split') or facts.get('split')})",
        f"{frames} frames, stride {stride}" if frames else "",
        f"compares with {facts.get('compares_with')}",
    ]
    return "; ".join(filter(None, parts))


def _published(caption: str, rows: Sequence[published.Row]) -> charts.Table:
    cells = [
        (
            row.method,
            row.dataset,
            row.clip,
            f"{row.metric} ({'higher' if row.better == 'up' else 'lower'} is better)",
            row.score.replace("+-", "±"),
            row.protocol or "\N{EN DASH}",
            f"{row.paper}, {row.table}",
            row.note,
        )
        for row in rows
    ]
    return charts.Table(caption, _PUBLISHED, cells, frozenset({4}))


def _compared_score_section(runs: Sequence[Run]) -> Section:
    section = Section("scores", "Scores", "Scores")
    section.intro = (
        "The newest score of each run. Scores stand in one row where protocol, weights "
        "and real clips are the same, and in no other case."
    )
    newest: dict[str, dict[str, history.Score]] = collections.defaultdict(dict)
    for run in runs:
        for score in run.scores:
            before = newest[score.protocol].get(run.name)
            later = before is None or (score.step or 0) >= (before.step or 0)
            if score.truncation == 1.0 and later:
                newest[score.protocol][run.name] = score
    rows = []
    for of_runs_ in filter(None, newest.values()):
        one = next(iter(of_runs_.values()))
        cells = [
            f"{of_runs_[r.name]} (step {_step(of_runs_[r.name])})"
            if r.name in of_runs_
            else "\N{EN DASH}"
            for r in runs
        ]
        rows.append([one.name, *cells, _protocol(one.facts)])
    if rows:
        header = ["score", *(run.name for run in runs), "protocol"]
        numeric = frozenset(range(1, len(runs) + 1))
        section.tables.append(charts.Table("Scores", header, rows, numeric))
    flags = "--protocol=fid_small --weights=WEIGHTS --real=SHARDS"
    section.missing = [
        (
            f"{run.name} has no scores yet; they come with",
            run.command("tools.score", flags),
        )
        for run in runs
        if not run.scores
    ]
    return section


def _curve_section(runs: Sequence[Run]) -> Section:
    """All curves: of one run a chart for a panel, of several one for each line."""
    section = Section("curves", "Curves", "Curves")
    panels = dict.fromkeys(title for run in runs for title in run.panels)
    for title in panels:
        if len(runs) == 1:
            section.plots += _drawn(title, runs[0].panels[title])
            continue
        of_runs_ = {run.name: run.panels.get(title, {}) for run in runs}
        for line in dict.fromkeys(n for lines in of_runs_.values() for n in lines):
            curves = {n: lines[line] for n, lines in of_runs_.items() if line in lines}
            section.plots += _drawn(f"{title}: {line}", curves)
    if not section.plots:
        command = runs[0].command("tf_dvdgan.run", "--mode=train", "--data_dir=SHARDS")
        section.missing.append(
            ("There are no event files; training makes them:", command)
        )
    return section


def _speed_section(runs: Sequence[Run]) -> Section:
    section = Section("throughput", "Throughput", "Throughput")
    section.intro = "As it was while training, without samples, scores and checkpoints."
    for tag, title in (
        ("speed/clips_per_second", "Clips a second"),
        ("speed/seconds_per_step", "Seconds a step"),
    ):
        curves = {run.name: run.train[tag] for run in runs if tag in run.train}
        section.plots += _drawn(title, curves)
    if not section.plots:
        section.intro = ""
        section.missing.append(
            (
                "No speed was written down; this measures the parts of a step:",
                "python -m tools.benchmark --gin_file=FILE",
            )
        )
    return section


def _drawn(
    title: str, curves: dict[str, charts.Curve], x_label: str = "step"
) -> list[charts.Chart]:
    drawn = charts.chart(title, curves, x_label)
    return [drawn] if drawn else []


def _config_section(run: Run) -> Section:
    section = Section("config", "Config", "The config that was in use")
    if run.config:
        section.text = run.config.splitlines()
    else:
        command = run.command("tf_dvdgan.run", "--mode=train", "--data_dir=SHARDS")
        section.missing.append(
            ("No operative config was kept; starting writes it:", command)
        )
    return section


def _difference_section(runs: Sequence[Run]) -> Section:
    """Where configs differ."""
    section = Section("config", "Config", "What differs in the configs")
    of_runs_ = [history.bindings(run.config) for run in runs]
    names = dict.fromkeys(name for bindings in of_runs_ for name in bindings)
    rows = []
    for name in names:
        values = [bindings.get(name, "\N{EN DASH}") for bindings in of_runs_]
        if len(set(values)) > 1:
            rows.append([name, *values])
    if rows:
        header = ["parameter", *(run.name for run in runs)]
        section.tables.append(charts.Table("Parameters that differ", header, rows))
    else:
        section.intro = "Nothing that was in use differs."
    return section


def _render(title: str, subtitle: str, sections: Sequence[Section]) -> str:
    style, script = (
        markupsafe.Markup((_FOLDER / name).read_text(encoding="utf-8"))
        for name in ("page.css", "page.js")
    )
    # Nothing from elsewhere is loaded, and no script runs but the page's own.
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
        version=tf_dvdgan.__version__,
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
    """Names from data may hold what turns the direction of reading."""
    if isinstance(value, str) and not isinstance(value, markupsafe.Markup):
        return cli.printable(value)
    return value


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return "sha256-" + base64.b64encode(digest).decode()
