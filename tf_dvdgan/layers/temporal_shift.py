"""Temporal shift: moves channels one frame forward or back (Lin et al., 2019)."""

import tensorflow as tf


class TemporalShift(tf.keras.layers.Layer):
    """Shifts a third of the channels forward in time and a third back.

    The ends are padded with zeros (paper 003, section 4.1.3).

    Args:
      share: fraction of the channels that moves in each direction.
    """

    def __init__(self, share: float = 1 / 3, **kwargs):
        super().__init__(**kwargs)
        self.share = share

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Maps `[batch, time, height, width, channels]` to the same shape."""
        channels = x.shape[-1]
        moved = int(channels * self.share)
        sizes = [moved, moved, channels - 2 * moved]
        forward, back, still = tf.split(x, sizes, axis=-1)
        zero = tf.zeros_like(x[:, :1, ..., :moved])
        forward = tf.concat([zero, forward[:, :-1]], axis=1)
        back = tf.concat([back[:, 1:], zero], axis=1)
        return tf.concat([forward, back, still], axis=-1)

    def get_config(self) -> dict:
        return super().get_config() | {"share": self.share}
