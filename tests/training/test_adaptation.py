"""The probability of augmentation against its rule, step by step."""

import numpy as np
import pytest
import tensorflow as tf

from tf_dvdgan.training.adaptation import Adaptation
from tf_dvdgan.training.augmentation import Augmentation


def test_the_probability_follows_the_signs():
    adaptation = Adaptation(target=0.5, clips=1000, maximum=0.03)
    rng, p, mean = np.random.default_rng(0), 0.01, 0.0
    found = tf.constant(p)
    for _ in range(40):
        signs = rng.uniform(0, 1, 2).astype(np.float32)
        mean += 4 / 512 * (max(signs) - mean)
        p = min(max(p + 4 / 1000 * np.sign(mean - 0.5), 0.0), 0.03)
        found = adaptation.adapted(found, tf.constant(signs), 4)
        assert float(found) == pytest.approx(p, abs=1e-6)
        assert float(adaptation.overfitting) == pytest.approx(mean, abs=1e-5)


def test_the_probability_rises_while_the_worst_discriminator_overfits():
    made = Augmentation(
        probability=0.0, adaptation=lambda: Adaptation(clips=6400, target=0.6)
    )
    for _ in range(200):
        made.adapt(tf.constant([0.1, 1.0]), 64)
    risen = float(made.probability)
    assert risen > 0.9
    for _ in range(40):
        made.adapt(tf.constant([0.1, 0.2]), 64)
    assert float(made.probability) < risen
    np.testing.assert_allclose(
        made.metrics(), [float(made.probability), float(made.adaptation.overfitting)]
    )


def test_held_out_scores_are_compared_with_those_of_training_and_generated_clips():
    adaptation = Adaptation(measure="held_out")
    scores = ([2.0, 3.0], [1.5, 0.0], [0.0, -1.0])
    adaptation.measured(*map(tf.constant, scores))
    assert float(adaptation.overfitting) == pytest.approx(max(0.5 / 2, 3 / 4))
    before = float(adaptation.overfitting)
    adaptation.adapted(tf.constant(0.0), tf.constant([1.0, 1.0]), 8)
    assert float(adaptation.overfitting) == before  # signs play no part


def test_nothing_changes_before_the_first_measurement_of_held_out_scores():
    for target in (0.6, 0, 1):
        adaptation = Adaptation(measure="held_out", clips=100, target=target)
        found = adaptation.adapted(tf.constant(0.5), tf.constant([1.0]), 8)
        assert float(found) == 0.5
        adaptation.measured(*(tf.constant([x]) for x in (0.1, 0.05, 0.0)))
        assert float(adaptation.overfitting) == pytest.approx(0.5)


def test_the_measure_of_held_out_scores_is_between_minus_1_and_1():
    adaptation = Adaptation(measure="held_out")
    for training, held_out, generated, expected in (
        (0.1, -0.3, 0.2, 0.0),  # it prefers generated clips
        (0.1, -9.0, 0.1, 0.0),
        (0.1, -0.3, 0.05, 1.0),
        (0.1, 0.9, 0.05, -1.0),
    ):
        adaptation.measured(
            *(tf.constant([x]) for x in (training, held_out, generated))
        )
        assert float(adaptation.overfitting) == expected


def test_other_measures_are_refused():
    with pytest.raises(ValueError, match="must be one of"):
        Adaptation(measure="loss")
    with pytest.raises(ValueError, match="at least 1"):
        Adaptation(clips=0)
    with pytest.raises(ValueError, match="must be from 0 to 1"):
        Adaptation(target=7.0)


def test_a_probability_that_an_alarm_raised_above_the_maximum_only_falls():
    adaptation = Adaptation(target=0.5, clips=100, maximum=0.2)
    adaptation.overfitting.assign(0.9)
    rising = adaptation.adapted(tf.constant(0.3), tf.constant([1.0]), 1)
    assert float(rising) == pytest.approx(0.3)
    adaptation.overfitting.assign(0.1)
    falling = adaptation.adapted(tf.constant(0.3), tf.constant([0.0]), 1)
    assert float(falling) == pytest.approx(0.29)


def test_an_adaptation_itself_is_refused_where_its_class_is_needed():
    with pytest.raises(ValueError, match="adaptation must create a part"):
        Augmentation(adaptation=Adaptation())
