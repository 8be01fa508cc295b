"""LPIPS: a distance of images by the features of a classifier of them.

Zhang, Isola, Efros, Shechtman and Wang, 2018 (https://arxiv.org/abs/1801.03924), with
version 0.1 of the authors' weights. The backbone is torchvision's AlexNet or VGG-16; of
five activations each is brought to length 1 over its channels, the squared difference
of two images is weighed by channel, and the mean over places is taken. AlexNet is what
most papers of video prediction report.

It scores pairs of frames, so it is none of `networks.NETWORKS`, which look at videos.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from tf_dvdgan import errors
from tf_dvdgan.evaluation.networks import weights

# Of [-1, 1] to what the backbones were trained on.
_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)
_EPSILON = 1e-10


@dataclasses.dataclass(frozen=True)
class _Convolution:
    """A convolution with ReLU, as torchvision numbers it.

    Attributes:
      number: of the layer among `features`.
      filters: how many.
      kernel: its side.
      pool_before: side of the max pooling of stride 2 before it; 0 for none.
      stride: of the convolution.
      tapped: whether the distance looks at its output.
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
    """The distance; 0 for the same image.

    Args:
      backbone: 'alexnet' or 'vgg16'.
      kernels: of each convolution `[height, width, in, out]`, and its bias `[out]`.
      channel_weights: of each tapped one `[channels]`, not negative.
    """

    def __init__(
        self,
        backbone: str,
        kernels: list[tuple[np.ndarray, np.ndarray]],
        channel_weights: list[np.ndarray],
    ):
        super().__init__(name=f"lpips_{backbone}")
        self.backbone = backbone
        self._layers = _BACKBONES[backbone]
        self._kernels = [tuple(map(tf.constant, pair)) for pair in kernels]
        self._channel_weights = [tf.constant(values) for values in channel_weights]

    @tf.function(reduce_retracing=True)
    def __call__(self, a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
        """Distances of pairs.

        Args:
          a: `[batch, height, width, 3]` RGB in [-1, 1].
          b: as `a`.

        Returns:
          `[batch]` float32.
        """
        total = 0.0
        taps = zip(
            self._features(a), self._features(b), self._channel_weights, strict=True
        )
        for of_a, of_b, by_channel in taps:
            apart = tf.square(_of_length_1(of_a) - _of_length_1(of_b))
            weighed = tf.reduce_sum(apart * by_channel, axis=-1)
            total += tf.reduce_mean(weighed, axis=[1, 2])
        return total

    def _features(self, images: tf.Tensor) -> list[tf.Tensor]:
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


def _of_length_1(x: tf.Tensor) -> tf.Tensor:
    length = tf.sqrt(tf.reduce_sum(tf.square(x), axis=-1, keepdims=True))
    return x / (length + _EPSILON)


def load(backbone: str, linear: str) -> LPIPS:
    """The distance with the published weights.

    Args:
      backbone: file of torchvision's AlexNet or VGG-16, as it is downloaded; which of
        them, the weights tell.
      linear: file of the authors' weights of channels for the same one, version 0.1:
        `alex.pth` or `vgg.pth`.

    Raises:
      UserError: a file is missing, or is not what it should be.
    """
    arrays, by_channel = weights.read(backbone), weights.read(linear)
    for name, layers in _BACKBONES.items():
        if _fits(arrays, layers):
            kernels = [_kernel_and_bias(arrays, layer) for layer in layers]
            return LPIPS(name, kernels, _weights_of(by_channel, layers, linear))
    raise errors.UserError(
        f"{backbone!r} is neither torchvision's AlexNet nor its VGG-16; LPIPS wants "
        "the whole classifier's state dict."
    )


def _fits(arrays: weights.Arrays, layers: tuple[_Convolution, ...]) -> bool:
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
    """PyTorch's kernels are `[out, in, height, width]`."""
    kernel = arrays[f"features.{layer.number}.weight"].transpose(2, 3, 1, 0)
    return kernel, arrays[f"features.{layer.number}.bias"]


def _weights_of(
    arrays: weights.Arrays, layers: tuple[_Convolution, ...], path: str
) -> list[np.ndarray]:
    tapped, found = [layer for layer in layers if layer.tapped], []
    for i, layer in enumerate(tapped):
        values = arrays.get(f"lin{i}.model.1.weight", np.zeros([]))
        if values.shape != (1, layer.filters, 1, 1):
            raise errors.UserError(
                f"{path!r} does not hold LPIPS's weights of channels for this "
                f"backbone: lin{i}.model.1.weight is {list(values.shape)} and should "
                f"be {[1, layer.filters, 1, 1]}."
            )
        found.append(values.reshape(-1))
    return found
