"""Reads a run's directory: curves, scores, sample sheets and config."""

import collections
import dataclasses
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from tensorboard.backend.event_processing import event_file_loader
from tensorboard.compat.proto import summary_pb2
from tensorboard.util import tensor_util

from tf_dvdgan import run_directory
from tf_dvdgan.data import files
from tf_dvdgan.evaluation.runs import protocols, receipts
from tf_dvdgan.report import charts

Panels = dict[str, dict[str, charts.Curve]]  # by chart title, then by line name
BY_STEP = " by step"  # ends the titles of scores

_TITLES = {
    "loss": "Losses",
    "accuracy": "Accuracy of the discriminators",
    "gradient_norm": "Gradient norms",
    "diversity": "Diversity of samples relative to real clips",
    "terms": "Terms of the generator's loss",
}
# Not among the general panels; singular values have their own.
_EXCLUDED = ("speed", "learning_rate", "alarms", "at_end", "singular_values")
_SIDES = ("real", "fake", "held_out", "generated")


@dataclasses.dataclass(frozen=True)
class Score:
    """A score of one checkpoint.

    Attributes:
      name: name of the protocol.
      step: step of the checkpoint; None if unknown.
      value: the score.
      sd: standard deviation over repeats or splits; None if there is only one.
      error: standard error; None if not estimated.
      others: additional metrics of the same features, by name.
      truncation: factor of the latents.
      metadata: settings of the protocol, with weights and clips.
      model: SHA-256 of the model's weights; None if unknown.
      evaluation: whether a run scored its checkpoint, with its own data.
    """

    name: str
    step: int | None
    value: float
    sd: float | None
    error: float | None
    others: dict[str, float]
    truncation: float
    metadata: dict
    model: str | None = None
    evaluation: bool = False

    @property
    def protocol(self) -> tuple[str, str]:
        """Name and settings; scores with equal protocols are comparable.

        Earlier versions did not record the held-out clips, which follow from the real
        ones.
        """
        others = ("held-out", "num_held-out")
        settings = {k: v for k, v in self.metadata.items() if k not in others}
        return self.name, json.dumps(settings, sort_keys=True)

    def __str__(self) -> str:
        text = f"{self.value:.4g}"
        return text + (f" ± {self.sd:.2g}" if self.sd is not None else "")


def real_side(metadata: Mapping[str, Any]) -> str:
    """Which real clips a score has: an accuracy of real clips is of held-out ones.

    Args:
      metadata: settings of the score.

    Returns:
      'real' or 'held-out', a key of `metadata`; "num_" before it is that of their
      number.
    """
    is_accuracy = metadata.get("metric") == protocols.ACCURACY
    return "held-out" if is_accuracy and "held-out" in metadata else "real"


@dataclasses.dataclass(frozen=True)
class Events:
    """Contents of a folder of event files.

    Attributes:
      curves: scalars by tag. Where a run rolled back, the values of the discarded
        steps are dropped.
      texts: the last text of each tag.
    """

    curves: dict[str, charts.Curve]
    texts: dict[str, str]


def read_events(model_dir: str, folder: str) -> Events:
    """Reads a folder of event files.

    Args:
      model_dir: the run's directory.
      folder: folder in it, 'train' or 'eval'.

    Returns:
      The folder's scalars and texts; empty if there is no such folder.
    """
    points: dict[str, list[tuple[int, float]]] = collections.defaultdict(list)
    texts: dict[str, str] = {}
    for step, value in _summaries(run_directory.RunDirectory(model_dir).events(folder)):
        kind = value.metadata.plugin_data.plugin_name
        if kind == "text":
            text = tensor_util.make_ndarray(value.tensor).item()
            texts[value.tag] = text.decode("utf-8", "replace")
        elif kind == "scalars":
            earlier = points[value.tag]
            while earlier and earlier[-1][0] >= step:  # discarded by a rollback
                earlier.pop()
            earlier.append((step, float(tensor_util.make_ndarray(value.tensor))))
    curves = {
        tag: charts.Curve(*np.array(pairs, np.float64).T)
        for tag, pairs in points.items()
    }
    return Events(curves, texts)


def _summaries(folder: str) -> Iterator[tuple[int, summary_pb2.Summary.Value]]:
    """Steps and values in a folder's event files, in the order of the files."""
    for name in files.list_dir(folder):
        if "tfevents" in name:
            path = os.path.join(folder, name)
            for event in event_file_loader.EventFileLoader(path).Load():
                for value in event.summary.value:
                    yield event.step, value


def panels(
    train: dict[str, charts.Curve], evaluated: dict[str, charts.Curve]
) -> Panels:
    """Groups curves into charts.

    Args:
      train: curves of training, by tag.
      evaluated: curves of evaluation, by tag.

    Returns:
      Curves by chart title, then by line name.
    """
    found: Panels = collections.defaultdict(dict)
    for tag, curve in {**train, **evaluated}.items():
        prefix, _, rest = tag.partition("/")
        if prefix in _EXCLUDED:
            continue
        sided = re.fullmatch(rf"scores/(.+)_({'|'.join(_SIDES)})", tag)
        if sided:
            title = f"Scores of the {_words(sided[1])}"
            found[title][_words(sided[2])] = curve
        elif tag in evaluated:
            absolute = rest in ("", "real", "real_from_real", "as_many_as_real")
            title = f"{prefix}{BY_STEP}" if absolute else f"{prefix}: other metrics"
            found[title][_words(rest or "generated")] = curve
        else:
            found[_TITLES.get(prefix, _words(prefix))][_words(rest or prefix)] = curve
    return dict(found) | _singular_values(train)


def _singular_values(train: dict[str, charts.Curve]) -> Panels:
    """A chart of each network's spectral norms: a jump precedes a collapse."""
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
    """Reads the scores in a run's `scores.jsonl`, in the order of the file."""
    return list(map(_score, run_directory.RunDirectory(model_dir).read_scores()))


def _score(row: dict) -> Score:
    metadata, values = row["protocol"], row["scores"]
    name = metadata["name"]
    others = {
        tag.removeprefix(f"{name}/"): value
        for tag, value in values.items()
        if tag.startswith(f"{name}/")
    }
    return Score(
        name,
        row["step"],
        values[name],
        row.get("sd"),
        row.get("standard_error"),
        others,
        metadata.get("truncation", 1.0),
        {k: v for k, v in metadata.items() if k not in ("step", "truncation")},
        run_directory.model_of(row),
        receipts.of_training(row),
    )


def classification(model_dir: str) -> Panels:
    """Reads the accuracies that `tools.classify` wrote, by number of labeled clips.

    Only the last step in the file counts, and for each number of clips its last row.
    The gain is the fine-tuned classifier's accuracy divided by that of a classifier
    trained from scratch (paper 004, figure 4c).
    """
    rows = run_directory.RunDirectory(model_dir).read_classification()
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
    """Groups comparable scores."""
    found = collections.defaultdict(list)
    for score in scores:
        found[score.protocol].append(score)
    return dict(found)


def newest(scores: Sequence[Score]) -> Score:
    """The score of the highest step; of several, the one written last."""
    return max(reversed(scores), key=lambda score: score.step or 0)


def bindings(config: str) -> dict[str, str]:
    """Parses an operative config into names and values, each value on one line."""
    joined = re.sub(r"\\\n\s*", "", config)
    joined = re.sub(r"\n(?=[ \t\])}])\s*", " ", joined)
    lines = (line for line in joined.splitlines() if line and line[0] != "#")
    pairs = (line.partition(" = ") for line in lines)
    return {name.strip(): value.strip() for name, _, value in pairs if value}
