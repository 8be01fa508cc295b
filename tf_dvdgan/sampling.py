"""Samples of a generator: reproducible by seed, whatever the batch size."""

import numpy as np
import tensorflow as tf

from tf_dvdgan.data import readers, transforms
from tf_dvdgan.models import vgan, video_gan

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
    gan: video_gan.VideoGAN,
    z: tf.Tensor,
    conditioning: video_gan.Conditioning,
    batch_size: int = 16,
) -> dict[str, np.ndarray]:
    """Generates videos with standing statistics.

    Args:
      gan: with weights and statistics in place.
      z: `[count, size]`.
      conditioning: of `count` samples.
      batch_size: how many at a time; it does not change them.

    Returns:
      "videos" and what parts the generator shows, each
      `[count, time, height, width, 3]` uint8.
    """
    batches = []
    for i in range(0, len(z), batch_size):
        part = {name: x[i : i + batch_size] for name, x in conditioning.items()}
        outputs = gan.compiled_generate(z[i : i + batch_size], part)
        batches.append(
            {name: transforms.to_uint8(_in_colour(x)) for name, x in outputs.items()}
        )
    return {name: np.concatenate([b[name] for b in batches]) for name in batches[0]}


def read_frames(
    gan: video_gan.VideoGAN, data_dir: str, window: readers.Window, split: str = "train"
) -> tf.Tensor:
    """First frames of every clip of a split, in [-1, 1], as a frame bank."""
    count = gan.generator.num_conditioning_frames
    rows = readers.evaluation_dataset(data_dir, window, split)
    frames = [row["video"][:count] for row in rows.as_numpy_iterator()]
    return transforms.to_unit_range(np.stack(frames))


def from_mixture(
    gan: video_gan.VideoGAN, count: int, seed: int, batch_size: int = 16
) -> tuple[np.ndarray, int]:
    """Samples of an autoencoder: codes from a mixture fitted to its frame bank's.

    Args:
      gan: with an autoencoder for a generator, and videos as its frame bank.
      count: how many.
      seed: of the mixture and its samples.
      batch_size: how many at a time.

    Returns:
      `[count, time, height, width, 3]` uint8, and the mixture's number of components.
    """
    bank, generator = gan.frame_bank, gan.generator
    codes = [
        generator.encode(bank[i : i + batch_size], training=False).numpy()
        for i in range(0, len(bank), batch_size)
    ]
    mixture = vgan.fit_mixture(np.concatenate(codes).astype(np.float64), seed=seed)
    drawn = mixture.sample(count)[0].astype(np.float32)
    videos = [
        transforms.to_uint8(generator.decoder(drawn[i : i + batch_size])["videos"])
        for i in range(0, count, batch_size)
    ]
    return np.concatenate(videos), mixture.n_components


def _in_colour(part: tf.Tensor) -> tf.Tensor:
    """A mask in [0, 1], one channel, as a grey video in [-1, 1]."""
    return tf.repeat(2.0 * part - 1.0, 3, -1) if part.shape[-1] == 1 else part
