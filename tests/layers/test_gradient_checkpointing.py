"""Recomputing changes memory, not gradients nor state."""

import numpy as np
import pytest
import tensorflow as tf

from tf_dvdgan import layers
from tf_dvdgan.layers import gradient_checkpointing

X = (2, 3, 8, 8, 4)
CASES = {
    "generator_block": (lambda: layers.GeneratorBlock(6, upsample=True), True),
    "discriminator_block": (lambda: layers.DiscriminatorBlock(6, three_d=True), False),
    "conv_gru": (layers.ConvGRU, False),
    "multiplicative_conv_gru": (layers.MultiplicativeConvGRU, False),
    "attention": (layers.SeparableAttention, False),
    "plain_batch_norm": (
        lambda: layers.GeneratorBlock(6, normalization=_Unconditional),
        True,
    ),
}


class _Unconditional(layers.BatchNorm):
    """Has a scale and an offset that are variables, no kernels."""

    def call(self, x, condition, training=None):
        del condition
        return super().call(x, training=training)


def run(case: str, checkpointed: bool):
    """One forward pass and its gradients, and the state after it."""
    make, conditional = CASES[case]
    tf.keras.utils.set_random_seed(3)
    layer = make()
    x = tf.random.stateless_normal(X, [1, 2])
    inputs = [x, tf.random.stateless_normal([2, 5], [3, 4])][: 1 + conditional]
    layer(*inputs, training=False)
    for variable in layer.trainable_variables:
        if not tf.reduce_any(variable != 0):  # gammas and biases
            variable.assign(tf.fill(variable.shape, 0.3))

    @tf.function
    def gradients(*inputs):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            if checkpointed:
                y = gradient_checkpointing.checkpoint(layer, *inputs, training=True)
            else:
                y = layer(*inputs, training=True)
            loss = tf.reduce_sum(tf.square(y))
        return y, tape.gradient(loss, [*inputs, *layer.trainable_variables])

    y, gradient = gradients(*inputs)
    state = [v.numpy() for v in layer.non_trainable_variables]
    return [y, *gradient], state


@pytest.mark.parametrize("case", CASES)
def test_values_gradients_and_state_are_those_of_a_plain_call(case):
    plain, plain_state = run(case, checkpointed=False)
    again, again_state = run(case, checkpointed=True)
    assert plain_state
    for a, b in zip(plain, again, strict=True):
        if a is None:  # the condition, where the norm has none
            assert not np.any(b)
            continue
        assert np.abs(a).max() > 0
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * np.abs(a).max())
    for a, b in zip(plain_state, again_state, strict=True):
        np.testing.assert_array_equal(a, b)
