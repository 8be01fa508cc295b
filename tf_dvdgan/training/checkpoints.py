"""Checkpoints of a run: everything it needs to go on as if never stopped.

TensorFlow writes a checkpoint's files first and then, in one step, the file that says
which checkpoint is the newest: a run killed at any moment finds a whole one. One that
was damaged afterwards is passed over for the one before it.
"""

import contextlib
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence

import tensorflow as tf

from tf_dvdgan import errors, run_directory
from tf_dvdgan.data import files
from tf_dvdgan.training import optimizers

_NAME = "step"


class SaveError(Exception):
    """A checkpoint could not be written; those before it are as they were."""


class UnreadableError(errors.UserError):
    """A checkpoint is damaged, or not there."""


class Checkpoints:
    """Saves and restores a trainer's state.

    Args:
      model_dir: of the run.
      objects: what to keep, by name.
      facts: numbers that must not change during a run, such as its seed, by name.
      keep: how many of the newest are kept.
      asynchronous: whether files are written by a thread while training continues.
      writes: whether this process writes at all; of several workers one does.
    """

    def __init__(
        self,
        model_dir: str,
        objects: Mapping[str, tf.Module],
        facts: Mapping[str, int],
        keep: int = 3,
        asynchronous: bool = False,
        writes: bool = True,
    ):
        self._objects = objects
        self._facts = dict(facts)
        self._saved_facts = {
            name: tf.Variable(value, dtype=tf.int64, trainable=False)
            for name, value in facts.items()
        }
        self._checkpoint = tf.train.Checkpoint(**objects, **self._saved_facts)
        self.model_dir = model_dir
        self._directory = run_directory.RunDirectory(model_dir).checkpoints
        self._keep = keep
        self._options = tf.train.CheckpointOptions(
            experimental_enable_async_checkpoint=asynchronous
        )
        self._writes = writes
        self._manager = self._new_manager()

    def _new_manager(self) -> tf.train.CheckpointManager:
        """A manager of the checkpoints that are there."""
        return tf.train.CheckpointManager(
            self._checkpoint,
            self._directory,
            max_to_keep=self._keep,
            checkpoint_name=_NAME,
        )

    @property
    def newest(self) -> str | None:
        """Path of the newest checkpoint, or None."""
        if not self._writes:
            return tf.train.latest_checkpoint(self._directory)
        return self._manager.latest_checkpoint

    def save(self, step: int) -> None:
        """Writes a checkpoint, unless that of the step is there already.

        Raises:
          SaveError: it could not be written, or, where a thread writes, the one
            before it.
        """
        path = path_of(self._directory, step)
        if not self._writes or self.newest == path:
            return
        with self._failing_clean():
            self._manager.save(checkpoint_number=step, options=self._options)

    def wait(self) -> None:
        """Waits until what a thread writes is written.

        Raises:
          SaveError: it could not be written.
        """
        with self._failing_clean():
            self._checkpoint.sync()
            thread = self._checkpoint._async_checkpointer_impl
            if thread is not None:  # TensorFlow would tell at the next save only
                thread._check_async_thread_error()

    @contextlib.contextmanager
    def _failing_clean(self) -> Iterator[None]:
        """Takes away what a save that failed has left, and raises `SaveError`."""
        try:
            yield
        except (tf.errors.OpError, OSError) as error:
            self._remove_unfinished()
            reason = getattr(error, "message", str(error)).splitlines()[0]
            reason = re.sub(r"^\{\{.*?\}\} ?| ?\[Op:\w+\]$", "", reason)
            raise SaveError(reason) from None

    def restore(self, allow_config_mismatch: bool = False) -> bool:
        """Restores the newest checkpoint that can be read.

        Learning rates and the like stay as configured.

        Args:
          allow_config_mismatch: whether a changed fact is no mistake.

        Returns:
          Whether there was one.

        Raises:
          UserError: the checkpoint is of another architecture, one of the facts has
            changed, or none of several can be read.
        """
        paths = _all_checkpoints(self._directory)
        if not paths:
            return False
        self._restore_newest_of(paths)
        for name, variable in self._saved_facts.items():
            if int(variable) == self._facts[name]:
                continue
            if not allow_config_mismatch:
                raise errors.UserError(
                    f"This run has {name} {int(variable)}; it would not be the same "
                    f"run with {self._facts[name]}. Set it back, use a new "
                    "--model_dir, or accept it: "
                    "--gin_param='training.train.allow_config_mismatch = True'."
                )
            print(f"{name} changes from {int(variable)} to {self._facts[name]}")
            variable.assign(self._facts[name])
        return True

    def roll_back(self, before: int) -> int | None:
        """Restores the newest checkpoint of a step at most, and forgets newer ones.

        Args:
          before: the step; if all kept ones are newer, the oldest is taken.

        Returns:
          The step of the checkpoint; None if there is none.
        """
        with contextlib.suppress(SaveError):
            self.wait()
        paths = _all_checkpoints(self._directory)
        if not paths:
            return None
        good = [path for path in paths if step_of(path) <= before] or paths[:1]
        restored = self._restore_newest_of(good)
        if self._writes:
            self._forget_after(restored)
        return step_of(restored)

    def _restore_newest_of(self, paths: list[str]) -> str:
        """Restores the last of some checkpoints that can be read; gives its path."""
        kept = [
            o
            for o in self._objects.values()
            if isinstance(o, tf.keras.optimizers.legacy.Optimizer)
        ]
        with optimizers.keep_hyperparameters(kept):
            for path in reversed(paths):
                try:
                    _restore(self._checkpoint, path, whole=True)
                    return path
                except UnreadableError as error:
                    print(error, flush=True)
        raise errors.UserError(
            f"None of the {len(paths)} checkpoints in {self._directory} can be read. "
            "Put a whole one there, or use a new --model_dir."
        )

    def _forget_after(self, path: str) -> None:
        """Takes what is newer than a checkpoint out of the list, and then away."""
        paths = _all_checkpoints(self._directory)
        newer = paths[paths.index(path) + 1 :]
        _list(self._directory, [p for p in paths if p not in newer])
        for gone in newer:
            _remove(gone)
        self._manager = self._new_manager()

    def _remove_unfinished(self) -> None:
        """Takes away what a save that failed has left, to have its room back."""
        listed = {os.path.basename(p) for p in _all_checkpoints(self._directory)}
        with contextlib.suppress(tf.errors.OpError, OSError):  # rests do no harm
            for name in tf.io.gfile.listdir(self._directory):
                stem = name.rstrip("/").split(".")[0].removesuffix("_temp")
                path = os.path.join(self._directory, name)
                if not stem.startswith(f"{_NAME}-") or stem in listed:
                    continue
                if tf.io.gfile.isdir(path):
                    tf.io.gfile.rmtree(path)
                else:
                    tf.io.gfile.remove(path)


def path_of(directory: str, step: int) -> str:
    """A checkpoint's path, by its step."""
    return os.path.join(directory, f"{_NAME}-{step}")


def step_of(path: str) -> int:
    """A checkpoint's step, by its path."""
    return int(path.rsplit("-", 1)[1])


def steps(model_dir: str) -> list[int]:
    """Steps of the checkpoints that a run has, in order."""
    paths = _all_checkpoints(run_directory.RunDirectory(model_dir).checkpoints)
    return [step_of(path) for path in paths]


def _all_checkpoints(directory: str) -> list[str]:
    """Paths of the checkpoints that were finished, by step."""
    state = tf.train.get_checkpoint_state(directory)
    paths = state.all_model_checkpoint_paths if state else []
    return sorted(paths, key=step_of)


def _list(directory: str, paths: Sequence[str]) -> None:
    """Writes the file that says which checkpoints there are; the last is the newest."""
    names = [os.path.basename(path) for path in paths]
    now = time.time()
    state = tf.compat.v1.train.generate_checkpoint_state_proto(
        directory, names[-1], names, [now] * len(names), now - 1.0
    )
    files.atomic_write(os.path.join(directory, "checkpoint"), str(state))


def keep_as_best(model_dir: str, step: int) -> None:
    """Copies a checkpoint to `best/`, replacing the one there.

    Raises:
      NotFoundError: the run has taken the checkpoint away already.
    """
    run = run_directory.RunDirectory(model_dir)
    source, directory = path_of(run.checkpoints, step), run.best
    tf.io.gfile.makedirs(directory)
    old = _all_checkpoints(directory)
    for path in tf.io.gfile.glob(source + ".*"):  # not listed yet, so not read yet
        name = os.path.basename(path)
        tf.io.gfile.copy(path, os.path.join(directory, name), overwrite=True)
    target = path_of(directory, step)
    if not tf.io.gfile.exists(target + ".index"):
        raise tf.errors.NotFoundError(None, None, f"{source} is gone")
    _list(directory, [target])
    for path in old:
        if path != target:
            _remove(path)


def _remove(path: str) -> None:
    """Removes a checkpoint's files."""
    for file in tf.io.gfile.glob(path + ".*"):
        tf.io.gfile.remove(file)


def restore_generator(
    model_dir: str,
    generator: tf.keras.Model,
    step: int | str | None = None,
    others: Mapping[str, tf.keras.Model] | None = None,
) -> int:
    """Restores a generator for sampling, with its averaged weights if it has them.

    Args:
      model_dir: of the run.
      generator: built.
      step: which checkpoint, by its number or 'best'; the newest by default.
      others: what else to restore, by the names it was saved under.

    Returns:
      The checkpoint's step.

    Raises:
      UnreadableError: there is no such checkpoint, or it is damaged.
      UserError: it is of another architecture.
    """
    path = _find(model_dir, step)
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
            variable.assign(optimizers.moving_average_of(optimizer, variable))
    return int(found)


def _find(model_dir: str, step: int | str | None) -> str:
    """Path of a run's checkpoint, by number, 'best', or the newest."""
    run = run_directory.RunDirectory(model_dir)
    if step == "best":
        path = tf.train.latest_checkpoint(run.best)
    elif step is None:
        path = tf.train.latest_checkpoint(run.checkpoints)
    else:
        path = path_of(run.checkpoints, int(step))
    if path and tf.io.gfile.exists(path + ".index"):
        return path
    which = {"best": "best checkpoint", None: "checkpoint"}
    wanted = which.get(step, f"checkpoint of step {step}")
    has = ", ".join(map(str, steps(model_dir))) or "none"
    raise UnreadableError(f"{model_dir!r} has no {wanted}; it has steps: {has}.")


def _restore(checkpoint: tf.train.Checkpoint, path: str, whole: bool) -> None:
    try:
        status = checkpoint.restore(path)
        if whole:
            status.assert_consumed()
        else:
            status.assert_existing_objects_matched().expect_partial()
    except (tf.errors.OpError, IndexError) as error:  # the latter: it is too short
        reason = str(error).splitlines()[0]
        raise UnreadableError(f"{path} cannot be read: {reason}.") from None
    except (ValueError, AssertionError) as error:
        tf.get_logger().setLevel("ERROR")  # it would list all that was not restored
        raise errors.UserError(
            f"The checkpoint {path} is of another architecture than the config says: "
            f"{_first_difference(error)} Use the config that it was trained with, or "
            "a new --model_dir."
        ) from None


def _first_difference(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text[:160].rstrip(".") + ("…" if len(text) > 160 else ".")
