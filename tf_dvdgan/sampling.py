"""Samples of a generator: reproducible by seed, whatever the batch size."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tf_dvdgan.data import transforms
from tf_dvdgan.models import video_gan

_LABELS = -1  # keeps their seeds apart from those of latents


def latents(
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
    """
    seed = tf.cast(seed, tf.int64)
    rows = tf.map_fn(
        lambda i: latent.sample(1, tf.stack([seed, i]))[0],
        tf.range(tf.cast(count, tf.int64)),
        fn_output_signature=tf.float32,
    )
    return tf.cast(truncation, tf.float32) * rows


def labels(
    count: int | tf.Tensor, seed: int | tf.Tensor, num_classes: int
) -> tf.Tensor:
    """Draws `[count]` int32 class numbers: number i depends on seed and i alone."""
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


def generate(
    generator: tf.keras.Model,
    z: tf.Tensor,
    labels: Sequence[int],
    batch_size: int = 16,
) -> np.ndarray:
    """Generates videos with standing statistics.

    Args:
      generator: with weights and statistics in place.
      z: `[count, size]`.
      labels: `[count]` class numbers.
      batch_size: how many at a time; it does not change them.

    Returns:
      `[count, time, height, width, 3]` uint8.
    """
    run = tf.function(
        lambda z, y: transforms.to_uint8(generator(z, y, training=False)),
        input_signature=[
            tf.TensorSpec([None, z.shape[1]], tf.float32),
            tf.TensorSpec([None], tf.int32),
        ],
    )
    labels = tf.constant(labels, tf.int32)
    batches = [
        run(z[i : i + batch_size], labels[i : i + batch_size]).numpy()
        for i in range(0, len(z), batch_size)
    ]
    return np.concatenate(batches)
