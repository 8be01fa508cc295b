"""Standing statistics of a generator (BigGAN): those of batches, averaged."""

from collections.abc import Sequence

import tensorflow as tf

from tf_dvdgan import layers
from tf_dvdgan.layers import conditional_batch_norm
from tf_dvdgan.models import video_gan

NUM_BATCHES = 16  # that statistics are made of, where nobody says otherwise
BATCH_SIZE = 32

_SEED = 20190715  # of the latents; the date of the paper


def norm_layers(generator: tf.keras.Model) -> list[layers.BatchNorm]:
    """All normalization layers with standing statistics, in order of creation."""
    return [m for m in generator.submodules if isinstance(m, layers.BatchNorm)]


class StandingStatistics:
    """Accumulates a generator's standing statistics over batches of latents.

    Args:
      gan: its generator, its latent.
      batch_size: videos of a batch; rounded to as many for each replica.
      strategy: spreads each batch over its replicas; None outside a strategy.
    """

    def __init__(
        self,
        gan: video_gan.Networks,
        batch_size: int = BATCH_SIZE,
        strategy: tf.distribute.Strategy | None = None,
    ):
        self._gan = gan
        self._strategy = strategy or tf.distribute.get_strategy()
        replicas = self._strategy.num_replicas_in_sync
        self._size = max(batch_size // replicas, 1)
        self._batch_size = self._size * replicas

    def accumulate(
        self, num_batches: int = NUM_BATCHES, truncation: float = 1.0
    ) -> None:
        """Forgets the old statistics and makes new ones.

        Args:
          num_batches: with z and classes drawn again for each; the same for every call.
            Samples that start from frames go through the whole frame bank.
          truncation: factor of z.
        """
        self.reset()
        truncation = tf.constant(truncation, tf.float32)
        for i in range(num_batches):
            first = tf.constant(i * self._batch_size)
            self._accumulate(tf.constant([_SEED, i], tf.int64), first, truncation)

    def reset(self) -> None:
        """Forgets what was accumulated."""
        with self._strategy.scope():
            for layer in norm_layers(self._gan.generator):
                layer.reset_standing_statistics()

    @tf.function(autograph=False)
    def _accumulate(
        self, seed: tf.Tensor, first: tf.Tensor, truncation: tf.Tensor
    ) -> None:
        self._strategy.run(self._accumulate_on_replica, args=(seed, first, truncation))

    def _accumulate_on_replica(
        self, seed: tf.Tensor, first: tf.Tensor, truncation: tf.Tensor
    ) -> None:
        gan, size = self._gan, self._size
        z = truncation * gan.latent.sample(self._batch_size, seed)
        labels = tf.random.stateless_uniform(
            [self._batch_size],
            tf.random.experimental.stateless_fold_in(seed, tf.constant(1, tf.int64)),
            0,
            max(gan.generator.num_classes, 1),
            tf.int32,
        )
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        z = tf.slice(z, [replica * size, 0], [size, gan.latent.size])
        labels = tf.slice(labels, [replica * size], [size])
        with conditional_batch_norm.accumulate_standing_statistics():
            gan.generate(z, gan.conditioning_from_bank(labels, first + replica * size))


def read(generator: tf.keras.Model) -> dict[str, Sequence[tf.Tensor]]:
    """Each normalization layer's standing mean and variance, by its name."""
    return {m.name: m.standing_statistics() for m in norm_layers(generator)}
