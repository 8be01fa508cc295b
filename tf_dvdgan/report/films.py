"""What moves on a page: grids of clips as H.264 inside the page itself.

The seed is fixed: the same run gives the same page, to rounding, and runs side by side
show what each makes of the same latents.
"""

import base64
import collections
import dataclasses
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageSequence

from tf_dvdgan import generators, sampling, visualize
from tf_dvdgan.data import files, readers, video_io

SEED = 0
OF_CLASS = 4  # clips
TRUNCATIONS = (0.2, 0.4, 0.6, 0.8, 1.0)
_FPS = 8.0
_BATCH = 16
_SHOWN_CLASSES = 12
_ROWS = _COLUMNS = 3  # of grids that show what truncation and interpolation do
_STEPS = 6  # of interpolations


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
    data = video_io.video_bytes(frames, ".mp4", _FPS)
    source = "data:video/mp4;base64," + base64.b64encode(data).decode()
    height, width = frames[0].shape[:2]
    return Film(label, alt, source, width, height)


def shown_classes(class_names: Sequence[str]) -> list[str]:
    """Classes that samples are shown of."""
    return _a_few(class_names, _SHOWN_CLASSES)


def _a_few(names: Sequence[str], at_most: int) -> list[str]:
    return [names[i] for i in sampling.spread(len(names), at_most)]


def samples(
    generator: generators.RunGenerator, names: Sequence[str]
) -> dict[str, np.ndarray]:
    """Clips of each class, `[OF_CLASS, time, height, width, 3]` uint8, by its name.

    The latents of a class are the same whatever other classes are shown.
    """
    z = sampling.latents(generator.latent, OF_CLASS, SEED)
    labels = _labels(generator, names, OF_CLASS)
    videos = _made(generator, np.tile(z, [len(names), 1]), labels)
    by_class = videos.reshape(len(names), OF_CLASS, *videos.shape[1:])
    return dict(zip(names, by_class, strict=True))


def _labels(
    generator: generators.RunGenerator, names: Sequence[str], times: int
) -> np.ndarray:
    """Numbers of classes, each so many times: a row of a grid."""
    numbers = [generator.class_names.index(name) for name in names]
    return np.repeat(numbers, times)


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
    held = readers.load_manifest(data_dir, window)
    split = held.held_out_split or "train"
    if not by_class:
        rows = readers.evaluation_dataset(data_dir, window, split).take(OF_CLASS)
        clips = [row["video"] for row in rows.as_numpy_iterator()]
        return {names[0]: np.stack(clips)}
    common = [name for name in names if name in held.class_names]
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


def truncation_sheet(
    generator: generators.RunGenerator, names: Sequence[str]
) -> list[Card]:
    """The same latents at each truncation: from alike to diverse."""
    few = _a_few(names, _ROWS)
    labels = _labels(generator, few, _COLUMNS)
    z = np.tile(sampling.latents(generator.latent, _COLUMNS, SEED), [len(few), 1])
    cards = []
    for truncation in TRUNCATIONS:
        videos = _made(generator, z, labels, truncation)
        alt = f"Samples at truncation {truncation:g}; rows: {', '.join(few)}."
        title = f"Truncation {truncation:g}"
        cards.append(Card(title, [film(videos, _COLUMNS, alt)]))
    return cards


def interpolations(
    generator: generators.RunGenerator, names: Sequence[str]
) -> list[Card]:
    """From one latent to another, and from one class to another."""
    few = _a_few(names, _ROWS)
    cards = [_between_latents(generator, few)]
    if len(few) > 1:
        cards.append(_between_classes(generator, few[0], few[-1]))
    return cards


def _between_latents(generator: generators.RunGenerator, names: Sequence[str]) -> Card:
    """From one latent to another, a class a row."""
    ends = sampling.latents(generator.latent, 2, SEED).numpy()
    path = sampling.interpolate(ends[:1], ends[1:], _STEPS)[0]
    z, labels = np.tile(path, [len(names), 1]), _labels(generator, names, _STEPS)
    videos = _made(generator, z, labels, frames=_one_start(generator))
    rows = f"Rows: {', '.join(names)}."
    alt = f"Left to right from one latent to another. {rows}"
    return Card("Between two latents", [film(videos, _STEPS, alt)], rows)


def _between_classes(generator: generators.RunGenerator, first: str, last: str) -> Card:
    """From one class to another, a latent a row."""
    z = sampling.latents(generator.latent, _ROWS, SEED).numpy()
    one_hot = np.eye(len(generator.class_names), dtype=np.float32)
    start, end = one_hot[_labels(generator, [first, last], 1)]
    weights = sampling.interpolate(start[np.newaxis], end[np.newaxis], _STEPS)[0]
    videos = _made(
        generator,
        z.repeat(_STEPS, axis=0),
        np.tile(weights, [_ROWS, 1]),
        frames=_one_start(generator),
    )
    alt = f"Left to right from class {first} to {last}, a latent a row."
    title = f"From {first} to {last}"
    return Card(title, [film(videos, _STEPS, alt)], "A latent a row.")


def _one_start(generator: generators.RunGenerator) -> np.ndarray | None:
    """First frames of one clip, for a generator that starts from frames."""
    if not generator.num_conditioning_frames:
        return None
    return generator.gan.frame_bank[:1]
