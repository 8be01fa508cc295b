"""Batch normalization of videos: per time step, over all replicas, standing statistics.

Statistics are taken over batch, height and width, separately for each time step (paper
001, appendix B.2), so that no information passes through them along time. In training
they are the batch's, over all replicas. Otherwise they are standing statistics
(BigGAN): the averages of mean and variance over many batches.
`accumulate_standing_statistics` accumulates them (see `sampling.standing_statistics`),
and `use_statistics` replaces them for some calls.
"""

import contextlib
import threading
from collections.abc import Iterator, Sequence

import tensorflow as tf

from tf_dvdgan.layers import normalization
from tf_dvdgan.layers.normalization import Statistics

AllStatistics = Sequence[Statistics]  # one per layer, in the order of `layers_of`
ACCUMULATORS = ("mean_sum", "variance_sum", "standing_count")

_mode = threading.local()  # a strategy runs each replica's Python in its own thread


@contextlib.contextmanager
def accumulate_standing_statistics() -> Iterator[None]:
    """Makes calls with `training=False` use batch statistics and accumulate them.

    Such calls do not update the vectors of spectral normalization. Enter the context
    where the layers are called: under a strategy, inside the replica's function.
    """
    with _set_mode("accumulate", True):
        yield


@contextlib.contextmanager
def twice_differentiable() -> Iterator[None]:
    """Makes second derivatives of calls right, which take one more reduction.

    The first derivative is the same: the variance has none by the mean.
    """
    with _set_mode("twice_differentiable", True):
        yield


@contextlib.contextmanager
def use_statistics(
    norms: Sequence["BatchNorm"], statistics: AllStatistics
) -> Iterator[None]:
    """Makes calls with `training=False` use the given statistics.

    Args:
      norms: the layers; other layers use their own standing statistics.
      statistics: mean and variance of each layer, `[time, channels]` each.

    Yields:
      Nothing.

    Raises:
      ValueError: there is not one pair of statistics per layer.
    """
    if len(norms) != len(statistics):
        raise ValueError(
            f"{len(norms)} layers need a mean and a variance each. Received: "
            f"statistics of {len(statistics)}"
        )
    by_layer = {id(n): s for n, s in zip(norms, statistics, strict=True)}
    with _set_mode("statistics", by_layer):
        yield


def layers_of(network: tf.keras.Model) -> list["BatchNorm"]:
    """Returns a network's layers with standing statistics, in order of creation."""
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
    """Batch normalization with a learned scale and offset per channel.

    Args:
      per_time_step: whether each time step has its own statistics; otherwise they are
        taken over time too.
    """

    def __init__(self, per_time_step: bool = True, **kwargs):
        super().__init__(**kwargs)
        self.per_time_step = per_time_step

    def add_state(self, input_shape) -> None:
        """Creates the accumulators: sums of mean and variance, and their count."""
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
        """Returns the mean and variance to normalize with.

        Args:
          x: `[batch, time, height, width, channels]`.
          training: whether to use the batch's statistics; otherwise the standing ones,
            unless a context of this module changes that.

        Returns:
          Mean and variance, `[time or 1, channels]` float32.
        """
        if training:
            return self.batch_statistics(x)
        if getattr(_mode, "accumulate", None):
            mean, variance = self.batch_statistics(x)
            self.mean_sum.assign_add(mean)
            self.variance_sum.assign_add(variance)
            self.standing_count.assign_add(1.0)
            return mean, variance
        by_layer = getattr(_mode, "statistics", None) or {}
        if id(self) in by_layer:
            return by_layer[id(self)]
        return self.standing_statistics()

    def batch_statistics(self, x: tf.Tensor) -> Statistics:
        """Computes the batch's moments over all replicas, `[time or 1, channels]`."""
        x = tf.cast(x, tf.float32)
        mean = self._mean(x)
        # The deviations sum to zero, so this mean has no gradient.
        is_twice = getattr(_mode, "twice_differentiable", False)
        center = mean if is_twice else tf.stop_gradient(mean)
        center = center[:, tf.newaxis, tf.newaxis]
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
        """Computes the mean of each channel, `[time or 1, channels]`.

        It reduces over space first: on a CPU a single reduction over non-adjacent axes
        takes ten times as long as two reductions.
        """
        over_space = tf.reduce_mean(x, axis=[2, 3])  # [batch, time, channels]
        axes = [0] if self.per_time_step else [0, 1]
        return tf.reshape(tf.reduce_mean(over_space, axes), [-1, x.shape[-1]])

    def standing_statistics(self) -> Statistics:
        """Averages of mean and variance; 0 and 1 if none were accumulated."""
        count = tf.maximum(self.standing_count, 1.0)
        empty = tf.cast(tf.equal(self.standing_count, 0.0), tf.float32)
        return self.mean_sum / count, self.variance_sum / count + empty

    def reset_standing_statistics(self) -> None:
        """Resets the accumulators to zero."""
        for variable in (self.mean_sum, self.variance_sum, self.standing_count):
            variable.assign(tf.zeros_like(variable))

    def get_config(self) -> dict:
        return super().get_config() | {"per_time_step": self.per_time_step}


class ConditionalBatchNorm(normalization.Conditional, BatchNorm):
    """Batch normalization, then scale and offset linear in a condition."""
