"""DVD-GAN-FP: frame-conditional DVD-GAN for video prediction.

Clark, Donahue and Simonyan, 2019 (https://arxiv.org/abs/1907.06571): appendix B.4 and
figure 8 of the final version (paper 001), appendix A.4 of the first (paper 002). It is
in tables 3 and 4: BAIR, 1 frame to 15, and Kinetics-600, 5 frames to 11, both at 64x64
and without frame skipping.

Each conditioning frame passes through a residual network like the spatial
discriminator's, with weights shared between frames.

- **v2**: after each block the frames' features are concatenated in channels, and a 3x3
  convolution with ReLU maps them to the initial state of the recurrence of the same
  resolution. The 4x4 recurrence thus gets the features of the last block.
- **v1**: the last block's features are concatenated, and a 1x1 convolution maps them to
  the initial state of the only recurrence. The features of each block are also
  concatenated with the generator's of the same resolution, identically for each output
  frame, and a 3x3 convolution maps them back to the usual width (U-Net).

The temporal discriminator sees conditioning and generated frames. The spatial one of v2
samples only from the generated frames (`skip_frames`), that of v1 from all. Every
sample has class 0.

Where the papers are silent, ours: if two blocks have the same resolution (the last two
of the network), the later block's features are used. In the paper, v1 has 512 channels
after the 1x1 convolution; here it has the width of the recurrence, 8 ch: 1024 at ch
128.

Trainable parameters of the generator in millions, 64 pixels, ch 128, one class: v2 with
5 conditioning frames 629.44, with 1 frame 492.60; v1 with 5 frames 443.77. The
discriminators have those of DVD-GAN for one class: 153.19 and 161.46.
"""

from collections.abc import Callable, Sequence

import gin
import tensorflow as tf

from tf_dvdgan import errors, layers
from tf_dvdgan.models import dvd_gan


@gin.register(module="dvd_gan_fp")
class Generator(tf.keras.Model):
    """Predicts the frames that follow the conditioning frames.

    Args:
      resolution: height and width of the video, a power of two.
      num_frames: length of the whole video, including conditioning frames.
      num_classes: number of classes; 1 in the papers.
      latent_size: size of z.
      num_conditioning_frames: C, the number of conditioning frames.
      ch: width multiplier.
      encoder_ch: that of the frame encoder, the spatial discriminator's; None for `ch`.
      encoder_channel_multipliers: widths of the frame encoder in multiples of it;
        None for the spatial discriminator's.
      skip_connections: whether to condition as in v1; otherwise as in v2.
      generator: creates the generator that is conditioned.
      name: name of the Keras model.
    """

    def __init__(
        self,
        resolution: int,
        num_frames: int,
        num_classes: int,
        latent_size: int = 120,
        num_conditioning_frames: int = 5,
        ch: int = 128,
        encoder_ch: int | None = None,
        encoder_channel_multipliers: Sequence[int] | None = None,
        skip_connections: bool = False,
        generator: Callable[..., dvd_gan.Generator] = dvd_gan.Generator,
        name: str = "generator",
    ):
        super().__init__(name=name)
        if not 0 < num_conditioning_frames < num_frames:
            raise errors.InvalidValueError(
                f"num_conditioning_frames is from 1 to {num_frames - 1}, for "
                f"{num_frames} frames in total. Received: "
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
            resolution, encoder_ch or ch, encoder_channel_multipliers, name="encoder"
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
        """Generates the frames that follow `frames`.

        Args:
          z: `[batch, latent_size]`.
          labels: `[batch]` class ids, all 0 in the papers.
          frames: `[batch, num_conditioning_frames, height, width, 3]` in [-1, 1].
          training: whether to use batch statistics and to update the vectors of
            spectral normalization.

        Returns:
          `[batch, num_frames, height, width, 3]` float32 in [-1, 1]: `frames`, then the
          generated frames.
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
        generated = self.generator(
            z, labels, states, before_stage=before_stage, training=training
        )
        return tf.concat([tf.cast(frames, generated.dtype), generated], axis=1)

    def _stage_sizes(self) -> list[int]:
        """Returns the height and width of each stage's input."""
        return [dvd_gan.FIRST_SIZE * 2**i for i in range(len(self.generator.stages))]

    def _merger(self, stacked: Sequence[tf.Tensor], training: bool | None):
        """Returns a function that merges the frames' features into a stage's input."""

        def merge(stage: int, x: tf.Tensor) -> tf.Tensor:
            if stage == 0:  # conditioned by the initial state of the recurrence
                return x
            skip = tf.repeat(stacked[stage][:, tf.newaxis], x.shape[1], axis=1)
            joined = tf.concat([x, tf.cast(skip, x.dtype)], axis=-1)
            return self.merge[stage - 1](joined, training=training)

        return merge


class FrameEncoder(tf.keras.layers.Layer):
    """The spatial discriminator's residual network without its head.

    Args:
      resolution: height and width of the frames.
      ch: width multiplier.
      channel_multipliers: widths in multiples of `ch`; None for the paper's.
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

    def call(
        self, frames: tf.Tensor, training: bool | None = None
    ) -> dict[int, tf.Tensor]:
        """Extracts features at each resolution, from the last block that has it.

        Args:
          frames: `[batch, frames, height, width, 3]`.
          training: whether spectral normalization updates its vectors.

        Returns:
          By size, `[batch, frames, size, size, channels]`.
        """
        features, x = {}, tf.cast(frames, self.compute_dtype)
        for block in self.blocks:
            x = block(x, training=training)
            features[x.shape[2]] = x
        return features


def _stack_frames(x: tf.Tensor) -> tf.Tensor:
    """Maps `[batch, frames, h, w, channels]` to `[batch, h, w, frames * channels]`."""
    _, frames, height, width, channels = x.shape
    x = tf.transpose(x, [0, 2, 3, 1, 4])
    return tf.reshape(x, [-1, height, width, frames * channels])
