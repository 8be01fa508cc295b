"""Sections of what a generator makes: by class, by weights, between, from the data."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tf_dvdgan import errors, terminal
from tf_dvdgan.evaluation import scoring
from tf_dvdgan.report import films, history, layout, nearest, run_data

_SHEETS = {"samples_raw": "Raw", "samples_ema": "Moving average"}
_LIKENESS = {  # by the network that looks
    "pixels": "a few averaged pixels of a few frames",
    "small_classifier": "the features of the small classifier",
}


def samples(runs: Sequence[run_data.Run], data_dir: str | None) -> layout.Section:
    """Samples by class; of several runs from the same latents, side by side."""
    section = layout.Section("samples", "Samples", "Samples by class")
    for run in runs:
        if not run.makes_samples:
            _lack_generator(section, run)
    shown = [run for run in runs if run.makes_samples]
    if not shown:
        return section
    names = [n for n in shown[0].samples if all(n in run.samples for run in shown)]
    if not names:
        section.lack("The runs have no class in common.")
        return section
    real = {}
    if data_dir:
        real = _real_clips(shown[0], data_dir, names)
    else:
        section.lack("Real clips stand beside these with", _command_with_data(runs))
    section.intro = (
        f"{films.OF_CLASS} samples of each class, truncation 1, from the same latents "
        f"in every class (seed {films.SEED}); weights are the moving average."
    )
    section.cards = [_class_card(name, shown, real.get(name)) for name in names]
    if len(shown) > 1:
        section.size = "large"
    elif not real:
        section.size = "small"
    return section


def _lack_generator(section: layout.Section, run: run_data.Run) -> None:
    if run.step is None:
        section.lack(
            f"{run.name} has no checkpoint to sample yet; training makes them:",
            run.training_command,
        )
        return
    section.lack(
        f"{run.name} is an autoencoder: it gives whole clips back, and makes none "
        "of latents. Samples of codes like those of real clips come with",
        run.command("tools.sample", "--output=SAMPLES"),
    )


def _real_clips(
    run: run_data.Run, data_dir: str, names: Sequence[str]
) -> dict[str, np.ndarray]:
    with terminal.clock("Real clips"):
        by_class = run.generator.gan.class_conditional
        return films.real_clips(data_dir, run.generator.window, names, by_class)


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
    """The run's own sheets: what averaging does to samples."""
    section = layout.Section(
        "weights", "Raw and averaged", "Raw weights against their average"
    )
    sheets = [history.sheet(run.model_dir, kind, run.step) for kind in _SHEETS]
    if None in sheets:
        section.lack(
            "The run has no sheets of samples so far; training makes them, every "
            "training.Schedule.samples_every steps:",
            run.training_command,
        )
        return section
    shown = []
    for label, (step, path) in zip(_SHEETS.values(), sheets, strict=True):
        alt = f"Samples, a class a row, step {step}: {label.lower()} weights."
        shown.append(films.of_gif(path, alt, label))
    section.intro = "Samples of the same latents, made while the run was trained."
    section.cards = [films.Card(f"Step {sheets[-1][0]:,}", shown)]
    section.size = "single"
    return section


def interpolations(run: run_data.Run) -> layout.Section:
    """Between latents and between classes."""
    section = layout.Section("interpolations", "Interpolations", "Interpolations")
    section.intro = "What a generator has learnt changes step by step, without jumps."
    section.size = "large"
    if not run.makes_samples:
        _lack_generator(section, run)
        return section
    with terminal.clock("Interpolations"):
        names = films.shown_classes(run.generator.class_names)
        section.cards = films.interpolations(run.generator, names)
    return section


def neighbours(
    run: run_data.Run, data_dir: str | None, weights: Sequence[str]
) -> layout.Section:
    """Whether generated clips are memorized training clips."""
    section = layout.Section("neighbours", "Neighbours", "Nearest training clips")
    section.size = "large"
    if not run.makes_samples:
        _lack_generator(section, run)
        return section
    if not data_dir:
        section.lack(
            "Training clips are looked through with", _command_with_data([run])
        )
        return section
    judge = _judge(run, weights)
    window = run.generator.window
    section.cards = nearest.cards(run.samples, data_dir, window, judge)
    section.intro = (
        "A generator that replays its data shows the same clip twice here. Likeness "
        f"is by {_LIKENESS[judge.protocol.network]}, among the first {nearest.BANK:,} "
        "training clips at the most."
    )
    return section


def _judge(run: run_data.Run, weights: Sequence[str]) -> scoring.Judge:
    """By the weights that are given; else by the run's, if they still are there."""
    if weights:
        return nearest.judge_of(weights)
    there = [path for path in run.plan.weights if tf.io.gfile.exists(path)]
    try:
        return nearest.judge_of(there)
    except errors.UserError:  # of other networks
        return nearest.judge_of(())
