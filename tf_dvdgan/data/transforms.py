"""Converts between stored uint8 videos and the networks' range [-1, 1]."""

import tensorflow as tf


def to_unit_range(video: tf.Tensor) -> tf.Tensor:
    """Maps `[...]` uint8 from 0 to 255 to float32 in [-1, 1]."""
    return tf.cast(video, tf.float32) / 127.5 - 1.0


def to_uint8(video: tf.Tensor) -> tf.Tensor:
    """Maps `[...]` in [-1, 1] to uint8 from 0 to 255, rounding and clipping."""
    scaled = tf.round((tf.cast(video, tf.float32) + 1.0) * 127.5)
    return tf.cast(tf.clip_by_value(scaled, 0.0, 255.0), tf.uint8)
