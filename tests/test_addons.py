"""Our moving average and warp against TensorFlow Addons', where Addons is installed."""

import numpy as np
import pytest
import tensorflow as tf

from tf_dvdgan import addons
from tf_dvdgan.flow import warp

with_addons = pytest.mark.skipif(not addons.HAS_ADDONS, reason="Addons is for 2.15")
Adam = tf.keras.optimizers.legacy.Adam


class Run(tf.Module):
    """Two variables, an optimizer and the updates of a short training."""

    def __init__(self, moving_average: type, compiled: bool):
        super().__init__()
        self.weights = tf.Variable(random(3, 4), name="weights")
        self.table = tf.Variable(random(5, 2, seed=1), name="table")
        adam = Adam(0.1, 0.0, 0.999, 1e-6)
        self.optimizer = moving_average(adam, average_decay=0.9, start_step=2)
        addons.create_slots(self.optimizer, [self.weights, self.table])
        self._step = tf.function(self._update, jit_compile=compiled)

    def _update(self, target: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            rows = tf.gather(self.table, [1, 3, 3])  # its gradient is sparse
            loss = tf.reduce_sum((self.weights - target) ** 2) + tf.reduce_sum(rows**2)
        variables = [self.weights, self.table]
        self.optimizer.apply_gradients(
            zip(tape.gradient(loss, variables), variables, strict=True)
        )

    def train(self, num_steps: int) -> list[np.ndarray]:
        found = []
        for step in range(num_steps):
            self._step(random(3, 4, seed=10 + step))
            for variable in (self.weights, self.table):
                average = self.optimizer.get_slot(variable, "average")
                found += [variable.numpy(), average.numpy()]
        return found


def random(*shape: int, seed: int = 0) -> tf.Tensor:
    return tf.random.stateless_normal(shape, [seed, 1])


@pytest.mark.parametrize("compiled", [False, True])
def test_the_average_is_the_weights_until_its_start_and_then_decays(compiled):
    found = Run(addons.OwnMovingAverage, compiled).train(6)
    weights, averages = found[0::4], found[1::4]
    for step in range(3):  # updates 0, 1 and 2, the first with decay
        if step < 2:
            np.testing.assert_array_equal(averages[step], weights[step])
    for step in range(2, 6):
        expected = 0.9 * averages[step - 1] + 0.1 * weights[step]
        np.testing.assert_allclose(averages[step], expected, atol=1e-6)
    assert np.abs(averages[-1] - weights[-1]).max() > 1e-3


@with_addons
@pytest.mark.parametrize("compiled", [False, True])
def test_our_average_is_that_of_addons_to_the_bit(compiled):
    ours = Run(addons.OwnMovingAverage, compiled).train(6)
    theirs = Run(addons.MovingAverage, compiled).train(6)
    assert addons.MovingAverage is not addons.OwnMovingAverage
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)


@with_addons
@pytest.mark.parametrize("ours_first", [False, True])
def test_checkpoints_have_the_same_keys_and_are_read_by_the_other(ours_first, tmp_path):
    kinds = [addons.OwnMovingAverage, addons.MovingAverage]
    writer, reader = (
        Run(kind, compiled=False) for kind in (kinds if ours_first else kinds[::-1])
    )
    expected = writer.train(3)[-4:]
    path = tf.train.Checkpoint(run=writer).write(str(tmp_path / "first"))
    other = tf.train.Checkpoint(run=reader).write(str(tmp_path / "other"))
    keys = [
        sorted(tf.train.load_checkpoint(p).get_variable_to_shape_map())
        for p in (path, other)
    ]
    assert keys[0] == keys[1] and len(keys[0]) > 10
    tf.train.Checkpoint(run=reader).read(path).assert_consumed()
    found = [
        value.numpy()
        for variable in (reader.weights, reader.table)
        for value in (variable, reader.optimizer.get_slot(variable, "average"))
    ]
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(writer.train(2), reader.train(2), strict=True):
        np.testing.assert_array_equal(a, b)


def warped_by(function, image, flow):
    with tf.GradientTape() as tape:
        tape.watch([image, flow])
        y = function(image, flow)
        loss = tf.reduce_sum(y * random(*y.shape, seed=5))
    return [y, *tape.gradient(loss, [image, flow])]


@with_addons
@pytest.mark.parametrize("reach", [0.4, 3.0, 20.0])
def test_our_warp_and_its_gradients_are_those_of_addons(reach):
    image, flow = random(2, 6, 7, 3), reach * random(2, 6, 7, 2, seed=1)
    ours = warped_by(addons.own_dense_image_warp, image, flow)
    theirs = warped_by(addons.dense_image_warp, image, flow)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_our_warp_equals_numpy():
    image, flow = random(1, 5, 6, 2).numpy(), 2 * random(1, 5, 6, 2, seed=1).numpy()
    expected = np.zeros_like(image)
    for y in range(5):
        for x in range(6):
            down, right = flow[0, y, x]
            row, column = np.clip(y - down, 0, 4), np.clip(x - right, 0, 5)
            top, left = min(int(row), 3), min(int(column), 4)
            for i, rows in ((0, 1 - (row - top)), (1, row - top)):
                for j, columns in ((0, 1 - (column - left)), (1, column - left)):
                    share = rows * columns
                    expected[0, y, x] += share * image[0, top + i, left + j]
    found = addons.own_dense_image_warp(tf.constant(image), tf.constant(flow))
    np.testing.assert_allclose(found, expected, atol=1e-5)


@with_addons
def test_our_correlation_is_that_of_addons():
    a, b = random(2, 6, 7, 5), random(2, 6, 7, 5, seed=1)
    theirs = addons.tfa.layers.CorrelationCost(1, 4, 1, 1, 4, "channels_last")([a, b])
    np.testing.assert_allclose(warp.correlation(a, b, 4), theirs, atol=1e-5)
