"""The Fréchet distance against closed forms and SciPy's matrix square root."""

import numpy as np
import pytest
import scipy.linalg

from tf_dvdgan.evaluation.metrics import frechet


def moments(features: np.ndarray, batch_size: int = 64) -> frechet.Moments:
    result = frechet.Moments(features.shape[1])
    for i in range(0, len(features), batch_size):
        result.add(features[i : i + batch_size])
    return result


def plain(a: np.ndarray, b: np.ndarray) -> float:
    """With SciPy's Schur square root of the product, as in early implementations."""
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = scipy.linalg.sqrtm(cov_a @ cov_b).real
    difference = a.mean(0) - b.mean(0)
    return difference @ difference + np.trace(cov_a + cov_b - 2 * root)


def features(seed: int, count: int, size: int, scale=1.0, shift=0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=[count, size]) @ rng.normal(size=[size, size])
    return scale * mixed + shift


@pytest.mark.parametrize("shift", [0.0, 1e4])  # sums of squares fail at 1e4
def test_moments_of_batches_are_those_of_all_vectors(shift):
    x = features(0, 1000, 20, shift=shift)
    found = moments(x, batch_size=7)
    np.testing.assert_allclose(found.mean, x.mean(0), rtol=1e-12)
    np.testing.assert_allclose(
        found.covariance, np.cov(x, rowvar=False), rtol=1e-9, atol=1e-9
    )


def test_merged_moments_are_those_of_all_vectors():
    x = features(0, 1000, 20)
    merged = moments(x[:300])
    merged.merge(moments(x[300:]))
    merged.merge(frechet.Moments(20))  # a worker without vectors
    np.testing.assert_allclose(merged.mean, x.mean(0), rtol=1e-12)
    np.testing.assert_allclose(merged.covariance, np.cov(x, rowvar=False), rtol=1e-10)


def test_distance_matches_scipy():
    a, b = features(0, 2000, 30), features(1, 1500, 30, scale=0.5, shift=1.0)
    found = frechet.distance(moments(a), moments(b))
    np.testing.assert_allclose(found, plain(a, b), rtol=1e-8)


def test_distance_in_one_dimension_is_the_closed_form():
    a, b = features(0, 500, 1), features(1, 400, 1, shift=3.0)
    expected = (a.mean() - b.mean()) ** 2 + (a.std(ddof=1) - b.std(ddof=1)) ** 2
    found = frechet.distance(moments(a), moments(b))
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_fewer_vectors_than_dimensions():
    """Both lie in a 40-dimensional subspace of 256 dimensions."""
    basis = np.linalg.qr(np.random.default_rng(3).normal(size=[256, 40]))[0]
    a, b = features(0, 100, 40), features(1, 90, 40)
    found = frechet.distance(moments(a @ basis.T), moments(b @ basis.T))
    np.testing.assert_allclose(found, plain(a, b), rtol=1e-6)


def test_distance_of_a_set_to_itself_is_0():
    a = features(0, 50, 100)
    assert abs(frechet.distance(moments(a), moments(a))) < 1e-6 * np.trace(np.cov(a.T))


def test_one_vector_is_not_enough():
    with pytest.raises(ValueError, match="two vectors"):
        frechet.distance(moments(np.zeros([1, 3])), moments(np.zeros([9, 3])))


def test_rounding_does_not_make_a_distance_negative():
    found = []
    for seed in range(40):
        a, b = frechet.Moments(6), frechet.Moments(6)
        vectors = np.random.default_rng(seed).normal(size=[20, 6])
        a.add(vectors)
        b.add(vectors + 1e-9)
        found.append(frechet.distance(a, b))
    assert min(found) >= 0 and max(found) < 1e-9
