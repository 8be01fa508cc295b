"""Sections of videos: samples, interpolations, nearest training clips."""

from collections.abc import Sequence

import numpy as np

from tf_dvdgan import errors, pretrained, run_directory, terminal
from tf_dvdgan.data import filesystem
from tf_dvdgan.evaluation.runs import feature_metric
from tf_dvdgan.report import films, layout, nearest, run_data

_SHEETS = {"samples_raw": "Raw", "samples_ema": "Moving average"}
_COMPARED_FEATURES = {  # by network
    "pixels": "a few averaged pixels of a few frames",
    "small_classifier": "the features of the small classifier",
}


def samples(runs: Sequence[run_data.Run], data_dir: str | None) -> layout.Section:
    """Shows samples of each class, and real clips beside them.

    Args:
      runs: shown side by side, with samples from the same latents.
      data_dir: prepared shards of the real clips; None shows none.

    Returns:
      The section; it names the commands that create what is missing.
    """
    section = layout.Section("samples", "Samples", "Samples by class")
    for run in runs:
        if not run.makes_samples:
            _lack_generator(section, run)
    shown = [run for run in runs if run.makes_samples]
    if not shown:
        return section
    names = [n for n in shown[0].samples if all(n in run.samples for run in shown)]
    if not names:
        section.add_missing("The runs have no class in common.")
        return section
    real = {}
    if data_dir:
        real = _real_clips(shown[0], data_dir, names)
    else:
        section.add_missing(
            "To show real clips beside the samples, run", _command_with_data(runs)
        )
    section.intro = (
        f"{films.OF_CLASS} samples of each class at truncation 1. All classes share "
        f"the same latents (seed {films.SEED}). The weights are the moving average."
    )
    section.cards = [_class_card(name, shown, real.get(name)) for name in names]
    if len(shown) > 1:
        section.size = "large"
    elif not real:
        section.size = "small"
    return section


def _lack_generator(section: layout.Section, run: run_data.Run) -> None:
    if run.step is None:
        section.add_missing(
            f"{run.name} has no checkpoint yet; training creates one:",
            run.training_command,
        )
        return
    section.add_missing(
        f"{run.name} is an autoencoder: it reconstructs clips and does not sample "
        "latents. To decode random codes similar to those of real clips, run",
        run.command("tools.sample", "--output=SAMPLES"),
    )


def _real_clips(
    run: run_data.Run, data_dir: str, names: Sequence[str]
) -> dict[str, np.ndarray]:
    with terminal.clock("Real clips"):
        generator = run.sample_generator
        by_class = generator.gan.class_conditional
        return films.real_clips(data_dir, generator.window, names, by_class)


def _command_with_data(runs: Sequence[run_data.Run]) -> str:
    if len(runs) == 1:
        return runs[0].command("tools.report", "--data_dir=SHARDS")
    compared = [f"--compare={run.model_dir}" for run in runs]
    return run_data.command(
        "tools.report", *compared, "--data_dir=SHARDS", "--output=PAGE"
    )


def _class_card(
    name: str, runs: Sequence[run_data.Run], real: np.ndarray | None
) -> films.Card:
    shown = []
    for run in runs:
        clips = run.samples[name]
        label = "Generated" if real is not None else ""
        label = run.name if len(runs) > 1 else label
        alt = f"{len(clips)} generated clips of {name}, {run.name}."
        shown.append(films.film(clips, 2, alt, label))
    if real is not None:
        alt = f"{len(real)} real clips of {name}."
        shown.append(films.film(real, 2, alt, "Real"))
    return films.Card(name, shown)


def raw_and_averaged(run: run_data.Run) -> layout.Section:
    """The run's own sample sheets: raw weights beside their moving average."""
    section = layout.Section("weights", "Raw and averaged", "Raw and averaged weights")
    directory = run_directory.RunDirectory(run.model_dir)
    newest = [directory.newest_sheet(kind, run.step) for kind in _SHEETS]
    sheets = [sheet for sheet in newest if sheet is not None]
    if len(sheets) < len(_SHEETS):
        section.add_missing(
            "The run has no sample sheets yet; training writes one every "
            "training.Schedule.samples_every steps:",
            run.training_command,
        )
        return section
    shown = []
    for label, (step, path) in zip(_SHEETS.values(), sheets, strict=True):
        alt = f"Samples at step {step}, one class per row; weights: {label.lower()}."
        shown.append(films.of_gif(path, alt, label))
    section.intro = "Samples from the same latents, generated during training."
    section.cards = [films.Card(f"Step {sheets[-1][0]:,}", shown)]
    section.size = "single"
    return section


def interpolations(run: run_data.Run) -> layout.Section:
    """Interpolations between latents and between classes."""
    section = layout.Section("interpolations", "Interpolations", "Interpolations")
    section.intro = (
        "Interpolations of a well-trained generator change gradually, without jumps."
    )
    section.size = "large"
    if not run.makes_samples:
        _lack_generator(section, run)
        return section
    with terminal.clock("Interpolations"):
        generator = run.sample_generator
        names = films.shown_classes(generator.class_names)
        section.cards = films.interpolations(generator, names)
    return section


def neighbors(
    run: run_data.Run, data_dir: str | None, weights: Sequence[str]
) -> layout.Section:
    """Shows generated clips beside their nearest training clips.

    Args:
      run: the run.
      data_dir: prepared shards of the training clips; None shows none.
      weights: weights files of the small classifier. If empty, those of the run's
        config are used, or else pixels.

    Returns:
      The section; it names the commands that create what is missing.
    """
    section = layout.Section("neighbors", "Neighbors", "Nearest training clips")
    section.size = "large"
    if not run.makes_samples:
        _lack_generator(section, run)
        return section
    if not data_dir:
        section.add_missing(
            "To find the nearest training clips, run", _command_with_data([run])
        )
        return section
    metric = _metric(run, weights)
    window = run.sample_generator.window
    section.cards = nearest.cards(run.samples, data_dir, window, metric)
    section.intro = (
        "A generator that memorizes shows nearly the same clip twice here. Distances "
        f"are between {_COMPARED_FEATURES[metric.protocol.network]}; at most the first "
        f"{nearest.BANK:,} training clips are searched."
    )
    return section


def _metric(run: run_data.Run, weights: Sequence[str]) -> feature_metric.FeatureMetric:
    """Uses the given weights, or else those of the run's config that still exist."""
    if weights:
        return nearest.metric_of(weights)
    paths = map(pretrained.resolve, run.plan.weights)
    existing = [path for path in paths if filesystem.exists(path)]
    try:
        return nearest.metric_of(existing)
    except errors.UserError:  # only weights of other networks
        return nearest.metric_of(())
