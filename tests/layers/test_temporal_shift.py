import numpy as np
import tensorflow as tf

from tf_dvdgan import layers


def test_a_third_moves_forward_a_third_back_the_rest_stays():
    x = np.random.default_rng(0).normal(size=[2, 5, 2, 3, 8]).astype(np.float32)
    expected = x.copy()
    expected[:, 1:, ..., :2], expected[:, 0, ..., :2] = x[:, :-1, ..., :2], 0
    expected[:, :-1, ..., 2:4], expected[:, -1, ..., 2:4] = x[:, 1:, ..., 2:4], 0
    np.testing.assert_array_equal(layers.TemporalShift()(tf.constant(x)), expected)
