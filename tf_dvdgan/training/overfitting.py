"""Scores that discriminators give training clips and held-out clips."""

import tensorflow as tf

from tf_dvdgan import errors
from tf_dvdgan.data import training_data, transforms
from tf_dvdgan.layers import spectral_norm
from tf_dvdgan.training import adaptation as adaptation_lib
from tf_dvdgan.training import trainer as trainer_lib
from tf_dvdgan.training.random_numbers import fold_in

_CLIPS = 128  # of each kind
_STREAM = 1_000  # of random numbers within a step, beyond the updates'


class HeldOutScores:
    """Measures overfitting for an adaptation with `measure='held_out'`.

    All workers compute the same values from the same clips.

    Args:
      trainer: trainer with the networks.
      adaptation: takes the measurements.
      data: training data with a held-out split.

    Attributes:
      every: steps between two measurements.

    Raises:
      UserError: the data have no held-out clips.
    """

    def __init__(
        self,
        trainer: trainer_lib.Trainer,
        adaptation: adaptation_lib.Adaptation,
        data: training_data.TrainingData,
    ):
        training = data.sample(_CLIPS, held_out=False)
        held_out = data.sample(_CLIPS, held_out=True)
        if training is None or held_out is None:
            raise errors.UserError(
                "augmentation.Adaptation.measure = 'held_out' needs a split 'test' or "
                "'validation' in the data; measure = 'signs' needs none."
            )
        self._trainer = trainer
        self.every = adaptation.every
        self._adaptation = adaptation
        self._kinds = (training, held_out)
        self._means = tf.function(self._mean_scores, autograph=False)

    def measure(self) -> None:
        """Measures, and gives the adaptation the result."""
        trainer = self._trainer
        size = min(trainer.global_batch_size, *(len(k["label"]) for k in self._kinds))
        sums, count = 0.0, 0
        for first in range(0, _CLIPS - size + 1, size):
            parts = []
            for kind in self._kinds:
                rows = [i % len(kind["label"]) for i in range(first, first + size)]
                parts.append({name: values[rows] for name, values in kind.items()})
            seed = tf.stack([tf.constant(trainer.seed, tf.int64), trainer.step])
            sums += self._means(*parts, fold_in(seed, _STREAM + first))
            count += 1
        self._adaptation.measured(*tf.unstack(sums / count))

    def _mean_scores(self, training, held_out, seed: tf.Tensor) -> tf.Tensor:
        """Mean scores of training, held-out and generated clips, `[3, discriminators]`.

        Without augmentation and without a change of any state.
        """
        gan = self._trainer.gan
        real, others = (
            transforms.to_unit_range(kind["video"]) for kind in (training, held_out)
        )
        conditioning = gan.conditioning(training["label"], real)
        labels = conditioning["labels"]
        other_labels = gan.conditioning(held_out["label"], others)["labels"]
        z = gan.latent.sample(labels.shape[0], seed=seed)
        with spectral_norm.updating_if(False):
            fake = gan.generate(z, conditioning, training=True)["videos"]
            scored = ((real, labels), (others, other_labels), (fake, labels))
            return tf.stack([self._scores(*pair, seed) for pair in scored])

    def _scores(
        self, videos: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor
    ) -> tf.Tensor:
        """Mean score of each discriminator, `[discriminators]`."""
        means = []
        for i, discriminator in enumerate(self._trainer.gan.discriminators):
            shape = [videos.shape[0], discriminator.num_uniforms(videos.shape[1])]
            uniforms = tf.random.stateless_uniform(shape, fold_in(seed, i))
            scores = discriminator(videos, labels, uniforms, training=True)
            means.append(tf.reduce_mean(scores))
        return tf.stack(means)
