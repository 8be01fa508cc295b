"""Attention against NumPy, and against the paper's pure function."""

import numpy as np
import pytest
import tensorflow as tf

from tf_dvdgan import layers
from tf_dvdgan.layers import attention


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def numpy_attention(x, q, k, v):
    return softmax((x @ q) @ np.swapaxes(x @ k, -1, -2)) @ (x @ v)


def numpy_separable(x, matrices):
    """Paper 001, appendix A, with the transposes its footnote asks for."""
    for (q, k, v), axis in zip(matrices, (3, 1, 2), strict=True):
        moved = np.moveaxis(x, axis, 3)  # [batch, other, other, axis, channels]
        x = np.moveaxis(numpy_attention(moved, q, k, v), 3, axis)
    return x


def random(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32)


def test_the_pure_function_equals_numpy():
    x = random(2, 3, 4, 5, 6)
    matrices = [
        [0.4 * random(6, 6, seed=3 * i + j) for j in range(3)] for i in range(3)
    ]
    flat = [m for triple in matrices for m in triple]
    found = attention.separable_attention(x, *flat)
    np.testing.assert_allclose(found, numpy_separable(x, matrices), atol=1e-5)


def built(kind, shape):
    layer = kind()
    layer(tf.zeros(shape))
    for i, v in enumerate(v for v in layer.trainable_variables if "gamma" in v.name):
        v.assign(0.3 + 0.1 * i)
    return layer


def weights(layer):
    return [
        getattr(layer, name).normalized_kernel().numpy()
        for name in ("theta", "phi", "g", "o")
    ]


def test_self_attention_equals_numpy():
    x = random(2, 3, 2, 4, 16)
    layer = built(layers.SelfAttention, x.shape)
    theta, phi, g, o = weights(layer)
    rows = x.reshape(2, 24, 16)
    scores = softmax((rows @ theta) @ np.swapaxes(rows @ phi, -1, -2))
    expected = rows + layer.gamma.numpy() * (scores @ (rows @ g) @ o)
    np.testing.assert_allclose(layer(x), expected.reshape(x.shape), atol=1e-5)
    assert theta.shape == (16, 2) and g.shape == (16, 8) and o.shape == (8, 16)


def test_attention_begins_as_the_identity():
    x = random(2, 3, 2, 4, 16)
    for kind in (layers.SelfAttention, layers.SeparableAttention):
        np.testing.assert_array_equal(kind()(x), x)


def test_attention_of_each_frame_alone_does_not_mix_frames():
    x = random(2, 3, 2, 4, 16)
    layer = built(lambda: layers.SelfAttention(per_frame=True), x.shape)
    y = layer(x).numpy()
    other = x.copy()
    other[:, 2] *= -1
    changed = np.abs(layer(other) - y).max(axis=(0, 2, 3, 4))
    assert changed[2] > 0.1 and changed[:2].max() < 1e-6


def test_keys_and_values_of_frames_are_max_pooled_where_asked_for():
    """As BigGAN has it; queries keep their size."""
    x = random(2, 3, 4, 6, 16)
    layer = built(lambda: layers.SelfAttention(per_frame=True, max_pool=True), x.shape)
    theta, phi, g, o = weights(layer)

    def pooled(y):  # [rows, 4, 6, channels] to [rows, 6 positions, channels]
        y = y.reshape(6, 2, 2, 3, 2, y.shape[-1]).max(axis=(2, 4))
        return y.reshape(6, 6, -1)

    frames = x.reshape(6, 4, 6, 16)
    rows = frames.reshape(6, 24, 16)
    keys, values = pooled(frames @ phi), pooled(frames @ g)
    scores = softmax((rows @ theta) @ np.swapaxes(keys, -1, -2))
    expected = rows + layer.gamma.numpy() * (scores @ values @ o)
    np.testing.assert_allclose(layer(x), expected.reshape(x.shape), atol=1e-5)


def test_max_pooling_is_refused_where_it_would_pool_time():
    with pytest.raises(ValueError, match="max_pool"):
        layers.SelfAttention(max_pool=True)


def test_separable_attention_is_the_pure_function_axis_by_axis_with_residuals():
    """Its matrices: theta and phi with zeros behind them, gamma g o."""
    x = random(2, 5, 3, 4, 16)  # [batch, time, height, width, channels]
    layer = built(layers.SeparableAttention, x.shape)
    expected = np.moveaxis(x, 1, 3)  # [batch, height, width, time, channels]
    for axis, name in enumerate(("height", "width", "time"), 1):  # 002, section 3.2
        part = getattr(layer, f"over_{name}")
        theta, phi, g, o = weights(part)
        pad = np.zeros([16, 14], np.float32)
        q, k = np.concatenate([theta, pad], 1), np.concatenate([phi, pad], 1)
        v = part.gamma.numpy() * (g @ o)
        moved = np.moveaxis(expected, axis, 3)
        moved = moved + numpy_attention(moved, q, k, v)
        expected = np.moveaxis(moved, 3, axis)
    np.testing.assert_allclose(np.moveaxis(layer(x), 1, 3), expected, atol=1e-5)


def largest_tensor(function, x) -> int:
    """Elements of the largest tensor in a function's graph, but for its input."""
    graph = tf.function(function).get_concrete_function(x).graph
    sizes = [
        np.prod(output.shape.as_list())
        for operation in graph.get_operations()
        for output in operation.outputs
        if output.shape.rank is not None and output.dtype.is_floating
    ]
    return int(max(sizes))


def test_nothing_of_the_square_of_all_positions_is_ever_made():
    height, width, time, channels = 6, 7, 5, 8
    positions = height * width * time
    x = tf.zeros([1, time, height, width, channels])
    layer = layers.SeparableAttention()
    layer(x)
    bound = positions * max(height, width, time, channels)
    assert largest_tensor(layer, x) <= bound < positions**2
    matrices = [tf.zeros([channels, channels])] * 9
    pure = tf.zeros([1, height, width, time, channels])
    assert (
        largest_tensor(lambda x: attention.separable_attention(x, *matrices), pure)
        <= bound
    )
    full = layers.SelfAttention()
    full(x)
    assert largest_tensor(full, x) == positions**2
