"""Prepares a run, from its start or its newest checkpoint."""

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gin
import tensorflow as tf

from tf_dvdgan import errors, run_directory, terminal
from tf_dvdgan.data import files, filesystem, training_data, windows
from tf_dvdgan.models import resolved, video_gan
from tf_dvdgan.sampling import standing_statistics
from tf_dvdgan.training import actions as actions_lib
from tf_dvdgan.training import alarms as alarms_lib
from tf_dvdgan.training import (
    checkpoint_manager,
    divergence,
    overfitting,
    profiling,
    resuming,
    sample_sheets,
    summaries,
    tensorboard,
    warm_start,
)
from tf_dvdgan.training import loop as loop_lib
from tf_dvdgan.training import schedule as schedule_lib
from tf_dvdgan.training import strategy as strategy_lib
from tf_dvdgan.training import trainer as trainer_lib

# A bank with one clip for each sample of the standing statistics.
_FRAME_BANK_CLIPS = standing_statistics.NUM_BATCHES * standing_statistics.BATCH_SIZE


def locked(
    model_dir: str, strategy: tf.distribute.Strategy
) -> contextlib.AbstractContextManager[None]:
    """Keeps other trainings out of a run's directory while the context is active.

    Of several workers the chief holds the lock.

    Args:
      model_dir: directory of the run.
      strategy: where to train.

    Returns:
      A context manager; entering it raises `UserError` if the directory is in use.

    Raises:
      UserError: TensorFlow cannot read checkpoints in a directory of this name, or it
        is an exported run.
    """
    files.register_filesystems(model_dir, writing=True)
    files.check_name_for_checkpoints(model_dir)
    directory = run_directory.RunDirectory(model_dir)
    if directory.is_exported:
        raise errors.UserError(
            f"{model_dir} is an exported run, which has no discriminators and "
            "optimizers to train on: resume the run it is of."
        )
    if strategy_lib.is_chief(strategy):
        return directory.locked()
    return contextlib.nullcontext()


def prepare(
    model_dir: str,
    data: str | training_data.TrainingData,
    strategy: tf.distribute.Strategy,
    *,
    evaluation: loop_lib.Evaluation | None = None,
    protocols: Sequence[str] = (),
    profile_steps: int = 0,
    actions: Sequence[loop_lib.Action] = (),
    window: windows.Window,
    schedule: schedule_lib.Schedule = schedule_lib.Schedule(),
    init_from: str | None = None,
    init_step: int | str | None = None,
    on_divergence: divergence.Divergence = divergence.Divergence(),
    allow_config_mismatch: bool = False,
    build_networks: Callable[..., video_gan.Networks],
    build_trainer: Callable[..., trainer_lib.Trainer],
    config_texts: Callable[[], tuple[str, str]] = lambda: ("", ""),
) -> loop_lib.TrainingLoop | None:
    """Prepares a run, from its start or from its newest checkpoint.

    Every worker calls this; only the chief writes and prints. The caller holds the
    run's lock, see `locked`. `from_config` takes what a caller omits from Gin's config,
    which is not read after it returns.

    Args:
      model_dir: directory of the run; the run resumes if it has a checkpoint.
      data: folder of prepared shards, or other training data.
      strategy: where to train.
      evaluation: scores each checkpoint; with it, the first checkpoint is written
        before the first step.
      protocols: names of the evaluation protocols, for TensorBoard.
      profile_steps: number of steps to trace for TensorBoard's profiler.
      actions: functions to call every n steps, after the default ones.
      window: window of each training clip, the same as that of the networks.
      schedule: schedule of checkpoints, sample sheets and the end.
      init_from: directory of another run, whose weights this one starts from; a run
        that resumes does not read it.
      init_step: step of that run's checkpoint, or 'best'; the newest by default.
      on_divergence: thresholds and actions if the run diverges.
      allow_config_mismatch: whether the run may resume with another seed or batch size.
      build_networks: builds the networks from class names: a `functools.partial` of
        `models.video_gan.build`.
      build_trainer: builds the trainer from the strategy, class names and
        `build_networks`: a partial of `trainer.build`. `model.json` names all parts, so
        they are the package's, or decorated with `tf_dvdgan.register`.
      config_texts: returns the Gin config and, of what was built, the operative one.

    Returns:
      The loop; None if the run is complete.

    Raises:
      UserError: the data, the config and the run do not match.
    """
    chief = strategy_lib.is_chief(strategy)
    directory = run_directory.RunDirectory(model_dir)
    model = resolved.resolve(
        build_networks,
        trainer=build_trainer,
        schedule=schedule,
        on_divergence=on_divergence,
    )
    _check_description(directory, model, window, config_texts()[0])
    if init_step is not None and not init_from:
        raise errors.UserError("`init_step` needs `init_from`, the run that it is of.")
    # 1. The data, before anything that takes long.
    if isinstance(data, str):
        data = training_data.Shards(data, window)
    # Networks without variables, only to find out whether they use classes.
    data.check(build_networks(data.class_names).class_conditional, verbose=chief)
    # 2. Networks, optimizers and their variables.
    trainer = build_trainer(strategy, data.class_names, build_networks)
    _check_augmentation(trainer, on_divergence)
    held_out = _held_out_scores(trainer, data)
    # 3. The run's newest checkpoint, else another run's weights, else none.
    monitor = divergence.DivergenceMonitor(on_divergence, trainer.accuracy_names)
    saved = checkpoint_manager.CheckpointManager(
        model_dir,
        {**trainer.checkpoint_objects(), monitor.name: monitor},
        {"seed": trainer.seed, "global_batch_size": trainer.global_batch_size},
        strategy,
        max(schedule.keep_checkpoints, on_divergence.checkpoints_needed(schedule)),
        schedule.asynchronous_checkpoints,
        optional=[monitor.name],
    )
    before = directory.read_model() or {}
    changes = resolved.changes(before, model) if before else []
    resumed = resuming.restore(
        directory,
        saved,
        data.class_names,
        before,
        model,
        trainer,
        allow_config_mismatch,
    )
    if resumed and trainer.augmentation:
        trainer.augmentation.resume(on_divergence.raise_by)
    origin = before.get("initialized_from")
    if not resumed:
        origin = _start(trainer, data.class_names, origin, init_from, init_step)
    if origin:
        model["initialized_from"] = origin
    step = int(trainer.step.numpy())
    monitor.start(step)
    if chief:
        resuming.report(step, before if resumed else None, changes)
    if step >= schedule.num_steps:
        _evaluate_complete_run(directory, trainer, evaluation)
        return None
    # 4. Files that are written once.
    config, operative_config = config_texts()
    if chief:
        _describe(directory, data, model, config)
    _set_frame_bank(directory, data, trainer.gan, chief)
    writer = summaries.Summaries(model_dir, writes=chief)
    board = tensorboard.TensorBoard(trainer, writer)
    if chief:
        directory.write_operative_config(step, operative_config)
        board.write_config(step, operative_config, model, window, protocols)
    # 5. The actions.
    sheets = sample_sheets.SampleSheets(trainer, writer, data, verbose=chief)
    alarms = alarms_lib.Alarms(trainer, saved, on_divergence, monitor, writer)
    if resumed:
        alarms.resume(step)
    saving = actions_lib.SaveAndScore(saved, schedule, evaluation)
    default = actions_lib.create(schedule, board, alarms, held_out, sheets, saving)
    return loop_lib.TrainingLoop(
        trainer=trainer,
        data=data,
        schedule=schedule,
        saved=saved,
        alarms=alarms,
        profiler=profiling.Profiler(model_dir, profile_steps if chief else 0),
        on_start=saving.start,
        on_end=board.finish,
        actions=[*default, *actions],
    )


@gin.configurable("train", module="training")
@functools.wraps(prepare)  # so that Gin knows its parameters
def from_config(*arguments: Any, **options: Any) -> loop_lib.TrainingLoop | None:
    """Prepares a run by the parsed Gin config; arguments are those of `prepare`."""
    return prepare(
        *arguments,
        build_networks=video_gan.from_config,
        build_trainer=trainer_lib.from_config,
        config_texts=lambda: (gin.config_str(), gin.operative_config_str()),
        **options,
    )


def _check_description(
    directory: run_directory.RunDirectory,
    model: Mapping[str, Any],
    window: windows.Window,
    config: str,
) -> None:
    """Checks that what a run says of itself is true, and stays complete."""
    of_networks = resolved.window_of(model)
    if window != of_networks:
        raise errors.UserError(
            f"The training has {window}, but its networks {of_networks}: pass the same."
        )
    if not config and directory.is_run and not directory.is_without_gin:
        raise errors.UserError(
            f"The run in {directory.path} was started from a Gin config: resume it by "
            "tf_dvdgan.run or VideoGAN.fit."
        )


def _check_augmentation(
    trainer: trainer_lib.Trainer, policy: divergence.Divergence
) -> None:
    if not policy.augments:
        return
    if not trainer.augmentation:
        raise errors.UserError(
            "training.Divergence raises the augmentation, but there is none: set "
            "trainer.build.augmentation, as small_data.gin does."
        )
    if trainer.augmentation.is_always_applied:
        raise errors.UserError(
            "training.Divergence raises the probability of augmentation, which is 1 "
            "already: set augmentation.Augmentation.probability below 1."
        )


def _start(
    trainer: trainer_lib.Trainer,
    class_names: Sequence[str],
    origin: Mapping[str, Any] | None,
    init_from: str | None,
    init_step: int | str | None,
) -> dict | None:
    """Gives a new run another run's weights, if it names one.

    Args:
      trainer: trainer of the new run.
      class_names: its class names.
      origin: what an earlier start without a checkpoint recorded.
      init_from: as in `prepare`.
      init_step: as in `prepare`.

    Returns:
      The record of where they are from; None if there is no other run.

    Raises:
      UserError: the other run is missing or does not fit.
    """
    if init_from:
        record = warm_start.initialize(
            trainer.gan,
            class_names,
            init_from,
            init_step,
            trainer.frozen_variables,
            strategy_lib.is_chief(trainer.strategy),
        )
        trainer.restart_average()
        return record
    if origin:
        raise errors.UserError(
            f"This run was to start from {origin['run']!r}, and stopped before its "
            "first checkpoint: pass `init_from` (and `init_step`) again, or use a new "
            "`model_dir`."
        )
    if trainer.frozen_variables and strategy_lib.is_chief(trainer.strategy):
        terminal.say(
            f"{len(trainer.frozen_variables)} frozen variables keep their initial "
            "values, because no `init_from` names a run to copy them from"
        )
    return None


def _held_out_scores(
    trainer: trainer_lib.Trainer, data: training_data.TrainingData
) -> overfitting.HeldOutScores | None:
    """What adapts the augmentation, if scores of held-out clips do."""
    adaptation = trainer.augmentation and trainer.augmentation.adaptation
    if not adaptation or adaptation.measure != "held_out":
        return None
    return overfitting.HeldOutScores(trainer, adaptation, data)


def _describe(
    directory: run_directory.RunDirectory,
    data: training_data.TrainingData,
    model: Mapping[str, Any],
    config: str,
) -> None:
    """Writes what a run's directory says of its data, its model and its config."""
    filesystem.makedirs(directory.path)
    directory.write_dataset(data.class_names, data.name, data.num_clips)
    directory.write_model(model)
    directory.write_config(config)  # last, because it marks a run


def _set_frame_bank(
    directory: run_directory.RunDirectory,
    data: training_data.TrainingData,
    gan: video_gan.Networks,
    chief: bool,
) -> None:
    """Sets the frame bank of a model that starts from frames; creates it if missing."""
    num_frames = gan.generator.num_conditioning_frames
    if not num_frames:
        return
    gan.frame_bank = directory.read_frame_bank()
    if gan.frame_bank is None:
        gan.frame_bank = data.clips(_FRAME_BANK_CLIPS)[:, :num_frames].copy()
        if chief:
            directory.write_frame_bank(gan.frame_bank)


def _evaluate_complete_run(
    directory: run_directory.RunDirectory,
    trainer: trainer_lib.Trainer,
    evaluation: loop_lib.Evaluation | None,
) -> None:
    """Scores the last step of a complete run, if it has no scores."""
    step = int(trainer.step.numpy())
    if evaluation:
        trainer.gan.frame_bank = directory.read_frame_bank()
        state = loop_lib.State(step, directory.path, trainer, {})
        evaluation.evaluate_if_missing(state)
    print(f"The run is complete with {step} steps; there is nothing to train.")
