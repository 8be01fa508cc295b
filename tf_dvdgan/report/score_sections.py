"""Sections of scores: of one run, of several side by side, and of the papers."""

import collections
import statistics
from collections.abc import Sequence

from tf_dvdgan.evaluation.runs import protocols, published
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
    """The scores of a run and of the papers."""
    section = layout.Section("scores", "Scores", "Scores")
    section.intro = (
        "A score depends on its protocol: the number of clips, the weights and the "
        "resizing change it by more than most papers' improvements."
    )
    if not run.scores:
        _lack_scores(section, run, "fvd_unterthiner")
    rows = [_row(scores) for scores in _untruncated(run).values()]
    if rows:
        header = ["score", "newest", "step", "best", "step", "also", "protocol"]
        table = charts.Table("This run", header, rows, frozenset({1, 2, 3, 4}))
        section.tables.append(table)
    names = {score.name for score in run.scores}
    comparable = [row for row in published.rows() if row.protocol in names]
    if comparable:
        section.tables.append(_published("Papers, same protocols", comparable))
    elif run.scores:
        section.add_missing("No paper reports scores by these protocols.")
    caption = "All scores of the papers, with the comparable protocols"
    section.tables.append(_published(caption, published.rows(), folded=True))
    return section


def side_by_side(runs: Sequence[run_data.Run]) -> layout.Section:
    """The newest scores of several configs; those in one row are comparable."""
    section = layout.Section("scores", "Scores", "Scores")
    section.intro = (
        "The newest score of each run; for runs that differ only in their seed, mean "
        "and sample standard deviation. Scores are in one row only if protocol, "
        "weights and real clips are the same."
    )
    # By protocol, then by group.
    newest: dict[tuple[str, str], dict[str, list[history.Score]]] = {}
    groups = run_data.groups(runs)
    for group in groups:
        of_protocol = collections.defaultdict(list)
        for run in group.runs:
            for protocol, scores in _untruncated(run).items():
                of_protocol[protocol].append(scores)
        for protocol, of_runs in of_protocol.items():
            scores_of_group = newest.setdefault(protocol, {})
            scores_of_group[group.name] = _newest_of_seeds(of_runs)
    names = [group.name for group in groups]
    rows = [_row_of_groups(of_groups, names) for of_groups in newest.values()]
    if rows:
        header = ["score", *names, "protocol"]
        numeric = frozenset(range(1, len(names) + 1))
        section.tables.append(charts.Table("Scores", header, rows, numeric))
    for run in runs:
        if not run.scores:
            _lack_scores(section, run, "fid_small")
    return section


def _lack_scores(section: layout.Section, run: run_data.Run, protocol: str) -> None:
    command = run.score_command(protocol)
    section.add_missing(f"{run.name} has no scores yet; to compute one, run", command)


def _untruncated(run: run_data.Run) -> dict[tuple[str, str], list[history.Score]]:
    """A run's scores at truncation 1, by protocol."""
    return history.by_protocol([s for s in run.scores if s.truncation == 1.0])


def _row(scores: Sequence[history.Score]) -> list[str]:
    """A table row: newest and best of the scores by one protocol."""
    newest = history.newest(scores)
    lower = newest.metadata.get("metric") == protocols.FRECHET
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
        _protocol(newest.metadata),
    ]


def _row_of_groups(
    scores: dict[str, list[history.Score]], names: Sequence[str]
) -> list[str]:
    """A table row: the scores of each group by one protocol."""
    cells = {name: _of_seeds(of_group) for name, of_group in scores.items()}
    first = next(iter(scores.values()))[0]
    values = [cells.get(name, charts.NOTHING) for name in names]
    return [first.name, *values, _protocol(first.metadata)]


def _newest_of_seeds(of_runs: Sequence[list[history.Score]]) -> list[history.Score]:
    """A score per run: of the last step that all have, or else the newest."""
    steps = set.intersection(*({s.step for s in scores} for scores in of_runs))
    if steps:
        last = max(steps, key=lambda step: step or 0)
        of_runs = [[s for s in scores if s.step == last] for scores in of_runs]
    return [history.newest(scores) for scores in of_runs]


def _of_seeds(scores: Sequence[history.Score]) -> str:
    """A score, or mean and standard deviation of several."""
    steps = ", ".join(dict.fromkeys(_step(score) for score in scores))
    if len(scores) == 1:
        return f"{scores[0]} (step {steps})"
    values = [score.value for score in scores]
    spread = f"{statistics.mean(values):.4g} ± {statistics.stdev(values):.2g}"
    return f"{spread} ({len(values)} seeds, step {steps})"


def _step(score: history.Score) -> str:
    return charts.NOTHING if score.step is None else f"{score.step:,}"


def _protocol(metadata: dict) -> str:
    """Describes everything that a score depends on.

    Args:
      metadata: settings of the score; earlier versions wrote fewer.
    """
    side = history.real_side(metadata)
    real = metadata.get(side) or {}
    frames, stride = metadata.get("num_frames"), metadata.get("stride")
    num_real = metadata.get(f"num_{side}") or real.get("num_clips") or "all"
    split = (real or metadata).get("split")
    parts = [
        " by ".join(filter(None, [_metric(metadata), _network(metadata)])),
        metadata.get("preprocessing"),
        f"{metadata.get('num_generated')} generated against {num_real} real clips"
        + (f" ({split})" if split else ""),
        f"{frames} frames, stride {stride}" if frames else "",
        f"comparable with {metadata.get('compares_with')}",
    ]
    return "; ".join(filter(None, parts))


def _metric(metadata: dict) -> str:
    return metadata.get("metric", "").replace("_", " ")


def _network(metadata: dict) -> str:
    """A network and its weights; pixels have no weights, some metrics no network."""
    weights, network = metadata.get("weights") or {}, metadata.get("network", "")
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
