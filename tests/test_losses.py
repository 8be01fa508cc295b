import numpy as np

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
