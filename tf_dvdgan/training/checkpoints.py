"""Checkpoints in a run's directory: their files, and networks restored from them.

TensorFlow writes the index of a checkpoint, atomically, after its data, so a checkpoint
with an index is complete, and a run that is killed at any moment finds one. If the
newest one is damaged, the one before it is restored.

Checkpoints are found by their names. TensorFlow's list of them, the file `checkpoint`,
is written for other programs and never read: it may be lost, and a foreign one may
name files outside the run, which would be deleted in time.
"""

import contextlib
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence

import tensorflow as tf
from tensorflow.core.protobuf import trackable_object_graph_pb2

from tf_dvdgan import addons, errors, run_directory
from tf_dvdgan.data import files, filesystem
from tf_dvdgan.training import optimizers

NAME = "step"
_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_ROLLBACKS = "attempt/.ATTRIBUTES/VARIABLE_VALUE"  # a key of `Trainer`'s objects
_INDEX = re.compile(rf"{NAME}-(\d+)\.index")
_DATA = re.compile(rf"{NAME}-(\d+)\.data-.*")


class UnreadableError(errors.UserError):
    """A checkpoint is damaged or does not exist."""


def path_of(directory: str, step: int) -> str:
    """Returns the path of a checkpoint.

    Args:
      directory: folder of the checkpoints.
      step: step of the checkpoint.

    Returns:
      The path, without the suffixes of its files.
    """
    return os.path.join(directory, f"{NAME}-{step}")


def step_of(path: str) -> int:
    """Returns the step of a checkpoint, given its path."""
    return int(path.rsplit("-", 1)[1])


def steps(model_dir: str) -> list[int]:
    """Returns the steps of a run's checkpoints, in order."""
    paths = all_in(run_directory.RunDirectory(model_dir).checkpoints)
    return [step_of(path) for path in paths]


def num_rollbacks(model_dir: str, step: int) -> int:
    """Returns the number of rollbacks of a run before one of its checkpoints.

    Args:
      model_dir: directory of the run.
      step: step of the checkpoint.

    Returns:
      The number; 0 if the checkpoint has none.

    Raises:
      UnreadableError: the checkpoint is damaged or does not exist.
    """
    path = path_of(run_directory.RunDirectory(model_dir).checkpoints, step)
    with _readable(path):
        if not filesystem.exists(path + ".index"):
            raise tf.errors.NotFoundError(None, None, "it does not exist")
        saved = tf.train.load_checkpoint(path)
        return int(saved.get_tensor(_ROLLBACKS)) if saved.has_tensor(_ROLLBACKS) else 0


def written_at(model_dir: str, step: int) -> int:
    """Returns when a run's checkpoint was written, in nanoseconds.

    Args:
      model_dir: directory of the run.
      step: step of the checkpoint.

    Returns:
      The time of its index.

    Raises:
      FileNotFoundError, NotFoundError: the run has no such checkpoint.
    """
    path = path_of(run_directory.RunDirectory(model_dir).checkpoints, step)
    return filesystem.stat(path + ".index").mtime_nsec


def all_in(directory: str) -> list[str]:
    """Returns the paths of a folder's complete checkpoints, in order of their steps."""
    return _named(directory, _INDEX)


def without_index(directory: str, complete: Sequence[str]) -> list[str]:
    """Returns the paths of data whose index is lost, or was never written.

    Args:
      directory: folder of the checkpoints.
      complete: paths of its complete checkpoints.

    Returns:
      The paths, without the suffixes of their files.
    """
    return [path for path in _named(directory, _DATA) if path not in complete]


def _named(directory: str, pattern: re.Pattern) -> list[str]:
    if not filesystem.isdir(directory):
        return []
    matches = (pattern.fullmatch(name) for name in filesystem.listdir(directory))
    found = sorted({int(match[1]) for match in matches if match})
    return [path_of(directory, step) for step in found]


def newest_in(directory: str) -> str | None:
    """Returns the path of the checkpoint of the highest step; None if none exists."""
    return next(reversed(all_in(directory)), None)


def write_list(directory: str, paths: Sequence[str]) -> None:
    """Writes TensorFlow's list of checkpoints; the last path is the newest.

    It is a CheckpointState in protobuf's text format. TensorFlow's own function for it
    expects names with the directory if this is relative, and without it otherwise.

    Args:
      directory: folder of the checkpoints.
      paths: paths of the checkpoints.
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
    old = all_in(directory)
    for path in sorted(filesystem.glob(source + ".*")):  # the index comes last
        name = os.path.basename(path)
        filesystem.copy(path, os.path.join(directory, name), overwrite=True)
    target = path_of(directory, step)
    if not filesystem.exists(target + ".index"):
        raise tf.errors.NotFoundError(None, None, f"{source} does not exist any more")
    write_list(directory, [target])
    for path in old:
        if path != target:
            remove(path)


def remove(path: str) -> None:
    """Removes a checkpoint's files, the index first."""
    for file in sorted(filesystem.glob(path + ".*"), reverse=True):
        filesystem.remove(file)


def restore_generator(
    model_dir: str,
    generator: tf.keras.Model,
    step: int | str | None = None,
    others: Mapping[str, tf.keras.Model] | None = None,
    among_best: bool = True,
) -> int:
    """Restores a generator for sampling, with averaged weights if there are any.

    Args:
      model_dir: directory of the run.
      generator: the generator, with its variables.
      step: step of a checkpoint, also of the best, or 'best'; the newest by default.
      others: other models to restore, by their names in the checkpoint.
      among_best: whether a step may be the one that was kept as the best.

    Returns:
      The step of the checkpoint.

    Raises:
      UnreadableError: the checkpoint does not exist, or is damaged.
      UserError: it has another architecture, or the step is neither a number nor
        'best'.
    """
    path = _find(model_dir, step, among_best)
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
      UserError: it has another architecture, or the step is neither a number nor
        'best'.
    """
    return _restore_networks(_find(model_dir, step), networks)


def _restore_networks(path: str, networks: Mapping[str, tf.keras.Model]) -> int:
    found = tf.Variable(0, dtype=tf.int64)
    checkpoint = tf.train.Checkpoint(**networks, step=found)
    restore(checkpoint, path, all_objects=False)
    return int(found.numpy())  # a MirroredVariable has no int


def _find(model_dir: str, step: int | str | None, among_best: bool = True) -> str:
    """Returns the path of a run's checkpoint: of a step, the best, or the newest."""
    files.check_name_for_checkpoints(model_dir)
    run = run_directory.RunDirectory(model_dir)
    if step == "best":
        name, path = "best checkpoint", newest_in(run.best)
    elif step is None:
        name, path = "checkpoint", newest_in(run.checkpoints)
    else:
        if not re.fullmatch(r"\d+", str(step)):
            raise errors.UserError(
                f"A checkpoint is named by its step or 'best'. Received: {step!r}"
            )
        name = f"checkpoint of step {step}"
        path = path_of(run.checkpoints, int(step))
        if among_best and not filesystem.exists(path + ".index"):
            path = path_of(run.best, int(step))
    if path and filesystem.exists(path + ".index"):
        return path
    existing = ", ".join(map(str, steps(model_dir))) or "none"
    if (best := newest_in(run.best)) and among_best:
        existing += f"; the best is {step_of(best)}"
    raise UnreadableError(f"{model_dir!r} has no {name}; it has steps: {existing}.")


def objects_in(path: str) -> set[str]:
    """Returns the names of the objects that a checkpoint was made of.

    Args:
      path: path of a checkpoint.

    Returns:
      The names.

    Raises:
      UnreadableError: the checkpoint is damaged.
    """
    return {child.local_name for child in _nodes_of(path)[0].children}


def with_state_in(path: str, optimizer: str) -> set[str]:
    """Returns the names of the variables that an optimizer has state of.

    Args:
      path: path of a checkpoint.
      optimizer: name of the optimizer in the checkpoint.

    Returns:
      The variables' names; empty if it keeps no state.

    Raises:
      UnreadableError: the checkpoint is damaged.
    """
    nodes = _nodes_of(path)
    numbers = {child.local_name: child.node_id for child in nodes[0].children}
    if optimizer not in numbers:
        return set()
    return {
        attribute.full_name
        for slot in nodes[numbers[optimizer]].slot_variables
        for attribute in nodes[slot.original_variable_node_id].attributes
    }


def _nodes_of(path: str) -> Sequence:
    """Reads the graph of the objects that a checkpoint was made of."""
    with _readable(path):
        graph = tf.train.load_checkpoint(path).get_tensor(_OBJECT_GRAPH)
    return trackable_object_graph_pb2.TrackableObjectGraph.FromString(graph).nodes


def restore(checkpoint: tf.train.Checkpoint, path: str, all_objects: bool) -> None:
    """Restores objects.

    Args:
      checkpoint: the objects.
      path: path of a checkpoint.
      all_objects: whether all objects that were saved must be restored.

    Raises:
      UnreadableError: the checkpoint is damaged.
      UserError: it is of another architecture.
    """
    try:
        with _readable(path):
            status = checkpoint.restore(path)
            status.expect_partial()  # otherwise a long list of objects is printed
            if all_objects:
                status.assert_consumed()
            else:
                status.assert_existing_objects_matched()
    except (ValueError, AssertionError) as error:
        raise errors.UserError(
            f"The checkpoint {path} does not match the architecture in the config: "
            f"{_first_difference(error)} Use the config that it was trained with, or "
            "a new `model_dir`."
        ) from None


@contextlib.contextmanager
def _readable(path: str) -> Iterator[None]:
    try:
        yield
    except (tf.errors.OpError, IndexError) as error:  # IndexError: truncated file
        reason = errors.reason_of(error)
        raise UnreadableError(f"{path} cannot be read: {reason}.") from None


def _first_difference(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text[:160].rstrip(".") + ("…" if len(text) > 160 else ".")
