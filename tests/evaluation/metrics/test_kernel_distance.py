"""The kernel distance against scikit-learn's kernel, and its properties."""

import numpy as np
import pytest
from sklearn.metrics import pairwise

from tf_dvdgan.evaluation.metrics import kernel_distance


def points(seed, count, size=8, shift=0.0):
    return np.random.default_rng(seed).normal(size=[count, size]) + shift


def plain(x, y):
    """The unbiased estimate, from three matrices of the kernel."""

    def kernel(a, b):
        return pairwise.polynomial_kernel(a, b, degree=3, gamma=None, coef0=1)

    def off_diagonal(a):
        of_pairs = kernel(a, a)
        np.fill_diagonal(of_pairs, 0.0)
        return of_pairs.sum() / (len(a) * (len(a) - 1))

    return off_diagonal(x) + off_diagonal(y) - 2.0 * kernel(x, y).mean()


@pytest.mark.parametrize("block", [7, 1024])
def test_it_is_the_unbiased_estimate_of_all_pairs(block, monkeypatch):
    monkeypatch.setattr(kernel_distance, "_BLOCK", block)
    x, y = points(0, 50), 0.8 * points(1, 31) + 0.2
    found = kernel_distance.kernel_distance(x, y)
    assert found == pytest.approx(plain(x, y), rel=1e-10)
    assert found > 0.05


def test_it_is_0_on_average_for_few_clips_of_one_distribution():
    found = [
        kernel_distance.kernel_distance(points(2 * i, 10), points(2 * i + 1, 20))
        for i in range(400)
    ]
    error = np.std(found) / len(found) ** 0.5
    assert abs(np.mean(found)) < 3.0 * error
    assert min(found) < 0.0


def test_a_set_of_one_clip_is_refused():
    with pytest.raises(ValueError, match="at least two vectors"):
        kernel_distance.kernel_distance(points(0, 1), points(1, 5))
