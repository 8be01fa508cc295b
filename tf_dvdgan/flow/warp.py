"""Warping by optical flow, and the correlation of two feature maps.

TensorFlow Addons has both. `correlation` is plain TensorFlow all the same, because
Addons' op has no XLA kernel and supports only float32; tests compare the two.
"""

import tensorflow as tf

from tf_dvdgan import addons

_MIN_INSIDE_WEIGHT = 0.9999  # of a bilinear sample, from pixels inside the image


def warp(image: tf.Tensor, flow: tf.Tensor) -> tf.Tensor:
    """Warps an image backward, y[p] = image[p + flow[p]], with bilinear sampling.

    Args:
      image: `[batch, height, width, channels]`.
      flow: `[batch, height, width, 2]`, (u, v) in pixels, right and down.

    Returns:
      `[batch, height, width, channels]`; 0 where the flow points outside the image.
    """
    # Addons samples at p - flow, takes (down, right), and clamps at the border.
    return addons.dense_image_warp(image, -flow[..., ::-1]) * _inside(flow)


def _inside(flow: tf.Tensor) -> tf.Tensor:
    """1 where the entire bilinear sample is inside the image, 0 elsewhere."""
    height, width = flow.shape[1:3]
    x = tf.range(width, dtype=flow.dtype) + flow[..., 0]
    y = tf.range(height, dtype=flow.dtype)[:, tf.newaxis] + flow[..., 1]
    weight = _overlap(x, width) * _overlap(y, height)
    return tf.cast(weight >= _MIN_INSIDE_WEIGHT, flow.dtype)[..., tf.newaxis]


def _overlap(position: tf.Tensor, size: int) -> tf.Tensor:
    """Share of a bilinear sample's weight that falls on pixels 0 to size - 1."""
    return tf.clip_by_value(position + 1.0, 0.0, 1.0) * tf.clip_by_value(
        size - position, 0.0, 1.0
    )


def correlation(a: tf.Tensor, b: tf.Tensor, reach: int = 4) -> tf.Tensor:
    """Computes the cost volume: the mean over channels of a times b, shifted.

    Args:
      a: `[batch, height, width, channels]`.
      b: `[batch, height, width, channels]`, the feature map that is shifted.
      reach: largest shift in pixels, in both directions.

    Returns:
      `[batch, height, width, (2 * reach + 1) ** 2]`, shifts in row-major order.
    """
    _, height, width, _ = a.shape
    padded = tf.pad(b, [[0, 0], [reach, reach], [reach, reach], [0, 0]])
    maps = [
        tf.reduce_mean(a * padded[:, i : i + height, j : j + width], axis=-1)
        for i in range(2 * reach + 1)
        for j in range(2 * reach + 1)
    ]
    return tf.stack(maps, axis=-1)
