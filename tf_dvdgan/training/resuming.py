"""Resumes a run from its newest checkpoint, if it has one and it fits."""

import fnmatch
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from tf_dvdgan import errors, run_directory, terminal
from tf_dvdgan.training import checkpoint_manager, checkpoints
from tf_dvdgan.training import trainer as trainer_lib

_MAX_CHANGES = 10  # that are printed


def restore(
    directory: run_directory.RunDirectory,
    saved: checkpoint_manager.CheckpointManager,
    class_names: Sequence[str],
    before: Mapping[str, Any],
    model: Mapping[str, Any],
    trainer: trainer_lib.Trainer,
    allow_config_mismatch: bool,
) -> bool:
    """Restores the newest checkpoint of a run.

    Args:
      directory: directory of the run.
      saved: its checkpoints, with the objects to restore.
      class_names: class names of the data.
      before: the run's `model.json`; empty if it has none.
      model: result of `resolved.resolve` now.
      trainer: the trainer, with its variables.
      allow_config_mismatch: whether the run may resume with other settings or classes.

    Returns:
      Whether there is a checkpoint.

    Raises:
      UserError: the data, the config and the run do not match.
    """
    if not allow_config_mismatch:
        _check_functions(before, model)
    if _frozen(before) and trainer.discriminator_optimizer.get_slot_names():
        with_state = _with_state(saved)
        if with_state is not None:
            _check_frozen(before, trainer.discriminator_variables, with_state)
    resumed = saved.restore(allow_config_mismatch)
    if resumed and not allow_config_mismatch:
        _check_classes(directory, class_names)
    return resumed


def _with_state(saved: checkpoint_manager.CheckpointManager) -> set[str] | None:
    """The variables that the discriminators' optimizer has state of in a run.

    Returns:
      Their names in the newest readable checkpoint; None if there is none.
    """
    for path in reversed(saved.paths):
        try:
            return checkpoints.with_state_in(path, "discriminator_optimizer")
        except checkpoints.UnreadableError:  # restored is the one before it
            continue
    return None


def _check_functions(before: Mapping[str, Any], model: Mapping[str, Any]) -> None:
    """Checks that functions which a run cannot store were passed again.

    Raises:
      UserError: one is missing, so that the preset's would silently replace it.
    """
    recorded, current = _arguments(before), _arguments(model)
    for name, value in recorded.items():
        if isinstance(value, dict) and "python" in value:
            own = current.get(name)
            if not (isinstance(own, dict) and "python" in own):
                raise errors.UserError(
                    f"The run was trained with {value['python']} as {name}, which a "
                    f"run cannot store: pass `{name}` to compile again."
                )


def _arguments(model: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of the networks and of the trainer, by name."""
    parts = [model.get("networks"), model.get("training", {}).get("trainer")]
    return {n: v for part in parts if part for n, v in part["arguments"].items()}


def _frozen(model: Mapping[str, Any]) -> Sequence[str]:
    """The patterns of the variables that a run does not train."""
    patterns = _arguments(model).get("frozen", [])
    return patterns["tuple"] if isinstance(patterns, dict) else patterns


def _check_frozen(
    before: Mapping[str, Any], trained: Sequence[tf.Variable], with_state: set[str]
) -> None:
    """Refuses to resume with fewer frozen layers.

    An attempt with more that ended before it saved a checkpoint froze nothing.
    """
    patterns = _frozen(before)
    names = [variable.name.removesuffix(":0") for variable in trained]
    names = [name for name in names if name not in with_state]
    for pattern in patterns:
        for name in fnmatch.filter(names, pattern):
            raise errors.UserError(
                f"The run has frozen {patterns}, so its optimizer has no state of "
                f"{name!r}: start a new run from this one, with another `model_dir` "
                "and `init_from`."
            )


def _check_classes(
    directory: run_directory.RunDirectory, class_names: Sequence[str]
) -> None:
    """Refuses to resume on other classes, even if their number is the same."""
    if not directory.has_dataset:
        return
    before = directory.class_names
    if before == list(class_names):
        return
    others = [
        f"{old!r} is now {new!r}"
        for old, new in itertools.zip_longest(before, class_names)
        if old != new
    ]
    raise errors.UserError(
        f"The run in {directory.path} was trained on other classes: class "
        f"{others[0]}. Use the same data, or a new `model_dir` with `init_from`. To "
        "continue anyway, pass "
        "`gin_param='training.train.allow_config_mismatch = True'`."
    )


def report(step: int, before: Mapping[str, Any] | None, changes: Sequence[str]) -> None:
    """Prints where the run starts, and what is different if it resumes.

    Args:
      step: its step.
      before: the run's `model.json`; None if it does not resume.
      changes: settings that differ.
    """
    if before is None:
        terminal.say(f"Starting at step {step}")
        return
    terminal.say(f"Resuming from step {step}")
    old, now = before.get("tensorflow", tf.__version__), tf.__version__
    if old != now:
        terminal.say(
            f"The run was trained with TensorFlow {old} and resumes with {now}, so its "
            "numbers will differ in their last bits"
        )
    for change in changes[:_MAX_CHANGES]:
        terminal.say(f"Changed: {change}")
    if len(changes) > _MAX_CHANGES:
        terminal.say(f"and {len(changes) - _MAX_CHANGES} more settings")
