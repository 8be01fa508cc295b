"""Samples of a generator: reproducible by seed, whatever the batch size."""

import hashlib
import string
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from tf_dvdgan.data import transforms
from tf_dvdgan.layers import conditional_batch_norm, normalization
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


def render(
    gan: video_gan.Networks,
    z: tf.Tensor,
    class_weights: tf.Tensor | None,
    truncation: tf.Tensor,
    frames: tf.Tensor | None,
    statistics: Mapping[str, normalization.Statistics],
) -> tf.Tensor:
    """Generates one batch of videos with the statistics of its truncation.

    Args:
      gan: with weights in place.
      z: `[batch, size]`, not truncated yet.
      class_weights: `[batch, num_classes]` float32; None where there are no classes.
      truncation: scalar, factor of z.
      frames: `[batch, frames, height, width, 3]` uint8 to start from; None for none.
      statistics: see `conditional_batch_norm.use_statistics`.

    Returns:
      `[batch, time, height, width, 3]` float32 in [-1, 1].
    """
    if class_weights is None:
        class_weights = tf.zeros([tf.shape(z)[0], 1])
    start = None if frames is None else transforms.to_unit_range(frames)
    with conditional_batch_norm.use_statistics(statistics):
        given = gan.conditioning(class_weights, start)
        return gan.generate(truncation * z, given)["videos"]


def generate(
    gan: video_gan.Networks,
    z: tf.Tensor,
    conditioning: video_gan.Conditioning,
    batch_size: int = 16,
    strategy: tf.distribute.Strategy | None = None,
) -> dict[str, np.ndarray]:
    """Generates videos with standing statistics.

    Args:
      gan: with weights and statistics in place.
      z: `[count, size]`.
      conditioning: of `count` samples.
      batch_size: how many at a time; it does not change them.
      strategy: whose devices make them, each the same; None outside a strategy.

    Returns:
      "videos" and what parts the generator shows, each
      `[count, time, height, width, 3]` uint8.
    """
    batches = []
    for i in range(0, len(z), batch_size):
        part = {name: x[i : i + batch_size] for name, x in conditioning.items()}
        outputs = gan.compiled_generate(z[i : i + batch_size], part, strategy)
        if strategy:
            outputs = {
                name: strategy.experimental_local_results(x)[0]
                for name, x in outputs.items()
            }
        batches.append(
            {name: transforms.to_uint8(_in_colour(x)) for name, x in outputs.items()}
        )
    return {name: np.concatenate([b[name] for b in batches]) for name in batches[0]}


def interpolate(start: np.ndarray, end: np.ndarray, num_steps: int) -> np.ndarray:
    """Steps on the straight lines between rows, both ends among them.

    Args:
      start: `[rows, size]` latents, or weights of classes.
      end: the same.
      num_steps: at least 2.

    Returns:
      `[rows, num_steps, size]` float32.
    """
    share = np.linspace(0.0, 1.0, num_steps, dtype=np.float32)[:, np.newaxis]
    start, end = np.asarray(start)[:, np.newaxis], np.asarray(end)[:, np.newaxis]
    return (1.0 - share) * start + share * end


def spread(count: int, at_most: int) -> np.ndarray:
    """Numbers from all over 0 to `count` - 1, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, at_most)).astype(int))


def subspaces(latent: video_gan.GaussianLatent) -> dict[str, slice]:
    """Where a latent's subspaces lie, named A, B, C as in paper 003; none if one."""
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
      drawn: `[rows, num, size]`, what the subspace is taken from.
      subspace: where it lies.

    Returns:
      `[rows, 1 + num, size]`, z itself first.
    """
    frozen = np.repeat(z[:, np.newaxis], drawn.shape[1], axis=1)
    frozen[..., subspace] = drawn[..., subspace]
    return np.concatenate([z[:, np.newaxis], frozen], axis=1)


def from_mixture(
    gan: video_gan.Networks, count: int, seed: int, batch_size: int = 16
) -> tuple[np.ndarray, int]:
    """Samples of an autoencoder: codes from a mixture fitted to its frame bank's.

    Args:
      gan: with an autoencoder for a generator, its standing statistics in place, and
        videos as its frame bank.
      count: how many.
      seed: of the mixture and its samples.
      batch_size: how many at a time.

    Returns:
      `[count, time, height, width, 3]` uint8, and the mixture's number of components.
    """
    bank, generator = gan.frame_bank, gan.generator
    codes = [
        generator.encode(
            transforms.to_unit_range(bank[i : i + batch_size]), training=False
        ).numpy()
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


def digest_of_weights(network: tf.keras.Model) -> str:
    """SHA-256 of a network's trainable weights, the same wherever they lie."""
    return digest([variable.numpy() for variable in network.trainable_variables])


def digest(arrays: Sequence[np.ndarray]) -> str:
    """SHA-256 of arrays' shapes and values."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(str(array.shape).encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()
