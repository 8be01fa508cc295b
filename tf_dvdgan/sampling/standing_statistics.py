"""Standing statistics of a generator (BigGAN): batch statistics averaged over batches.

They depend on the weights and on the truncation. `StandingStatistics.compute` returns
them as a value for `Networks.generate`; the layers do not store them.
"""

import tensorflow as tf

from tf_dvdgan.layers import conditional_batch_norm
from tf_dvdgan.models import video_gan

NUM_BATCHES = 16
BATCH_SIZE = 32

_SEED = 20190715  # the date of paper 001


class StandingStatistics:
    """Computes a generator's standing statistics over batches of latents.

    Args:
      networks: networks with the generator and the latent.
      batch_size: number of videos per batch; rounded down to a multiple of the number
        of replicas.
      strategy: strategy whose replicas share each batch, if any.
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

        Every call uses the same latents and classes. Those of a prediction model cycle
        through the frame bank.

        Args:
          num_batches: number of batches to average over.
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
