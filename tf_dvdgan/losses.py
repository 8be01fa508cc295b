"""Adversarial losses: pure functions of logits, averaged over the batch.

Under a distribution strategy the batch is one replica's: divide the loss by the number
of replicas before summing gradients over them.
"""

from collections.abc import Mapping, Sequence

import tensorflow as tf


def hinge_discriminator_loss(
    real_logits: tf.Tensor, fake_logits: tf.Tensor
) -> tf.Tensor:
    """Hinge loss of a discriminator (paper 001, section 2.2; Lim & Ye, 2017).

    Args:
      real_logits: `[batch]`, scores of real videos.
      fake_logits: `[batch]`, scores of generated videos.

    Returns:
      Scalar: mean of max(0, 1 - real) plus mean of max(0, 1 + fake).
    """
    real = tf.reduce_mean(tf.nn.relu(1.0 - real_logits))
    return real + tf.reduce_mean(tf.nn.relu(1.0 + fake_logits))


def hinge_generator_loss(fake_logits: tf.Tensor) -> tf.Tensor:
    """Hinge loss of a generator (paper 001, section 2.2).

    Args:
      fake_logits: `[batch]`, scores of generated videos.

    Returns:
      Scalar: -mean(fake).
    """
    return -tf.reduce_mean(fake_logits)


def cross_entropy_discriminator_loss(
    real_logits: tf.Tensor, fake_logits: tf.Tensor
) -> tf.Tensor:
    """Cross-entropy of a discriminator (Goodfellow et al., 2014; paper 003, eq. 1).

    Args:
      real_logits: `[batch]`, log-odds that real videos are real.
      fake_logits: `[batch]`, log-odds that generated videos are real.

    Returns:
      Scalar: mean of -log s(real) plus mean of -log(1 - s(fake)), s the sigmoid.
    """
    real = tf.reduce_mean(tf.nn.softplus(-real_logits))
    return real + tf.reduce_mean(tf.nn.softplus(fake_logits))


def cross_entropy_generator_loss(fake_logits: tf.Tensor) -> tf.Tensor:
    """Non-saturating cross-entropy loss of a generator.

    Args:
      fake_logits: `[batch]`, log-odds that generated videos are real.

    Returns:
      Scalar: mean of -log s(fake), s the sigmoid.
    """
    return tf.reduce_mean(tf.nn.softplus(-fake_logits))


def relativistic_hinge_discriminator_loss(
    real_logits: tf.Tensor, fake_logits: tf.Tensor
) -> tf.Tensor:
    """Relativistic average hinge loss (Jolicoeur-Martineau, 2019, appendix A.2).

    Scores count relative to the mean score of the other side, over all replicas.

    Args:
      real_logits: `[batch]`, scores of real videos.
      fake_logits: `[batch]`, scores of generated videos.

    Returns:
      Scalar: mean of max(0, 1 - (real - mean fake)) plus mean of max(0, 1 + (fake -
      mean real)).
    """
    return hinge_discriminator_loss(
        *relative_to_the_other_side(real_logits, fake_logits)
    )


def relativistic_hinge_generator_loss(
    fake_logits: tf.Tensor, real_logits: tf.Tensor
) -> tf.Tensor:
    """Relativistic average hinge loss of a generator (Jolicoeur-Martineau, 2019).

    Args:
      fake_logits: `[batch]`, scores of generated videos.
      real_logits: `[batch]`, scores of real videos.

    Returns:
      Scalar: the discriminator's loss with both sides exchanged.
    """
    return relativistic_hinge_discriminator_loss(fake_logits, real_logits)


def relative_to_the_other_side(
    real_logits: tf.Tensor, fake_logits: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Subtracts from scores the mean score of the other side, over all replicas.

    Args:
      real_logits: `[batch]`, scores of real videos.
      fake_logits: `[batch]`, scores of generated videos.

    Returns:
      The relative scores of real and of generated videos, `[batch]` each.
    """
    return (
        real_logits - _global_mean(fake_logits),
        fake_logits - _global_mean(real_logits),
    )


def relative_to_the_middle(
    real_logits: tf.Tensor, fake_logits: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Subtracts from scores the middle between both sides' means, over all replicas.

    A relativistic discriminator's scores may be shifted by any number; relative to this
    threshold they are above 0 for videos that it takes for real.

    Args:
      real_logits: `[batch]`, scores of real videos.
      fake_logits: `[batch]`, scores of generated videos.

    Returns:
      The relative scores of real and of generated videos, `[batch]` each.
    """
    middle = (_global_mean(real_logits) + _global_mean(fake_logits)) / 2.0
    return real_logits - middle, fake_logits - middle


def _global_mean(x: tf.Tensor) -> tf.Tensor:
    """Mean over the batches of all replicas."""
    mean = tf.reduce_mean(x)
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return mean
    return context.all_reduce(tf.distribute.ReduceOp.MEAN, mean)


class Term:
    """Base class of terms that are added to the generator's loss.

    Args:
      weight: factor of the term in the loss.

    Attributes:
      needs: names of the generator's outputs that it uses.
    """

    name = "term"
    needs: Sequence[str] = ("videos",)

    def __init__(self, weight: float = 1.0):
        self.weight = weight

    def __call__(
        self,
        generator: tf.keras.Model,
        outputs: Mapping[str, tf.Tensor],
        real: tf.Tensor,
        labels: tf.Tensor,
    ) -> tf.Tensor:
        """The weighted term.

        Args:
          generator: the model, for terms that depend on its weights.
          outputs: the model's outputs by name, see `value`.
          real: `[batch, time, height, width, 3]`, real videos in [-1, 1].
          labels: `[batch]`, classes of the real and of the generated videos.

        Returns:
          Scalar.
        """
        return self.weight * self.value(generator, outputs, real, labels)

    def value(
        self,
        generator: tf.keras.Model,
        outputs: Mapping[str, tf.Tensor],
        real: tf.Tensor,
        labels: tf.Tensor,
    ) -> tf.Tensor:
        """The term before weighting.

        Args:
          generator: the model, for terms that depend on its weights.
          outputs: the model's outputs by name; "videos" is
            `[batch, time, height, width, 3]` in [-1, 1].
          real: `[batch, time, height, width, 3]`, real videos in [-1, 1].
          labels: `[batch]`, classes of the real and of the generated videos.

        Returns:
          Scalar.
        """
        raise NotImplementedError


class OrthogonalRegularization(Term):
    """Penalty on kernels whose columns are not orthogonal (Brock et al., 2019, eq. 3).

    `weight * sum over kernels of |W^T W * (1 - I)|^2`, W reshaped to `[-1, out]`.
    Vectors and embeddings are excluded.

    Args:
      weight: factor of the penalty; 1e-4 in BigGAN.
    """

    name = "orthogonal_regularization"

    def __init__(self, weight: float = 1e-4):
        super().__init__(weight)

    def value(self, generator, outputs, real, labels) -> tf.Tensor:
        del outputs, real, labels
        total = tf.constant(0.0)
        for variable in generator.trainable_variables:
            if variable.shape.rank < 2 or "embedding" in variable.name:
                continue
            matrix = tf.reshape(variable, [-1, variable.shape[-1]])
            gram = tf.matmul(matrix, matrix, transpose_a=True)
            off_diagonal = gram - tf.linalg.diag(tf.linalg.diag_part(gram))
            total += tf.reduce_sum(tf.square(off_diagonal))
        return total
