"""What moves on a page: grids of clips as H.264 inside the page itself.

The seed is fixed: the same run gives the same page, and runs side by side show what
each makes of the same latents.
"""

import base64
import collections
import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image, ImageSequence

from tf_dvdgan import generators, sampling, visualize
from tf_dvdgan.data import files, readers, transforms, video_io
from tf_dvdgan.evaluation import neighbours, protocols, scoring, sources

FPS = 8.0
SEED = 0
SHOWN_CLASSES = 12
OF_CLASS = 4  # clips
TRUNCATIONS = (0.2, 0.4, 0.6, 0.8, 1.0)
BANK = 4096  # training clips at the most among which neighbours are looked for
_INTERPOLATED = 6
_BATCH = 16
_NEIGHBOURS = 3
_WITH_NEIGHBOURS = 6  # generated clips


@dataclasses.dataclass(frozen=True)
class Film:
    """A video that is part of the page.

    Attributes:
      label: a word or two above it, where several stand together.
      alt: what is to be seen, for who does not see it.
      source: a data: address.
      width, height: in pixels.
    """

    label: str
    alt: str
    source: str
    width: int
    height: int


@dataclasses.dataclass(frozen=True)
class Card:
    """Films that belong together.

    Attributes:
      title: above them.
      films: side by side.
      note: below them.
    """

    title: str
    films: list[Film]
    note: str = ""


def film(videos: np.ndarray, columns: int, alt: str, label: str = "") -> Film:
    """A moving grid.

    Args:
      videos: `[count, time, height, width, 3]` uint8.
      columns: videos in a row.
      alt: what is to be seen.
      label: see `Film`.
    """
    return _encoded(visualize.grid(videos, columns), alt, label)


def of_gif(path: str, alt: str, label: str = "") -> Film:
    """A GIF as a film, which unlike it can be paused."""
    with files.local(path) as file, Image.open(file, formats=["GIF"]) as image:
        frames = [np.asarray(f.convert("RGB")) for f in ImageSequence.Iterator(image)]
    height, width = (side - side % 2 for side in frames[0].shape[:2])
    return _encoded([frame[:height, :width] for frame in frames], alt, label)


def _encoded(frames: Sequence[np.ndarray], alt: str, label: str) -> Film:
    data = video_io.video_bytes(frames, ".mp4", FPS)
    source = "data:video/mp4;base64," + base64.b64encode(data).decode()
    height, width = frames[0].shape[:2]
    return Film(label, alt, source, width, height)


def shown_classes(class_names: Sequence[str]) -> list[str]:
    """A few classes from all over the list."""
    last = len(class_names) - 1
    chosen = np.linspace(0, last, min(last + 1, SHOWN_CLASSES)).astype(int)
    return [class_names[i] for i in np.unique(chosen)]


def samples(
    generator: generators.RunGenerator, names: Sequence[str]
) -> dict[str, np.ndarray]:
    """Clips of each class, `[OF_CLASS, time, height, width, 3]` uint8, by its name.

    The latents of a class are the same whatever other classes are shown.
    """
    z = sampling.latents(generator.latent, OF_CLASS, SEED)
    labels = [generator.class_names.index(name) for name in names]
    videos = _made(generator, np.tile(z, [len(names), 1]), np.repeat(labels, OF_CLASS))
    by_class = videos.reshape(len(names), OF_CLASS, *videos.shape[1:])
    return dict(zip(names, by_class, strict=True))


def _made(
    generator: generators.RunGenerator,
    z: np.ndarray,
    labels: np.ndarray,
    truncation: float = 1.0,
    frames: np.ndarray | None = None,
) -> np.ndarray:
    """Videos, made in batches of one size, so that the generator is traced once."""
    count = len(z)
    padded = -(-count // _BATCH) * _BATCH
    z, labels = (np.resize(x, [padded, *x.shape[1:]]) for x in (z, labels))
    if frames is not None:
        frames = np.resize(frames, [padded, *frames.shape[1:]])
    return generator.videos(z, labels, truncation, frames, _BATCH)[:count]


def real_clips(
    data_dir: str, window: readers.Window, names: Sequence[str], by_class: bool = True
) -> dict[str, np.ndarray]:
    """Real clips of each class, held out ones if there are, by the class's name.

    Args:
      data_dir: of prepared shards.
      window: of the model.
      names: of classes; what the data does not have is left out.
      by_class: whether the model knows classes; else any clips stand for its one name.
    """
    split = _held_out(data_dir, window)
    if not by_class:
        rows = readers.evaluation_dataset(data_dir, window, split).take(OF_CLASS)
        clips = [row["video"] for row in rows.as_numpy_iterator()]
        return {names[0]: np.stack(clips)}
    known = readers.load_manifest(data_dir, window).class_names
    common = [name for name in names if name in known]
    if not common:
        return {}
    window = dataclasses.replace(window, classes=tuple(common))
    counts = readers.load_manifest(data_dir, window).class_counts(split)
    wanted = {i: min(OF_CLASS, n) for i, n in enumerate(counts) if n}
    found: dict[int, list] = collections.defaultdict(list)
    for row in readers.evaluation_dataset(data_dir, window, split).as_numpy_iterator():
        label = int(row["label"])
        if len(found[label]) < wanted[label]:
            found[label].append(row["video"])
        if all(len(found[i]) == count for i, count in wanted.items()):
            break
    return {common[i]: np.stack(clips) for i, clips in sorted(found.items())}


def _held_out(data_dir: str, window: readers.Window) -> str:
    splits = readers.load_manifest(data_dir, window).splits
    held = [name for name in ("test", "validation") if splits.get(name)]
    return held[0] if held else "train"


def truncation_sheet(
    generator: generators.RunGenerator, names: Sequence[str]
) -> list[Card]:
    """The same latents at each truncation: from alike to diverse."""
    names = [names[i] for i in np.unique(np.linspace(0, len(names) - 1, 3).astype(int))]
    labels = np.repeat([generator.class_names.index(name) for name in names], 3)
    z = np.tile(sampling.latents(generator.latent, 3, SEED), [len(names), 1])
    shown = _listed(names)
    return [
        Card(
            f"Truncation {truncation:g}",
            [
                film(
                    _made(generator, z, labels, truncation),
                    3,
                    f"Samples at truncation {truncation:g}; rows: {shown}.",
                )
            ],
        )
        for truncation in TRUNCATIONS
    ]


def interpolations(
    generator: generators.RunGenerator, names: Sequence[str]
) -> list[Card]:
    """From one latent to another, and from one class to another."""
    t = np.linspace(0.0, 1.0, _INTERPOLATED, dtype=np.float32)[:, None]
    z = sampling.latents(generator.latent, 3, SEED).numpy()
    # Along the circle that keeps the distribution: halfway is as far out as the ends.
    path = np.cos(0.5 * np.pi * t) * z[0] + np.sin(0.5 * np.pi * t) * z[1]
    start = _one_start(generator)
    few = [names[i] for i in np.unique(np.linspace(0, len(names) - 1, 3).astype(int))]
    labels = np.repeat([generator.class_names.index(name) for name in few], len(t))
    videos = _made(generator, np.tile(path, [len(few), 1]), labels, frames=start)
    rows = f"Rows: {_listed(few)}."
    alt = f"Left to right from one latent to another. {rows}"
    cards = [Card("Between two latents", [film(videos, len(t), alt)], rows)]
    if len(few) < 2:
        return cards
    first, last = (
        np.eye(len(generator.class_names), dtype=np.float32)[i]
        for i in (labels[0], labels[-1])
    )
    weights = np.tile((1.0 - t) * first + t * last, [len(z), 1])
    videos = _made(generator, z.repeat(len(t), axis=0), weights, frames=start)
    title = f"From {few[0]} to {few[-1]}"
    alt = f"Left to right from class {few[0]} to {few[-1]}, a latent a row."
    cards.append(Card(title, [film(videos, len(t), alt)], "A latent a row."))
    return cards


def _one_start(generator: generators.RunGenerator) -> np.ndarray | None:
    """First frames of one clip, for a generator that starts from frames."""
    if not generator.num_conditioning_frames:
        return None
    return transforms.to_uint8(generator.gan.frame_bank[:1]).numpy()


def nearest_real(
    made: dict[str, np.ndarray],
    data_dir: str,
    window: readers.Window,
    judge: scoring.Judge,
) -> list[Card]:
    """Generated clips, each beside the training clips that are most like it.

    Args:
      made: generated clips by class, as `samples` gives them.
      data_dir: of the shards trained on.
      window: of the model.
      judge: whose network's features say what is alike.
    """
    names = list(made)
    turns = [(names[i % len(names)], i // len(names)) for i in range(_WITH_NEIGHBOURS)]
    turns = [(name, i) for name, i in turns if i < len(made[name])]
    clips = np.stack([made[name][i] for name, i in turns])
    real = sources.Prepared(data_dir, window, "train", BANK)
    bank = judge.look_at(real, "training clips, for neighbours").get("features")
    queries = judge.look_at(_Clips(clips)).get("features")
    numbers, distances = neighbours.nearest(queries, bank, min(_NEIGHBOURS, len(bank)))
    found = _clips_at(real, set(numbers.ravel().tolist()))
    cards = []
    for (name, _), clip, row, away in zip(
        turns, clips, numbers, distances, strict=True
    ):
        near = np.stack([found[i] for i in row])
        alt = f"The {len(near)} training clips nearest to it."
        films = [
            film(clip[None], 1, f"A generated clip of {name}.", "Generated"),
            film(near, len(near), alt, "Nearest training clips"),
        ]
        note = "Distances " + ", ".join(f"{d:.3g}" for d in away)
        cards.append(Card(name, films, note))
    return cards


def judge_of(weights: Sequence[str], num_classes: int) -> scoring.Judge:
    """Looks at clips by the small classifier where there are weights, else by pixels.

    Raises:
      UserError: the weights are others'.
    """
    name = "fid_small" if weights else "fid_pixels"
    return scoring.Judge(protocols.named(name), weights, num_classes)


class _Clips:
    """Clips that are there already, as a source of features."""

    def __init__(self, videos: np.ndarray):
        self._videos = videos
        self.num_clips = len(videos)

    def rows(self, first: int, worker: int, num_workers: int) -> Iterable[dict]:
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


def _clips_at(real: sources.Prepared, numbers: set[int]) -> dict[int, np.ndarray]:
    """Clips of a source by their numbers."""
    found = {}
    for i, row in enumerate(real.rows(0, 0, 1)):
        if i in numbers:
            found[i] = row["video"]
        if len(found) == len(numbers):
            break
    return found


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
