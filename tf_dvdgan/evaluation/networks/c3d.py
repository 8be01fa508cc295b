"""C3D: what Inception Scores on UCF-101 are measured with.

Tran, Bourdev, Fergus, Torresani and Paluri, 2015 (https://arxiv.org/abs/1412.0767),
trained on Sports-1M (487 classes), then on UCF-101 (101). 78,409,573 parameters for
101 classes. It wants BGR from 0 to 255 less the training clips' mean, as
`preprocessing.tgan_c3d` and `tgan2_c3d` make it.

The fifth pooling takes 7 rows and columns to 4, and so looks past an edge. Caffe, in
which the authors trained, and TGAN's Chainer look past the last one: windows are 0-1,
2-3, 4-5 and 6 alone, which is TensorFlow's 'same'. The usual Keras and PyTorch ports
pad both sides (0 alone, 1-2, 3-4, 5-6) and give other scores with the same weights;
here files of all kinds are run as Caffe does. Weights that were trained on in such a
port want its padding, and lose by this.

The first linear layer flattens time, height, width, channels here, and channels, time,
height, width in Caffe, Chainer and PyTorch: its kernel is put in our order on reading.
"""

from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

# Each row ends in a pooling.
_CONVOLUTIONS = (
    (("conv1a", 64),),
    (("conv2a", 128),),
    (("conv3a", 256), ("conv3b", 256)),
    (("conv4a", 512), ("conv4b", 512)),
    (("conv5a", 512), ("conv5b", 512)),
)
_LINEAR = ("fc6", "fc7", "fc8")
_LAYERS = (*(name for row in _CONVOLUTIONS for name, _ in row), *_LINEAR)
_FLATTENED = (512, 1, 4, 4)  # channels, time, height, width before fc6

Arrays = Mapping[str, np.ndarray]


class C3D(tf.keras.Model):
    """Eight 3x3x3 convolutions, five max poolings, three linear layers.

    Args:
      num_classes: how many.
    """

    FEATURES = 4096
    INPUT = (16, 112, 112, 3)

    def __init__(self, num_classes: int, name: str | None = None):
        super().__init__(name=name, dtype="float32")
        self._convolutions = [
            [
                tf.keras.layers.Conv3D(
                    filters, 3, 1, "same", activation="relu", name=x, dtype="float32"
                )
                for x, filters in row
            ]
            for row in _CONVOLUTIONS
        ]
        self._fc6, self._fc7 = (
            tf.keras.layers.Dense(4096, "relu", name=x, dtype="float32")
            for x in _LINEAR[:2]
        )
        self._fc8 = tf.keras.layers.Dense(num_classes, name="fc8", dtype="float32")
        self._dropout = tf.keras.layers.Dropout(0.5, dtype="float32")

    def call(self, videos: tf.Tensor, training: bool = False) -> dict[str, tf.Tensor]:
        """Classifies videos.

        Args:
          videos: `[batch, 16, 112, 112, 3]`, BGR less the mean.
          training: whether half of what the linear layers take is dropped.

        Returns:
          "logits" `[batch, num_classes]` and "features" `[batch, 4096]`: fc7 after its
          ReLU, of which TGAN2 takes the Fréchet distance.
        """
        x = videos
        for i, row in enumerate(self._convolutions):
            for convolution in row:
                x = convolution(x)
            window = [2 if i else 1, 2, 2]  # the first keeps time
            x = tf.nn.max_pool3d(x, window, window, "SAME")
        x = tf.reshape(x, [-1, np.prod(x.shape[1:])])  # [batch, 1 * 4 * 4 * 512]
        x = self._dropout(self._fc6(x), training=training)
        features = self._fc7(x)
        logits = self._fc8(self._dropout(features, training=training))
        return {"logits": logits, "features": features}


def _from_chainer(arrays: Arrays) -> dict[str, np.ndarray]:
    """Of pfnet-research/tgan's npz: `conv1a/W` is `[out, in, time, height, width]`."""
    return _in_our_order(
        {name: (arrays[f"{name}/W"], arrays[f"{name}/b"]) for name in _LAYERS}
    )


def _from_pytorch(arrays: Arrays) -> dict[str, np.ndarray]:
    """Of a state dict as of DavideA/c3d-pytorch and jfzhang95's: `conv1.weight`."""
    arrays = {name.removeprefix("module."): array for name, array in arrays.items()}
    pairs = {}
    for name in _LAYERS:
        theirs = _short(name)
        pairs[name] = arrays[f"{theirs}.weight"], arrays[f"{theirs}.bias"]
    return _in_our_order(pairs)


def _from_keras(arrays: Arrays) -> dict[str, np.ndarray]:
    """Of c3d-keras' h5, `sports1M_weights_tf.h5`: kernels are in our order already.

    Keras 1 calls them `conv1/conv1_W`, Keras 2 `conv1/conv1/kernel`: they are told by
    their layer and their rank.
    """
    pairs = {}
    for name in _LAYERS:
        rank = 2 if name in _LINEAR else 5
        pairs[name] = _one(arrays, _short(name), rank), _one(arrays, _short(name), 1)
    return _named(pairs)


def _one(arrays: Arrays, layer: str, rank: int) -> np.ndarray:
    found = [
        array
        for name, array in arrays.items()
        if name.startswith(f"{layer}/") and array.ndim == rank
    ]
    if len(found) != 1:
        raise KeyError(f"a single array of {rank} axes in {layer}/")
    return found[0]


def _short(name: str) -> str:
    """The ports call conv1a and conv2a, which have no b, conv1 and conv2."""
    return name[:-1] if name in ("conv1a", "conv2a") else name


def _in_our_order(
    pairs: dict[str, tuple[np.ndarray, np.ndarray]],
) -> dict[str, np.ndarray]:
    """Turns kernels from `[out, in, ...]` to `[..., in, out]`."""
    turned = {}
    for name, (kernel, bias) in pairs.items():
        if name == "fc6":
            kernel = kernel.reshape([-1, *_FLATTENED]).transpose(2, 3, 4, 1, 0)
            kernel = kernel.reshape([-1, kernel.shape[-1]])
        elif name in _LINEAR:
            kernel = kernel.T
        else:
            kernel = kernel.transpose(2, 3, 4, 1, 0)
        turned[name] = kernel, bias
    return _named(turned)


def _named(
    pairs: dict[str, tuple[np.ndarray, np.ndarray]],
) -> dict[str, np.ndarray]:
    named = {}
    for name, (kernel, bias) in pairs.items():
        named |= {f"{name}/kernel": kernel, f"{name}/bias": bias}
    return named


FORMATS: dict[str, Callable[[Arrays], dict[str, np.ndarray]]] = {
    "chainer": _from_chainer,
    "keras": _from_keras,
    "pytorch": _from_pytorch,
}
