"""Neighbors against brute force; precision, recall and replay in known cases."""

import numpy as np
import prdc
import pytest

from tf_dvdgan.evaluation.metrics import frechet, neighbors


def points(seed, count, size=8, shift=0.0):
    return np.random.default_rng(seed).normal(size=[count, size]) + shift


def all_pairs(a, b):
    return np.linalg.norm(a[:, None] - b[None], axis=2)


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    monkeypatch.setattr(neighbors, "_BLOCK", 7)


@pytest.mark.parametrize("shift", [0.0, 1e6])
def test_nearest_matches_brute_force(shift):
    a, b = points(0, 50, shift=shift), points(1, 60, shift=shift)
    indices, distances = neighbors.nearest(a, b, 4)
    expected = all_pairs(a, b)
    order = np.argsort(expected, axis=1)[:, :4]
    np.testing.assert_array_equal(indices, order)
    np.testing.assert_allclose(distances, np.take_along_axis(expected, order, 1))


def test_a_clip_is_its_own_nearest_at_distance_0():
    a = points(0, 40, shift=1e3)
    indices, distances = neighbors.nearest(a, a)
    np.testing.assert_array_equal(indices[:, 0], np.arange(40))
    assert not distances.any()


def plain_share(queries, members, k):
    radii = np.sort(all_pairs(members, members), axis=1)[:, k]
    return (all_pairs(queries, members) <= radii).any(axis=1).mean()


@pytest.mark.parametrize("k", [1, 3])
def test_precision_and_recall_match_the_definition(k):
    real, generated = points(0, 80), 0.7 * points(1, 60) + 0.3
    found = neighbors.precision_and_recall(real, generated, k)
    expected = plain_share(generated, real, k), plain_share(real, generated, k)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert 0.05 < min(expected) and max(expected) < 1.0


@pytest.mark.parametrize("k", [1, 5])
def test_density_and_coverage_match_their_authors(k):
    real, generated = points(0, 80), 0.7 * points(1, 60) + 0.3
    found = neighbors.density_and_coverage(real, generated, k)
    expected = prdc.compute_prdc(real, generated, k)
    np.testing.assert_allclose(
        found, (expected["density"], expected["coverage"]), atol=1e-12
    )
    assert 0.05 < found[1] < 1.0
    of_both = neighbors.precision_and_recall(real, generated, k)
    np.testing.assert_allclose(of_both, (expected["precision"], expected["recall"]))


def test_density_counts_balls_and_an_outlier_does_not_raise_it():
    real = points(0, 200)
    outliers = np.concatenate([real, points(1, 1, shift=50.0)])
    generated = points(2, 100, shift=25.0)  # only within the outlier's large ball
    precision = neighbors.precision_and_recall(outliers, generated, 5)[0]
    density, _ = neighbors.density_and_coverage(outliers, generated, 5)
    assert (precision, density) == (1.0, 1 / 5)
    density, coverage = neighbors.density_and_coverage(real, points(3, 200))
    assert density == pytest.approx(1.0, abs=0.15) and coverage > 0.9


def test_distant_sets_score_0_and_one_mode_of_two_has_half_the_recall():
    real = np.concatenate([points(0, 100), points(1, 100, shift=100.0)])
    assert neighbors.precision_and_recall(real, points(2, 50, shift=1e4)) == (0, 0)
    precision, recall = neighbors.precision_and_recall(real, points(2, 100))
    assert precision > 0.7 and 0.35 < recall <= 0.5


def moments(x):
    result = frechet.Moments(x.shape[1])
    result.add(x)
    return result


def test_memorization_detects_replay_but_the_frechet_distance_does_not():
    training, held_out = points(0, 400), points(1, 300)
    honest = points(2, 300)
    replayed = training[:300] + 1e-3 * points(3, 300)
    assert neighbors.memorization(honest, training, held_out).rate < 0.12
    found = neighbors.memorization(replayed, training, held_out)
    assert found.rate == 1.0
    np.testing.assert_array_equal(found.nearest, np.arange(300))
    real = moments(held_out)
    of_replayed = frechet.distance(real, moments(replayed))
    assert of_replayed < 1.5 * frechet.distance(real, moments(honest))


def test_replay_is_found_where_held_out_clips_are_in_the_training_set():
    """Then the threshold is 0, and nothing is nearer."""
    training, honest = points(0, 100), points(2, 50)
    held_out = np.concatenate([points(1, 90), training[:10]])
    assert neighbors.memorization(training[:50], training, held_out).rate == 1.0
    assert neighbors.memorization(honest, training, held_out).rate == 0.0


def test_a_bank_that_is_too_small_is_rejected():
    with pytest.raises(ValueError, match=r"k=5 vectors\. Received: 3"):
        neighbors.nearest(points(0, 9), points(1, 3), 5)
