"""Seeds that latents can be drawn from."""

import numpy as np
import pytest
import tensorflow as tf

from tf_dvdgan import errors
from tf_dvdgan.models import video_gan
from tf_dvdgan.pictures import interpolations
from tf_dvdgan.sampling import latents

LATENT = video_gan.GaussianLatent((3,), (1.0,))


@pytest.mark.parametrize("seed", [2**63, -(2**63) - 1, 10**20, 1.5, "3", None])
def test_a_seed_that_tensorflow_does_not_take_is_refused(seed):
    for draw in (
        lambda: latents.draw(LATENT, 1, seed),
        lambda: latents.draw_labels(1, seed, 3),
        lambda: interpolations.Interpolation(seed=seed),
    ):
        with pytest.raises(errors.UserError, match="`seed` must be a whole number"):
            draw()


@pytest.mark.parametrize("seed", [0, -1, 2**31, 2**63 - 1, -(2**63)])
def test_a_seed_is_the_same_in_each_form(seed):
    found = latents.draw(LATENT, 2, seed)
    for same in (np.int64(seed), tf.constant(seed, tf.int64)):
        np.testing.assert_array_equal(latents.draw(LATENT, 2, same), found)
        np.testing.assert_array_equal(
            latents.draw_labels(5, same, 9), latents.draw_labels(5, seed, 9)
        )


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_mixture_has_smaller_seeds(seed):
    with pytest.raises(errors.UserError, match="from 0 to 4294967295, not"):
        latents.fit_mixture(np.zeros([4, 2]), seed=seed)
