"""I3D: Inception-v1 inflated to three dimensions.

Carreira and Zisserman, 2017 (https://arxiv.org/abs/1705.07750), figure 3 and section
2.4, following the authors' Sonnet code: variable names, 'same' padding, batch
normalization without a scale. 12,704,544 parameters and statistics for 400 classes. The
published weights need RGB in [-1, 1] at 224x224 pixels.

FVD uses its 400 logits (Unterthiner et al., 2018), DVD-GAN's FID its features (paper
001, section 4.1).
"""

import re
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

_EPSILON = 1e-3
_DECAY = 0.999
# Filters of branch 0, of both convolutions of branches 1 and 2, and of branch 3.
_MIXED = {
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}
_LOGITS = "Logits/Conv3d_0c_1x1"
MIN_FRAMES = 9  # fewer leave less than the two frames that are average-pooled
_SIDES = (193, 224)  # heights and widths that leave seven pixels
# Window of the max pooling before a block; its stride is 2.
_POOLED_BEFORE = {"Mixed_4b": (3, 3, 3), "Mixed_5b": (2, 2, 2)}


def _branches(mixed: str) -> tuple[str, ...]:
    """Names of a block's convolutions, in the order of `_MIXED`."""
    # The released files have this irregular name.
    last = "Conv3d_0a_3x3" if mixed == "Mixed_5b" else "Conv3d_0b_3x3"
    return (
        f"{mixed}/Branch_0/Conv3d_0a_1x1",
        f"{mixed}/Branch_1/Conv3d_0a_1x1",
        f"{mixed}/Branch_1/Conv3d_0b_3x3",
        f"{mixed}/Branch_2/Conv3d_0a_1x1",
        f"{mixed}/Branch_2/{last}",
        f"{mixed}/Branch_3/Conv3d_0b_1x1",
    )


_STEM = ("Conv3d_1a_7x7", "Conv3d_2b_1x1", "Conv3d_2c_3x3")
_UNITS = (*_STEM, *(name for mixed in _MIXED for name in _branches(mixed)))


class Unit3D(tf.keras.layers.Layer):
    """Convolution, batch normalization without a scale, ReLU.

    Args:
      filters: number of output channels.
      kernel_size: in time, height and width.
      strides: in time, height and width.
      name: of the Keras layer.
    """

    def __init__(self, filters: int, kernel_size: int, strides: int, name: str):
        super().__init__(name=name, dtype="float32")
        self.convolution = tf.keras.layers.Conv3D(
            filters,
            kernel_size,
            strides,
            "same",
            use_bias=False,
            name="conv_3d",
            dtype="float32",
        )
        self.norm = tf.keras.layers.BatchNormalization(
            momentum=_DECAY,
            epsilon=_EPSILON,
            scale=False,
            name="batch_norm",
            dtype="float32",
        )

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Applies the unit with 'same' padding.

        Args:
          x: `[batch, time, height, width, channels]`.
          training: whether batch normalization uses the batch's statistics.

        Returns:
          `[batch, time / strides, height / strides, width / strides, filters]`, sizes
          rounded up.
        """
        return tf.nn.relu(self.norm(self.convolution(x), training=training))


class I3D(tf.keras.Model):
    """The network.

    Args:
      num_classes: number of logits; 400 or 600 in the released weights.
      name: of the Keras model.
    """

    FEATURES = 1024
    INPUT = (MIN_FRAMES, _SIDES[0], _SIDES[0], 3)

    def __init__(self, num_classes: int = 400, name: str | None = None):
        super().__init__(name=name, dtype="float32")
        self.units = {
            "Conv3d_1a_7x7": Unit3D(64, 7, 2, "Conv3d_1a_7x7"),
            "Conv3d_2b_1x1": Unit3D(64, 1, 1, "Conv3d_2b_1x1"),
            "Conv3d_2c_3x3": Unit3D(192, 3, 1, "Conv3d_2c_3x3"),
        }
        for mixed, widths in _MIXED.items():
            for unit, filters in zip(_branches(mixed), widths, strict=True):
                self.units[unit] = Unit3D(filters, int(unit[-1]), 1, unit)
        self.logits = tf.keras.layers.Conv3D(
            num_classes, 1, name=f"{_LOGITS}/conv_3d", dtype="float32"
        )

    def call(self, videos: tf.Tensor, training: bool = False) -> dict[str, tf.Tensor]:
        """Classifies videos.

        Args:
          videos: `[batch, time, height, width, 3]` in [-1, 1], at least 9 frames,
            height and width of 193 to 224 pixels.
          training: whether batch normalization uses the batch's statistics.

        Returns:
          "logits" `[batch, num_classes]` and "features" `[batch, 1024]`, means over
          time.

        Raises:
          ValueError: there are too few frames, or the height or width is not supported.
        """
        _check_shape(videos.shape)
        x = self.units["Conv3d_1a_7x7"](videos, training=training)
        x = _max_pool(x, (1, 3, 3), (1, 2, 2))
        x = self.units["Conv3d_2b_1x1"](x, training=training)
        x = self.units["Conv3d_2c_3x3"](x, training=training)
        x = _max_pool(x, (1, 3, 3), (1, 2, 2))
        for mixed in _MIXED:
            if mixed in _POOLED_BEFORE:
                x = _max_pool(x, _POOLED_BEFORE[mixed], (2, 2, 2))
            x = self._mixed_block(mixed, x, training)
        x = tf.nn.avg_pool3d(
            x, (2, 7, 7), 1, "VALID"
        )  # [batch, time/8 - 1, 1, 1, 1024]
        return {
            "logits": tf.reduce_mean(self.logits(x), axis=[1, 2, 3]),
            "features": tf.reduce_mean(x, axis=[1, 2, 3]),
        }

    def _mixed_block(self, mixed: str, x: tf.Tensor, training: bool) -> tf.Tensor:
        """Concatenates the four branches of an Inception block."""

        def unit(name: str, x: tf.Tensor) -> tf.Tensor:
            return self.units[name](x, training=training)

        b0, b1a, b1b, b2a, b2b, b3 = _branches(mixed)
        branches = (
            unit(b0, x),
            unit(b1b, unit(b1a, x)),
            unit(b2b, unit(b2a, x)),
            unit(b3, _max_pool(x, (3, 3, 3), (1, 1, 1))),
        )
        return tf.concat(branches, axis=-1)


def _check_shape(shape: tf.TensorShape) -> None:
    _, time, height, width, _ = shape
    smallest, largest = _SIDES
    sides = [side for side in (height, width) if side is not None]
    too_short = time is not None and time < MIN_FRAMES
    if too_short or not all(smallest <= side <= largest for side in sides):
        raise ValueError(
            f"I3D needs at least {MIN_FRAMES} frames, with a height and width of "
            f"{smallest} to {largest} pixels. Received: {shape}"
        )


def _max_pool(
    x: tf.Tensor, size: tuple[int, int, int], strides: tuple[int, int, int]
) -> tf.Tensor:
    return tf.nn.max_pool3d(x, size, strides, "SAME")


def _from_tf1(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """From DeepMind's checkpoints and TF-Hub; Kinetics-600's names have no prefix.

    Sonnet's statistics have the shape `[1, 1, 1, 1, channels]`.
    """
    stem = f"{_UNITS[0]}/conv_3d/w"
    prefix = "" if stem in arrays else "RGB/inception_i3d/"
    converted = {}
    for unit in _UNITS:
        converted[f"{unit}/conv_3d/kernel"] = arrays[f"{prefix}{unit}/conv_3d/w"]
        for name in ("beta", "moving_mean", "moving_variance"):
            array = arrays[f"{prefix}{unit}/batch_norm/{name}"]
            converted[f"{unit}/batch_norm/{name}"] = array.reshape(-1)
    converted[f"{_LOGITS}/conv_3d/kernel"] = arrays[f"{prefix}{_LOGITS}/conv_3d/w"]
    converted[f"{_LOGITS}/conv_3d/bias"] = arrays[f"{prefix}{_LOGITS}/conv_3d/b"]
    return converted


def _from_keras(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """From keras-kinetics-i3d, with names such as Conv3d_3b_1b_3x3_conv in Mixed_3b."""
    # Some Keras versions repeat the layer's name before the variable's.
    layers = {re.sub("/.*/", "/", name): array for name, array in arrays.items()}
    converted = {}
    for unit, layer in zip(_UNITS, _keras_names(), strict=True):
        converted[f"{unit}/conv_3d/kernel"] = layers[f"{layer}_conv/kernel"]
        for name in ("beta", "moving_mean", "moving_variance"):
            converted[f"{unit}/batch_norm/{name}"] = layers[f"{layer}_bn/{name}"]
    for name in ("kernel", "bias"):
        converted[f"{_LOGITS}/conv_3d/{name}"] = layers[f"Conv3d_6a_1x1_conv/{name}"]
    return converted


def _keras_names() -> tuple[str, ...]:
    """Names of `_UNITS` in keras-kinetics-i3d."""
    parts = ("0a_1x1", "1a_1x1", "1b_3x3", "2a_1x1", "2b_3x3", "3b_1x1")
    mixed = (name.removeprefix("Mixed_") for name in _MIXED)
    return (*_STEM, *(f"Conv3d_{m}_{part}" for m in mixed for part in parts))


def _from_pytorch(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """From pytorch-i3d, whose kernels are `[out, in, time, height, width]`.

    Its batch normalization has a scale, which is folded into the kernel and the mean:
    s (W x - m) / d = (s W x - s m) / d.
    """
    converted = {}
    for unit, layer in zip(_UNITS, _pytorch_names(), strict=True):
        scale = arrays[f"{layer}.bn.weight"]
        kernel = arrays[f"{layer}.conv3d.weight"].transpose(2, 3, 4, 1, 0)
        converted[f"{unit}/conv_3d/kernel"] = kernel * scale
        norm = f"{unit}/batch_norm"
        converted[f"{norm}/beta"] = arrays[f"{layer}.bn.bias"]
        converted[f"{norm}/moving_mean"] = arrays[f"{layer}.bn.running_mean"] * scale
        converted[f"{norm}/moving_variance"] = arrays[f"{layer}.bn.running_var"]
    kernel = arrays["logits.conv3d.weight"].transpose(2, 3, 4, 1, 0)
    converted[f"{_LOGITS}/conv_3d/kernel"] = kernel
    converted[f"{_LOGITS}/conv_3d/bias"] = arrays["logits.conv3d.bias"]
    return converted


def _pytorch_names() -> tuple[str, ...]:
    """Names of `_UNITS` in pytorch-i3d."""
    parts = ("b0", "b1a", "b1b", "b2a", "b2b", "b3b")
    return (*_STEM, *(f"{mixed}.{part}" for mixed in _MIXED for part in parts))


FORMATS: dict[str, Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]] = {
    "tf1": _from_tf1,
    "keras": _from_keras,
    "pytorch": _from_pytorch,
}
