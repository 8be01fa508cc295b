"""ConvGRU against its equations in NumPy, over five steps."""

import numpy as np
import pytest
import tensorflow as tf

from tf_dvdgan import layers
from tf_dvdgan.layers import conv_gru


def convolve(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """3x3 'SAME' convolution of `[batch, height, width, in]`, spelt out."""
    _, height, width, _ = x.shape
    padded = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
    return sum(
        padded[:, i : i + height, j : j + width] @ kernel[i, j]
        for i in range(3)
        for j in range(3)
    )


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def pointwise(layer, x):
    kernel = layer.normalized_kernel().numpy().astype(np.float64)[0, 0]
    return x @ kernel + layer.bias.numpy()


def oracle(layer, x, h):
    """Paper 001, appendix B.2, or paper 002, appendix A.2, line by line."""
    w_r, w_u, w_c = (
        part.normalized_kernel().numpy().astype(np.float64)
        for part in (layer.reset, layer.update, layer.candidate)
    )
    b_r, b_u, b_c = (
        part.bias.numpy() for part in (layer.reset, layer.update, layer.candidate)
    )
    states = []
    for t in range(x.shape[1]):
        if isinstance(layer, layers.MultiplicativeConvGRU):
            h = pointwise(layer.mix_state, h) * pointwise(layer.mix_input, x[:, t])
        both = np.concatenate([h, x[:, t]], -1)
        r = sigmoid(convolve(both, w_r) + b_r)
        u = sigmoid(convolve(both, w_u) + b_u)
        c = np.maximum(convolve(np.concatenate([x[:, t], r * h], -1), w_c) + b_c, 0)
        h = u * h + (1 - u) * c
        states.append(h)
    return np.stack(states, 1)


@pytest.fixture(params=["unrolled", "scanned"])
def way(request, monkeypatch):
    if request.param == "scanned":
        monkeypatch.setattr(conv_gru, "_MAX_UNROLLED_FRAMES", 0)


@pytest.fixture(params=[layers.ConvGRU, layers.MultiplicativeConvGRU])
def kind(request):
    return request.param


def make(kind=layers.ConvGRU, channels=3):
    layer = kind()
    layer.build([None, 5, 4, 6, channels])
    parts = [m for m in layer.submodules if isinstance(m, layers.SpectralConv2D)]
    assert len(parts) == (3 if kind is layers.ConvGRU else 5)
    for i, part in enumerate(parts):
        part.bias.assign(tf.random.stateless_normal([channels], [i, 9]))
    return layer


@pytest.mark.usefixtures("way")
def test_five_steps_equal_numpy(kind):
    layer, x = make(kind), tf.random.stateless_normal([2, 5, 4, 6, 3], [1, 1])
    expected = oracle(layer, x.numpy(), np.zeros([2, 4, 6, 3]))
    np.testing.assert_allclose(layer(x), expected, atol=1e-5)


@pytest.mark.usefixtures("way")
def test_it_starts_from_a_given_state(kind):
    layer, x = make(kind), tf.random.stateless_normal([2, 5, 4, 6, 3], [1, 1])
    h = tf.random.stateless_normal([2, 4, 6, 3], [2, 2])
    np.testing.assert_allclose(layer(x, h), oracle(layer, x, h.numpy()), atol=1e-5)


@pytest.mark.usefixtures("way")
def test_a_constant_input_equals_the_same_input_at_every_step(kind):
    layer, x = make(kind), tf.random.stateless_normal([2, 1, 4, 6, 3], [1, 1])
    y = layer(x, num_frames=5)
    np.testing.assert_allclose(y, layer(tf.repeat(x, 5, axis=1)), atol=1e-6)


def plain(layer, x, h, num_frames):
    """The equations as they stand, differentiated by TensorFlow."""
    multiplicative = isinstance(layer, layers.MultiplicativeConvGRU)
    parts = [layer.reset, layer.update, layer.candidate]
    w_r, w_u, w_c = (part.normalized_kernel() for part in parts)
    if multiplicative:
        w_gh = layer.mix_state.normalized_kernel()
        w_gx = layer.mix_input.normalized_kernel()

    def conv(values, kernel, part):
        return tf.nn.conv2d(values, kernel, 1, "SAME") + part.bias

    states = []
    for t in range(num_frames):
        frame = x[:, t % x.shape[1]]
        if multiplicative:
            h = conv(h, w_gh, layer.mix_state) * conv(frame, w_gx, layer.mix_input)
        both = tf.concat([h, frame], -1)
        r = tf.sigmoid(conv(both, w_r, layer.reset))
        u = tf.sigmoid(conv(both, w_u, layer.update))
        c = tf.nn.relu(conv(tf.concat([frame, r * h], -1), w_c, layer.candidate))
        h = u * h + (1 - u) * c
        states.append(h)
    return tf.stack(states, 1)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("constant_input", [True, False])
@pytest.mark.parametrize("initial_state", [True, False])
def test_all_gradients_equal_those_of_the_plain_loop(
    kind, constant_input, initial_state
):
    layer = make(kind)
    frames = 1 if constant_input else 5
    x = tf.random.stateless_normal([2, frames, 4, 6, 3], [1, 1])
    h = tf.random.stateless_normal([2, 4, 6, 3], [2, 2])
    weights = tf.random.stateless_normal([2, 5, 4, 6, 3], [3, 3])

    def gradients(function):
        start = h if initial_state else tf.zeros_like(h)
        with tf.GradientTape() as tape:
            tape.watch([x, start])
            y = function(layer, x, start)
            loss = tf.reduce_sum(weights * tf.square(y))
        sources = [x, *layer.trainable_variables, *[start] * initial_state]
        return tape.gradient(loss, sources)

    ours = gradients(
        tf.function(lambda layer, x, h: layer(x, h if initial_state else None, 5))
    )
    expected = gradients(lambda layer, x, h: plain(layer, x, h, 5))
    for a, b in zip(ours, expected, strict=True):
        largest = np.abs(b).max()  # the loss makes some of them thousands
        np.testing.assert_allclose(a / largest, b / largest, atol=1e-5)


def test_scan_and_unrolled_loop_have_the_same_gradients(kind, monkeypatch):
    layer, x = make(kind), tf.random.stateless_normal([2, 5, 4, 6, 3], [1, 1])

    def gradients():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(layer(x)))
        return tape.gradient(loss, layer.trainable_variables)

    unrolled = gradients()
    monkeypatch.setattr(conv_gru, "_MAX_UNROLLED_FRAMES", 0)
    for a, b in zip(unrolled, gradients(), strict=True):
        largest = np.abs(a).max()
        np.testing.assert_allclose(a / largest, b / largest, atol=1e-6)


def test_kernels_are_normalized_once_a_forward_pass():
    layer, x = make(), tf.random.stateless_normal([2, 5, 4, 6, 3], [1, 1])
    twin = layers.SpectralConv2D(3)
    twin.build([2, 4, 6, 6])
    twin.kernel.assign(layer.reset.kernel)
    twin.u.assign(layer.reset.u)
    twin.normalized_kernel(training=True)
    layer(x, training=True)
    np.testing.assert_array_equal(layer.reset.u, twin.u)


@pytest.mark.parametrize(("factor_bias", "moves"), [(0.0, False), (2.0, True)])
def test_a_factor_of_two_keeps_the_state_moving(factor_bias, moves):
    """With a small constant input, as in DVD-GAN v1; see docs/learned.md."""
    layer = layers.MultiplicativeConvGRU(factor_bias=factor_bias)
    x = 0.35 * tf.random.stateless_normal([4, 1, 4, 4, 16], [0, 1])
    states = layer(x, num_frames=8).numpy()
    expected = oracle(layer, np.repeat(x, 8, axis=1), np.zeros([4, 4, 4, 16]))
    np.testing.assert_allclose(states, expected, atol=1e-5)
    last_change = np.linalg.norm(states[:, 7] - states[:, 6])
    assert (last_change > 0.2 * np.linalg.norm(states[:, 7])) == moves
    assert (last_change < 1e-3 * np.linalg.norm(states[:, 7])) == (not moves)
    again = layers.MultiplicativeConvGRU.from_config(layer.get_config())
    again.build([None, 1, 4, 4, 16])
    np.testing.assert_array_equal(again.mix_input.bias, [factor_bias] * 16)
