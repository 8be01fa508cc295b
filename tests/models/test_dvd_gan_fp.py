"""DVD-GAN-FP: what it continues, and where the given frames reach."""

import numpy as np
import pytest
import tensorflow as tf

from tf_dvdgan import config
from tf_dvdgan.models import dvd_gan, dvd_gan_fp, video_gan


def make(skip_connections, frames=2, **kwargs):
    return dvd_gan_fp.Generator(
        32,
        5,
        1,
        num_conditioning_frames=frames,
        ch=2,
        skip_connections=skip_connections,
        **kwargs,
    )


@pytest.fixture(params=[False, True], ids=["v2", "v1"])
def skip_connections(request):
    return request.param


def given(frames=2):
    return tf.tanh(tf.random.stateless_normal([3, frames, 32, 32, 3], [0, 1]))


def test_the_video_begins_with_the_given_frames(skip_connections):
    generator = make(skip_connections)
    video = generator(tf.zeros([3, 120]), tf.zeros([3], tf.int32), given())
    assert video.shape == [3, 5, 32, 32, 3]
    np.testing.assert_array_equal(video[:, :2], given())


def test_what_follows_depends_on_each_given_frame_and_on_z(skip_connections):
    generator = make(skip_connections)
    labels, z = tf.zeros([3], tf.int32), tf.random.stateless_normal([3, 120], [0, 2])
    video = generator(z, labels, given())
    for frame in range(2):
        other = tf.concat([given()[:, :frame], -given()[:, frame : frame + 1]], 1)
        other = tf.concat([other, given()[:, frame + 1 :]], axis=1)
        assert np.abs(generator(z, labels, other)[:, 2:] - video[:, 2:]).max() > 1e-5
    assert np.abs(generator(-z, labels, given())[:, 2:] - video[:, 2:]).max() > 1e-4


def test_the_encoder_is_as_wide_as_the_spatial_discriminator():
    """In v1 only the generator narrows (paper 002, appendix A.4)."""
    with config.isolated():
        parameters = ["CH = 4", "G_CH = 2", "RESOLUTION = 32"]
        config.load(["models/dvdgan_fp_v1.gin"], parameters)
        gan = video_gan.from_config(["video"])
    gan.build()
    spatial = gan.discriminators[0]
    found, expected = (
        [
            weight.shape[-1]
            for weight in network.trainable_weights
            if "block_" in weight.name and "kernel" in weight.name
        ]
        for network in (gan.generator.encoder, spatial)
    )
    assert found == expected


def test_given_frames_reach_the_recurrence_of_every_size():
    """A gradient test: each stage's first state moves with the frames, of its size."""
    generator = make(False)
    inner = generator.generator
    generator(tf.zeros([3, 120]), tf.zeros([3], tf.int32), given())
    frames = given()
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(frames)
        features = generator.encoder(frames)
        states = []
        for size, convolution in zip((4, 8, 16), generator.to_state, strict=True):
            stacked = dvd_gan_fp._stack_frames(features[size])
            states.append(tf.nn.relu(convolution(stacked)))
    for state, stage, size in zip(states, inner.stages, (4, 8, 16), strict=True):
        channels = stage.recurrence.update.units
        assert state.shape == [3, size, size, channels]
        gradient = tape.gradient(state, frames).numpy()
        assert (np.abs(gradient).max(axis=(0, 2, 3, 4)) > 0).all()  # from each frame


def test_each_state_moves_the_output():
    generator = make(False)
    inner = generator.generator
    z, labels = tf.random.stateless_normal([3, 120], [0, 2]), tf.zeros([3], tf.int32)
    generator(z, labels, given())
    widths = inner.widths[:-1]
    zeros = [tf.zeros([3, 4 * 2**i, 4 * 2**i, w]) for i, w in enumerate(widths)]
    base = inner(z, labels, zeros)
    for i in range(len(widths)):
        states = [s + 1.0 if i == j else s for j, s in enumerate(zeros)]
        assert np.abs(inner(z, labels, states) - base).max() > 1e-5


def test_every_weight_gets_a_gradient(skip_connections):
    generator = make(skip_connections)
    z, labels = tf.random.stateless_normal([3, 120], [0, 2]), tf.zeros([3], tf.int32)
    generator(z, labels, given())
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(generator(z, labels, given(), training=True)))
    gradients = tape.gradient(loss, generator.trainable_variables)
    missing = [
        v.name
        for v, g in zip(generator.trainable_variables, gradients, strict=True)
        if g is None
    ]
    assert not missing


def test_the_spatial_discriminator_draws_from_what_follows_alone():
    discriminator = dvd_gan.SpatialDiscriminator(
        32, 1, ch=1, num_frames=2, skip_frames=2
    )
    videos = tf.random.stateless_normal([3, 5, 32, 32, 3], [0, 3])
    num_uniforms = discriminator.num_uniforms(5)
    uniform_noise = tf.random.stateless_uniform([3, num_uniforms], [0, 4])
    labels = tf.zeros([3], tf.int32)
    score = discriminator(videos, labels, uniform_noise)
    other = tf.concat([-videos[:, :2], videos[:, 2:]], axis=1)
    np.testing.assert_array_equal(discriminator(other, labels, uniform_noise), score)


def test_at_least_one_frame_must_be_generated():
    with pytest.raises(ValueError, match="num_conditioning_frames=5"):
        make(False, frames=5)
