"""Terms that are added to each discriminator's loss: LeCam and R1.

They keep a discriminator from memorizing a small data set.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import gin
import tensorflow as tf

from tf_dvdgan import errors
from tf_dvdgan.layers import conditional_batch_norm


class Scored(NamedTuple):
    """Videos that a discriminator has scored in one pass.

    Attributes:
      discriminator: its number.
      real: `[batch, time, height, width, 3]`, real videos as it saw them.
      real_scores: `[batch]`, or `[batch, frames]` if it scores frames.
      fake_scores: as `real_scores`.
      score: scores other videos with the labels of the real ones, without a change of
        its state.
      normal: draws standard normal numbers of a shape for each video, the same ones in
        each call.
      step: number of generator updates so far, an int64 scalar.
    """

    discriminator: int
    real: tf.Tensor
    real_scores: tf.Tensor
    fake_scores: tf.Tensor
    score: Callable[[tf.Tensor], tf.Tensor]
    normal: Callable[[Sequence[int]], tf.Tensor]
    step: tf.Tensor


class DiscriminatorTerm(tf.Module):
    """Base class: a term of each discriminator's loss, with its state.

    Args:
      weight: factor of the term in the loss.
    """

    def __init__(self, weight: float):
        super().__init__(name=type(self).__name__.lower())  # as in metrics
        if not weight >= 0.0:
            raise errors.InvalidValueError(
                f"The weight of {self.name} must not be negative. Received: {weight}"
            )
        self.weight = weight

    def build(self, discriminators: Sequence[tf.keras.Model]) -> None:
        """Creates the state, in the scope of the strategy.

        Raises:
          InvalidValueError: the term cannot be computed for a discriminator.
        """

    def value(self, scored: Scored) -> tf.Tensor:
        """The weighted term for one discriminator and one replica's part of a batch.

        Args:
          scored: the videos and their scores.

        Returns:
          Scalar.
        """
        raise NotImplementedError

    def update(self, real_scores: tf.Tensor, fake_scores: tf.Tensor) -> None:
        """Updates the state after an update of the discriminators.

        Args:
          real_scores: mean score of each discriminator, over all replicas,
            `[discriminators]`.
          fake_scores: the same for generated videos, `[discriminators]`.
        """


@gin.register(module="discriminator_terms")
class LeCam(DiscriminatorTerm):
    """Keeps scores near the moving averages of the other side's (Tseng et al., 2021).

    `weight * (E[(D(real) - a_fake)^2] + E[(D(fake) - a_real)^2])`, equation 4, where
    `a_real` and `a_fake` are moving averages of the scores of real and generated
    videos.

    Args:
      weight: factor of the term.
      decay: decay of the moving averages, per update of the discriminators.
      start_step: first step with the term; the averages start from the first update.
    """

    def __init__(
        self, weight: float = 0.1, decay: float = 0.99, start_step: int = 1000
    ):
        super().__init__(weight)
        if not 0.0 <= decay < 1.0:
            raise errors.InvalidValueError(
                f"decay must be at least 0 and less than 1. Received: {decay!r}"
            )
        self._decay = decay
        self._start_step = start_step

    def build(self, discriminators: Sequence[tf.keras.Model]) -> None:
        self.real_average, self.fake_average = (
            tf.Variable(
                tf.zeros([len(discriminators)]),
                trainable=False,
                name=f"{name}_average",
                aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
            )
            for name in ("real", "fake")
        )

    def value(self, scored: Scored) -> tf.Tensor:
        i = scored.discriminator
        real = tf.reduce_mean(tf.square(scored.real_scores - self.fake_average[i]))
        fake = tf.reduce_mean(tf.square(scored.fake_scores - self.real_average[i]))
        is_on = tf.cast(scored.step >= self._start_step, tf.float32)
        return self.weight * is_on * (real + fake)

    def update(self, real_scores: tf.Tensor, fake_scores: tf.Tensor) -> None:
        for average, scores in (
            (self.real_average, real_scores),
            (self.fake_average, fake_scores),
        ):
            average.assign(self._decay * average + (1.0 - self._decay) * scores)


@gin.register(module="discriminator_terms")
class R1(DiscriminatorTerm):
    """Gradient penalty on real videos (Mescheder et al., 2018, equation 9).

    `weight / 2 * E[|grad of D at the video|^2]`, where the videos are those that the
    discriminator sees, with their augmentation. Every n-th step with n times the
    weight (lazy regularization: Karras et al., 2020b, section 3.1).

    Args:
      weight: gamma of the paper.
      every: steps between two penalties.
      method: 'exact' differentiates the gradient. 'finite_differences' takes the
        derivative along a random direction v ~ N(0, I), of which the mean square is the
        squared norm: it needs two more forward passes and no second derivative.
        Batch norm makes a video's score depend on all videos of a batch: both methods
        then have, in the mean, the squared norm of its gradient with respect to all of
        them.
      epsilon: step of 'finite_differences' along v; at least 0.1 in bfloat16, where a
        smaller change of a video is lost in rounding.

    'exact' cannot differentiate through gradient checkpointing. Several GPUs or workers
    need `every=1` for discriminators with batch norm.

    Raises:
      InvalidValueError: the method does not exist, or a number is out of range.
    """

    def __init__(
        self,
        weight: float = 10.0,
        every: int = 16,
        method: str = "exact",
        epsilon: float = 0.01,
    ):
        super().__init__(weight)
        if method not in ("exact", "finite_differences"):
            raise errors.InvalidValueError(
                f"method must be 'exact' or 'finite_differences'. Received: {method=}"
            )
        if every < 1 or not epsilon > 0.0:
            raise errors.InvalidValueError(
                "every must be at least 1, and epsilon above 0. Received: "
                f"{every=}, {epsilon=}"
            )
        self._every = every
        self._exact = method == "exact"
        self._epsilon = epsilon

    def build(self, discriminators: Sequence[tf.keras.Model]) -> None:
        strategy = tf.distribute.get_strategy()
        is_tpu = isinstance(strategy, tf.distribute.TPUStrategy)
        reduces = strategy.num_replicas_in_sync > 1 and not is_tpu
        for discriminator in discriminators:
            name = discriminator.name
            if self._exact and getattr(discriminator, "gradient_checkpointing", False):
                raise errors.InvalidValueError(
                    "R1 needs method='finite_differences' for a discriminator with "
                    f"gradient checkpointing. Received: gradient_checkpointing="
                    f"{discriminator.gradient_checkpointing} of {name}"
                )
            if self._every > 1 and reduces and discriminator.has_batch_norm:
                raise errors.InvalidValueError(
                    "Several GPUs or workers cannot reduce batch norm's statistics in "
                    f"some steps only: R1 of {name} needs every=1. Received: "
                    f"every={self._every}"
                )
            dtype = getattr(discriminator, "compute_dtype", "float32")
            is_coarse = tf.as_dtype(dtype).size < 4
            if not self._exact and is_coarse and self._epsilon < 0.1:
                raise errors.InvalidValueError(
                    f"R1 by finite differences needs an epsilon of at least 0.1 in "
                    f"{dtype}. Received: epsilon={self._epsilon}"
                )

    def value(self, scored: Scored) -> tf.Tensor:
        def penalty() -> tf.Tensor:
            squared = (_exact if self._exact else self._along_a_direction)(scored)
            return 0.5 * self.weight * self._every * tf.reduce_mean(squared)

        if self._every == 1:
            return penalty()
        due = tf.equal(scored.step % self._every, 0)
        return tf.cond(due, penalty, lambda: tf.constant(0.0))

    def _along_a_direction(self, scored: Scored) -> tf.Tensor:
        offset = self._epsilon * scored.normal(scored.real.shape[1:])
        ahead = scored.score(scored.real + offset)
        behind = scored.score(scored.real - offset)
        change = (ahead - behind) / (2.0 * self._epsilon)
        # The derivative is that of a video's score; MVT-GAN has one for each frame.
        return tf.square(tf.reduce_sum(change, axis=[*range(1, change.shape.rank)]))


def _exact(scored: Scored) -> tf.Tensor:
    """Squared norm of the score's gradient for each video, `[batch]`.

    One backward pass for all scores, each with a random sign. Where each depends on its
    own video alone, signs change nothing; with batch norm, products of two scores'
    gradients would remain without them, and vanish in the mean.
    """
    signs = tf.sign(scored.normal([]))
    tape = tf.GradientTape(watch_accessed_variables=False)
    with conditional_batch_norm.twice_differentiable(), tape:
        tape.watch(scored.real)
        scores = scored.score(scored.real)
        scores = tf.reduce_sum(scores, axis=[*range(1, scores.shape.rank)])
        total = tf.reduce_sum(signs * scores)
    gradient = tape.gradient(total, scored.real)
    return tf.reduce_sum(tf.square(gradient), axis=[1, 2, 3, 4])
