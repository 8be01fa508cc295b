"""3-D ResNet-18, the second classifier of paper 003's S3 (appendix B.1).

Hara, Kataoka and Satoh, 2017 (https://arxiv.org/abs/1708.07632), as their PyTorch code
builds it: 7x7x7 convolution and 3x3x3 max pooling, four stages of two basic blocks,
the mean over all, linear. 33,255,717 parameters that are trained for 101 classes, with
shortcuts that convolve ('B'), their code's default and their files' of 2020.

Their files of 2017 (`resnet-18-kinetics.pth`) have shortcuts without weights ('A'):
every second position, new channels zero. That is a shortcut which convolves by a unit
matrix and whose batch norm does nothing, and so they are read; the outputs are the
same. Trained on from there, such a shortcut is normalized and learns.

Paper 003 adds dropout of 0.6, it does not say where: here before the linear layer. It
is silent about the size of frames; `preprocessing.resnet3d` takes Hara's 112.
"""

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import tensorflow as tf

_WIDTHS = (64, 128, 256, 512)
_EPSILON = 1e-5
_NORM = {  # our names of a batch norm's parts, and theirs
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}

Arrays = Mapping[str, np.ndarray]


class ResNet3D18(tf.keras.Model):
    """The network.

    Args:
      num_classes: how many.
      dropout_rate: of the features, in training alone.
    """

    FEATURES = _WIDTHS[-1]
    INPUT = (16, 112, 112, 3)

    def __init__(
        self, num_classes: int, name: str | None = None, dropout_rate: float = 0.6
    ):
        super().__init__(name=name, dtype="float32")
        self._conv1 = _convolution(64, 7, (1, 2, 2), "conv1")
        self._bn1 = _batch_norm("bn1")
        self._blocks = []
        for stage, width in enumerate(_WIDTHS, start=1):
            self._blocks += [
                _Block(width, stage > 1, f"layer{stage}_0"),
                _Block(width, False, f"layer{stage}_1"),
            ]
        self._dropout = tf.keras.layers.Dropout(dropout_rate, dtype="float32")
        self._fc = tf.keras.layers.Dense(num_classes, name="fc", dtype="float32")

    def call(self, videos: tf.Tensor, training: bool = False) -> dict[str, tf.Tensor]:
        """Classifies videos.

        Args:
          videos: `[batch, time, height, width, 3]`, RGB less the mean, any sizes.
          training: whether batch norm takes the batch's statistics, over all replicas,
            and features are dropped.

        Returns:
          "logits" `[batch, num_classes]` and "features" `[batch, 512]`, the mean over
          time and space.
        """
        x = self._conv1(_padded(videos, 3))
        x = tf.nn.relu(self._bn1(x, training=training))
        # Padding by 0 is as by -inf after the ReLU.
        x = tf.nn.max_pool3d(_padded(x, 1), 3, 2, "VALID")
        for block in self._blocks:
            x = block(x, training=training)
        features = tf.reduce_mean(x, axis=[1, 2, 3])
        logits = self._fc(self._dropout(features, training=training))
        return {"logits": logits, "features": features}


class _Block(tf.keras.layers.Layer):
    """Two 3x3x3 convolutions and a shortcut, which convolves where the size halves."""

    def __init__(self, width: int, shrinks: bool, name: str):
        super().__init__(name=name, dtype="float32")
        self._conv1 = _convolution(width, 3, 2 if shrinks else 1, "conv1")
        self._bn1 = _batch_norm("bn1")
        self._conv2 = _convolution(width, 3, 1, "conv2")
        self._bn2 = _batch_norm("bn2")
        self._shortcut = None
        if shrinks:
            self._shortcut = _convolution(width, 1, 2, "downsample_conv")
            self._shortcut_bn = _batch_norm("downsample_bn")

    def call(self, x: tf.Tensor, training: bool) -> tf.Tensor:
        """Maps `[batch, time, height, width, channels]`, perhaps to half the sizes."""
        y = self._conv1(_padded(x, 1))
        y = tf.nn.relu(self._bn1(y, training=training))
        y = self._bn2(self._conv2(_padded(y, 1)), training=training)
        if self._shortcut is not None:
            x = self._shortcut_bn(self._shortcut(x), training=training)
        return tf.nn.relu(x + y)


def _convolution(filters: int, size: int, strides, name: str) -> tf.keras.layers.Conv3D:
    """Without padding, because 'same' with a stride pads less before than PyTorch."""
    return tf.keras.layers.Conv3D(
        filters,
        size,
        strides,
        "valid",
        use_bias=False,
        kernel_initializer=tf.keras.initializers.VarianceScaling(
            2.0, "fan_out", "untruncated_normal"
        ),
        name=name,
        dtype="float32",
    )


def _batch_norm(name: str) -> tf.keras.layers.BatchNormalization:
    return tf.keras.layers.BatchNormalization(
        momentum=0.9, epsilon=_EPSILON, synchronized=True, name=name, dtype="float32"
    )


def _padded(x: tf.Tensor, width: int) -> tf.Tensor:
    """Zeros around time, height and width."""
    sides = [width, width]
    return tf.pad(x, [[0, 0], sides, sides, sides, [0, 0]])


def _from_pytorch(arrays: Arrays) -> dict[str, np.ndarray]:
    """Of kenshohara/3D-ResNets-PyTorch's state dict: `module.layer1.0.conv1.weight`."""
    arrays = {name.removeprefix("module."): array for name, array in arrays.items()}
    if not any("downsample" in name for name in arrays):
        arrays |= _unit_shortcuts()
    named = {"fc/kernel": arrays["fc.weight"].T, "fc/bias": arrays["fc.bias"]}
    for ours, theirs in _names():
        if "conv" in ours:
            kernel = arrays[f"{theirs}.weight"]
            named[f"{ours}/kernel"] = kernel.transpose(2, 3, 4, 1, 0)
        else:
            for part, their_part in _NORM.items():
                named[f"{ours}/{part}"] = arrays[f"{theirs}.{their_part}"]
    return named


def _names() -> Iterator[tuple[str, str]]:
    """Our name and theirs of each convolution and each batch norm."""
    yield "conv1", "conv1"
    yield "bn1", "bn1"
    for stage in range(1, len(_WIDTHS) + 1):
        for i in range(2):
            for part in ("conv1", "bn1", "conv2", "bn2"):
                yield f"layer{stage}_{i}/{part}", f"layer{stage}.{i}.{part}"
        if stage > 1:
            yield f"layer{stage}_0/downsample_conv", f"layer{stage}.0.downsample.0"
            yield f"layer{stage}_0/downsample_bn", f"layer{stage}.0.downsample.1"


def _unit_shortcuts() -> dict[str, np.ndarray]:
    """A state dict's shortcuts that hand on what they get, and zeros after it."""
    arrays = {}
    for stage, width in enumerate(_WIDTHS[1:], start=2):
        name = f"layer{stage}.0.downsample"
        zeros, ones = np.zeros(width, np.float32), np.ones(width, np.float32)
        unit = np.eye(width, width // 2, dtype=np.float32)
        arrays |= {
            f"{name}.0.weight": unit.reshape([width, width // 2, 1, 1, 1]),
            f"{name}.1.weight": np.sqrt(1.0 + _EPSILON) * ones,
            f"{name}.1.bias": zeros,
            f"{name}.1.running_mean": zeros,
            f"{name}.1.running_var": ones,
        }
    return arrays


FORMATS: dict[str, Callable[[Arrays], dict[str, np.ndarray]]] = {
    "pytorch": _from_pytorch
}
