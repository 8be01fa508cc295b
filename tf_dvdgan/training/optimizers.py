"""Adam, and the moving average of the generator's weights."""

import contextlib
from collections.abc import Iterator, Sequence

import gin
import tensorflow as tf

from tf_dvdgan import addons


@gin.register(module="optimizers")
def adam(
    learning_rate: float,
    beta_1: float = 0.0,
    beta_2: float = 0.999,
    epsilon: float = 1e-6,
    decay_steps: tuple[int, int] | None = None,
    updates_per_step: int = 1,
) -> tf.keras.optimizers.legacy.Optimizer:
    """Creates Adam with the papers' defaults (001, appendix B.3; BigGAN's epsilon).

    Args:
      learning_rate: initial learning rate.
      beta_1: decay of the mean of the gradient.
      beta_2: decay of the mean of the squared gradient.
      epsilon: added to the root of the latter.
      decay_steps: first and last training step of a linear decay of the learning rate
        to 0; if the last is not later than the first, the rate drops to 0 there. None,
        as in the papers, for a constant rate.
      updates_per_step: number of updates by this optimizer per training step.

    Returns:
      The optimizer.
    """
    betas = learning_rate, beta_1, beta_2, epsilon
    if decay_steps is None:
        return tf.keras.optimizers.legacy.Adam(*betas)
    first, last = decay_steps
    between = updates_per_step * first, updates_per_step * last
    return addons.LinearlyDecayingAdam(*betas, between)


@gin.register(module="optimizers")
def with_moving_average(
    optimizer: tf.keras.optimizers.legacy.Optimizer,
    decay: float = 0.9999,
    start_step: int = 20_000,
) -> tf.keras.optimizers.legacy.Optimizer:
    """Wraps an optimizer to maintain a moving average of the weights.

    Args:
      optimizer: the optimizer to wrap.
      decay: decay of the average.
      start_step: updates before this step set the average to the weights.

    Returns:
      The wrapped optimizer.
    """
    return addons.MovingAverage(optimizer, average_decay=decay, start_step=start_step)


def moving_average_of(
    optimizer: tf.keras.optimizers.legacy.Optimizer, variable: tf.Variable
) -> tf.Variable:
    """Returns the moving average of a variable.

    Args:
      optimizer: an optimizer from `with_moving_average`.
      variable: a variable that it optimizes.

    Returns:
      The slot variable of the average.
    """
    return optimizer.get_slot(variable, "average")


@contextlib.contextmanager
def averaged_weights(
    optimizer: tf.keras.optimizers.legacy.Optimizer, variables: Sequence[tf.Variable]
) -> Iterator[None]:
    """Replaces variables by their moving averages within a context.

    Afterwards the weights are restored bit for bit. (`MovingAverage.swap_weights` adds
    and subtracts, which rounds: evaluating a run would change it.)

    Args:
      optimizer: an optimizer from `with_moving_average`.
      variables: the variables to replace.

    Yields:
      None, while the variables hold the averages.
    """
    raw = [variable.numpy() for variable in variables]
    for variable in variables:
        variable.assign(moving_average_of(optimizer, variable).read_value())
    try:
        yield
    finally:
        for variable, value in zip(variables, raw, strict=True):
            variable.assign(value)


@contextlib.contextmanager
def keep_hyperparameters(
    kept: Sequence[tf.keras.optimizers.legacy.Optimizer],
) -> Iterator[None]:
    """Keeps learning rates and other hyperparameters while a checkpoint is restored."""
    variables = [v for optimizer in kept for v in addons.hyperparameters(optimizer)]
    values = [variable.numpy() for variable in variables]
    yield
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
