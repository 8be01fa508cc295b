"""A video GAN: a generator, discriminators, a latent distribution and losses."""

import contextlib
import inspect
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence

import gin
import numpy as np
import tensorflow as tf

from tf_dvdgan import discriminator_terms as discriminator_terms_lib
from tf_dvdgan import errors, losses
from tf_dvdgan.data import transforms, windows
from tf_dvdgan.layers import conditional_batch_norm

Conditioning = dict[str, tf.Tensor]

POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}
_policy_lock = threading.RLock()
_GENERATOR_ATTRIBUTES = (
    *("num_frames", "resolution", "num_classes"),
    "num_conditioning_frames",
)
_DISCRIMINATOR_ATTRIBUTES = ("num_uniforms", "has_batch_norm")


@gin.register(module="video_gan")
class GaussianLatent:
    """z ~ N(0, stddev^2 I), optionally with several subspaces.

    Args:
      sizes: size of each subspace.
      stddevs: standard deviation of each subspace.

    Attributes:
      sizes: as given.
      stddevs: as given.
      size: size of z.

    Raises:
      InvalidValueError: the numbers of sizes and standard deviations differ.
    """

    def __init__(
        self, sizes: Sequence[int] = (120,), stddevs: Sequence[float] = (1.0,)
    ):
        if len(sizes) != len(stddevs):
            raise errors.InvalidValueError(
                f"Each subspace needs a size and a standard deviation. Received: "
                f"sizes={sizes}, stddevs={stddevs}"
            )
        self.sizes, self.stddevs = tuple(sizes), tuple(stddevs)
        self.size = sum(sizes)
        self._stddev = [
            s for n, s in zip(sizes, stddevs, strict=True) for _ in range(n)
        ]

    def sample(self, num: int, seed: tf.Tensor) -> tf.Tensor:
        """Draws latents, a function of the seed.

        Args:
          num: number of latents.
          seed: `[2]` integers.

        Returns:
          `[num, size]` float32.
        """
        z = tf.random.stateless_normal([num, self.size], seed)
        return z * tf.constant(self._stddev, tf.float32)


class Networks(tf.Module):
    """Composes a generator, discriminators, a latent distribution and losses.

    A generator is called with (z, labels=..., training=...) and, if its
    `num_conditioning_frames` is above 0, with `frames` to start from. It returns whole
    videos, including these frames, or a dictionary of "videos" and other outputs.

    Args:
      generator: has `num_frames` (of the whole video), `resolution`, `num_classes` and
        `num_conditioning_frames`.
      discriminators: each is called with (videos, labels, uniform_noise, training=...)
        and returns a score for each video. Its `num_uniforms(num_frames)` is the number
        of uniform random numbers per video, its `has_batch_norm` whether it has batch
        normalization.
      latent: distribution of z.
      generator_loss: loss of the generator, from one discriminator's scores of
        generated videos; and of real ones if it has a parameter `real_logits`.
      discriminator_loss: loss of one discriminator, from its scores of real and of fake
        videos.
      generator_terms: terms that are added to the generator's loss.
      discriminator_terms: terms that are added to each discriminator's loss.
      discriminator_noise: standard deviation of Gaussian noise that is added to the
        discriminators' input, real and fake.
      class_conditional: whether the networks use the classes of the data.
      precision: 'float32' or 'bfloat16'.

    Attributes:
      frame_bank: `[count, frames, height, width, 3]` uint8, real frames that samples of
        a prediction model start from by default; None for other models.

    Raises:
      InvalidValueError: a network does not have what is listed here.
    """

    def __init__(
        self,
        generator: tf.keras.Model,
        discriminators: Sequence[tf.keras.Model],
        latent: GaussianLatent,
        generator_loss: Callable = losses.hinge_generator_loss,
        discriminator_loss: Callable = losses.hinge_discriminator_loss,
        generator_terms: Sequence[losses.Term] = (),
        discriminator_terms: Sequence[discriminator_terms_lib.DiscriminatorTerm] = (),
        discriminator_noise: float = 0.0,
        class_conditional: bool = True,
        precision: str = "float32",
    ):
        super().__init__(name="video_gan")
        _check_has(generator, _GENERATOR_ATTRIBUTES)
        for discriminator in discriminators:
            _check_has(discriminator, _DISCRIMINATOR_ATTRIBUTES)
        self.precision = precision
        self.generator = generator
        self.discriminators = list(discriminators)
        self.latent = latent
        self.generator_loss = generator_loss
        self.discriminator_loss = discriminator_loss
        self.generator_terms = list(generator_terms)
        self.discriminator_terms = list(discriminator_terms)
        self.discriminator_noise = discriminator_noise
        self.class_conditional = class_conditional
        self.frame_bank: np.ndarray | None = None

    @property
    def discriminator_variables(self) -> list[tf.Variable]:
        """Trainable variables of all discriminators."""
        return [v for d in self.discriminators for v in d.trainable_variables]

    def conditioning(self, labels: tf.Tensor, videos: tf.Tensor | None) -> Conditioning:
        """Returns the generator's conditioning: labels, and first frames if it has any.

        Args:
          labels: `[batch]` class numbers, or `[batch, num_classes]` class weights.
          videos: `[batch, time, height, width, 3]`, at least the conditioning frames;
            None for a generator that starts from no frames.

        Returns:
          Keyword arguments of the generator.

        Raises:
          ValueError: the generator starts from frames, and `videos` is None.
        """
        if self.generator.num_classes <= 1:
            labels = tf.zeros([tf.shape(labels)[0]], tf.int32)
        conditioning = {"labels": labels}
        num_frames = self.generator.num_conditioning_frames
        if num_frames:
            if videos is None:
                raise ValueError(
                    f"The generator starts from {num_frames} frames. Received: "
                    "videos=None"
                )
            conditioning["frames"] = videos[:, :num_frames]
        return conditioning

    def require_frame_bank(self) -> np.ndarray:
        """Returns the frame bank, `[count, frames, height, width, 3]` uint8.

        Raises:
          ValueError: there is none.
        """
        if self.frame_bank is None:
            raise ValueError("Samples of this model need a frame bank: set frame_bank.")
        return self.frame_bank

    def conditioning_from_bank(
        self, labels: tf.Tensor, first: int | tf.Tensor = 0
    ) -> Conditioning:
        """Returns the conditioning of samples, which cycle through the frame bank.

        Args:
          labels: `[batch]` class numbers, or `[batch, num_classes]` class weights.
          first: number of the first sample.

        Returns:
          Keyword arguments of the generator.
        """
        if not self.generator.num_conditioning_frames:
            return self.conditioning(labels, None)
        bank = self.require_frame_bank()
        index = (first + tf.range(tf.shape(labels)[0])) % len(bank)
        frames = tf.gather(tf.convert_to_tensor(bank), index)
        return self.conditioning(labels, transforms.to_unit_range(frames))

    def generate(
        self,
        z: tf.Tensor,
        conditioning: Conditioning,
        training: bool = False,
        statistics: conditional_batch_norm.AllStatistics | None = None,
    ) -> dict[str, tf.Tensor]:
        """Calls the generator.

        Args:
          z: `[batch, latent.size]`, truncated.
          conditioning: result of `conditioning`.
          training: whether batch normalization uses the batch's statistics.
          statistics: standing statistics, used if not training; by default those that
            the layers have accumulated.

        Returns:
          "videos" `[batch, time, height, width, 3]` in [-1, 1], and the generator's
          other outputs by name.
        """
        with contextlib.ExitStack() as stack:
            if statistics is not None:
                norms = conditional_batch_norm.layers_of(self.generator)
                stack.enter_context(
                    conditional_batch_norm.use_statistics(norms, statistics)
                )
            outputs = self.generator(z, **conditioning, training=training)
        return outputs if isinstance(outputs, dict) else {"videos": outputs}

    def build(self) -> None:
        """Creates all variables by calling the networks once, on zeros.

        Raises:
          InvalidValueError: the generator's outputs do not have the right shape, or a
            term needs others.
        """
        generator = self.generator
        size = generator.resolution
        zeros = tf.zeros([1, generator.num_frames, size, size, 3])
        conditioning = self.conditioning(tf.zeros([1], tf.int32), zeros)
        z = tf.zeros([1, self.latent.size])
        with _policy(self.precision):
            outputs = self.generate(z, conditioning)
            self._check_outputs(outputs)
            for discriminator in self.discriminators:
                discriminator(outputs["videos"], conditioning["labels"], training=False)

    def _check_outputs(self, outputs: Mapping[str, tf.Tensor]) -> None:
        """Checks what a user-defined generator returns."""
        generator, name = self.generator, type(self.generator).__name__
        size = generator.resolution
        expected = [1, generator.num_frames, size, size, 3]
        found = {key: tuple(value.shape) for key, value in outputs.items()}
        if found.get("videos") != tuple(expected):
            raise errors.InvalidValueError(
                f"{name} must return videos {expected} for one latent. Received: "
                f"{found}"
            )
        for term in self.generator_terms:
            if not set(term.needs) <= outputs.keys():
                raise errors.InvalidValueError(
                    f"The term {term.name} needs {', '.join(term.needs)} of the "
                    "generator: omit it with gin_param='video_gan.build.generator_terms"
                    f" = []'. Received: {name} with {', '.join(outputs)}"
                )


def _check_has(network: tf.keras.Model, names: Sequence[str]) -> None:
    """Checks that a user-defined network has what training needs."""
    missing = [name for name in names if not hasattr(network, name)]
    if missing:
        raise errors.InvalidValueError(
            f"{type(network).__name__} has no attribute {', '.join(missing)}, which "
            "models.video_gan.Networks describes."
        )


def _plain(loss: Callable) -> Callable:
    """Returns a loss without Gin's wrapper, as Gin's config changes after the build."""
    ours = getattr(loss, "__module__", "") == losses.__name__
    return inspect.unwrap(loss) if ours else loss


@contextlib.contextmanager
def _policy(precision: str) -> Iterator[None]:
    """Sets Keras's global policy to a precision within a context.

    Other threads that set it wait until the context ends.
    """
    with _policy_lock:
        before = tf.keras.mixed_precision.global_policy()
        tf.keras.mixed_precision.set_global_policy(POLICIES[precision])
        try:
            yield
        finally:
            tf.keras.mixed_precision.set_global_policy(before)


def build(
    class_names: Sequence[str],
    *,
    window: windows.Window,
    generator: Callable[..., tf.keras.Model],
    discriminators: Sequence[Callable[..., tf.keras.Model]],
    latent: Callable[[], GaussianLatent] = GaussianLatent,
    num_classes: int | None = None,
    precision: str = "float32",
    generator_loss: Callable = losses.hinge_generator_loss,
    discriminator_loss: Callable = losses.hinge_discriminator_loss,
    generator_terms: Sequence[Callable[[], losses.Term]] = (),
    discriminator_terms: Sequence[
        Callable[[], discriminator_terms_lib.DiscriminatorTerm]
    ] = (),
    discriminator_noise: float = 0.0,
    with_terms: bool = False,
) -> Networks:
    """Builds a GAN; `from_config` takes what a caller omits from Gin's config.

    Args:
      class_names: class names of the data.
      window: number of frames and resolution of the videos.
      generator: creates the generator from resolution, num_frames, num_classes,
        latent_size.
      discriminators: each creates a discriminator from resolution, num_classes.
      latent: creates the distribution of z.
      num_classes: None for the number of classes of the data, 0 for networks without
        classes, 1 to give every sample class 0 (paper 001, appendix B.4).
      precision: 'float32', or 'bfloat16' for compute with float32 parameters.
      generator_loss: see `Networks`.
      discriminator_loss: see `Networks`.
      generator_terms: each creates a term of the generator's loss, see `Networks`.
      discriminator_terms: each creates a term of the discriminators' losses, see
        `Networks`.
      discriminator_noise: see `Networks`.
      with_terms: whether to create the terms, which only training needs.

    Returns:
      The GAN, without variables yet.

    Raises:
      InvalidValueError: an argument is invalid.
    """
    if precision not in POLICIES:
        raise errors.InvalidValueError(
            f"precision must be one of {[*POLICIES]}. Received: {precision!r}"
        )
    for name, value in (
        ("discriminators", discriminators),
        ("generator_terms", generator_terms),
        ("discriminator_terms", discriminator_terms),
    ):
        if not isinstance(value, (list, tuple)):
            raise errors.InvalidValueError(
                f"{name} must be a list, as in [@A, @B]. Received: {value}"
            )
        for make in value:
            errors.check_creates(name, make)
    errors.check_creates("generator", generator)
    if num_classes not in (None, 0, 1):
        raise errors.InvalidValueError(
            f"num_classes must be None, 0 or 1. Received: {num_classes!r}"
        )
    class_conditional = num_classes is None
    if num_classes is None:
        num_classes = len(class_names)
    sizes = {"resolution": window.resolution, "num_classes": num_classes}
    distribution = latent()
    frames = {"num_frames": window.num_frames, "latent_size": distribution.size}
    with _policy(precision):
        return Networks(
            generator(**frames, **sizes),
            [discriminator(**sizes) for discriminator in discriminators],
            distribution,
            _plain(generator_loss),
            _plain(discriminator_loss),
            [make() for make in generator_terms] if with_terms else [],
            [make() for make in discriminator_terms] if with_terms else [],
            discriminator_noise,
            class_conditional,
            precision,
        )


from_config = gin.configurable("build", module="video_gan")(build)
