"""Residual blocks against the figure's operations, written plainly."""

import numpy as np
import pytest
import tensorflow as tf

from tf_dvdgan import layers


def random(*shape, seed=0):
    return tf.random.stateless_normal(shape, [seed, 3])


def conv(layer, x):
    """A layer's convolution without its resampling, frame by frame."""
    kernel = layer.normalized_kernel()
    if kernel.shape.rank == 5:
        return tf.nn.conv3d(x, kernel, [1] * 5, "SAME") + layer.bias
    frames = [tf.nn.conv2d(x[:, t], kernel, 1, "SAME") for t in range(x.shape[1])]
    return tf.stack(frames, 1) + layer.bias


def up(x):
    return tf.repeat(tf.repeat(x, 2, axis=2), 2, axis=3)


@pytest.mark.parametrize("upsample", [False, True])
@pytest.mark.parametrize("channels", [4, 6])
def test_generator_block_is_that_of_figure_7(upsample, channels):
    x, c = random(2, 3, 4, 4, 4), random(2, 5, seed=1)
    block = layers.GeneratorBlock(channels, upsample)
    y = block(x, c, training=False)
    resample = up if upsample else tf.identity
    main = conv(block.conv_1, resample(tf.nn.relu(block.norm_1(x, c))))
    main = conv(block.conv_2, tf.nn.relu(block.norm_2(main, c)))
    assert (block.shortcut is None) == (not upsample and channels == 4)
    shortcut = x if block.shortcut is None else conv(block.shortcut, resample(x))
    np.testing.assert_allclose(y, main + shortcut, atol=1e-5)


@pytest.mark.parametrize("three_d", [False, True])
@pytest.mark.parametrize("downsample", [False, True])
@pytest.mark.parametrize("leading_relu", [False, True])
def test_discriminator_block_is_that_of_figure_7(three_d, downsample, leading_relu):
    x = random(2, 5, 4, 4, 4)
    block = layers.DiscriminatorBlock(
        4, downsample, leading_relu=leading_relu, three_d=three_d
    )
    y = block(x, training=False)
    factors = [2, 2, 2] if three_d else [1, 2, 2]

    def pool(x):
        return tf.nn.avg_pool3d(x, factors, factors, "SAME") if downsample else x

    main = conv(block.conv_1, tf.nn.relu(x) if leading_relu else x)
    main = pool(conv(block.conv_2, tf.nn.relu(main)))
    assert (block.shortcut is None) == (not downsample)
    shortcut = x if block.shortcut is None else pool(conv(block.shortcut, x))
    np.testing.assert_allclose(y, main + shortcut, atol=1e-5)


def test_time_need_not_be_pooled():
    block = layers.DiscriminatorBlock(4, three_d=True, pool_time=False)
    assert block(random(2, 5, 4, 4, 4)).shape == [2, 5, 2, 2, 4]


@pytest.mark.parametrize("upsample", [False, True])
@pytest.mark.parametrize("channels", [8, 5])
def test_deep_generator_block_is_biggan_deep_s(upsample, channels):
    x, c = random(2, 3, 4, 4, 8), random(2, 5, seed=1)
    block = layers.DeepGeneratorBlock(channels, upsample)
    y = block(x, c, training=False)
    resample = up if upsample else tf.identity
    assert [tuple(layer.kernel.shape) for layer in block.convs] == [
        (1, 1, 8, 2),
        (3, 3, 2, 2),
        (3, 3, 2, 2),
        (1, 1, 2, channels),
    ]
    main = x
    for i, (norm, layer) in enumerate(zip(block.norms, block.convs, strict=True)):
        main = tf.nn.relu(norm(main, c))
        main = conv(layer, resample(main) if i == 1 else main)
    np.testing.assert_allclose(y, main + resample(x[..., :channels]), atol=1e-5)


@pytest.mark.parametrize("three_d", [False, True])
@pytest.mark.parametrize("downsample", [False, True])
@pytest.mark.parametrize("channels", [4, 8])
def test_deep_discriminator_block_is_biggan_deep_s(three_d, downsample, channels):
    x = random(2, 5, 4, 4, 4)
    block = layers.DeepDiscriminatorBlock(channels, downsample, three_d=three_d)
    y = block(x, training=False)
    factors = [2, 2, 2] if three_d else [1, 2, 2]
    sizes = [layer.kernel.shape[0] for layer in block.convs]
    assert sizes == [1, 3, 3, 1] and block.convs[0].units == channels // 4

    def pool(x):
        return tf.nn.avg_pool3d(x, factors, factors, "SAME") if downsample else x

    main = x
    for i, layer in enumerate(block.convs):
        main = tf.nn.relu(main)
        main = conv(layer, pool(main) if i == 3 else main)
    kept = pool(x)
    if channels > 4:
        kept = tf.concat([kept, conv(block.shortcut, kept)], axis=-1)
    np.testing.assert_allclose(y, main + kept, atol=1e-5)


def test_deep_blocks_refuse_channels_they_cannot_keep():
    with pytest.raises(ValueError, match="adds no channels"):
        layers.DeepGeneratorBlock(5)(random(2, 1, 4, 4, 4), random(2, 5))
    with pytest.raises(ValueError, match="drops no channels"):
        layers.DeepDiscriminatorBlock(3)(random(2, 1, 4, 4, 4))
