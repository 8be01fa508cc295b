"""Saves and restores all state that a run needs to resume exactly."""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence

import tensorflow as tf

from tf_dvdgan import errors, run_directory
from tf_dvdgan.data import filesystem
from tf_dvdgan.training import checkpoints, optimizers
from tf_dvdgan.training import strategy as strategy_lib


class SaveError(errors.UserError):
    """A checkpoint could not be written; older checkpoints are unchanged."""


class CheckpointManager:
    """Saves and restores a trainer's state.

    Args:
      model_dir: directory of the run.
      objects: objects to save, by name.
      fixed: settings that must not change during a run, such as the seed, by name.
      strategy: where the run trains; of several workers only the chief writes.
      keep: number of newest checkpoints to keep.
      asynchronous: whether a thread writes the files while training continues.
      optional: names of objects that checkpoints of earlier versions do not have.

    Attributes:
      model_dir: as given.
      last_saved: step of the last call of `save`; None if it failed.
    """

    def __init__(
        self,
        model_dir: str,
        objects: Mapping[str, tf.Module],
        fixed: Mapping[str, int],
        strategy: tf.distribute.Strategy,
        keep: int = 3,
        asynchronous: bool = False,
        optional: Sequence[str] = (),
    ):
        self._objects = objects
        self._fixed = dict(fixed)
        self._saved_fixed = {
            name: tf.Variable(value, dtype=tf.int64, trainable=False)
            for name, value in fixed.items()
        }
        self._checkpoint = tf.train.Checkpoint(**objects, **self._saved_fixed)
        self._own = {*objects, *fixed, "save_counter"}
        self.model_dir = model_dir
        self._directory = run_directory.RunDirectory(model_dir).checkpoints
        self._keep = keep
        self._optional = optional
        self._options = tf.train.CheckpointOptions(
            experimental_enable_async_checkpoint=asynchronous
        )
        self._strategy = strategy
        self._writes = strategy_lib.is_chief(strategy)
        self.last_saved: int | None = None
        self._intact: str | None = None  # path that was last written or restored
        self._manager = self._new_manager()

    def _new_manager(self) -> tf.train.CheckpointManager:
        """Creates a manager of the existing checkpoints."""
        if self._writes:
            checkpoints.write_list(self._directory, checkpoints.all_in(self._directory))
        return tf.train.CheckpointManager(
            self._checkpoint,
            self._directory,
            max_to_keep=self._keep,
            checkpoint_name=checkpoints.NAME,
        )

    @property
    def newest(self) -> str | None:
        """Path of the newest checkpoint; None if there is none."""
        return checkpoints.newest_in(self._directory)

    @property
    def paths(self) -> list[str]:
        """Paths of all checkpoints, the oldest first."""
        return checkpoints.all_in(self._directory)

    def save(self, step: int, wait: bool = False) -> None:
        """Writes a checkpoint, unless that of the step exists; all workers call this.

        One that could not be read when the run resumed is written again.

        Args:
          step: step of the run.
          wait: whether to return only when it is written.

        Raises:
          SaveError: on all workers, if the chief could not write the checkpoint or, if
            a thread writes, the previous one.
        """
        self.last_saved, message = None, ""
        try:
            self._write(step)
            if wait:
                self.wait()
        except SaveError as error:
            message = (
                f"Step {step} cannot be saved ({error}); newest checkpoint: "
                f"{self.newest or 'none'}."
            )
        # Only the chief writes, but all workers must stop together.
        if strategy_lib.broadcast_from_chief(self._strategy, bool(message)):
            raise SaveError(message or f"The chief cannot save step {step}.")
        self.last_saved = step

    def _write(self, step: int) -> None:
        path = checkpoints.path_of(self._directory, step)
        if not self._writes or self.newest == path == self._intact:
            return
        with self._cleaning_up():
            self._manager.save(checkpoint_number=step, options=self._options)
        self._intact = path

    def wait(self) -> None:
        """Waits until a thread has written the last checkpoint.

        Raises:
          SaveError: it could not be written; its message is only the reason.
        """
        with self._cleaning_up():
            self._checkpoint.sync()
            thread = self._checkpoint._async_checkpointer_impl
            if thread is not None:  # TensorFlow raises the error only at the next save
                thread._check_async_thread_error()

    @contextlib.contextmanager
    def _cleaning_up(self) -> Iterator[None]:
        """Removes the files of a failed save and raises `SaveError`."""
        try:
            yield
        except (tf.errors.OpError, OSError) as error:
            self._remove_unfinished()
            raise SaveError(errors.reason_of(error)) from None

    def restore(self, allow_config_mismatch: bool = False) -> bool:
        """Restores the newest readable checkpoint.

        Learning rates and other hyperparameters keep their configured values.

        Args:
          allow_config_mismatch: whether to accept changed settings.

        Returns:
          Whether there is a checkpoint.

        Raises:
          UserError: the checkpoint has another architecture, a fixed setting has
            changed, or no checkpoint can be read.
        """
        paths = checkpoints.all_in(self._directory)
        for path in checkpoints.without_index(self._directory, paths):
            print(f"{path} cannot be read: its index does not exist.", flush=True)
        if not paths:
            return False
        self._restore_newest_of(paths)
        for name, variable in self._saved_fixed.items():
            if int(variable) == self._fixed[name]:
                continue
            if not allow_config_mismatch:
                raise errors.UserError(
                    f"This run was started with {name} {int(variable)}, not "
                    f"{self._fixed[name]}. Change it back, use a new `model_dir`, or "
                    "allow it with "
                    "`gin_param='training.train.allow_config_mismatch = True'`."
                )
            print(f"{name} changes from {int(variable)} to {self._fixed[name]}")
            variable.assign(self._fixed[name])
        return True

    def roll_back(self, before: int) -> int | None:
        """Restores the newest checkpoint up to a step, and deletes newer ones.

        Args:
          before: the step; if all checkpoints are newer, the oldest one is restored.

        Returns:
          The step of the checkpoint; None if there is none.
        """
        with contextlib.suppress(SaveError):
            self.wait()
        paths = checkpoints.all_in(self._directory)
        if not paths:
            return None
        good = [path for path in paths if checkpoints.step_of(path) <= before] or paths[
            :1
        ]
        restored = self._restore_newest_of(good)
        if self._writes:
            self._remove_after(restored)
        return checkpoints.step_of(restored)

    def _restore_newest_of(self, paths: list[str]) -> str:
        """Restores the last readable one of some checkpoints; returns its path."""
        all_optimizers = [
            o
            for o in self._objects.values()
            if isinstance(o, tf.keras.optimizers.legacy.Optimizer)
        ]
        with optimizers.keep_hyperparameters(all_optimizers):
            for path in reversed(paths):
                try:
                    self._restore(path)
                    self._intact = path
                    return path
                except checkpoints.UnreadableError as error:
                    print(error, flush=True)
        raise errors.UserError(
            f"None of the {len(paths)} checkpoints in {self._directory} can be read. "
            "Copy an undamaged one into this folder, or use a new `model_dir`."
        )

    def _restore(self, path: str) -> None:
        """Restores all objects, those of earlier versions as far as they had them."""
        saved = checkpoints.objects_in(path)
        missing = self._objects.keys() - saved
        differences = [
            *(f"has no {n}" for n in sorted(missing - {*self._optional})),
            *(f"has {n}, which the config has not" for n in sorted(saved - self._own)),
        ]
        if differences:
            raise errors.UserError(
                f"The checkpoint {path} {differences[0]}. Use the config that it was "
                "trained with, or start a new run from this one, with another "
                "`model_dir` and `init_from`."
            )
        checkpoint = self._checkpoint
        if missing:
            objects = {n: o for n, o in self._objects.items() if n not in missing}
            checkpoint = tf.train.Checkpoint(**objects, **self._saved_fixed)
        checkpoints.restore(checkpoint, path, all_objects=True)

    def _remove_after(self, path: str) -> None:
        """Removes newer checkpoints from the list, then their files."""
        paths = checkpoints.all_in(self._directory)
        newer = paths[paths.index(path) + 1 :]
        checkpoints.write_list(self._directory, [p for p in paths if p not in newer])
        for newer_path in newer:
            checkpoints.remove(newer_path)
        self._manager = self._new_manager()

    def _remove_unfinished(self) -> None:
        """Removes the files of a failed save, to free their space."""
        listed = {os.path.basename(p) for p in checkpoints.all_in(self._directory)}
        with contextlib.suppress(tf.errors.OpError, OSError):  # leftovers do no harm
            for name in filesystem.listdir(self._directory):
                stem = name.rstrip("/").split(".")[0].removesuffix("_temp")
                path = os.path.join(self._directory, name)
                if not stem.startswith(f"{checkpoints.NAME}-") or stem in listed:
                    continue
                if filesystem.isdir(path):
                    filesystem.rmtree(path)
                else:
                    filesystem.remove(path)
