"""Updates of the discriminators and of the generator, on one replica."""

import functools
import inspect
import numbers
from collections.abc import Callable, Sequence
from typing import Protocol

import tensorflow as tf

from tf_dvdgan import discriminator_terms, errors
from tf_dvdgan import losses as losses_lib
from tf_dvdgan.data import transforms
from tf_dvdgan.layers import spectral_norm
from tf_dvdgan.models import video_gan
from tf_dvdgan.training import augmentation as augmentation_lib
from tf_dvdgan.training import gradient_accumulation
from tf_dvdgan.training.gradient_accumulation import Batch, Pass
from tf_dvdgan.training.random_numbers import RandomNumbers

_OF_GENERATOR = losses_lib.relativistic_hinge_generator_loss
_OF_DISCRIMINATOR = losses_lib.relativistic_hinge_discriminator_loss
_ABSOLUTE = (  # discriminators' losses that do not fit `_OF_GENERATOR`
    losses_lib.hinge_discriminator_loss,
    losses_lib.cross_entropy_discriminator_loss,
)


class Trained(Protocol):
    """What updates use and change; a `Trainer`."""

    gan: video_gan.Networks
    strategy: tf.distribute.Strategy
    global_batch_size: int
    generator_optimizer: tf.keras.optimizers.legacy.Optimizer
    discriminator_optimizer: tf.keras.optimizers.legacy.Optimizer
    generator_variables: list[tf.Variable]
    discriminator_variables: list[tf.Variable]
    augmentation: augmentation_lib.Augmentation | None
    step: tf.Variable


class Updates:
    """Updates of a trainer's networks.

    Args:
      trained: the trainer.
      accumulate_steps: number of passes that each batch is split into.

    Raises:
      InvalidValueError: the batch cannot be split into equal parts, the strategy does
        not support passes, or the losses do not fit together.
    """

    def __init__(self, trained: Trained, accumulate_steps: int):
        self._gan = trained.gan
        self._num_replicas = trained.strategy.num_replicas_in_sync
        self._trained = trained
        self._generator_optimizer = trained.generator_optimizer
        self._discriminator_optimizer = trained.discriminator_optimizer
        self._generator_variables = trained.generator_variables
        self._discriminator_variables = trained.discriminator_variables
        self._augmentation = trained.augmentation
        self._step = trained.step
        self._num_passes = accumulate_steps
        rows = self._batch_size // self._num_replicas
        if not isinstance(accumulate_steps, numbers.Integral) or accumulate_steps < 1:
            raise errors.InvalidValueError(
                "accumulate_steps must be a whole number above 0. Received: "
                f"{accumulate_steps}"
            )
        if rows % accumulate_steps:
            raise errors.InvalidValueError(
                f"The {rows} videos of a replica cannot be split evenly into passes. "
                f"Received: {accumulate_steps=}"
            )
        is_tpu = isinstance(trained.strategy, tf.distribute.TPUStrategy)
        if accumulate_steps > 1 and self._num_replicas > 1 and not is_tpu:
            raise errors.InvalidValueError(
                "Several GPUs or workers cannot reduce batch norm's statistics within "
                "the loop over passes: accumulate on one device or a TPU. Received: "
                f"{accumulate_steps=}"
            )
        parameters = _parameters(self._gan.generator_loss)
        self._generator_has_real_scores: bool = "real_logits" in parameters
        _check_losses(self._gan, self._generator_has_real_scores)

    def update_discriminators(self, batch: Batch, seed: tf.Tensor) -> tf.Tensor:
        """Updates all discriminators once, on real and fake videos.

        Args:
          batch: "video" `[rows, time, height, width, 3]` uint8 and "label" `[rows]`.
          seed: `[2]`, seed of the update's random numbers.

        Returns:
          `[n]` float32: losses of the discriminators, each added term, mean real and
          fake scores and accuracies of the discriminators, then the global norm of the
          gradients.
        """
        count, terms = len(self._gan.discriminators), self._gan.discriminator_terms
        num_metrics = 4 * count + len(terms)
        gradients, values = self._over_passes(
            self._discriminator_pass,
            self._discriminator_variables,
            num_metrics + count,
            batch,
            seed,
        )
        norm = self._apply(
            gradients, self._discriminator_variables, self._discriminator_optimizer
        )
        metrics, signs = tf.split(values, [num_metrics, count])
        if terms:
            scores = metrics[count + len(terms) :][: 2 * count]
            scores = tf.reshape(self._mean_over_replicas(scores), [count, 2])
            for term in terms:
                term.update(*tf.unstack(scores, axis=1))
        if self._augmentation:
            self._augmentation.adapt(self._mean_over_replicas(signs), self._batch_size)
        return tf.concat([metrics, [norm]], axis=0)

    def _discriminator_pass(self, batch: Batch, random: RandomNumbers) -> Pass:
        """Gradients of all discriminators' losses on a part of the batch.

        The values are the metrics of `update_discriminators` without the norm, then the
        mean sign of each discriminator's scores of real videos.
        """
        gan = self._gan
        # Outside the tape: the update needs no gradient of the generator.
        videos, labels = self._real_and_fake(batch, random)
        real, real_labels = (tf.split(x, 2)[0] for x in (videos, labels))
        losses, scores, accuracies, signs = [], [], [], []
        terms: list[list[tf.Tensor]] = [[] for _ in gan.discriminator_terms]
        with tf.GradientTape() as tape:
            for i, discriminator in enumerate(gan.discriminators):
                uniform_noise = random.uniform_noise(i, fake=False)
                real_scores, fake_scores = _score_real_and_fake(
                    discriminator,
                    videos,
                    labels,
                    tf.concat([uniform_noise, random.uniform_noise(i, fake=True)], 0),
                )
                losses.append(gan.discriminator_loss(real_scores, fake_scores))
                scored = discriminator_terms.Scored(
                    discriminator=i,
                    real=real,
                    real_scores=real_scores,
                    fake_scores=fake_scores,
                    score=functools.partial(
                        _score_again, discriminator, real_labels, uniform_noise
                    ),
                    normal=functools.partial(random.directions, discriminator=i),
                    step=tf.convert_to_tensor(self._step),
                )
                for term, term_values in zip(
                    gan.discriminator_terms, terms, strict=True
                ):
                    term_values.append(term.value(scored))
                scores += [tf.reduce_mean(real_scores), tf.reduce_mean(fake_scores)]
                if gan.discriminator_loss is _OF_DISCRIMINATOR:  # without a threshold
                    real_scores, fake_scores = losses_lib.relative_to_the_middle(
                        real_scores, fake_scores
                    )
                correct = tf.concat([real_scores > 0.0, fake_scores < 0.0], axis=0)
                accuracies.append(tf.reduce_mean(tf.cast(correct, tf.float32)))
                signs.append(tf.reduce_mean(tf.sign(real_scores)))
            totals = [tf.add_n(term_values) for term_values in terms]
            loss = tf.add_n([*losses, *totals]) / self._num_parts
        gradients = tape.gradient(loss, self._discriminator_variables)
        return gradients, tf.stack([*losses, *totals, *scores, *accuracies, *signs])

    def _real_and_fake(
        self, batch: Batch, random: RandomNumbers
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns real videos followed by new fake ones, and the labels of both."""
        real = transforms.to_unit_range(batch["video"])
        conditioning = self._gan.conditioning(batch["label"], real)
        z = random.latents()
        fake = self._gan.generate(z, conditioning, training=True)["videos"]
        videos = tf.concat(
            [
                self.discriminator_input(real, random, fake=False),
                self.discriminator_input(fake, random, fake=True),
            ],
            axis=0,
        )
        return videos, tf.concat([conditioning["labels"]] * 2, axis=0)

    def update_generator(self, batch: Batch, seed: tf.Tensor) -> tf.Tensor:
        """Updates the generator once.

        Args:
          batch: "video" `[rows, time, height, width, 3]` uint8 and "label" `[rows]`.
          seed: `[2]`, seed of the update's random numbers.

        Returns:
          `[n]` float32: the adversarial loss, each added term, and the global norm of
          the gradients.
        """
        gradients, values = self._over_passes(
            self._generator_pass,
            self._generator_variables,
            1 + len(self._gan.generator_terms),
            batch,
            seed,
        )
        norm = self._apply(
            gradients, self._generator_variables, self._generator_optimizer
        )
        return tf.concat([values, [norm]], axis=0)

    def _generator_pass(self, batch: Batch, random: RandomNumbers) -> Pass:
        """Gradients of the generator's loss on a part of the batch."""
        gan = self._gan
        real = transforms.to_unit_range(batch["video"])
        conditioning = gan.conditioning(batch["label"], real)
        labels, z = conditioning["labels"], random.latents()
        # The tape watches only the generator's weights: the update needs no gradient of
        # the discriminators' weights.
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(self._generator_variables)
            outputs = gan.generate(z, conditioning, training=True)
            fake = self.discriminator_input(outputs["videos"], random, fake=True)
            if self._generator_has_real_scores:
                real_input = self.discriminator_input(real, random, fake=False)
            else:
                real_input = None
            loss = tf.constant(0.0)
            for i in range(len(gan.discriminators)):
                loss += self._generator_loss(i, real_input, fake, labels, random)
            terms = [
                term(gan.generator, outputs, real, labels)
                for term in gan.generator_terms
            ]
            scaled = tf.add_n([loss, *terms]) / self._num_parts
        gradients = tape.gradient(scaled, self._generator_variables)
        return gradients, tf.stack([loss, *terms])

    def _generator_loss(
        self,
        i: int,
        real: tf.Tensor | None,
        fake: tf.Tensor,
        labels: tf.Tensor,
        random: RandomNumbers,
    ) -> tf.Tensor:
        """The generator's loss from discriminator i, of videos as it sees them.

        Only the relativistic loss has real ones.
        """
        discriminator = self._gan.discriminators[i]
        uniform_noise = random.uniform_noise(i, fake=True)
        if real is None:
            scores = discriminator(fake, labels, uniform_noise, training=True)
            return self._gan.generator_loss(scores)
        real_scores, fake_scores = _score_real_and_fake(
            discriminator,
            tf.concat([real, fake], 0),
            tf.concat([labels, labels], 0),
            tf.concat([random.uniform_noise(i, fake=False), uniform_noise], 0),
        )
        return self._gan.generator_loss(fake_scores, real_logits=real_scores)

    @property
    def _batch_size(self) -> int:
        """Videos per update over all replicas; the TPU pre-flight changes it."""
        return self._trained.global_batch_size

    @property
    def _num_parts(self) -> int:
        """Number of equal parts of a batch: passes of replicas."""
        return self._num_replicas * self._num_passes

    def discriminator_input(
        self, videos: tf.Tensor, random: RandomNumbers, fake: bool
    ) -> tf.Tensor:
        """Augments videos and adds the discriminators' noise.

        Args:
          videos: `[rows, time, height, width, 3]` in [-1, 1].
          random: random numbers of the update.
          fake: whether they are generated videos.

        Returns:
          `[rows, time, height, width, 3]`.
        """
        if self._augmentation:
            videos = self._augmentation(videos, random.augmentation(fake))
        if self._gan.discriminator_noise:
            noise = random.noise(videos.shape[1:], fake)
            videos += self._gan.discriminator_noise * noise
        return videos

    def _over_passes(
        self,
        function: Callable[[Batch, RandomNumbers], Pass],
        variables: Sequence[tf.Variable],
        num_values: int,
        batch: Batch,
        seed: tf.Tensor,
    ) -> Pass:
        """Sums gradients and averages values over the passes of a batch."""
        return gradient_accumulation.accumulate(
            lambda part, i: function(part, self.draw(seed, i)),
            batch,
            self._num_passes,
            self._batch_size // self._num_parts,
            variables,
            num_values,
        )

    def draw(self, seed: tf.Tensor, i: int | tf.Tensor = 0) -> RandomNumbers:
        """Returns the random numbers of an update for this replica's samples.

        Args:
          seed: `[2]`, seed of the update.
          i: number of the pass.

        Returns:
          The random numbers.
        """
        rows = None
        if self._num_parts > 1:
            count = self._batch_size // self._num_parts
            first = i * count
            if self._num_replicas > 1:
                context = tf.distribute.get_replica_context()
                size = self._batch_size // self._num_replicas
                first += context.replica_id_in_sync_group * size
            rows = first + tf.range(count)
        return RandomNumbers(self._gan, self._batch_size, rows, seed)

    def _apply(
        self,
        gradients: list[tf.Tensor],
        variables: Sequence[tf.Variable],
        optimizer: tf.keras.optimizers.legacy.Optimizer,
    ) -> tf.Tensor:
        """Sums gradients over replicas and applies them; returns their global norm."""
        if self._num_replicas > 1:
            context = tf.distribute.get_replica_context()
            gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        optimizer.apply_gradients(
            zip(gradients, variables, strict=True),
            experimental_aggregate_gradients=False,
        )
        return tf.linalg.global_norm(gradients)

    def _mean_over_replicas(self, x: tf.Tensor) -> tf.Tensor:
        if self._num_replicas == 1:
            return x
        context = tf.distribute.get_replica_context()
        return context.all_reduce(tf.distribute.ReduceOp.MEAN, x)


def _check_losses(gan: video_gan.Networks, has_real_scores: bool) -> None:
    losses = gan.generator_loss, gan.discriminator_loss
    names = [getattr(loss, "__name__", repr(loss)) for loss in losses]
    if _parameters(gan.discriminator_loss)[:1] == ["fake_logits"]:
        raise errors.InvalidValueError(
            "discriminator_loss is a generator's loss: it must take scores of real, "
            f"then of fake videos. Received: {names}"
        )
    if (gan.discriminator_loss is _OF_DISCRIMINATOR and not has_real_scores) or (
        gan.generator_loss is _OF_GENERATOR and gan.discriminator_loss in _ABSOLUTE
    ):
        raise errors.InvalidValueError(
            "A relativistic loss needs the other one, too: "
            f"losses.{_OF_GENERATOR.__name__} and losses.{_OF_DISCRIMINATOR.__name__}. "
            f"Received: {names}"
        )


def _parameters(function: Callable) -> list[str]:
    """Names of a function's parameters; none if Python does not know them."""
    try:
        return [*inspect.signature(function).parameters]
    except (TypeError, ValueError):
        return []


def _score_real_and_fake(
    discriminator: tf.keras.Model,
    videos: tf.Tensor,
    labels: tf.Tensor,
    uniform_noise: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Scores the first half of a batch, real videos, and the second half, fake ones.

    Both go through in one pass, unless the discriminator has batch norm: statistics of
    a mixed batch would leak information between real and fake.
    """
    if not discriminator.has_batch_norm:
        scores = discriminator(videos, labels, uniform_noise, training=True)
        return tuple(tf.split(scores, 2))
    return tuple(
        discriminator(*part, training=True)
        for part in zip(
            tf.split(videos, 2),
            tf.split(labels, 2),
            tf.split(uniform_noise, 2),
            strict=True,
        )
    )


def _score_again(
    discriminator: tf.keras.Model,
    labels: tf.Tensor,
    uniform_noise: tf.Tensor,
    videos: tf.Tensor,
) -> tf.Tensor:
    """Scores videos as in training, without an update of any state."""
    with spectral_norm.updating_if(False):
        return discriminator(videos, labels, uniform_noise, training=True)
