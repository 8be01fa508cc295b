"""Layers with spectral normalization (Miyato et al., 2018), as in BigGAN.

Each layer stores its raw kernel W and applies W / sigma, where sigma is the largest
singular value of W reshaped to `[-1, out]`. One power iteration per forward pass
estimates it. The gradient treats the singular vectors as constants, but not sigma. The
estimate of the right singular vector, `u`, is a variable that is updated only when
`training=True`.

Normalization is float32 whatever the compute precision; the normalized kernel is then
cast.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping

import tensorflow as tf

from tf_dvdgan import errors, ops

_EPSILON = 1e-4  # BigGAN's

_given = threading.local()  # a strategy runs each replica's Python in its own thread


@contextlib.contextmanager
def use_kernels(kernels: Mapping["SpectralLayer", tf.Tensor]) -> Iterator[None]:
    """Makes layers use the given normalized kernels, and not update `u`.

    Args:
      kernels: normalized kernel of each layer; other layers compute their own.
    """
    previous = getattr(_given, "kernels", {})
    _given.kernels = {**previous, **kernels}
    try:
        yield
    finally:
        _given.kernels = previous


@contextlib.contextmanager
def updating_if(condition: bool | tf.Tensor) -> Iterator[None]:
    """Makes calls with `training=True` update `u` only under a condition.

    Args:
      condition: a boolean, or a boolean scalar.
    """
    previous = getattr(_given, "condition", True)
    _given.condition = condition
    try:
        yield
    finally:
        _given.condition = previous


def power_iteration(
    matrix: tf.Tensor, u: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Runs one step of power iteration.

    Args:
      matrix: `[rows, out]`.
      u: `[out]`, the current estimate of the first right singular vector.

    Returns:
      Estimates of the largest singular value (scalar), of the first right singular
      vector `u` (`[out]`), and of the first left singular vector `v` (`[rows]`).
    """
    # As columns: TensorFlow's functions of vectors take five times as long to trace.
    v = _unit(tf.matmul(matrix, tf.reshape(u, [-1, 1])))
    image = tf.matmul(matrix, v, transpose_a=True)
    u = _unit(image)
    sigma = tf.reshape(tf.matmul(image, u, transpose_a=True), [])  # v^T W u
    return sigma, tf.reshape(u, [-1]), tf.reshape(v, [-1])


def _unit(vector: tf.Tensor) -> tf.Tensor:
    norm = tf.sqrt(tf.reduce_sum(vector * vector))
    return vector / tf.maximum(norm, _EPSILON)


@ops.custom_gradient
def _over_sigma(matrix, sigma, u, v):
    """W / sigma with sigma = v^T W u; the custom gradient needs fewer operations."""
    normalized = matrix / tf.maximum(sigma, _EPSILON)

    def gradient(d_normalized):
        along = tf.matmul(
            tf.reshape(d_normalized, [1, -1]), tf.reshape(normalized, [-1, 1])
        )
        along = tf.reshape(along, [])
        along = tf.where(sigma > _EPSILON, along, 0.0)
        rank_one = (along * v)[:, tf.newaxis] * u
        d_matrix = (d_normalized - rank_one) / tf.maximum(sigma, _EPSILON)
        return d_matrix, None, None, None

    return normalized, gradient


class SpectralLayer(tf.keras.layers.Layer):
    """Base class of the layers: a kernel, its `u`, and optionally a bias.

    Args:
      units: size of the kernel's last axis.
      use_bias: whether to add a bias.
      spectral_normalization: False makes a plain layer, without `u`.
      kernel_initializer: initializer of the kernel.
      bias_initializer: initializer of the bias.
    """

    def __init__(
        self,
        units: int,
        use_bias: bool = True,
        spectral_normalization: bool = True,
        kernel_initializer: str | Callable = "orthogonal",
        bias_initializer: str | Callable = "zeros",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.units = units
        self.use_bias = use_bias
        self.spectral_normalization = spectral_normalization
        self.kernel_initializer = tf.keras.initializers.get(kernel_initializer)
        self.bias_initializer = tf.keras.initializers.get(bias_initializer)
        self.bias = None

    def add_kernel(self, shape: tuple[int, ...]) -> None:
        """Creates the variables; `shape` is the kernel's, with `units` last."""
        self.kernel = self.add_weight(
            "kernel",
            shape,
            initializer=self.kernel_initializer,
            experimental_autocast=False,
        )
        if self.use_bias:
            self.bias = self.add_weight(
                "bias", [self.units], initializer=self.bias_initializer
            )
        if self.spectral_normalization:
            self.u = self.add_weight(
                "u",
                [self.units],
                initializer=tf.keras.initializers.RandomNormal(stddev=1.0),
                trainable=False,
                experimental_autocast=False,
                synchronization=tf.VariableSynchronization.ON_READ,
                aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
            )

    def normalized_kernel(self, training: bool | None = None) -> tf.Tensor:
        """Returns W / sigma in the compute dtype, and updates `u` when training.

        Call it once per forward pass, however often the kernel is then used.

        Args:
          training: whether to update `u`.

        Returns:
          The shape of the kernel: `[*size, inputs, outputs]`.
        """
        if self in getattr(_given, "kernels", {}):
            return _given.kernels[self]
        kernel = tf.convert_to_tensor(self.kernel)
        if self.spectral_normalization:
            matrix = tf.reshape(kernel, [-1, self.units])
            sigma, u, v = power_iteration(tf.stop_gradient(matrix), self.u)
            condition = getattr(_given, "condition", True)
            if training and condition is not False:
                now = u if condition is True else tf.where(condition, u, self.u)
                self.u.assign(now)
            kernel = tf.reshape(_over_sigma(matrix, sigma, u, v), kernel.shape)
        return tf.cast(kernel, self.compute_dtype)

    def largest_singular_value(self) -> tf.Tensor:
        """Returns the estimated largest singular value of the raw kernel, a scalar."""
        return power_iteration(tf.reshape(self.kernel, [-1, self.units]), self.u)[0]

    def compute_bias(self) -> tf.Tensor | None:
        """Returns the bias, `[outputs]` in the compute dtype; None without one."""
        return None if self.bias is None else tf.cast(self.bias, self.compute_dtype)

    def get_config(self) -> dict:
        of_kernel, of_bias = map(
            tf.keras.initializers.serialize,
            (self.kernel_initializer, self.bias_initializer),
        )
        return super().get_config() | {
            "units": self.units,
            "use_bias": self.use_bias,
            "spectral_normalization": self.spectral_normalization,
            "kernel_initializer": of_kernel,
            "bias_initializer": of_bias,
        }


class SpectralDense(SpectralLayer):
    """Linear map of the last axis."""

    def build(self, input_shape):
        self.add_kernel((input_shape[-1], self.units))
        super().build(input_shape)

    def call(self, x: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Applies the linear map.

        Args:
          x: `[..., in]`.
          training: whether to update `u`.

        Returns:
          `[..., units]`.
        """
        x = tf.cast(x, self.compute_dtype)
        kernel = self.normalized_kernel(training)
        y = tf.tensordot(x, kernel, [[-1], [0]])
        return y if self.bias is None else y + self.compute_bias()


class SpectralEmbedding(SpectralLayer):
    """Class embedding, computed as one-hot labels times a matrix.

    The product has a dense gradient on every device, and allows a mixture of classes as
    a label.

    Args:
      num_classes: number of classes.
      units: size of the embedding.
    """

    def __init__(self, num_classes: int, units: int, **kwargs):
        super().__init__(units, use_bias=False, **kwargs)
        self.num_classes = num_classes

    def build(self, input_shape):
        self.add_kernel((self.num_classes, self.units))
        super().build(input_shape)

    def call(self, labels: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Embeds labels.

        Args:
          labels: `[batch]` class ids, or `[batch, num_classes]` class weights.
          training: whether to update `u`.

        Returns:
          `[batch, units]`.
        """
        if labels.dtype.is_integer:
            labels = tf.one_hot(labels, self.num_classes)
        labels = tf.cast(labels, self.compute_dtype)
        return tf.linalg.matmul(labels, self.normalized_kernel(training))

    def get_config(self) -> dict:
        config = super().get_config() | {"num_classes": self.num_classes}
        for name in ("use_bias", "bias_initializer"):
            del config[name]
        return config


class SpectralConv2D(SpectralLayer):
    """Convolution of every frame ('SAME' padding), with optional resampling by two.

    Args:
      filters: number of output channels.
      kernel_size: height and width of the kernel.
      resample: None, 'up' (nearest x2 before the convolution) or 'down' (2x2 average
        pooling after it); both are fused into the kernel.
      strides: of height and width; only without `resample`.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int = 3,
        resample: str | None = None,
        strides: int = 1,
        **kwargs,
    ):
        super().__init__(filters, **kwargs)
        if resample not in (None, "up", "down"):
            raise errors.InvalidValueError(
                f"resample must be None, 'up' or 'down'. Received: {resample!r}"
            )
        self.kernel_size = kernel_size
        self.resample = resample
        self.strides = strides

    def build(self, input_shape):
        size = self.kernel_size
        self.add_kernel((size, size, input_shape[-1], self.units))
        super().build(input_shape)

    def call(self, x: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Convolves every frame.

        Args:
          x: `[batch, time, height, width, in]` or `[n, height, width, in]`.
          training: whether to update `u`.

        Returns:
          `[batch, time, height', width', filters]` or `[n, height', width', filters]`.
        """
        kernel = self.normalized_kernel(training)
        bias = self.compute_bias()
        return ops.conv2d(x, kernel, self.resample, self.strides, bias)

    def get_config(self) -> dict:
        config = super().get_config() | {
            "filters": self.units,
            "kernel_size": self.kernel_size,
            "resample": self.resample,
            "strides": self.strides,
        }
        del config["units"]
        return config


class SpectralConv3D(SpectralLayer):
    """Convolution in space and time ('SAME' padding), with optional average pooling.

    Args:
      filters: number of output channels.
      kernel_size: size of the kernel along all three axes.
      pool: whether to halve height and width after the convolution.
      pool_time: whether `pool` also halves time, rounded up.
      strides: of all three axes; only without `pool`.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int = 3,
        pool: bool = False,
        pool_time: bool = True,
        strides: int = 1,
        **kwargs,
    ):
        super().__init__(filters, **kwargs)
        self.kernel_size = kernel_size
        self.pool = pool
        self.pool_time = pool_time
        self.strides = strides

    def build(self, input_shape):
        size = self.kernel_size
        self.add_kernel((size, size, size, input_shape[-1], self.units))
        super().build(input_shape)

    def call(self, x: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Convolves a video.

        Args:
          x: `[batch, time, height, width, in]`.
          training: whether to update `u`.

        Returns:
          `[batch, time', height', width', filters]`.
        """
        kernel = self.normalized_kernel(training)
        bias = self.compute_bias()
        return ops.conv3d(x, kernel, self.pool, self.pool_time, self.strides, bias)

    def get_config(self) -> dict:
        config = super().get_config() | {
            "filters": self.units,
            "kernel_size": self.kernel_size,
            "pool": self.pool,
            "pool_time": self.pool_time,
            "strides": self.strides,
        }
        del config["units"]
        return config
