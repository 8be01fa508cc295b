"""The training step: discriminator updates, then a generator update.

All devices share one code path: `strategy.run` of one replica's step, several steps per
`tf.function` call. `updates` has the two kinds of update, `random_numbers` their noise;
neither depends on the number of replicas.
"""

import contextlib
import fnmatch
import inspect
import math
from collections.abc import Callable, Iterator, Sequence

import gin
import tensorflow as tf

from tf_dvdgan import addons, errors, seeds
from tf_dvdgan.models import video_gan
from tf_dvdgan.training import augmentation as augmentation_lib
from tf_dvdgan.training import optimizers
from tf_dvdgan.training import updates as updates_lib
from tf_dvdgan.training.gradient_accumulation import Batch
from tf_dvdgan.training.random_numbers import fold_in

# Added to the data seed at each rollback; the seeds of different runs are closer.
_DATA_SEED_STRIDE = 1_000_003
# Names of other parts of a checkpoint.
_RESERVED = ("generator", "augmentation", "divergence", "step", "attempt")


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
      augmentation: augments what the discriminators see, real and generated; None for
        no augmentation.
      frozen: patterns of discriminator variables that keep their values, such as
        "*/block_0/*", where "*" matches any text (FreezeD: Mo et al., 2020). The
        vectors u of their spectral norms are still updated. A run may freeze more when
        it resumes; what it has never trained stays frozen, because the optimizer
        has no state of it.
      accumulate_steps: number of passes that each update's batch is split into, to save
        memory; their gradients are summed. Statistics over a batch, those of batch norm
        and of relativistic losses, become those of a pass.

    Attributes:
      gan: as given.
      strategy: as given.
      global_batch_size: as given.
      num_d_steps: as given.
      seed: as given.
      augmentation: as given.
      frozen_variables: variables of the discriminators that keep their values.
      step: number of generator updates so far.
      num_rollbacks: number of rollbacks so far; each changes the random numbers and the
        order of the data.

    Raises:
      InvalidValueError: the batch cannot be split into equal parts, or an argument is
        out of range.
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
        augmentation: augmentation_lib.Augmentation | None = None,
        accumulate_steps: int = 1,
        frozen: Sequence[str] = (),
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
        self.discriminator_variables, self.frozen_variables = _divided(
            gan.discriminator_variables, frozen
        )
        addons.create_slots(generator_optimizer, self.generator_variables)
        addons.create_slots(discriminator_optimizer, self.discriminator_variables)
        for term in gan.discriminator_terms:
            term.build(gan.discriminators)
        self.augmentation = augmentation
        self.step = _counter("step")
        self.num_rollbacks = _counter("attempt")
        self.updates = updates_lib.Updates(self, accumulate_steps)
        self.metric_names = self._metric_names()
        _check_names(gan)
        _check_augmentation(gan, augmentation)
        self.jit_compile = jit_compile
        # The step does not need AutoGraph, which takes a third of the tracing time.
        self._compiled_step = tf.function(
            self.replica_step, jit_compile=jit_compile, autograph=False
        )

    def checkpoint_objects(self) -> dict[str, tf.Module]:
        """Returns all state that a run needs to resume exactly where it stopped."""
        discriminators = {d.name: d for d in self.gan.discriminators}
        others = [*self.gan.discriminator_terms, self.augmentation]
        return {
            "step": self.step,
            "attempt": self.num_rollbacks,
            "generator": self.gan.generator,
            "generator_optimizer": self.generator_optimizer,
            "discriminator_optimizer": self.discriminator_optimizer,
            **discriminators,
            **{other.name: other for other in others if other and other.variables},
        }

    def restart_average(self) -> None:
        """Sets the average to the generator's weights, which another run gave it."""
        for variable in self.generator_variables:
            average = optimizers.moving_average_of(self.generator_optimizer, variable)
            average.assign(variable.read_value())

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
            # A step is complete before the next reads its data, which may fail.
            tf.autograph.experimental.set_loop_options(parallel_iterations=1)
            step_batches = [next(batches) for _ in range(self.num_d_steps)]
            metrics = self.strategy.run(self._compiled_step, args=(step_batches,))
            total += self.strategy.reduce("MEAN", metrics, axis=None)
        return total / tf.cast(num_steps, tf.float32)

    @property
    def accuracy_names(self) -> list[str]:
        """Names of the discriminators' accuracies among the metrics."""
        return [name for name in self.metric_names if name.startswith("accuracy/")]

    def _metric_names(self) -> tuple[str, ...]:
        """Names of the values that `replica_step` returns, in order."""
        names = [d.name for d in self.gan.discriminators]
        norm = ["gradient_norm/discriminators"] if names else []
        return (
            *(f"loss/{name}" for name in names),
            *(f"loss/{term.name}" for term in self.gan.discriminator_terms),
            *(f"scores/{name}_{of}" for name in names for of in ("real", "fake")),
            *(f"accuracy/{name}" for name in names),
            *norm,
            "loss/generator",
            *(f"loss/{term.name}" for term in self.gan.generator_terms),
            "gradient_norm/generator",
            *(self.augmentation.metric_names if self.augmentation else ()),
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
                self.updates.update_discriminators(batch, fold_in(step_seed, i))
                for i, batch in enumerate(batches)
            ]
            metrics.append(tf.add_n(rounds) / float(len(rounds)))
        g_seed = fold_in(step_seed, len(batches))
        metrics.append(self.updates.update_generator(batches[-1], g_seed))
        if self.augmentation:
            metrics.append(self.augmentation.metrics())
        self.step.assign_add(1)
        return tf.concat(metrics, axis=0)


def build(
    strategy: tf.distribute.Strategy,
    class_names: Sequence[str],
    build_networks: Callable[..., video_gan.Networks],
    *,
    global_batch_size: int = 512,
    generator_optimizer: Callable = optimizers.adam,
    generator_learning_rate: float = 1e-4,
    discriminator_optimizer: Callable = optimizers.adam,
    discriminator_learning_rate: float = 5e-4,
    moving_average: Callable = optimizers.with_moving_average,
    num_d_steps: int = 2,
    seed: int = 0,
    jit_compile: bool = False,
    augmentation: Callable[[], augmentation_lib.Augmentation] | None = None,
    accumulate_steps: int = 1,
    frozen: Sequence[str] = (),
    rates_for_batch_size: int | None = None,
) -> Trainer:
    """Builds a GAN and its optimizers, and their trainer.

    `from_config` takes what a caller omits from Gin's config.

    Args:
      strategy: distribution strategy.
      class_names: class names of the data.
      build_networks: builds the GAN from class names and `with_terms`.
      global_batch_size: number of videos per update, over all replicas.
      generator_optimizer: creates the generator's optimizer from a learning rate.
      generator_learning_rate: learning rate of the generator.
      discriminator_optimizer: creates the discriminators' optimizer from a learning
        rate, and from `updates_per_step` if it has this parameter.
      discriminator_learning_rate: learning rate of the discriminators.
      moving_average: wraps the generator's optimizer to add a moving average of the
        weights.
      num_d_steps: discriminator updates per generator update.
      seed: seed of the initial weights and of all random numbers in training.
      jit_compile: whether to compile the step with XLA.
      augmentation: creates the augmentation, see `Trainer`.
      accumulate_steps: see `Trainer`.
      frozen: see `Trainer`.
      rates_for_batch_size: batch size that the learning rates are meant for. They are
        multiplied by the square root of the ratio of the batch sizes, the rule for Adam
        (Malladi et al., 2022, section 5). None leaves them as they are.

    Returns:
      The trainer, with its variables created.

    Raises:
      InvalidValueError: the batch size is not a multiple of the number of replicas, or
        the seed or a learning rate is out of range.
    """
    if not 0 <= seed < 2**32:
        raise errors.InvalidValueError(
            f"seed must be from 0 to 2^32 - 1. Received: {seed}"
        )
    for rate in (generator_learning_rate, discriminator_learning_rate):
        if not rate >= 0:
            raise errors.InvalidValueError(
                f"A learning rate must not be negative. Received: {rate}"
            )
    if augmentation is not None:
        errors.check_creates("augmentation", augmentation)
    scale = 1.0
    if rates_for_batch_size is not None:
        if not rates_for_batch_size >= 1:
            raise errors.InvalidValueError(
                "rates_for_batch_size must be at least 1. Received: "
                f"{rates_for_batch_size}"
            )
        scale = math.sqrt(global_batch_size / rates_for_batch_size)
    updates = {}
    if "updates_per_step" in inspect.signature(discriminator_optimizer).parameters:
        updates = {"updates_per_step": num_d_steps}
    with seeds.seeded(seed), strategy.scope():
        return Trainer(
            build_networks(class_names, with_terms=True),
            strategy,
            global_batch_size,
            moving_average(generator_optimizer(scale * generator_learning_rate)),
            discriminator_optimizer(scale * discriminator_learning_rate, **updates),
            num_d_steps=num_d_steps,
            seed=seed,
            jit_compile=jit_compile,
            augmentation=augmentation() if augmentation else None,
            accumulate_steps=accumulate_steps,
            frozen=frozen,
        )


from_config = gin.configurable("build", module="trainer")(build)


def _divided(
    variables: list[tf.Variable], patterns: Sequence[str]
) -> tuple[list[tf.Variable], list[tf.Variable]]:
    """Divides variables into those that no pattern matches, and the frozen others.

    Raises:
      InvalidValueError: a pattern matches none.
    """
    if isinstance(patterns, str):
        raise errors.InvalidValueError(
            f"frozen must be a list of patterns. Received: {patterns!r}"
        )
    if patterns and not variables:
        raise errors.InvalidValueError(
            f"frozen needs a discriminator. Received: {patterns!r}"
        )
    frozen: set[str] = set()
    names = [variable.name.removesuffix(":0") for variable in variables]
    for pattern in patterns:
        matches = fnmatch.filter(names, pattern)
        if not matches:
            raise errors.InvalidValueError(
                f"frozen: {pattern!r} matches no variable of a discriminator, such as "
                f"{names[0]!r}."
            )
        frozen.update(matches)
    pairs = [*zip(names, variables, strict=True)]
    return (
        [variable for name, variable in pairs if name not in frozen],
        [variable for name, variable in pairs if name in frozen],
    )


def _check_names(gan: video_gan.Networks) -> None:
    """Checks that what metrics and checkpoints name is different."""
    terms = [term.name for term in gan.discriminator_terms]
    discriminators = [d.name for d in gan.discriminators]
    if terms and not discriminators:
        raise errors.InvalidValueError(
            f"discriminator_terms need a discriminator. Received: {terms}"
        )
    names = [*terms, *discriminators]
    if len({*names} - {*_RESERVED}) < len(names):
        raise errors.InvalidValueError(
            "Discriminators and their terms must have names of their own, other than "
            f"{', '.join(_RESERVED)}. Received: {names}"
        )


def _check_augmentation(
    gan: video_gan.Networks, augmentation: augmentation_lib.Augmentation | None
) -> None:
    """Checks that there is something to augment, and that frames keep their order."""
    if not augmentation:
        return
    if not gan.discriminators:
        raise errors.InvalidValueError(
            "An augmentation, as of small_data.gin, changes what discriminators see, "
            "and this model has none: train it without."
        )
    if augmentation.reverse and gan.generator.num_conditioning_frames:
        raise errors.InvalidValueError(
            "A model that continues frames cannot have them reversed: discriminators "
            "would take given frames for new ones. Received: reverse=True of the "
            "augmentation"
        )


def _counter(name: str) -> tf.Variable:
    return tf.Variable(
        0,
        dtype=tf.int64,
        trainable=False,
        name=name,
        aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
    )
