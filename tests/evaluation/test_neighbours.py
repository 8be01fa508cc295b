"""Neighbours against all pairs; precision, recall and replay where they are known."""

import numpy as np
import pytest

from tf_dvdgan.evaluation import frechet, neighbours


def points(seed, count, size=8, shift=0.0):
    return np.random.default_rng(seed).normal(size=[count, size]) + shift


def all_pairs(a, b):
    return np.linalg.norm(a[:, None] - b[None], axis=2)


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    monkeypatch.setattr(neighbours, "_BLOCK", 7)


@pytest.mark.parametrize("shift", [0.0, 1e6])
def test_nearest_are_those_of_all_pairs(shift):
    a, b = points(0, 50, shift=shift), points(1, 60, shift=shift)
    numbers, distances = neighbours.nearest(a, b, 4)
    expected = all_pairs(a, b)
    order = np.argsort(expected, axis=1)[:, :4]
    np.testing.assert_array_equal(numbers, order)
    np.testing.assert_allclose(distances, np.take_along_axis(expected, order, 1))


def test_a_clip_is_its_own_nearest_at_distance_0():
    a = points(0, 40, shift=1e3)
    numbers, distances = neighbours.nearest(a, a)
    np.testing.assert_array_equal(numbers[:, 0], np.arange(40))
    assert not distances.any()


def plain_share(queries, members, k):
    own = np.sort(all_pairs(members, members), axis=1)[:, k]
    return (all_pairs(queries, members) <= own).any(axis=1).mean()


@pytest.mark.parametrize("k", [1, 3])
def test_precision_and_recall_are_the_definition(k):
    real, generated = points(0, 80), 0.7 * points(1, 60) + 0.3
    found = neighbours.precision_and_recall(real, generated, k)
    expected = plain_share(generated, real, k), plain_share(real, generated, k)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert 0.05 < min(expected) and max(expected) < 1.0


def test_far_apart_is_0_and_one_mode_of_two_has_half_the_recall():
    real = np.concatenate([points(0, 100), points(1, 100, shift=100.0)])
    assert neighbours.precision_and_recall(real, points(2, 50, shift=1e4)) == (0, 0)
    precision, recall = neighbours.precision_and_recall(real, points(2, 100))
    assert precision > 0.7 and 0.35 < recall <= 0.5


def moments(x):
    made = frechet.Moments(x.shape[1])
    made.add(x)
    return made


def test_a_generator_that_replays_is_found_here_and_not_by_the_frechet_distance():
    training, held_out = points(0, 400), points(1, 300)
    honest = points(2, 300)
    replayed = training[:300] + 1e-3 * points(3, 300)
    assert neighbours.memorization(honest, training, held_out).share < 0.12
    found = neighbours.memorization(replayed, training, held_out)
    assert found.share == 1.0
    np.testing.assert_array_equal(found.nearest, np.arange(300))
    real = moments(held_out)
    of_replayed = frechet.distance(real, moments(replayed))
    assert of_replayed < 1.5 * frechet.distance(real, moments(honest))


def test_too_few_are_refused():
    with pytest.raises(ValueError, match="5 neighbours of 3"):
        neighbours.nearest(points(0, 9), points(1, 3), 5)
