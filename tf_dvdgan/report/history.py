"""What a run's directory holds: its curves, scores, sample sheets and config."""

import collections
import dataclasses
import json
import os
import re
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from tensorboard.backend.event_processing import event_file_loader
from tensorboard.util import tensor_util

from tf_dvdgan import classification as classification_lib
from tf_dvdgan.data import files
from tf_dvdgan.evaluation import evaluator
from tf_dvdgan.report import charts
from tf_dvdgan.training import loop

Panels = dict[str, dict[str, charts.Curve]]  # title, then name of the line

_TITLES = {
    "loss": "Losses",
    "accuracy": "Share of clips that discriminators tell rightly",
    "gradient_norm": "Gradient norms",
    "diversity": "Diversity of samples, as a share of real clips'",
    "terms": "Terms of the generator's loss",
}
# Of these singular values have panels of their own.
_LEFT_OUT = ("speed", "learning_rate", "alarms", "at_end", "singular_values")
# Of scores that earlier versions wrote.
_RENAMED = {"by_heart": "memorization"}
_SIDES = ("real", "fake", "held_out", "generated")


@dataclasses.dataclass(frozen=True)
class Score:
    """A score of one step.

    Attributes:
      name: of the protocol.
      step: of the checkpoint; None where nobody knows.
      value: the score.
      sd: over repeats or splits; None where there is one of them.
      error: standard error; None where it was not asked for.
      others: what else the features told, by name.
      truncation: factor of the latents.
      facts: the protocol, with weights and clips.
    """

    name: str
    step: int | None
    value: float
    sd: float | None
    error: float | None
    others: dict[str, float]
    truncation: float
    facts: dict

    @property
    def protocol(self) -> tuple[str, str]:
        """Its name and all facts: the same for scores that may be compared."""
        return self.name, json.dumps(self.facts, sort_keys=True)

    def __str__(self) -> str:
        text = f"{self.value:.4g}"
        return text + (f" ± {self.sd:.2g}" if self.sd is not None else "")


@dataclasses.dataclass(frozen=True)
class Events:
    """What a folder of event files holds.

    Attributes:
      curves: scalars, by tag. Where a run went back and on again, what it had gone
        back over is left out.
      texts: the last text of each tag.
    """

    curves: dict[str, charts.Curve]
    texts: dict[str, str]


def read_events(model_dir: str, folder: str) -> Events:
    """Reads a folder of event files.

    Args:
      model_dir: of the run.
      folder: in it, 'train' or 'eval'.
    """
    place = os.path.join(model_dir, folder)
    points: dict[str, list[tuple[int, float]]] = collections.defaultdict(list)
    texts: dict[str, str] = {}
    for name in files.names_in(place):
        if "tfevents" not in name:
            continue
        loader = event_file_loader.EventFileLoader(os.path.join(place, name))
        for event in loader.Load():
            for value in event.summary.value:
                kind = value.metadata.plugin_data.plugin_name
                if kind == "text":
                    words = tensor_util.make_ndarray(value.tensor).item()
                    texts[value.tag] = words.decode("utf-8", "replace")
                if kind != "scalars":
                    continue
                so_far = points[value.tag]
                while so_far and so_far[-1][0] >= event.step:
                    so_far.pop()
                number = float(tensor_util.make_ndarray(value.tensor))
                so_far.append((event.step, number))
    curves = {
        tag: charts.Curve(*np.array(pairs, np.float64).T)
        for tag, pairs in points.items()
    }
    return Events(curves, texts)


def panels(
    train: dict[str, charts.Curve], evaluated: dict[str, charts.Curve]
) -> Panels:
    """Curves as they belong together, each panel under its title."""
    found: Panels = collections.defaultdict(dict)
    for tag, curve in {**train, **evaluated}.items():
        prefix, _, rest = tag.partition("/")
        if prefix in _LEFT_OUT:
            continue
        sided = re.fullmatch(rf"scores/(.+)_({'|'.join(_SIDES)})", tag)
        if sided:
            title = f"Scores of the {_words(sided[1])}"
            found[title][_words(sided[2])] = curve
        elif tag in evaluated:
            absolute = rest in ("", "real", "real_from_real")
            title = f"{prefix} by step" if absolute else f"{prefix}: what else it tells"
            found[title][_words(rest or "generated")] = curve
        else:
            found[_TITLES.get(prefix, _words(prefix))][_words(rest or prefix)] = curve
    return dict(found) | _singular_values(train)


def _singular_values(train: dict[str, charts.Curve]) -> Panels:
    """Of each network the largest kernel norms: a jump tells of a collapse to come."""
    networks: dict[str, list[charts.Curve]] = collections.defaultdict(list)
    for tag, curve in train.items():
        prefix, _, name = tag.partition("/")
        if prefix == "singular_values":
            networks[name.partition("/")[0]].append(curve)
    found = {}
    for network, of_kernels in networks.items():
        fewest = min(len(curve.x) for curve in of_kernels)
        x = of_kernels[0].x[-fewest:]
        y = np.stack([curve.y[-fewest:] for curve in of_kernels])
        title = f"Largest singular value of the {_words(network)}'s {len(y)} kernels"
        found[title] = {
            "largest kernel": charts.Curve(x, y.max(axis=0)),
            "median kernel": charts.Curve(x, np.median(y, axis=0)),
            "smallest kernel": charts.Curve(x, y.min(axis=0)),
        }
    return found


def _words(name: str) -> str:
    return name.replace("_", " ")


def scores(model_dir: str) -> list[Score]:
    """All of a run's `scores.jsonl`, in its order."""
    return [s for row in evaluator.read_scores(model_dir) for s in _scores_of(row)]


def _scores_of(row: dict) -> list[Score]:
    """Scores of a line: one that `tools.score` wrote, or those of an evaluated step."""
    protocol, values = row["protocol"], row["scores"]
    if "name" in protocol:
        of_name = {protocol["name"]: protocol}
    else:
        shared = {"window": protocol.get("window")}
        of_name = {n: {**shared, **f} for n, f in protocol.items() if n in values}
    found = []
    for name, facts in of_name.items():
        others = {
            _RENAMED.get(tag.removeprefix(f"{name}/"), tag.removeprefix(f"{name}/")): v
            for tag, v in values.items()
            if tag.startswith(f"{name}/")
        }
        fixed = {k: v for k, v in facts.items() if k not in ("step", "truncation")}
        found.append(
            Score(
                name,
                row["step"],
                values[name],
                row.get("sd"),
                row.get("standard_error"),
                others,
                facts.get("truncation", 1.0),
                fixed,
            )
        )
    return found


def classification(model_dir: str) -> Panels:
    """What `tools.classify` measured, over the number of labelled clips.

    Of rows of the same step and number of clips the last counts, and of all steps the
    last. The gain is the fine-tuned classifier's accuracy over that of new weights
    (paper 004, figure 4c).
    """
    path = os.path.join(model_dir, classification_lib.FILE)
    rows = [json.loads(line) for line in _text(path).splitlines() if line.strip()]
    rows = [row for row in rows if row["step"] == rows[-1]["step"]]
    accuracy: dict[str, dict[int, float]] = collections.defaultdict(dict)
    for row in rows:
        for name in ("fine_tuned", "new", "logistic_regression"):
            if name in row:
                accuracy[name][row["clips"]] = row[name]
    tuned, new = accuracy.get("fine_tuned", {}), accuracy.get("new", {})
    gain = {clips: tuned[clips] / new[clips] for clips in tuned if new.get(clips)}
    lines = {_words(name): values for name, values in accuracy.items()}
    panels = {"Accuracy": lines, "Gain of fine-tuning": {"gain": gain} if gain else {}}
    return {
        title: {
            name: charts.Curve(*np.array(sorted(values.items()), np.float64).T)
            for name, values in lines.items()
        }
        for title, lines in panels.items()
    }


def by_protocol(scores: Sequence[Score]) -> dict[tuple[str, str], list[Score]]:
    """Scores that may be compared, together."""
    found = collections.defaultdict(list)
    for score in scores:
        found[score.protocol].append(score)
    return dict(found)


def newest(scores: Sequence[Score]) -> Score:
    """The last of the highest step."""
    return max(reversed(scores), key=lambda score: score.step or 0)


def operative_config(model_dir: str, step: int | None) -> str:
    """The newest config that was in use at a step; empty if none was kept."""
    found = _numbered(files.names_in(model_dir), r"operative_config-(\d+)\.gin", step)
    return _text(os.path.join(model_dir, found)) if found else ""


def bindings(config: str) -> dict[str, str]:
    """Names and values of an operative config, values in one line each."""
    joined = re.sub(r"\\\n\s*", "", config)
    joined = re.sub(r"\n(?=[ \t\])}])\s*", " ", joined)
    lines = (line for line in joined.splitlines() if line and line[0] != "#")
    pairs = (line.partition(" = ") for line in lines)
    return {name.strip(): value.strip() for name, _, value in pairs if value}


def sheet(model_dir: str, kind: str, step: int | None = None) -> tuple[int, str] | None:
    """Step and path of a run's newest moving sheet, until a step.

    Args:
      model_dir: of the run.
      kind: 'real', 'samples_raw' or 'samples_ema'.
      step: later ones are not looked at.
    """
    folder = os.path.join(model_dir, "samples")
    name = _numbered(files.names_in(folder), rf"{kind}-(\d+)\.gif", step)
    if name is None:
        return None
    return int(re.findall(r"\d+", name)[-1]), os.path.join(folder, name)


def _numbered(names: list[str], pattern: str, step: int | None) -> str | None:
    """The name with the highest number, none beyond a step."""
    found = {name: re.fullmatch(pattern, name) for name in names}
    numbers = {name: int(match[1]) for name, match in found.items() if match}
    numbers = {n: i for n, i in numbers.items() if step is None or i <= step}
    return max(numbers, key=numbers.get, default=None)


def dataset_name(model_dir: str) -> str:
    """What the data called itself; empty where nobody knows."""
    path = os.path.join(model_dir, loop.DATASET_FILE)
    return json.loads(_text(path) or "{}").get("dataset", "")


def _text(path: str) -> str:
    """A file's text; empty if there is none."""
    if not tf.io.gfile.exists(path):
        return ""
    with tf.io.gfile.GFile(path) as file:
        return file.read()
