"""LPIPS: a perceptual distance between images, from the features of a classifier.

Zhang, Isola, Efros, Shechtman and Wang, 2018 (https://arxiv.org/abs/1801.03924), with
version 0.1 of the authors' weights. The backbone is torchvision's AlexNet or VGG-16.
Each of five activations is normalized to unit length over channels; the squared
differences of two images are weighted by channel, averaged over positions and summed
over the activations. Most papers on video prediction report AlexNet.

It scores pairs of frames and is not in `networks.NETWORKS`, which take videos.
"""

import dataclasses
import hashlib
import itertools

import numpy as np
import tensorflow as tf

from tf_dvdgan import errors
from tf_dvdgan.evaluation.features.networks import weight_formats, weights

# Maps [-1, 1] to the range that the backbones were trained on.
_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)
_EPSILON = 1e-10


@dataclasses.dataclass(frozen=True)
class _Convolution:
    """A convolution with ReLU.

    Attributes:
      number: index in torchvision's `features`.
      filters: number of output channels.
      kernel: height and width of the kernel.
      pool_before: window of the max pooling with stride 2 before it; 0 for none.
      stride: of the convolution.
      tapped: whether the distance uses its output.
    """

    number: int
    filters: int
    kernel: int = 3
    pool_before: int = 0
    stride: int = 1
    tapped: bool = True


_BACKBONES = {
    "alexnet": (
        _Convolution(0, 64, 11, stride=4),
        _Convolution(3, 192, 5, pool_before=3),
        _Convolution(6, 384, pool_before=3),
        _Convolution(8, 256),
        _Convolution(10, 256),
    ),
    "vgg16": (
        _Convolution(0, 64, tapped=False),
        _Convolution(2, 64),
        _Convolution(5, 128, pool_before=2, tapped=False),
        _Convolution(7, 128),
        _Convolution(10, 256, pool_before=2, tapped=False),
        _Convolution(12, 256, tapped=False),
        _Convolution(14, 256),
        _Convolution(17, 512, pool_before=2, tapped=False),
        _Convolution(19, 512, tapped=False),
        _Convolution(21, 512),
        _Convolution(24, 512, pool_before=2, tapped=False),
        _Convolution(26, 512, tapped=False),
        _Convolution(28, 512),
    ),
}


class LPIPS(tf.Module):
    """The distance; 0 for identical images.

    Args:
      backbone: 'alexnet' or 'vgg16'.
      kernels: kernel `[height, width, in, out]` and bias `[out]` of each convolution.
      channel_weights: `[channels]` for each tapped convolution, non-negative.

    Attributes:
      backbone: as given.
      hash: SHA-256 of all values.
    """

    def __init__(
        self,
        backbone: str,
        kernels: list[tuple[np.ndarray, np.ndarray]],
        channel_weights: list[np.ndarray],
    ):
        super().__init__(name=f"lpips_{backbone}")
        self.backbone = backbone
        found = hashlib.sha256()
        for values in (*itertools.chain.from_iterable(kernels), *channel_weights):
            found.update(np.ascontiguousarray(values, "<f4").tobytes())
        self.hash = found.hexdigest()
        self._layers = _BACKBONES[backbone]
        self._kernels = [tuple(map(tf.constant, pair)) for pair in kernels]
        self._channel_weights = [tf.constant(values) for values in channel_weights]

    @tf.function(reduce_retracing=True)
    def __call__(self, a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
        """Computes the distance of each pair of images.

        Args:
          a: `[batch, height, width, 3]` RGB in [-1, 1].
          b: `[batch, height, width, 3]`, images to compare with, in the range of `a`.

        Returns:
          `[batch]` float32.
        """
        total = 0.0
        taps = zip(
            self._features(a), self._features(b), self._channel_weights, strict=True
        )
        for of_a, of_b, by_channel in taps:
            squares = tf.square(_unit_length(of_a) - _unit_length(of_b))
            weighted = tf.reduce_sum(squares * by_channel, axis=-1)
            total += tf.reduce_mean(weighted, axis=[1, 2])
        return total

    def _features(self, images: tf.Tensor) -> list[tf.Tensor]:
        """Activations of the tapped convolutions."""
        x, tapped = (images - _SHIFT) / _SCALE, []
        for layer, (kernel, bias) in zip(self._layers, self._kernels, strict=True):
            if layer.pool_before:
                x = tf.nn.max_pool2d(x, layer.pool_before, 2, "VALID")
            pad = layer.kernel // 2 if layer.stride == 1 else 2
            x = tf.pad(x, [[0, 0], [pad, pad], [pad, pad], [0, 0]])
            x = tf.nn.relu(tf.nn.conv2d(x, kernel, layer.stride, "VALID") + bias)
            if layer.tapped:
                tapped.append(x)
        return tapped


def _unit_length(x: tf.Tensor) -> tf.Tensor:
    """Normalizes the channels at each position to unit length."""
    length = tf.sqrt(tf.reduce_sum(tf.square(x), axis=-1, keepdims=True))
    return x / (length + _EPSILON)


def load(backbone: str, linear: str) -> LPIPS:
    """Loads LPIPS with the published weights.

    Args:
      backbone: file of torchvision's AlexNet or VGG-16, as downloaded; its array shapes
        tell which.
      linear: file of the authors' channel weights for that backbone, version 0.1:
        `alex.pth` or `vgg.pth`.

    Returns:
      The distance.

    Raises:
      UserError: a file is missing, or holds other weights.
    """
    arrays, by_channel = weight_formats.read(backbone), weight_formats.read(linear)
    for name, layers in _BACKBONES.items():
        if _fits(arrays, layers):
            kernels = [_kernel_and_bias(arrays, layer) for layer in layers]
            return LPIPS(name, kernels, _channel_weights(by_channel, layers, linear))
    raise errors.UserError(
        f"{backbone!r} is neither torchvision's AlexNet nor its VGG-16; LPIPS needs "
        "the complete state dict of the classifier."
    )


def _fits(arrays: weights.Arrays, layers: tuple[_Convolution, ...]) -> bool:
    """Whether a state dict has the convolutions of a backbone."""
    channels = 3
    for layer in layers:
        kernel = arrays.get(f"features.{layer.number}.weight", np.zeros([]))
        bias = arrays.get(f"features.{layer.number}.bias", np.zeros([]))
        if kernel.shape != (layer.filters, channels, layer.kernel, layer.kernel):
            return False
        if bias.shape != (layer.filters,):
            return False
        channels = layer.filters
    return True


def _kernel_and_bias(
    arrays: weights.Arrays, layer: _Convolution
) -> tuple[np.ndarray, np.ndarray]:
    """Transposes PyTorch's kernel, which is `[out, in, height, width]`."""
    kernel = arrays[f"features.{layer.number}.weight"].transpose(2, 3, 1, 0)
    return kernel, arrays[f"features.{layer.number}.bias"]


def _channel_weights(
    arrays: weights.Arrays, layers: tuple[_Convolution, ...], path: str
) -> list[np.ndarray]:
    """`[channels]` for each tapped convolution."""
    tapped, found = [layer for layer in layers if layer.tapped], []
    for i, layer in enumerate(tapped):
        values = arrays.get(f"lin{i}.model.1.weight", np.zeros([]))
        if values.shape != (1, layer.filters, 1, 1):
            raise errors.UserError(
                f"{path!r} does not hold LPIPS's channel weights for this backbone: "
                f"lin{i}.model.1.weight has the shape {list(values.shape)} instead of "
                f"{[1, layer.filters, 1, 1]}."
            )
        found.append(values.reshape(-1))
    return found
