"""3-D ResNet-18, the second classifier of paper 003's S3 (appendix B.1).

Hara, Kataoka and Satoh, 2017 (https://arxiv.org/abs/1708.07632), following their
PyTorch code: 7x7x7 convolution and 3x3x3 max pooling, four stages of two basic blocks,
global average pooling, linear. 33,255,717 trainable parameters for 101 classes with
convolutional shortcuts ('B'), the default of their code and the type in their files of
2020.

Their files of 2017 (`resnet-18-kinetics.pth`) have shortcuts without parameters ('A'):
every second position, new channels zero. Conversion turns them into a convolution with
an identity matrix and a batch norm that does nothing, with identical outputs. After
fine-tuning, such a shortcut is normalized and trained.

Paper 003 adds dropout of 0.6 without saying where; here it precedes the linear layer.
The paper does not give the frame size; `preprocessing.resnet3d` uses Hara's 112.
"""

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import tensorflow as tf

_WIDTHS = (64, 128, 256, 512)
_EPSILON = 1e-5
_NORM = {  # variables of a batch norm in Keras, and in PyTorch
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}

Arrays = Mapping[str, np.ndarray]


class ResNet3D18(tf.keras.Model):
    """The network.

    Args:
      num_classes: number of logits.
      name: of the Keras model.
      dropout_rate: fraction of features that training drops.
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
          videos: `[batch, time, height, width, 3]`, RGB minus the mean, any sizes.
          training: True makes batch norm use the batch's statistics, over all replicas,
            and enables dropout.

        Returns:
          "logits" `[batch, num_classes]` and "features" `[batch, 512]`, the mean over
          time and space.
        """
        x = self._conv1(_zero_pad(videos, 3))
        x = tf.nn.relu(self._bn1(x, training=training))
        # After the ReLU, max pooling with 0 as padding equals padding with -inf.
        x = tf.nn.max_pool3d(_zero_pad(x, 1), 3, 2, "VALID")
        for block in self._blocks:
            x = block(x, training=training)
        features = tf.reduce_mean(x, axis=[1, 2, 3])
        logits = self._fc(self._dropout(features, training=training))
        return {"logits": logits, "features": features}


class _Block(tf.keras.layers.Layer):
    """Two 3x3x3 convolutions and a shortcut, convolutional if the size is halved."""

    def __init__(self, width: int, downsample: bool, name: str):
        super().__init__(name=name, dtype="float32")
        self._conv1 = _convolution(width, 3, 2 if downsample else 1, "conv1")
        self._bn1 = _batch_norm("bn1")
        self._conv2 = _convolution(width, 3, 1, "conv2")
        self._bn2 = _batch_norm("bn2")
        self._shortcut = None
        if downsample:
            self._shortcut = _convolution(width, 1, 2, "downsample_conv")
            self._shortcut_bn = _batch_norm("downsample_bn")

    def call(self, x: tf.Tensor, training: bool) -> tf.Tensor:
        """Maps `[batch, time, height, width, channels]` to `width` channels."""
        y = self._conv1(_zero_pad(x, 1))
        y = tf.nn.relu(self._bn1(y, training=training))
        y = self._bn2(self._conv2(_zero_pad(y, 1)), training=training)
        if self._shortcut is not None:
            x = self._shortcut_bn(self._shortcut(x), training=training)
        return tf.nn.relu(x + y)


def _convolution(filters: int, size: int, strides, name: str) -> tf.keras.layers.Conv3D:
    """Unpadded, because a strided 'same' pads less at the start than PyTorch does."""
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


def _zero_pad(x: tf.Tensor, width: int) -> tf.Tensor:
    """Pads time, height and width with zeros on both sides."""
    sides = [width, width]
    return tf.pad(x, [[0, 0], sides, sides, sides, [0, 0]])


def _from_pytorch(arrays: Arrays) -> dict[str, np.ndarray]:
    """From kenshohara/3D-ResNets-PyTorch: `module.layer1.0.conv1.weight`."""
    arrays = {name.removeprefix("module."): array for name, array in arrays.items()}
    if not any("downsample" in name for name in arrays):
        arrays |= _identity_shortcuts()
    converted = {"fc/kernel": arrays["fc.weight"].T, "fc/bias": arrays["fc.bias"]}
    for name, source_name in _names():
        if "conv" in name:
            kernel = arrays[f"{source_name}.weight"]
            converted[f"{name}/kernel"] = kernel.transpose(2, 3, 4, 1, 0)
        else:
            for part, source_part in _NORM.items():
                converted[f"{name}/{part}"] = arrays[f"{source_name}.{source_part}"]
    return converted


def _names() -> Iterator[tuple[str, str]]:
    """Yields the name here and in Hara's code of each convolution and batch norm."""
    yield "conv1", "conv1"
    yield "bn1", "bn1"
    for stage in range(1, len(_WIDTHS) + 1):
        for i in range(2):
            for part in ("conv1", "bn1", "conv2", "bn2"):
                yield f"layer{stage}_{i}/{part}", f"layer{stage}.{i}.{part}"
        if stage > 1:
            yield f"layer{stage}_0/downsample_conv", f"layer{stage}.0.downsample.0"
            yield f"layer{stage}_0/downsample_bn", f"layer{stage}.0.downsample.1"


def _identity_shortcuts() -> dict[str, np.ndarray]:
    """State dict of shortcuts that copy their input and append channels of zeros."""
    arrays: dict[str, np.ndarray] = {}
    for stage, width in enumerate(_WIDTHS[1:], start=2):
        name = f"layer{stage}.0.downsample"
        zeros, ones = np.zeros(width, np.float32), np.ones(width, np.float32)
        identity = np.eye(width, width // 2, dtype=np.float32)
        arrays |= {
            f"{name}.0.weight": identity.reshape([width, width // 2, 1, 1, 1]),
            f"{name}.1.weight": np.sqrt(1.0 + _EPSILON) * ones,
            f"{name}.1.bias": zeros,
            f"{name}.1.running_mean": zeros,
            f"{name}.1.running_var": ones,
        }
    return arrays


FORMATS: dict[str, Callable[[Arrays], dict[str, np.ndarray]]] = {
    "pytorch": _from_pytorch
}
