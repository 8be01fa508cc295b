"""Batch normalization of videos: per time step, over all replicas, standing statistics.

Statistics are taken over batch, height and width, separately for each time step (paper
001, appendix B.2), so that no information passes through them along time. In training
they are the batch's, over all replicas. Otherwise they are standing statistics
(BigGAN): the means of mean and variance over many batches. `use_statistics` sets them
for calls; `accumulate_standing_statistics` sums them up, see
`sampling.standing_statistics`.
"""

import contextlib
import threading
from collections.abc import Iterator, Sequence

import tensorflow as tf

from tf_dvdgan.layers import normalization
from tf_dvdgan.layers.normalization import Statistics

AllStatistics = Sequence[Statistics]  # one for each layer, in the order of `layers_of`

_mode = threading.local()  # a strategy runs each replica's Python in its own thread


@contextlib.contextmanager
def accumulate_standing_statistics() -> Iterator[None]:
    """Makes calls with `training=False` use batch statistics and accumulate them.

    Spectral norm's state does not move meanwhile. Enter it where the layers are
    called: inside the replica's function, under a strategy.
    """
    with _set_mode("accumulate", True):
        yield


@contextlib.contextmanager
def use_statistics(
    norms: Sequence["BatchNorm"], statistics: AllStatistics
) -> Iterator[None]:
    """Makes calls with `training=False` use the statistics given.

    Args:
      norms: the layers; those that are not among them use their accumulated ones.
      statistics: of each layer mean and variance, `[time, channels]` each.

    Yields:
      Nothing.

    Raises:
      ValueError: there are not as many as layers.
    """
    if len(norms) != len(statistics):
        raise ValueError(
            f"{len(norms)} layers need statistics each. Received: {len(statistics)}"
        )
    by_layer = {id(n): s for n, s in zip(norms, statistics, strict=True)}
    with _set_mode("statistics", by_layer):
        yield


def layers_of(network: tf.keras.Model) -> list["BatchNorm"]:
    """All layers of a network with standing statistics, in order of creation."""
    return [layer for layer in network.submodules if isinstance(layer, BatchNorm)]


@contextlib.contextmanager
def _set_mode(name: str, value) -> Iterator[None]:
    previous = getattr(_mode, name, None)
    setattr(_mode, name, value)
    try:
        yield
    finally:
        setattr(_mode, name, previous)


class BatchNorm(normalization.Normalization):
    """Batch normalization with a learned scale and offset for each channel.

    Args:
      per_time_step: whether each time step has statistics of its own; otherwise they
        are taken over time too.
    """

    def __init__(self, per_time_step: bool = True, **kwargs):
        super().__init__(**kwargs)
        self.per_time_step = per_time_step

    def add_state(self, input_shape) -> None:
        """Makes the accumulators: sums of mean and variance, and the count."""
        steps = input_shape[1] if self.per_time_step else 1
        shape = [steps, input_shape[-1]]
        self.mean_sum = self._accumulator("mean_sum", shape)
        self.variance_sum = self._accumulator("variance_sum", shape)
        self.standing_count = self._accumulator("standing_count", [])

    def _accumulator(self, name: str, shape: list[int]):
        return self.add_weight(
            name,
            shape,
            initializer="zeros",
            trainable=False,
            experimental_autocast=False,
            synchronization=tf.VariableSynchronization.ON_READ,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )

    def statistics(self, x: tf.Tensor, training: bool | None) -> Statistics:
        """Mean and variance to normalize with, `[time or 1, channels]` float32."""
        if training:
            return self.batch_statistics(x)
        if getattr(_mode, "accumulate", None):
            mean, variance = self.batch_statistics(x)
            self.mean_sum.assign_add(mean)
            self.variance_sum.assign_add(variance)
            self.standing_count.assign_add(1.0)
            return mean, variance
        given = getattr(_mode, "statistics", None) or {}
        return given[id(self)] if id(self) in given else self.standing_statistics()

    def batch_statistics(self, x: tf.Tensor) -> Statistics:
        """Moments of the batch over all replicas, `[time or 1, channels]` float32."""
        x = tf.cast(x, tf.float32)
        mean = self._mean(x)
        # Deviations sum to zero, so that no gradient goes through this mean.
        center = tf.stop_gradient(mean)[:, tf.newaxis, tf.newaxis]
        variance = self._mean(tf.math.squared_difference(x, center))
        context = tf.distribute.get_replica_context()
        if context is None or context.num_replicas_in_sync == 1:
            return mean, variance
        local = tf.stack([mean, variance + tf.square(mean)])
        mean, square = tf.unstack(
            context.all_reduce(tf.distribute.ReduceOp.MEAN, local)
        )
        return mean, square - tf.square(mean)

    def _mean(self, x: tf.Tensor) -> tf.Tensor:
        """Mean of a video's channels, `[time or 1, channels]`.

        Over space first: on a CPU one reduction over separate axes takes ten times as
        long as two.
        """
        over_space = tf.reduce_mean(x, axis=[2, 3])  # [batch, time, channels]
        axes = [0] if self.per_time_step else [0, 1]
        return tf.reshape(tf.reduce_mean(over_space, axes), [-1, x.shape[-1]])

    def standing_statistics(self) -> Statistics:
        """The accumulated means; 0 and 1 before anything was accumulated."""
        count = tf.maximum(self.standing_count, 1.0)
        empty = tf.cast(tf.equal(self.standing_count, 0.0), tf.float32)
        return self.mean_sum / count, self.variance_sum / count + empty

    def reset_standing_statistics(self) -> None:
        """Forgets what was accumulated."""
        for variable in (self.mean_sum, self.variance_sum, self.standing_count):
            variable.assign(tf.zeros_like(variable))

    def get_config(self) -> dict:
        return super().get_config() | {"per_time_step": self.per_time_step}


class ConditionalBatchNorm(normalization.Conditional, BatchNorm):
    """Batch normalization, then scale and offset linear in a condition."""
