"""Bootstrap standard errors against known or sampled ones."""

import numpy as np
import pytest

from tf_dvdgan.evaluation.metrics import bootstrap, frechet


@pytest.mark.parametrize("count", [50, 800])
def test_error_of_a_mean_is_sigma_over_root_n(count):
    x = np.random.default_rng(count).normal(3.0, 2.0, count)
    found = bootstrap.standard_error(lambda i: x[i].mean(), count, num_resamples=400)
    np.testing.assert_allclose(found, x.std(ddof=1) / count**0.5, rtol=0.15)


def test_error_of_a_frechet_distance_is_the_spread_over_new_samples():
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=[6, 6]) / 6**0.5

    def draw(count, shift=0.0):
        return rng.normal(size=[count, 6]) @ mixing + shift

    def moments(x):
        result = frechet.Moments(6)
        result.add(x)
        return result

    distance = frechet.distance_from(moments(draw(5000)))
    fresh = [distance(moments(draw(300, shift=0.5))) for _ in range(200)]
    generated = draw(300, shift=0.5)
    found = bootstrap.standard_error(lambda i: distance(moments(generated[i])), 300)
    np.testing.assert_allclose(found, np.std(fresh, ddof=1), rtol=0.35)


def test_seed_makes_it_reproducible():
    x = np.arange(30.0)
    first, again, other = (
        bootstrap.standard_error(lambda i: x[i].mean(), 30, seed) for seed in (1, 1, 2)
    )
    assert first == again != other


def test_interval_is_95_percent_of_a_normal_distribution():
    low, high = bootstrap.confidence_interval(3.0, 0.5)
    x = np.random.default_rng(0).normal(3.0, 0.5, 100_000)
    assert abs(((low < x) & (x < high)).mean() - 0.95) < 0.005
