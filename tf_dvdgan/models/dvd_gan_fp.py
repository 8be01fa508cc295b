"""DVD-GAN-FP: DVD-GAN that continues given frames.

Clark, Donahue and Simonyan, 2019 (https://arxiv.org/abs/1907.06571): appendix B.4 and
figure 8 of the final version (paper 001), appendix A.4 of the first (paper 002). Its
rows are tables 3 and 4: BAIR, 1 frame to 15, and Kinetics-600, 5 frames to 11, both at
64x64 and without frame skipping.

Each conditioning frame passes through one residual network like the spatial
discriminator's, its weights shared between the frames.

- **v2**: after each of its blocks the frames' features are concatenated in channels,
  and a 3x3 convolution with ReLU makes of them the state that the recurrence of the
  same size starts from. The smallest features, through most blocks, go in first.
- **v1**: the last block's features are concatenated, and a 1x1 convolution makes the
  only recurrence's first state; the features of each block join the generator's of the
  same size, for each output frame the same, and a 3x3 convolution brings them back to
  the usual width (U-Net).

The temporal discriminator sees conditioning frames and what follows; the spatial one of
v2 draws its frames from what follows alone (`skip_frames`), that of v1 from all. Every
sample has class 0.

Where the papers are silent, ours: where two blocks have features of one size (the last
two of the network), the later one's are taken. The paper's v1 has 512 channels behind
its 1x1 convolution; here they are as many as the recurrence has, 8 ch: 1024 at ch 128.

Trainable parameters of the generator in millions, 64 pixels, ch 128, one class: v2 with
5 conditioning frames 629.44, with 1 frame 492.60; v1 with 5 frames 443.77. Those of the
discriminators are DVD-GAN's for one class: 153.19 and 161.46.
"""

from collections.abc import Callable, Sequence

import gin
import tensorflow as tf

from tf_dvdgan import errors, layers
from tf_dvdgan.models import dvd_gan


@gin.register(module="dvd_gan_fp")
class Generator(tf.keras.Model):
    """Continues conditioning frames; gives them and what follows as one video.

    Args:
      resolution: height and width, a power of two.
      num_frames: length of the whole video, conditioning frames and what follows.
      num_classes: 1 in the papers.
      latent_size: size of z.
      num_conditioning_frames: C, how many frames are given.
      ch: width multiplier.
      encoder_channel_multipliers: widths of the frames' network in multiples of `ch`;
        by default the spatial discriminator's.
      skip_connections: v1's way to condition; otherwise v2's.
      generator: makes the generator that is conditioned.
    """

    def __init__(
        self,
        resolution: int,
        num_frames: int,
        num_classes: int,
        latent_size: int = 120,
        num_conditioning_frames: int = 5,
        ch: int = 128,
        encoder_channel_multipliers: Sequence[int] | None = None,
        skip_connections: bool = False,
        generator: Callable[..., dvd_gan.Generator] = dvd_gan.Generator,
        name: str = "generator",
    ):
        super().__init__(name=name)
        if not 0 < num_conditioning_frames < num_frames:
            raise errors.InvalidValueError(
                f"Of {num_frames} frames some are given and some generated. Received: "
                f"num_conditioning_frames={num_conditioning_frames}"
            )
        self.resolution = resolution
        self.num_frames = num_frames
        self.num_classes = num_classes
        self.num_conditioning_frames = num_conditioning_frames
        self.skip_connections = skip_connections
        self.generator = generator(
            resolution=resolution,
            num_frames=num_frames - num_conditioning_frames,
            num_classes=num_classes,
            latent_size=latent_size,
            ch=ch,
            name="conditioned",
        )
        self.encoder = FrameEncoder(
            resolution, ch, encoder_channel_multipliers, name="encoder"
        )
        widths = self.generator.widths[:-1]  # of each stage's input and recurrence
        self.to_state = [
            layers.SpectralConv2D(
                width, 1 if skip_connections else 3, name=f"state_{i}"
            )
            for i, width in enumerate(widths[:1] if skip_connections else widths)
        ]
        self.merge = [
            layers.SpectralConv2D(width, 3, name=f"merge_{i}")
            for i, width in enumerate(widths)
            if skip_connections and i > 0
        ]

    def call(
        self,
        z: tf.Tensor,
        labels: tf.Tensor,
        frames: tf.Tensor,
        training: bool | None = None,
    ) -> tf.Tensor:
        """Generates what follows.

        Args:
          z: `[batch, latent_size]`.
          labels: `[batch]`, all 0.
          frames: `[batch, num_conditioning_frames, height, width, 3]` in [-1, 1].
          training: whether batch statistics are used and spectral norm's vectors
            move.

        Returns:
          `[batch, num_frames, height, width, 3]` float32 in [-1, 1]; it begins with
          `frames`.
        """
        features = self.encoder(frames, training=training)
        stacked = [_stack_frames(features[size]) for size in self._stage_sizes()]
        if self.skip_connections:
            state = self.to_state[0](stacked[0], training=training)
            states = [state] + [None] * (len(stacked) - 1)
            before_stage = self._merger(stacked, training)
        else:
            states = [
                tf.nn.relu(convolution(x, training=training))
                for convolution, x in zip(self.to_state, stacked, strict=True)
            ]
            before_stage = None
        following = self.generator(
            z, labels, states, before_stage=before_stage, training=training
        )
        return tf.concat([tf.cast(frames, following.dtype), following], axis=1)

    def _stage_sizes(self) -> list[int]:
        """Height and width of each stage's input."""
        return [dvd_gan.FIRST_SIZE * 2**i for i in range(len(self.generator.stages))]

    def _merger(self, stacked: Sequence[tf.Tensor], training: bool | None):
        """Joins the frames' features to a stage's input, and brings back its width."""

        def merge(stage: int, x: tf.Tensor) -> tf.Tensor:
            if stage == 0:  # conditioned by the recurrence's first state
                return x
            given = tf.repeat(stacked[stage][:, tf.newaxis], x.shape[1], axis=1)
            joined = tf.concat([x, tf.cast(given, x.dtype)], axis=-1)
            return self.merge[stage - 1](joined, training=training)

        return merge


class FrameEncoder(tf.keras.layers.Layer):
    """The spatial discriminator's residual network without its head.

    Args:
      resolution: height and width of the frames.
      ch: width multiplier.
      channel_multipliers: widths in multiples of `ch`; by default the paper's.
    """

    def __init__(
        self,
        resolution: int,
        ch: int,
        channel_multipliers: Sequence[int] | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        widths = dvd_gan.widths_for(
            dvd_gan.DISCRIMINATOR_WIDTHS, resolution, ch, channel_multipliers
        )
        self.blocks = dvd_gan.residual_blocks(widths)

    def call(self, frames: tf.Tensor, training: bool | None = None):
        """Features of each size, the deepest where several have it.

        Args:
          frames: `[batch, frames, height, width, 3]`.
          training: whether spectral norm's vectors move.

        Returns:
          For each size `[batch, frames, size, size, channels]`.
        """
        features, x = {}, tf.cast(frames, self.compute_dtype)
        for block in self.blocks:
            x = block(x, training=training)
            features[x.shape[2]] = x
        return features


def _stack_frames(x: tf.Tensor) -> tf.Tensor:
    """`[batch, frames, h, w, channels]` to `[batch, h, w, frames * channels]`."""
    _, frames, height, width, channels = x.shape
    x = tf.transpose(x, [0, 2, 3, 1, 4])
    return tf.reshape(x, [-1, height, width, frames * channels])
