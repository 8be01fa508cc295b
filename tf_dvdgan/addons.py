"""What TensorFlow Addons provides, and our own form of it where Addons does not exist.

Addons ended with TensorFlow 2.15. It has the moving average of weights and the warp by
optical flow; newer TensorFlow gets the classes below, which give the same numbers and
checkpoints. Both build on Keras's legacy optimizers, and only this module calls their
private methods.
"""

import importlib.util
import warnings
from collections.abc import Sequence
from typing import Any

import tensorflow as tf


class OwnMovingAverage(tf.keras.optimizers.legacy.Optimizer):
    """Wraps an optimizer to maintain a moving average of the weights.

    After each update, average <- average - (1 - decay) (average - variable). Its
    checkpoints are those of `tfa.optimizers.MovingAverage`.

    Args:
      optimizer: the optimizer to wrap.
      average_decay: decay of the average.
      start_step: updates before this step set the average to the variable.
      name: name of the optimizer.
    """

    def __init__(
        self,
        optimizer: tf.keras.optimizers.legacy.Optimizer,
        average_decay: float,
        start_step: int,
        name: str = "MovingAverage",
    ):
        super().__init__(name)
        self._optimizer = optimizer
        self._track_trackable(optimizer, "awg_optimizer")
        self._average_decay = average_decay
        self._start_step = start_step

    @property
    def learning_rate(self):
        return self._optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, value):
        self._optimizer.learning_rate = value

    @property
    def weights(self):
        return self._weights + self._optimizer.weights

    def get_config(self):
        return super().get_config() | {
            "optimizer": tf.keras.optimizers.serialize(self._optimizer),
            "average_decay": self._average_decay,
            "start_step": self._start_step,
        }

    def apply_gradients(self, grads_and_vars, name=None, **keywords):
        """Updates the variables, then their averages.

        Args:
          grads_and_vars: pairs of a gradient and its variable.
          name: name of the operation.
          **keywords: as the base class.

        Returns:
          The operation.
        """
        self._optimizer._iterations = self.iterations
        return super().apply_gradients(grads_and_vars, name, **keywords)

    def _create_hypers(self):
        self._optimizer._create_hypers()

    def _create_slots(self, var_list):
        self._optimizer._create_slots(var_list=var_list)
        for variable in var_list:
            self.add_slot(variable, "average", variable.read_value())

    def _prepare_local(self, var_device, var_dtype, apply_state):
        self._optimizer._prepare_local(var_device, var_dtype, apply_state)
        apply_state[var_device, var_dtype]["average_decay"] = _decay_at(
            self._optimizer.iterations, self._start_step, self._average_decay
        )

    def _resource_apply_dense(self, grad, var, apply_state):
        update = self._optimizer._resource_apply_dense(grad, var, apply_state)
        return tf.group(update, self._update_average(var, apply_state))

    def _resource_apply_sparse(self, grad, var, indices, apply_state):
        update = self._optimizer._resource_apply_sparse(grad, var, indices, apply_state)
        return tf.group(update, self._update_average(var, apply_state))

    def _update_average(self, variable, apply_state):
        decay = apply_state[variable.device, variable.dtype.base_dtype]["average_decay"]
        return tf.keras.backend.moving_average_update(
            self.get_slot(variable, "average"), variable, decay
        )


def _decay_at(step: tf.Tensor, start_step: int, decay: float | tf.Tensor) -> tf.Tensor:
    """The average's decay: 0 before `start_step`."""
    return tf.where(tf.cast(step, tf.float32) < start_step, 0.0, decay)


def own_dense_image_warp(image: tf.Tensor, flow: tf.Tensor) -> tf.Tensor:
    """Samples an image bilinearly at p - flow[p], clamped at the border.

    Args:
      image: `[batch, height, width, channels]`, at least 2 pixels high and wide.
      flow: `[batch, height, width, 2]`, (down, right) in pixels.

    Returns:
      `[batch, height, width, channels]`.
    """
    _, height, width, channels = image.shape
    pixels = tf.reshape(image, [-1, height * width, channels])
    below, y = _neighbor(tf.range(height)[:, tf.newaxis], flow[..., 0], height)
    right, x = _neighbor(tf.range(width), flow[..., 1], width)

    def at(rows: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
        return tf.gather(pixels, rows * width + columns, batch_dims=1)

    x = tf.cast(x, image.dtype)[..., tf.newaxis]
    y = tf.cast(y, image.dtype)[..., tf.newaxis]
    upper = _mix(at(below - 1, right - 1), at(below - 1, right), x)
    lower = _mix(at(below, right - 1), at(below, right), x)
    return _mix(upper, lower, y)


def _neighbor(
    grid: tf.Tensor, offset: tf.Tensor, size: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the pixel after each position on an axis, and its share of the sample."""
    position = tf.cast(grid, offset.dtype) - offset
    before = tf.clip_by_value(tf.floor(position), 0.0, float(size - 2))
    return tf.cast(before, tf.int32) + 1, tf.clip_by_value(position - before, 0.0, 1.0)


def _mix(a: tf.Tensor, b: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
    return a + share * (b - a)


HAS_ADDONS = importlib.util.find_spec("tensorflow_addons") is not None
MovingAverage: type[tf.keras.optimizers.legacy.Optimizer]
if HAS_ADDONS:
    with warnings.catch_warnings():  # of its end of life
        warnings.simplefilter("ignore")
        import tensorflow_addons as tfa

    class AddonsMovingAverage(tfa.optimizers.MovingAverage):
        """Addons' average; a training's graph can be freed."""

        def _get_decay(self, step):
            # Addons' is a `tf.function`, which would keep the graph it was traced in.
            decay = self._get_hyper("average_decay", tf.float32)
            return _decay_at(step, self._start_step, decay)

    MovingAverage = AddonsMovingAverage
    dense_image_warp = tfa.image.dense_image_warp
else:
    MovingAverage = OwnMovingAverage
    dense_image_warp = own_dense_image_warp


class LinearlyDecayingAdam(tf.keras.optimizers.legacy.Adam):
    """Adam with linear learning rate decay, and the same checkpoints as plain Adam.

    (A `LearningRateSchedule` is not saved as a variable, so a run could not resume with
    or without decay at will.)

    Args:
      learning_rate: initial learning rate.
      beta_1: decay of the mean of the gradient.
      beta_2: decay of the mean of the squared gradient.
      epsilon: added to the root of the latter.
      between: first and last update of the decay to 0.
    """

    def __init__(
        self,
        learning_rate: float,
        beta_1: float,
        beta_2: float,
        epsilon: float,
        between: tuple[int, int],
    ):
        super().__init__(learning_rate, beta_1, beta_2, epsilon)
        self._between = between

    def _decayed_lr(self, var_dtype):
        first, last = self._between
        done = tf.cast(self.iterations, tf.float32)
        share = tf.clip_by_value((last - done) / max(last - first, 1), 0.0, 1.0)
        return super()._decayed_lr(var_dtype) * tf.cast(share, var_dtype)


def create_slots(
    optimizer: tf.keras.optimizers.legacy.Optimizer, variables: Sequence[tf.Variable]
) -> None:
    """Creates an optimizer's variables; call it in the strategy's scope.

    Lazily they would be created inside a compiled step, which fails.

    Args:
      optimizer: with or without a moving average.
      variables: the variables to optimize.
    """
    inner = getattr(optimizer, "_optimizer", None)
    if inner is not None:
        inner._iterations = optimizer.iterations
        inner._create_hypers()
    optimizer._create_all_weights(variables)


def hyperparameters(
    optimizer: tf.keras.optimizers.legacy.Optimizer,
) -> list[tf.Variable]:
    """Returns the variables of an optimizer's hyperparameters, such as the rate."""
    parts = [optimizer, getattr(optimizer, "_optimizer", None)]
    values = [v for part in parts if part is not None for v in part._hyper.values()]
    return [value for value in values if isinstance(value, tf.Variable)]


def learning_rate(optimizer: tf.keras.optimizers.legacy.Optimizer) -> float:
    """Returns the learning rate of the next update."""
    inner: Any = getattr(optimizer, "_optimizer", optimizer)
    return float(inner._decayed_lr(tf.float32))
