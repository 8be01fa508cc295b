"""Adapts the probability of augmentation to how much the discriminators overfit.

Adaptive discriminator augmentation (Karras et al., 2020a, section 3): a measure of
overfitting is compared with a target after every step, and the probability moves a
little towards where the measure would reach it.
"""

import gin
import tensorflow as tf

from tf_dvdgan import errors

_MEASURES = ("signs", "held_out")
_MEMORY = 512.0  # clips that the mean of the signs reaches back


@gin.register(module="augmentation")
class Adaptation(tf.Module):
    """Adapts the probability of augmentation to a measure of overfitting.

    The measure is that of the discriminator that overfits most:

    - 'signs': r_t = E[sign(D(training clips))], 0 if it rejects as many as it accepts,
      1 if it accepts all. A moving average over some 512 clips. With a relativistic
      loss, D is relative to the middle between the mean scores of training clips and of
      generated videos.
    - 'held_out': r_v = (E[D(training)] - E[D(held-out)]) / (E[D(training)] -
      E[D(generated)]), 0 if it does not tell held-out clips from training clips, 1 if
      it takes them for generated ones, or for worse. 0 if it prefers generated ones to
      training clips. Needs a split 'test' or 'validation'.

    Args:
      measure: 'signs' or 'held_out'.
      target: value of the measure to hold; 0.6 for 'signs' in the paper.
      clips: number of training clips in which the probability rises from 0 to 1;
        500,000 in the paper, for some 25 million.
      every: steps between two measurements, for 'held_out'.
      maximum: highest probability that it sets; alarms may raise it further, and
        from there it only falls.

    Attributes:
      overfitting: variable, the current measure.
      measure: as given.
      every: as given.

    Raises:
      InvalidValueError: an argument is out of range.
    """

    def __init__(
        self,
        measure: str = "signs",
        target: float = 0.6,
        clips: int = 500_000,
        every: int = 100,
        maximum: float = 1.0,
    ):
        super().__init__(name="adaptation")
        if measure not in _MEASURES:
            raise errors.InvalidValueError(
                f"measure must be one of {[*_MEASURES]}. Received: {measure!r}"
            )
        if clips < 1 or every < 1:
            raise errors.InvalidValueError(
                f"clips and every must be at least 1. Received: {clips=}, {every=}"
            )
        if not (0.0 <= maximum <= 1.0 and 0.0 <= target <= 1.0):
            raise errors.InvalidValueError(
                f"target and maximum must be from 0 to 1. Received: {target=}, "
                f"{maximum=}"
            )
        self.measure = measure
        self.every = every
        self._target = target
        self._clips = clips
        self._maximum = maximum
        self.overfitting = tf.Variable(
            # No change of the probability before the first measurement.
            float(target) if measure == "held_out" else 0.0,
            trainable=False,
            name="overfitting",
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )

    def adapted(
        self, probability: tf.Tensor, signs: tf.Tensor, num_clips: int
    ) -> tf.Tensor:
        """Updates the measure, and moves the probability after an update.

        Args:
          probability: scalar.
          signs: mean sign of each discriminator's scores of training clips, over all
            replicas, `[discriminators]`.
          num_clips: training clips of the update, over all replicas.

        Returns:
          The new probability, a scalar.
        """
        if self.measure == "signs":
            share = min(num_clips / _MEMORY, 1.0)
            change = share * (tf.reduce_max(signs) - self.overfitting)
            self.overfitting.assign(self.overfitting + change)
        step = num_clips / self._clips * tf.sign(self.overfitting - self._target)
        highest = tf.maximum(self._maximum, probability)
        return tf.clip_by_value(probability + step, 0.0, highest)

    def measured(
        self, training: tf.Tensor, held_out: tf.Tensor, generated: tf.Tensor
    ) -> None:
        """Takes a measurement of 'held_out'.

        Args:
          training: each discriminator's mean score of training clips,
            `[discriminators]`.
          held_out: the same of held-out clips, `[discriminators]`.
          generated: the same of generated videos, `[discriminators]`.
        """
        gap = training - generated
        share = tf.where(
            gap > 0.0, tf.math.divide_no_nan(training - held_out, gap), 0.0
        )
        self.overfitting.assign(tf.reduce_max(tf.clip_by_value(share, -1.0, 1.0)))
