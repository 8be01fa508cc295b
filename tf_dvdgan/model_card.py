"""Writes a model's card: what it is, what it was trained on, how good it is.

The card is Markdown with the front matter that model hubs read (Mitchell et al., 2019,
for its contents). A run does not know the license of its data; if the caller does not
either, it is left to be filled in.
"""

import datetime
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tf_dvdgan import generators, run_directory, terminal, trained, version
from tf_dvdgan.data import files
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
_LICENSES = {  # of data, by the identifiers that model hubs accept
    *("apache-2.0", "mit", "isc", "bsd", "bsd-2-clause", "bsd-3-clause", "unlicense"),
    *("cc", "cc0-1.0", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "wtfpl"),
    *("cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nd-4.0"),
    *("cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0"),
    *("cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0"),
    *("cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "c-uda", "etalab-2.0"),
    *("cdla-sharing-1.0", "cdla-permissive-1.0", "cdla-permissive-2.0"),
    *("odc-by", "odbl", "pddl", "gfdl", "gpl", "gpl-2.0", "gpl-3.0", "agpl-3.0"),
    *("lgpl", "lgpl-2.1", "lgpl-3.0", "mpl-2.0", "unknown", "other"),
}
_CLASSES_SHOWN = 20
_LAYOUTS = {"": "", "folder": "clips of a folder"}  # of which the name says nothing


def write(
    model: trained.TrainedModel,
    model_dir: str | None,
    name: str = "",
    data_name: str = "",
    data_license: str = "",
    saved_as: str = "saved_model",
) -> str:
    """Writes the card of a model.

    Args:
      model: the model.
      model_dir: directory of its run; None for a model without one.
      name: name of the model, for the title; by default that of the network.
      data_name: name of the training data; '' if only their layout is known.
      data_license: identifier of the license of the training data, such as
        "apache-2.0", or its name, under which the weights are then, too; '' if unknown.
      saved_as: 'saved_model', 'run' for an exported run, or 'package' for one that
        comes with the package.

    Returns:
      Markdown with front matter.
    """
    described = generators.describe(model)
    run = run_directory.RunDirectory(model_dir) if model_dir else None
    scores = _scores(model_dir, model.step, described["metadata"]["weights"])
    module = described["metadata"]["model"].partition(".")[0]
    is_rounded = saved_as != "saved_model" or (run is not None and run.is_exported)
    name = name or f"{_PAPERS[module].partition(' (')[0]}, step {model.step}"
    name = terminal.printable(name)
    data_license = terminal.printable(data_license)
    layout = run.dataset if run else ""
    dataset = terminal.printable(data_name) or _LAYOUTS.get(
        layout, f"clips in the layout of {terminal.printable(layout)}"
    )
    sections = [
        _front_matter(module, name, dataset, run, scores, data_license),
        f"# {_escaped(name)}",
        _summary(model, module, _escaped(dataset)),
        "## Model",
        _table(_metadata(model, described, is_rounded)),
        "## Data and training",
        _table(_training(run, model, _escaped(dataset))),
        "## Scores",
        _score_table(scores),
        "## How to use it",
        _usage(model, name, saved_as),
        "## Intended use and limits",
        _limits(model, scores),
        "## License",
        "The code is licensed under Apache-2.0. The license of the training data, "
        "which may restrict the use of weights and videos: "
        f"{_escaped(data_license) or '**to be filled in**'}.",
    ]
    return "\n\n".join(sections) + "\n"


def _front_matter(
    module: str,
    name: str,
    dataset: str,
    run: run_directory.RunDirectory | None,
    scores: Sequence[history.Score],
    data_license: str,
) -> str:
    """YAML; a JSON value is one of YAML, too. Its scores are those of truncation 1."""
    tags = ["video-generation", "gan", "tensorflow", module.replace("_", "-")]
    metrics: dict[str, list[dict]] = {}  # by the data that they compare with
    own = _own_clips(run, scores)
    for score in scores:
        if score.truncation == 1.0:
            clips = score.metadata.get("real")
            row = {
                "type": score.name,
                "name": "{} ({} real, {} generated clips)".format(
                    score.name, *_counts(score)
                ),
                "value": round(score.value, 4),
            }
            of = dataset
            if clips and clips.get("name") not in own:
                of = terminal.printable(str(clips.get("name", "")))
            metrics.setdefault(of or "unknown", []).append(row)
    results = [
        {
            "task": {"type": "video-generation"},
            "dataset": {"name": of, "type": _identifier(of)},
            "metrics": rows,
        }
        for of, rows in metrics.items()
    ]
    entries: dict[str, Any] = {
        "library_name": "tf_dvdgan",
        **_license(data_license),
        "tags": tags,
    }
    if results:
        entries["model-index"] = [{"name": name, "results": results}]
    lines = [
        f"{key}: {json.dumps(value, ensure_ascii=False)}"
        for key, value in entries.items()
    ]
    return "\n".join(["---", *lines, "---"])


def _identifier(name: str) -> str:
    """A name without what hubs reject in a data set's type, such as spaces."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-") or "unknown"


def _license(name: str) -> dict[str, str]:
    """The front matter's license: a hub's identifier, or 'other' and its name."""
    if not name:
        return {"license": "unknown"}
    if name.lower() in _LICENSES:
        return {"license": name.lower()}
    return {"license": "other", "license_name": name}


def _own_clips(
    run: run_directory.RunDirectory | None, scores: Sequence[history.Score]
) -> set[str]:
    """Names of the data, among those of scores, that the model was trained on.

    They have the run's layout and number of training clips, or the run's own evaluation
    scored with them; other splits are own beside such a score.
    """
    own: set[str] = set()
    others: set[str] = set()
    if run is None:
        return own
    for score in scores:
        clips = score.metadata.get("real", {})
        is_train = clips.get("split") == "train"
        fits = clips.get("dataset") == run.dataset
        if is_train:
            fits = fits and clips.get("num_clips") == run.num_clips
        if not fits:
            others.add(clips.get("name", ""))
        elif is_train or score.evaluation:
            own.add(clips.get("name", ""))
    return own - others


def _counts(score: history.Score) -> tuple[Any, Any]:
    """Numbers of real and of generated clips."""
    of_real = score.metadata.get(f"num_{history.real_side(score.metadata)}")
    return of_real, score.metadata.get("num_generated")


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
    article = "An" if _PAPERS[module].startswith("M") else "A"  # an MVT-GAN
    size = f"{window.resolution}x{window.resolution}"
    return (
        f"{article} {_PAPERS[module]} that {what}{classes}{of}: {window.num_frames} "
        f"frames of {size} pixels. Made with tf_dvdgan {version.__version__}."
    )


def _metadata(
    model: trained.TrainedModel, described: Mapping[str, Any], is_rounded: bool
) -> dict[str, object]:
    window, generator = model.window, model.gan.generator
    names = [_escaped(terminal.printable(name)) for name in model.class_names]
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
        "weights": "moving average"
        + (", kernels rounded to float16" if is_rounded else ""),
        "SHA-256 of the weights": described["metadata"]["weights"],
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
        name = terminal.printable(files.base_name(str(origin["run"])))
        said = f"step {origin['step']} of {name}"
        rows["initialized from"] = _escaped(said)
    config = run.read_operative_config(model.step) or run.read_config()
    bindings = history.bindings(config)
    for title, parameter in _TRAINING.items():
        if parameter in bindings:
            rows[title] = f"`{bindings[parameter]}`"
    return rows


def _scores(model_dir: str | None, step: int, weights: str) -> list[history.Score]:
    """The score of each protocol, truncation and data at a step, of these weights.

    Of several it is that of the most clips, generated and real, and then the newest.
    """
    found: dict[tuple, history.Score] = {}
    for score in history.scores(model_dir) if model_dir else ():
        if score.step == step and score.model in (None, weights):
            real = score.metadata.get("real", {})
            of = score.name, score.truncation, real.get("name"), real.get("split")
            if of not in found or _size(score) >= _size(found[of]):
                found[of] = score
    return list(found.values())


def _size(score: history.Score) -> tuple[int, int]:
    generated, real = (score.metadata.get(f"num_{n}") for n in ("generated", "real"))
    return generated or 0, real or 0


def _score_table(scores: Sequence[history.Score]) -> str:
    if not scores:
        return "None were recorded for this step."
    lines = [
        "| protocol | truncation | score | real clips | generated | network | also |",
        "|---|---:|---:|---|---:|---|---|",
    ]
    for score in scores:
        metadata = score.metadata
        clips = metadata.get(history.real_side(metadata), {})
        real, generated = map(str, _counts(score))
        if clips:
            of = f"{clips.get('name')} {clips.get('split', '')}".strip()
            real += f" of {_escaped(terminal.printable(of))}"
        digest = metadata.get("weights", {}).get("hash", "")[:12]
        also = ", ".join(f"{name} {value:.3g}" for name, value in score.others.items())
        cells = [
            score.name,
            f"{score.truncation:g}",
            str(score),
            real,
            generated,
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


def _usage(model: trained.TrainedModel, name: str, saved_as: str) -> str:
    generator = model.gan.generator
    inputs = ["truncation=tf.constant(1.0)", "seed=tf.constant(0)"]
    call = "gan.sample(16)"
    if generator.num_classes > 1:
        inputs.insert(0, "label=tf.constant(0)")
        first = terminal.printable(model.class_names[0])
        call = f"gan.sample(16, class_name={first!r})"
    given, side = generator.num_conditioning_frames, generator.resolution
    if given:
        inputs.insert(0, "frames=frames")
        call = f"gan.predict_frames(frames)  # [{given}, {side}, {side}, 3] uint8"
    else:
        inputs.insert(0, "count=tf.constant(16)")
    place = name if saved_as == "package" else "FOLDER"
    lines = [
        "With tf_dvdgan:",
        "",
        "```python",
        "import tf_dvdgan as dvd",
        "",
        f"gan = dvd.load({place!r})",
        f"videos = {call}",
        "```",
    ]
    if saved_as != "saved_model":
        return "\n".join(lines)
    return "\n".join(
        [
            *lines,
            "",
            "With TensorFlow alone:",
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


def _escaped(text: str) -> str:
    """A name from a run, which may be a stranger's, as it can stand in Markdown."""
    return text.replace("|", "\\|").replace("<", "&lt;")
