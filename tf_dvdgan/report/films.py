"""The page's videos: grids of clips as H.264 in `data:` URLs.

The seed is fixed, so that a run's page is reproducible up to rounding, and runs side by
side show samples from the same latents.
"""

import base64
import collections
import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageSequence

from tf_dvdgan import errors, generators, visualize
from tf_dvdgan.data import clips, files, video_io, windows
from tf_dvdgan.sampling import latents, sampler

SEED = 0
OF_CLASS = 4  # clips per class
TRUNCATIONS = (0.2, 0.4, 0.6, 0.8, 1.0)
_FPS = 8.0
_SHOWN_CLASSES = 12
_ROWS = _COLUMNS = 3  # of the grids of truncations and interpolations
_STEPS = 6  # per interpolation


@dataclasses.dataclass(frozen=True)
class Film:
    """A video embedded in the page.

    Attributes:
      label: a word or two above the video; may be empty.
      alt: description for screen readers.
      source: `data:` URL of the MP4.
      width, height: in pixels.
    """

    label: str
    alt: str
    source: str
    width: int
    height: int


@dataclasses.dataclass(frozen=True)
class Card:
    """A group of videos.

    Attributes:
      title: heading above the videos.
      films: the videos, shown side by side.
      note: text below the videos.
    """

    title: str
    films: list[Film]
    note: str = ""


def film(videos: np.ndarray, columns: int, alt: str, label: str = "") -> Film:
    """Encodes videos as one grid.

    Args:
      videos: `[count, time, height, width, 3]` uint8.
      columns: videos per row.
      alt: description for screen readers.
      label: a word or two above the grid.

    Returns:
      The grid as a video.
    """
    return _encode(visualize.grid(videos, columns), alt, label)


def of_gif(path: str, alt: str, label: str = "") -> Film:
    """Converts a GIF, which browsers cannot pause, to a video.

    Args:
      path: the GIF; may be remote. An odd last row or column is cropped.
      alt: description for screen readers.
      label: a word or two above the video.

    Returns:
      The GIF's frames as a video.

    Raises:
      UserError: a frame has too many pixels.
    """
    with files.local_copy(path) as file, Image.open(file, formats=["GIF"]) as image:
        if image.width * image.height > video_io.MAX_PIXELS:
            raise errors.UserError(f"The frames of {path} are too large to show.")
        frames = [np.asarray(f.convert("RGB")) for f in ImageSequence.Iterator(image)]
    height, width = (side - side % 2 for side in frames[0].shape[:2])
    return _encode([frame[:height, :width] for frame in frames], alt, label)


def _encode(frames: np.ndarray | Sequence[np.ndarray], alt: str, label: str) -> Film:
    data = video_io.encode_video(frames, ".mp4", _FPS)
    source = "data:video/mp4;base64," + base64.b64encode(data).decode()
    height, width = frames[0].shape[:2]
    return Film(label, alt, source, width, height)


def shown_classes(class_names: Sequence[str]) -> list[str]:
    """Chooses the classes shown on the page, spread evenly over all."""
    return _pick_evenly(class_names, _SHOWN_CLASSES)


def _pick_evenly(names: Sequence[str], at_most: int) -> list[str]:
    return [names[i] for i in latents.evenly_spaced(len(names), at_most)]


def samples(
    generator: generators.RunGenerator, names: Sequence[str]
) -> dict[str, np.ndarray]:
    """Generates clips of each class from the same latents.

    Args:
      generator: generator of the run's checkpoint.
      names: class names.

    Returns:
      `[OF_CLASS, time, height, width, 3]` uint8 clips by class name.
    """
    z = latents.draw(generator.latent, OF_CLASS, SEED)
    labels = _labels(generator, names, OF_CLASS)
    videos = _generate(generator, np.tile(z, [len(names), 1]), labels)
    by_class = videos.reshape(len(names), OF_CLASS, *videos.shape[1:])
    return dict(zip(names, by_class, strict=True))


def _labels(
    generator: generators.RunGenerator, names: Sequence[str], times: int
) -> np.ndarray:
    """Class numbers, each repeated `times` times."""
    numbers = [generator.class_names.index(name) for name in names]
    return np.repeat(numbers, times)


def _generate(
    generator: generators.RunGenerator,
    z: np.ndarray,
    labels: np.ndarray,
    truncation: float = 1.0,
    frames: np.ndarray | None = None,
) -> np.ndarray:
    """Generates videos in batches of one size."""
    if frames is not None:
        frames = sampler.in_turn(frames, len(z))
    return generator.videos(z, labels, truncation, frames)


def real_clips(
    data_dir: str, window: windows.Window, names: Sequence[str], by_class: bool = True
) -> dict[str, np.ndarray]:
    """Reads real clips of each class, from the held-out split if there is one.

    Args:
      data_dir: prepared shards.
      window: frames, resolution and stride of the model's clips.
      names: class names; those that the data lack are skipped.
      by_class: whether the model is class-conditional. If not, the first clips of any
        class are returned under the first name.

    Returns:
      `[count, time, height, width, 3]` uint8 clips by class name, with `count` at most
      `OF_CLASS`.
    """
    source = clips.ShardSource(data_dir, classes=window.classes)
    if not by_class:
        first = itertools.islice(source.clips(window), OF_CLASS)
        return {names[0]: np.stack([*first])}
    known = [name for name in names if name in source.class_names]
    return _clips_by_class(data_dir, window, known) if known else {}


def _clips_by_class(
    data_dir: str, window: windows.Window, names: Sequence[str]
) -> dict[str, np.ndarray]:
    """The first `OF_CLASS` clips of each class."""
    source = clips.ShardSource(data_dir, classes=names)
    missing = {i: min(OF_CLASS, n) for i, n in enumerate(source.class_counts) if n}
    found: dict[int, list[np.ndarray]] = collections.defaultdict(list)
    for example in source.examples(window):
        label = example.label
        if label is not None and missing[label]:
            found[label].append(example.video)
            missing[label] -= 1
        if not any(missing.values()):
            break
    return {names[i]: np.stack(videos) for i, videos in sorted(found.items())}


def truncation_sheet(
    generator: generators.RunGenerator, names: Sequence[str]
) -> list[Card]:
    """Shows samples of the same latents at each of `TRUNCATIONS`.

    Args:
      generator: generator of the run's checkpoint.
      names: names of the classes to choose rows from.

    Returns:
      A card per truncation.
    """
    few = _pick_evenly(names, _ROWS)
    labels = _labels(generator, few, _COLUMNS)
    z = np.tile(latents.draw(generator.latent, _COLUMNS, SEED), [len(few), 1])
    cards = []
    for truncation in TRUNCATIONS:
        videos = _generate(generator, z, labels, truncation)
        alt = f"Samples at truncation {truncation:g}; rows: {', '.join(few)}."
        title = f"Truncation {truncation:g}"
        cards.append(Card(title, [film(videos, _COLUMNS, alt)]))
    return cards


def interpolations(
    generator: generators.RunGenerator, names: Sequence[str]
) -> list[Card]:
    """Shows interpolations between two latents and between two classes.

    Args:
      generator: generator of the run's checkpoint.
      names: names of the classes to choose from.

    Returns:
      One card, or two if there are several classes.
    """
    few = _pick_evenly(names, _ROWS)
    cards = [_between_latents(generator, few)]
    if len(few) > 1:
        cards.append(_between_classes(generator, few[0], few[-1]))
    return cards


def _between_latents(generator: generators.RunGenerator, names: Sequence[str]) -> Card:
    """From one latent to another, one class per row."""
    ends = latents.draw(generator.latent, 2, SEED).numpy()
    path = latents.interpolate(ends[:1], ends[1:], _STEPS)[0]
    z, labels = np.tile(path, [len(names), 1]), _labels(generator, names, _STEPS)
    videos = _generate(generator, z, labels, frames=_one_start(generator))
    rows = f"Rows: {', '.join(names)}."
    alt = f"Left to right from one latent to another. {rows}"
    return Card("Between two latents", [film(videos, _STEPS, alt)], rows)


def _between_classes(generator: generators.RunGenerator, first: str, last: str) -> Card:
    """From one class to another, one latent per row."""
    z = latents.draw(generator.latent, _ROWS, SEED).numpy()
    one_hot = np.eye(len(generator.class_names), dtype=np.float32)
    start, end = one_hot[_labels(generator, [first, last], 1)]
    weights = latents.interpolate(start[np.newaxis], end[np.newaxis], _STEPS)[0]
    videos = _generate(
        generator,
        z.repeat(_STEPS, axis=0),
        np.tile(weights, [_ROWS, 1]),
        frames=_one_start(generator),
    )
    alt = f"Left to right from class {first} to {last}, one latent per row."
    title = f"From {first} to {last}"
    return Card(title, [film(videos, _STEPS, alt)], "One latent per row.")


def _one_start(generator: generators.RunGenerator) -> np.ndarray | None:
    """Conditioning frames of one clip; None if the model or the run has none."""
    bank = generator.gan.frame_bank
    if not generator.num_conditioning_frames or bank is None:
        return None
    return bank[:1]
