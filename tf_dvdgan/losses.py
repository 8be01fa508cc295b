"""Adversarial losses: pure functions of logits, averaged over the batch.

Under a distribution strategy the batch is a replica's: divide by the number of
replicas before gradients are summed over them.
"""

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
    """Generator's side of the hinge loss (paper 001, section 2.2).

    Args:
      fake_logits: `[batch]`, scores of generated videos.

    Returns:
      Scalar: minus their mean.
    """
    return -tf.reduce_mean(fake_logits)
