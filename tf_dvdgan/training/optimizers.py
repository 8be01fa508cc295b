"""Adam, and the moving average of a generator's weights that rides on it.

The average is TensorFlow Addons' `MovingAverage`, which wants Keras's legacy
optimizers. This module is the only one that knows: replacing it touches nothing else.
"""

import contextlib
import warnings
from collections.abc import Iterator, Sequence

import tensorflow as tf

with warnings.catch_warnings():  # that Addons are no longer developed: known
    warnings.simplefilter("ignore")
    import tensorflow_addons as tfa


def adam(
    learning_rate: float,
    beta_1: float = 0.0,
    beta_2: float = 0.999,
    epsilon: float = 1e-6,
) -> tf.keras.optimizers.legacy.Optimizer:
    """Adam with the papers' defaults (paper 001, appendix B.3; epsilon of BigGAN)."""
    return tf.keras.optimizers.legacy.Adam(learning_rate, beta_1, beta_2, epsilon)


def with_moving_average(
    optimizer: tf.keras.optimizers.legacy.Optimizer,
    decay: float = 0.9999,
    start_step: int = 20_000,
) -> tf.keras.optimizers.legacy.Optimizer:
    """Adds an average of the weights; until `start_step` it equals the weights."""
    return tfa.optimizers.MovingAverage(
        optimizer, average_decay=decay, start_step=start_step
    )


def create_slots(
    optimizer: tf.keras.optimizers.legacy.Optimizer, variables: Sequence[tf.Variable]
) -> None:
    """Makes an optimizer's variables now; call it in the strategy's scope.

    Made lazily they would appear inside a compiled step, which fails.
    """
    inner = getattr(optimizer, "_optimizer", None)
    if inner is not None:
        inner._iterations = optimizer.iterations
        inner._create_hypers()
    optimizer._create_all_weights(variables)


def average_of(
    optimizer: tf.keras.optimizers.legacy.Optimizer, variable: tf.Variable
) -> tf.Variable:
    """The moving average of a variable."""
    return optimizer.get_slot(variable, "average")


@contextlib.contextmanager
def averaged_weights(
    optimizer: tf.keras.optimizers.legacy.Optimizer, variables: Sequence[tf.Variable]
) -> Iterator[None]:
    """Puts the averages in the place of the variables, and afterwards puts them back.

    The weights come back to the bit. (`MovingAverage.swap_weights` adds and subtracts,
    which rounds: a run would depend on how often it was looked at.)
    """
    raw = [variable.numpy() for variable in variables]
    for variable in variables:
        variable.assign(average_of(optimizer, variable).read_value())
    try:
        yield
    finally:
        for variable, value in zip(variables, raw, strict=True):
            variable.assign(value)


@contextlib.contextmanager
def keep_hyperparameters(
    kept: Sequence[tf.keras.optimizers.legacy.Optimizer],
) -> Iterator[None]:
    """Restoring a checkpoint within it leaves learning rates and the like alone."""
    variables = []
    for optimizer in kept:
        for part in (optimizer, getattr(optimizer, "_optimizer", None)):
            hyper = part._hyper.values() if part is not None else ()
            variables += [v for v in hyper if isinstance(v, tf.Variable)]
    values = [variable.numpy() for variable in variables]
    yield
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def learning_rate(optimizer: tf.keras.optimizers.legacy.Optimizer) -> float:
    """The learning rate of the next step."""
    rate = optimizer.learning_rate
    if isinstance(rate, tf.keras.optimizers.schedules.LearningRateSchedule):
        rate = rate(optimizer.iterations)
    return float(tf.convert_to_tensor(rate))
