"""A procedural, class-labeled video data set in UCF-101's layout.

Colored shapes move over plain backgrounds; the class is shape x motion. In the kind
"digits" scikit-learn's handwritten digits move instead, and the class is the digit; in
"objects" textured objects collide and cover one another, see `demo_objects`.
Half of the files are .avi (MPEG-4), half .mp4 (H.264). They are
`<output>/<Class>/v_<Class>_gNN_cNN.<suffix>`; UCF-101's lists are in
`<output>/ucfTrainTestlist/`.
"""

import colorsys
import functools
import itertools
import math
import os
from collections.abc import Callable, Iterator, Sequence

import cv2
import numpy as np

from tf_dvdgan import demo_objects, errors, terminal
from tf_dvdgan.data import files, filesystem, video_io

KINDS = ("shapes", "digits", "objects")
SHAPES = ("Circle", "Square", "Triangle")
MOTIONS = ("Horizontal", "Vertical", "Round")
SHAPE_CLASSES = tuple(m + s for s, m in itertools.product(SHAPES, MOTIONS))
_CLASSES = {
    "shapes": SHAPE_CLASSES,
    "digits": tuple(f"Digit{d}" for d in range(10)),
    "objects": demo_objects.CLASSES,
}

_NUM_FRAMES = 40
_FPS = 25.0
_PERIOD = 32.0  # frames for one cycle of a motion
_CLIPS_PER_GROUP = 4  # clips of a group share colors, as UCF-101's share a scene
_TEST_EVERY = 4  # every fourth group is in the test split
_SUPERSAMPLING = 4

Color = tuple[float, float, float]
# Paints on a canvas `[height, width, 3]`; takes the center `[2]` (x, y) and the radius.
Draw = Callable[[np.ndarray, np.ndarray, float], None]


def class_names(kind: str) -> tuple[str, ...]:
    """Class names of the demo set of a kind: 'shapes', 'digits' or 'objects'."""
    return _CLASSES[kind]


def render(kind: str, label: int, size: tuple[int, int], seed: list[int]) -> np.ndarray:
    """Renders one clip.

    Args:
      kind: 'shapes', 'digits' or 'objects'.
      label: class number, from 0.
      size: height and width in pixels.
      seed: seed of the data set, number of the group, number of the clip in it; colors
        depend only on the first two.

    Returns:
      `[40, height, width, 3]` uint8 RGB.
    """
    if kind == "objects":
        return demo_objects.render(label, size, _NUM_FRAMES, _FPS, seed)
    height, width = size
    group_rng = np.random.default_rng([*seed[:2], label])
    rng = np.random.default_rng([*seed, label])
    background = _background(group_rng, height, width)
    color = _rgb(group_rng.uniform(), group_rng.uniform(0.75, 1.0), 1.0)
    radius = min(size) * rng.uniform(0.17, 0.23)
    draw: Draw
    if kind == "shapes":
        draw = functools.partial(_draw_shape, SHAPES[label // len(MOTIONS)], color)
        motion = MOTIONS[label % len(MOTIONS)]
    else:
        draw = _digit(label, color, rng)
        motion = MOTIONS[int(rng.integers(len(MOTIONS)))]
    frames = [
        _frame(background, draw, x * width, y * height, radius)
        for x, y in _path(motion, rng)
    ]
    return np.stack(frames)


def _background(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A dark vertical gradient of one hue."""
    hue = rng.uniform()
    top, bottom = (
        np.array(_rgb(hue, 0.5, value)) for value in rng.uniform(0.1, 0.4, 2)
    )
    weight = np.linspace(0.0, 1.0, height)[:, None, None]
    return np.broadcast_to(top * (1 - weight) + bottom * weight, (height, width, 3))


def _rgb(hue: float, saturation: float, value: float) -> Color:
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return 255.0 * red, 255.0 * green, 255.0 * blue


def _path(motion: str, rng: np.random.Generator) -> Iterator[tuple[float, float]]:
    """Yields the center in each frame, in units of width and height."""
    start, direction = rng.uniform(0, 2 * math.pi), rng.choice([-1, 1])
    fixed = rng.uniform(0.4, 0.6)
    for t in range(_NUM_FRAMES):
        angle = start + direction * 2 * math.pi * t / _PERIOD
        swing = 0.28 * math.sin(angle)
        if motion == "Horizontal":
            yield 0.5 + swing, fixed
        elif motion == "Vertical":
            yield fixed, 0.5 + swing
        else:
            yield 0.5 + 0.25 * math.cos(angle), 0.5 + 0.25 * math.sin(angle)


def _frame(
    background: np.ndarray, draw: Draw, x: float, y: float, radius: float
) -> np.ndarray:
    """Renders one frame with antialiasing: `draw` paints on an enlarged canvas."""
    s = _SUPERSAMPLING
    height, width = background.shape[:2]
    large = cv2.resize(background, (width * s, height * s))
    draw(large, np.array([x * s, y * s]), radius * s)
    small = cv2.resize(large, (width, height), interpolation=cv2.INTER_AREA)
    return np.clip(np.round(small), 0, 255).astype(np.uint8)


def _draw_shape(
    shape: str, color: Color, canvas: np.ndarray, center: np.ndarray, radius: float
) -> None:
    if shape == "Circle":
        cv2.circle(canvas, np.round(center).astype(int), round(radius), color, -1)
        return
    sides = {"Square": 4, "Triangle": 3}[shape]
    first = math.pi / 4 if shape == "Square" else -math.pi / 2
    angles = first + 2 * math.pi * np.arange(sides) / sides
    corners = center + 1.2 * radius * np.stack([np.cos(angles), np.sin(angles)], 1)
    cv2.fillPoly(canvas, [np.round(corners).astype(np.int32)], color)


def _digit(label: int, color: Color, rng: np.random.Generator) -> Draw:
    """Returns a function that paints a random 8x8 digit of scikit-learn's."""
    from sklearn import datasets

    digits = datasets.load_digits()
    images = digits.images[digits.target == label] / 16.0
    image = images[int(rng.integers(len(images)))]

    def draw(canvas: np.ndarray, center: np.ndarray, radius: float) -> None:
        side = round(2.4 * radius)
        alpha = cv2.resize(image, (side, side))[:, :, None]
        left, top = np.round(center - side / 2).astype(int)
        y0, x0 = max(top, 0), max(left, 0)
        patch = canvas[y0 : top + side, x0 : left + side]
        alpha = alpha[y0 - top :, x0 - left :][: patch.shape[0], : patch.shape[1]]
        patch[:] = patch * (1 - alpha) + np.array(color) * alpha

    return draw


def write_dataset(
    output: str, kind: str, num_videos: int, size: tuple[int, int], seed: int
) -> None:
    """Writes the data set, the lists last.

    Args:
      output: folder to write to.
      kind: 'shapes', 'digits' or 'objects'.
      num_videos: number of videos, distributed evenly over the classes.
      size: height and width in pixels, both even and at least 16.
      seed: seed of everything random, at least 0.

    Raises:
      UserError: there is no such kind, size or seed, or the folder cannot be written.
    """
    if kind not in KINDS:
        raise errors.InvalidValueError(
            f"kind must be one of {KINDS}. Received: {kind!r}"
        )
    if min(size) < 16 or any(side % 2 for side in size):
        raise errors.InvalidValueError(
            f"size must be an even height and width of at least 16. Received: {size}"
        )
    if not isinstance(seed, int | np.integer) or seed < 0:
        raise errors.UserError(
            f"`seed` must be a whole number of at least 0, not {seed!r}."
        )
    files.check_writable(output, as_folder=True)
    names = class_names(kind)
    train: list[tuple[str, int]] = []
    test: list[tuple[str, int]] = []
    progress = terminal.Progress("writing videos", num_videos)
    for i in range(num_videos):
        label, index = i % len(names), i // len(names)
        group, clip = divmod(index, _CLIPS_PER_GROUP)
        suffix = (".avi", ".mp4")[index % 2]
        name = names[label]
        relative = f"{name}/v_{name}_g{group + 1:02}_c{clip + 1:02}{suffix}"
        is_test = group % _TEST_EVERY == _TEST_EVERY - 1
        (test if is_test else train).append((relative, label))
        path = os.path.join(output, relative)
        filesystem.makedirs(os.path.dirname(path))
        frames = render(kind, label, size, [seed, group, clip])
        video_io.write_video(path, frames, _FPS)
        progress.update(i + 1)
    _write_lists(os.path.join(output, "ucfTrainTestlist"), names, train, test)


def _write_lists(
    folder: str,
    names: Sequence[str],
    train: Sequence[tuple[str, int]],
    test: Sequence[tuple[str, int]],
) -> None:
    """Writes UCF-101's three lists, whose labels count from 1."""
    filesystem.makedirs(folder)
    contents = {
        "classInd.txt": [f"{i + 1} {name}" for i, name in enumerate(names)],
        "trainlist01.txt": [f"{path} {label + 1}" for path, label in train],
        "testlist01.txt": [path for path, _ in test],
    }
    for file_name, lines in contents.items():
        text = "".join(f"{line}\n" for line in lines)
        files.atomic_write(os.path.join(folder, file_name), text)
