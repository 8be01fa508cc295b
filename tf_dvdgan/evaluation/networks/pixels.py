"""No network at all: a few frames of a video, averaged to few pixels."""

import numpy as np
import tensorflow as tf

_SIDE, _FRAMES = 4, 4


class Pixels(tf.keras.Model):
    """4 frames of each video averaged to 4x4 pixels, as one vector.

    Colours and coarse motion count in distances of these, nothing fine does. No paper
    has them; they want no weights, so that every run can have a score.
    """

    FEATURES = _FRAMES * _SIDE * _SIDE * 3
    INPUT = (_FRAMES, 16, 16, 3)

    def __init__(self, num_classes: int = 0, name: str | None = None):
        super().__init__(name=name, dtype="float32")
        del num_classes  # it tells none apart

    def call(self, videos: tf.Tensor, training: bool = False) -> dict[str, tf.Tensor]:
        """Takes "features" `[batch, 192]` of `[batch, time, height, width, 3]`."""
        taken = np.linspace(0, videos.shape[1] - 1, _FRAMES).round().astype(int)
        videos = tf.gather(videos, taken, axis=1)
        batch, (height, width) = tf.shape(videos)[0], videos.shape[2:4]
        small = tf.image.resize(
            tf.reshape(videos, [batch * _FRAMES, height, width, 3]),
            [_SIDE, _SIDE],
            method="area",
        )
        return {"features": tf.reshape(small, [batch, self.FEATURES])}
