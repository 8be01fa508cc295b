"""Inception Score against known values and its definition."""

import numpy as np
import pytest

from tf_dvdgan.evaluation.metrics.inception_score import inception_score


def softmax(x):
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def plain(p):
    """The definition, term by term."""
    marginal = p.mean(0)
    divergences = [
        sum(q * np.log(q / m) for q, m in zip(row, marginal, strict=True)) for row in p
    ]
    return np.exp(np.mean(divergences))


def test_confident_balanced_predictions_score_the_number_of_classes():
    p = np.tile(np.eye(7), [10, 1])
    assert inception_score(p, 10) == (pytest.approx(7.0, rel=1e-12), pytest.approx(0))


def test_uniform_or_single_class_predictions_score_1():
    assert inception_score(np.full([50, 5], 0.2))[0] == pytest.approx(1.0, rel=1e-12)
    assert inception_score(np.eye(5)[np.zeros(50, int)])[0] == pytest.approx(1.0)


def test_matches_the_definition_in_each_split():
    p = softmax(np.random.default_rng(0).normal(size=[203, 9]) * 2)
    scores = [plain(part) for part in np.array_split(p, 4)]
    mean, deviation = inception_score(p, 4)
    np.testing.assert_allclose([mean, deviation], [np.mean(scores), np.std(scores)])


@pytest.mark.parametrize(
    "wrong", [np.zeros([20, 3]), np.full([20, 3], 0.5), np.full([5, 2], 0.5), [0.5]]
)
def test_values_that_are_not_probabilities_are_rejected(wrong):
    with pytest.raises(ValueError):
        inception_score(wrong)
