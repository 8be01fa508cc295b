"""Residual blocks of generators and discriminators (paper 001, figure 7; BigGAN).

The deep ones are BigGAN-deep's (Brock et al., 2019, appendix B, figure 16): bottlenecks
of 1x1, 3x3, 3x3 and 1x1 convolutions whose shortcut keeps channels as they are. Paper
001, appendix D, tried them.
"""

from collections.abc import Callable

import tensorflow as tf

from tf_dvdgan import errors, ops
from tf_dvdgan.layers import conditional_batch_norm, spectral_norm

_BOTTLENECK = 4  # a deep block's outer channels for each inner one


class GeneratorBlock(tf.keras.layers.Layer):
    """cBN, ReLU, [nearest x2], conv 3x3, cBN, ReLU, conv 3x3, plus a shortcut.

    The shortcut is [nearest x2], conv 1x1; the convolution exists only where the block
    changes channels or size.

    Args:
      channels: of the output.
      upsample: whether height and width double.
      normalization: makes a normalization layer, called with (x, condition).
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
          training: whether batch statistics are used and spectral norm's vectors
            move.

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

    def _convolution(
        self, size: int, pool: bool, name: str, channels: int | None = None
    ) -> tf.keras.layers.Layer:
        channels = channels or self.channels
        if self.three_d:
            return spectral_norm.SpectralConv3D(
                channels, size, pool, self.pool_time, name=name
            )
        return spectral_norm.SpectralConv2D(
            channels, size, "down" if pool else None, name=name
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


class DeepGeneratorBlock(GeneratorBlock):
    """BigGAN-deep's: four times cBN, ReLU and a convolution, plus a shortcut.

    The convolutions are 1x1 to a quarter of the input's channels, 3x3, 3x3 and 1x1 to
    `channels`; the size doubles before the first 3x3 one. The shortcut drops the last
    channels where there are fewer in the output, and is then [nearest x2].

    Args:
      channels: of the output, at most as many as the input has.
      upsample: whether height and width double.
      normalization: makes a normalization layer, called with (x, condition).

    Raises:
      InvalidValueError: when built, if the input has fewer channels than the output.
    """

    def build(self, input_shape):
        if input_shape[-1] < self.channels:
            raise errors.InvalidValueError(
                "BigGAN-deep's generator block adds no channels. Received: "
                f"{input_shape[-1]} channels to map to {self.channels}"
            )
        inner = max(input_shape[-1] // _BOTTLENECK, 1)
        shapes = [
            (inner, 1, None),
            (inner, 3, "up" if self.upsample else None),
            (inner, 3, None),
            (self.channels, 1, None),
        ]
        self.norms = [
            self.normalization(name=f"{self.name}_norm_{i + 1}") for i in range(4)
        ]
        self.convs = [
            spectral_norm.SpectralConv2D(channels, size, resample, name=f"conv_{i + 1}")
            for i, (channels, size, resample) in enumerate(shapes)
        ]
        tf.keras.layers.Layer.build(self, input_shape)

    def call(
        self, x: tf.Tensor, condition: tf.Tensor, training: bool | None = None
    ) -> tf.Tensor:
        """Maps a video to one of `channels` channels; see `GeneratorBlock.call`."""
        y = x
        for norm, conv in zip(self.norms, self.convs, strict=True):
            y = conv(tf.nn.relu(norm(y, condition, training=training)), training)
        shortcut = tf.cast(x[..., : self.channels], y.dtype)
        return y + (ops.upsample(shortcut) if self.upsample else shortcut)


class DeepDiscriminatorBlock(DiscriminatorBlock):
    """BigGAN-deep's: four times ReLU and a convolution, plus a shortcut.

    The convolutions are 1x1 to a quarter of the output's channels, 3x3, 3x3 and, after
    [average pool], 1x1 to `channels`. The shortcut is [average pool] and, where there
    are more channels in the output, the missing ones by a 1x1 convolution beside those
    that are there. Arguments are those of `DiscriminatorBlock`.

    Raises:
      InvalidValueError: when built, if the input has more channels than the output.
    """

    def build(self, input_shape):
        missing = self.channels - input_shape[-1]
        if missing < 0:
            raise errors.InvalidValueError(
                "BigGAN-deep's discriminator block drops no channels. Received: "
                f"{input_shape[-1]} channels to map to {self.channels}"
            )
        inner = max(self.channels // _BOTTLENECK, 1)
        self.convs = [
            self._convolution(1, False, "conv_1", inner),
            self._convolution(3, False, "conv_2", inner),
            self._convolution(3, False, "conv_3", inner),
            self._convolution(1, self.downsample, "conv_4"),
        ]
        self.shortcut = None
        if missing:
            self.shortcut = self._convolution(1, self.downsample, "shortcut", missing)
        tf.keras.layers.Layer.build(self, input_shape)

    def call(self, x: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Maps `[batch, time, height, width, in]` to `channels` channels."""
        x = tf.cast(x, self.compute_dtype)
        y = tf.nn.relu(x) if self.leading_relu else x
        for i, conv in enumerate(self.convs):
            y = conv(tf.nn.relu(y) if i else y, training=training)
        kept = x
        if self.downsample:
            kept = ops.average_pool(x, time=self.three_d and self.pool_time)
        if self.shortcut is not None:
            made = self.shortcut(x, training=training)
            kept = tf.concat([kept, made], axis=-1)
        return kept + y
