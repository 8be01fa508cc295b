"""Convolutional gated recurrent units over time (Ballas et al., 2015)."""

import dataclasses
from collections.abc import Sequence

import tensorflow as tf

from tf_dvdgan import ops
from tf_dvdgan.layers import spectral_norm

# Up to this number of frames the time loop is unrolled, which runs faster. Above it, a
# `tf.while_loop` is used, whose graph compiles in a fraction of the time.
_MAX_UNROLLED_FRAMES = 16


class ConvGRU(tf.keras.layers.Layer):
    """Convolutional GRU with a ReLU candidate (paper 001, appendix B.2).

    With * a 3x3 convolution, [;] concatenation of channels, s the sigmoid:

        r  = s(W_r * [h; x] + b_r)
        u  = s(W_u * [h; x] + b_u)
        c  = relu(W_c * [x; r h] + b_c)
        h' = u h + (1 - u) c

    The hidden state has as many channels as the input. Kernels are spectrally
    normalized once per forward pass. The part of each convolution that depends only on
    x runs before the loop, for all time steps at once, or only once for a constant x.

    Args:
      kernel_size: height and width of the kernels of the three convolutions.
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
        """Runs the recurrence over time.

        Args:
          x: `[batch, time, height, width, channels]`; with a time of 1 and `num_frames`
            set, every step gets the same input.
          initial_state: `[batch, height, width, channels]`; zeros if None.
          num_frames: number of steps to run; `time` if None.
          training: whether spectral normalization updates its vectors.

        Returns:
          `[batch, num_frames, height, width, channels]`: the state after each step.
        """
        num_frames = num_frames or x.shape[1]
        if not ops.fused_ops_enabled() and x.shape[1] == 1:
            x = tf.repeat(x, num_frames, axis=1)
        reset = self.reset.normalized_kernel(training)
        update = self.update.normalized_kernel(training)
        candidate = self.candidate.normalized_kernel(training)
        reset_h, reset_x = tf.split(reset, 2, axis=2)
        update_h, update_x = tf.split(update, 2, axis=2)
        candidate_x, candidate_h = tf.split(candidate, 2, axis=2)
        input_kernel = tf.concat([reset_x, update_x, candidate_x], axis=-1)
        gate_kernel = tf.concat([reset_h, update_h], axis=-1)
        parts = (self.reset, self.update, self.candidate)
        bias = tf.concat([part.compute_bias() for part in parts], axis=-1)
        inputs = ops.conv2d(x, input_kernel, bias=bias)  # [..., 3 * channels]
        return run_over_time(
            num_frames,
            inputs,
            initial_state,
            [gate_kernel, candidate_h],
            self.mixing(x, training),
        )

    def mixing(self, x: tf.Tensor, training: bool | None) -> list[tf.Tensor]:
        """Computes what the state is mixed with before the gates; here nothing.

        Args:
          x: `[batch, time or 1, height, width, channels]`, the input.
          training: whether spectral normalization updates its vectors.

        Returns:
          An empty list, or kernel, bias and factor: the `mixing` of `run_over_time`.
        """
        del x, training
        return []

    def get_config(self) -> dict:
        return super().get_config() | {"kernel_size": self.kernel_size}


class MultiplicativeConvGRU(ConvGRU):
    """ConvGRU whose state is first multiplied with the input (paper 002, appendix A.2).

    With 1x1 convolutions,

        g = (W_gh * h + b_gh) (W_gx * x + b_gx)

    replaces h in all equations of `ConvGRU`.

    A spectrally normalized W_gx and an x that comes from a spectrally normalized linear
    layer make the factor W_gx * x small, and the smaller the wider the model is. With
    b_gx = 0 the state then settles within a few steps, and the video stands still;
    docs/learned.md has the figures.

    Args:
      kernel_size: height and width of the kernels of the three convolutions.
      factor_bias: initial value of b_gx, on which the papers are silent.
    """

    def __init__(self, kernel_size: int = 3, factor_bias: float = 0.0, **kwargs):
        super().__init__(kernel_size, **kwargs)
        self.factor_bias = factor_bias

    def build(self, input_shape):
        super().build(input_shape)
        channels = input_shape[-1]
        self.mix_state = _convolution(channels, 1, input_shape, "mix_state")
        self.mix_input = _convolution(
            channels, 1, input_shape, "mix_input", self.factor_bias
        )

    def mixing(self, x: tf.Tensor, training: bool | None) -> list[tf.Tensor]:
        kernel = self.mix_state.normalized_kernel(training)
        factor = self.mix_input(x, training=training)
        return [kernel, self.mix_state.compute_bias(), factor]

    def get_config(self) -> dict:
        return super().get_config() | {"factor_bias": self.factor_bias}


def _convolution(
    channels: int, size: int, input_shape, name: str, bias: float = 0.0
) -> spectral_norm.SpectralConv2D:
    layer = spectral_norm.SpectralConv2D(
        channels,
        size,
        name=name,
        bias_initializer=tf.keras.initializers.Constant(bias),
    )
    with tf.name_scope(name):
        layer.build(input_shape)
    return layer


def run_over_time(
    num_frames: int,
    inputs: tf.Tensor,
    initial_state: tf.Tensor | None,
    kernels: Sequence[tf.Tensor],
    mixing: Sequence[tf.Tensor] = (),
) -> tf.Tensor:
    """Runs the state of a (multiplicative) ConvGRU over time.

    Has a custom gradient: the backward loop computes only the gradients of the
    pre-activations, and those of the kernels are one convolution over all frames after
    it. Automatic differentiation would run one convolution per frame and sum them.

    Args:
      num_frames: number of steps.
      inputs: `[batch, time or 1, height, width, 3 * channels]`, the contribution of the
        input to the pre-activations of gates (2 * channels) and candidate; with a time
        of 1 it is the same at every step.
      initial_state: `[batch, height, width, channels]`; zeros if None.
      kernels: applied to the state for the gates, `[k, k, channels, 2 * channels]`, and
        for the candidate, `[k, k, channels, channels]`.
      mixing: empty, or for the multiplicative unit kernel `[1, 1, channels, channels]`,
        bias `[channels]` and factor `[batch, time or 1, height, width, channels]`.

    Returns:
      `[batch, num_frames, height, width, channels]`: the state after each step.
    """
    channels = inputs.shape[-1] // 3
    unrolled = num_frames <= _MAX_UNROLLED_FRAMES
    # The first step of an unrolled loop can skip the convolutions of a zero state.
    from_zero = (
        unrolled and initial_state is None and not mixing and ops.fused_ops_enabled()
    )
    loop = _unrolled if unrolled else _scanned
    if initial_state is None:
        initial_state = tf.zeros_like(inputs[:, 0, ..., :channels])

    @ops.custom_gradient
    def run(inputs, initial_state, *weights):
        cell = _Cell(*weights, from_zero=from_zero)
        x_gates, x_candidate = tf.split(inputs, [2 * channels, channels], axis=-1)
        _, (states, gates, candidates) = loop(
            cell.forward,
            range(num_frames),
            initial_state,
            [x_gates, x_candidate, cell.factor],
            [channels, 2 * channels, channels],
        )

        def gradient(d_states):
            before = tf.concat([initial_state[:, tf.newaxis], states[:, :-1]], axis=1)
            d_initial, (d_gates, d_candidates, *d_mixed) = loop(
                cell.backward,
                range(num_frames)[::-1],
                tf.zeros_like(initial_state),
                [d_states, before, gates, candidates, cell.factor],
                [2 * channels, channels, *[channels] * bool(mixing)],
            )
            d_inputs = tf.concat([d_gates, d_candidates], axis=-1)
            d_weights = cell.weight_gradients(
                before, gates, d_gates, d_candidates, *d_mixed
            )
            return _sum_if_repeated(inputs, d_inputs), d_initial, *d_weights

        return states, gradient

    return run(inputs, tf.cast(initial_state, inputs.dtype), *kernels, *mixing)


@dataclasses.dataclass(frozen=True, eq=False)
class _Cell:
    """One forward and one backward step of a (multiplicative) ConvGRU.

    Attributes:
      gate_kernel: `[k, k, channels, 2 * channels]`.
      candidate_kernel: `[k, k, channels, channels]`.
      mix_kernel: `[1, 1, channels, channels]`, None for a plain ConvGRU.
      mix_bias: `[channels]`, None for a plain ConvGRU.
      factor: `[batch, time or 1, height, width, channels]`, W_gx * x + b_gx; None for a
        plain ConvGRU.
      from_zero: whether the initial state is zero.
    """

    gate_kernel: tf.Tensor
    candidate_kernel: tf.Tensor
    mix_kernel: tf.Tensor | None = None
    mix_bias: tf.Tensor | None = None
    factor: tf.Tensor | None = None
    from_zero: bool = False

    def forward(self, t, h, frame):
        """Returns the next state, and what the gradient needs of this step."""
        x_gates, x_candidate, factor = frame
        if self.from_zero and t == 0:
            gates, c = tf.sigmoid(x_gates), tf.nn.relu(x_candidate)
            _, u = tf.split(gates, 2, axis=-1)
            h = (1.0 - u) * c
        else:
            g = self._mixed(h, factor)
            gates = tf.sigmoid(ops.conv2d(g, self.gate_kernel) + x_gates)
            r, u = tf.split(gates, 2, axis=-1)
            c = tf.nn.relu(ops.conv2d(r * g, self.candidate_kernel) + x_candidate)
            h = c + u * (g - c)  # u g + (1 - u) c in three passes over memory
        return h, (h, gates, c)

    def backward(self, t, d_after, frame):
        """Returns the gradients of the previous state and of the pre-activations."""
        d_h, h, gates, c, factor = frame
        d_h += d_after
        r, u = tf.split(gates, 2, axis=-1)
        d_kept = d_h * u
        d_c = tf.raw_ops.ReluGrad(gradients=d_h - d_kept, features=c)
        if self.from_zero and t == 0:
            d_gates = tf.concat([tf.zeros_like(r), -d_h * c], axis=-1)
            d_gates = tf.raw_ops.SigmoidGrad(y=gates, dy=d_gates)
            return tf.zeros_like(h), (d_gates, d_c)
        g = self._mixed(h, factor)
        d_rg = ops.conv2d_input_gradient(d_c, self.candidate_kernel)
        d_gates = tf.concat([d_rg * g, d_h * (g - c)], axis=-1)
        d_gates = tf.raw_ops.SigmoidGrad(y=gates, dy=d_gates)
        d_g = d_kept + d_rg * r
        d_g += ops.conv2d_input_gradient(d_gates, self.gate_kernel)
        if self.factor is None:
            return d_g, (d_gates, d_c)
        d_h = ops.conv2d_input_gradient(d_g * factor, self.mix_kernel)
        return d_h, (d_gates, d_c, d_g)

    def _linear(self, h):
        return ops.conv2d(h, self.mix_kernel, bias=self.mix_bias)

    def _mixed(self, h, factor):
        """Returns the state that enters the gates: h itself, or g."""
        return h if factor is None else self._linear(h) * factor

    def weight_gradients(self, h, gates, d_gates, d_candidates, d_mixed=None):
        """Returns the gradients of the cell's tensors from those of all frames."""
        if self.from_zero:
            h, gates = h[:, 1:], gates[:, 1:]
            d_gates, d_candidates = d_gates[:, 1:], d_candidates[:, 1:]
        g = self._mixed(h, self.factor)
        r, _ = tf.split(gates, 2, axis=-1)
        size = self.gate_kernel.shape[0]
        gradients = [
            ops.conv2d_kernel_gradient(g, d_gates, size),
            ops.conv2d_kernel_gradient(r * g, d_candidates, size),
        ]
        if self.factor is not None:
            d_linear = d_mixed * self.factor
            gradients += [
                ops.conv2d_kernel_gradient(h, d_linear, 1),
                tf.reduce_sum(d_linear, axis=[0, 1, 2, 3]),
                _sum_if_repeated(self.factor, d_mixed * self._linear(h)),
            ]
        return gradients


def _sum_if_repeated(x, gradient):
    """Sums a gradient over time if `x` was the same in all frames."""
    if x.shape[1] == gradient.shape[1]:
        return gradient
    return tf.reduce_sum(gradient, axis=1, keepdims=True)


def _unrolled(step, times, carry, sequences, channels):
    """Scans over time in an unrolled graph.

    Args:
      step: maps (time, carry, frame of each sequence) to (carry, tuple of outputs).
      times: frame numbers, ascending or descending.
      carry: `[batch, height, width, channels]`, the initial carry.
      sequences: each `[batch, time or 1, height, width, any]`, or None.
      channels: number of channels of each output.

    Returns:
      The last carry, and for each output `[batch, time, height, width, channels]`, in
      ascending order of frames.
    """
    del channels
    frames = [
        [None] * len(times)
        if s is None
        else tf.unstack(s, axis=1) * (len(times) // s.shape[1])
        for s in sequences
    ]
    kept = {}
    for t in times:
        carry, kept[t] = step(t, carry, [f[t] for f in frames])
    in_order = zip(*(kept[t] for t in sorted(kept)), strict=True)
    return carry, [tf.stack(k, axis=1) for k in in_order]


def _scanned(step, times, carry, sequences, channels):
    """Scans over time in a `tf.while_loop`; arguments and results as in `_unrolled`."""
    frames = [
        s if s is None or s.shape[1] == 1 else tf.transpose(s, [1, 0, 2, 3, 4])
        for s in sequences
    ]

    def body(i, carry, arrays):
        t = times[0] + i * times.step
        at_t = [
            f if f is None else f[:, 0] if s.shape[1] == 1 else f[t]
            for f, s in zip(frames, sequences, strict=True)
        ]
        carry, kept = step(t, carry, at_t)
        arrays = [a.write(t, k) for a, k in zip(arrays, kept, strict=True)]
        return i + 1, carry, tuple(arrays)

    arrays = [
        tf.TensorArray(carry.dtype, len(times), element_shape=[*carry.shape[:-1], c])
        for c in channels
    ]
    _, carry, arrays = tf.while_loop(
        lambda i, *_: i < len(times),
        body,
        (tf.constant(0), carry, tuple(arrays)),
        maximum_iterations=len(times),
    )
    return carry, [tf.transpose(a.stack(), [1, 0, 2, 3, 4]) for a in arrays]
