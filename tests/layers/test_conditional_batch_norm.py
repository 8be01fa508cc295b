"""Batch norm's statistics per time step, and standing statistics."""

import numpy as np
import pytest
import tensorflow as tf

from tf_dvdgan import layers
from tf_dvdgan.layers import conditional_batch_norm as cbn


def random(*shape, seed=0):
    return tf.random.stateless_normal(shape, [seed, 5]) * 2.0 + 1.0


def normalized(x: np.ndarray, axes) -> np.ndarray:
    mean = x.mean(axes, keepdims=True)
    return (x - mean) / np.sqrt(x.var(axes, keepdims=True) + 1e-4)


def test_statistics_are_of_each_time_step_alone():
    x = random(3, 4, 5, 6, 2)
    layer = layers.BatchNorm()
    y = layer(x, training=True)
    np.testing.assert_allclose(y, normalized(x.numpy(), (0, 2, 3)), atol=1e-5)
    other = tf.concat([x[:, :3], 9.0 * x[:, 3:]], axis=1)
    np.testing.assert_array_equal(layer(other, training=True)[:, :3], y[:, :3])


def test_statistics_over_time_too_when_asked():
    x = random(3, 4, 5, 6, 2)
    y = layers.BatchNorm(per_time_step=False)(x, training=True)
    np.testing.assert_allclose(y, normalized(x.numpy(), (0, 1, 2, 3)), atol=1e-5)


def test_condition_scales_and_shifts_each_sample():
    x, c = random(3, 4, 5, 6, 2), random(3, 7, seed=1)
    layer = layers.ConditionalBatchNorm()
    layer(x, c)
    a = layer.scale.normalized_kernel().numpy()
    b = layer.offset.normalized_kernel().numpy()
    y = layer(x, c, training=True)
    scale = (1 + c.numpy() @ a)[:, None, None, None]
    offset = (c.numpy() @ b)[:, None, None, None]
    expected = normalized(x.numpy(), (0, 2, 3)) * scale + offset
    np.testing.assert_allclose(y, expected, atol=2e-5)


def test_each_frame_may_have_a_condition_of_its_own():
    x, c = random(3, 4, 5, 6, 2), random(3, 7, seed=1)
    layer = layers.ConditionalBatchNorm()
    same = layer(x, c, training=False)
    repeated = tf.repeat(c[:, tf.newaxis], 4, axis=1)
    np.testing.assert_allclose(layer(x, repeated, training=False), same, atol=1e-6)
    changed = tf.concat([repeated[:, :3], -repeated[:, 3:]], axis=1)
    y = layer(x, changed, training=False)
    np.testing.assert_allclose(y[:, :3], same[:, :3], atol=1e-6)
    assert np.abs(y[:, 3] - same[:, 3]).max() > 0.1


def test_standing_statistics_are_means_over_batches():
    layer = layers.BatchNorm()
    batches = [random(3, 4, 5, 6, 2, seed=s) * (s + 1.0) for s in range(5)]
    layer(batches[0])
    for x in batches:
        with cbn.accumulate_standing_statistics():
            layer(x, training=False)
    assert float(layer.standing_count) == 5.0
    mean, variance = layer.standing_statistics()
    arrays = [x.numpy() for x in batches]
    expected_mean = np.mean([x.mean((0, 2, 3)) for x in arrays], axis=0)
    expected_variance = np.mean([x.var((0, 2, 3)) for x in arrays], axis=0)
    np.testing.assert_allclose(mean, expected_mean, rtol=1e-5)
    np.testing.assert_allclose(variance, expected_variance, rtol=1e-5)
    shape = (4, 1, 1, 2)
    y = (arrays[0] - expected_mean.reshape(shape)) / np.sqrt(
        expected_variance.reshape(shape) + 1e-4
    )
    np.testing.assert_allclose(layer(batches[0], training=False), y, atol=1e-5)


def test_training_neither_uses_nor_changes_standing_statistics():
    layer = layers.BatchNorm()
    x = random(3, 4, 5, 6, 2)
    layer(x, training=True)
    assert float(layer.standing_count) == 0.0


def test_given_statistics_take_their_place():
    layer, other = layers.BatchNorm(name="norm"), layers.BatchNorm(name="norm")
    x = random(3, 4, 5, 6, 2)
    given = [(tf.fill([4, 2], 2.0), tf.fill([4, 2], 9.0))]
    with cbn.use_statistics([layer], given):
        y, of_other = layer(x, training=False), other(x, training=False)
    np.testing.assert_allclose(y, (x - 2.0) / np.sqrt(9.0 + 1e-4), atol=1e-5)
    np.testing.assert_allclose(of_other, x / np.sqrt(1.0 + 1e-4), atol=1e-5)
    with pytest.raises(ValueError, match="2 layers need a mean and"):
        with cbn.use_statistics([layer, other], given):
            pass


def test_statistics_are_float32_under_bfloat16():
    tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
    layer = layers.ConditionalBatchNorm()
    x = random(3, 2, 5, 6, 2)
    y = layer(x, random(3, 7, seed=1), training=True)
    assert y.dtype == tf.bfloat16
    assert all(v.dtype == tf.float32 for v in layer.variables)
    mean, _ = layer.batch_statistics(tf.cast(x, tf.bfloat16))
    assert mean.dtype == tf.float32
