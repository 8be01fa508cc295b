"""Checkpoints of a run, with all state that it needs to resume exactly.

TensorFlow writes the index of a checkpoint, atomically, after its data, so a checkpoint
with an index is complete, and a run that is killed at any moment finds one. If the
newest one is damaged, the one before it is restored.

Checkpoints are found by their names. TensorFlow's list of them, the file `checkpoint`,
is written for other programs and never read: it may be lost, and somebody else's may
name files outside the run, which would be deleted in time.
"""

import contextlib
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence

import tensorflow as tf

from tf_dvdgan import addons, errors, run_directory
from tf_dvdgan.data import files, filesystem
from tf_dvdgan.training import optimizers

_NAME = "step"
_INDEX = re.compile(rf"{_NAME}-(\d+)\.index")
_DATA = re.compile(rf"{_NAME}-(\d+)\.data-.*")


class SaveError(Exception):
    """A checkpoint could not be written; older checkpoints are unchanged."""


class UnreadableError(errors.UserError):
    """A checkpoint is damaged or does not exist."""


class Checkpoints:
    """Saves and restores a trainer's state.

    Args:
      model_dir: directory of the run.
      objects: objects to save, by name.
      fixed: settings that must not change during a run, such as the seed, by name.
      keep: number of newest checkpoints to keep.
      asynchronous: whether a thread writes the files while training continues.
      writes: whether this process writes checkpoints; only the chief of several workers
        does.

    Attributes:
      model_dir: as given.
    """

    def __init__(
        self,
        model_dir: str,
        objects: Mapping[str, tf.Module],
        fixed: Mapping[str, int],
        keep: int = 3,
        asynchronous: bool = False,
        writes: bool = True,
    ):
        self._objects = objects
        self._fixed = dict(fixed)
        self._saved_fixed = {
            name: tf.Variable(value, dtype=tf.int64, trainable=False)
            for name, value in fixed.items()
        }
        self._checkpoint = tf.train.Checkpoint(**objects, **self._saved_fixed)
        self.model_dir = model_dir
        self._directory = run_directory.RunDirectory(model_dir).checkpoints
        self._keep = keep
        self._options = tf.train.CheckpointOptions(
            experimental_enable_async_checkpoint=asynchronous
        )
        self._writes = writes
        self._manager = self._new_manager()

    def _new_manager(self) -> tf.train.CheckpointManager:
        """Creates a manager of the existing checkpoints."""
        if self._writes:
            _list(self._directory, _all_checkpoints(self._directory))
        return tf.train.CheckpointManager(
            self._checkpoint,
            self._directory,
            max_to_keep=self._keep,
            checkpoint_name=_NAME,
        )

    @property
    def newest(self) -> str | None:
        """Path of the newest checkpoint; None if there is none."""
        return _newest(self._directory)

    def save(self, step: int) -> None:
        """Writes a checkpoint, unless that of the step exists.

        Raises:
          SaveError: the checkpoint could not be written or, if a thread writes, the
            previous one.
        """
        path = path_of(self._directory, step)
        if not self._writes or self.newest == path:
            return
        with self._cleaning_up():
            self._manager.save(checkpoint_number=step, options=self._options)

    def wait(self) -> None:
        """Waits until a thread has written the last checkpoint.

        Raises:
          SaveError: it could not be written.
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
        paths = _all_checkpoints(self._directory)
        for path in _without_index(self._directory, paths):
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
        paths = _all_checkpoints(self._directory)
        if not paths:
            return None
        good = [path for path in paths if step_of(path) <= before] or paths[:1]
        restored = self._restore_newest_of(good)
        if self._writes:
            self._remove_after(restored)
        return step_of(restored)

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
                    _restore(self._checkpoint, path, all_objects=True)
                    return path
                except UnreadableError as error:
                    print(error, flush=True)
        raise errors.UserError(
            f"None of the {len(paths)} checkpoints in {self._directory} can be read. "
            "Copy an undamaged one into this folder, or use a new `model_dir`."
        )

    def _remove_after(self, path: str) -> None:
        """Removes newer checkpoints from the list, then their files."""
        paths = _all_checkpoints(self._directory)
        newer = paths[paths.index(path) + 1 :]
        _list(self._directory, [p for p in paths if p not in newer])
        for newer_path in newer:
            _remove(newer_path)
        self._manager = self._new_manager()

    def _remove_unfinished(self) -> None:
        """Removes the files of a failed save, to free their space."""
        listed = {os.path.basename(p) for p in _all_checkpoints(self._directory)}
        with contextlib.suppress(tf.errors.OpError, OSError):  # leftovers do no harm
            for name in filesystem.listdir(self._directory):
                stem = name.rstrip("/").split(".")[0].removesuffix("_temp")
                path = os.path.join(self._directory, name)
                if not stem.startswith(f"{_NAME}-") or stem in listed:
                    continue
                if filesystem.isdir(path):
                    filesystem.rmtree(path)
                else:
                    filesystem.remove(path)


def path_of(directory: str, step: int) -> str:
    """Returns the path of a checkpoint.

    Args:
      directory: folder of the checkpoints.
      step: step of the checkpoint.

    Returns:
      The path, without the suffixes of its files.
    """
    return os.path.join(directory, f"{_NAME}-{step}")


def step_of(path: str) -> int:
    """Returns the step of a checkpoint, given its path."""
    return int(path.rsplit("-", 1)[1])


def steps(model_dir: str) -> list[int]:
    """Returns the steps of a run's checkpoints, in order."""
    paths = _all_checkpoints(run_directory.RunDirectory(model_dir).checkpoints)
    return [step_of(path) for path in paths]


def _all_checkpoints(directory: str) -> list[str]:
    """Returns the paths of complete checkpoints, in the order of their steps."""
    return _named(directory, _INDEX)


def _without_index(directory: str, complete: Sequence[str]) -> list[str]:
    """Returns the paths of data whose index is lost, or was never written."""
    return [path for path in _named(directory, _DATA) if path not in complete]


def _named(directory: str, pattern: re.Pattern) -> list[str]:
    if not filesystem.isdir(directory):
        return []
    matches = (pattern.fullmatch(name) for name in filesystem.listdir(directory))
    found = sorted({int(match[1]) for match in matches if match})
    return [path_of(directory, step) for step in found]


def _newest(directory: str) -> str | None:
    """Returns the path of the checkpoint of the highest step; None if none exists."""
    return next(reversed(_all_checkpoints(directory)), None)


def _list(directory: str, paths: Sequence[str]) -> None:
    """Writes TensorFlow's list of checkpoints; the last path is the newest.

    It is a CheckpointState in protobuf's text format. TensorFlow's own function for it
    expects names with the directory if this is relative, and without it otherwise.
    """
    list_path = os.path.join(directory, "checkpoint")
    if not paths:
        if filesystem.exists(list_path):
            filesystem.remove(list_path)
        return
    names = [os.path.basename(path) for path in paths]
    now = time.time()
    lines = [
        f'model_checkpoint_path: "{names[-1]}"',
        *(f'all_model_checkpoint_paths: "{name}"' for name in names),
        *(f"all_model_checkpoint_timestamps: {now}" for _ in names),
        f"last_preserved_timestamp: {now - 1.0}",
    ]
    files.atomic_write(list_path, "".join(f"{line}\n" for line in lines))


def keep_as_best(model_dir: str, step: int) -> None:
    """Copies a checkpoint to `best/` and removes the previous one.

    Args:
      model_dir: directory of the run.
      step: step of the checkpoint.

    Raises:
      NotFoundError: the run has already deleted the checkpoint.
    """
    run = run_directory.RunDirectory(model_dir)
    source, directory = path_of(run.checkpoints, step), run.best
    filesystem.makedirs(directory)
    old = _all_checkpoints(directory)
    for path in sorted(filesystem.glob(source + ".*")):  # the index comes last
        name = os.path.basename(path)
        filesystem.copy(path, os.path.join(directory, name), overwrite=True)
    target = path_of(directory, step)
    if not filesystem.exists(target + ".index"):
        raise tf.errors.NotFoundError(None, None, f"{source} does not exist any more")
    _list(directory, [target])
    for path in old:
        if path != target:
            _remove(path)


def _remove(path: str) -> None:
    """Removes a checkpoint's files, the index first."""
    for file in sorted(filesystem.glob(path + ".*"), reverse=True):
        filesystem.remove(file)


def restore_generator(
    model_dir: str,
    generator: tf.keras.Model,
    step: int | str | None = None,
    others: Mapping[str, tf.keras.Model] | None = None,
) -> int:
    """Restores a generator for sampling, with averaged weights if there are any.

    Args:
      model_dir: directory of the run.
      generator: the generator, with its variables.
      step: step of the checkpoint, or 'best'; the newest by default.
      others: other models to restore, by their names in the checkpoint.

    Returns:
      The step of the checkpoint.

    Raises:
      UnreadableError: the checkpoint does not exist, or is damaged.
      UserError: it has another architecture.
    """
    path = _find(model_dir, step)
    found = _restore_networks(path, {"generator": generator, **(others or {})})
    if any(
        "generator_optimizer/average" in key for key, _ in tf.train.list_variables(path)
    ):
        optimizer = optimizers.with_moving_average(optimizers.adam(0.0))
        addons.create_slots(optimizer, generator.trainable_variables)
        slots = tf.train.Checkpoint(generator=generator, generator_optimizer=optimizer)
        slots.restore(path).expect_partial()
        for variable in generator.trainable_variables:
            variable.assign(optimizers.moving_average_of(optimizer, variable))
    return found


def restore_networks(
    model_dir: str,
    networks: Mapping[str, tf.keras.Model],
    step: int | str | None = None,
) -> int:
    """Restores networks with the weights that training had reached.

    Args:
      model_dir: directory of the run.
      networks: networks with their variables, by their names in the checkpoint.
      step: step of the checkpoint, or 'best'; the newest by default.

    Returns:
      The step of the checkpoint.

    Raises:
      UnreadableError: the checkpoint does not exist, or is damaged.
      UserError: it has another architecture.
    """
    return _restore_networks(_find(model_dir, step), networks)


def _restore_networks(path: str, networks: Mapping[str, tf.keras.Model]) -> int:
    found = tf.Variable(0, dtype=tf.int64)
    checkpoint = tf.train.Checkpoint(**networks, step=found)
    _restore(checkpoint, path, all_objects=False)
    return int(found.numpy())  # a MirroredVariable has no int


def _find(model_dir: str, step: int | str | None) -> str:
    """Returns the path of a run's checkpoint: of a step, the best, or the newest."""
    files.check_name_for_checkpoints(model_dir)
    run = run_directory.RunDirectory(model_dir)
    if step == "best":
        name, path = "best checkpoint", _newest(run.best)
    elif step is None:
        name, path = "checkpoint", _newest(run.checkpoints)
    else:
        name = f"checkpoint of step {step}"
        path = path_of(run.checkpoints, int(step))
    if path and filesystem.exists(path + ".index"):
        return path
    existing = ", ".join(map(str, steps(model_dir))) or "none"
    raise UnreadableError(f"{model_dir!r} has no {name}; it has steps: {existing}.")


def _restore(checkpoint: tf.train.Checkpoint, path: str, all_objects: bool) -> None:
    try:
        status = checkpoint.restore(path)
        status.expect_partial()  # otherwise a long list of objects is printed
        if all_objects:
            status.assert_consumed()
        else:
            status.assert_existing_objects_matched()
    except (tf.errors.OpError, IndexError) as error:  # IndexError: truncated file
        reason = errors.reason_of(error)
        raise UnreadableError(f"{path} cannot be read: {reason}.") from None
    except (ValueError, AssertionError) as error:
        raise errors.UserError(
            f"The checkpoint {path} does not match the architecture in the config: "
            f"{_first_difference(error)} Use the config that it was trained with, or "
            "a new `model_dir`."
        ) from None


def _first_difference(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text[:160].rstrip(".") + ("…" if len(text) > 160 else ".")
