"""Predictions of a video file."""

import os

import numpy as np

from tf_dvdgan import errors, generators, visualize
from tf_dvdgan.data import clip_files
from tf_dvdgan.sampling import latents


def write_predictions(
    generator: generators.Generator,
    video: str,
    style: visualize.Style,
    *,
    count: int = 4,
    start_frame: int = 0,
    truncation: float = 1.0,
    seed: int = 0,
) -> str:
    """Continues a video file; writes a file for each sample, and a grid.

    Args:
      generator: a prediction model.
      video: video file to continue; resized and cropped as in evaluation.
      style: where and how to write the files.
      count: number of samples.
      start_frame: number of the first frame to use; the others follow at the model's
        stride.
      truncation: factor of the latents.
      seed: seed of the latents.

    Returns:
      The path of the grid.

    Raises:
      UserError: it is not a prediction model, or the video is too short.
    """
    given = generator.num_conditioning_frames
    if not given:
        raise errors.UserError(
            f"The model in {generator.place!r} does not start from frames; use "
            "python -m tools.sample."
        )
    frames = clip_files.read_frames(
        video, given, generator.stride, start_frame, generator.resolution
    )
    z = latents.draw(generator.latent, count, seed)
    starts = np.repeat(frames[np.newaxis], count, axis=0)
    videos = generator.videos(z, [0] * count, truncation, starts)
    shared = generator.metadata | {
        "video": os.path.basename(video),
        "start_frame": start_frame,
        "truncation": truncation,
        "seed": seed,
    }
    metadata = [shared | {"index": i} for i in range(count)]
    stems = [f"{i:04}" for i in range(count)]
    return visualize.write(
        style.output, videos, stems, style.suffix, style.fps, metadata
    )
