"""Convolutional gated recurrent units over time (Ballas et al., 2015)."""

import tensorflow as tf

from tf_dvdgan import ops
from tf_dvdgan.layers import spectral_norm

# Above so many frames the time loop is a scan: its graph compiles in a fraction of the
# time of an unrolled one, which runs faster on short videos.
_UNROLL_AT_MOST = 16


class ConvGRU(tf.keras.layers.Layer):
    """Convolutional GRU with a ReLU candidate (paper 001, appendix B.2).

    With * a 3x3 convolution, [;] concatenation of channels, s the sigmoid:

        r  = s(W_r * [h; x] + b_r)
        u  = s(W_u * [h; x] + b_u)
        c  = relu(W_c * [x; r h] + b_c)
        h' = u h + (1 - u) c

    The hidden state is as wide as the input. Kernels are spectrally normalised once a
    forward pass. The part of each convolution that sees only x is done for all time
    steps in one call before the loop, and once where x is the same at every step.

    Args:
      kernel_size: of the three convolutions.
    """

    def __init__(self, kernel_size: int = 3, **kwargs):
        super().__init__(**kwargs)
        self.kernel_size = kernel_size

    def build(self, input_shape):
        channels = input_shape[-1]
        joint_shape = [*input_shape[:-1], 2 * channels]
        for name in ("reset", "update", "candidate"):
            size = self.kernel_size
            setattr(self, name, _convolution(channels, size, joint_shape, name))
        super().build(input_shape)

    def call(
        self,
        x: tf.Tensor,
        initial_state: tf.Tensor | None = None,
        num_frames: int | None = None,
        training: bool | None = None,
    ) -> tf.Tensor:
        """Runs over time.

        Args:
          x: `[batch, time, height, width, channels]`; a time of 1 with `num_frames`
            given means the same input at every step.
          initial_state: `[batch, height, width, channels]`; zeros if None.
          num_frames: how many steps to run; the input's by default.
          training: whether spectral norm's vectors move.

        Returns:
          `[batch, num_frames, height, width, channels]`: the state after each step.
        """
        num_frames = num_frames or x.shape[1]
        channels = x.shape[-1]
        reset = self.reset.normalized_kernel(training)
        update = self.update.normalized_kernel(training)
        candidate = self.candidate.normalized_kernel(training)
        input_kernel = tf.concat(
            [
                reset[:, :, channels:],
                update[:, :, channels:],
                candidate[:, :, :channels],
            ],
            axis=-1,
        )
        bias = tf.concat(
            [self.reset.bias, self.update.bias, self.candidate.bias], axis=-1
        )
        gate_kernel = tf.concat(
            [reset[:, :, :channels], update[:, :, :channels]], axis=-1
        )
        candidate_kernel = candidate[:, :, channels:]
        inputs = ops.conv2d(x, input_kernel)  # [batch, time or 1, h, w, 3 * channels]
        inputs += tf.cast(bias, inputs.dtype)
        inputs, mix = self.mixing(x, inputs, training)

        def step(h: tf.Tensor, x_part: tf.Tensor) -> tf.Tensor:
            h = mix(h, x_part[..., 3 * channels :])
            x_gates, x_candidate, _ = tf.split(
                x_part, [2 * channels, channels, x_part.shape[-1] - 3 * channels], -1
            )
            gates = tf.sigmoid(ops.conv2d(h, gate_kernel) + x_gates)
            r, u = tf.split(gates, 2, axis=-1)
            c = tf.nn.relu(x_candidate + ops.conv2d(r * h, candidate_kernel))
            return u * h + (1.0 - u) * c

        return run_over_time(step, inputs, initial_state, num_frames, channels)

    def mixing(self, x: tf.Tensor, inputs: tf.Tensor, training: bool | None):
        """What becomes of the state before the gates see it: here, nothing.

        Args:
          x: as for `call`.
          inputs: what a step gets of each frame, `[batch, time or 1, ..., any]`.
          training: as for `call`.

        Returns:
          `inputs` with what mixing needs behind its channels, and a function of a state
          and those channels of one frame.
        """
        del x, training
        return inputs, lambda h, _: h

    def get_config(self) -> dict:
        return super().get_config() | {"kernel_size": self.kernel_size}


class MultiplicativeConvGRU(ConvGRU):
    """ConvGRU that multiplies its state with the input first (paper 002, appendix A.2).

    With 1x1 convolutions,

        g = (W_gh * h + b_gh) (W_gx * x + b_gx)

    takes the place of h in all of `ConvGRU`'s equations.
    """

    def build(self, input_shape):
        super().build(input_shape)
        channels = input_shape[-1]
        self.mix_state = _convolution(channels, 1, input_shape, "mix_state")
        self.mix_input = _convolution(channels, 1, input_shape, "mix_input")

    def mixing(self, x: tf.Tensor, inputs: tf.Tensor, training: bool | None):
        from_x = self.mix_input(x, training=training)
        kernel = self.mix_state.normalized_kernel(training)
        bias = self.mix_state.bias

        def mix(h: tf.Tensor, from_x: tf.Tensor) -> tf.Tensor:
            return (ops.conv2d(h, kernel) + tf.cast(bias, h.dtype)) * from_x

        return tf.concat([inputs, from_x], axis=-1), mix


def _convolution(
    channels: int, size: int, input_shape, name: str
) -> spectral_norm.SpectralConv2D:
    layer = spectral_norm.SpectralConv2D(channels, size, name=name)
    with tf.name_scope(name):
        layer.build(input_shape)
    return layer


def run_over_time(step, inputs, initial_state, num_frames: int, channels: int):
    """Applies a recurrent step to each frame in turn.

    Args:
      step: maps a state and one frame's input to the next state.
      inputs: `[batch, time or 1, height, width, any]`; a time of 1 repeats.
      initial_state: `[batch, height, width, channels]`; zeros if None.
      num_frames: number of steps.
      channels: of the state.

    Returns:
      `[batch, num_frames, height, width, channels]`.
    """
    constant = inputs.shape[1] == 1
    state = initial_state
    if state is None:
        state = tf.zeros_like(inputs[:, 0, ..., :channels])
    state = tf.cast(state, inputs.dtype)
    if num_frames <= _UNROLL_AT_MOST:
        frames = tf.unstack(inputs, axis=1)
        states = []
        for t in range(num_frames):
            state = step(state, frames[0 if constant else t])
            states.append(state)
        return tf.stack(states, axis=1)
    if constant:
        frame = tf.squeeze(inputs, axis=1)
        states = tf.scan(lambda h, _: step(h, frame), tf.range(num_frames), state)
    else:
        time_major = tf.transpose(inputs, [1, 0, 2, 3, 4])
        states = tf.scan(step, time_major, state)
    return tf.transpose(states, [1, 0, 2, 3, 4])
