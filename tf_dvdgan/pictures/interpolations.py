"""Interpolations between latents or classes, and resampled subspaces."""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from tf_dvdgan import errors, generators, visualize
from tf_dvdgan.sampling import latents


@dataclasses.dataclass(frozen=True)
class Interpolation:
    """What changes along a row of videos.

    Attributes:
      between: 'latents', 'classes' or 'both'.
      resample: subspaces of MVT-GAN's latent, 'A' to 'C'; each gets a row of videos
        that differ only in it, instead of an interpolation (paper 003, figure 12).
      classes: names or numbers of the class, or of the two classes to interpolate
        between; by default the first ones.
      num_rows: number of interpolations.
      num_steps: number of videos per interpolation.
      truncation: factor of the latents.
      seed: seed of the latents.

    Raises:
      UserError: `resample` replaces an interpolation of classes, or the seed is
        invalid.
    """

    between: str = "latents"
    resample: Sequence[str] = ()
    classes: Sequence[str] | None = None
    num_rows: int = 1
    num_steps: int = 8
    truncation: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.resample and self.between != "latents":
            raise errors.UserError("Set either `between` or `resample`, not both.")
        latents.check_seed(self.seed)


def write_interpolation(
    generator: generators.Generator,
    interpolation: Interpolation,
    style: visualize.Style,
) -> str:
    """Writes interpolations between latents or classes, or resampled subspaces.

    In a PNG each video is a column, with time from top to bottom; GIF and MP4 show
    moving rows (paper 001, figures 15 and 16; 003, figures 8 to 12).

    Args:
      generator: generator of the videos.
      interpolation: what changes along a row.
      style: where and how to write the file.

    Returns:
      The path of the file.

    Raises:
      UserError: the model is a prediction model, or lacks the classes or subspaces.
    """
    if generator.num_conditioning_frames:
        raise errors.UserError(
            f"{generator.name} starts from frames; use python -m tools.predict to "
            "continue a video."
        )
    labels = _end_labels(generator, interpolation)
    make = _resampled if interpolation.resample else _interpolated
    z, weights, rows_of_captions = make(generator, interpolation, labels)
    captions = [*itertools.chain.from_iterable(rows_of_captions)]
    videos = generator.videos(
        np.concatenate(z), np.concatenate(weights), interpolation.truncation
    )
    if style.suffix == "png":
        frames = visualize.columns(videos, captions, interpolation.num_steps)[None]
    else:
        videos = visualize.add_captions(videos, captions)
        frames = visualize.grid(videos, interpolation.num_steps)
    name, metadata = "interpolation", dict(generator.metadata)
    if interpolation.resample:
        name, metadata["resample"] = "resampled", [*interpolation.resample]
    else:
        metadata["between"] = interpolation.between
    metadata |= {
        "classes": [generator.class_names[label] for label in labels],
        "truncation": interpolation.truncation,
        "seed": interpolation.seed,
        "num_rows": interpolation.num_rows,
        "num_steps": interpolation.num_steps,
    }
    return visualize.write_video(
        style.output, f"{name}.{style.suffix}", frames, style.fps, metadata
    )


def _end_labels(
    generator: generators.Generator, interpolation: Interpolation
) -> list[int]:
    """Returns the number of the class, or of the two classes, that are shown."""
    needed = 2 if interpolation.between != "latents" else 1
    if needed > len(generator.class_names):
        raise errors.UserError(
            f"{generator.name} has only one class; use `between=latents`."
        )
    if interpolation.classes is None:
        return list(range(needed))
    if len(interpolation.classes) != needed:
        raise errors.UserError(
            f"`classes` must name {needed} here, separated by a comma, not "
            f"{len(interpolation.classes)}."
        )
    return [generator.label_of(name) for name in interpolation.classes]


def _interpolated(
    generator: generators.Generator, interpolation: Interpolation, labels: list[int]
) -> tuple[np.ndarray, np.ndarray, list[list[str]]]:
    """Interpolates latents and class weights; returns captions too, row by row."""
    rows, steps = interpolation.num_rows, interpolation.num_steps
    z = latents.draw(generator.latent, 2 * rows, interpolation.seed).numpy()
    start, end = z[0::2], z[1::2]
    if interpolation.between == "classes":
        end = start
    z = latents.interpolate(start, end, steps)
    one_hot = np.eye(len(generator.class_names), dtype=np.float32)
    ends = one_hot[labels[:1]], one_hot[labels[-1:]]
    weights = np.repeat(latents.interpolate(*ends, steps), rows, axis=0)
    names = [generator.class_names[label] for label in labels]
    shares = [f"{i / (steps - 1):.2f}" for i in range(steps)]
    captions = [names[0], *shares[1:-1], names[-1]]
    return z, weights, [captions] * rows


def _resampled(
    generator: generators.Generator, interpolation: Interpolation, labels: list[int]
) -> tuple[np.ndarray, np.ndarray, list[list[str]]]:
    """Returns rows like `_interpolated`, of samples that differ in one subspace."""
    subspaces = latents.subspaces(generator.latent)
    if not subspaces:
        raise errors.UserError(
            f"The latent of {generator.name} has no subspaces; `resample` needs a "
            "model like MVT-GAN."
        )
    for name in interpolation.resample:
        if name not in subspaces:
            raise errors.UserError(
                f"The latent has no subspace {name!r}; it has {', '.join(subspaces)}."
            )
    rows, steps = interpolation.num_rows, interpolation.num_steps
    z = latents.draw(generator.latent, rows * steps, interpolation.seed).numpy()
    z = z.reshape(rows, steps, -1)
    by_subspace = [  # `[rows, steps, size]` each
        latents.resample(z[:, 0], z[:, 1:], subspaces[name])
        for name in interpolation.resample
    ]
    one_hot = np.eye(len(generator.class_names), dtype=np.float32)
    weights = np.tile(one_hot[labels[0]], [rows * len(by_subspace), steps, 1])
    original = generator.class_names[labels[0]]
    captions = [
        [original] + [f"new {name}"] * (steps - 1) for name in interpolation.resample
    ]
    z = np.stack(by_subspace, axis=1).reshape(-1, *z.shape[1:])
    return z, weights, captions * rows
