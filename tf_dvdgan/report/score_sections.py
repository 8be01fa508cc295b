"""Sections of scores: a run's, several runs' side by side, those that papers print."""

import collections
from collections.abc import Sequence

from tf_dvdgan.evaluation import protocols, published
from tf_dvdgan.report import charts, history, layout, run_data

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


def of_run(run: run_data.Run) -> layout.Section:
    """A run's scores, and those of papers."""
    section = layout.Section("scores", "Scores", "Scores")
    section.intro = (
        "A score stands with its protocol: another number of clips, other weights or "
        "another resize move it further than most papers' improvements."
    )
    if not run.scores:
        _lack_scores(section, run, "fvd_unterthiner")
    rows = [_row(scores) for scores in _untruncated(run).values()]
    if rows:
        header = ["score", "newest", "step", "best", "step", "also", "protocol"]
        table = charts.Table("This run", header, rows, frozenset({1, 2, 3, 4}))
        section.tables.append(table)
    names = {score.name for score in run.scores}
    theirs = [row for row in published.rows() if row.protocol in names]
    if theirs:
        section.tables.append(_published("Papers, by the same protocols", theirs))
    elif run.scores:
        section.lack("No paper prints scores by these protocols.")
    caption = "All that the papers print, with the protocols that compare"
    section.tables.append(_published(caption, published.rows(), folded=True))
    return section


def side_by_side(runs: Sequence[run_data.Run]) -> layout.Section:
    """The newest scores of several runs, where they may be compared in one row."""
    section = layout.Section("scores", "Scores", "Scores")
    section.intro = (
        "The newest score of each run. Scores stand in one row where protocol, weights "
        "and real clips are the same, and in no other case."
    )
    newest = collections.defaultdict(dict)  # of each protocol a score for each run
    for run in runs:
        for protocol, scores in _untruncated(run).items():
            newest[protocol][run.name] = history.newest(scores)
    names = [run.name for run in runs]
    rows = [_row_of_runs(of_runs, names) for of_runs in newest.values()]
    if rows:
        header = ["score", *names, "protocol"]
        numeric = frozenset(range(1, len(runs) + 1))
        section.tables.append(charts.Table("Scores", header, rows, numeric))
    for run in runs:
        if not run.scores:
            _lack_scores(section, run, "fid_small")
    return section


def _lack_scores(section: layout.Section, run: run_data.Run, protocol: str) -> None:
    command = run.score_command(protocol)
    section.lack(f"{run.name} has no scores yet; they come with", command)


def _untruncated(run: run_data.Run) -> dict[tuple[str, str], list[history.Score]]:
    """A run's scores at truncation 1, by protocol."""
    return history.by_protocol([s for s in run.scores if s.truncation == 1.0])


def _row(scores: Sequence[history.Score]) -> list[str]:
    """The newest and the best of scores by one protocol."""
    newest = history.newest(scores)
    lower = newest.facts.get("metric") == protocols.FRECHET
    best = (min if lower else max)(scores, key=lambda score: score.value)
    also = [f"{n.replace('_', ' ')} {v:.4g}" for n, v in newest.others.items()]
    if newest.error is not None:
        also.insert(0, f"standard error {newest.error:.2g}")
    return [
        newest.name,
        str(newest),
        _step(newest),
        f"{best.value:.4g}",
        _step(best),
        ", ".join(also),
        _protocol(newest.facts),
    ]


def _row_of_runs(scores: dict[str, history.Score], names: Sequence[str]) -> list[str]:
    """Scores by one protocol, of those of the runs that have one."""
    cells = {name: f"{s} (step {_step(s)})" for name, s in scores.items()}
    one = next(iter(scores.values()))
    values = [cells.get(name, charts.NOTHING) for name in names]
    return [one.name, *values, _protocol(one.facts)]


def _step(score: history.Score) -> str:
    return charts.NOTHING if score.step is None else f"{score.step:,}"


def _protocol(facts: dict) -> str:
    """What fixes a score's value, for a reader.

    Args:
      facts: of `tools.score`, or of an evaluated step, which name other things.
    """
    window, real = facts.get("window") or {}, facts.get("real") or {}
    frames = facts.get("num_frames") or window.get("num_frames")
    stride = facts.get("stride") or window.get("stride")
    num_real = facts.get("num_real") or real.get("num_clips") or "all"
    split = (real or facts).get("split")
    parts = [
        " by ".join(filter(None, [_metric(facts), _network(facts)])),
        facts.get("preprocessing"),
        f"{facts.get('num_generated')} generated against {num_real} real clips"
        + (f" ({split})" if split else ""),
        f"{frames} frames, stride {stride}" if frames else "",
        f"compares with {facts.get('compares_with')}",
    ]
    return "; ".join(filter(None, parts))


def _metric(facts: dict) -> str:
    return facts.get("metric", "").replace("_", " ")


def _network(facts: dict) -> str:
    """A network and its weights; pixels have none, and some metrics no network."""
    weights, network = facts.get("weights") or {}, facts.get("network", "")
    if "hash" not in weights:
        return network
    return f"{network} ({weights.get('source', '')}, {weights['hash'][:12]})"


def _published(
    caption: str, rows: Sequence[published.Row], folded: bool = False
) -> charts.Table:
    cells = [
        (
            row.method,
            row.dataset,
            row.clip,
            f"{row.metric} ({'higher' if row.better == 'up' else 'lower'} is better)",
            row.score.replace("+-", "±"),
            row.protocol or charts.NOTHING,
            f"{row.paper}, {row.table}",
            row.note,
        )
        for row in rows
    ]
    return charts.Table(caption, _PUBLISHED, cells, frozenset({4}), folded)
