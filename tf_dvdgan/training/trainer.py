"""The training step: discriminator updates, then a generator update.

All devices share one code path: `strategy.run` of one replica's step, several steps per
`tf.function` call. The random numbers of a step are generated for the global batch from
(seed, step), and each replica takes the rows of its samples, so the result does not
depend on the number of replicas.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence

import gin
import tensorflow as tf

from tf_dvdgan import addons, errors
from tf_dvdgan.data import transforms
from tf_dvdgan.models import video_gan
from tf_dvdgan.training import optimizers

Batch = Mapping[str, tf.Tensor]

# Added to the data seed at each rollback; the seeds of different runs are closer.
_DATA_SEED_STRIDE = 1_000_003

# Streams of random numbers within a step.
_LATENTS, _REAL_NOISE_UNIFORM, _FAKE_NOISE_UNIFORM, _REAL_NOISE, _FAKE_NOISE = range(5)


class Trainer:
    """Owns the training state and the training step.

    Args:
      gan: the GAN; the trainer creates its variables.
      strategy: distribution strategy; create the trainer in its scope.
      global_batch_size: number of videos per update, over all replicas.
      generator_optimizer: optionally with a moving average of the weights.
      discriminator_optimizer: shared by all discriminators.
      num_d_steps: discriminator updates per generator update, each with its own real
        videos and latents.
      seed: seed of all random numbers of the training steps.
      jit_compile: whether to compile the step with XLA; TPUs always do.

    Attributes:
      gan: as given.
      strategy: as given.
      global_batch_size: as given.
      num_d_steps: as given.
      seed: as given.
      step: number of generator updates so far.
      num_rollbacks: number of rollbacks so far; each changes the random numbers and the
        order of the data.

    Raises:
      InvalidValueError: the batch size is not a multiple of the number of replicas, or
        `num_d_steps` is less than 1.
    """

    def __init__(
        self,
        gan: video_gan.Networks,
        strategy: tf.distribute.Strategy,
        global_batch_size: int,
        generator_optimizer: tf.keras.optimizers.legacy.Optimizer,
        discriminator_optimizer: tf.keras.optimizers.legacy.Optimizer,
        num_d_steps: int = 2,
        seed: int = 0,
        jit_compile: bool = False,
    ):
        if num_d_steps < 1:
            raise errors.InvalidValueError(
                f"num_d_steps must be at least 1. Received: {num_d_steps}"
            )
        self.num_replicas = strategy.num_replicas_in_sync
        if global_batch_size % self.num_replicas:
            raise errors.InvalidValueError(
                f"A batch of {global_batch_size} videos cannot be split evenly across "
                f"{self.num_replicas} replicas. Received: {global_batch_size=}"
            )
        self.gan = gan
        self.strategy = strategy
        self.global_batch_size = global_batch_size
        self.num_d_steps = num_d_steps
        self.seed = seed
        self.generator_optimizer = generator_optimizer
        self.discriminator_optimizer = discriminator_optimizer
        gan.build()
        self.generator_variables = gan.generator.trainable_variables
        self.discriminator_variables = gan.discriminator_variables
        addons.create_slots(generator_optimizer, self.generator_variables)
        addons.create_slots(discriminator_optimizer, self.discriminator_variables)
        self.step = _counter("step")
        self.num_rollbacks = _counter("attempt")
        self.metric_names = self._metric_names()
        self.jit_compile = jit_compile
        # The step does not need AutoGraph, which takes a third of the tracing time.
        self._compiled_step = tf.function(
            self.replica_step, jit_compile=jit_compile, autograph=False
        )

    def checkpoint_objects(self) -> dict[str, tf.Module]:
        """Returns all state that a run needs to resume exactly where it stopped."""
        discriminators = {d.name: d for d in self.gan.discriminators}
        return {
            "step": self.step,
            "attempt": self.num_rollbacks,
            "generator": self.gan.generator,
            "generator_optimizer": self.generator_optimizer,
            "discriminator_optimizer": self.discriminator_optimizer,
            **discriminators,
        }

    def averaged_weights(self) -> contextlib.AbstractContextManager[None]:
        """Gives the generator its averaged weights within a context."""
        return optimizers.averaged_weights(
            self.generator_optimizer, self.generator_variables
        )

    @property
    def data_seed(self) -> int:
        """Seed of the data's order, which changes with every rollback."""
        return self.seed + _DATA_SEED_STRIDE * int(self.num_rollbacks.numpy())

    def random_batches(self) -> tf.data.Dataset:
        """Creates identical batches of noise for one replica, for benchmarks.

        Returns:
          An infinite dataset of batches for `run_steps`.
        """
        generator = self.gan.generator
        rows = self.global_batch_size // self.num_replicas
        size = generator.resolution
        shape = [rows, generator.num_frames, size, size, 3]
        noise = tf.random.stateless_uniform(shape, [0, 0], 0, 256, tf.int32)
        labels = tf.range(rows) % max(generator.num_classes, 1)
        batch = {"video": tf.cast(noise, tf.uint8), "label": labels}
        return tf.data.Dataset.from_tensors(batch).repeat()

    def run_steps(self, batches: Iterator[Batch], num_steps: int) -> dict[str, float]:
        """Runs `num_steps` training steps on the devices and waits for them.

        Args:
          batches: a (distributed) iterator; each step takes `num_d_steps` batches.
          num_steps: at least 1.

        Returns:
          The mean of each metric over steps and replicas, by name.
        """
        means = self._run_steps(batches, tf.constant(num_steps)).numpy()
        return dict(zip(self.metric_names, map(float, means), strict=True))

    @tf.function
    def _run_steps(self, batches: Iterator[Batch], num_steps: tf.Tensor) -> tf.Tensor:
        total = tf.zeros([len(self.metric_names)])
        for _ in tf.range(num_steps):
            step_batches = [next(batches) for _ in range(self.num_d_steps)]
            metrics = self.strategy.run(self._compiled_step, args=(step_batches,))
            total += self.strategy.reduce("MEAN", metrics, axis=None)
        return total / tf.cast(num_steps, tf.float32)

    def _metric_names(self) -> tuple[str, ...]:
        """Names of the values that `replica_step` returns, in order."""
        names = [d.name for d in self.gan.discriminators]
        norm = ["gradient_norm/discriminators"] if names else []
        return (
            *(f"loss/{name}" for name in names),
            *(f"scores/{name}_{of}" for name in names for of in ("real", "fake")),
            *(f"accuracy/{name}" for name in names),
            *norm,
            "loss/generator",
            *(f"loss/{term.name}" for term in self.gan.generator_terms),
            "gradient_norm/generator",
        )

    def replica_step(self, batches: Sequence[Batch]) -> tf.Tensor:
        """Runs one step on one replica; this is the compiled function.

        Args:
          batches: `num_d_steps` batches of "video" `[rows, time, height, width, 3]`
            uint8 and "label" `[rows]` int32, where rows are the replica's samples.

        Returns:
          `[n]` float32, metrics in the order of `metric_names`.
        """
        seed = tf.stack([tf.constant(self.seed, tf.int64), self.num_rollbacks])
        step_seed = fold_in(seed, self.step)
        metrics = []
        if self.gan.discriminators:
            rounds = [
                self.update_discriminators(batch, fold_in(step_seed, i))
                for i, batch in enumerate(batches)
            ]
            metrics.append(tf.add_n(rounds) / float(len(rounds)))
        g_seed = fold_in(step_seed, len(batches))
        metrics.append(self.update_generator(batches[-1], g_seed))
        self.step.assign_add(1)
        return tf.concat(metrics, axis=0)

    def update_discriminators(self, batch: Batch, seed: tf.Tensor) -> tf.Tensor:
        """Updates all discriminators once, on real and fake videos.

        Args:
          batch: "video" `[rows, time, height, width, 3]` uint8 and "label" `[rows]`.
          seed: `[2]`, seed of the update's random numbers.

        Returns:
          `[n]` float32: losses, mean real and fake scores, and accuracies of the
          discriminators, then the global norm of the gradients.
        """
        gan = self.gan
        # Outside the tape: the update needs no gradient of the generator.
        videos, labels = self._real_and_fake(batch, seed)
        losses, scores, accuracies = [], [], []
        with tf.GradientTape() as tape:
            for i, discriminator in enumerate(gan.discriminators):
                uniform_noise = tf.concat(
                    [
                        self._uniform_noise(i, fold_in(seed, _REAL_NOISE_UNIFORM)),
                        self._uniform_noise(i, fold_in(seed, _FAKE_NOISE_UNIFORM)),
                    ],
                    axis=0,
                )
                real_scores, fake_scores = _score_real_and_fake(
                    discriminator, videos, labels, uniform_noise
                )
                losses.append(gan.discriminator_loss(real_scores, fake_scores))
                scores += [tf.reduce_mean(real_scores), tf.reduce_mean(fake_scores)]
                correct = tf.concat([real_scores > 0.0, fake_scores < 0.0], axis=0)
                accuracies.append(tf.reduce_mean(tf.cast(correct, tf.float32)))
            loss = tf.add_n(losses) / self.num_replicas
        norm = self._apply(
            tape, loss, self.discriminator_variables, self.discriminator_optimizer
        )
        return tf.stack([*losses, *scores, *accuracies, norm])

    def _real_and_fake(
        self, batch: Batch, seed: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns real videos followed by new fake ones, and the labels of both."""
        real = transforms.to_unit_range(batch["video"])
        conditioning = self.gan.conditioning(batch["label"], real)
        z = self._latents(seed)
        fake = self.gan.generate(z, conditioning, training=True)["videos"]
        videos = tf.concat(
            [
                self._with_noise(real, fold_in(seed, _REAL_NOISE)),
                self._with_noise(fake, fold_in(seed, _FAKE_NOISE)),
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
        gan = self.gan
        real = transforms.to_unit_range(batch["video"])
        conditioning = gan.conditioning(batch["label"], real)
        labels, z = conditioning["labels"], self._latents(seed)
        # The tape watches only the generator's weights: the update needs no gradient of
        # the discriminators' weights.
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(self.generator_variables)
            outputs = gan.generate(z, conditioning, training=True)
            fake = self._with_noise(outputs["videos"], fold_in(seed, _FAKE_NOISE))
            loss = tf.constant(0.0)
            for i, discriminator in enumerate(gan.discriminators):
                uniform_noise = self._uniform_noise(
                    i, fold_in(seed, _FAKE_NOISE_UNIFORM)
                )
                scores = discriminator(fake, labels, uniform_noise, training=True)
                loss += gan.generator_loss(scores)
            terms = [
                term(gan.generator, outputs, real, labels)
                for term in gan.generator_terms
            ]
            scaled = tf.add_n([loss, *terms]) / self.num_replicas
        norm = self._apply(
            tape, scaled, self.generator_variables, self.generator_optimizer
        )
        return tf.stack([loss, *terms, norm])

    def _with_noise(self, videos: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Adds the discriminators' noise, generated separately for each sample."""
        if not self.gan.discriminator_noise:
            return videos
        rows = self._own_rows(tf.range(self.global_batch_size)[:, tf.newaxis])[:, 0]
        noise = tf.map_fn(
            lambda row: tf.random.stateless_normal(
                videos.shape[1:], fold_in(seed, row)
            ),
            rows,
            fn_output_signature=tf.float32,
        )
        return videos + self.gan.discriminator_noise * noise

    def _apply(self, tape, loss, variables, optimizer) -> tf.Tensor:
        """Sums gradients over replicas and applies them; returns their global norm."""
        gradients = tape.gradient(loss, variables)
        if self.num_replicas > 1:
            context = tf.distribute.get_replica_context()
            gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        optimizer.apply_gradients(
            zip(gradients, variables, strict=True),
            experimental_aggregate_gradients=False,
        )
        return tf.linalg.global_norm(gradients)

    def _latents(self, seed: tf.Tensor) -> tf.Tensor:
        draw = functools.partial(self.gan.latent.sample, seed=fold_in(seed, _LATENTS))
        return self._own_rows(draw(self.global_batch_size))

    def _uniform_noise(self, discriminator: int, seed: tf.Tensor) -> tf.Tensor:
        num_frames = self.gan.generator.num_frames
        num_uniforms = self.gan.discriminators[discriminator].num_uniforms(num_frames)
        uniform_noise = tf.random.stateless_uniform(
            [self.global_batch_size, num_uniforms], fold_in(seed, discriminator)
        )
        return self._own_rows(uniform_noise)

    def _own_rows(self, x: tf.Tensor) -> tf.Tensor:
        """Returns this replica's rows of an array for the global batch."""
        if self.num_replicas == 1:
            return x
        size = self.global_batch_size // self.num_replicas
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        return tf.slice(x, [replica * size, 0], [size, x.shape[1]])


@gin.configurable(module="trainer")
def build(
    strategy: tf.distribute.Strategy,
    class_names: Sequence[str],
    global_batch_size: int = 512,
    generator_optimizer: Callable = optimizers.adam,
    generator_learning_rate: float = 1e-4,
    discriminator_optimizer: Callable = optimizers.adam,
    discriminator_learning_rate: float = 5e-4,
    moving_average: Callable = optimizers.with_moving_average,
    num_d_steps: int = 2,
    seed: int = 0,
    jit_compile: bool = False,
) -> Trainer:
    """Builds the config's GAN and optimizers, and their trainer.

    Args:
      strategy: distribution strategy.
      class_names: class names of the data.
      global_batch_size: number of videos per update, over all replicas.
      generator_optimizer: creates the generator's optimizer from a learning rate.
      generator_learning_rate: learning rate of the generator.
      discriminator_optimizer: creates the discriminators' optimizer from a learning
        rate and `updates_per_step`.
      discriminator_learning_rate: learning rate of the discriminators.
      moving_average: wraps the generator's optimizer to add a moving average of the
        weights.
      num_d_steps: discriminator updates per generator update.
      seed: seed of the initial weights and of all random numbers in training.
      jit_compile: whether to compile the step with XLA.

    Returns:
      The trainer, with its variables created.

    Raises:
      InvalidValueError: the batch size is not a multiple of the number of replicas, or
        the seed is out of range.
    """
    if not 0 <= seed < 2**32:
        raise errors.InvalidValueError(
            f"seed must be from 0 to 2^32 - 1. Received: {seed}"
        )
    tf.keras.utils.set_random_seed(seed)
    with strategy.scope():
        return Trainer(
            video_gan.build(class_names, with_terms=True),
            strategy,
            global_batch_size,
            moving_average(generator_optimizer(generator_learning_rate)),
            discriminator_optimizer(
                discriminator_learning_rate, updates_per_step=num_d_steps
            ),
            num_d_steps=num_d_steps,
            seed=seed,
            jit_compile=jit_compile,
        )


def _counter(name: str) -> tf.Variable:
    return tf.Variable(
        0,
        dtype=tf.int64,
        trainable=False,
        name=name,
        aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
    )


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


def fold_in(seed: tf.Tensor, number: int | tf.Tensor) -> tf.Tensor:
    """Derives a new seed.

    Args:
      seed: `[2]` integers.
      number: scalar integer; different numbers yield independent seeds.

    Returns:
      `[2]` integers.
    """
    return tf.random.experimental.stateless_fold_in(seed, tf.cast(number, seed.dtype))
