"""Nearest training clips of generated clips, which show memorization."""

from collections.abc import Sequence

import numpy as np

from tf_dvdgan.data import clips as clips_lib
from tf_dvdgan.data import windows
from tf_dvdgan.evaluation.features import sources
from tf_dvdgan.evaluation.metrics import neighbors
from tf_dvdgan.evaluation.runs import feature_metric, protocols
from tf_dvdgan.report import films

BANK = 4096  # at most this many training clips are searched
_NEIGHBORS = 3
_GENERATED = 6  # clips whose neighbors are shown


def cards(
    made: dict[str, np.ndarray],
    data_dir: str,
    window: windows.Window,
    metric: feature_metric.FeatureMetric,
) -> list[films.Card]:
    """Shows generated clips beside their nearest training clips.

    Args:
      made: generated clips by class name, `[count, time, height, width, 3]` uint8 each.
      data_dir: prepared shards of the training clips.
      window: frames, resolution and stride of the model's clips.
      metric: extracts the features whose distances are compared.

    Returns:
      A card for each of the first few generated clips, taken from the classes in turn.
    """
    names = list(made)
    turns = [(names[i % len(names)], i // len(names)) for i in range(_GENERATED)]
    turns = [(name, i) for name, i in turns if i < len(made[name])]
    clips = np.stack([made[name][i] for name, i in turns])
    source = clips_lib.ShardSource(data_dir, "train", window.classes)
    real = sources.ClipSelection(source, window, BANK)
    bank = metric.extract_features(real, "training clips, for neighbors").get(
        "features"
    )
    queries = metric.extract_features(sources.ArraySource(clips)).get("features")
    numbers, distances = neighbors.nearest(queries, bank, min(_NEIGHBORS, len(bank)))
    found = _by_number(real, set(numbers.ravel().tolist()))
    return [
        _card(name, clip, np.stack([found[i] for i in nearest]), away)
        for (name, _), clip, nearest, away in zip(
            turns, clips, numbers, distances, strict=True
        )
    ]


def _card(
    name: str, clip: np.ndarray, near: np.ndarray, distances: np.ndarray
) -> films.Card:
    """A generated clip beside its nearest training clips."""
    alt = f"The {len(near)} training clips nearest to the generated clip."
    shown = [
        films.film(clip[np.newaxis], 1, f"A generated clip of {name}.", "Generated"),
        films.film(near, len(near), alt, "Nearest training clips"),
    ]
    note = "Distances " + ", ".join(f"{d:.3g}" for d in distances)
    return films.Card(name, shown, note)


def metric_of(weights: Sequence[str]) -> feature_metric.FeatureMetric:
    """Compares clips by the small classifier, or by pixels if there are no weights.

    Args:
      weights: weights files of the small classifier; may be empty.

    Returns:
      An extractor for `cards`.

    Raises:
      UserError: the weights belong to another network.
    """
    name = "fid_small" if weights else "fid_pixels"
    return feature_metric.FeatureMetric(protocols.get(name), weights)


def _by_number(real: sources.ClipSelection, numbers: set[int]) -> dict[int, np.ndarray]:
    """The clips of a source with these numbers, by number."""
    found = {}
    for i, row in enumerate(real.rows(0, 0, 1)):
        if i in numbers and row is not None:
            found[i] = row["video"]
        if len(found) == len(numbers):
            break
    return found
