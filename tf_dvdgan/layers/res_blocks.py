"""Residual blocks of generators and discriminators (paper 001, figure 7; BigGAN).

The deep blocks are BigGAN-deep's (Brock et al., 2019, appendix B, figure 16):
bottlenecks of 1x1, 3x3, 3x3 and 1x1 convolutions whose shortcut keeps the input's
channels. Paper 001, appendix D, tried them.
"""

from collections.abc import Callable

import tensorflow as tf

from tf_dvdgan import errors, ops
from tf_dvdgan.layers import conditional_batch_norm, spectral_norm

_BOTTLENECK = 4  # ratio of a deep block's outer to its inner channels


class GeneratorBlock(tf.keras.layers.Layer):
    """cBN, ReLU, [nearest x2], conv 3x3, cBN, ReLU, conv 3x3, plus a shortcut.

    The shortcut is [nearest x2], conv 1x1; the convolution exists only if the block
    changes channels or size.

    Args:
      channels: number of output channels.
      upsample: whether to double height and width.
      normalization: creates a normalization layer that is called with (x, condition).
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
        """Applies the block to a video.

        Args:
          x: `[batch, time, height, width, in]`.
          condition: `[batch, size]`, or `[batch, time, size]` with one per frame.
          training: whether to use batch statistics and to update the vectors of
            spectral normalization.

        Returns:
          `[batch, time, height', width', channels]`; height and width are doubled with
          `upsample`.
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
    if channels change or the block pools. A 3-D block convolves over time too, and
    pools 2x2x2.

    Args:
      channels: number of output channels.
      downsample: whether to halve height and width.
      leading_relu: whether to start with a ReLU; False for a network's first block.
      three_d: whether the convolutions are 3-D.
      pool_time: whether a 3-D block that downsamples also halves time.
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
        """Applies the block to a video.

        Args:
          x: `[batch, time, height, width, in]`.
          training: whether spectral normalization updates its vectors.

        Returns:
          `[batch, time', height', width', channels]`; halved with `downsample`.
        """
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
    """BigGAN-deep's block: four times cBN, ReLU, convolution, plus a shortcut.

    The convolutions are 1x1 to a quarter of the input's channels, 3x3, 3x3, and 1x1 to
    `channels`; [nearest x2] comes before the first 3x3. The shortcut drops the input's
    surplus channels, the last ones, then applies [nearest x2].

    Args:
      channels: number of output channels, at most as many as the input has.
      upsample: whether to double height and width.
      normalization: creates a normalization layer that is called with (x, condition).

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
        y = x
        for norm, conv in zip(self.norms, self.convs, strict=True):
            y = conv(tf.nn.relu(norm(y, condition, training=training)), training)
        shortcut = tf.cast(x[..., : self.channels], y.dtype)
        return y + (ops.upsample(shortcut) if self.upsample else shortcut)


class DeepDiscriminatorBlock(DiscriminatorBlock):
    """BigGAN-deep's block: four times ReLU, convolution, plus a shortcut.

    The convolutions are 1x1 to a quarter of the output's channels, 3x3, 3x3, and after
    [average pool] 1x1 to `channels`. The shortcut is [average pool]; if the output has
    more channels than the input, a 1x1 convolution computes the missing ones, which are
    appended. Takes the arguments of `DiscriminatorBlock`.

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
        x = tf.cast(x, self.compute_dtype)
        y = tf.nn.relu(x) if self.leading_relu else x
        for i, conv in enumerate(self.convs):
            y = conv(tf.nn.relu(y) if i else y, training=training)
        shortcut = x
        if self.downsample:
            shortcut = ops.average_pool(x, time=self.three_d and self.pool_time)
        if self.shortcut is not None:
            missing = self.shortcut(x, training=training)
            shortcut = tf.concat([shortcut, missing], axis=-1)
        return shortcut + y
