"""MVT-GAN: shapes, sequence of codes, temporal shift, motion constraint."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from conftest import graph_of_shapes

from tf_dvdgan import errors, layers, losses
from tf_dvdgan.flow import pwc_net
from tf_dvdgan.models import dvd_gan, mvt_gan, video_gan


def make(resolution=32, **kwargs):
    return mvt_gan.Generator(resolution, 4, 3, ch=2, gru_units=16, **kwargs)


def num_parameters(model) -> int:
    return sum(int(np.prod(v.shape)) for v in model.trainable_variables)


@pytest.mark.long
@pytest.mark.parametrize(
    ("resolution", "generator", "video"),
    [(128, "90.82", "24.87"), (96, "88.22", "24.87")],
)
def test_parameter_counts_are_those_of_the_docstring(resolution, generator, video):
    with graph_of_shapes():
        g = mvt_gan.Generator(resolution, 16, 101)
        d = mvt_gan.VideoDiscriminator(resolution, 101)
        videos = g(tf.zeros([1, 120]), tf.zeros([1], tf.int32))
        assert videos.shape == [1, 16, resolution, resolution, 3]
        assert d(videos, tf.zeros([1], tf.int32)).shape == [1]
    assert f"{num_parameters(g) / 1e6:.2f}" == generator
    assert f"{num_parameters(d) / 1e6:.2f}" == video


def test_a_step_s_raw_output_is_the_next_step_s_input():
    """The norm comes behind it, and is not fed back (the authors' code)."""
    layer = mvt_gan.SequenceGenerator(3, 6, 8)
    z = tf.random.stateless_normal([5, 4], [0, 1])
    for norm in layer.norms if layer(z).shape else ():
        norm.epsilon = 3.0
    codes = layer(z, training=False)
    assert codes.shape == [5, 3, 6]
    x, state = layer.first(z), tf.zeros([5, 8])
    for t in range(3):
        state, _ = layer.cell(x, state)
        x = layer.to_code(state)
        # The norm's standing statistics are 0 and 1; a large epsilon sets it apart.
        code = x / np.sqrt(1.0 + layer.norms[t].epsilon)
        np.testing.assert_allclose(codes[:, t], code, atol=1e-5)


def test_codes_are_normalized_over_the_batch_at_each_step():
    layer = mvt_gan.SequenceGenerator(3, 6, 8)
    codes = layer(tf.random.stateless_normal([64, 4], [0, 1]), training=True)
    np.testing.assert_allclose(tf.reduce_mean(codes, 0), np.zeros([3, 6]), atol=1e-4)


def test_changing_one_sample_changes_only_its_video():
    generator = make()
    z = tf.random.stateless_normal([3, 120], [0, 1])
    labels = tf.constant([0, 1, 2])
    videos = generator(z, labels).numpy()
    other = tf.concat([z[:2], -z[2:]], axis=0)
    differs = np.abs(generator(other, labels) - videos).max(axis=(1, 2, 3, 4)) > 1e-6
    assert differs.tolist() == [False, False, True]


def test_temporal_shift_lets_frames_see_their_neighbors():
    """A frame's gradient reaches its neighbors' input only with a shift."""
    reach = {}
    for shift in (False, True):
        generator = make(temporal_shift=shift)
        generator(tf.zeros([1, 120]), tf.zeros([1], tf.int32))
        code = tf.random.stateless_normal([1, 4, 240], [0, 1])
        first = generator.first(code)
        x = tf.reshape(first, [1, 4, 1, 1, -1])
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = generator.shift(x) if shift else x
            y = generator.blocks[0](y, code)
            loss = tf.reduce_sum(y[:, 1])
        gradient = np.abs(tape.gradient(loss, x)).max(axis=(0, 2, 3, 4)) > 0
        reach[shift] = gradient.tolist()
    assert reach == {
        False: [False, True, False, False],
        True: [True, True, True, False],
    }


def test_the_image_discriminator_has_a_hinge_for_each_frame():
    """The mean of frames' hinges, where DVD-GAN's is that of a video's sum."""
    videos = tf.random.stateless_normal([6, 4, 16, 16, 3], [0, 1])
    labels = tf.constant([0, 1, 2, 0, 1, 2])
    make_one = functools.partial(
        dvd_gan.SpatialDiscriminator, 16, 3, ch=2, num_frames=4
    )
    each, summed = make_one(sum_frames=False), make_one()
    for discriminator in (each, summed):
        discriminator(videos, labels)
    summed.set_weights(each.get_weights())
    scores = each(videos, labels).numpy().astype(np.float64)
    assert scores.shape == (6, 4)
    np.testing.assert_allclose(summed(videos, labels), scores.sum(axis=1), rtol=1e-5)
    real, fake = scores[:3], scores[3:]
    hinges = np.maximum(0, 1 - real).mean() + np.maximum(0, 1 + fake).mean()
    loss = losses.hinge_discriminator_loss(*tf.split(each(videos, labels), 2))
    np.testing.assert_allclose(loss, hinges, rtol=1e-5)
    loss = losses.hinge_generator_loss(each(videos, labels)[3:])
    np.testing.assert_allclose(loss, -fake.mean(), rtol=1e-5)


def test_the_image_discriminator_attends_after_its_second_block():
    discriminator = dvd_gan.SpatialDiscriminator(
        32, 3, ch=2, num_frames=2, attention={1: layers.FrameAttention}
    )
    frames = tf.random.stateless_normal([2, 2, 32, 32, 3], [0, 1])
    before = discriminator(frames, tf.constant([0, 1])).numpy()
    (attention,) = discriminator.attention.values()
    assert attention.theta.kernel.shape[0] == 2 * 8  # block 1's width
    attention.gamma.assign(0.9)
    assert np.abs(discriminator(frames, tf.constant([0, 1])) - before).max() > 1e-5


def test_subspaces_have_their_own_deviation():
    latent = video_gan.GaussianLatent((20, 20, 80), (0.5, 1.0, 2.0))
    z = latent.sample(4000, tf.constant([0, 1])).numpy()
    assert z.shape == (4000, 120)
    for part, stddev in ((z[:, :20], 0.5), (z[:, 20:40], 1.0), (z[:, 40:], 2.0)):
        np.testing.assert_allclose(part.std(), stddev, rtol=0.02)


def test_the_motion_term_equals_the_equation():
    rng = np.random.default_rng(0)
    real, fake = rng.normal(size=[2, 4, 10]).astype(np.float32)
    real /= np.linalg.norm(real, axis=1, keepdims=True)
    fake /= np.linalg.norm(fake, axis=1, keepdims=True)
    labels = np.array([0, 1, 1, 2])
    pairs = [
        real[j] @ fake[i] for i in range(4) for j in range(4) if labels[i] == labels[j]
    ]
    same = (labels[:, None] == labels[None]).astype(np.float32)
    term = mvt_gan.motion_term(fake, real, same, tf.constant(float(len(pairs))))
    np.testing.assert_allclose(term, 1 - np.mean(pairs), atol=1e-5)
    none = mvt_gan.motion_term(fake, real, 0 * same, tf.constant(0.0))
    assert float(none) == 0.0
    np.testing.assert_allclose(
        mvt_gan.motion_term(real, real, np.eye(4, dtype=np.float32), tf.constant(4.0)),
        0.0,
        atol=1e-5,
    )


def test_without_weights_the_motion_constraint_says_so():
    for weights in (None, "/nowhere.pth"):
        with pytest.raises(errors.UserError, match="needs PWC-Net's weights"):
            mvt_gan.MotionConstraint(weights)


def test_a_resolution_that_cannot_be_doubled_to_is_refused():
    with pytest.raises(ValueError, match="resolution=100"):
        make(100)


@pytest.mark.long
def test_the_motion_constraint_passes_gradients_to_the_fakes_alone(tmp_path):
    network = pwc_net.PWCNet()
    network.build_all()
    path = str(tmp_path / "pwc_net.h5")
    network.save_weights(path)
    constraint = mvt_gan.MotionConstraint(path, alpha=2.0)
    real, fake = (tf.random.stateless_normal([3, 3, 32, 32, 3], [0, i]) for i in (1, 2))
    labels = tf.constant([0, 1, 1])
    with tf.GradientTape() as tape:
        tape.watch([real, fake])
        term = constraint(None, {"videos": fake}, real, labels)
    gradients = tape.gradient(term, [real, fake])
    assert gradients[0] is None and np.abs(gradients[1]).max() > 0
    motions = [constraint.motion(x).numpy() for x in (real, fake)]
    pairs = [(0, 0), (1, 1), (1, 2), (2, 1), (2, 2)]
    mean = np.mean([motions[0][j] @ motions[1][i] for i, j in pairs])
    np.testing.assert_allclose(term, 2.0 * (1.0 - mean), atol=1e-4)
    assert not constraint._network.trainable_variables
