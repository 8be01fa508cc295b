"""Variables of a network by their path in it."""

import numpy as np
import tensorflow as tf

from tf_dvdgan.layers import conditional_batch_norm


def by_path(network: tf.keras.Model) -> dict[str, tf.Variable]:
    """Variables of a built network by their path in it, such as "conv1/kernel"."""
    variables = {}
    for variable in network.variables:
        name = variable.name.removesuffix(":0")
        # In a network built inside another scope, names begin with that scope.
        path = f"/{name}".partition(f"/{network.name}/")[2]
        variables[path or name] = variable
    return variables


def state_of(network: tf.keras.Model) -> list[tf.Variable]:
    """Variables that a call uses besides the weights: vectors u of spectral norms.

    Args:
      network: a built network.

    Returns:
      Its variables that are not trained, without the sums of standing statistics.
    """
    sums = conditional_batch_norm.ACCUMULATORS
    others = network.non_trainable_variables
    return [v for v in others if v.name.split("/")[-1].removesuffix(":0") not in sums]


def is_finite(variable: tf.Variable) -> bool:
    """Whether all values of a variable are finite."""
    if not variable.dtype.is_floating:
        return True
    return bool(tf.reduce_all(tf.math.is_finite(variable)))


def not_finite(network: tf.keras.Model) -> str | None:
    """Returns the path of a variable that is not finite; None if all are."""
    used = {id(v) for v in (*network.trainable_variables, *state_of(network))}
    for path, variable in by_path(network).items():
        if id(variable) in used and not is_finite(variable):
            return path
    return None


def as_exported(values: np.ndarray) -> np.ndarray:
    """Rounds kernels to float16, as exported runs have them, and no vectors.

    Args:
      values: values of a variable, `[...]`.

    Returns:
      The values, `[...]` float16 if there is more than one axis.
    """
    return values.astype(np.float16) if values.ndim > 1 else values
