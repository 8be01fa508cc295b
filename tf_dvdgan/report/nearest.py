"""Whether a generator has memorized its clips: the training clips nearest by."""

from collections.abc import Iterator, Sequence

import numpy as np

from tf_dvdgan.data import readers
from tf_dvdgan.evaluation import neighbours, protocols, scoring, sources
from tf_dvdgan.report import films

BANK = 4096  # training clips at the most that are looked through
_NEIGHBOURS = 3
_GENERATED = 6  # clips whose neighbours are shown


def cards(
    made: dict[str, np.ndarray],
    data_dir: str,
    window: readers.Window,
    judge: scoring.Judge,
) -> list[films.Card]:
    """Generated clips, each beside the training clips that are most like it.

    Args:
      made: generated clips by class, as `films.samples` gives them.
      data_dir: of the shards trained on.
      window: of the model.
      judge: whose network's features say what is alike.
    """
    names = list(made)
    turns = [(names[i % len(names)], i // len(names)) for i in range(_GENERATED)]
    turns = [(name, i) for name, i in turns if i < len(made[name])]
    clips = np.stack([made[name][i] for name, i in turns])
    real = sources.Prepared(data_dir, window, "train", BANK)
    bank = judge.look_at(real, "training clips, for neighbours").get("features")
    queries = judge.look_at(_Clips(clips)).get("features")
    numbers, distances = neighbours.nearest(queries, bank, min(_NEIGHBOURS, len(bank)))
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
    """A generated clip, and beside it the training clips nearest to it."""
    alt = f"The {len(near)} training clips nearest to it."
    shown = [
        films.film(clip[np.newaxis], 1, f"A generated clip of {name}.", "Generated"),
        films.film(near, len(near), alt, "Nearest training clips"),
    ]
    note = "Distances " + ", ".join(f"{d:.3g}" for d in distances)
    return films.Card(name, shown, note)


def judge_of(weights: Sequence[str]) -> scoring.Judge:
    """Looks at clips by the small classifier where there are weights, else by pixels.

    Raises:
      UserError: the weights are others'.
    """
    name = "fid_small" if weights else "fid_pixels"
    return scoring.Judge(protocols.named(name), weights)


class _Clips:
    """Clips that are there already, as a source of features."""

    def __init__(self, videos: np.ndarray):
        self._videos = videos
        self.num_clips = len(videos)

    def rows(self, first: int, worker: int, num_workers: int) -> Iterator[dict]:
        """See `features.Source`."""
        for i in range(first + worker, self.num_clips, num_workers):
            yield {"video": self._videos[i], "label": np.int32(-1)}

    def videos(self, rows, strategy):
        """See `features.Source`."""
        del strategy
        return rows["video"]

    def facts(self) -> dict:
        """See `features.Source`; the judge forgets them with the page."""
        return {"clips": "of the page"}


def _by_number(real: sources.Prepared, numbers: set[int]) -> dict[int, np.ndarray]:
    """Clips of a source that have these numbers."""
    found = {}
    for i, row in enumerate(real.rows(0, 0, 1)):
        if i in numbers:
            found[i] = row["video"]
        if len(found) == len(numbers):
            break
    return found
