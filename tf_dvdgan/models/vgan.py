"""VGAN: generating videos with scene dynamics.

Vondrick, Pirsiavash and Torralba, 2016 (paper 004): 32 frames of 64x64, no classes.

- **Two streams**: a foreground stream of transposed 3-D convolutions (512, 256, 128, 64
  channels, then heads for 3 colors and a mask) and a background stream of the same in
  2-D; video = mask * foreground + (1 - mask) * background, with a penalty of 0.1 on the
  mean of the mask. **One stream**: only the foreground's colors.
- **Discriminator**: 3-D convolutions 64, 128, 256, 512, and a last one to two logits.
- **Future prediction**: a network of five 2-D layers maps the first frame to the latent
  of 100 numbers; an L1 loss compares the first generated frame with it. The authors'
  code differs: `gin/models/vgan_future_authors.gin` has a 4x4 spatial code, all widths
  doubled, weight 10 for that loss, no mask penalty, and batches of 32.
- **Autoencoder baseline**: an encoder like the discriminator to 100 numbers, the
  two-stream generator as decoder, and a Gaussian mixture of 256 components over the
  codes to sample from.
- **Representation learning**: dropout 0.5 and a linear layer replace the
  discriminator's last layer; see `Classifier` and the command `tools.classify`.

Where the paper is silent, from the authors' code: kernels N(0, 0.01), scales
N(1, 0.02), biases and offsets 0; batch norm and ReLU between the generator's layers;
batch norm (epsilon 1e-3, from the second layer on) and leaky ReLU 0.2 in the
discriminator and in the encoder of the first frame; Adam at 2e-4, 0.5, epsilon 1e-8;
batches of 64; non-saturating cross-entropy.

Ours: the losses use the difference of the two logits, which is the same function; batch
norm takes statistics over time too; below 64 pixels the networks have fewer layers; the
first-frame loss has weight 1; samples and scores use the moving average of G's weights,
as in DVD-GAN, which the paper does not have.

Trainable parameters: two streams 16,245,383; one stream 12,663,619; discriminator
11,057,858; future predictor 19,823,019 (in the authors' code 68,216,455, with a
discriminator of 44,135,810); autoencoder 28,908,971.
"""

import gin
import numpy as np
import tensorflow as tf

from tf_dvdgan import errors, layers, losses, ops

_FIRST_SIZE = 4
# Widths of the generator in multiples of ch; the discriminator's are in reverse order.
_WIDTHS = (8, 4, 2, 1)


def _kernels() -> dict:
    return {"kernel_initializer": tf.keras.initializers.RandomNormal(0.0, 0.01)}


def _norm(name: str, epsilon: float = 1e-5) -> layers.BatchNorm:
    return layers.BatchNorm(
        per_time_step=False,
        epsilon=epsilon,
        scale_initializer=tf.keras.initializers.RandomNormal(1.0, 0.02),
        name=name,
    )


class _Conv3D(tf.keras.layers.Conv3D):
    """With `ops.add_bias`, whose gradient is right in bfloat16."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return ops.add_bias(self.convolution_op(inputs, self.kernel), self.bias)


class _Conv3DTranspose(tf.keras.layers.Conv3DTranspose):
    """With "same" padding and `ops.add_bias`, whose gradient is right in bfloat16."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        sizes = [n * s for n, s in zip(inputs.shape[1:4], self.strides, strict=True)]
        shape = [tf.shape(inputs)[0], *sizes, self.filters]
        window = [1, *self.strides, 1]
        y = tf.nn.conv3d_transpose(inputs, self.kernel, shape, window, "SAME")
        return ops.add_bias(y, self.bias)


def _num_doublings(resolution: int) -> int:
    doublings = int(np.log2(resolution // _FIRST_SIZE))
    if _FIRST_SIZE * 2**doublings != resolution or not 1 <= doublings <= len(_WIDTHS):
        raise errors.InvalidValueError(
            "The resolution of VGAN is 8, 16, 32 or 64 pixels. Received: "
            f"resolution={resolution}"
        )
    return doublings


class Stream(tf.keras.layers.Layer):
    """Transposed convolutions from a latent up to the layer before the heads.

    Args:
      num_frames: length of the video; 1 for the background stream, whose kernels have
        size 1 in time.
      resolution: height and width of the video.
      ch: width of the layer nearest to the pixels; the other widths are multiples.
      spatial_code: whether to start from a 4x4 code instead of a vector. The first
        kernel is then 1x1 in space, and the background stream has no such layer.
    """

    def __init__(
        self,
        num_frames: int,
        resolution: int,
        ch: int,
        spatial_code: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        doublings = _num_doublings(resolution)
        first_frames = num_frames // 2**doublings if num_frames > 1 else 1
        if num_frames > 1 and first_frames * 2**doublings != num_frames:
            raise errors.InvalidValueError(
                f"At {resolution} pixels the number of frames of VGAN must be a "
                f"multiple of {2**doublings}. Received: num_frames={num_frames}"
            )
        self.still = num_frames == 1
        widths = [w * ch for w in _WIDTHS[-doublings:]]
        side = 1 if spatial_code else _FIRST_SIZE
        first = tf.keras.layers.Conv3DTranspose(
            widths[0], (first_frames, side, side), name="conv_0", **_kernels()
        )
        self.convolutions = [] if self.still and spatial_code else [first]
        self.convolutions += [
            self.doubling(width, f"conv_{i}") for i, width in enumerate(widths[1:], 1)
        ]
        self.norms = [
            _norm(f"{self.name}_norm_{i}")
            for i in range(len(widths) - len(self.convolutions), len(widths))
        ]

    def doubling(self, filters: int, name: str) -> tf.keras.layers.Layer:
        """Creates a layer that doubles the size, and time unless it is the background.

        Args:
          filters: number of output channels.
          name: name of the layer.

        Returns:
          A transposed convolution.
        """
        size, strides = ((1, 4, 4), (1, 2, 2)) if self.still else (4, 2)
        return _Conv3DTranspose(filters, size, strides, "same", name=name, **_kernels())

    def call(self, z: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Runs the stream.

        Args:
          z: `[batch, size]`, or `[batch, 1, 4, 4, size]` for a spatial code.
          training: whether to use batch statistics.

        Returns:
          `[batch, time', height', width', ch]`: half the video's size, with a time of 1
          for the background.
        """
        x = z if z.shape.rank == 5 else z[:, tf.newaxis, tf.newaxis, tf.newaxis]
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = tf.nn.relu(norm(convolution(x), training=training))
        return x


@gin.register(module="vgan")
class Generator(tf.keras.Model):
    """Generates videos with one or two streams.

    Args:
      resolution: height and width of the video; 64 in the paper.
      num_frames: length of the video; 32 in the paper.
      num_classes: must be 0: VGAN is unconditional.
      latent_size: size of z; not needed to build the layers.
      two_streams: whether to have a background stream and a mask.
      ch: width of the layer before the heads; the other widths are multiples.
      spatial_code: whether to start from a 4x4 code instead of a vector.
      name: name of the Keras model.
    """

    num_conditioning_frames = 0

    def __init__(
        self,
        resolution: int,
        num_frames: int,
        num_classes: int,
        latent_size: int = 100,
        two_streams: bool = True,
        ch: int = 64,
        spatial_code: bool = False,
        name: str = "generator",
    ):
        super().__init__(name=name)
        if num_classes:
            raise errors.InvalidValueError(
                f"VGAN is unconditional. Received: num_classes={num_classes}"
            )
        self.resolution = resolution
        self.num_frames = num_frames
        self.num_classes = num_classes
        self.latent_size = latent_size
        foreground = Stream(num_frames, resolution, ch, spatial_code, name="foreground")
        self.foreground = foreground
        self.colours = foreground.doubling(3, "colours")  # its name in checkpoints
        self.background = None
        if two_streams:
            self.mask = foreground.doubling(1, "mask")
            self.background = Stream(1, resolution, ch, spatial_code, name="background")
            self.background_colours = self.background.doubling(3, "background_colours")

    def call(
        self,
        z: tf.Tensor,
        labels: tf.Tensor | None = None,
        training: bool | None = None,
    ) -> dict[str, tf.Tensor]:
        """Generates videos.

        Args:
          z: `[batch, latent_size]`, or a code `[batch, 1, 4, 4, channels]`.
          labels: unused.
          training: whether to use batch statistics.

        Returns:
          "videos" `[batch, time, height, width, 3]` float32 in [-1, 1]. With two
          streams also "foreground" and "background" of the same shape, and "mask"
          `[batch, time, height, width, 1]` in [0, 1].
        """
        del labels
        moving = self.foreground(z, training=training)
        colors = tf.tanh(tf.cast(self.colours(moving), tf.float32))
        if self.background is None:
            return {"videos": colors}
        mask = tf.sigmoid(tf.cast(self.mask(moving), tf.float32))
        still = self.background_colours(self.background(z, training=training))
        still = tf.tanh(tf.cast(still, tf.float32))
        return {
            "videos": mask * colors + (1.0 - mask) * still,
            "foreground": colors,
            "background": tf.repeat(still, self.num_frames, axis=1),
            "mask": mask,
        }


class VideoEncoder(tf.keras.layers.Layer):
    """The discriminator's four 3-D convolutions of stride 2.

    Args:
      resolution: height and width of the video.
      ch: width of the layer nearest to the pixels; the other widths are multiples.
    """

    def __init__(self, resolution: int, ch: int = 64, **kwargs):
        super().__init__(**kwargs)
        doublings = _num_doublings(resolution)
        widths = [w * ch for w in _WIDTHS[-doublings:][::-1]]
        self.convolutions = [
            _Conv3D(w, 4, 2, "same", name=f"conv_{i}", **_kernels())
            for i, w in enumerate(widths)
        ]
        self.norms = [
            _norm(f"{self.name}_norm_{i}", 1e-3) for i in range(1, len(widths))
        ]

    def call(self, videos: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Extracts features.

        Args:
          videos: `[batch, time, height, width, 3]`.
          training: whether to use batch statistics.

        Returns:
          `[batch, time', 4, 4, 8 * ch]` at 64 pixels.
        """
        x = tf.cast(videos, self.compute_dtype)
        for i, convolution in enumerate(self.convolutions):
            x = convolution(x)
            if i:
                x = self.norms[i - 1](x, training=training)
            x = tf.nn.leaky_relu(x, 0.2)
        return x


@gin.register(module="vgan")
class Discriminator(tf.keras.Model):
    """Five 3-D convolutions to two logits; the score is their difference.

    Args:
      resolution: height and width of the video.
      num_classes: unused; `video_gan.build` passes it to every discriminator.
      ch: width of the layer nearest to the pixels; the other widths are multiples.
      name: name of the Keras model, also used in metrics and checkpoints.
    """

    has_batch_norm = True

    def __init__(
        self,
        resolution: int,
        num_classes: int,
        ch: int = 64,
        name: str = "video_discriminator",
    ):
        del num_classes
        super().__init__(name=name)
        self.encoder = VideoEncoder(resolution, ch, name="encoder")
        self.logits = tf.keras.layers.Dense(2, name="logits", **_kernels())

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
          labels: unused.
          uniform_noise: unused.
          training: whether to use batch statistics.

        Returns:
          `[batch]` float32, the log-odds that each video is real.
        """
        del labels, uniform_noise
        logits = self.logits(flatten(self.encoder(videos, training=training)))
        return tf.cast(logits[:, 1] - logits[:, 0], tf.float32)


def flatten(x: tf.Tensor) -> tf.Tensor:
    """Flattens `[batch, ...]` to `[batch, size]`.

    A dense layer on it is a convolution of full extent.
    """
    return tf.reshape(x, [-1, int(np.prod(x.shape[1:]))])


@gin.register(module="vgan")
class FuturePredictor(tf.keras.Model):
    """Predicts the future of a frame: five 2-D convolutions map it to the latent.

    Args:
      resolution: height and width of the video.
      num_frames: length of the video, including the first frame.
      num_classes: must be 0.
      latent_size: size of the code, unless it is spatial.
      two_streams: whether the decoder has a background stream and a mask.
      ch: width of the layer nearest to the pixels; the other widths are multiples.
      spatial_code: whether to decode the 4x4 features of the fourth convolution, as in
        the authors' code; there is then no fifth.
      name: name of the Keras model.
    """

    num_conditioning_frames = 1

    def __init__(
        self,
        resolution: int,
        num_frames: int,
        num_classes: int,
        latent_size: int = 100,
        two_streams: bool = True,
        ch: int = 64,
        spatial_code: bool = False,
        name: str = "generator",
    ):
        super().__init__(name=name)
        self.resolution = resolution
        self.num_frames = num_frames
        self.num_classes = num_classes
        doublings = _num_doublings(resolution)
        widths = [w * ch for w in _WIDTHS[-doublings:][::-1]]
        self.convolutions = [
            _Conv3D(w, (1, 4, 4), (1, 2, 2), "same", name=f"conv_{i}", **_kernels())
            for i, w in enumerate(widths)
        ]
        self.norms = [_norm(f"encoder_norm_{i}", 1e-3) for i in range(1, len(widths))]
        self.code = None
        if not spatial_code:
            self.code = tf.keras.layers.Dense(latent_size, name="code", **_kernels())
        self.decoder = Generator(
            resolution,
            num_frames,
            num_classes,
            latent_size,
            two_streams,
            ch,
            spatial_code,
            name="decoder",
        )

    def call(
        self,
        z: tf.Tensor,
        labels: tf.Tensor | None,
        frames: tf.Tensor,
        training: bool | None = None,
    ) -> dict[str, tf.Tensor]:
        """Generates videos that begin like `frames`.

        Args:
          z: unused: the prediction is deterministic.
          labels: unused.
          frames: `[batch, 1, height, width, 3]` in [-1, 1].
          training: whether to use batch statistics.

        Returns:
          The outputs of `Generator.call`.
        """
        del z, labels
        x = self.activations(frames, training)[-1]
        code = x if self.code is None else self.code(flatten(x))
        return self.decoder(code, training=training)

    def activations(
        self, frames: tf.Tensor, training: bool | None = None
    ) -> list[tf.Tensor]:
        """Runs the encoder.

        Args:
          frames: `[batch, 1, height, width, 3]` in [-1, 1].
          training: whether to use batch statistics.

        Returns:
          For each convolution `[batch, 1, height', width', channels]`, after the ReLU.
        """
        x, activations = tf.cast(frames, self.compute_dtype), []
        for i, convolution in enumerate(self.convolutions):
            x = convolution(x)
            if i:
                x = self.norms[i - 1](x, training=training)
            x = tf.nn.relu(x)
            activations.append(x)
        return activations


@gin.register(module="vgan")
class Autoencoder(tf.keras.Model):
    """The baseline: encodes a whole video to a latent and decodes it.

    It is trained with `ReconstructionLoss` and without discriminators. To sample, fit a
    mixture to the codes of real videos with `latents.fit_mixture`.

    Args:
      resolution: height and width of the video.
      num_frames: length of the video.
      num_classes: must be 0.
      latent_size: size of the code.
      two_streams: whether the decoder has a background stream and a mask.
      ch: width of the layer nearest to the pixels; the other widths are multiples.
      name: name of the Keras model.
    """

    def __init__(
        self,
        resolution: int,
        num_frames: int,
        num_classes: int,
        latent_size: int = 100,
        two_streams: bool = True,
        ch: int = 64,
        name: str = "generator",
    ):
        super().__init__(name=name)
        self.resolution = resolution
        self.num_frames = num_frames
        self.num_classes = num_classes
        self.num_conditioning_frames = num_frames
        self.encoder = VideoEncoder(resolution, ch, name="encoder")
        self.code = tf.keras.layers.Dense(latent_size, name="code", **_kernels())
        self.decoder = Generator(
            resolution,
            num_frames,
            num_classes,
            latent_size,
            two_streams,
            ch,
            name="decoder",
        )

    def encode(self, videos: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Encodes videos.

        Args:
          videos: `[batch, time, height, width, 3]` in [-1, 1].
          training: whether to use batch statistics.

        Returns:
          `[batch, latent_size]`, the codes.
        """
        return self.code(flatten(self.encoder(videos, training=training)))

    def call(
        self,
        z: tf.Tensor,
        labels: tf.Tensor | None,
        frames: tf.Tensor,
        training: bool | None = None,
    ) -> dict[str, tf.Tensor]:
        """Reconstructs videos.

        Args:
          z: unused.
          labels: unused.
          frames: `[batch, time, height, width, 3]` in [-1, 1], whole videos.
          training: whether to use batch statistics.

        Returns:
          The outputs of `Generator.call`.
        """
        del z, labels
        return self.decoder(self.encode(frames, training), training=training)


@gin.register(module="vgan")
class MaskPenalty(losses.Term):
    """L1 penalty on the mask, so that the background is used; 0.1 in the paper."""

    name = "mask_penalty"
    needs = ("mask",)

    def value(self, generator, outputs, real, labels) -> tf.Tensor:
        del generator, real, labels
        return tf.reduce_mean(tf.abs(outputs["mask"]))


@gin.register(module="vgan")
class FirstFrameLoss(losses.Term):
    """L1 distance between the first generated frame and the real one."""

    name = "first_frame"

    def value(self, generator, outputs, real, labels) -> tf.Tensor:
        del generator, labels
        return tf.reduce_mean(tf.abs(outputs["videos"][:, 0] - real[:, 0]))


@gin.register(module="vgan")
class ReconstructionLoss(losses.Term):
    """Mean squared error between a video and its reconstruction."""

    name = "reconstruction"

    def value(self, generator, outputs, real, labels) -> tf.Tensor:
        del generator, labels
        return tf.reduce_mean(tf.square(outputs["videos"] - real))


class Classifier(tf.keras.Model):
    """Classifies videos: a discriminator's convolutions, dropout, and a linear layer.

    Args:
      encoder: a trained discriminator's, or a new one.
      num_classes: K, the number of classes.
      dropout: dropout rate; 0.5 in the paper.
    """

    def __init__(self, encoder: VideoEncoder, num_classes: int, dropout: float = 0.5):
        super().__init__(name="classifier")
        self.encoder = encoder
        self.dropout = tf.keras.layers.Dropout(dropout)
        self.linear = tf.keras.layers.Dense(num_classes, name="linear")

    def call(self, videos: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Classifies videos.

        Args:
          videos: `[batch, time, height, width, 3]` in [-1, 1].
          training: whether to use batch statistics and dropout.

        Returns:
          `[batch, num_classes]`, logits.
        """
        features = flatten(self.encoder(videos, training=training))
        return self.linear(self.dropout(features, training=training))
