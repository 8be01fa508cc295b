"""Prepares a run, from its start or its newest checkpoint, and trains."""

import contextlib
import itertools
import signal
from collections.abc import Sequence

import gin
import numpy as np
import tensorflow as tf

from tf_dvdgan import errors, run_directory, terminal
from tf_dvdgan.data import files, filesystem, training_data, windows
from tf_dvdgan.models import resolved, video_gan
from tf_dvdgan.sampling import standing_statistics
from tf_dvdgan.training import (
    checkpoints,
    divergence,
    overfitting,
    profiling,
    warm_start,
)
from tf_dvdgan.training import loop as loop_lib
from tf_dvdgan.training import observer as observer_lib
from tf_dvdgan.training import schedule as schedule_lib
from tf_dvdgan.training import strategy as strategy_lib
from tf_dvdgan.training import trainer as trainer_lib

# A bank with one clip for each sample of the standing statistics.
_FRAME_BANK_CLIPS = standing_statistics.NUM_BATCHES * standing_statistics.BATCH_SIZE


def train(
    model_dir: str,
    data: str | training_data.TrainingData,
    strategy: tf.distribute.Strategy,
    **keywords: object,
) -> signal.Signals | None:
    """Trains a GAN, or resumes a run; the arguments are those of `prepare`.

    SIGTERM or SIGINT (Ctrl-C) finishes the current call to the device, saves a
    checkpoint and stops.

    Args:
      model_dir: directory of the run, which nothing else may train in.
      data: folder of prepared shards, or other training data.
      strategy: where to train.
      **keywords: keyword arguments of `prepare`.

    Returns:
      None after the last step, else the signal that stopped the run; the same on all
      workers.

    Raises:
      UserError: the data, the config and the run do not match, another training uses
        the directory, or the run has diverged.
    """
    with locked(model_dir, strategy):
        loop = prepare(model_dir, data, strategy, **keywords)
        return loop.run() if loop else None


def locked(
    model_dir: str, strategy: tf.distribute.Strategy
) -> contextlib.AbstractContextManager[None]:
    """Keeps other trainings out of a run's directory; only the chief holds the lock.

    Args:
      model_dir: directory of the run.
      strategy: where to train.

    Returns:
      A context manager; entering it raises `UserError` if the directory is in use.

    Raises:
      UserError: TensorFlow cannot read checkpoints in a directory of this name.
    """
    files.check_name_for_checkpoints(model_dir)
    if strategy_lib.is_chief(strategy):
        return run_directory.RunDirectory(model_dir).locked()
    return contextlib.nullcontext()


@gin.configurable("train", module="training")
def prepare(
    model_dir: str,
    data: str | training_data.TrainingData,
    strategy: tf.distribute.Strategy,
    *,
    evaluation: loop_lib.Evaluation | None = None,
    protocols: Sequence[str] = (),
    profile_steps: int = 0,
    actions: Sequence[loop_lib.Action] = (),
    window: windows.Window = gin.REQUIRED,
    schedule: schedule_lib.Schedule = schedule_lib.Schedule(),
    init_from: str | None = None,
    init_step: int | str | None = None,
    on_divergence: divergence.Divergence = divergence.Divergence(),
    allow_config_mismatch: bool = False,
) -> loop_lib.TrainingLoop | None:
    """Prepares a run, from its start or from its newest checkpoint.

    Every worker calls this; only the chief writes and prints. Gin's config is not read
    after it returns.

    Args:
      model_dir: directory of the run; the run resumes if it has a checkpoint.
      data: folder of prepared shards, or other training data.
      strategy: where to train.
      evaluation: scores each checkpoint; with it, the first checkpoint is written
        before the first step.
      protocols: names of the evaluation protocols, for TensorBoard.
      profile_steps: number of steps to trace for TensorBoard's profiler.
      actions: functions to call every n steps, after the default ones.
      window: window of each training clip.
      schedule: schedule of checkpoints, sample sheets and the end.
      init_from: directory of another run, whose weights this one starts from; a run
        that resumes does not read it.
      init_step: step of that run's checkpoint, or 'best'; the newest by default.
      on_divergence: thresholds and actions if the run diverges.
      allow_config_mismatch: whether the run may resume with another seed or batch size.

    Returns:
      The loop; None if the run is complete.

    Raises:
      UserError: the data, the config and the run do not match.
    """
    chief = strategy_lib.is_chief(strategy)
    directory = run_directory.RunDirectory(model_dir)
    # 1. The data, before anything that takes long.
    if isinstance(data, str):
        data = training_data.Shards(data, window)
    # Networks without variables, only to find out whether they use classes.
    data.check(video_gan.build(data.class_names).class_conditional, verbose=chief)
    # 2. Networks, optimizers and their variables.
    trainer = trainer_lib.build(strategy, data.class_names)
    if on_divergence.augments and not trainer.augmentation:
        raise errors.UserError(
            "training.Divergence raises the augmentation, but there is none: set "
            "trainer.build.augmentation, as small_data.gin does."
        )
    held_out = _held_out_scores(trainer, data)
    # 3. The newest checkpoint, or the start.
    saved = checkpoints.Checkpoints(
        model_dir,
        trainer.checkpoint_objects(),
        {"seed": trainer.seed, "global_batch_size": trainer.global_batch_size},
        schedule.keep_checkpoints,
        schedule.asynchronous_checkpoints,
        writes=chief,
    )
    if not allow_config_mismatch:
        _check_functions(directory)
    resumed = saved.restore(allow_config_mismatch)
    if resumed and not allow_config_mismatch:
        _check_classes(directory, data.class_names)
    step = int(trainer.step.numpy())
    origin = (directory.read_model() or {}).get("initialized_from")
    if init_from and not resumed:
        origin = warm_start.initialize(
            trainer.gan, data.class_names, init_from, init_step
        )
    if chief:
        terminal.say(f"{'Resuming from' if resumed else 'Starting at'} step {step}")
        if resumed:
            _report_other_tensorflow(directory)
    if step >= schedule.num_steps:
        if evaluation:
            trainer.gan.frame_bank = directory.read_frame_bank()
            evaluation.evaluate_if_missing(loop_lib.State(step, model_dir, trainer, {}))
        print(
            f"The run is complete with {schedule.num_steps} steps; there is nothing to "
            "train."
        )
        return None
    # 4. Files that are written once.
    if chief:
        _describe(directory, data, origin)
    num_frames = trainer.gan.generator.num_conditioning_frames
    if num_frames:
        trainer.gan.frame_bank = _frame_bank(directory, data, num_frames, chief)
    observer = observer_lib.Observer(
        model_dir, trainer, data.class_names, window, verbose=chief
    )
    observer.config(step, protocols)
    observer.real_clips(data)
    return loop_lib.TrainingLoop(
        trainer=trainer,
        data=data,
        schedule=schedule,
        saved=saved,
        observer=observer,
        policy=on_divergence,
        evaluation=evaluation,
        profiler=profiling.Profiler(model_dir, profile_steps if chief else 0),
        actions=actions,
        held_out=held_out,
    )


def _check_functions(directory: run_directory.RunDirectory) -> None:
    """Checks that functions which config.gin cannot store were passed again.

    Raises:
      UserError: one is missing, so that the preset's would silently replace it.
    """
    recorded = (directory.read_model() or {}).get("networks", {}).get("arguments", {})
    current = resolved.resolve()["networks"]["arguments"]
    for name, value in recorded.items():
        if isinstance(value, dict) and "python" in value:
            own = current.get(name)
            if not (isinstance(own, dict) and "python" in own):
                raise errors.UserError(
                    f"The run was trained with {value['python']} as {name}, which "
                    f"config.gin cannot store: pass `{name}` to compile again."
                )


def _held_out_scores(
    trainer: trainer_lib.Trainer, data: training_data.TrainingData
) -> overfitting.HeldOutScores | None:
    """What adapts the augmentation, if scores of held-out clips do."""
    adaptation = trainer.augmentation and trainer.augmentation.adaptation
    if not adaptation or adaptation.measure != "held_out":
        return None
    return overfitting.HeldOutScores(trainer, adaptation, data)


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


def _report_other_tensorflow(directory: run_directory.RunDirectory) -> None:
    """Prints if the run was trained with another version of TensorFlow."""
    model = directory.read_model() or {}
    before, now = model.get("tensorflow", tf.__version__), tf.__version__
    if before != now:
        terminal.say(
            f"The run was trained with TensorFlow {before} and resumes with {now}, so "
            "its numbers will differ in their last bits"
        )


def _describe(
    directory: run_directory.RunDirectory,
    data: training_data.TrainingData,
    origin: dict | None,
) -> None:
    """Writes what a run's directory says of its data, its model and its config."""
    filesystem.makedirs(directory.path)
    directory.write_dataset(data.class_names, data.name, data.num_clips)
    model = resolved.resolve() | ({"initialized_from": origin} if origin else {})
    directory.write_model(model)
    directory.write_config(gin.config_str())  # last, because it marks a run


def _frame_bank(
    directory: run_directory.RunDirectory,
    data: training_data.TrainingData,
    count: int,
    chief: bool,
) -> np.ndarray:
    """Returns the run's frame bank; creates it from real clips if there is none."""
    bank = directory.read_frame_bank()
    if bank is not None:
        return bank
    frames = data.clips(_FRAME_BANK_CLIPS)[:, :count].copy()
    if chief:
        directory.write_frame_bank(frames)
    return frames
