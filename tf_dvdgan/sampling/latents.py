"""Latents and class numbers of samples, reproducible by seed at any batch size."""

import string

import numpy as np
import tensorflow as tf

from tf_dvdgan.models import video_gan

_LABELS = -1  # separates their seeds from those of latents


def draw(
    latent: video_gan.GaussianLatent,
    count: int | tf.Tensor,
    seed: int | tf.Tensor,
    truncation: float | tf.Tensor = 1.0,
) -> tf.Tensor:
    """Draws `[count, size]`: row i depends on the seed and i alone.

    Args:
      latent: the distribution.
      count: how many.
      seed: any integer.
      truncation: factor of z; below 1 samples are closer to the mean and less diverse.

    Returns:
      `[count, latent.size]` float32.
    """
    seed = tf.cast(seed, tf.int64)
    rows = tf.map_fn(
        lambda i: latent.sample(1, tf.stack([seed, i]))[0],
        tf.range(tf.cast(count, tf.int64)),
        fn_output_signature=tf.float32,
    )
    return tf.cast(truncation, tf.float32) * rows


def draw_labels(
    count: int | tf.Tensor, seed: int | tf.Tensor, num_classes: int
) -> tf.Tensor:
    """Draws class numbers uniformly: number i depends on the seed and i alone.

    Args:
      count: how many.
      seed: any integer.
      num_classes: numbers are from 0 to `num_classes` - 1.

    Returns:
      `[count]` int32.
    """
    seed = tf.random.experimental.stateless_fold_in(
        tf.stack([tf.cast(seed, tf.int64), _LABELS]), tf.constant(0, tf.int64)
    )
    return tf.map_fn(
        lambda i: tf.random.stateless_uniform(
            [],
            tf.random.experimental.stateless_fold_in(seed, i),
            0,
            num_classes,
            tf.int32,
        ),
        tf.range(tf.cast(count, tf.int64)),
        fn_output_signature=tf.int32,
    )


def interpolate(start: np.ndarray, end: np.ndarray, num_steps: int) -> np.ndarray:
    """Steps on the straight lines between rows, both ends included.

    Args:
      start: `[rows, size]` latents, or weights of classes.
      end: of the same shape.
      num_steps: at least 2.

    Returns:
      `[rows, num_steps, size]` float32.
    """
    share = np.linspace(0.0, 1.0, num_steps, dtype=np.float32)[:, np.newaxis]
    start, end = np.asarray(start)[:, np.newaxis], np.asarray(end)[:, np.newaxis]
    return (1.0 - share) * start + share * end


def evenly_spaced(count: int, at_most: int) -> np.ndarray:
    """Picks numbers from 0 to `count` - 1, the first and the last included.

    Args:
      count: how many there are.
      at_most: how many are picked at most.

    Returns:
      `[min(count, at_most)]` integers, increasing.
    """
    return np.unique(np.linspace(0, count - 1, min(count, at_most)).astype(int))


def subspaces(latent: video_gan.GaussianLatent) -> dict[str, slice]:
    """Slices of a latent's subspaces, named A, B, C (paper 003); {} if it has one."""
    if len(latent.sizes) == 1:
        return {}
    ends = np.cumsum(latent.sizes)
    return {
        name: slice(int(end) - size, int(end))
        for name, size, end in zip(
            string.ascii_uppercase, latent.sizes, ends, strict=False
        )
    }


def resample(z: np.ndarray, drawn: np.ndarray, subspace: slice) -> np.ndarray:
    """Latents with one subspace drawn again, the others frozen (paper 003, figure 12).

    Args:
      z: `[rows, size]`.
      drawn: `[rows, num, size]` latents that the subspace is taken from.
      subspace: of the latent.

    Returns:
      `[rows, 1 + num, size]`, z itself first.
    """
    frozen = np.repeat(z[:, np.newaxis], drawn.shape[1], axis=1)
    frozen[..., subspace] = drawn[..., subspace]
    return np.concatenate([z[:, np.newaxis], frozen], axis=1)
