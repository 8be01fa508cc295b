"""Every layer in every place where it must work: graphs, XLA, checkpoints, exports."""

import numpy as np
import pytest
import tensorflow as tf

from tf_dvdgan import layers


class _WithCondition(tf.keras.layers.Layer):
    """Gives layers that need a condition the input's own mean as one."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def call(self, x, training=None):
        return self.layer(x, tf.reduce_mean(x, axis=[1, 2, 3]), training=training)


def _opened(make):
    """Attention whose gamma is not 0, so that all of it takes part."""
    layer = make()
    layer.build([None, *VIDEO[1:]])
    for variable in layer.trainable_variables:
        if "gamma" in variable.name:
            variable.assign(0.5)
    return layer


VIDEO, VECTOR = (2, 3, 4, 4, 6), (2, 6)
LAYERS = {
    "SpectralDense": (lambda: layers.SpectralDense(5), VECTOR),
    "SpectralEmbedding": (lambda: layers.SpectralEmbedding(6, 5), VECTOR),
    "SpectralConv2D": (lambda: layers.SpectralConv2D(5), VIDEO),
    "SpectralConv2D_up": (lambda: layers.SpectralConv2D(5, resample="up"), VIDEO),
    "SpectralConv2D_down": (lambda: layers.SpectralConv2D(5, resample="down"), VIDEO),
    "SpectralConv3D": (lambda: layers.SpectralConv3D(5), VIDEO),
    "SpectralConv3D_pool": (lambda: layers.SpectralConv3D(5, pool=True), VIDEO),
    "BatchNorm": (layers.BatchNorm, VIDEO),
    "ConditionalBatchNorm": (
        lambda: _WithCondition(layers.ConditionalBatchNorm()),
        VIDEO,
    ),
    "ConditionalGroupNorm": (
        lambda: _WithCondition(layers.ConditionalGroupNorm(3)),
        VIDEO,
    ),
    "ConditionalNoNorm": (lambda: _WithCondition(layers.ConditionalNoNorm()), VIDEO),
    "GroupNorm": (lambda: layers.GroupNorm(2), VIDEO),
    "NoNorm": (layers.NoNorm, VIDEO),
    "ConvGRU": (layers.ConvGRU, VIDEO),
    "MultiplicativeConvGRU": (layers.MultiplicativeConvGRU, VIDEO),
    "FrameAttention": (lambda: _opened(layers.FrameAttention), VIDEO),
    "SelfAttention": (lambda: _opened(layers.SelfAttention), VIDEO),
    "SeparableAttention": (lambda: _opened(layers.SeparableAttention), VIDEO),
    "TemporalShift": (layers.TemporalShift, VIDEO),
    "GeneratorBlock": (
        lambda: _WithCondition(layers.GeneratorBlock(4, upsample=True)),
        VIDEO,
    ),
    "DiscriminatorBlock": (lambda: layers.DiscriminatorBlock(4), VIDEO),
    "DiscriminatorBlock_3d": (
        lambda: layers.DiscriminatorBlock(4, three_d=True),
        VIDEO,
    ),
    "DeepGeneratorBlock": (
        lambda: _WithCondition(layers.DeepGeneratorBlock(4, upsample=True)),
        VIDEO,
    ),
    "DeepDiscriminatorBlock": (lambda: layers.DeepDiscriminatorBlock(8), VIDEO),
    "DeepDiscriminatorBlock_3d": (
        lambda: layers.DeepDiscriminatorBlock(8, three_d=True),
        VIDEO,
    ),
}


@pytest.fixture(params=LAYERS)
def case(request):
    make, shape = LAYERS[request.param]
    return make, tf.random.stateless_normal(shape, [1, 2])


def test_all_public_layers_are_here():
    assert {name.split("_")[0] for name in LAYERS} == set(layers.__all__)


def test_a_graph_and_xla_give_what_eager_gives(case):
    make, x = case
    layer = make()
    eager = layer(x, training=False)
    graph = tf.function(lambda x: layer(x, training=False))(x)
    compiled = tf.function(lambda x: layer(x, training=False), jit_compile=True)(x)
    np.testing.assert_allclose(graph, eager, atol=1e-5)
    np.testing.assert_allclose(compiled, eager, atol=1e-4)


def test_every_trainable_variable_gets_a_finite_gradient_under_xla(case):
    make, x = case
    layer = make()
    layer(x)

    @tf.function(jit_compile=True)
    def gradients(x):
        with tf.GradientTape() as tape:
            y = layer(x, training=True)
            loss = tf.reduce_sum(y * tf.cos(tf.cast(tf.range(y.shape[-1]), y.dtype)))
        return tape.gradient(loss, layer.trainable_variables)

    for variable, gradient in zip(layer.trainable_variables, gradients(x), strict=True):
        assert np.isfinite(gradient).all(), variable.name
        assert np.abs(gradient).max() > 0 or "norm_2" in variable.name, variable.name


def test_bfloat16_computes_near_float32_with_float32_variables(case):
    make, x = case
    tf.keras.utils.set_random_seed(1)
    expected = make()(x, training=False)
    tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
    tf.keras.utils.set_random_seed(1)
    layer = make()
    y = layer(x, training=False)
    assert y.dtype == tf.bfloat16
    assert all(v.dtype == tf.float32 for v in layer.variables)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(tf.cast(y, tf.float32), expected, atol=0.05 * scale)


def test_a_checkpoint_brings_it_back(case, tmp_path):
    make, x = case
    layer = make()
    layer(x, training=True)
    path = tf.train.Checkpoint(layer=layer).save(str(tmp_path / "c"))
    twin = make()
    twin(x)
    tf.train.Checkpoint(layer=twin).restore(path).assert_existing_objects_matched()
    expected = layer(x, training=False)
    np.testing.assert_array_equal(twin(x, training=False), expected)


def test_a_saved_model_gives_the_same(case, tmp_path):
    make, x = case
    layer = make()
    expected = layer(x, training=False)
    module = tf.Module()
    module.variables_ = layer.variables
    spec = tf.TensorSpec([None, *x.shape[1:]])
    module.run = tf.function(lambda x: layer(x, training=False), input_signature=[spec])
    tf.saved_model.save(module, str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    np.testing.assert_allclose(loaded.run(x), expected, atol=1e-5)
