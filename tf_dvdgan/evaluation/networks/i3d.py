"""I3D: Inception-v1 inflated to three dimensions.

Carreira and Zisserman, 2017 (https://arxiv.org/abs/1705.07750), figure 3 and section
2.4, as the authors' Sonnet code has it: names, 'same' padding, batch normalization
without a scale. 12,704,544 parameters and statistics with 400 classes. What the weights
want: RGB in [-1, 1], 224 pixels.

Its 400 logits are those of FVD (Unterthiner et al., 2018), its features those of
DVD-GAN's FID (paper 001, section 4.1).
"""

import re
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

_EPSILON = 1e-3
_DECAY = 0.999
# Filters of branch 0; of both convolutions of branches 1 and 2; of branch 3.
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
MIN_FRAMES = 9  # to be left with two where the features are pooled
_SIDES = (193, 224)  # to be left with seven pixels


def _branches(mixed: str) -> tuple[str, ...]:
    """Names of a block's convolutions, in the order of `_MIXED`."""
    # So it is called in the released files.
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
    """Convolution, batch normalization without a scale, ReLU."""

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
        return tf.nn.relu(self.norm(self.convolution(x), training=training))


class I3D(tf.keras.Model):
    """The network.

    Args:
      num_classes: 400 or 600 in the released weights.
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
        """Logits and features of videos.

        Args:
          videos: `[batch, time, height, width, 3]` in [-1, 1], 9 frames at least, sides
            of 193 to 224.
          training: whether batch normalization takes the batch's own statistics.

        Returns:
          "logits" `[batch, num_classes]` and "features" `[batch, 1024]`, means over
          time.

        Raises:
          ValueError: too few frames, or another size.
        """
        _check(videos.shape)

        def unit(name: str, x: tf.Tensor) -> tf.Tensor:
            return self.units[name](x, training=training)

        x = unit("Conv3d_1a_7x7", videos)
        x = _max_pool(x, (1, 3, 3), (1, 2, 2))
        x = unit("Conv3d_2c_3x3", unit("Conv3d_2b_1x1", x))
        x = _max_pool(x, (1, 3, 3), (1, 2, 2))
        for mixed in _MIXED:
            if mixed == "Mixed_4b":
                x = _max_pool(x, (3, 3, 3), (2, 2, 2))
            if mixed == "Mixed_5b":
                x = _max_pool(x, (2, 2, 2), (2, 2, 2))
            b0, b1a, b1b, b2a, b2b, b3 = _branches(mixed)
            branches = (
                unit(b0, x),
                unit(b1b, unit(b1a, x)),
                unit(b2b, unit(b2a, x)),
                unit(b3, _max_pool(x, (3, 3, 3), (1, 1, 1))),
            )
            x = tf.concat(branches, axis=-1)
        # [batch, time / 8 - 1, 1, 1, 1024]
        x = tf.nn.avg_pool3d(x, (2, 7, 7), 1, "VALID")
        return {
            "logits": tf.reduce_mean(self.logits(x), axis=[1, 2, 3]),
            "features": tf.reduce_mean(x, axis=[1, 2, 3]),
        }


def _check(shape: tf.TensorShape) -> None:
    _, time, height, width, _ = shape
    least, most = _SIDES
    sides = [side for side in (height, width) if side is not None]
    too_short = time is not None and time < MIN_FRAMES
    if too_short or not all(least <= side <= most for side in sides):
        raise ValueError(
            f"I3D wants {MIN_FRAMES} frames at least, of {least} to {most} pixels a "
            f"side. Received: {shape}"
        )


def _max_pool(
    x: tf.Tensor, size: tuple[int, int, int], strides: tuple[int, int, int]
) -> tf.Tensor:
    return tf.nn.max_pool3d(x, size, strides, "SAME")


def _from_tf1(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """DeepMind's names, of checkpoints and of TF-Hub; Kinetics-600's have no prefix.

    Sonnet's statistics are `[1, 1, 1, 1, channels]`.
    """
    stem = f"{_UNITS[0]}/conv_3d/w"
    prefix = "" if stem in arrays else "RGB/inception_i3d/"
    ours = {}
    for unit in _UNITS:
        ours[f"{unit}/conv_3d/kernel"] = arrays[f"{prefix}{unit}/conv_3d/w"]
        for name in ("beta", "moving_mean", "moving_variance"):
            array = arrays[f"{prefix}{unit}/batch_norm/{name}"]
            ours[f"{unit}/batch_norm/{name}"] = array.reshape(-1)
    ours[f"{_LOGITS}/conv_3d/kernel"] = arrays[f"{prefix}{_LOGITS}/conv_3d/w"]
    ours[f"{_LOGITS}/conv_3d/bias"] = arrays[f"{prefix}{_LOGITS}/conv_3d/b"]
    return ours


def _from_keras(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Names of keras-kinetics-i3d, such as Conv3d_3b_1b_3x3_conv in Mixed_3b."""
    # A layer's name stands once or twice before a variable's, by the version of Keras.
    layers = {re.sub("/.*/", "/", name): array for name, array in arrays.items()}
    ours = {}
    for unit, theirs in zip(_UNITS, _keras_names(), strict=True):
        ours[f"{unit}/conv_3d/kernel"] = layers[f"{theirs}_conv/kernel"]
        for name in ("beta", "moving_mean", "moving_variance"):
            ours[f"{unit}/batch_norm/{name}"] = layers[f"{theirs}_bn/{name}"]
    for name in ("kernel", "bias"):
        ours[f"{_LOGITS}/conv_3d/{name}"] = layers[f"Conv3d_6a_1x1_conv/{name}"]
    return ours


def _keras_names() -> tuple[str, ...]:
    """Names there of `_UNITS`."""
    parts = ("0a_1x1", "1a_1x1", "1b_3x3", "2a_1x1", "2b_3x3", "3b_1x1")
    mixed = (name.removeprefix("Mixed_") for name in _MIXED)
    return (*_STEM, *(f"Conv3d_{m}_{part}" for m in mixed for part in parts))


def _from_pytorch(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Names of pytorch-i3d, whose kernels are `[out, in, time, height, width]`.

    Batch normalization has a scale there. Scaling the kernel and the mean is the same:
    s (W x - m) / d = (s W x - s m) / d.
    """
    ours = {}
    for unit, theirs in zip(_UNITS, _pytorch_names(), strict=True):
        scale = arrays[f"{theirs}.bn.weight"]
        kernel = arrays[f"{theirs}.conv3d.weight"].transpose(2, 3, 4, 1, 0)
        ours[f"{unit}/conv_3d/kernel"] = kernel * scale
        norm = f"{unit}/batch_norm"
        ours[f"{norm}/beta"] = arrays[f"{theirs}.bn.bias"]
        ours[f"{norm}/moving_mean"] = arrays[f"{theirs}.bn.running_mean"] * scale
        ours[f"{norm}/moving_variance"] = arrays[f"{theirs}.bn.running_var"]
    kernel = arrays["logits.conv3d.weight"].transpose(2, 3, 4, 1, 0)
    ours[f"{_LOGITS}/conv_3d/kernel"] = kernel
    ours[f"{_LOGITS}/conv_3d/bias"] = arrays["logits.conv3d.bias"]
    return ours


def _pytorch_names() -> tuple[str, ...]:
    """Names there of `_UNITS`."""
    parts = ("b0", "b1a", "b1b", "b2a", "b2b", "b3b")
    return (*_STEM, *(f"{mixed}.{part}" for mixed in _MIXED for part in parts))


FORMATS: dict[str, Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]] = {
    "tf1": _from_tf1,
    "keras": _from_keras,
    "pytorch": _from_pytorch,
}
