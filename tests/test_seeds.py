"""Seeds of initial weights are not left in the process."""

import random

import numpy as np
import pytest
import tensorflow as tf

from tf_dvdgan import errors, seeds


def numbers() -> list[float]:
    """A number of each generator that `set_random_seed` seeds."""
    kernel = tf.keras.layers.Dense(1)
    kernel.build([1, 1])
    return [
        random.random(),
        np.random.random(),
        float(tf.random.uniform([])),
        float(kernel.kernel[0, 0]),
    ]


def test_everything_is_seeded_as_by_keras():
    tf.keras.utils.set_random_seed(5)
    expected = numbers()
    with seeds.seeded(5):
        assert numbers() == expected


@pytest.mark.parametrize("own", [None, 3])
def test_nothing_is_left_behind(own):
    def start():
        random.seed(1)
        np.random.seed(2)
        tf.random.set_seed(own)

    start()
    expected = numbers()
    start()
    with seeds.seeded(5):
        numbers()
    found = numbers()
    assert found[:2] == expected[:2]
    assert (found[2] == expected[2]) == (own is not None)


@pytest.mark.parametrize("seed", [-1, 2**32, 1.5, None])
def test_a_seed_out_of_range_is_refused(seed):
    with pytest.raises(errors.UserError, match=r"`seed` must .* from 0 to 42949672"):
        with seeds.seeded(seed):
            pass


def test_also_after_an_error():
    random.seed(1)
    expected = random.random()
    random.seed(1)
    with pytest.raises(ZeroDivisionError), seeds.seeded(5):
        raise ZeroDivisionError
    assert random.random() == expected
