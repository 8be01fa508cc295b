"""C3D, the network of Inception Scores on UCF-101.

Tran, Bourdev, Fergus, Torresani and Paluri, 2015 (https://arxiv.org/abs/1412.0767),
trained on Sports-1M (487 classes), then on UCF-101 (101). 78,409,573 parameters for
101 classes. Its input is BGR in [0, 255] minus the mean of the training clips, as
`preprocessing.tgan_c3d` and `tgan2_c3d` return it.

The fifth pooling maps 7 rows and columns to 4 and so needs padding. Caffe, which the
authors used, and TGAN's Chainer pad at the end: windows are 0-1, 2-3, 4-5 and only 6,
TensorFlow's 'same'. The usual Keras and PyTorch ports pad both sides (only 0, 1-2, 3-4,
5-6) and give different scores with the same weights. Here, weights from any format run
with Caffe's padding; weights fine-tuned in such a port need its padding and score worse
with this one.

The first linear layer flattens (time, height, width, channels) here, but (channels,
time, height, width) in Caffe, Chainer and PyTorch; conversion reorders its kernel.
"""

from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

# A max pooling follows each row.
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
      num_classes: number of logits.
      name: of the Keras model.
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
          videos: `[batch, 16, 112, 112, 3]`, BGR minus the mean.
          training: True enables dropout.

        Returns:
          "logits" `[batch, num_classes]` and "features" `[batch, 4096]`: fc7 after its
          ReLU, the features of TGAN2's Fréchet distance.
        """
        x = videos
        for i, row in enumerate(self._convolutions):
            for convolution in row:
                x = convolution(x)
            window = [2 if i else 1, 2, 2]  # the first does not pool time
            x = tf.nn.max_pool3d(x, window, window, "SAME")
        x = tf.reshape(x, [-1, np.prod(x.shape[1:])])  # [batch, 1 * 4 * 4 * 512]
        x = self._dropout(self._fc6(x), training=training)
        features = self._fc7(x)
        logits = self._fc8(self._dropout(features, training=training))
        return {"logits": logits, "features": features}


def _from_chainer(arrays: Arrays) -> dict[str, np.ndarray]:
    """From pfnet-research/tgan's npz: `conv1a/W`."""
    return _transpose_kernels(
        {name: (arrays[f"{name}/W"], arrays[f"{name}/b"]) for name in _LAYERS}
    )


def _from_pytorch(arrays: Arrays) -> dict[str, np.ndarray]:
    """From a state dict of DavideA's or jfzhang95's port: `conv1.weight`."""
    arrays = {name.removeprefix("module."): array for name, array in arrays.items()}
    pairs = {}
    for name in _LAYERS:
        layer = _ported_name(name)
        pairs[name] = arrays[f"{layer}.weight"], arrays[f"{layer}.bias"]
    return _transpose_kernels(pairs)


def _from_keras(arrays: Arrays) -> dict[str, np.ndarray]:
    """From c3d-keras' `sports1M_weights_tf.h5`, whose kernels need no transposition.

    Keras 1 names them `conv1/conv1_W`, Keras 2 `conv1/conv1/kernel`, so they are found
    by layer and rank.
    """
    pairs = {}
    for name in _LAYERS:
        rank = 2 if name in _LINEAR else 5
        layer = _ported_name(name)
        pairs[name] = _find(arrays, layer, rank), _find(arrays, layer, 1)
    return _flat_names(pairs)


def _find(arrays: Arrays, layer: str, rank: int) -> np.ndarray:
    """The only array of a layer that has `rank` axes."""
    found = [
        array
        for name, array in arrays.items()
        if name.startswith(f"{layer}/") and array.ndim == rank
    ]
    if len(found) != 1:
        raise KeyError(f"a single array of {rank} axes in {layer}/")
    return found[0]


def _ported_name(name: str) -> str:
    """A layer's name in the ports, which call conv1a and conv2a conv1 and conv2."""
    return name[:-1] if name in ("conv1a", "conv2a") else name


def _transpose_kernels(
    pairs: dict[str, tuple[np.ndarray, np.ndarray]],
) -> dict[str, np.ndarray]:
    """Transposes kernels from `[out, in, time, height, width]` to Keras' order."""
    transposed = {}
    for name, (kernel, bias) in pairs.items():
        if name == "fc6":
            kernel = kernel.reshape([-1, *_FLATTENED]).transpose(2, 3, 4, 1, 0)
            kernel = kernel.reshape([-1, kernel.shape[-1]])
        elif name in _LINEAR:
            kernel = kernel.T
        else:
            kernel = kernel.transpose(2, 3, 4, 1, 0)
        transposed[name] = kernel, bias
    return _flat_names(transposed)


def _flat_names(
    pairs: dict[str, tuple[np.ndarray, np.ndarray]],
) -> dict[str, np.ndarray]:
    """Kernels and biases by variable name, such as `conv1a/kernel`."""
    arrays: dict[str, np.ndarray] = {}
    for name, (kernel, bias) in pairs.items():
        arrays |= {f"{name}/kernel": kernel, f"{name}/bias": bias}
    return arrays


FORMATS: dict[str, Callable[[Arrays], dict[str, np.ndarray]]] = {
    "chainer": _from_chainer,
    "keras": _from_keras,
    "pytorch": _from_pytorch,
}
