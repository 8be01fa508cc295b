"""Procedural videos of textured objects that are pushed, collide and cover one another.

A physics engine, pymunk, moves discs and polygons, so that a video has a future that
can be predicted from its first frames. Objects of two layers collide only with those of
their own layer, and those in front cover the others. The class is what moves the
objects, and what else moves:

- Falling: gravity pulls them down; Sliding: they slide over a table, seen from above,
  and one of them is pushed into the others.
- Camera: the camera swings sideways; Light: a light moves over the scene.
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from tf_dvdgan import errors

CLASSES = tuple(
    m + v for m, v in itertools.product(("Falling", "Sliding"), ("Camera", "Light"))
)

_STEPS_PER_FRAME = 4
_SUPERSAMPLING = 3
_TEXTURE = 96  # pixels of a texture's side, which covers twice the radius
_WALL = 0.04  # radius of the walls, in units of the frame's height
_GRAVITY = 1.2  # heights per second^2
_DAMPING = 0.5  # share of the speed on the table that is left after a second
_ELASTICITY = 0.75
_SWING = 0.12  # of the camera, in heights
_DARK = 0.35  # brightness far from the light


@dataclasses.dataclass(frozen=True)
class _Object:
    """A body of the engine and its appearance.

    Attributes:
      body: with position (in heights) and angle.
      radius: of its circle, or of a polygon's corners, in heights.
      texture: `[side, side, 4]` float32, colors and opacity, in the body's frame.
      layer: 0 for the back.
    """

    body: Any
    radius: float
    texture: np.ndarray
    layer: int


def render(
    label: int,
    size: tuple[int, int],
    num_frames: int,
    fps: float,
    seed: Sequence[int],
) -> np.ndarray:
    """Renders one clip.

    Args:
      label: number of the class in `CLASSES`.
      size: height and width in pixels.
      num_frames: length of the clip.
      fps: frames per second.
      seed: seed of everything random.

    Returns:
      `[num_frames, height, width, 3]` uint8 RGB.

    Raises:
      UserError: pymunk is not installed.
    """
    rng = np.random.default_rng([*seed, label])
    height, width = size
    falls = CLASSES[label].startswith("Falling")
    space, objects = _scene(rng, width / height, falls)
    background = _background(rng, height, width)
    phase, direction = rng.uniform(0.0, 2.0 * math.pi), rng.choice([-1.0, 1.0])
    frames = []
    for t in range(num_frames):
        angle = phase + direction * 2.0 * math.pi * t / num_frames
        camera = light = None
        if CLASSES[label].endswith("Camera"):
            camera = _SWING * math.sin(angle)
        else:
            light = 0.5 + 0.45 * math.sin(angle), 0.35 + 0.2 * math.cos(angle)
        frames.append(_frame(background, objects, size, camera, light))
        for _ in range(_STEPS_PER_FRAME):
            space.step(1.0 / fps / _STEPS_PER_FRAME)
    return np.stack(frames)


def _scene(
    rng: np.random.Generator, width: float, falls: bool
) -> tuple[Any, list[_Object]]:
    """Returns the engine's space, and its objects from back to front."""
    try:
        import pymunk
    except ImportError:
        raise errors.UserError(
            "Videos of objects need pymunk: pip install 'tf_dvdgan[objects]'."
        ) from None
    space = pymunk.Space()
    space.gravity = (0.0, _GRAVITY if falls else 0.0)
    space.damping = 1.0 if falls else _DAMPING
    corners = [(0.0, 0.0), (width, 0.0), (width, 1.0), (0.0, 1.0)]
    if falls:  # open at the top
        corners[0:2] = [(0.0, -2.0), (width, -2.0)]
    for a, b in zip(corners, corners[1:] + corners[:1], strict=True):
        wall = pymunk.Segment(space.static_body, a, b, _WALL)
        wall.elasticity, wall.friction = _ELASTICITY, 0.5
        space.add(wall)
    objects: list[_Object] = []
    for number in range(int(rng.integers(3, 6))):
        radius = rng.uniform(0.1, 0.17)
        place = _free_place(rng, objects, radius, width, falls)
        sides = int(rng.choice([0, 3, 4, 6]))
        local = _corners(sides, radius)
        mass = radius**2
        if sides:
            body = pymunk.Body(mass, pymunk.moment_for_poly(mass, local))
            shape: Any = pymunk.Poly(body, local)
        else:
            body = pymunk.Body(mass, pymunk.moment_for_circle(mass, 0.0, radius))
            shape = pymunk.Circle(body, radius)
        body.position = place
        body.angle = rng.uniform(0.0, 2.0 * math.pi)
        speed = rng.uniform(0.2, 0.5)
        if not falls and number == 0:
            speed = 1.6  # it is pushed, through the middle
            way = math.atan2(0.5 - place[1], width / 2 - place[0])
        else:
            way = rng.uniform(0.0, 2.0 * math.pi)
        body.velocity = speed * math.cos(way), speed * math.sin(way)
        body.angular_velocity = rng.uniform(-3.0, 3.0)
        layer = number % 2
        shape.elasticity, shape.friction = _ELASTICITY, 0.5
        other_layer = 1 << (1 - layer)
        shape.filter = pymunk.ShapeFilter(
            categories=1 << layer, mask=pymunk.ShapeFilter.ALL_MASKS() ^ other_layer
        )
        space.add(body, shape)
        objects.append(_Object(body, radius, _texture(rng, sides), layer))
    return space, sorted(objects, key=lambda o: o.layer)


def _free_place(
    rng: np.random.Generator,
    objects: Sequence[_Object],
    radius: float,
    width: float,
    falls: bool,
) -> tuple[float, float]:
    """A place that no object covers, if one is found in a few tries."""
    margin = radius + _WALL
    lowest = 0.55 if falls else 1.0 - margin
    place = (width / 2, 0.5)
    for _ in range(50):
        place = (
            float(rng.uniform(margin, width - margin)),
            float(rng.uniform(margin, max(lowest, margin + 0.01))),
        )
        if all(math.dist(place, o.body.position) > radius + o.radius for o in objects):
            break
    return place


def _corners(sides: int, radius: float) -> list[tuple[float, float]]:
    """Corners of a regular polygon; none for 0 sides, a disc."""
    angles = [2.0 * math.pi * i / sides for i in range(sides)]
    return [(radius * math.cos(a), radius * math.sin(a)) for a in angles]


def _texture(rng: np.random.Generator, sides: int) -> np.ndarray:
    """Stripes or checks of two colors within an object's outline."""
    grid = (np.arange(_TEXTURE) + 0.5) / _TEXTURE * 2.0 - 1.0
    x, y = np.meshgrid(grid, grid)
    count = rng.uniform(1.2, 2.2)
    is_first = np.sin(count * math.pi * x) > 0.0
    if rng.uniform() < 0.5:
        is_first ^= np.sin(count * math.pi * y) > 0.0
    first, second = _colors(rng)
    colors = np.where(is_first[..., np.newaxis], first, second)
    outline = np.zeros([_TEXTURE, _TEXTURE], np.uint8)
    middle, radius = _TEXTURE / 2, _TEXTURE / 2 - 1
    if sides:
        corners = np.array(_corners(sides, radius)) + middle
        cv2.fillPoly(outline, [np.round(corners).astype(np.int32)], 255)
    else:
        cv2.circle(outline, (int(middle), int(middle)), int(radius), 255, -1)
    opacity = outline[..., np.newaxis] / 255.0
    return np.concatenate([colors * opacity, opacity], axis=-1).astype(np.float32)


def _colors(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A bright color, and a darker one of another hue, 0 to 255."""
    hue = int(rng.integers(180))
    hsv = [[[hue, 200, 255], [(hue + int(rng.integers(30, 150))) % 180, 200, 150]]]
    first, second = cv2.cvtColor(np.array(hsv, np.uint8), cv2.COLOR_HSV2RGB)[0]
    return first.astype(np.float32), second.astype(np.float32)


def _background(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Smooth noise in a dark color, wider than the frame, so that a camera can move."""
    s = _SUPERSAMPLING
    margin = math.ceil(2 * _SWING * height)
    coarse = rng.uniform(0.0, 1.0, [5, 8, 1]).astype(np.float32)
    shape = ((width + margin) * s, height * s)
    noise = cv2.resize(coarse, shape, interpolation=cv2.INTER_CUBIC)[..., np.newaxis]
    color = rng.uniform(30.0, 110.0, 3)
    return (color * (0.6 + 0.8 * noise)).astype(np.float32)


def _frame(
    background: np.ndarray,
    objects: Sequence[_Object],
    size: tuple[int, int],
    camera: float | None,
    light: tuple[float, float] | None,
) -> np.ndarray:
    """Paints one frame, enlarged, and reduces it.

    Args:
      background: `[height, more than width, 3]`, enlarged.
      objects: from back to front.
      size: height and width in pixels.
      camera: how far it is moved to the right, in heights; None if it stands still.
      light: its place in units of width and height; None for even light.
    """
    height, width = (side * _SUPERSAMPLING for side in size)
    shift = (camera or 0.0) * height
    left = round((background.shape[1] - width) / 2 + shift)
    canvas = background[:, left : left + width].copy()
    for one in objects:
        x, y = one.body.position
        _paint(canvas, one, x * height - shift, y * height, one.radius * height)
    if light is not None:
        rows, columns = np.mgrid[0:height, 0:width]
        distance = (columns / width - light[0]) ** 2 + (rows / height - light[1]) ** 2
        canvas *= (_DARK + (1.0 - _DARK) * np.exp(-5.0 * distance))[..., np.newaxis]
    small = cv2.resize(canvas, size[::-1], interpolation=cv2.INTER_AREA)
    return np.clip(np.round(small), 0, 255).astype(np.uint8)


def _paint(canvas: np.ndarray, one: _Object, x: float, y: float, radius: float) -> None:
    """Paints an object's texture, turned by its angle, over a canvas."""
    scale = 2.0 * radius / _TEXTURE
    cos, sin = scale * math.cos(one.body.angle), scale * math.sin(one.body.angle)
    middle = _TEXTURE / 2
    matrix = np.array(
        [
            [cos, -sin, x - (cos - sin) * middle],
            [sin, cos, y - (sin + cos) * middle],
        ]
    )
    turned = cv2.warpAffine(one.texture, matrix, canvas.shape[1::-1])
    canvas *= 1.0 - turned[..., 3:]
    canvas += turned[..., :3]
