import numpy as np
import pytest

from tf_dvdgan import losses


def test_hinge_losses_equal_numpy():
    rng = np.random.default_rng(0)
    real = rng.normal(0, 2, 32).astype(np.float32)
    fake = rng.normal(0, 2, 32).astype(np.float32)
    expected = np.maximum(0, 1 - real).mean() + np.maximum(0, 1 + fake).mean()
    np.testing.assert_allclose(
        losses.hinge_discriminator_loss(real, fake), expected, 1e-6
    )
    np.testing.assert_allclose(losses.hinge_generator_loss(fake), -fake.mean(), 1e-6)


def test_the_relativistic_hinge_compares_with_the_other_side_s_mean():
    rng = np.random.default_rng(0)
    real, fake = rng.normal(size=[2, 6]).astype(np.float32)
    expected = (
        np.maximum(0, 1 - (real - fake.mean())).mean()
        + np.maximum(0, 1 + (fake - real.mean())).mean()
    )
    found = losses.relativistic_hinge_discriminator_loss(real, fake)
    assert float(found) == pytest.approx(expected, rel=1e-5)
    expected = (
        np.maximum(0, 1 - (fake - real.mean())).mean()
        + np.maximum(0, 1 + (real - fake.mean())).mean()
    )
    found = losses.relativistic_hinge_generator_loss(fake, real_logits=real)
    assert float(found) == pytest.approx(expected, rel=1e-5)
