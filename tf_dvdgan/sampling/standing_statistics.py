"""Standing statistics of a generator (BigGAN): batch statistics, averaged.

They belong to the weights and to a truncation. `StandingStatistics.compute` returns
them as a value, which goes into `Networks.generate`; the layers keep nothing.
"""

import tensorflow as tf

from tf_dvdgan.layers import conditional_batch_norm
from tf_dvdgan.models import video_gan

NUM_BATCHES = 16  # the default
BATCH_SIZE = 32

_SEED = 20190715  # of the latents; the date of the paper


class StandingStatistics:
    """Computes a generator's standing statistics over batches of latents.

    Args:
      networks: with generator and latent.
      batch_size: videos of a batch; rounded to the same number for each replica.
      strategy: spreads each batch over its replicas; None outside a strategy.
    """

    def __init__(
        self,
        networks: video_gan.Networks,
        batch_size: int = BATCH_SIZE,
        strategy: tf.distribute.Strategy | None = None,
    ):
        self._networks = networks
        self._layers = conditional_batch_norm.layers_of(networks.generator)
        self._strategy = strategy or tf.distribute.get_strategy()
        replicas = self._strategy.num_replicas_in_sync
        self._size = max(batch_size // replicas, 1)
        self._batch_size = self._size * replicas

    def compute(
        self, num_batches: int = NUM_BATCHES, truncation: float = 1.0
    ) -> conditional_batch_norm.AllStatistics:
        """Averages the statistics of batches.

        Args:
          num_batches: z and classes are drawn again for each, and are the same for
            every call. Samples that start from frames go through the whole frame bank.
          truncation: factor of z.

        Returns:
          Mean and variance of each layer, in the order of
          `conditional_batch_norm.layers_of`.
        """
        self._reset()
        factor = tf.constant(truncation, tf.float32)
        for i in range(num_batches):
            first = tf.constant(i * self._batch_size)
            self._accumulate(tf.constant([_SEED, i], tf.int64), first, factor)
        found = [layer.standing_statistics() for layer in self._layers]
        self._reset()
        return found

    def _reset(self) -> None:
        with self._strategy.scope():
            for layer in self._layers:
                layer.reset_standing_statistics()

    @tf.function(autograph=False)
    def _accumulate(
        self, seed: tf.Tensor, first: tf.Tensor, truncation: tf.Tensor
    ) -> None:
        self._strategy.run(self._accumulate_on_replica, args=(seed, first, truncation))

    def _accumulate_on_replica(
        self, seed: tf.Tensor, first: tf.Tensor, truncation: tf.Tensor
    ) -> None:
        networks, size = self._networks, self._size
        z = truncation * networks.latent.sample(self._batch_size, seed)
        labels = tf.random.stateless_uniform(
            [self._batch_size],
            tf.random.experimental.stateless_fold_in(seed, tf.constant(1, tf.int64)),
            0,
            max(networks.generator.num_classes, 1),
            tf.int32,
        )
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        z = tf.slice(z, [replica * size, 0], [size, networks.latent.size])
        labels = tf.slice(labels, [replica * size], [size])
        first = first + replica * size
        with conditional_batch_norm.accumulate_standing_statistics():
            networks.generate(z, networks.conditioning_from_bank(labels, first))
