"""The Fréchet distance against its closed forms and SciPy's matrix root."""

import numpy as np
import pytest
import scipy.linalg

from tf_dvdgan.evaluation import frechet


def moments(features: np.ndarray, part: int = 64) -> frechet.Moments:
    made = frechet.Moments(features.shape[1])
    for i in range(0, len(features), part):
        made.add(features[i : i + part])
    return made


def plain(a: np.ndarray, b: np.ndarray) -> float:
    """By SciPy's Schur root of the product, as the first implementations have it."""
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = scipy.linalg.sqrtm(cov_a @ cov_b).real
    apart = a.mean(0) - b.mean(0)
    return apart @ apart + np.trace(cov_a + cov_b - 2 * root)


def features(seed: int, count: int, size: int, scale=1.0, shift=0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=[count, size]) @ rng.normal(size=[size, size])
    return scale * mixed + shift


@pytest.mark.parametrize("shift", [0.0, 1e4])  # the latter ruins a sum of squares
def test_seen_in_parts_is_as_seen_at_once(shift):
    x = features(0, 1000, 20, shift=shift)
    seen = moments(x, part=7)
    np.testing.assert_allclose(seen.mean, x.mean(0), rtol=1e-12)
    np.testing.assert_allclose(
        seen.covariance, np.cov(x, rowvar=False), rtol=1e-9, atol=1e-9
    )


def test_merged_parts_are_the_whole():
    x = features(0, 1000, 20)
    merged = moments(x[:300])
    merged.merge(moments(x[300:]))
    merged.merge(frechet.Moments(20))  # of a worker that saw nothing
    np.testing.assert_allclose(merged.mean, x.mean(0), rtol=1e-12)
    np.testing.assert_allclose(merged.covariance, np.cov(x, rowvar=False), rtol=1e-10)


def test_distance_is_that_of_scipy():
    a, b = features(0, 2000, 30), features(1, 1500, 30, scale=0.5, shift=1.0)
    found = frechet.distance(moments(a), moments(b))
    np.testing.assert_allclose(found, plain(a, b), rtol=1e-8)


def test_distance_of_one_dimension_is_known():
    a, b = features(0, 500, 1), features(1, 400, 1, shift=3.0)
    expected = (a.mean() - b.mean()) ** 2 + (a.std(ddof=1) - b.std(ddof=1)) ** 2
    found = frechet.distance(moments(a), moments(b))
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_fewer_vectors_than_dimensions():
    """Both in the same 40 of 256 dimensions: the distance is that in these 40."""
    basis = np.linalg.qr(np.random.default_rng(3).normal(size=[256, 40]))[0]
    a, b = features(0, 100, 40), features(1, 90, 40)
    found = frechet.distance(moments(a @ basis.T), moments(b @ basis.T))
    np.testing.assert_allclose(found, plain(a, b), rtol=1e-6)


def test_a_set_is_nowhere_from_itself():
    a = features(0, 50, 100)
    assert abs(frechet.distance(moments(a), moments(a))) < 1e-6 * np.trace(np.cov(a.T))


def test_one_vector_is_not_enough():
    with pytest.raises(ValueError, match="two vectors"):
        frechet.distance(moments(np.zeros([1, 3])), moments(np.zeros([9, 3])))
