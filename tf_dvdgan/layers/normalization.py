"""Base classes of the normalization layers, and those without batch statistics.

A layer combines two choices: the statistics to normalize with, and the scale and
offset after that, learned per channel or linear in a condition. Statistics are float32
whatever the compute precision.
"""

import tensorflow as tf

from tf_dvdgan import errors
from tf_dvdgan.layers import spectral_norm

EPSILON = 1e-4  # BigGAN's

Statistics = tuple[tf.Tensor, tf.Tensor]


class Normalization(tf.keras.layers.Layer):
    """Normalizes, then applies a learned scale and offset per channel.

    Subclasses define the statistics.

    Args:
      epsilon: added to the variance.
      affine: whether to apply a scale and an offset.
      scale_initializer: initializer of the scale.
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
        """Creates the variables of the statistics; none by default."""

    def add_affine(self, channels: int) -> None:
        """Creates the scale and the offset."""
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
        """Computes the mean and variance to normalize with.

        Args:
          x: `[batch, time, height, width, channels]`.
          training: whether to use batch statistics, if the layer has any.

        Returns:
          Mean and variance, each `[time or 1, channels]` or
          `[batch, time or 1, channels]` float32.
        """
        raise NotImplementedError

    def scale_and_offset(
        self, condition: tf.Tensor | None, training: bool | None
    ) -> tuple[tf.Tensor | float, tf.Tensor | float]:
        """Computes the scale and offset to apply after normalization.

        Args:
          condition: unused; must be None.
          training: unused.

        Returns:
          Scale and offset, each `[channels]`, or 1 and 0 without `affine`.

        Raises:
          InvalidValueError: there is a condition.
        """
        del training
        if condition is not None:
            raise errors.InvalidValueError(
                "A normalization layer that is called with a condition must be a "
                f"conditional one. Received: {type(self).__name__}"
            )
        return (self.scale, self.offset) if self.affine else (1.0, 0.0)

    def call(
        self,
        x: tf.Tensor,
        condition: tf.Tensor | None = None,
        training: bool | None = None,
    ) -> tf.Tensor:
        """Normalizes a video.

        Args:
          x: `[batch, time, height, width, channels]`.
          condition: for conditional layers `[batch, size]`, or `[batch, time, size]`
            with one per frame; None for the others.
          training: whether to use batch statistics, if the layer has any, and to update
            the vectors of spectral normalization.

        Returns:
          `[batch, time, height, width, channels]`.
        """
        mean, variance = self.statistics(x, training)
        scale, offset = self.scale_and_offset(condition, training)
        return self.normalize(x, mean, variance, scale, offset)

    def normalize(
        self,
        x: tf.Tensor,
        mean: tf.Tensor,
        variance: tf.Tensor,
        scale: tf.Tensor | float,
        offset: tf.Tensor | float,
    ) -> tf.Tensor:
        """(x - mean) / sqrt(variance + epsilon) * scale + offset, in one multiply-add.

        Args:
          x: `[batch, time, height, width, channels]`.
          mean: `[time or 1, channels]` or `[batch, time or 1, channels]`.
          variance: `[time or 1, channels]` or `[batch, time or 1, channels]`.
          scale: broadcasts against `[batch, time, channels]`.
          offset: broadcasts against `[batch, time, channels]`.

        Returns:
          `[batch, time, height, width, channels]`.
        """
        factor = tf.math.rsqrt(variance + self.epsilon) * scale
        shift = offset - mean * factor
        if factor.shape.rank == 2:  # [time or 1, channels]
            # Repeating over the batch makes the gradient sum over space first and then
            # over the batch: on a CPU ten times as fast as one sum over both.
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

    y = normalized(x) * (1 + A c) + B c, where A and B are spectrally normalized and
    have no bias (paper 001, appendix B.3; BigGAN). c is `[z; e(y)]` in DVD-GAN. A
    mixin: list it before the class that defines the statistics.
    """

    def add_affine(self, channels: int) -> None:
        dense = spectral_norm.SpectralDense
        self.scale = dense(channels, use_bias=False, name="scale")
        self.offset = dense(channels, use_bias=False, name="offset")

    def scale_and_offset(
        self, condition: tf.Tensor | None, training: bool | None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Computes the scale and offset from the condition.

        Args:
          condition: `[batch, size]`, or `[batch, time, size]` with one per frame.
          training: whether to update the vectors of spectral normalization.

        Returns:
          Scale and offset, each `[batch, time or 1, channels]` float32.

        Raises:
          InvalidValueError: there is no condition.
        """
        if condition is None:
            raise errors.InvalidValueError(
                "A conditional normalization layer must be called with a condition. "
                f"Received: {type(self).__name__} without one"
            )
        if condition.shape.rank == 2:
            condition = condition[:, tf.newaxis]
        scale = 1.0 + tf.cast(self.scale(condition, training=training), tf.float32)
        return scale, tf.cast(self.offset(condition, training=training), tf.float32)


class GroupNorm(Normalization):
    """Group normalization (Wu & He, 2018), separately for each frame of each sample.

    One group is layer normalization, one group per channel is instance normalization
    (paper 001, appendix D).

    Args:
      num_groups: number of groups of channels, at most one per channel; -1 makes one
        per channel.
    """

    def __init__(self, num_groups: int = 32, **kwargs):
        super().__init__(**kwargs)
        self.num_groups = num_groups

    def statistics(self, x: tf.Tensor, training: bool | None) -> Statistics:
        """Computes each group's mean and variance, repeated for its channels.

        Args:
          x: `[batch, time, height, width, channels]`.
          training: unused.

        Returns:
          Mean and variance, each `[batch, time, channels]` float32.

        Raises:
          InvalidValueError: `num_groups` does not divide the number of channels.
        """
        del training
        channels = x.shape[-1]
        groups = channels if self.num_groups < 0 else min(self.num_groups, channels)
        if channels % groups:
            raise errors.InvalidValueError(
                f"num_groups must divide the {channels} channels. Received: "
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
    """No normalization: only a scale and an offset."""

    def statistics(self, x: tf.Tensor, training: bool | None) -> Statistics:
        del training
        channels = x.shape[-1]
        return tf.zeros([1, channels]), tf.fill([1, channels], 1.0 - self.epsilon)


class ConditionalNoNorm(Conditional, NoNorm):
    """No normalization: only a scale and an offset linear in a condition."""
