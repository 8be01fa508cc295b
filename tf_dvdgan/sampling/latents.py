"""Random latents and labels of samples, reproducible at any batch size."""

import string

import numpy as np
import tensorflow as tf

from tf_dvdgan import errors, seeds
from tf_dvdgan.models import video_gan

_LABELS = -1  # separates the seeds of labels from those of latents


def check_seed(seed: int | tf.Tensor) -> None:
    """Checks that latents and labels can be drawn from a seed.

    Args:
      seed: from -2^63 to 2^63 - 1; a tensor is not checked.

    Raises:
      UserError: it is another number, or none.
    """
    if tf.is_tensor(seed):
        return
    if not isinstance(seed, int | np.integer) or not -(2**63) <= seed < 2**63:
        raise errors.UserError(
            f"`seed` must be a whole number from -2^63 to 2^63 - 1, not {seed!r}."
        )


def draw(
    latent: video_gan.GaussianLatent,
    count: int | tf.Tensor,
    seed: int | tf.Tensor,
    truncation: float | tf.Tensor = 1.0,
) -> tf.Tensor:
    """Draws latents; row i depends only on the seed and i.

    Args:
      latent: distribution of z.
      count: number of latents.
      seed: an integer of 64 bits.
      truncation: factor of z; below 1 samples are closer to the mean and less diverse.

    Returns:
      `[count, latent.size]` float32.

    Raises:
      UserError: there is no such seed.
    """
    check_seed(seed)
    seed = tf.cast(seed, tf.int64)
    rows = tf.map_fn(
        lambda i: latent.sample(1, tf.stack([seed, i]))[0],
        tf.range(tf.cast(count, tf.int64)),
        fn_output_signature=tf.float32,
    )
    return tf.cast(truncation, tf.float32) * rows


def draw_labels(
    count: int | tf.Tensor, seed: int | tf.Tensor, num_classes: int
) -> tf.Tensor:
    """Draws class numbers uniformly; number i depends only on the seed and i.

    Args:
      count: number of labels.
      seed: an integer of 64 bits.
      num_classes: labels are from 0 to `num_classes` - 1.

    Returns:
      `[count]` int32.

    Raises:
      UserError: there is no such seed.
    """
    check_seed(seed)
    seed = tf.random.experimental.stateless_fold_in(
        tf.stack([tf.cast(seed, tf.int64), _LABELS]), tf.constant(0, tf.int64)
    )
    return tf.map_fn(
        lambda i: tf.random.stateless_uniform(
            [],
            tf.random.experimental.stateless_fold_in(seed, i),
            0,
            num_classes,
            tf.int32,
        ),
        tf.range(tf.cast(count, tf.int64)),
        fn_output_signature=tf.int32,
    )


def interpolate(start: np.ndarray, end: np.ndarray, num_steps: int) -> np.ndarray:
    """Interpolates linearly between rows, including both ends.

    Args:
      start: `[rows, size]` latents, or class weights.
      end: `[rows, size]`.
      num_steps: number of points per row, at least 2.

    Returns:
      `[rows, num_steps, size]` float32.
    """
    share = np.linspace(0.0, 1.0, num_steps, dtype=np.float32)[:, np.newaxis]
    start, end = np.asarray(start)[:, np.newaxis], np.asarray(end)[:, np.newaxis]
    return (1.0 - share) * start + share * end


def evenly_spaced(count: int, at_most: int) -> np.ndarray:
    """Picks evenly spaced numbers from 0 to `count` - 1, including both ends.

    Args:
      count: number of items to pick from.
      at_most: maximum number of items to pick.

    Returns:
      `[min(count, at_most)]` integers, increasing.
    """
    return np.unique(np.linspace(0, count - 1, min(count, at_most)).astype(int))


def subspaces(latent: video_gan.GaussianLatent) -> dict[str, slice]:
    """Returns the slices of subspaces A, B, C (paper 003); {} if there is only one."""
    if len(latent.sizes) == 1:
        return {}
    ends = np.cumsum(latent.sizes)
    return {
        name: slice(int(end) - size, int(end))
        for name, size, end in zip(
            string.ascii_uppercase, latent.sizes, ends, strict=False
        )
    }


def resample(z: np.ndarray, drawn: np.ndarray, subspace: slice) -> np.ndarray:
    """Replaces one subspace of latents, keeps the others (paper 003, figure 12).

    Args:
      z: `[rows, size]` latents.
      drawn: `[rows, num, size]` latents with the new values of the subspace.
      subspace: slice of the subspace.

    Returns:
      `[rows, 1 + num, size]`, with z itself first.
    """
    frozen = np.repeat(z[:, np.newaxis], drawn.shape[1], axis=1)
    frozen[..., subspace] = drawn[..., subspace]
    return np.concatenate([z[:, np.newaxis], frozen], axis=1)


def fit_mixture(codes: np.ndarray, num_components: int = 256, seed: int = 0):
    """Fits a Gaussian mixture with diagonal covariances to codes.

    Args:
      codes: `[count, size]`.
      num_components: number of components; reduced to half the number of codes if it is
        larger.
      seed: seed of the initialization, from 0 to 2^32 - 1.

    Returns:
      scikit-learn's `GaussianMixture`; its `sample` method generates codes to decode.

    Raises:
      UserError: there is no such seed.
    """
    seeds.check(seed)
    from sklearn import mixture

    components = min(num_components, max(len(codes) // 2, 1))
    fitted = mixture.GaussianMixture(
        components, covariance_type="diag", random_state=seed
    )
    return fitted.fit(codes)
