"""A small 3-D classifier to train on the generator's own data.

No paper uses it: its scores compare only runs on the same data with the same weights
file. It trains in minutes on a CPU.
"""

import tensorflow as tf

_WIDTHS = (16, 32, 64, 64)
_STRIDES = ((1, 2, 2), (2, 2, 2), (1, 2, 2), (2, 2, 2))


class SmallClassifier(tf.keras.Model):
    """Four 3x3x3 convolutions with batch norm and ReLU, global average pooling, linear.

    Args:
      num_classes: number of logits.
      name: of the Keras model.
    """

    FEATURES = _WIDTHS[-1]
    INPUT = (8, 32, 32, 3)

    def __init__(self, num_classes: int, name: str | None = None):
        super().__init__(name=name, dtype="float32")
        self._convolutions = [
            tf.keras.layers.Conv3D(
                width,
                3,
                stride,
                "same",
                use_bias=False,
                name=f"conv{i}",
                dtype="float32",
            )
            for i, (width, stride) in enumerate(zip(_WIDTHS, _STRIDES, strict=True))
        ]
        self._norms = [
            tf.keras.layers.BatchNormalization(
                momentum=0.9, synchronized=True, name=f"norm{i}", dtype="float32"
            )
            for i in range(len(_WIDTHS))
        ]
        self._linear = tf.keras.layers.Dense(
            num_classes, name="logits", dtype="float32"
        )

    def call(self, videos: tf.Tensor, training: bool = False) -> dict[str, tf.Tensor]:
        """Classifies videos.

        Args:
          videos: `[batch, time, height, width, 3]` in [-1, 1], any sizes.
          training: True makes batch norm use the batch's statistics, over all replicas.

        Returns:
          "logits" `[batch, num_classes]` and "features" `[batch, 64]`.
        """
        x = videos
        for convolution, norm in zip(self._convolutions, self._norms, strict=True):
            x = tf.nn.relu(norm(convolution(x), training=training))
        features = tf.reduce_mean(x, axis=[1, 2, 3])
        return {"logits": self._linear(features), "features": features}
