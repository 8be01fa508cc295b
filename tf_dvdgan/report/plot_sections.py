"""Sections of charts: over steps, truncations and labeled clips."""

from collections.abc import Mapping, Sequence

import numpy as np

from tf_dvdgan import terminal
from tf_dvdgan.report import charts, films, history, layout, run_data

_SPEEDS = {
    "speed/clips_per_second": "Clips per second",
    "speed/seconds_per_step": "Seconds per step",
}


def truncation(runs: Sequence[run_data.Run]) -> layout.Section:
    """Scores by truncation; for a single run also samples."""
    section = layout.Section("truncation", "Truncation", "Truncation")
    section.intro = (
        "Latents are multiplied by the truncation: below 1, samples are closer to the "
        "mean and less diverse. Standing statistics are computed for each truncation."
    )
    # By protocol, then by run.
    curves: dict[tuple[str, str], dict[str, charts.Curve]] = {}
    for run in runs:
        for protocol, curve in _over_truncations(run).items():
            curves.setdefault(protocol, {})[run.name] = curve
    groups = run_data.groups(runs)
    for (name, _), of_runs in curves.items():
        drawn = _by_group(groups, of_runs)
        section.plot(f"{name} by truncation", drawn, "truncation")
    if not curves:
        command = runs[0].score_command("fid_small", "--truncations=0.2,0.4,0.6,0.8,1")
        section.add_missing(
            "There are no scores by truncation yet; to compute them, run", command
        )
    if len(runs) == 1 and runs[0].makes_samples:
        generator = runs[0].sample_generator
        with terminal.clock("Samples by truncation"):
            names = films.shown_classes(generator.class_names)
            section.cards = films.truncation_sheet(generator, names)
        section.size = "small"
    return section


def _over_truncations(run: run_data.Run) -> dict[tuple[str, str], charts.Curve]:
    """Curves of the shown step, by protocol with scores at several truncations."""
    found = {}
    scores = [score for score in run.scores if score.step == run.step]
    for protocol, comparable in history.by_protocol(scores).items():
        points = {score.truncation: score.value for score in comparable}
        if len(points) > 1:
            x = np.array(sorted(points))
            found[protocol] = charts.Curve(x, np.array([points[t] for t in x]))
    return found


def curves(runs: Sequence[run_data.Run]) -> layout.Section:
    """All scalars: a chart per panel for one run, a chart per line for several."""
    section = layout.Section("curves", "Curves", "Curves")
    groups = run_data.groups(runs)
    for title in dict.fromkeys(title for run in runs for title in run.panels):
        # Distances fall from hundreds to a few, and these are what counts.
        is_score = title.endswith(history.BY_STEP)
        if len(runs) == 1:
            section.plot(title, runs[0].panels[title], may_be_logarithmic=is_score)
            continue
        of_runs = {run.name: run.panels.get(title, {}) for run in runs}
        for line in dict.fromkeys(n for lines in of_runs.values() for n in lines):
            drawn = {n: lines[line] for n, lines in of_runs.items() if line in lines}
            section.plot(
                f"{title}: {line}",
                _by_group(groups, drawn),
                may_be_logarithmic=is_score,
            )
    if any(len(group.runs) > 1 for group in groups):
        section.intro = (
            "Runs that differ only in their seed are shown as their mean, with a band "
            "of one sample standard deviation on either side, at the steps that all of "
            "them have."
        )
    if not section.plots:
        command = runs[0].training_command
        section.add_missing("There are no event files; training writes them:", command)
    return section


def classification(run: run_data.Run) -> layout.Section | None:
    """Action recognition with the discriminator; None if it was not evaluated."""
    section = layout.Section(
        "actions", "Actions", "Action recognition with the discriminator"
    )
    for title, lines in history.classification(run.model_dir).items():
        section.plot(title, lines, "labeled clips")
    section.intro = "Accuracy on the test split, measured by tools.classify."
    return section if section.plots else None


def _by_group(
    groups: Sequence[run_data.Group], curves: Mapping[str, charts.Curve]
) -> dict[str, charts.Curve]:
    """Averages the curves of each group's runs."""
    found = {}
    for group in groups:
        own = [curves[run.name] for run in group.runs if run.name in curves]
        curve = charts.mean(own) if own else None
        if curve is not None:
            found[group.name] = curve
    return found


def throughput(runs: Sequence[run_data.Run]) -> layout.Section:
    """Training speed."""
    section = layout.Section("throughput", "Throughput", "Throughput")
    for tag, title in _SPEEDS.items():
        drawn = {run.name: run.train[tag] for run in runs if tag in run.train}
        section.plot(title, drawn)
    if section.plots:
        section.intro = "Training steps only, without samples, scores and checkpoints."
    else:
        section.add_missing(
            "There is no record of the speed; to time the parts of a step, run",
            run_data.command("tools.benchmark", "--gin_file=FILE"),
        )
    return section
