"""MVT-GAN: Multi-Variate Temporal GAN for large-scale video generation.

Munoz, Zolfaghari, Argus and Brox, 2020 (paper 003), in its four variants:

| variant | latent deviations (A, B, C) | first two blocks | motion constraint |
|---------|-----------------------------|------------------|-------------------|
| MVT     | 1, 1, 1                     | plain            | no                |
| MVT-MC  | 1, 1, 1                     | plain            | alpha = 1         |
| MVT-VAR | 0.5, 1, 2                   | plain            | no                |
| MVT-TSA | 0.5, 1, 2                   | temporal shift   | no                |

The latent of 120 numbers has subspaces of 20, 20 and 80. A sequence generator (linear,
then a GRU of 2048 units for 16 steps) generates a code of 120 numbers for each frame.
The code and the class embedding of 120 numbers condition an image generator like
BigGAN's, frame by frame: widths 16a, 16a, 8a, 4a, 2a, a, from 3x3 to 96 or from 4x4 to
128 pixels, self-attention after the third block. The image discriminator is BigGAN's on
8 frames (UCF-101) or 4; the video discriminator has four 3-D convolutions. UCF-101 is
96x96 for MVT and 128x128 for MVT-TSA (section 6.2).

Where the paper is silent:

- From the authors' code (amunozgarza/tsb-gan) and run script: the raw output of a step
  (linear 2048 to 120) is the GRU's next input, and after batch norm without scale and
  offset it is the code; the temporal shift comes before the block's split, so it
  affects the shortcut too; the image discriminator has self-attention after its second
  block, and its hinge applies to each frame, not to a video's sum; two discriminator
  updates per step; Adam(0, 0.9) with epsilon 1e-8; on UCF-101 every second frame of a
  clip with 32 or more, consecutive frames of a shorter one. (On Weizmann and Jester,
  consecutive frames, as in the paper, section 6.1.)
- From BigGAN: a = 96; the image generator's batch norm takes statistics over all frames
  together; attention max pools keys and values.
- Ours: the GRU's initial state is zero; self-attention is within each frame; the GRU's
  kernels are initialized orthogonally and not spectrally normalized, all other kernels
  are both; samples and scores use the moving average of G's weights, as in DVD-GAN;
  every network starts from random weights (the authors' instructions start G and the
  image discriminator from BigGAN trained on ImageNet, which the paper does not
  mention).
- Different from the authors' code: the class embedding of G is not spectrally
  normalized; cBN's linear maps have no bias, the video discriminator's convolutions
  have one; the sequence generator has one norm per time step, not one for all; frames
  are sampled without replacement; generated videos have the labels of the real batch,
  as in equations 2 and 3, where the code draws classes uniformly.

The last convolutions of the video discriminator see so few frames that padding meets
some taps of their kernels always (of 16 frames, conv_3 sees 2; of 8, conv_2 sees 2 and
conv_3 one). Spectral norm counts these taps, as in the authors' code, and batch norm
follows, so training lets them grow: in a run of `learn/mvt_gan.gin` the norm of the
whole kernel of conv_2 was 33 times, of conv_3 8 times that of the taps that see frames.

Trainable parameters in millions, a = 96, 101 classes (generator, image discriminator,
video discriminator): 128 pixels 90.82, 86.64, 24.87; 96 pixels 88.22, 86.64, 24.87.
"""

import functools
from collections.abc import Sequence

import gin
import tensorflow as tf

from tf_dvdgan import errors, layers, losses
from tf_dvdgan.flow import pwc_net
from tf_dvdgan.layers import gradient_checkpointing as checkpointing
from tf_dvdgan.models import dvd_gan

_WIDTHS = (16, 16, 8, 4, 2, 1)
_NUM_BLOCKS = len(_WIDTHS) - 1
_ATTENTION_AFTER = 3  # blocks
_NUM_SHIFTED = 2  # blocks that begin with a temporal shift in MVT-TSA
_VIDEO_WIDTHS = (1, 2, 4, 8)
_CONDITIONAL_NORM = functools.partial(layers.ConditionalBatchNorm, per_time_step=False)


class SequenceGenerator(tf.keras.layers.Layer):
    """Maps one latent to a code for each frame (section 4.1.2, appendix A).

    Args:
      num_frames: T, the number of codes.
      code_size: size of a code; the latent's size in the paper.
      units: number of units of the GRU.
    """

    def __init__(
        self, num_frames: int, code_size: int = 120, units: int = 2048, **kwargs
    ):
        super().__init__(**kwargs)
        self.num_frames = num_frames
        self.code_size = code_size
        self.units = units

    def build(self, input_shape):
        self.first = layers.SpectralDense(self.code_size, name="first")
        self.cell = tf.keras.layers.GRUCell(
            self.units,
            kernel_initializer="orthogonal",
            recurrent_initializer="orthogonal",
            name="cell",
        )
        self.to_code = layers.SpectralDense(self.code_size, name="to_code")
        with tf.name_scope("to_code"):
            self.to_code.build([None, self.units])
        self.norms = [
            layers.BatchNorm(affine=False, name=f"{self.name}_norm_{t}")
            for t in range(self.num_frames)
        ]
        super().build(input_shape)

    def call(self, z: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Generates the codes.

        Args:
          z: `[batch, latent_size]`.
          training: whether to use batch statistics and to update the vectors of
            spectral normalization.

        Returns:
          `[batch, num_frames, code_size]`.
        """
        x = self.first(z, training=training)
        state = tf.zeros([tf.shape(x)[0], self.units], x.dtype)
        kernel = self.to_code.normalized_kernel(training)
        codes = []
        for norm in self.norms:
            state, _ = self.cell(x, state)
            x = tf.matmul(state, kernel) + self.to_code.compute_bias()
            video = tf.reshape(x, [-1, 1, 1, 1, self.code_size])  # for BatchNorm
            code = tf.reshape(norm(video, training=training), [-1, self.code_size])
            codes.append(code)
        return tf.stack(codes, axis=1)


@gin.register(module="mvt_gan")
class Generator(tf.keras.Model):
    """Sequence generator and image generator (section 4.1, figures 2 to 4).

    Args:
      resolution: height and width of the video, a multiple of 32; 96 or 128 in the
        paper.
      num_frames: T, the length of the video; 16 in the paper.
      num_classes: number of classes; 0 for none.
      latent_size: size of z.
      ch: a, the width multiplier.
      embedding_size: size of the class embedding.
      gru_units: number of units of the sequence generator's GRU.
      temporal_shift: whether the first two blocks begin with a temporal shift
        (MVT-TSA).
      gradient_checkpointing: blocks that use it, by number; True for all. It saves
        memory, takes more time, and does not change the gradient.
      name: name of the Keras model.
    """

    num_conditioning_frames = 0

    def __init__(
        self,
        resolution: int,
        num_frames: int,
        num_classes: int,
        latent_size: int = 120,
        ch: int = 96,
        embedding_size: int = 120,
        gru_units: int = 2048,
        temporal_shift: bool = False,
        gradient_checkpointing: bool | Sequence[int] = False,
        name: str = "generator",
    ):
        super().__init__(name=name)
        if resolution % 2**_NUM_BLOCKS:
            raise errors.InvalidValueError(
                f"The resolution of MVT-GAN must be a multiple of {2**_NUM_BLOCKS} "
                f"pixels. Received: resolution={resolution}"
            )
        self.resolution = resolution
        self.num_frames = num_frames
        self.num_classes = num_classes
        self.gradient_checkpointing = gradient_checkpointing
        self.first_size = resolution // 2**_NUM_BLOCKS
        self.widths = [multiplier * ch for multiplier in _WIDTHS]
        self.sequence = SequenceGenerator(
            num_frames, latent_size, gru_units, name="sequence"
        )
        self.embedding = None
        if num_classes:
            self.embedding = layers.SpectralEmbedding(
                num_classes,
                embedding_size,
                spectral_normalization=False,
                name="embedding",
            )
        first_values = self.first_size**2 * self.widths[0]
        self.first = layers.SpectralDense(first_values, name="first")
        self.blocks = [
            layers.GeneratorBlock(width, True, _CONDITIONAL_NORM, name=f"block_{i}")
            for i, width in enumerate(self.widths[1:])
        ]
        self.shift = layers.TemporalShift(name="shift") if temporal_shift else None
        self.attention = layers.FrameAttention(name="attention")
        self.last_norm = layers.BatchNorm(per_time_step=False, name="last_norm")
        self.last = layers.SpectralConv2D(3, name="last")

    def call(
        self,
        z: tf.Tensor,
        labels: tf.Tensor | None = None,
        training: bool | None = None,
    ) -> tf.Tensor:
        """Generates videos.

        Args:
          z: `[batch, latent_size]`.
          labels: `[batch]` class ids, or `[batch, num_classes]` class weights.
          training: whether to use batch statistics and to update the vectors of
            spectral normalization.

        Returns:
          `[batch, num_frames, height, width, 3]` float32 in [-1, 1].
        """
        condition = self.sequence(z, training=training)  # [batch, time, latent_size]
        if self.embedding is not None:
            embedded = self.embedding(labels, training=training)[:, tf.newaxis]
            embedded = tf.repeat(embedded, self.num_frames, axis=1)
            condition = tf.concat([condition, embedded], axis=-1)
        x = self.first(condition, training=training)
        size, width = self.first_size, self.widths[0]
        x = tf.reshape(x, [-1, self.num_frames, size, size, width])
        for i, block in enumerate(self.blocks):
            if self.shift is not None and i < _NUM_SHIFTED:
                x = self.shift(x)
            run = checkpointing.maybe_checkpoint(self.gradient_checkpointing, i)
            x = run(block, x, condition, training=training)
            if i + 1 == _ATTENTION_AFTER:
                x = self.attention(x, training=training)
        x = tf.nn.relu(self.last_norm(x, training=training))
        return tf.tanh(tf.cast(self.last(x, training=training), tf.float32))


@gin.register(module="mvt_gan")
class VideoDiscriminator(tf.keras.Model):
    """D_Video: 3-D convolutions over the whole video (section 4.2; MoCoGAN's).

    Four 4x4x4 convolutions of stride 2, batch norm after all but the first, leaky ReLU
    0.2, sum over space, linear layer and projection.

    Args:
      resolution: unused; `video_gan.build` passes it to every discriminator.
      num_classes: number of classes; 0 for none.
      ch: a, the width multiplier.
      name: name of the Keras model, also used in metrics and checkpoints.
    """

    has_batch_norm = True

    def __init__(
        self,
        resolution: int,
        num_classes: int,
        ch: int = 96,
        name: str = "video_discriminator",
    ):
        del resolution
        super().__init__(name=name)
        self.convolutions = [
            layers.SpectralConv3D(m * ch, 4, strides=2, name=f"conv_{i}")
            for i, m in enumerate(_VIDEO_WIDTHS)
        ]
        self.norms = [
            layers.BatchNorm(per_time_step=False, name=f"norm_{i}")
            for i in range(1, len(_VIDEO_WIDTHS))
        ]
        self.head = dvd_gan.ProjectionHead(
            num_classes, activation=tf.identity, name="head"
        )

    def num_uniforms(self, num_frames: int) -> int:
        """Returns 0: it needs no random numbers."""
        del num_frames
        return 0

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
          uniform_noise: unused.
          training: whether to use batch statistics and to update the vectors of
            spectral normalization.

        Returns:
          `[batch]` float32.
        """
        del uniform_noise
        x = videos
        for i, convolution in enumerate(self.convolutions):
            x = convolution(x, training=training)
            if i:
                x = self.norms[i - 1](x, training=training)
            x = tf.nn.leaky_relu(x, 0.2)
        return tf.reduce_sum(self.head(x, labels, training=training), axis=1)


@gin.register(module="mvt_gan")
class MotionConstraint(losses.Term):
    """alpha (1 - L_M): aligns the motion of real and fake videos of a class.

    L_M is the mean cosine similarity of the optical flows of all pairs of a real and a
    fake video with the same label, over the global batch, or over a pass of it if
    gradients are accumulated. Without such a pair the term is 0 (section 4.3,
    equations 5 and 6). The flow network is frozen; the gradient passes through it.

    Args:
      weights: path of PWC-Net's weights; see `flow.pwc_net.load`.
      alpha: weight of the constraint.
    """

    name = "motion_constraint"

    def __init__(self, weights: str | None = None, alpha: float = 1.0):
        super().__init__(alpha)
        self._network = pwc_net.load(weights)

    def value(self, generator, outputs, real, labels) -> tf.Tensor:
        del generator
        real_motion = tf.stop_gradient(self.motion(real))
        fake_motion = self.motion(outputs["videos"])
        context = tf.distribute.get_replica_context()
        replicas = 1 if context is None else context.num_replicas_in_sync
        real_labels = labels
        if replicas > 1:
            real_motion = context.all_gather(real_motion, axis=0)
            real_labels = context.all_gather(labels, axis=0)
        # [fakes, reals]
        same = tf.cast(labels[:, tf.newaxis] == real_labels[tf.newaxis], tf.float32)
        count = tf.reduce_sum(same)
        if replicas > 1:
            count = context.all_reduce(tf.distribute.ReduceOp.SUM, count)
        return motion_term(fake_motion, real_motion, same, count, replicas)

    def motion(self, videos: tf.Tensor) -> tf.Tensor:
        """Computes the flows of each video as one unit vector.

        Args:
          videos: `[batch, time, height, width, 3]` in [-1, 1].

        Returns:
          `[batch, (time - 1) * height * width * 2]`.
        """
        _, num_frames, height, width, _ = videos.shape
        first = tf.reshape(videos[:, :-1], [-1, height, width, 3])
        second = tf.reshape(videos[:, 1:], [-1, height, width, 3])
        flow = self._network.flow((first + 1.0) / 2.0, (second + 1.0) / 2.0)
        flow = tf.reshape(flow, [-1, (num_frames - 1) * height * width * 2])
        return tf.math.l2_normalize(flow, axis=-1, epsilon=1e-8)


def motion_term(
    fake_motion: tf.Tensor,
    real_motion: tf.Tensor,
    same: tf.Tensor,
    count: tf.Tensor,
    num_replicas: int = 1,
) -> tf.Tensor:
    """Computes 1 - L_M from unit vectors (equation 5), or 0 if there is no pair.

    Args:
      fake_motion: `[fakes, size]`, unit vectors of this replica's fake videos.
      real_motion: `[reals, size]`, unit vectors of all replicas' real videos.
      same: `[fakes, reals]`, 1 where the labels are equal, else 0.
      count: scalar, number of pairs with equal labels over all replicas.
      num_replicas: number of replicas over which the result is averaged.

    Returns:
      Scalar; its mean over the replicas is the term.
    """
    cosines = tf.matmul(fake_motion, real_motion, transpose_b=True)
    mean = num_replicas * tf.reduce_sum(cosines * same) / tf.maximum(count, 1.0)
    return tf.where(count > 0, 1.0 - mean, 0.0)
