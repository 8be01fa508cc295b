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
    decay_steps: tuple[int, int] | None = None,
    updates_per_step: int = 1,
) -> tf.keras.optimizers.legacy.Optimizer:
    """Adam with the papers' defaults (paper 001, appendix B.3; epsilon of BigGAN).

    Args:
      learning_rate: until it falls, if it does.
      beta_1: decay of the gradient's mean.
      beta_2: decay of the mean of its square.
      epsilon: added to the root of that.
      decay_steps: training steps between which the rate falls evenly to nought; if the
        second is not the later one, at once there. The papers' rates do not fall.
      updates_per_step: of this optimizer, in a training step.
    """
    betas = learning_rate, beta_1, beta_2, epsilon
    if decay_steps is None:
        return tf.keras.optimizers.legacy.Adam(*betas)
    return _FallingAdam(*betas, tuple(updates_per_step * i for i in decay_steps))


class _FallingAdam(tf.keras.optimizers.legacy.Adam):
    """Adam whose rate falls; in checkpoints it looks like one whose does not.

    (A rate that is a `LearningRateSchedule` is none of their variables: a run could not
    change from one to the other.)
    """

    def __init__(self, learning_rate, beta_1, beta_2, epsilon, between):
        super().__init__(learning_rate, beta_1, beta_2, epsilon)
        self._between = between

    def _decayed_lr(self, var_dtype):
        first, last = self._between
        done = tf.cast(self.iterations, tf.float32)
        share = tf.clip_by_value((last - done) / max(last - first, 1), 0.0, 1.0)
        return super()._decayed_lr(var_dtype) * tf.cast(share, var_dtype)


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
    """Replaces the variables by their averages, and afterwards puts them back.

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
    return float(getattr(optimizer, "_optimizer", optimizer)._decayed_lr(tf.float32))
