"""Normalizations that need no batch, against NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from tf_dvdgan import layers


def random(*shape, seed=0):
    return tf.random.stateless_normal(shape, [seed, 5]) * 2.0 + 1.0


def grouped(x: np.ndarray, groups: int) -> np.ndarray:
    b, t, h, w, c = x.shape
    parts = x.reshape(b, t, h, w, groups, c // groups)
    mean = parts.mean((2, 3, 5), keepdims=True)
    variance = parts.var((2, 3, 5), keepdims=True)
    return ((parts - mean) / np.sqrt(variance + 1e-4)).reshape(x.shape)


@pytest.mark.parametrize(("num_groups", "groups"), [(3, 3), (1, 1), (-1, 6), (32, 6)])
def test_group_layer_and_instance_normalization(num_groups, groups):
    x = random(2, 3, 4, 5, 6)
    y = layers.GroupNorm(num_groups)(x)
    np.testing.assert_allclose(y, grouped(x.numpy(), groups), atol=1e-5)


def test_training_makes_no_difference_without_a_batch():
    x = random(2, 3, 4, 5, 6)
    layer = layers.GroupNorm(2)
    np.testing.assert_array_equal(layer(x, training=True), layer(x, training=False))
    np.testing.assert_array_equal(layer(x[:1]), layer(x)[:1])


@pytest.mark.parametrize(
    ("make", "normalize"),
    [
        (lambda: layers.ConditionalGroupNorm(2), lambda x: grouped(x, 2)),
        (layers.ConditionalNoNorm, lambda x: x),
    ],
)
def test_a_condition_scales_and_shifts(make, normalize):
    x, c = random(2, 3, 4, 5, 6), random(2, 7, seed=1)
    layer = make()
    layer(x, c)
    scale = 1 + c.numpy() @ layer.scale.normalized_kernel().numpy()
    offset = c.numpy() @ layer.offset.normalized_kernel().numpy()
    expected = normalize(x.numpy()) * scale[:, None, None, None]
    expected += offset[:, None, None, None]
    np.testing.assert_allclose(layer(x, c), expected, atol=1e-4)


def test_without_scale_and_offset_there_are_no_weights():
    layer = layers.BatchNorm(affine=False)
    x = random(8, 1, 1, 1, 6)
    y = layer(x, training=True)
    assert not layer.trainable_variables
    np.testing.assert_allclose(tf.reduce_mean(y, 0), tf.zeros([1, 1, 1, 6]), atol=1e-5)


def test_channels_that_cannot_be_parted_are_refused():
    with pytest.raises(ValueError, match="num_groups=4"):
        layers.GroupNorm(4)(random(1, 1, 2, 2, 6))
