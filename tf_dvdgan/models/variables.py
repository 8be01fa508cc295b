"""Variables of a network by their path in it."""

import numpy as np
import tensorflow as tf


def by_path(network: tf.keras.Model) -> dict[str, tf.Variable]:
    """Variables of a built network by their path in it, such as "conv1/kernel"."""
    variables = {}
    for variable in network.variables:
        name = variable.name.removesuffix(":0")
        # In a network built inside another scope, names begin with that scope.
        path = f"/{name}".partition(f"/{network.name}/")[2]
        variables[path or name] = variable
    return variables


def as_exported(values: np.ndarray) -> np.ndarray:
    """Rounds kernels to float16, as exported runs have them, and no vectors.

    Args:
      values: values of a variable, `[...]`.

    Returns:
      The values, `[...]` float16 if there is more than one axis.
    """
    return values.astype(np.float16) if values.ndim > 1 else values
