"""LeCam and R1 against their equations."""

import types

import numpy as np
import pytest
import tensorflow as tf

from tf_dvdgan import discriminator_terms as terms
from tf_dvdgan import layers
from tf_dvdgan.layers import spectral_norm
from tf_dvdgan.models import dvd_gan, vgan
from tf_dvdgan.training import updates


def scored(real_scores=(), fake_scores=(), discriminator=0, step=0, **given):
    return terms.Scored(
        discriminator=discriminator,
        real=given.get("real"),
        real_scores=tf.constant(real_scores, tf.float32),
        fake_scores=tf.constant(fake_scores, tf.float32),
        score=given.get("score"),
        normal=given.get("normal", lambda shape: tf.ones([len(given["real"]), *shape])),
        step=tf.constant(step, tf.int64),
    )


def test_lecam_is_the_distance_from_the_other_side_s_average():
    term = terms.LeCam(weight=0.3, decay=0.9, start_step=2)
    term.build([None, None])
    rng = np.random.default_rng(0)
    averages = np.zeros([2, 2])  # real and fake, by discriminator
    for step in range(5):
        real, fake = rng.normal(size=[2, 4]), rng.normal(size=[2, 4])
        for i in range(2):
            expected = (
                0.3
                * (step >= 2)
                * (
                    np.mean((real[i] - averages[1, i]) ** 2)
                    + np.mean((fake[i] - averages[0, i]) ** 2)
                )
            )
            found = term.value(scored(real[i], fake[i], i, step))
            assert float(found) == pytest.approx(expected, rel=1e-5, abs=1e-7)
        means = np.stack([real.mean(1), fake.mean(1)])
        averages = 0.9 * averages + 0.1 * means
        term.update(*tf.constant(means, tf.float32))
    assert {v.name for v in term.variables} == {"real_average:0", "fake_average:0"}


def quadratic(x):
    """Scores with known gradients: of x_i^2 / 2 * i, i x_i."""
    factor = tf.range(1.0, x.shape[0] + 1)[:, None, None, None, None]
    return tf.reduce_sum(0.5 * factor * x * x, [1, 2, 3, 4])


def test_r1_is_half_the_mean_squared_norm_of_the_gradient():
    real = tf.random.stateless_normal([3, 2, 4, 4, 3], [0, 1])
    term = terms.R1(weight=10.0, every=1)
    norms = (np.array([1, 2, 3]) ** 2) * np.sum(real.numpy() ** 2, axis=(1, 2, 3, 4))
    found = term.value(scored(real=real, score=quadratic))
    assert float(found) == pytest.approx(5.0 * norms.mean(), rel=1e-5)


def centered(x):
    """Scores as with batch norm: the sum of a video less the mean over the batch."""
    sums = tf.reduce_sum(x, [1, 2, 3, 4])
    return sums - tf.reduce_mean(sums)


@pytest.mark.parametrize("method", ["exact", "finite_differences"])
def test_with_batch_norm_r1_is_of_each_score_by_all_videos(method):
    """The gradient of the sum of centered scores is 0, that of each is not.

    By video j, score i has the derivative (i == j) - 1/n of each of its values.
    """
    shape = n, *_ = [4, 1, 2, 2, 3]
    real = tf.random.stateless_normal(shape, [0, 1])
    term = terms.R1(weight=2.0, every=1, method=method)
    directions = [[1 if (k >> i) & 1 else -1 for i in range(n)] for k in range(2**n)]
    found = []
    for i, signs in enumerate(directions * 40):
        normal = tf.constant(signs, tf.float32)  # in all combinations
        if method == "finite_differences":
            normal = tf.random.stateless_normal(shape, [2, i])
        given = scored(real=real, score=centered, normal=lambda _, v=normal: v)
        found.append(term.value(given))
    tolerance = 1e-4 if method == "exact" else 0.1
    assert np.mean(found) == pytest.approx(12 * (1 - 1 / n), rel=tolerance)


def test_the_exact_gradient_of_r1_passes_batch_norm():
    """By a kernel, against batch norm written plainly."""
    real = tf.random.stateless_normal([4, 2, 3, 3, 3], [0, 1]) + 1.5
    kernel = tf.Variable(tf.random.stateless_normal([3], [0, 2]))
    norm = layers.BatchNorm(per_time_step=False)
    norm(real, training=True)

    def plain(x):
        mean = tf.reduce_mean(x, [0, 1, 2, 3])  # tf.nn.moments stops the gradient
        variance = tf.reduce_mean(tf.square(x - mean), [0, 1, 2, 3])
        return (x - mean) / tf.sqrt(variance + norm.epsilon)

    found = []
    for normalize in (lambda x: norm(x, training=True), plain):

        def score(x, normalize=normalize):
            return tf.reduce_sum(
                tf.tanh(normalize(tf.square(x * kernel))), [1, 2, 3, 4]
            )

        with tf.GradientTape() as tape:
            value = terms.R1(every=1).value(scored(real=real, score=score))
        found.append((value, tape.gradient(value, kernel)))
    (value, gradient), (of_plain, expected) = found
    assert float(value) == pytest.approx(float(of_plain), rel=1e-5)
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-3)


def test_every_n_th_step_has_n_times_the_penalty():
    real = tf.random.stateless_normal([3, 2, 4, 4, 3], [0, 1])
    at = [
        float(terms.R1(every=4).value(scored(real=real, score=quadratic, step=step)))
        for step in range(5)
    ]
    once = float(terms.R1(every=1).value(scored(real=real, score=quadratic)))
    assert at == pytest.approx([4 * once, 0, 0, 0, 4 * once])


def test_finite_differences_are_right_in_the_mean():
    real = tf.random.stateless_normal([2, 1, 2, 2, 3], [0, 1])
    exact = terms.R1(every=1).value(scored(real=real, score=quadratic))
    term = terms.R1(every=1, method="finite_differences")
    found = [
        float(
            term.value(
                scored(
                    real=real,
                    score=quadratic,
                    normal=lambda _, i=i: tf.random.stateless_normal(
                        real.shape, [1, i]
                    ),
                )
            )
        )
        for i in range(2000)
    ]
    assert np.mean(found) == pytest.approx(float(exact), rel=0.1)


def test_finite_differences_sum_the_scores_of_frames():
    """As 'exact' does: for linear scores both are the same for each direction."""
    real = tf.random.stateless_normal([3, 4, 2, 2, 3], [0, 1])
    slope = tf.random.stateless_normal([4, 2, 2, 3], [0, 2])
    direction = tf.random.stateless_normal(real.shape, [0, 3])
    term = terms.R1(every=1, method="finite_differences")
    found = term.value(
        scored(
            real=real,
            score=lambda x: tf.reduce_sum(x * slope, [2, 3, 4]),
            normal=lambda _: direction,
        )
    )
    along = np.sum((direction * slope).numpy(), axis=(1, 2, 3, 4))
    assert float(found) == pytest.approx(5.0 * np.mean(along**2), rel=1e-3)


def plain_over_sigma(matrix, sigma, u, v):
    """W / (v^T W u), left to automatic differentiation."""
    del sigma
    return matrix / tf.tensordot(tf.linalg.matvec(matrix, v, transpose_a=True), u, 1)


@pytest.mark.parametrize("kind", ["spatial", "temporal", "vgan"])
def test_the_exact_gradient_of_r1_passes_the_spectral_norm(kind, monkeypatch):
    """Our gradient of W / sigma, differentiated twice, against a plain division."""
    discriminator = {
        "spatial": lambda: dvd_gan.SpatialDiscriminator(16, 3, ch=2, num_frames=2),
        "temporal": lambda: dvd_gan.TemporalDiscriminator(16, 3, ch=2),
        "vgan": lambda: vgan.Discriminator(16, 0, ch=2),
    }[kind]()
    real = tf.random.stateless_uniform([2, 8, 16, 16, 3], [0, 1], -1, 1)
    labels = tf.constant([0, 1])
    shape = [2, discriminator.num_uniforms(8)]
    uniforms = tf.random.stateless_uniform(shape, [0, 2])
    for _ in range(4):
        discriminator(real, labels, uniforms, training=True)

    def score(x):
        return updates._score_again(discriminator, labels, uniforms, x)

    def value_and_gradients():
        term = terms.R1(weight=1.0, every=1)
        variables = discriminator.trainable_variables
        with tf.GradientTape() as tape:
            value = term.value(scored(real=real, score=score))
        zero = tf.UnconnectedGradients.ZERO
        return value, tape.gradient(value, variables, unconnected_gradients=zero)

    value, gradients = value_and_gradients()
    monkeypatch.setattr(spectral_norm, "_over_sigma", plain_over_sigma)
    expected, expected_gradients = value_and_gradients()
    assert float(value) == pytest.approx(float(expected), rel=1e-4)
    scale = max(float(tf.reduce_max(tf.abs(g))) for g in expected_gradients)
    assert scale > 0
    for found, of_plain in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(found / scale, of_plain / scale, atol=1e-4)


def test_scoring_again_changes_no_state():
    discriminator = dvd_gan.SpatialDiscriminator(16, 3, ch=2, num_frames=2)
    real = tf.random.stateless_uniform([2, 4, 16, 16, 3], [0, 1], -1, 1)
    rest = tf.constant([0, 1]), tf.zeros([2, discriminator.num_uniforms(4)])
    discriminator(real, *rest, training=True)
    before = [v.numpy() for v in discriminator.variables]
    updates._score_again(discriminator, *rest, real)
    for value, variable in zip(before, discriminator.variables, strict=True):
        np.testing.assert_array_equal(value, variable)
    discriminator(real, *rest, training=True)
    assert any(
        not np.array_equal(value, variable)
        for value, variable in zip(before, discriminator.variables, strict=True)
    )


def test_the_exact_penalty_refuses_gradient_checkpointing():
    discriminator = dvd_gan.SpatialDiscriminator(
        16, 3, ch=2, gradient_checkpointing=True
    )
    with pytest.raises(ValueError, match=r"finite_differences.*spatial_discriminator"):
        terms.R1().build([discriminator])
    terms.R1(method="finite_differences").build([discriminator])


def test_finite_differences_of_bfloat16_need_a_larger_step():
    tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
    discriminator = dvd_gan.SpatialDiscriminator(16, 3, ch=2)
    with pytest.raises(ValueError, match=r"at least 0.1 in bfloat16"):
        terms.R1(method="finite_differences").build([discriminator])
    terms.R1(method="finite_differences", epsilon=0.1).build([discriminator])
    terms.R1().build([discriminator])


def test_replicas_with_batch_norm_need_the_penalty_in_every_step(monkeypatch):
    discriminator = vgan.Discriminator(16, 0, ch=2)
    terms.R1(every=2).build([discriminator])
    two = types.SimpleNamespace(num_replicas_in_sync=2)
    monkeypatch.setattr(tf.distribute, "get_strategy", lambda: two)
    with pytest.raises(ValueError, match=r"R1 of \w+ needs every=1"):
        terms.R1(every=2).build([discriminator])
    terms.R1(every=1).build([discriminator])
    terms.R1(every=2).build([dvd_gan.SpatialDiscriminator(16, 3, ch=2)])


def test_arguments_out_of_range_are_refused():
    with pytest.raises(ValueError, match="method must be"):
        terms.R1(method="quick")
    with pytest.raises(ValueError, match="epsilon above 0"):
        terms.R1(epsilon=0.0)
    with pytest.raises(ValueError, match="weight of lecam must not be negative"):
        terms.LeCam(weight=-1.0)
    with pytest.raises(ValueError, match="decay must be"):
        terms.LeCam(decay=1.0)
