"""A video GAN as its parts: a generator, discriminators, a latent distribution."""

from collections.abc import Callable, Sequence

import tensorflow as tf

import gin
from tf_dvdgan import losses
from tf_dvdgan.data import readers


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
            raise ValueError(
                f"Each subspace has a size and a standard deviation. Received: "
                f"sizes={sizes}, stddevs={stddevs}"
            )
        self.size = sum(sizes)
        self._stddev = [
            s for n, s in zip(sizes, stddevs, strict=True) for _ in range(n)
        ]

    def sample(self, num: int, seed: tf.Tensor) -> tf.Tensor:
        """Draws `[num, size]` float32, a function of `seed` (`[2]` integers) alone."""
        z = tf.random.stateless_normal([num, self.size], seed)
        return z * tf.constant(self._stddev, tf.float32)


class VideoGAN(tf.Module):
    """Composes a generator and the discriminators that judge it.

    Args:
      generator: called with (z, labels, training=...), gives videos.
      discriminators: each called with (videos, labels, draws, training=...), gives a
        score for each video.
      latent: distribution of z.
      generator_loss: of the generator, from one discriminator's scores.
      discriminator_loss: of one discriminator, from its scores of real and fake videos.
    """

    def __init__(
        self,
        generator: tf.keras.Model,
        discriminators: Sequence[tf.keras.Model],
        latent: GaussianLatent,
        generator_loss: Callable = losses.hinge_generator_loss,
        discriminator_loss: Callable = losses.hinge_discriminator_loss,
    ):
        super().__init__(name="video_gan")
        self.generator = generator
        self.discriminators = list(discriminators)
        self.latent = latent
        self.generator_loss = generator_loss
        self.discriminator_loss = discriminator_loss

    @property
    def discriminator_variables(self) -> list[tf.Variable]:
        """Trainable variables of all discriminators."""
        return [v for d in self.discriminators for v in d.trainable_variables]

    def build(self) -> None:
        """Makes all variables, by one call on a video of zeros."""
        z = tf.zeros([1, self.latent.size])
        labels = tf.zeros([1], tf.int32)
        videos = self.generator(z, labels, training=False)
        for discriminator in self.discriminators:
            discriminator(videos, labels, training=False)


@gin.configurable(module="video_gan")
def build(
    class_names: Sequence[str],
    window: readers.Window = gin.REQUIRED,
    generator: Callable[..., tf.keras.Model] = gin.REQUIRED,
    discriminators: Sequence[Callable[..., tf.keras.Model]] = gin.REQUIRED,
    latent: Callable[[], GaussianLatent] = GaussianLatent,
    class_conditional: bool = True,
    precision: str = "float32",
    generator_loss: Callable = losses.hinge_generator_loss,
    discriminator_loss: Callable = losses.hinge_discriminator_loss,
) -> VideoGAN:
    """Puts a GAN together as the config says.

    Args:
      class_names: of the data.
      window: what the videos are: frames and pixels.
      generator: makes it from resolution, num_frames, num_classes.
      discriminators: each makes one from resolution, num_classes.
      latent: makes the distribution of z.
      class_conditional: whether the networks see classes at all.
      precision: 'float32', or 'bfloat16' for compute with float32 parameters.
      generator_loss: see `VideoGAN`.
      discriminator_loss: see `VideoGAN`.

    Returns:
      The GAN, without its variables yet.

    Raises:
      ValueError: the precision is neither of the two.
    """
    policies = {"float32": "float32", "bfloat16": "mixed_bfloat16"}
    if precision not in policies:
        raise ValueError(f"precision is one of {[*policies]}. Received: {precision!r}")
    tf.keras.mixed_precision.set_global_policy(policies[precision])
    num_classes = len(class_names) if class_conditional else 0
    sizes = {"resolution": window.resolution, "num_classes": num_classes}
    distribution = latent()
    return VideoGAN(
        generator(num_frames=window.num_frames, latent_size=distribution.size, **sizes),
        [discriminator(**sizes) for discriminator in discriminators],
        distribution,
        generator_loss,
        discriminator_loss,
    )
