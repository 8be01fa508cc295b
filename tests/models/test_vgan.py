"""VGAN: composition of streams, losses, and its parameter totals by hand."""

import numpy as np
import pytest
import tensorflow as tf
from conftest import gradients_by_precision

from tf_dvdgan import config, losses
from tf_dvdgan.models import vgan, video_gan


def num_parameters(model) -> int:
    return sum(int(np.prod(v.shape)) for v in model.trainable_variables)


def conv(kernel, inputs, outputs) -> int:
    return int(np.prod(kernel)) * inputs * outputs + outputs


def norms(*channels) -> int:
    return sum(2 * c for c in channels)


# Two streams by hand: paper 004's layers, biases, batch norm behind all but the heads.
FOREGROUND = (
    conv((2, 4, 4), 100, 512)
    + conv((4, 4, 4), 512, 256)
    + conv((4, 4, 4), 256, 128)
    + conv((4, 4, 4), 128, 64)
    + norms(512, 256, 128, 64)
)  # 1,638,912 + 8,388,864 + 2,097,280 + 524,352 + 1,920 = 12,651,328
BACKGROUND = (
    conv((4, 4), 100, 512)
    + conv((4, 4), 512, 256)
    + conv((4, 4), 256, 128)
    + conv((4, 4), 128, 64)
    + norms(512, 256, 128, 64)
    + conv((4, 4), 64, 3)
)
COLORS, MASK = conv((4, 4, 4), 64, 3), conv((4, 4, 4), 64, 1)
DISCRIMINATOR = (
    conv((4, 4, 4), 3, 64)
    + conv((4, 4, 4), 64, 128)
    + conv((4, 4, 4), 128, 256)
    + conv((4, 4, 4), 256, 512)
    + norms(128, 256, 512)
    + conv((2, 4, 4), 512, 2)
)


def test_parameter_totals_are_those_derived_by_hand():
    with tf.Graph().as_default():
        two = vgan.Generator(64, 32, 0)
        one = vgan.Generator(64, 32, 0, two_streams=False)
        discriminator = vgan.Discriminator(64, 0)
        videos = two(tf.zeros([1, 100]))["videos"]
        one(tf.zeros([1, 100]))
        discriminator(videos)
    assert videos.shape == [1, 32, 64, 64, 3]
    assert num_parameters(two) == FOREGROUND + COLORS + MASK + BACKGROUND == 16_245_383
    assert num_parameters(one) == FOREGROUND + COLORS == 12_663_619
    assert num_parameters(discriminator) == DISCRIMINATOR == 11_057_858


def test_a_video_is_composed_by_its_mask():
    generator = vgan.Generator(16, 8, 0, ch=4)
    parts = generator(tf.random.stateless_normal([2, 100], [0, 1]))
    mask, moving, still = (
        parts[n].numpy() for n in ("mask", "foreground", "background")
    )
    assert mask.shape == (2, 8, 16, 16, 1) and 0 <= mask.min() <= mask.max() <= 1
    np.testing.assert_allclose(
        parts["videos"], mask * moving + (1 - mask) * still, atol=1e-6
    )
    assert np.ptp(still, axis=1).max() == 0.0
    assert np.ptp(moving, axis=1).max() > 0.0


def test_the_terms_are_their_equations():
    rng = np.random.default_rng(0)
    real, fake = rng.uniform(-1, 1, [2, 3, 4, 8, 8, 3]).astype(np.float32)
    mask = rng.uniform(0, 1, [3, 4, 8, 8, 1]).astype(np.float32)
    outputs = {"videos": fake, "mask": mask}
    for term, expected in (
        (vgan.MaskPenalty(0.1), 0.1 * mask.mean()),
        (vgan.FirstFrameLoss(2.0), 2 * np.abs(fake[:, 0] - real[:, 0]).mean()),
        (vgan.ReconstructionLoss(), ((fake - real) ** 2).mean()),
    ):
        np.testing.assert_allclose(term(None, outputs, real, None), expected, rtol=1e-5)


def test_cross_entropy_losses_equal_numpy():
    rng = np.random.default_rng(0)
    real, fake = rng.normal(size=[2, 9]).astype(np.float32)

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    expected = -np.log(sigmoid(real)).mean() - np.log(1 - sigmoid(fake)).mean()
    np.testing.assert_allclose(
        losses.cross_entropy_discriminator_loss(real, fake), expected, rtol=1e-5
    )
    np.testing.assert_allclose(
        losses.cross_entropy_generator_loss(fake),
        -np.log(sigmoid(fake)).mean(),
        rtol=1e-5,
    )


def test_orthogonal_regularization_equals_numpy():
    layer = tf.keras.Sequential([tf.keras.layers.Dense(5)])
    layer.build([None, 7])
    kernel = layer.trainable_variables[0].numpy()
    gram = kernel.T @ kernel
    expected = 0.5 * np.sum((gram * (1 - np.eye(5))) ** 2)
    term = losses.OrthogonalRegularization(0.5)
    np.testing.assert_allclose(term(layer, None, None, None), expected, rtol=1e-5)


def test_gradients_of_biases_in_bfloat16_are_those_of_float32():
    """Of the biases that no normalization takes away again."""
    videos = tf.random.stateless_uniform([8, 8, 32, 32, 3], [1, 2], -1.0, 1.0)

    def score(discriminator):
        return discriminator(videos, None, training=False)

    def colors(generator):
        z = tf.random.stateless_normal([8, 100], [5, 6])
        return generator(z, training=False)["foreground"]

    for make, run, path in (
        (lambda: vgan.Discriminator(32, 0, ch=4), score, "/conv_0/bias"),
        (lambda: vgan.Generator(32, 8, 0, ch=4), colors, "/colours/bias"),
    ):
        (bias,) = [row for row in gradients_by_precision(make, run) if path in row[0]]
        _, found, expected = bias
        assert np.linalg.norm(found - expected) < 0.1 * np.linalg.norm(expected), path


def test_the_future_depends_on_the_frame_and_not_on_z():
    predictor = vgan.FuturePredictor(16, 8, 0, ch=4)
    frames = tf.random.stateless_normal([2, 1, 16, 16, 3], [0, 1])
    video = predictor(None, None, frames)["videos"]
    assert video.shape == [2, 8, 16, 16, 3]
    assert np.abs(predictor(None, None, -frames)["videos"] - video).max() > 0


def test_a_spatial_code_is_that_of_the_authors():
    frame, space, video = (1, 4, 4), (1, 4, 4), (4, 4, 4)
    encoder = (
        conv(frame, 3, 128)
        + conv(frame, 128, 256)
        + conv(frame, 256, 512)
        + conv(frame, 512, 1024)
        + norms(256, 512, 1024)
    )
    foreground = (
        conv((2, 1, 1), 1024, 1024)
        + conv(video, 1024, 512)
        + conv(video, 512, 256)
        + conv(video, 256, 128)
        + norms(1024, 512, 256, 128)
        + conv(video, 128, 3)
        + conv(video, 128, 1)
    )
    background = (
        conv(space, 1024, 512)
        + conv(space, 512, 256)
        + conv(space, 256, 128)
        + norms(512, 256, 128)
        + conv(space, 128, 3)
    )
    with tf.Graph().as_default():
        predictor = vgan.FuturePredictor(64, 32, 0, ch=128, spatial_code=True)
        videos = predictor(None, None, tf.zeros([1, 1, 64, 64, 3]))["videos"]
    assert videos.shape == [1, 32, 64, 64, 3]
    total = encoder + foreground + background
    assert num_parameters(predictor) == total == 68_216_455


def test_the_authors_predictor_trains_on_the_first_frame_alone():
    config.load(["models/vgan_future_authors.gin"], ["RESOLUTION = 16", "CH = 2"])
    gan = video_gan.from_config(["a"], with_terms=True)
    (term,) = gan.generator_terms
    assert isinstance(term, vgan.FirstFrameLoss) and term.weight == 10.0


def test_sizes_that_cannot_be_made_are_refused():
    with pytest.raises(ValueError, match="resolution=48"):
        vgan.Generator(48, 32, 0)
    with pytest.raises(ValueError, match="num_frames=12"):
        vgan.Generator(64, 12, 0)
    with pytest.raises(ValueError, match="is unconditional"):
        vgan.Generator(64, 32, 5)
