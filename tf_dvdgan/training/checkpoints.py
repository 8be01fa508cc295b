"""Checkpoints of a run: everything it needs to go on as if never stopped.

TensorFlow writes a checkpoint's files first and then, in one step, the file that says
which checkpoint is the newest: a run killed at any moment finds a whole one.
"""

import os
from collections.abc import Mapping

import tensorflow as tf

from tf_dvdgan import cli
from tf_dvdgan.training import optimizers

DIRECTORY = "checkpoints"


class Checkpoints:
    """Saves and restores a trainer's state.

    Args:
      model_dir: of the run.
      objects: what to keep, by name.
      facts: numbers that must not change during a run, such as its seed, by name.
      keep: how many of the newest are kept.
    """

    def __init__(
        self,
        model_dir: str,
        objects: Mapping[str, tf.Module],
        facts: Mapping[str, int],
        keep: int = 3,
    ):
        self._objects = objects
        self._facts = dict(facts)
        self._saved_facts = {
            name: tf.Variable(value, dtype=tf.int64, trainable=False)
            for name, value in facts.items()
        }
        self._checkpoint = tf.train.Checkpoint(**objects, **self._saved_facts)
        directory = os.path.join(model_dir, DIRECTORY)
        self._manager = tf.train.CheckpointManager(
            self._checkpoint, directory, max_to_keep=keep, checkpoint_name="step"
        )

    @property
    def newest(self) -> str | None:
        """Path of the newest checkpoint, or None."""
        return self._manager.latest_checkpoint

    def save(self, step: int) -> None:
        """Writes a checkpoint, unless that of the step is there already."""
        if self.newest != os.path.join(self._manager.directory, f"step-{step}"):
            self._manager.save(checkpoint_number=step)

    def restore(self) -> bool:
        """Restores the newest checkpoint; tells whether there was one.

        Learning rates and the like stay as configured.

        Raises:
          UserError: the checkpoint is of another architecture, or one of the facts
            has changed.
        """
        if not self.newest:
            return False
        kept = [
            o
            for o in self._objects.values()
            if isinstance(o, tf.keras.optimizers.legacy.Optimizer)
        ]
        with optimizers.keep_hyperparameters(kept):
            _restore(self._checkpoint, self.newest, whole=True)
        for name, variable in self._saved_facts.items():
            if int(variable) != self._facts[name]:
                raise cli.UserError(
                    f"This run has {name} {int(variable)}; it cannot go on with "
                    f"{self._facts[name]}. Set it back, or use a new --model_dir."
                )
        return True


def restore_generator(
    model_dir: str,
    generator: tf.keras.Model,
    step: int | None = None,
    others: Mapping[str, tf.keras.Model] | None = None,
) -> int:
    """Restores a generator for sampling, with its averaged weights if it has them.

    Args:
      model_dir: of the run.
      generator: built.
      step: which checkpoint; the newest by default.
      others: what else to restore, by the names it was saved under.

    Returns:
      The checkpoint's step.

    Raises:
      UserError: there is no such checkpoint, or it is of another architecture.
    """
    directory = os.path.join(model_dir, DIRECTORY)
    path = tf.train.latest_checkpoint(directory)
    if step is not None:
        path = os.path.join(directory, f"step-{step}")
    if not path or not tf.io.gfile.exists(path + ".index"):
        which = "" if step is None else f" of step {step}"
        raise cli.UserError(f"{model_dir!r} has no checkpoint{which}.")
    found = tf.Variable(0, dtype=tf.int64)
    wanted = {"generator": generator, "step": found, **(others or {})}
    _restore(tf.train.Checkpoint(**wanted), path, whole=False)
    if any(
        "generator_optimizer/average" in key for key, _ in tf.train.list_variables(path)
    ):
        optimizer = optimizers.with_moving_average(optimizers.adam(0.0))
        optimizers.create_slots(optimizer, generator.trainable_variables)
        holder = tf.train.Checkpoint(generator=generator, generator_optimizer=optimizer)
        holder.restore(path).expect_partial()
        for variable in generator.trainable_variables:
            variable.assign(optimizers.average_of(optimizer, variable))
    return int(found)


def _restore(checkpoint: tf.train.Checkpoint, path: str, whole: bool) -> None:
    try:
        status = checkpoint.restore(path)
        if whole:
            status.assert_consumed()
        else:
            status.assert_existing_objects_matched().expect_partial()
    except (ValueError, AssertionError) as error:
        tf.get_logger().setLevel("ERROR")  # it would list all that was not restored
        raise cli.UserError(
            f"The checkpoint {path} is of another architecture than the config says: "
            f"{_first_difference(error)} Use the config that it was trained with, or "
            "a new --model_dir."
        ) from None


def _first_difference(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text[:160].rstrip(".") + ("…" if len(text) > 160 else ".")
