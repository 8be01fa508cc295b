"""Residual blocks of generators and discriminators (paper 001, figure 7; BigGAN)."""

from collections.abc import Callable

import tensorflow as tf

from tf_dvdgan.layers import conditional_batch_norm, spectral_norm


class GeneratorBlock(tf.keras.layers.Layer):
    """cBN, ReLU, [nearest x2], conv 3x3, cBN, ReLU, conv 3x3, plus a shortcut.

    The shortcut is [nearest x2], conv 1x1; the convolution exists only where the block
    changes channels or size.

    Args:
      channels: of the output.
      upsample: whether height and width double.
      normalization: makes a normalisation layer, called with (x, condition).
    """

    def __init__(
        self,
        channels: int,
        upsample: bool = False,
        normalization: Callable[
            [], tf.keras.layers.Layer
        ] = conditional_batch_norm.ConditionalBatchNorm,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.channels = channels
        self.upsample = upsample
        self.normalization = normalization

    def build(self, input_shape):
        resample = "up" if self.upsample else None
        conv = spectral_norm.SpectralConv2D
        self.norm_1 = self.normalization(name=f"{self.name}_norm_1")
        self.conv_1 = conv(self.channels, 3, resample, name="conv_1")
        self.norm_2 = self.normalization(name=f"{self.name}_norm_2")
        self.conv_2 = conv(self.channels, 3, name="conv_2")
        self.shortcut = None
        if self.upsample or input_shape[-1] != self.channels:
            self.shortcut = conv(self.channels, 1, resample, name="shortcut")
        super().build(input_shape)

    def call(
        self, x: tf.Tensor, condition: tf.Tensor, training: bool | None = None
    ) -> tf.Tensor:
        """Maps a video to one of `channels` channels.

        Args:
          x: `[batch, time, height, width, in]`.
          condition: `[batch, size]` or `[batch, time, size]`.
          training: as everywhere.

        Returns:
          `[batch, time, height', width', channels]`, doubled in size if it upsamples.
        """
        y = tf.nn.relu(self.norm_1(x, condition, training=training))
        y = self.conv_1(y, training=training)
        y = tf.nn.relu(self.norm_2(y, condition, training=training))
        y = self.conv_2(y, training=training)
        if self.shortcut is not None:
            x = self.shortcut(x, training=training)
        return x + y

    def get_config(self) -> dict:
        return super().get_config() | {
            "channels": self.channels,
            "upsample": self.upsample,
            "normalization": self.normalization,
        }


class DiscriminatorBlock(tf.keras.layers.Layer):
    """[ReLU], conv 3x3, ReLU, conv 3x3, [average pool], plus a shortcut.

    The shortcut is [average pool], conv 1x1 (they commute); the convolution exists only
    where channels change or the block pools. A 3-D block's convolutions see time too,
    and it pools 2x2x2.

    Args:
      channels: of the output.
      downsample: whether height and width are halved.
      leading_relu: False for a network's first block.
      three_d: whether the convolutions are 3-D.
      pool_time: whether a 3-D block that downsamples halves time as well.
    """

    def __init__(
        self,
        channels: int,
        downsample: bool = True,
        leading_relu: bool = True,
        three_d: bool = False,
        pool_time: bool = True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.channels = channels
        self.downsample = downsample
        self.leading_relu = leading_relu
        self.three_d = three_d
        self.pool_time = pool_time

    def build(self, input_shape):
        self.conv_1 = self._convolution(3, False, "conv_1")
        self.conv_2 = self._convolution(3, self.downsample, "conv_2")
        self.shortcut = None
        if self.downsample or input_shape[-1] != self.channels:
            self.shortcut = self._convolution(1, self.downsample, "shortcut")
        super().build(input_shape)

    def _convolution(self, size: int, pool: bool, name: str) -> tf.keras.layers.Layer:
        if self.three_d:
            return spectral_norm.SpectralConv3D(
                self.channels, size, pool, self.pool_time, name=name
            )
        return spectral_norm.SpectralConv2D(
            self.channels, size, "down" if pool else None, name=name
        )

    def call(self, x: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Maps `[batch, time, height, width, in]` to `channels` channels."""
        y = tf.nn.relu(x) if self.leading_relu else x
        y = self.conv_1(y, training=training)
        y = self.conv_2(tf.nn.relu(y), training=training)
        if self.shortcut is not None:
            x = self.shortcut(x, training=training)
        return x + y

    def get_config(self) -> dict:
        return super().get_config() | {
            "channels": self.channels,
            "downsample": self.downsample,
            "leading_relu": self.leading_relu,
            "three_d": self.three_d,
            "pool_time": self.pool_time,
        }
