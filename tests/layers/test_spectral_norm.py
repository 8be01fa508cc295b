"""Spectral normalization against SVD and finite differences."""

import numpy as np
import pytest
import tensorflow as tf

from tf_dvdgan import layers
from tf_dvdgan.layers import spectral_norm

CASES = {
    "dense": (lambda: layers.SpectralDense(5), (2, 7)),
    "conv2d": (lambda: layers.SpectralConv2D(5), (2, 4, 6, 3)),
    "conv2d_up": (lambda: layers.SpectralConv2D(5, resample="up"), (2, 4, 6, 3)),
    "conv2d_down": (lambda: layers.SpectralConv2D(5, resample="down"), (2, 4, 6, 3)),
    "conv3d": (lambda: layers.SpectralConv3D(5), (2, 4, 4, 6, 3)),
    "conv3d_pool": (lambda: layers.SpectralConv3D(5, pool=True), (2, 4, 4, 6, 3)),
}


def built(case):
    make, shape = CASES[case]
    layer = make()
    x = tf.random.stateless_normal(shape, [1, 2])
    layer(x)
    layer.kernel.assign(tf.random.stateless_normal(layer.kernel.shape, [3, 4]))
    return layer, x


def svd_norm(kernel) -> float:
    return np.linalg.svd(np.reshape(kernel, [-1, kernel.shape[-1]]))[1][0]


@pytest.mark.parametrize("case", CASES)
def test_sigma_becomes_the_largest_singular_value(case):
    layer, x = built(case)
    for _ in range(200):
        layer(x, training=True)
    sigma = svd_norm(layer.kernel.numpy())
    np.testing.assert_allclose(layer.largest_singular_value(), sigma, rtol=1e-5)
    np.testing.assert_allclose(svd_norm(layer.normalized_kernel().numpy()), 1.0, 1e-5)


def test_embedding_is_normalized_too_and_takes_mixtures_of_classes():
    layer = layers.SpectralEmbedding(6, 4)
    layer(tf.constant([0]))
    for _ in range(200):
        layer(tf.constant([0]), training=True)
    rows = layer.kernel.numpy() / svd_norm(layer.kernel.numpy())
    np.testing.assert_allclose(layer(tf.constant([2, 5])), rows[[2, 5]], atol=1e-5)
    mixture = tf.constant([[0.25, 0, 0, 0.75, 0, 0]])
    expected = 0.25 * rows[0] + 0.75 * rows[3]
    np.testing.assert_allclose(layer(mixture)[0], expected, atol=1e-5)


@pytest.mark.parametrize("case", ["dense", "conv2d"])
def test_gradient_equals_finite_differences_with_u_and_v_held(case):
    layer, _ = built(case)
    weights = np.random.default_rng(0).normal(size=layer.kernel.shape)
    kernel = layer.kernel.numpy().astype(np.float64)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer.normalized_kernel() * weights)
    gradient = tape.gradient(loss, layer.kernel).numpy()

    def unit(a):
        return a / np.linalg.norm(a)

    matrix = kernel.reshape(-1, layer.units)
    v = unit(matrix @ layer.u.numpy())
    u = unit(matrix.T @ v)

    def value(kernel):
        return np.sum(kernel / (v @ kernel.reshape(-1, layer.units) @ u) * weights)

    rng = np.random.default_rng(1)
    for index in rng.integers(0, kernel.size, 12):
        step = np.zeros(kernel.size)
        step[index] = 1e-5
        step = step.reshape(kernel.shape)
        numeric = (value(kernel + step) - value(kernel - step)) / 2e-5
        np.testing.assert_allclose(gradient.ravel()[index], numeric, atol=1e-5)


def test_u_moves_once_a_call_and_only_when_training():
    layer, x = built("conv2d")
    before = layer.u.numpy()
    layer(x, training=False)
    np.testing.assert_array_equal(layer.u, before)
    _, expected, _ = spectral_norm.power_iteration(
        tf.reshape(layer.kernel, [-1, layer.units]), layer.u
    )
    layer(x, training=True)
    np.testing.assert_array_equal(layer.u, expected)


def test_without_normalization_the_kernel_is_used_as_it_is():
    layer = layers.SpectralDense(3, spectral_normalization=False)
    layer(tf.ones([1, 2]))
    np.testing.assert_array_equal(layer.normalized_kernel(True), layer.kernel)
    assert not layer.non_trainable_variables


def test_kernels_begin_orthogonal_and_biases_zero():
    layer = layers.SpectralConv2D(8)
    layer(tf.ones([1, 4, 4, 8]))
    matrix = layer.kernel.numpy().reshape(-1, 8)
    np.testing.assert_allclose(matrix.T @ matrix, np.eye(8), atol=1e-5)
    np.testing.assert_array_equal(layer.bias, np.zeros(8))


def test_an_unknown_resampling_is_refused():
    with pytest.raises(ValueError, match="resample"):
        layers.SpectralConv2D(4, resample="sideways")
