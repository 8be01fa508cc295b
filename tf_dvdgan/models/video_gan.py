"""A video GAN as its parts: a generator, discriminators, a latent distribution."""

import contextlib
import inspect
from collections.abc import Callable, Iterator, Sequence

import gin
import numpy as np
import tensorflow as tf

from tf_dvdgan import errors, losses
from tf_dvdgan.data import transforms, windows
from tf_dvdgan.layers import conditional_batch_norm

Conditioning = dict[str, tf.Tensor]

_POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}


@gin.register(module="video_gan")
class GaussianLatent:
    """z ~ N(0, stddev^2 I), perhaps of several subspaces with their own deviations.

    Args:
      sizes: size of z, or of each subspace.
      stddevs: standard deviation of each.
    """

    def __init__(
        self, sizes: Sequence[int] = (120,), stddevs: Sequence[float] = (1.0,)
    ):
        if len(sizes) != len(stddevs):
            raise errors.InvalidValueError(
                f"Each subspace has a size and a standard deviation. Received: "
                f"sizes={sizes}, stddevs={stddevs}"
            )
        self.sizes, self.stddevs = tuple(sizes), tuple(stddevs)
        self.size = sum(sizes)
        self._stddev = [
            s for n, s in zip(sizes, stddevs, strict=True) for _ in range(n)
        ]

    def sample(self, num: int, seed: tf.Tensor) -> tf.Tensor:
        """Draws `[num, size]` float32, a function of `seed` (`[2]` integers) alone."""
        z = tf.random.stateless_normal([num, self.size], seed)
        return z * tf.constant(self._stddev, tf.float32)


class Networks(tf.Module):
    """Composes a generator and the discriminators that judge it.

    A generator is called with (z, labels=..., training=...) and, if it has
    `num_conditioning_frames`, with the frames that it starts from as `frames`. It gives
    whole videos, with those frames, or a dictionary of "videos" and parts of them.

    Args:
      generator: has `num_frames` (of the whole video), `num_classes` and
        `num_conditioning_frames`.
      discriminators: each called with (videos, labels, uniform_noise, training=...),
        gives a score for each video; has `num_uniforms(num_frames)`, how many random
        numbers a video wants, and says whether it `has_batch_norm`.
      latent: distribution of z.
      generator_loss: of the generator, from one discriminator's scores.
      discriminator_loss: of one discriminator, from its scores of real and fake videos.
      generator_terms: added to the generator's loss; each has a `name` and is called
        with (generator, outputs, real videos, labels).
      discriminator_noise: standard deviation of Gaussian noise on what discriminators
        see, real and fake.
      class_conditional: whether the data's classes are looked at.
      precision: of the networks, 'float32' or 'bfloat16'.

    Attributes:
      frame_bank: `[count, frames, height, width, 3]` uint8, real frames that samples
        start from where nobody gives others; None if they start from none.
    """

    def __init__(
        self,
        generator: tf.keras.Model,
        discriminators: Sequence[tf.keras.Model],
        latent: GaussianLatent,
        generator_loss: Callable = losses.hinge_generator_loss,
        discriminator_loss: Callable = losses.hinge_discriminator_loss,
        generator_terms: Sequence[Callable] = (),
        discriminator_noise: float = 0.0,
        class_conditional: bool = True,
        precision: str = "float32",
    ):
        super().__init__(name="video_gan")
        self.precision = precision
        self.generator = generator
        self.discriminators = list(discriminators)
        self.latent = latent
        self.generator_loss = generator_loss
        self.discriminator_loss = discriminator_loss
        self.generator_terms = list(generator_terms)
        self.discriminator_noise = discriminator_noise
        self.class_conditional = class_conditional
        self.frame_bank: np.ndarray | None = None

    @property
    def discriminator_variables(self) -> list[tf.Variable]:
        """Trainable variables of all discriminators."""
        return [v for d in self.discriminators for v in d.trainable_variables]

    def conditioning(self, labels: tf.Tensor, videos: tf.Tensor | None) -> Conditioning:
        """What the generator is told: classes, and the first frames if it wants them.

        Args:
          labels: `[batch]` class numbers, or `[batch, num_classes]` weights of classes.
          videos: `[batch, time, height, width, 3]`, at least the frames it starts from;
            None for a generator that starts from none.
        """
        if self.generator.num_classes <= 1:
            labels = tf.zeros([tf.shape(labels)[0]], tf.int32)
        given = {"labels": labels}
        if self.generator.num_conditioning_frames:
            given["frames"] = videos[:, : self.generator.num_conditioning_frames]
        return given

    def conditioning_from_bank(
        self, labels: tf.Tensor, first: int | tf.Tensor = 0
    ) -> Conditioning:
        """Conditioning for samples, their frames in turn from the bank.

        Args:
          labels: as for `conditioning`.
          first: number of the first sample.
        """
        if not self.generator.num_conditioning_frames:
            return self.conditioning(labels, None)
        index = (first + tf.range(tf.shape(labels)[0])) % len(self.frame_bank)
        frames = tf.gather(tf.convert_to_tensor(self.frame_bank), index)
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
          z: `[batch, latent.size]`.
          conditioning: of `conditioning`.
          training: whether batch normalization uses the batch's statistics.
          statistics: standing ones, used if not training; by default those that the
            layers have accumulated.

        Returns:
          "videos" `[batch, time, height, width, 3]` in [-1, 1], and the generator's
          parts by name.
        """
        given = contextlib.nullcontext()
        if statistics is not None:
            norms = conditional_batch_norm.layers_of(self.generator)
            given = conditional_batch_norm.use_statistics(norms, statistics)
        with given:
            outputs = self.generator(z, **conditioning, training=training)
        return outputs if isinstance(outputs, dict) else {"videos": outputs}

    def build(self) -> None:
        """Makes all variables, by one call on a video of zeros."""
        generator = self.generator
        size = generator.resolution
        zeros = tf.zeros([1, generator.num_frames, size, size, 3])
        conditioning = self.conditioning(tf.zeros([1], tf.int32), zeros)
        z = tf.zeros([1, self.latent.size])
        with _policy(self.precision):
            videos = self.generate(z, conditioning)["videos"]
            for discriminator in self.discriminators:
                discriminator(videos, conditioning["labels"], training=False)


def _plain(loss: Callable) -> Callable:
    """A loss without Gin around it: it is called when no config is in use any more."""
    ours = getattr(loss, "__module__", "") == losses.__name__
    return inspect.unwrap(loss) if ours else loss


@contextlib.contextmanager
def _policy(precision: str) -> Iterator[None]:
    """Inside, Keras makes layers of a precision; after it, as it did before."""
    before = tf.keras.mixed_precision.global_policy()
    tf.keras.mixed_precision.set_global_policy(_POLICIES[precision])
    try:
        yield
    finally:
        tf.keras.mixed_precision.set_global_policy(before)


@gin.configurable(module="video_gan")
def build(
    class_names: Sequence[str],
    window: windows.Window = gin.REQUIRED,
    generator: Callable[..., tf.keras.Model] = gin.REQUIRED,
    discriminators: Sequence[Callable[..., tf.keras.Model]] = gin.REQUIRED,
    latent: Callable[[], GaussianLatent] = GaussianLatent,
    num_classes: int | None = None,
    precision: str = "float32",
    generator_loss: Callable = losses.hinge_generator_loss,
    discriminator_loss: Callable = losses.hinge_discriminator_loss,
    generator_terms: Sequence[Callable[[], Callable]] = (),
    discriminator_noise: float = 0.0,
    with_terms: bool = False,
) -> Networks:
    """Puts a GAN together as the config says.

    Args:
      class_names: of the data.
      window: what the videos are: frames and pixels.
      generator: makes it from resolution, num_frames, num_classes, latent_size.
      discriminators: each makes one from resolution, num_classes.
      latent: makes the distribution of z.
      num_classes: None takes the data's, 0 makes networks without classes, 1 gives
        every sample class 0 (paper 001, appendix B.4).
      precision: 'float32', or 'bfloat16' for compute with float32 parameters.
      generator_loss: see `Networks`, as for what follows.
      discriminator_loss: see there.
      generator_terms: make those of `Networks`.
      discriminator_noise: see there.
      with_terms: whether the generator's terms are made: training wants them.

    Returns:
      The GAN, without its variables yet.

    Raises:
      InvalidValueError: the precision or the number of classes is none of those.
    """
    if precision not in _POLICIES:
        raise errors.InvalidValueError(
            f"precision is one of {[*_POLICIES]}. Received: {precision!r}"
        )
    if not isinstance(discriminators, (list, tuple)):
        raise errors.InvalidValueError(
            f"discriminators is a list, as in [@D]. Received: {discriminators}"
        )
    if num_classes not in (None, 0, 1):
        raise errors.InvalidValueError(
            f"num_classes is None, 0 or 1. Received: {num_classes!r}"
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
            discriminator_noise,
            class_conditional,
            precision,
        )
