"""Fused resampling convolutions against their reference forms; drawing frames."""

import functools
import gc
import weakref

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import ops as tensorflow_ops

from tf_dvdgan import ops


def random(*shape: int, seed: int = 0) -> tf.Tensor:
    return tf.random.stateless_normal(shape, [seed, len(shape)])


def plain_upsample(x):
    return tf.repeat(tf.repeat(x, 2, axis=-3), 2, axis=-2)


def plain_conv(x, kernel):
    return tf.nn.conv2d(x, kernel, 1, "SAME")


def assert_same_with_gradients(fused, plain, x, kernel):
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([x, kernel])
        a, b = fused(x, kernel), plain(x, kernel)
        weights = random(*a.shape, seed=7)
        loss_a, loss_b = tf.reduce_sum(a * weights), tf.reduce_sum(b * weights)
    np.testing.assert_allclose(a, b, atol=1e-5)
    for of in (x, kernel):
        np.testing.assert_allclose(
            tape.gradient(loss_a, of), tape.gradient(loss_b, of), atol=1e-4
        )


@pytest.mark.parametrize("size", [1, 3])
def test_upsampling_convolution_equals_nearest_then_convolution(size):
    assert_same_with_gradients(
        lambda x, k: ops.conv2d(x, k, "up"),
        lambda x, k: plain_conv(plain_upsample(x), k),
        random(2, 5, 6, 3),
        random(size, size, 3, 4),
    )


@pytest.mark.parametrize("size", [1, 3])
def test_downsampling_convolution_equals_convolution_then_average_pool(size):
    assert_same_with_gradients(
        lambda x, k: ops.conv2d(x, k, "down"),
        lambda x, k: tf.nn.avg_pool2d(plain_conv(x, k), 2, 2, "VALID"),
        random(2, 6, 8, 3),
        random(size, size, 3, 4),
    )


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("num_frames", [4, 5, 1])
@pytest.mark.parametrize("pool_time", [True, False])
def test_pooled_3d_convolution_equals_convolution_then_pool(
    size, num_frames, pool_time
):
    def plain(x, kernel):
        y = tf.nn.conv3d(x, kernel, [1] * 5, "SAME")
        factors = [2 if pool_time else 1, 2, 2]
        return tf.nn.avg_pool3d(y, factors, factors, "SAME")

    assert_same_with_gradients(
        lambda x, k: ops.conv3d(x, k, pool=True, pool_time=pool_time),
        plain,
        random(2, num_frames, 4, 6, 3),
        random(size, size, size, 3, 4),
    )


def rounded(*shape: int, seed: int) -> tf.Tensor:
    """Float32 numbers that bfloat16 has."""
    return tf.cast(tf.cast(random(*shape, seed=seed), tf.bfloat16), tf.float32)


def with_gradients(function, x, kernel, weights) -> list[np.ndarray]:
    with tf.GradientTape() as tape:
        tape.watch([x, kernel])
        y = function(x, kernel)
        loss = tf.reduce_sum(y * weights)
    found = [y, *tape.gradient(loss, [x, kernel])]
    return [tf.cast(value, tf.float32).numpy() for value in found]


TAPS = [((3, 3, 3), (1, 1, 1)), ((3, 3, 3), (1, 2, 2)), ((4, 4, 4), (2, 2, 2))]


@pytest.mark.parametrize("size", [(1, 1, 1), (2, 4, 4), (2, 1, 2), (4, 4, 4)])
@pytest.mark.parametrize(("taps", "strides"), TAPS)
def test_gradients_in_bfloat16_are_those_of_float32(size, taps, strides):
    """oneDNN's are not, of videos that are smaller than the kernel."""
    x = [2, *(n * s for n, s in zip(size, strides, strict=True)), 16]
    y, kernel = [2, *size, 32], rounded(*taps, 16, 32, seed=1)
    window = {"strides": [1, *strides, 1], "padding": "SAME"}
    plain = functools.partial(tf.nn.conv3d, **window)
    ours = functools.partial(ops.same_conv3d, strides=strides)
    tensors = [rounded(*x, seed=2), kernel, rounded(*y, seed=3)]
    expected = with_gradients(plain, *tensors)
    for found in (
        with_gradients(ours, *(tf.cast(t, tf.bfloat16) for t in tensors)),
        with_gradients(tf.function(ours), *(tf.cast(t, tf.bfloat16) for t in tensors)),
        with_gradients(ours, *tensors),
    ):
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, atol=0.01 * np.abs(b).max())


def test_a_bias_in_bfloat16_gets_the_gradient_of_every_pixel():
    """100,000 numbers of one sign, of which TensorFlow's own gradient loses 99 %."""
    weights = tf.abs(rounded(4, 8, 56, 56, 16, seed=1))
    expected = tf.reduce_sum(weights, axis=[0, 1, 2, 3])
    bias = rounded(16, seed=2)
    for dtype in (tf.bfloat16, tf.float32):
        with tf.GradientTape() as tape:
            tape.watch(bias)
            y = ops.add_bias(tf.zeros(weights.shape, dtype), tf.cast(bias, dtype))
            total = tf.reduce_sum(y * tf.cast(weights, dtype))
        np.testing.assert_array_equal(tf.cast(y[0, 0, 0, 0], tf.float32), bias)
        gradient = tape.gradient(total, bias)
        np.testing.assert_allclose(gradient, expected, rtol=0.01)


def test_pooling_an_odd_time_counts_only_real_frames():
    x = random(1, 3, 2, 2, 1)
    pooled = ops.average_pool(x, time=True)
    np.testing.assert_allclose(pooled[0, 1, 0, 0, 0], tf.reduce_mean(x[0, 2]), 1e-5)


def test_frames_of_a_sample_stay_together_when_time_folds():
    x = tf.reshape(tf.range(2 * 3), [2, 3, 1, 1, 1])
    seen = []
    y = ops.on_frames(lambda f: seen.append(f) or f, x)
    np.testing.assert_array_equal(tf.reshape(seen[0], [-1]), range(6))
    np.testing.assert_array_equal(y, x)


def test_upsample_repeats_pixels():
    x = random(2, 3, 2, 4, 2)
    np.testing.assert_array_equal(ops.upsample(x), plain_upsample(x))


def test_drawn_frames_are_of_their_own_video_and_never_twice():
    videos = tf.reshape(tf.range(5 * 8), [5, 8, 1, 1, 1])
    uniform_noise = tf.random.stateless_uniform([5, 8], [0, 1])
    drawn = ops.sample_frames(videos, uniform_noise, 6).numpy().reshape(5, 6)
    for i, row in enumerate(drawn):
        assert len(set(row)) == 6
        assert set(row) <= set(range(8 * i, 8 * i + 8))
    assert len({tuple(sorted(row % 8)) for row in drawn}) > 1


def test_every_frame_is_drawn_equally_often():
    videos = tf.tile(tf.reshape(tf.range(6), [1, 6, 1, 1, 1]), [6000, 1, 1, 1, 1])
    uniform_noise = tf.random.stateless_uniform([6000, 6], [0, 2])
    counts = np.bincount(ops.sample_frames(videos, uniform_noise, 2).numpy().ravel())
    np.testing.assert_allclose(counts / 2000, 1.0, atol=0.08)


def test_half_crops_lie_where_the_noise_says():
    rows, columns = tf.meshgrid(tf.range(8), tf.range(8), indexing="ij")
    video = tf.stack([rows, columns], -1)[tf.newaxis, tf.newaxis]
    videos = tf.tile(video, [3, 2, 1, 1, 1])
    uniform_noise = tf.constant([[0.0, 0.0], [0.999, 0.999], [0.5, 0.25]])
    corner = ops.random_half_crop(videos, uniform_noise)[:, 1, 0, 0]
    np.testing.assert_array_equal(corner, [[0, 0], [4, 4], [2, 1]])
    assert ops.random_half_crop(videos, uniform_noise).shape == [3, 2, 4, 4, 2]


def test_a_graph_with_gradients_of_its_own_is_freed():
    @ops.custom_gradient
    def twice(x):
        return 2 * x, lambda gradient: 5 * gradient  # not the true one

    table = tensorflow_ops.gradient_registry._registry
    others = set(table)  # of other tests' graphs; they may be freed meanwhile

    def graphs_and_names() -> tuple[list[weakref.ref], set[str]]:
        variable = tf.Variable(3.0)

        @tf.function
        def inner(count):
            total = tf.zeros([])
            for _ in tf.range(count):
                total += twice(variable)
            return total

        @tf.function
        def outer(count):
            with tf.GradientTape() as tape:
                total = inner(count)
            return total, tape.gradient(total, variable)

        assert [float(x) for x in outer(tf.constant(4))] == [24, 20]
        with tf.GradientTape() as tape:
            total = inner(tf.constant(3))
        assert float(tape.gradient(total, variable)) == 15
        functions = (f.get_concrete_function(tf.constant(4)) for f in (inner, outer))
        graphs = [weakref.ref(function.graph) for function in functions]
        return graphs, set(table) - others

    graphs, names = graphs_and_names()
    gc.collect()
    assert [graph() for graph in graphs] == [None, None]
    assert names and not names & set(table)
