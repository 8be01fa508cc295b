"""One way to sample: batches of one size, statistics by truncation, none kept."""

import numpy as np
import pytest
import tensorflow as tf

from tf_dvdgan.layers import conditional_batch_norm
from tf_dvdgan.models import video_gan
from tf_dvdgan.sampling import latents, standing_statistics
from tf_dvdgan.sampling import sampler as sampler_lib


@pytest.fixture
def networks(tiny_config) -> video_gan.Networks:
    made = video_gan.from_config(["a", "b", "c"])
    made.build()
    return made


@pytest.fixture
def sampler(networks) -> sampler_lib.Sampler:
    return sampler_lib.Sampler(networks, num_batches=2, statistics_batch_size=4)


def test_the_generator_is_compiled_once_for_each_batch_size(sampler, monkeypatch):
    traces = []
    generate = sampler_lib.generate

    def counted(networks, z, *rest):
        traces.append(z.shape[0])
        return generate(networks, z, *rest)

    monkeypatch.setattr(sampler_lib, "generate", counted)
    z = latents.draw(sampler.networks.latent, 11, seed=0)
    whole = sampler.sample(z, [0, 1, 2] * 3 + [0, 1], batch_size=4)["videos"]
    assert len(whole) == 11 and traces == [4]
    sampler.sample(z[:8], [0] * 8, truncation=0.5, batch_size=4)
    assert traces == [4]
    again = sampler.sample(z[:3], [0, 1, 2], batch_size=4)["videos"]
    assert traces == [4, 3]
    assert np.abs(again.astype(int) - whole[:3]).max() <= 1


def test_statistics_are_computed_once_for_each_truncation_and_weights(
    sampler, monkeypatch
):
    computed = []
    compute = sampler._compute

    def counted(num_batches, truncation):
        computed.append(truncation)
        return compute(num_batches, truncation)

    monkeypatch.setattr(sampler, "_compute", counted)
    z = latents.draw(sampler.networks.latent, 2, seed=0)
    before = sampler.sample(z, [0, 1])["videos"]
    sampler.sample(z, [0, 1])
    sampler.sample(z, [0, 1], truncation=0.5)
    assert computed == [1.0, 0.5]
    for variable in sampler.networks.generator.trainable_variables:
        variable.assign(1.1 * variable + 0.01)
    sampler.weights_changed()
    after = sampler.sample(z, [0, 1])["videos"]
    assert computed == [1.0, 0.5, 1.0]
    assert (before != after).any()


def test_statistics_are_means_over_batches_and_none_stay_in_the_layers(networks):
    """By hand: each batch's latents and classes, moments of its own."""
    found = standing_statistics.StandingStatistics(networks, 4).compute(3, 0.5)
    norms = conditional_batch_norm.layers_of(networks.generator)
    assert len(found) == len(norms) > 4
    for norm in norms:
        assert float(norm.standing_count) == 0.0 and not norm.mean_sum.numpy().any()
    last, seen = norms[-1], []
    statistics = last.batch_statistics

    def noted(x):
        seen.append([value.numpy() for value in statistics(x)])
        return statistics(x)

    last.batch_statistics = noted
    for i in range(3):
        seed = tf.constant([standing_statistics._SEED, i], tf.int64)
        z = 0.5 * networks.latent.sample(4, seed)
        labels = tf.random.stateless_uniform(
            [4],
            tf.random.experimental.stateless_fold_in(seed, tf.constant(1, tf.int64)),
            0,
            3,
            tf.int32,
        )
        with conditional_batch_norm.accumulate_standing_statistics():
            networks.generate(z, networks.conditioning(labels, None))
    mean, variance = np.mean(seen, axis=0)
    np.testing.assert_allclose(found[-1][0], mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found[-1][1], variance, rtol=1e-4, atol=1e-6)


def test_calls_inside_use_the_statistics_and_calls_after_do_not(sampler):
    networks = sampler.networks
    z = latents.draw(networks.latent, 2, seed=0)
    given = networks.conditioning(tf.constant([0, 1]), None)
    plain = networks.generate(z, given)["videos"]
    with sampler.standing():
        inside = networks.generate(z, given)["videos"]
    np.testing.assert_array_equal(networks.generate(z, given)["videos"], plain)
    assert np.abs(inside - plain).max() > 1e-3
    explicit = networks.generate(z, given, statistics=sampler.statistics(1.0))["videos"]
    np.testing.assert_array_equal(inside, explicit)


def test_items_come_in_turn():
    items = np.arange(3)
    assert sampler_lib.in_turn(items, 7).tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert sampler_lib.in_turn(items, 2).tolist() == [0, 1]


def test_a_mixture_fits_the_codes_it_is_given():
    rng = np.random.default_rng(0)
    codes = np.concatenate([rng.normal(-5, 1, [200, 3]), rng.normal(5, 1, [200, 3])])
    mixture = latents.fit_mixture(codes, num_components=2)
    samples, _ = mixture.sample(1000)
    assert abs((samples[:, 0] > 0).mean() - 0.5) < 0.1
    assert latents.fit_mixture(codes[:10]).n_components == 5
