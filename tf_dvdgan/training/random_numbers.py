"""Random numbers of a training step.

They are generated for the global batch from (seed, step), and each replica takes the
rows of its samples, so they do not depend on the number of replicas, nor on the number
of passes that a batch is split into.
"""

from collections.abc import Sequence

import tensorflow as tf

from tf_dvdgan.models import video_gan
from tf_dvdgan.training import augmentation

# Streams of random numbers within an update.
(
    _LATENTS,
    _REAL_UNIFORM,
    _FAKE_UNIFORM,
    _REAL_NOISE,
    _FAKE_NOISE,
    _REAL_AUGMENTATION,
    _FAKE_AUGMENTATION,
    _DIRECTIONS,
) = range(8)


class RandomNumbers:
    """Random numbers of one update of the discriminators or of the generator.

    Args:
      gan: the GAN.
      batch_size: number of videos per update, over all replicas.
      rows: `[n]` int32, numbers of the samples within the global batch to draw for;
        None for all of them.
      seed: `[2]`, seed of the update.
    """

    def __init__(
        self,
        gan: video_gan.Networks,
        batch_size: int,
        rows: tf.Tensor | None,
        seed: tf.Tensor,
    ):
        self._gan = gan
        self._batch_size = batch_size
        self._rows = rows
        self._seed = seed

    def latents(self) -> tf.Tensor:
        """Draws z, `[n, latent.size]`."""
        seed = fold_in(self._seed, _LATENTS)
        return self._own(self._gan.latent.sample(self._batch_size, seed=seed))

    def uniform_noise(self, discriminator: int, fake: bool) -> tf.Tensor:
        """Draws the random numbers of a discriminator's sampling.

        Args:
          discriminator: its number.
          fake: whether it scores generated videos.

        Returns:
          `[n, num_uniforms]` in [0, 1).
        """
        num_frames = self._gan.generator.num_frames
        count = self._gan.discriminators[discriminator].num_uniforms(num_frames)
        seed = fold_in(self._seed, _FAKE_UNIFORM if fake else _REAL_UNIFORM)
        return self._uniform(count, fold_in(seed, discriminator))

    def augmentation(self, fake: bool) -> tf.Tensor:
        """Draws the random numbers of an augmentation, `[n, NUM_UNIFORMS]`."""
        stream = _FAKE_AUGMENTATION if fake else _REAL_AUGMENTATION
        return self._uniform(augmentation.NUM_UNIFORMS, fold_in(self._seed, stream))

    def noise(self, shape: Sequence[int], fake: bool) -> tf.Tensor:
        """Draws noise for the discriminators' input.

        Args:
          shape: shape of a video.
          fake: whether they score generated videos.

        Returns:
          `[n, *shape]` of N(0, 1).
        """
        return self._normal(shape, _FAKE_NOISE if fake else _REAL_NOISE)

    def directions(self, shape: Sequence[int], discriminator: int) -> tf.Tensor:
        """Draws directions of finite differences, or signs.

        Args:
          shape: shape of each sample's numbers, such as that of a video.
          discriminator: number of the discriminator.

        Returns:
          `[n, *shape]` of N(0, 1).
        """
        return self._normal(shape, _DIRECTIONS + discriminator)

    def _uniform(self, count: int, seed: tf.Tensor) -> tf.Tensor:
        return self._own(tf.random.stateless_uniform([self._batch_size, count], seed))

    def _normal(self, shape: Sequence[int], stream: int) -> tf.Tensor:
        """Draws for each sample by itself: numbers for all samples would be many."""
        seed = fold_in(self._seed, stream)
        rows = tf.range(self._batch_size) if self._rows is None else self._rows
        return tf.map_fn(
            lambda row: tf.random.stateless_normal(shape, fold_in(seed, row)),
            rows,
            fn_output_signature=tf.float32,
        )

    def _own(self, x: tf.Tensor) -> tf.Tensor:
        if self._rows is None:
            return x
        return tf.slice(x, [self._rows[0], 0], [self._rows.shape[0], x.shape[1]])


def fold_in(seed: tf.Tensor, number: int | tf.Tensor) -> tf.Tensor:
    """Derives a new seed.

    Args:
      seed: `[2]` integers.
      number: scalar integer; different numbers yield independent seeds.

    Returns:
      `[2]` integers.
    """
    return tf.random.experimental.stateless_fold_in(seed, tf.cast(number, seed.dtype))
