"""Seeds of initial weights; those of the process are restored."""

import contextlib
import random
import sys
import threading
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from tensorflow.python.eager import context

from tf_dvdgan import errors

_LARGEST = 2**32 - 1  # NumPy's
_lock = threading.RLock()


def check(seed: int) -> None:
    """Checks that NumPy and scikit-learn take a seed.

    Args:
      seed: from 0 to 2^32 - 1.

    Raises:
      UserError: it is not.
    """
    if not isinstance(seed, int | np.integer) or not 0 <= seed <= _LARGEST:
        raise errors.UserError(
            f"`seed` must be a whole number from 0 to {_LARGEST}, not {seed!r}."
        )


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seeds Python, NumPy, TensorFlow and Keras within a context.

    Afterwards all of them continue as if nothing had happened, except that TensorFlow
    repeats the numbers since its own seed, if it has one. One thread at a time is in
    such a context.

    Args:
      seed: from 0 to 2^32 - 1.

    Raises:
      UserError: the seed is not.
    """
    check(seed)
    set_all = tf.keras.utils.set_random_seed
    keras_seeds = sys.modules[set_all.__module__].backend._SEED_GENERATOR  # type: ignore[attr-defined]
    with _lock:
        of_python, of_numpy = random.getstate(), np.random.get_state()
        of_tensorflow = context.global_seed()
        of_keras = getattr(keras_seeds, "generator", None)
        set_all(seed)
        try:
            yield
        finally:
            random.setstate(of_python)
            np.random.set_state(of_numpy)
            tf.random.set_seed(of_tensorflow)
            keras_seeds.generator = of_keras
