"""Features without a network: a few frames, average-pooled to a few pixels."""

import numpy as np
import tensorflow as tf

_SIDE, _FRAMES = 4, 4


class Pixels(tf.keras.Model):
    """4 evenly spaced frames of a video, average-pooled to 4x4 pixels.

    Distances between these features depend on colors and coarse motion, not on detail.
    No paper uses them; they need no weights, so every run can have a score.

    Args:
      num_classes: ignored, as there are no logits.
      name: of the Keras model.
    """

    FEATURES = _FRAMES * _SIDE * _SIDE * 3
    INPUT = (_FRAMES, 16, 16, 3)

    def __init__(self, num_classes: int = 0, name: str | None = None):
        super().__init__(name=name, dtype="float32")
        del num_classes

    def call(self, videos: tf.Tensor, training: bool = False) -> dict[str, tf.Tensor]:
        """Extracts features.

        Args:
          videos: `[batch, time, height, width, 3]`, any range and sizes.
          training: ignored.

        Returns:
          "features" `[batch, 192]`.
        """
        indices = np.linspace(0, videos.shape[1] - 1, _FRAMES).round().astype(int)
        videos = tf.gather(videos, indices, axis=1)  # [batch, 4, height, width, 3]
        batch, (height, width) = tf.shape(videos)[0], videos.shape[2:4]
        small = tf.image.resize(
            tf.reshape(videos, [batch * _FRAMES, height, width, 3]),
            [_SIDE, _SIDE],
            method="area",
        )
        return {"features": tf.reshape(small, [batch, self.FEATURES])}
