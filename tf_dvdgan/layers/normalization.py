"""What normalization layers of videos share, and those that need no batch.

A layer is made of two parts: which mean and variance it subtracts and divides by, and
the scale and offset after that, learned for each channel or linear in a condition.
Statistics are float32 whatever the compute precision.
"""

import tensorflow as tf

from tf_dvdgan import errors
from tf_dvdgan.layers import spectral_norm

EPSILON = 1e-4  # BigGAN's

Statistics = tuple[tf.Tensor, tf.Tensor]


class Normalization(tf.keras.layers.Layer):
    """Normalizes, then scales and shifts each channel by learned numbers.

    A subclass says with which statistics.

    Args:
      epsilon: added to the variance.
      affine: whether there are a scale and an offset.
      scale_initializer: of the scale.
    """

    def __init__(
        self,
        epsilon: float = EPSILON,
        affine: bool = True,
        scale_initializer="ones",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.epsilon = epsilon
        self.affine = affine
        self.scale_initializer = tf.keras.initializers.get(scale_initializer)

    def build(self, input_shape):
        self.add_state(input_shape)
        self.add_affine(input_shape[-1])
        super().build(input_shape)

    def add_state(self, input_shape) -> None:
        """Makes what the statistics need to be kept in; nothing by default."""

    def add_affine(self, channels: int) -> None:
        """Makes the scale and the offset."""
        if self.affine:
            self.scale = self.add_weight(
                "scale",
                [channels],
                initializer=self.scale_initializer,
                experimental_autocast=False,
            )
            self.offset = self.add_weight(
                "offset", [channels], initializer="zeros", experimental_autocast=False
            )

    def statistics(self, x: tf.Tensor, training: bool | None) -> Statistics:
        """Mean and variance, `[time, channels]` or `[batch, time, channels]`.

        An axis of length 1 stands for all.
        """
        raise NotImplementedError

    def call(self, x: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Normalizes `[batch, time, height, width, channels]`."""
        mean, variance = self.statistics(x, training)
        if not self.affine:
            return self.normalize(x, mean, variance, 1.0, 0.0)
        return self.normalize(x, mean, variance, self.scale, self.offset)

    def normalize(
        self,
        x: tf.Tensor,
        mean: tf.Tensor,
        variance: tf.Tensor,
        scale: tf.Tensor | float,
        offset: tf.Tensor | float,
    ) -> tf.Tensor:
        """(x - mean) / sqrt(variance + epsilon) * scale + offset, as one product.

        Args:
          x: `[batch, time, height, width, channels]`.
          mean: as `statistics` gives it.
          variance: as `mean`.
          scale: broadcasts against `[batch, time, channels]`.
          offset: as `scale`.

        Returns:
          As `x`.
        """
        factor = tf.math.rsqrt(variance + self.epsilon) * scale
        shift = offset - mean * factor
        if factor.shape.rank == 2:  # [time or 1, channels]
            # A gradient is summed over space first and then over the batch: on a CPU
            # that takes a tenth of the time of both in one.
            factor, shift = (
                tf.repeat(v[tf.newaxis], tf.shape(x)[0], axis=0)
                for v in (factor, shift)
            )
        factor = factor[:, :, tf.newaxis, tf.newaxis]
        shift = shift[:, :, tf.newaxis, tf.newaxis]
        return x * tf.cast(factor, x.dtype) + tf.cast(shift, x.dtype)

    def get_config(self) -> dict:
        initializer = tf.keras.initializers.serialize(self.scale_initializer)
        return super().get_config() | {
            "epsilon": self.epsilon,
            "affine": self.affine,
            "scale_initializer": initializer,
        }


class Conditional(Normalization):
    """Normalization whose scale and offset are linear in a condition.

    y = normalized(x) * (1 + A c) + B c, A and B spectrally normalized, without bias
    (paper 001, appendix B.3; BigGAN). c is `[z; e(y)]` in DVD-GAN. Mix it in before the
    class that says with which statistics.
    """

    def add_affine(self, channels: int) -> None:
        dense = spectral_norm.SpectralDense
        self.scale = dense(channels, use_bias=False, name="scale")
        self.offset = dense(channels, use_bias=False, name="offset")

    def call(
        self, x: tf.Tensor, condition: tf.Tensor, training: bool | None = None
    ) -> tf.Tensor:
        """Normalizes a video under a condition.

        Args:
          x: `[batch, time, height, width, channels]`.
          condition: `[batch, size]`, or `[batch, time, size]` for one of each frame.
          training: whether batch statistics are used, where there are any.

        Returns:
          As `x`.
        """
        if condition.shape.rank == 2:
            condition = condition[:, tf.newaxis]
        mean, variance = self.statistics(x, training)
        scale = 1.0 + tf.cast(self.scale(condition, training=training), tf.float32)
        offset = tf.cast(self.offset(condition, training=training), tf.float32)
        return self.normalize(x, mean, variance, scale, offset)


class GroupNorm(Normalization):
    """Group normalization (Wu & He, 2018) of each frame of each sample on its own.

    With one group it is layer normalization, with as many as channels instance
    normalization (paper 001, appendix D).

    Args:
      num_groups: of the channels; -1 gives each channel its own.
    """

    def __init__(self, num_groups: int = 32, **kwargs):
        super().__init__(**kwargs)
        self.num_groups = num_groups

    def statistics(self, x: tf.Tensor, training: bool | None) -> Statistics:
        del training
        channels = x.shape[-1]
        groups = channels if self.num_groups < 0 else min(self.num_groups, channels)
        if channels % groups:
            raise errors.InvalidValueError(
                f"{channels} channels cannot be parted evenly. Received: "
                f"num_groups={self.num_groups}"
            )
        _, num_frames, height, width, _ = x.shape
        shape = [-1, num_frames, height, width, groups, channels // groups]
        grouped = tf.reshape(tf.cast(x, tf.float32), shape)
        moments = tf.nn.moments(grouped, [2, 3, 5])  # [batch, time, groups]
        return tuple(tf.repeat(m, channels // groups, axis=-1) for m in moments)

    def get_config(self) -> dict:
        return super().get_config() | {"num_groups": self.num_groups}


class ConditionalGroupNorm(Conditional, GroupNorm):
    """Group normalization, then scale and offset linear in a condition."""


class NoNorm(Normalization):
    """No normalization: scale and offset alone."""

    def statistics(self, x: tf.Tensor, training: bool | None) -> Statistics:
        del training
        channels = x.shape[-1]
        return tf.zeros([1, channels]), tf.fill([1, channels], 1.0 - self.epsilon)


class ConditionalNoNorm(Conditional, NoNorm):
    """No normalization: scale and offset linear in a condition, alone."""
