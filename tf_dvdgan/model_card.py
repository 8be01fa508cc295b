"""Writes a model's card: what it is, what it was trained on, how good it is.

The card is Markdown with the front matter that model hubs read (Mitchell et al., 2019,
for its contents). A run does not know the license of its data; if the caller does not
either, it is left to be filled in.
"""

import datetime
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tf_dvdgan import generators, run_directory, terminal, trained, version
from tf_dvdgan.report import history

_PAPERS = {  # by module
    "dvd_gan": "DVD-GAN (Clark, Donahue and Simonyan, 2019, arXiv:1907.06571)",
    "dvd_gan_fp": "DVD-GAN-FP (Clark, Donahue and Simonyan, 2019, arXiv:1907.06571)",
    "mvt_gan": "MVT-GAN (Munoz, Zolfaghari, Argus and Brox, 2020)",
    "vgan": "VGAN (Vondrick, Pirsiavash and Torralba, 2016)",
    "custom": "custom generator",
}
_TRAINING = {  # operative parameters, by title
    "batch size": "BATCH_SIZE",
    "width multiplier": "CH",
    "generator's learning rate": "trainer.build.generator_learning_rate",
    "discriminators' learning rate": "trainer.build.discriminator_learning_rate",
    "discriminator updates per step": "trainer.build.num_d_steps",
    "augmentation": "trainer.build.augmentation",
    "precision": "video_gan.build.precision",
    "seed": "trainer.build.seed",
}
_CLASSES_SHOWN = 20


def write(
    model: trained.TrainedModel,
    model_dir: str | None,
    name: str = "",
    data_name: str = "",
    data_license: str = "",
) -> str:
    """Writes the card of a model.

    Args:
      model: the model.
      model_dir: directory of its run; None for a model without one.
      name: name of the model, for the title; by default that of the network.
      data_name: name of the training data; by default the run's, which is that of the
        layout if the data were prepared from a folder.
      data_license: identifier of the license of the training data, such as
        "apache-2.0", under which the weights are then, too; '' if unknown.

    Returns:
      Markdown with front matter.
    """
    described = generators.describe(model)
    run = run_directory.RunDirectory(model_dir) if model_dir else None
    scores = _scores(model_dir, model.step)
    module = described["metadata"]["model"].partition(".")[0]
    name = name or f"{_PAPERS[module].partition(' (')[0]}, step {model.step}"
    dataset = _printable(data_name or (run.dataset if run else ""))
    sections = [
        _front_matter(module, name, dataset, scores, data_license),
        f"# {name}",
        _summary(model, module, dataset),
        "## Model",
        _table(_metadata(model, described)),
        "## Data and training",
        _table(_training(run, model, dataset)),
        "## Scores",
        _score_table(scores),
        "## How to use it",
        _usage(model),
        "## Intended use and limits",
        _limits(model, scores),
        "## License",
        "The code is licensed under Apache-2.0. The license of the training data, "
        "which may restrict the use of weights and videos: "
        f"{data_license or '**to be filled in**'}.",
    ]
    return "\n\n".join(sections) + "\n"


def _front_matter(
    module: str,
    name: str,
    dataset: str,
    scores: Sequence[history.Score],
    data_license: str,
) -> str:
    """YAML; a JSON value is one of YAML, too."""
    tags = ["video-generation", "gan", "tensorflow", module.replace("_", "-")]
    results = {
        "task": {"type": "video-generation"},
        "dataset": {"name": dataset or "unknown", "type": dataset or "unknown"},
        "metrics": [
            {"type": score.name, "name": score.name, "value": round(score.value, 4)}
            for score in scores
        ],
    }
    entries: dict[str, Any] = {
        "library_name": "tf_dvdgan",
        "license": data_license or "unknown",
        "tags": tags,
    }
    if scores:
        entries["model-index"] = [{"name": name, "results": [results]}]
    lines = [f"{key}: {json.dumps(value)}" for key, value in entries.items()]
    return "\n".join(["---", *lines, "---"])


def _summary(model: trained.TrainedModel, module: str, dataset: str) -> str:
    window, generator = model.window, model.gan.generator
    given = generator.num_conditioning_frames
    what = "generates videos"
    if given:
        what = f"continues {given} frame{'s' if given > 1 else ''} of a video"
    classes = (
        f" of {len(model.class_names)} classes" if generator.num_classes > 1 else ""
    )
    of = f", trained on {dataset}" if dataset else ""
    return (
        f"A {_PAPERS[module]} that {what}{classes}{of}: {window.num_frames} frames of "
        f"{window.resolution}x{window.resolution} pixels. Made with "
        f"tf_dvdgan {version.__version__}."
    )


def _metadata(
    model: trained.TrainedModel, described: Mapping[str, Any]
) -> dict[str, object]:
    window, generator = model.window, model.gan.generator
    names = [_printable(name) for name in model.class_names]
    classes = ", ".join(names[:_CLASSES_SHOWN])
    classes += ", ..." if len(names) > _CLASSES_SHOWN else ""
    count = sum(int(np.prod(w.shape)) for w in generator.trainable_variables)
    return {
        "network": described["metadata"]["model"],
        "parameters": f"{count:,}",
        "videos": f"{window.num_frames} frames, {window.resolution}x"
        f"{window.resolution} pixels, RGB",
        "frames taken": f"one of every {window.stride}" if window.stride > 1 else "all",
        "given frames": generator.num_conditioning_frames or "none",
        "classes": classes if generator.num_classes > 1 else "none",
        "latent": " + ".join(map(str, model.gan.latent.sizes)),
        "weights": f"moving average; SHA-256 {described['metadata']['weights']}",
    }


def _training(
    run: run_directory.RunDirectory | None,
    model: trained.TrainedModel,
    dataset: str,
) -> dict[str, object]:
    rows: dict[str, object] = {
        "data set": dataset or "unknown",
        "training clips": "unknown",
        "steps": f"{model.step:,}",
        "date of the card": datetime.date.today().isoformat(),
        "TensorFlow": tf.__version__,
    }
    if run is None:
        return rows
    if run.num_clips is not None:
        rows["training clips"] = f"{run.num_clips:,}"
    origin = (run.read_model() or {}).get("initialized_from")
    if origin:
        rows["initialized from"] = json.dumps(origin)
    bindings = history.bindings(run.read_operative_config(model.step))
    for title, parameter in _TRAINING.items():
        if parameter in bindings:
            rows[title] = f"`{bindings[parameter]}`"
    return rows


def _scores(model_dir: str | None, step: int) -> list[history.Score]:
    """The newest score of each protocol and truncation at a step."""
    found = {}
    for score in history.scores(model_dir) if model_dir else ():
        if score.step == step:
            found[score.name, score.truncation] = score
    return list(found.values())


def _score_table(scores: Sequence[history.Score]) -> str:
    if not scores:
        return "None were recorded for this step."
    lines = [
        "| protocol | truncation | score | real, generated clips | network | also |",
        "|---|---:|---:|---:|---|---|",
    ]
    for score in scores:
        metadata = score.metadata
        counts = f"{metadata.get('num_real')}, {metadata.get('num_generated')}"
        digest = metadata.get("weights", {}).get("hash", "")[:12]
        also = ", ".join(f"{name} {value:.3g}" for name, value in score.others.items())
        cells = [
            score.name,
            f"{score.truncation:g}",
            str(score),
            counts,
            f"{metadata.get('network') or 'none'} {digest}".strip(),
            also,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "A score compares only with scores by the same protocol, network and counts; "
        "docs/evaluation.md of tf_dvdgan describes the protocols.",
    ]
    return "\n".join(lines)


def _usage(model: trained.TrainedModel) -> str:
    generator = model.gan.generator
    inputs = ["truncation=tf.constant(1.0)", "seed=tf.constant(0)"]
    call = "gan.sample(16)"
    if generator.num_classes > 1:
        inputs.insert(0, "label=tf.constant(0)")
        call = f"gan.sample(16, class_name={_printable(model.class_names[0])!r})"
    given, side = generator.num_conditioning_frames, generator.resolution
    if given:
        inputs.insert(0, "frames=frames")
        call = f"gan.predict_frames(frames)  # [{given}, {side}, {side}, 3] uint8"
    else:
        inputs.insert(0, "count=tf.constant(16)")
    return "\n".join(
        [
            "With tf_dvdgan:",
            "",
            "```python",
            "import tf_dvdgan as dvd",
            "",
            "gan = dvd.load('FOLDER')",
            f"videos = {call}",
            "```",
            "",
            "With TensorFlow alone, from a SavedModel:",
            "",
            "```python",
            "import tensorflow as tf",
            "",
            "generate = tf.saved_model.load('FOLDER').signatures['generate']",
            f"videos = generate({', '.join(inputs)})['videos']  # uint8",
            "```",
        ]
    )


def _limits(model: trained.TrainedModel, scores: Sequence[history.Score]) -> str:
    lines = [
        "Meant for research on video generation, and for comparison with other models. "
        "It makes only videos of the size above, in the manner of its training data, "
        "with their gaps and biases; it is not a source of truth about what they show. "
        "Say that the videos are generated wherever they are shown.",
    ]
    rates = [s.others["memorization"] for s in scores if "memorization" in s.others]
    if rates:
        lines.append(
            f"Memorization: {max(rates):.1%} of its videos are nearer to a training "
            "clip than 5 % of real held-out clips are; new clips have about 5 %."
        )
    else:
        lines.append(
            "Whether it repeats its training clips was not measured at this step."
        )
    return "\n\n".join(lines)


def _table(rows: Mapping[str, object]) -> str:
    lines = [f"| {title} | {value} |" for title, value in rows.items()]
    return "\n".join(["| | |", "|---|---|", *lines])


def _printable(text: str) -> str:
    """A name from a run, which may be a stranger's, as it can stand in a table."""
    return terminal.printable(text).replace("|", "\\|").replace("<", "&lt;")
