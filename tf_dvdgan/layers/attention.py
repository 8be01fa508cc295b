"""Self-attention over all positions of a video, or over one axis at a time."""

import functools
from collections.abc import Callable, Sequence

import tensorflow as tf

from tf_dvdgan import errors, ops
from tf_dvdgan.layers import spectral_norm


def separable_attention(
    x: tf.Tensor,
    q1: tf.Tensor,
    k1: tf.Tensor,
    v1: tf.Tensor,
    q2: tf.Tensor,
    k2: tf.Tensor,
    v2: tf.Tensor,
    q3: tf.Tensor,
    k3: tf.Tensor,
    v3: tf.Tensor,
) -> tf.Tensor:
    """Attention over time, then height, then width (paper 001, appendix A).

    The paper's pseudocode omits the transposes before each reshape, as its footnote
    says; they are done here. The largest tensor is `[batch * H * W, T, T]`, or its
    counterpart for height or width, never (H W T) squared.

    Args:
      x: `[batch, height, width, time, channels]`.
      q1: `[channels, channels]`, query matrix of the attention over time.
      k1: `[channels, channels]`, key matrix over time.
      v1: `[channels, channels]`, value matrix over time.
      q2: `[channels, channels]`, query matrix over height.
      k2: `[channels, channels]`, key matrix over height.
      v2: `[channels, channels]`, value matrix over height.
      q3: `[channels, channels]`, query matrix over width.
      k3: `[channels, channels]`, key matrix over width.
      v3: `[channels, channels]`, value matrix over width.

    Returns:
      `[batch, height, width, time, channels]`.
    """
    for axis, q, k, v in ((3, q1, k1, v1), (1, q2, k2, v2), (2, q3, k3, v3)):
        x = on_axis(axis, attend, x @ q, x @ k, x @ v)
    return x


def attend(queries: tf.Tensor, keys: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """Computes softmax(Q K^T) V, without scaling; the softmax is float32.

    Args:
      queries: `[..., positions, size]`.
      keys: `[..., keys, size]`.
      values: `[..., keys, channels]`.

    Returns:
      `[..., positions, channels]`.
    """
    logits = tf.matmul(queries, keys, transpose_b=True)
    weights = tf.nn.softmax(tf.cast(logits, tf.float32))
    return tf.matmul(tf.cast(weights, values.dtype), values)


def on_axis(
    axis: int, function: Callable[..., tf.Tensor], *tensors: tf.Tensor
) -> tf.Tensor:
    """Applies a function of `[rows, positions, channels]` along one axis of videos.

    Args:
      axis: 1, 2 or 3, the axis of the positions; the others fold into the rows.
      function: maps the folded tensors to `[rows, positions, channels]`.
      *tensors: each `[batch, a, b, c, channels]`; numbers of channels may differ.

    Returns:
      `[batch, a, b, c, channels]`.
    """
    order = [0, *(a for a in (1, 2, 3) if a != axis), axis, 4]
    rows = []
    for x in tensors:
        x = tf.transpose(x, order)  # [batch, other, other, axis, channels]
        sizes = x.shape[1:4]
        rows.append(tf.reshape(x, [-1, *x.shape[3:]]))  # [rows, axis, channels]
    y = function(*rows)
    y = tf.reshape(y, [-1, *sizes, y.shape[-1]])
    return tf.transpose(y, [order.index(a) for a in range(5)])


class SelfAttention(tf.keras.layers.Layer):
    """Self-attention over all positions of a video (Zhang et al., 2019; BigGAN).

    y = x + gamma o(attend(theta(x), phi(x), g(x))), with one head. theta and phi map to
    an eighth of the channels, g to half of them, o back to all. All four are 1x1
    convolutions with spectral normalization and without bias; gamma is initially 0.

    Args:
      per_frame: each frame attends only to itself; otherwise to the whole video.
      max_pool: whether keys and values are 2x2 max pooled first, as in BigGAN; requires
        `per_frame`, because over the whole video it would have to pool time too.

    Raises:
      InvalidValueError: `max_pool` without `per_frame`.
    """

    def __init__(self, per_frame: bool = False, max_pool: bool = False, **kwargs):
        super().__init__(**kwargs)
        if max_pool and not per_frame:
            raise errors.InvalidValueError(
                f"max_pool requires per_frame=True. Received: {max_pool=}"
            )
        self.per_frame = per_frame
        self.max_pool = max_pool

    def build(self, input_shape):
        channels = input_shape[-1]
        half, eighth = max(channels // 2, 1), max(channels // 8, 1)
        for name, inputs, units in (
            ("theta", channels, eighth),
            ("phi", channels, eighth),
            ("g", channels, half),
            ("o", half, channels),
        ):
            layer = spectral_norm.SpectralDense(units, use_bias=False, name=name)
            with tf.name_scope(name):
                layer.build([None, inputs])
            setattr(self, name, layer)
        self.gamma = self.add_weight(
            "gamma", [], initializer="zeros", experimental_autocast=False
        )
        super().build(input_shape)

    def call(self, x: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Adds attention to a video.

        Args:
          x: `[batch, time, height, width, channels]`.
          training: whether spectral normalization updates its vectors.

        Returns:
          `[batch, time, height, width, channels]`.
        """
        _, num_frames, height, width, _ = x.shape
        positions = height * width * (1 if self.per_frame else num_frames)

        def over_positions(queries, *keys_and_values):
            if self.max_pool:
                keys_and_values = map(_max_pool, keys_and_values)
            rows = (
                tf.reshape(t, [-1, positions // area, t.shape[-1]])
                for t, area in zip(
                    (queries, *keys_and_values),
                    (1, 4, 4) if self.max_pool else (1, 1, 1),
                    strict=True,
                )
            )
            y = attend(*rows)
            return tf.reshape(y, [-1, *x.shape[1:4], y.shape[-1]])

        return x + self.attention(x, over_positions, training)

    def attention(
        self,
        x: tf.Tensor,
        attend_videos: Callable[..., tf.Tensor],
        training: bool | None,
    ) -> tf.Tensor:
        """Computes the residual gamma o(...) of a video.

        Args:
          x: `[batch, time, height, width, channels]`.
          attend_videos: maps queries, keys and values, each of x's first four axes, to
            the attended values.
          training: whether spectral normalization updates its vectors.

        Returns:
          `[batch, time, height, width, channels]`, to be added to `x`.
        """
        attended = attend_videos(
            self.theta(x, training=training),
            self.phi(x, training=training),
            self.g(x, training=training),
        )
        y = self.o(attended, training=training)
        return tf.cast(self.gamma, y.dtype) * y

    def get_config(self) -> dict:
        return super().get_config() | {
            "per_frame": self.per_frame,
            "max_pool": self.max_pool,
        }


class FrameAttention(SelfAttention):
    """BigGAN's self-attention: within each frame, with max pooled keys and values."""

    def __init__(self, **kwargs):
        super().__init__(**{"per_frame": True, "max_pool": True, **kwargs})


def _max_pool(x: tf.Tensor) -> tf.Tensor:
    """Max pools frames 2x2."""
    return ops.on_frames(lambda frames: tf.nn.max_pool2d(frames, 2, 2, "VALID"), x)


class SeparableAttention(tf.keras.layers.Layer):
    """Attention over height, then width, then time (paper 002, section 3.2).

    Each is a `SelfAttention` along one axis, with its own weights and gamma. Paper 001
    has a different order: see `separable_attention`.
    """

    AXES: Sequence[tuple[str, int]] = (("height", 2), ("width", 3), ("time", 1))

    def build(self, input_shape):
        for name, _ in self.AXES:
            layer = SelfAttention(name=name)
            with tf.name_scope(name):
                layer.build(input_shape)
            setattr(self, f"over_{name}", layer)
        super().build(input_shape)

    def call(self, x: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Adds the three attentions to a video, one after the other.

        Args:
          x: `[batch, time, height, width, channels]`.
          training: whether spectral normalization updates its vectors.

        Returns:
          `[batch, time, height, width, channels]`.
        """
        for name, axis in self.AXES:
            layer = getattr(self, f"over_{name}")
            # Queries, keys and values are narrower than x, so cheaper to transpose.
            along = functools.partial(on_axis, axis, attend)
            x += layer.attention(x, along, training)
        return x
