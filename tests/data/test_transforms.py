import numpy as np
import tensorflow as tf

from tf_dvdgan.data import transforms


def test_integers_go_to_the_unit_range_and_back():
    values = tf.range(256)
    unit = transforms.to_unit_range(values)
    assert float(unit[0]) == -1.0 and float(unit[-1]) == 1.0
    np.testing.assert_array_equal(transforms.to_uint8(unit), values)
    np.testing.assert_array_equal(transforms.to_uint8([-3.0, 3.0]), [0, 255])
