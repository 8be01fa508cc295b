"""PWC-Net: optical flow by pyramid, warping and cost volume.

Sun, Yang, Liu and Kautz, 2018 (https://arxiv.org/abs/1709.02371), the network of the
authors' released weights: pyramid of 16, 32, 64, 96, 128, 196 channels, search range 4,
dense decoders of 128, 128, 96, 64, 32, a context network with dilations 1, 2, 4, 8, 16,
1. 9,374,274 parameters. Layers are named as in the released file, which `load` reads.

The released weights take BGR images in [0, 1] whose sides are multiples of 64. They
return the flow at a quarter of the resolution, in units of 20 pixels.
"""

import os

import tensorflow as tf

from tf_dvdgan import array_files, errors, state_dict
from tf_dvdgan.data import files
from tf_dvdgan.flow import warp as warping

_PYRAMID = (16, 32, 64, 96, 128, 196)
_DECODER = (128, 128, 96, 64, 32)
_CONTEXT = ((128, 1), (128, 2), (128, 4), (96, 8), (64, 16), (32, 1))
_SEARCH_RANGE = 4
_FLOW_SCALE = 20.0  # pixels per unit of the raw output
_WARP_SCALE = {5: 0.625, 4: 1.25, 3: 2.5, 2: 5.0}  # by pyramid level


def _leaky(x: tf.Tensor) -> tf.Tensor:
    return tf.nn.leaky_relu(x, 0.1)


class PWCNet(tf.keras.Model):
    """The network with its weights frozen; `flow` is the method to call."""

    def __init__(self, name: str = "pwc_net"):
        super().__init__(name=name, trainable=False, dtype="float32")
        self.parts: dict[str, tf.keras.layers.Layer] = {}
        for level, filters in enumerate(_PYRAMID, start=1):
            # The released file calls the last level's first two convolutions aa and a.
            first, second = ("aa", "a") if level == 6 else ("a", "aa")
            self._add_conv(f"conv{level}{first}", filters, strides=2)
            self._add_conv(f"conv{level}{second}", filters)
            self._add_conv(f"conv{level}b", filters)
        for level in range(6, 1, -1):
            for i, filters in enumerate(_DECODER):
                self._add_conv(f"conv{level}_{i}", filters)
            self._add_conv(f"predict_flow{level}", 2)
            if level > 2:
                self._add_transposed(f"deconv{level}")
                self._add_transposed(f"upfeat{level}")
        for i, (filters, dilation) in enumerate(_CONTEXT, start=1):
            self._add_conv(f"dc_conv{i}", filters, dilation=dilation)
        self._add_conv("dc_conv7", 2)

    def _add_conv(self, name: str, filters: int, strides: int = 1, dilation: int = 1):
        self.parts[name] = tf.keras.layers.Conv2D(
            filters,
            3,
            strides,
            "valid",
            dilation_rate=dilation,
            name=name,
            dtype="float32",
        )

    def _add_transposed(self, name: str):
        self.parts[name] = tf.keras.layers.Conv2DTranspose(
            2, 4, 2, "same", name=name, dtype="float32"
        )

    def _conv(self, name: str, x: tf.Tensor) -> tf.Tensor:
        """A convolution with PyTorch's symmetric padding."""
        layer = self.parts[name]
        pad = layer.dilation_rate[0]
        return layer(tf.pad(x, [[0, 0], [pad, pad], [pad, pad], [0, 0]]))

    def pyramid(self, image: tf.Tensor) -> list[tf.Tensor]:
        """Extracts the feature pyramid of `[batch, height, width, 3]`.

        Returns:
          For levels 1 to 6, `[batch, height / 2**level, width / 2**level, channels]`.
        """
        features, x = [], image
        for level in range(1, 7):
            names = ("aa", "a", "b") if level == 6 else ("a", "aa", "b")
            for name in names:
                x = _leaky(self._conv(f"conv{level}{name}", x))
            features.append(x)
        return features

    def call(self, first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
        """Runs the raw network.

        Args:
          first: `[batch, height, width, 3]` BGR in [0, 1], sides multiples of 64.
          second: `[batch, height, width, 3]`, like `first`.

        Returns:
          `[batch, height / 4, width / 4, 2]`, the flow in units of 20 pixels.
        """
        first_pyramid, second_pyramid = self.pyramid(first), self.pyramid(second)
        up_flow = up_features = None
        for level in range(6, 1, -1):
            a, b = first_pyramid[level - 1], second_pyramid[level - 1]
            if up_flow is not None:
                b = warping.warp(b, up_flow * _WARP_SCALE[level])
            x = _leaky(warping.correlation(a, b, _SEARCH_RANGE))
            if up_flow is not None:
                x = tf.concat([x, a, up_flow, up_features], axis=-1)
            for i in range(len(_DECODER)):
                y = _leaky(self._conv(f"conv{level}_{i}", x))
                x = tf.concat([y, x], axis=-1)
            flow = self._conv(f"predict_flow{level}", x)
            if level > 2:
                up_flow = self.parts[f"deconv{level}"](flow)
                up_features = self.parts[f"upfeat{level}"](x)
        for i in range(1, len(_CONTEXT) + 1):
            x = _leaky(self._conv(f"dc_conv{i}", x))
        return flow + self._conv("dc_conv7", x)

    def flow(self, first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
        """Estimates the optical flow between images of any size.

        Args:
          first: `[batch, height, width, 3]` RGB in [0, 1].
          second: `[batch, height, width, 3]`, like `first`.

        Returns:
          `[batch, height, width, 2]` float32, (u, v) in pixels, right and down.
        """
        _, height, width, _ = first.shape
        size = [-(-height // 64) * 64, -(-width // 64) * 64]

        def to_network_input(image: tf.Tensor) -> tf.Tensor:
            return tf.image.resize(image[..., ::-1], size)

        flow = self(to_network_input(first), to_network_input(second))
        flow = _FLOW_SCALE * tf.image.resize(flow, size)
        scale = tf.constant([width / size[1], height / size[0]], tf.float32)
        return tf.image.resize(flow, [height, width]) * scale

    def build_all(self) -> None:
        """Creates all variables."""
        image = tf.zeros([1, 64, 64, 3])
        self(image, image)


def load(path: str | None) -> PWCNet:
    """Loads PWC-Net with its weights from a file.

    Args:
      path: NVIDIA's PyTorch state dict (.pth, .pth.tar, .pt), read with weights-only
        loading, or a Keras weights file (.h5) written by this project.

    Returns:
      The frozen network.

    Raises:
      UserError: the file does not exist, or does not hold PWC-Net's weights.
    """
    files.register_filesystems(path or "")
    with files.local_copy(path or "") as file:
        if not os.path.isfile(file):
            raise errors.UserError(
                f"The motion constraint needs PWC-Net's weights, but {path!r} is not "
                "a file: provide NVIDIA's PyTorch file or its conversion with "
                "`gin_param=\"mvt_gan.MotionConstraint.weights = 'FILE'\"`."
            )
        network = PWCNet()
        network.build_all()
        try:
            if file.endswith(".h5"):
                array_files.check_hdf5(file)
                network.load_weights(file)
            else:
                _load_state_dict(network, file)
        except (KeyError, TypeError, ValueError, OSError, RuntimeError) as error:
            raise errors.UserError(
                f"{path!r} does not hold PWC-Net's weights: {errors.reason_of(error)}"
            ) from None
    return network


def _load_state_dict(network: PWCNet, path: str) -> None:
    """Reads a PyTorch state dict, whose kernels are `[out, in, h, w]`."""
    state = state_dict.load(path)
    for name, layer in network.parts.items():
        # A convolution that an activation follows is item 0 of a Sequential.
        key = f"{name}.0" if f"{name}.0.weight" in state else name
        kernel = state[f"{key}.weight"].transpose(2, 3, 1, 0)
        layer.set_weights([kernel, state[f"{key}.bias"]])
