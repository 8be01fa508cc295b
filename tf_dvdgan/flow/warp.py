"""Warping by a flow, and the correlation of two feature maps.

TensorFlow Addons has both. Its warp is used as it is; its correlation has no XLA kernel
and float32 alone, so the product uses a form in plain TensorFlow, and tests compare the
two. This module is the only one that knows.
"""

import warnings

import tensorflow as tf

with warnings.catch_warnings():  # that Addons are no longer developed: known
    warnings.simplefilter("ignore")
    import tensorflow_addons as tfa

_INSIDE = 0.9999  # of a pixel's weight must come from inside the image


def warp(image: tf.Tensor, flow: tf.Tensor) -> tf.Tensor:
    """Samples an image where the flow points: y[p] = image[p + flow[p]], bilinear.

    Args:
      image: `[batch, height, width, channels]`.
      flow: `[batch, height, width, 2]`, (u, v) in pixels: to the right, down.

    Returns:
      As `image`; 0 where the flow points outside.
    """
    # Addons samples at p - flow, takes (down, right), and clamps at the border.
    return tfa.image.dense_image_warp(image, -flow[..., ::-1]) * _inside(flow)


def _inside(flow: tf.Tensor) -> tf.Tensor:
    """1 where the whole bilinear sample lies inside, 0 elsewhere."""
    height, width = flow.shape[1:3]
    x = tf.range(width, dtype=flow.dtype) + flow[..., 0]
    y = tf.range(height, dtype=flow.dtype)[:, tf.newaxis] + flow[..., 1]
    weight = _overlap(x, width) * _overlap(y, height)
    return tf.cast(weight >= _INSIDE, flow.dtype)[..., tf.newaxis]


def _overlap(position: tf.Tensor, size: int) -> tf.Tensor:
    """Weight of a bilinear sample that falls on pixels 0 to size - 1."""
    return tf.clip_by_value(position + 1.0, 0.0, 1.0) * tf.clip_by_value(
        size - position, 0.0, 1.0
    )


def correlation(a: tf.Tensor, b: tf.Tensor, reach: int = 4) -> tf.Tensor:
    """Mean over channels of a times b shifted, for each shift, row by row.

    Args:
      a: `[batch, height, width, channels]`.
      b: as `a`.
      reach: shifts go from -reach to reach in both directions.

    Returns:
      `[batch, height, width, (2 * reach + 1) ** 2]`.
    """
    _, height, width, _ = a.shape
    padded = tf.pad(b, [[0, 0], [reach, reach], [reach, reach], [0, 0]])
    maps = [
        tf.reduce_mean(a * padded[:, i : i + height, j : j + width], axis=-1)
        for i in range(2 * reach + 1)
        for j in range(2 * reach + 1)
    ]
    return tf.stack(maps, axis=-1)
