"""Sections of the runs' metadata and configs."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tf_dvdgan import generators
from tf_dvdgan.report import charts, history, layout, run_data

_LISTED_CLASSES = 24


def subtitle(run: run_data.Run) -> str:
    """One line about the run: model, data set and size of its videos."""
    if not run.generator:
        return run.dataset
    model, data = run.generator.metadata["model"], run.dataset or "unnamed data"
    text = f"{model} on {data}: {_size(run.generator)}"
    if run.generator.gan.class_conditional:
        text += f", {len(run.generator.class_names)} classes"
    return text


def of_run(run: run_data.Run) -> layout.Section:
    """A run's metadata: data set, model, throughput."""
    return layout.Section(
        "run", "Run", "The run", metadata=list(_metadata(run).items())
    )


def side_by_side(runs: Sequence[run_data.Run]) -> layout.Section:
    """Metadata of several runs, one entry per row."""
    metadata = {run.name: _metadata(run) for run in runs}
    table = _compared("Overview of the runs", "", metadata)
    return layout.Section("run", "Runs", "The runs", tables=[table])


def config(run: run_data.Run) -> layout.Section:
    """The operative config."""
    section = layout.Section("config", "Config", "Operative config")
    section.text = run.config.splitlines()
    if not run.config:
        section.add_missing(
            "There is no operative config; training writes it:", run.training_command
        )
    return section


def config_differences(runs: Sequence[run_data.Run]) -> layout.Section:
    """Parameters whose values differ between the runs' operative configs."""
    section = layout.Section("config", "Config", "Differences between the configs")
    bindings = {run.name: history.bindings(run.config) for run in runs}
    table = _compared("Parameters that differ", "parameter", bindings)
    rows = [row for row in table.rows if len(set(row[1:])) > 1]
    if rows:
        section.tables = [charts.Table(table.caption, table.header, rows)]
    else:
        section.intro = "The operative configs are equal."
    return section


def _compared(
    caption: str, heading: str, of_runs: dict[str, dict[str, str]]
) -> charts.Table:
    """A row for each name that has a value in any of the runs."""
    names = dict.fromkeys(name for values in of_runs.values() for name in values)
    rows = [
        [name, *(values.get(name, charts.NOTHING) for values in of_runs.values())]
        for name in names
    ]
    return charts.Table(caption, [heading, *of_runs], rows)


def _metadata(run: run_data.Run) -> dict[str, str]:
    metadata = {
        "Data set": run.dataset or "unnamed",
        "Trained for": f"{run.trained_steps:,} steps" if run.train else "",
        "Throughput": _throughput(run),
        "Processor": run.environment.get("processor", ""),
        "oneDNN": run.environment.get("oneDNN", ""),
    }
    if run.generator:
        metadata |= _model_metadata(run.generator)
    return {name: value for name, value in metadata.items() if value}


def _throughput(run: run_data.Run) -> str:
    tags = "speed/seconds_per_step", "speed/clips_per_second"
    if not all(tag in run.train for tag in tags):
        return ""
    seconds, clips = (np.median(run.train[tag].y) for tag in tags)
    return f"{seconds:.3g} s per step, {clips:.3g} clips per second (medians)"


def _model_metadata(generator: generators.RunGenerator) -> dict[str, str]:
    gan, conditioning = generator.gan, generator.num_conditioning_frames
    video = f"{_size(generator)}, stride {generator.stride}"
    metadata = {
        "This page shows": f"step {generator.metadata['step']:,}",
        "Video": video
        + (f", {conditioning} conditioning frames" if conditioning else ""),
        "Latent": f"{generator.latent.size} dimensions",
        "Generator": f"{generator.metadata['model']}, {_parameters(gan.generator)}",
    }
    for discriminator in gan.discriminators:
        name = discriminator.name.replace("_", " ").capitalize()
        metadata[name] = _parameters(discriminator)
    metadata["Weights"] = (
        f"{generator.metadata['weights'][:12]} (SHA-256, moving average)"
    )
    if gan.class_conditional:
        names = generator.class_names
        listed = ", ".join(names[:_LISTED_CLASSES])
        if len(names) > _LISTED_CLASSES:
            listed += f" and {len(names) - _LISTED_CLASSES} more"
        metadata[f"{len(names)} classes"] = listed
    return metadata


def _size(generator: generators.Generator) -> str:
    side = generator.resolution
    return f"{generator.num_frames} frames of {side}x{side} pixels"


def _parameters(network: tf.keras.Model) -> str:
    count = sum(v.shape.num_elements() for v in network.trainable_variables)
    return f"{count:,} parameters"
