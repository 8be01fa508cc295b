"""DVD-GAN: adversarial video generation on complex datasets.

Clark, Donahue and Simonyan, 2019 (https://arxiv.org/abs/1907.06571). The defaults are
the final version, v2 (section 3, appendix B.2, figure 7). The first version, v1, uses
the same classes with other settings: see `gin/models/`.

Widths in multiples of `ch`:

| pixels | generator           | discriminators       | ch  |
|--------|---------------------|----------------------|-----|
| 64     | 8, 8, 8, 4, 2       | 2, 4, 8, 16, 16      | 128 |
| 128    | 8, 8, 8, 4, 2, 1    | 1, 2, 4, 8, 16, 16   | 96  |
| 256    | 8, 8, 8, 8, 4, 2, 1 | 1, 2, 4, 8, 8, 16, 16| 96  |

The paper gives no widths for 256 pixels: these follow BigGAN's at 256. The widths for
32 and 16 pixels are ours, for small machines.

Trainable parameters in millions, 600 classes (generator, spatial, temporal
discriminator): 64 pixels, ch 128: 305.28, 154.41, 162.68; 128 pixels, ch 96: 176.96,
87.36, 88.52. The number of frames does not change them.

Where the paper is silent:

- From BigGAN's code: epsilon 1e-4 of spectral normalization and the layers it covers
  (not the generator's class embedding, and no biases); the head is ReLU, sum over
  space, linear plus projection; a 1x1 shortcut only if a block changes channels or
  size; no leading ReLU in a discriminator's first block; no pooling in its last block;
  epsilon 1e-4 of batch norm; epsilon 1e-6 of Adam.
- From the authors' later code for DGMR: 3-D blocks pool 2x2x2.
- Ours: of an odd number of frames the last one is not pooled in time; scores are summed
  before the hinge, over frames, or over the temporal discriminator's remaining time
  steps.

The settings required to reproduce the results are in `gin/models/dvdgan_v2.gin`: hinge
loss, two discriminator updates per generator update, Adam(0, 0.999) at 1e-4 and 5e-4,
batch 512, moving average of the weights 0.9999 from step 20,000.
"""

from collections.abc import Callable, Mapping, Sequence

import gin
import tensorflow as tf

from tf_dvdgan import errors, layers, ops
from tf_dvdgan.layers import gradient_checkpointing as checkpointing

GENERATOR_WIDTHS = {
    16: (8, 4, 2),
    32: (8, 8, 4, 2),
    64: (8, 8, 8, 4, 2),
    128: (8, 8, 8, 4, 2, 1),
    256: (8, 8, 8, 8, 4, 2, 1),
}
DISCRIMINATOR_WIDTHS = {
    16: (8, 16, 16),
    32: (4, 8, 16, 16),
    64: (2, 4, 8, 16, 16),
    128: (1, 2, 4, 8, 16, 16),
    256: (1, 2, 4, 8, 8, 16, 16),
}
FIRST_SIZE = 4  # height and width of the generator's first tensor
_NUM_3D_BLOCKS = 2

LayerFactory = Callable[..., tf.keras.layers.Layer]


def widths_for(
    table: Mapping[int, Sequence[int]],
    resolution: int,
    ch: int,
    multipliers: Sequence[int] | None,
) -> list[int]:
    """Computes a network's widths at a resolution.

    Args:
      table: widths in multiples of `ch`, by resolution.
      resolution: height and width of the videos.
      ch: width multiplier.
      multipliers: widths in multiples of `ch`, instead of the table's.

    Returns:
      Widths in channels.

    Raises:
      InvalidValueError: the table lacks the resolution.
    """
    if multipliers is not None:
        return [multiplier * ch for multiplier in multipliers]
    if resolution not in table:
        raise errors.InvalidValueError(
            f"There are widths for {sorted(table)} pixels; set channel_multipliers "
            f"for others. Received: resolution={resolution}"
        )
    return [multiplier * ch for multiplier in table[resolution]]


@gin.register(module="dvd_gan")
class Generator(tf.keras.Model):
    """Maps a latent and a class to a video (paper 001, appendix B.2).

    An affine map of [z; e(y)] gives a 4x4 tensor, the input of every time step. Each
    stage is an optional recurrence over time, optional attention, a residual block that
    keeps the size, and one that doubles it. Batch norm, ReLU, a 3x3 convolution and
    tanh follow the last stage. v1 also has attention between the two blocks of the last
    stage, before the final residual block (paper 002, appendix A.2).

    Args:
      resolution: height and width of the video, a power of two.
      num_frames: length of the video.
      num_classes: number of classes; 0 for an unconditional generator.
      ch: width multiplier.
      channel_multipliers: widths in multiples of `ch`, of the first tensor and then of
        each stage's output; None for the paper's at `resolution`.
      latent_size: size of z.
      embedding_size: size of e(y).
      recurrence: creates the recurrent layer of a stage.
      recurrent_stages: numbers of the stages with a recurrence; None for all.
      attention: by number of the stage, a factory of the attention layer before its
        blocks.
      last_attention: creates the attention layer before the final residual block; None
        for no such layer.
      block: creates the residual blocks.
      normalization: creates the residual blocks' normalization layers.
      last_normalization: creates the normalization layer before the last convolution.
      gradient_checkpointing: stages that use it, by number; True for all. It saves
        memory, takes more time, and does not change the gradient.
      name: name of the Keras model.
    """

    num_conditioning_frames = 0

    def __init__(
        self,
        resolution: int,
        num_frames: int,
        num_classes: int,
        ch: int = 128,
        channel_multipliers: Sequence[int] | None = None,
        latent_size: int = 120,
        embedding_size: int = 120,
        recurrence: LayerFactory = layers.ConvGRU,
        recurrent_stages: Sequence[int] | None = None,
        attention: Mapping[int, LayerFactory] | None = None,
        last_attention: LayerFactory | None = None,
        block: LayerFactory = layers.GeneratorBlock,
        normalization: LayerFactory = layers.ConditionalBatchNorm,
        last_normalization: LayerFactory = layers.BatchNorm,
        gradient_checkpointing: bool | Sequence[int] = False,
        name: str = "generator",
    ):
        super().__init__(name=name)
        self.resolution = resolution
        self.num_frames = num_frames
        self.num_classes = num_classes
        self.latent_size = latent_size
        self.widths = widths_for(GENERATOR_WIDTHS, resolution, ch, channel_multipliers)
        num_stages = len(self.widths) - 1
        if FIRST_SIZE * 2**num_stages != resolution:
            raise errors.InvalidValueError(
                f"{num_stages} stages double {FIRST_SIZE} pixels to "
                f"{FIRST_SIZE * 2**num_stages}. Received: resolution={resolution}"
            )
        self.embedding = None
        if num_classes:
            self.embedding = layers.SpectralEmbedding(
                num_classes,
                embedding_size,
                spectral_normalization=False,
                name="embedding",
            )
        first_values = FIRST_SIZE**2 * self.widths[0]
        self.first = layers.SpectralDense(first_values, name="first")
        self.stages = []
        for i, (width, next_width) in enumerate(
            zip(self.widths[:-1], self.widths[1:], strict=True)
        ):
            recurrent = recurrent_stages is None or i in recurrent_stages
            first = (attention or {}).get(i)
            last = last_attention if i == num_stages - 1 else None
            self.stages.append(
                _Stage(
                    recurrence(name=f"stage_{i}_recurrence") if recurrent else None,
                    first(name=f"stage_{i}_attention") if first else None,
                    block(width, False, normalization, name=f"stage_{i}_block_1"),
                    last(name=f"stage_{i}_last_attention") if last else None,
                    block(next_width, True, normalization, name=f"stage_{i}_block_2"),
                    checkpointing.maybe_checkpoint(gradient_checkpointing, i),
                    name=f"stage_{i}",
                )
            )
        self.last_norm = last_normalization(name="last_norm")
        self.last = layers.SpectralConv2D(3, name="last")

    def call(
        self,
        z: tf.Tensor,
        labels: tf.Tensor | None = None,
        initial_states: Sequence[tf.Tensor | None] | None = None,
        before_stage: Callable[[int, tf.Tensor], tf.Tensor] | None = None,
        training: bool | None = None,
    ) -> tf.Tensor:
        """Generates videos.

        Args:
          z: `[batch, latent_size]`.
          labels: `[batch]` class ids, or `[batch, num_classes]` class weights; ignored
            by an unconditional generator.
          initial_states: for each stage the initial state of its recurrence, or None
            for zeros.
          before_stage: maps a stage's number and input to the input that it uses.
          training: whether to use batch statistics (otherwise standing statistics) and
            to update the vectors of spectral normalization.

        Returns:
          `[batch, time, height, width, 3]` float32 in [-1, 1].
        """
        condition = z
        if self.embedding is not None:
            embedded = self.embedding(labels, training=training)
            condition = tf.concat([tf.cast(z, embedded.dtype), embedded], axis=-1)
        x = self.first(condition, training=training)
        x = tf.reshape(x, [-1, 1, FIRST_SIZE, FIRST_SIZE, self.widths[0]])
        initial_states = initial_states or [None] * len(self.stages)
        for i, (stage, state) in enumerate(
            zip(self.stages, initial_states, strict=True)
        ):
            if before_stage is not None:
                x = before_stage(i, x)
            x = stage(x, condition, state, self.num_frames, training=training)
        x = tf.nn.relu(self.last_norm(x, training=training))
        return tf.tanh(tf.cast(self.last(x, training=training), tf.float32))


class _Stage(tf.keras.layers.Layer):
    """One stage of the generator: recurrence, attention, block, attention, block."""

    def __init__(
        self, recurrence, attention, block_1, last_attention, block_2, run, **kwargs
    ):
        super().__init__(**kwargs)
        self.recurrence = recurrence
        self.attention = attention
        self.block_1 = block_1
        self.last_attention = last_attention
        self.block_2 = block_2
        self.run = run

    def call(self, x, condition, initial_state, num_frames, training=None):
        run = self.run
        if self.recurrence is not None:
            x = run(self.recurrence, x, initial_state, num_frames, training=training)
        elif x.shape[1] == 1 and num_frames > 1:
            x = tf.repeat(x, num_frames, axis=1)
        if self.attention is not None:
            x = run(self.attention, x, training=training)
        x = run(self.block_1, x, condition, training=training)
        if self.last_attention is not None:
            x = run(self.last_attention, x, training=training)
        return run(self.block_2, x, condition, training=training)


def residual_blocks(
    widths: Sequence[int],
    num_3d_blocks: int = 0,
    pool_time: bool = True,
    block: LayerFactory = layers.DiscriminatorBlock,
) -> list[tf.keras.layers.Layer]:
    """Creates a discriminator's residual blocks.

    The first block has no leading ReLU, and the last one does not pool.

    Args:
      widths: output channels of each block.
      num_3d_blocks: number of blocks, from the first, that are 3-D.
      pool_time: whether the 3-D blocks also halve time.
      block: creates a block.

    Returns:
      The blocks in order.
    """
    return [
        block(
            width,
            downsample=i < len(widths) - 1,
            leading_relu=i > 0,
            three_d=i < num_3d_blocks,
            pool_time=pool_time,
            name=f"block_{i}",
        )
        for i, width in enumerate(widths)
    ]


class _Discriminator(tf.keras.Model):
    """Base class of both discriminators: residual blocks and a projection head."""

    has_batch_norm = False

    def __init__(
        self,
        resolution: int,
        num_classes: int,
        ch: int,
        channel_multipliers: Sequence[int] | None,
        num_3d_blocks: int,
        pool_time: bool,
        gradient_checkpointing: bool | Sequence[int],
        block: LayerFactory,
        name: str,
        attention: Mapping[int, LayerFactory] | None = None,
    ):
        super().__init__(name=name)
        self.gradient_checkpointing = gradient_checkpointing
        self.attention = {
            str(i): make(name=f"attention_{i}") for i, make in (attention or {}).items()
        }
        widths = widths_for(DISCRIMINATOR_WIDTHS, resolution, ch, channel_multipliers)
        self.blocks = residual_blocks(widths, num_3d_blocks, pool_time, block)
        self.head = ProjectionHead(num_classes, name="head")

    def scores(
        self, x: tf.Tensor, labels: tf.Tensor | None, training: bool | None
    ) -> tf.Tensor:
        """Returns the score of each frame or remaining time step: `[batch, time]`."""
        for i, block in enumerate(self.blocks):
            run = checkpointing.maybe_checkpoint(self.gradient_checkpointing, i)
            x = run(block, x, training=training)
            if str(i) in self.attention:
                x = run(self.attention[str(i)], x, training=training)
        return self.head(x, labels, training=training)


@gin.register(module="dvd_gan")
class SpatialDiscriminator(_Discriminator):
    """D_S: scores `num_frames` full-resolution frames of each video, one by one.

    Frames are sampled independently for each video, without replacement; a video's
    score is the sum over its frames (paper 001, section 3.1 and appendix B.2).

    Args:
      resolution: height and width of the video.
      num_classes: number of classes; 0 for none.
      ch: width multiplier.
      channel_multipliers: widths in multiples of `ch`; None for the paper's.
      num_frames: k, the number of frames to score in each video.
      skip_frames: number of first frames that are never sampled.
      gradient_checkpointing: blocks that use it, by number; True for all.
      attention: by number of the block, a factory of the attention layer after it.
        DVD-GAN has none; BigGAN's discriminator has one at 64 pixels.
      sum_frames: whether to sum a video's scores over frames, as in DVD-GAN; otherwise
        the loss applies to each frame and is averaged.
      block: creates the residual blocks.
      name: name of the Keras model, also used in metrics and checkpoints.
    """

    def __init__(
        self,
        resolution: int,
        num_classes: int,
        ch: int = 128,
        channel_multipliers: Sequence[int] | None = None,
        num_frames: int = 8,
        skip_frames: int = 0,
        gradient_checkpointing: bool | Sequence[int] = False,
        attention: Mapping[int, LayerFactory] | None = None,
        sum_frames: bool = True,
        block: LayerFactory = layers.DiscriminatorBlock,
        name: str = "spatial_discriminator",
    ):
        super().__init__(
            resolution,
            num_classes,
            ch,
            channel_multipliers,
            0,
            False,
            gradient_checkpointing,
            block,
            name,
            attention,
        )
        self.sum_frames = sum_frames
        self.num_frames = num_frames
        self.skip_frames = skip_frames

    def num_uniforms(self, num_frames: int) -> int:
        """Returns how many random numbers a video of `num_frames` frames needs."""
        return num_frames - self.skip_frames

    def call(
        self,
        videos: tf.Tensor,
        labels: tf.Tensor | None = None,
        uniform_noise: tf.Tensor | None = None,
        training: bool | None = None,
    ) -> tf.Tensor:
        """Scores videos.

        Args:
          videos: `[batch, time, height, width, 3]`.
          labels: `[batch]` class ids, or `[batch, num_classes]` class weights.
          uniform_noise: `[batch, num_uniforms(time)]` uniform noise in [0, 1) that
            selects the frames; None takes the first ones.
          training: whether spectral normalization updates its vectors.

        Returns:
          `[batch]` float32, or `[batch, num_frames]` without `sum_frames`.

        Raises:
          InvalidValueError: the videos have too few frames.
        """
        videos = videos[:, self.skip_frames :]
        if videos.shape[1] < self.num_frames:
            raise errors.InvalidValueError(
                f"{self.name} scores {self.num_frames} frames of each video. "
                f"Received: videos with {videos.shape[1]} frames to sample from"
            )
        if uniform_noise is None:
            frames = videos[:, : self.num_frames]
        else:
            frames = ops.sample_frames(videos, uniform_noise, self.num_frames)
        scores = self.scores(frames, labels, training)
        return tf.reduce_sum(scores, axis=1) if self.sum_frames else scores


@gin.register(module="dvd_gan")
class TemporalDiscriminator(_Discriminator):
    """D_T: scores the motion of the whole video at a reduced resolution.

    Applies a downsampling phi (section 3.1, figure 6), then residual blocks, the first
    two of which are 3-D (appendix B.2).

    Args:
      resolution: height and width of the video.
      num_classes: number of classes; 0 for none.
      ch: width multiplier.
      channel_multipliers: widths in multiples of `ch`; None for the paper's.
      downsampling: phi: 'pool2' or 'pool4' for 2x2 or 4x4 average pooling, 'crop' for a
        random half-size crop, or 'none'.
      pool_time: whether the 3-D blocks also halve time.
      gradient_checkpointing: blocks that use it, by number; True for all.
      block: creates the residual blocks.
      name: name of the Keras model, also used in metrics and checkpoints.
    """

    def __init__(
        self,
        resolution: int,
        num_classes: int,
        ch: int = 128,
        channel_multipliers: Sequence[int] | None = None,
        downsampling: str = "pool2",
        pool_time: bool = True,
        gradient_checkpointing: bool | Sequence[int] = False,
        block: LayerFactory = layers.DiscriminatorBlock,
        name: str = "temporal_discriminator",
    ):
        super().__init__(
            resolution,
            num_classes,
            ch,
            channel_multipliers,
            _NUM_3D_BLOCKS,
            pool_time,
            gradient_checkpointing,
            block,
            name,
        )
        if downsampling not in ("pool2", "pool4", "none", "crop"):
            raise errors.InvalidValueError(
                "downsampling must be 'pool2', 'pool4', 'none' or 'crop'. Received: "
                f"{downsampling!r}"
            )
        self.downsampling = downsampling

    def num_uniforms(self, num_frames: int) -> int:
        """Returns how many random numbers a video needs."""
        del num_frames
        return 2 if self.downsampling == "crop" else 0

    def call(
        self,
        videos: tf.Tensor,
        labels: tf.Tensor | None = None,
        uniform_noise: tf.Tensor | None = None,
        training: bool | None = None,
    ) -> tf.Tensor:
        """Scores videos.

        Args:
          videos: `[batch, time, height, width, 3]`.
          labels: `[batch]` class ids, or `[batch, num_classes]` class weights.
          uniform_noise: `[batch, num_uniforms(time)]` uniform noise in [0, 1), the
            position of the crop; None crops the center.
          training: whether spectral normalization updates its vectors.

        Returns:
          `[batch]` float32.
        """
        scores = self.scores(self.downsample(videos, uniform_noise), labels, training)
        return tf.reduce_sum(scores, axis=1)

    def downsample(
        self, videos: tf.Tensor, uniform_noise: tf.Tensor | None
    ) -> tf.Tensor:
        """Applies phi.

        Args:
          videos: `[batch, time, height, width, 3]`.
          uniform_noise: `[batch, 2]` uniform noise in [0, 1), the position of the crop;
            None crops the center.

        Returns:
          `[batch, time, height', width', 3]`, the input of the blocks.
        """
        if self.downsampling == "none":
            return videos
        if self.downsampling == "crop":
            if uniform_noise is None:
                uniform_noise = tf.fill([tf.shape(videos)[0], 2], 0.5)
            return ops.random_half_crop(videos, uniform_noise)
        return ops.average_pool(videos, factor=int(self.downsampling[-1]))


class ProjectionHead(tf.keras.layers.Layer):
    """ReLU, sum over space, linear layer, plus projection on the class embedding.

    (Miyato & Koyama, 2018; the embedding is spectrally normalized as in BigGAN.)

    Args:
      num_classes: number of classes; 0 for no projection.
      activation: applied before the sum.
    """

    def __init__(self, num_classes: int, activation: Callable = tf.nn.relu, **kwargs):
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.activation = activation

    def build(self, input_shape):
        self.linear = layers.SpectralDense(1, name="linear")
        self.embedding = None
        if self.num_classes:
            self.embedding = layers.SpectralEmbedding(
                self.num_classes, input_shape[-1], name="embedding"
            )
        super().build(input_shape)

    def call(
        self, x: tf.Tensor, labels: tf.Tensor | None, training: bool | None = None
    ) -> tf.Tensor:
        """Scores each time step.

        Args:
          x: `[batch, time, height, width, channels]`.
          labels: `[batch]` class ids, or `[batch, num_classes]` class weights.
          training: whether spectral normalization updates its vectors.

        Returns:
          `[batch, time]` float32.
        """
        # [batch, time, channels]
        features = tf.reduce_sum(self.activation(x), axis=[2, 3])
        scores = tf.squeeze(self.linear(features, training=training), -1)
        if self.embedding is not None:
            embedded = self.embedding(labels, training=training)
            scores += tf.einsum("btc,bc->bt", features, embedded)
        return tf.cast(scores, tf.float32)
