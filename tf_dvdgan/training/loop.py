"""The outer loop: data, steps, progress, summaries, checkpoints, stopping."""

import contextlib
import dataclasses
import io
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

import gin
import numpy as np
import tensorflow as tf

from tf_dvdgan import errors, terminal
from tf_dvdgan.data import files, readers, training_data
from tf_dvdgan.models import video_gan
from tf_dvdgan.training import checkpoints, divergence, profiling, standing_statistics
from tf_dvdgan.training import observer as observer_lib
from tf_dvdgan.training import strategy as strategy_lib
from tf_dvdgan.training import trainer as trainer_lib

CONFIG_FILE = "config.gin"
DATASET_FILE = "dataset.json"
FRAME_BANK_FILE = "frame_bank.npz"
# All that standing statistics are made of start from a frame of their own.
_FRAME_BANK_CLIPS = standing_statistics.NUM_BATCHES * standing_statistics.BATCH_SIZE
_SECONDS_PER_LOOP = 10.0
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@gin.register(module="training")
@dataclasses.dataclass(frozen=True)
class Schedule:
    """When things happen, in steps.

    Attributes:
      num_steps: length of the run.
      steps_per_loop: steps in one call to the device at the most; progress is shown
        after each. Slow steps are fewer, so that a call takes some seconds.
      checkpoint_every: steps between checkpoints.
      samples_every: steps between sample sheets.
      keep_checkpoints: how many of the newest are kept.
      asynchronous_checkpoints: whether a thread writes them while training continues.
      on_failed_save: 'go_on' or 'stop' when one cannot be written; older ones stay.
    """

    num_steps: int = 300_000
    steps_per_loop: int = 100
    checkpoint_every: int = 1000
    samples_every: int = 1000
    keep_checkpoints: int = 3
    asynchronous_checkpoints: bool = False
    on_failed_save: str = "go_on"

    def __post_init__(self):
        names = ("steps_per_loop", "checkpoint_every", "samples_every")
        for name in (*names, "keep_checkpoints"):
            if getattr(self, name) < 1:
                raise errors.InvalidValueError(
                    f"{name} is at least 1. Received: {getattr(self, name)}"
                )
        if self.on_failed_save not in ("go_on", "stop"):
            raise errors.InvalidValueError(
                f"on_failed_save is 'go_on' or 'stop'. Received: {self.on_failed_save}"
            )

    def steps_from(
        self, step: int, seconds_per_step: float | None, others: Sequence[int] = ()
    ) -> int:
        """How many steps to do in one call, none past the next thing that happens.

        Args:
          step: where the run is.
          seconds_per_step: as measured; None before there is a measure.
          others: steps between things that happen besides the schedule's.
        """
        if seconds_per_step is None:
            return 1
        ends = (self.checkpoint_every, self.samples_every, *others)
        until = min(every - step % every for every in ends)
        in_time = max(1, int(_SECONDS_PER_LOOP / max(seconds_per_step, 1e-6)))
        return min(until, in_time, self.steps_per_loop, self.num_steps - step)


@dataclasses.dataclass(frozen=True)
class Action:
    """Something that is done every so many steps of a run.

    Attributes:
      name: for messages.
      every: steps between two times; it is done after the last step too.
      function: called with the state.
    """

    name: str
    every: int
    function: Callable[["State"], None]

    def __post_init__(self):
        if self.every < 1:
            raise errors.InvalidValueError(
                f"every is at least 1. Received: {self.every}"
            )


@dataclasses.dataclass(frozen=True)
class State:
    """Where a run stands when an action is called.

    Attributes:
      step: generator updates done.
      model_dir: of the run.
      trainer: with networks, optimizers and weights.
      metrics: means over the last call's steps, by name, such as 'loss/generator'.
    """

    step: int
    model_dir: str
    trainer: trainer_lib.Trainer
    metrics: Mapping[str, float]


class Evaluation(Protocol):
    """Scores a run's checkpoints as it trains."""

    def __call__(self, the_trainer: trainer_lib.Trainer, step: int) -> None:
        """Scores the step that the trainer stands at, which is saved."""

    def catch_up(self, the_trainer: trainer_lib.Trainer, step: int) -> None:
        """The same after the run was ended, unless it was done before."""


def train(*arguments: object, **keywords: object) -> signal.Signals | None:
    """Trains a GAN, or resumes training one; arguments are those of `prepare`.

    SIGTERM or SIGINT (Ctrl-C) stops it after the steps in hand, saved.

    Returns:
      None once the run has its last step, else the signal that stopped it; the same on
      all workers.

    Raises:
      UserError: data, config and run do not fit, or the run has diverged.
    """
    run = prepare(*arguments, **keywords)
    return run.go_on() if run else None


@gin.configurable("train", module="training")
def prepare(
    model_dir: str,
    data: str | training_data.TrainingData,
    strategy: tf.distribute.Strategy,
    evaluation: Evaluation | None = None,
    protocols: Sequence[str] = (),
    profile_steps: int = 0,
    actions: Sequence[Action] = (),
    window: readers.Window = gin.REQUIRED,
    schedule: Schedule = Schedule(),
    on_divergence: divergence.Divergence = divergence.Divergence(),
    accept_other_facts: bool = False,
) -> "Run | None":
    """Makes a run ready to train, from its start or from its newest checkpoint.

    Of several workers each calls this; the chief alone writes and speaks. The config is
    read here, and no more while the run goes on.

    Args:
      model_dir: of the run; a checkpoint in it is resumed from.
      data: folder of prepared shards, or other data.
      strategy: where to train.
      evaluation: of each checkpoint; there is one before the first step then.
      protocols: names of the scores that the run is evaluated by, for TensorBoard.
      profile_steps: how many steps to trace for TensorBoard's profiler, early on.
      actions: what else happens every so many steps; called by all workers.
      window: frames and pixels taken of each clip.
      schedule: when things happen.
      on_divergence: what happens when the run goes wrong.
      accept_other_facts: whether a run may go on with another seed or batch size.

    Returns:
      The run; None if it has its last step already.

    Raises:
      UserError: data, config and run do not fit.
    """
    chief = strategy_lib.is_chief(strategy)
    # 1. The data, before anything that takes long.
    if isinstance(data, str):
        data = training_data.Shards(data, window)
    # Networks without variables yet: they are only asked.
    data.check(video_gan.build(data.class_names).class_conditional, speaks=chief)
    # 2. Networks, optimizers and their variables.
    the_trainer = trainer_lib.build(strategy, data.class_names)
    # 3. Where the run stands.
    run = checkpoints.Checkpoints(
        model_dir,
        the_trainer.checkpoint_objects(),
        {
            "seed": the_trainer.seed,
            "global_batch_size": the_trainer.global_batch_size,
        },
        schedule.keep_checkpoints,
        schedule.asynchronous_checkpoints,
        writes=chief,
    )
    resumed = run.restore(accept_other_facts)
    step = int(the_trainer.step.numpy())
    if chief:
        terminal.say(f"{'Resuming from' if resumed else 'Starting at'} step {step}")
    if step >= schedule.num_steps:
        if evaluation:
            the_trainer.gan.frame_bank = load_frame_bank(model_dir)
            evaluation.catch_up(the_trainer, step)
        print(f"The run has its {schedule.num_steps} steps; nothing to train.")
        return None
    # 4. What is written once.
    if chief:
        tf.io.gfile.makedirs(model_dir)
        save_config(model_dir)
        save_dataset(model_dir, data)
    gan = the_trainer.gan
    if gan.generator.num_conditioning_frames:
        gan.frame_bank = _frame_bank(model_dir, data, gan, chief)
    observer = observer_lib.Observer(
        model_dir, the_trainer, data.class_names, window, speaks=chief
    )
    observer.config(step, protocols)
    observer.real_clips(data)
    return Run(
        the_trainer,
        data,
        schedule,
        run,
        observer,
        on_divergence,
        evaluation,
        profiling.Profiler(model_dir, profile_steps if chief else 0),
        actions,
    )


def distribute(
    the_trainer: trainer_lib.Trainer,
    data: training_data.TrainingData,
    first_batch: int,
) -> tf.data.Dataset | tf.distribute.DistributedDataset:
    """Training batches on the trainer's devices, from the batch of a number on."""
    global_batch_size = the_trainer.global_batch_size

    def dataset_of_worker(context: tf.distribute.InputContext) -> tf.data.Dataset:
        rows = data.rows(
            global_batch_size,
            the_trainer.data_seed,
            first_batch,
            worker=context.input_pipeline_id,
            num_workers=context.num_input_pipelines,
        )
        size = context.get_per_replica_batch_size(global_batch_size)
        return rows.batch(size, drop_remainder=True).prefetch(4)

    return the_trainer.strategy.distribute_datasets_from_function(dataset_of_worker)


def save_config(model_dir: str) -> None:
    """Keeps the whole config, as parsed; `config.load_run` reads it back."""
    files.write_whole(os.path.join(model_dir, CONFIG_FILE), gin.config_str())


def save_dataset(model_dir: str, data: training_data.TrainingData) -> None:
    """Keeps what sampling wants to know of the data."""
    facts = {"class_names": data.class_names, "dataset": data.name}
    files.write_whole(os.path.join(model_dir, DATASET_FILE), json.dumps(facts))


def load_class_names(model_dir: str) -> list[str]:
    """Names of the classes that a run was trained on."""
    with tf.io.gfile.GFile(os.path.join(model_dir, DATASET_FILE)) as file:
        return json.load(file)["class_names"]


def _frame_bank(model_dir, data, gan, chief: bool) -> np.ndarray:
    """First frames of some real clips, kept with the run; samples start there."""
    bank = load_frame_bank(model_dir)
    if bank is not None:
        return bank
    given = gan.generator.num_conditioning_frames
    frames = data.clips(_FRAME_BANK_CLIPS)[:, :given].copy()
    if chief:
        buffer = io.BytesIO()
        np.savez_compressed(buffer, frames=frames)
        files.write_whole(os.path.join(model_dir, FRAME_BANK_FILE), buffer.getvalue())
    return frames


def load_frame_bank(model_dir: str) -> np.ndarray | None:
    """The frames that a run's samples start from, uint8; None if from none."""
    path = os.path.join(model_dir, FRAME_BANK_FILE)
    if not tf.io.gfile.exists(path):
        return None
    with tf.io.gfile.GFile(path, "rb") as file:
        return np.load(io.BytesIO(file.read()), allow_pickle=False)["frames"]


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """Steps until the end, or until the process is asked to stop.

    Attributes:
      trainer: where the run stands.
      data: that it trains on.
      schedule: when things happen.
      saved: the run's checkpoints.
      observer: shows it.
      policy: when it is taken for lost.
      evaluation: see `train`.
      profiler: traces some of the steps.
      actions: see `train`.
    """

    trainer: trainer_lib.Trainer
    data: training_data.TrainingData
    schedule: Schedule
    saved: checkpoints.Checkpoints
    observer: observer_lib.Observer
    policy: divergence.Divergence
    evaluation: Evaluation | None
    profiler: profiling.Profiler
    actions: Sequence[Action]

    @property
    def _chief(self) -> bool:
        return strategy_lib.is_chief(self.trainer.strategy)

    def go_on(self) -> signal.Signals | None:
        """Trains from where the trainer stands.

        Returns:
          None once the run has its last step, else the signal that stopped it; the same
          on all workers.

        Raises:
          UserError: the data cannot be read, or the run has diverged.
        """
        try:
            return self._train()
        except tf.errors.DataLossError as error:
            if not isinstance(self.data, training_data.Shards):
                raise
            raise readers.damaged(self.data.data_dir, error) from error

    def _train(self) -> signal.Signals | None:
        schedule, observer = self.schedule, self.observer
        step = int(self.trainer.step.numpy())
        watch = divergence.Watch(self.policy, step)
        batches = self._batches(step)
        observer.start(schedule.num_steps)
        if self.evaluation and step == 0:
            self._save(0)  # what scores begin with
        elif self.evaluation and step % schedule.checkpoint_every == 0:
            self.evaluation.catch_up(self.trainer, step)
        seconds = stopped_by = None
        with _StopRequest() as stop, self.profiler:
            while step < schedule.num_steps:
                every = [action.every for action in self.actions]
                wanted = schedule.steps_from(step, seconds, every)
                wanted = self.profiler.limit(wanted)
                stopped_by, num_steps = _agree(
                    self.trainer.strategy, stop.signal, wanted
                )
                if stopped_by:
                    break
                with self.profiler.call(num_steps):
                    metrics = self.trainer.run_steps(batches, num_steps)
                step += num_steps
                seconds = observer.progress(step, num_steps, metrics) or seconds
                alarms = watch.metrics(step, metrics)
                lost = any(alarm.action != "warn" for alarm in alarms)
                at_end = step == schedule.num_steps
                if not lost and (step % schedule.checkpoint_every == 0 or at_end):
                    self._save(step)
                if not lost and (step % schedule.samples_every == 0 or at_end):
                    share = strategy_lib.of_chief(
                        self.trainer.strategy, observer.samples(step)
                    )
                    alarms += watch.diversity(step, share)
                if not lost:
                    self._act(step, metrics, at_end)
                if self._answer(step, alarms):
                    step = int(self.trainer.step.numpy())
                    watch.forget(step)
                    batches = self._batches(step)
            self._leave(step)
        return stopped_by

    def _act(self, step: int, metrics: Mapping[str, float], at_end: bool) -> None:
        """Calls the actions whose time it is; their time is not the steps'."""
        began = time.monotonic()
        state = State(step, self.saved.model_dir, self.trainer, metrics)
        for action in self.actions:
            if step % action.every == 0 or at_end:
                action.function(state)
        self.observer.pause(began)

    def _batches(self, step: int) -> Iterator[trainer_lib.Batch]:
        first = step * self.trainer.num_d_steps
        return iter(distribute(self.trainer, self.data, first))

    def _save(self, step: int) -> None:
        """Writes a checkpoint; one that cannot be written ends the run by choice only.

        Raises:
          UserError: it cannot be written, and the schedule says to stop then.
        """
        began = time.monotonic()
        failed = ""
        try:
            self.saved.save(step)
            if self.evaluation:
                self.saved.wait()
        except checkpoints.SaveError as error:
            failed = self._not_saved(step, error)
        if strategy_lib.of_chief(
            self.trainer.strategy, bool(failed)
        ):  # it alone writes, and all end together
            if self.schedule.on_failed_save == "stop":
                raise errors.UserError(failed or f"The chief cannot save step {step}.")
            if failed:
                print(f"{failed} Training continues.", flush=True)
        elif self.evaluation:
            self.evaluation(self.trainer, step)
        self.observer.pause(began)

    def _not_saved(self, step: int, error: Exception) -> str:
        newest = self.saved.newest or "none"
        return f"Step {step} cannot be saved ({error}); newest checkpoint: {newest}."

    def _answer(self, step: int, alarms: Sequence[divergence.Alarm]) -> bool:
        """Does what the policy says about alarms; tells whether the run went back.

        Raises:
          UserError: the run ends.
        """
        for alarm in alarms:
            self.observer.alarm(step, alarm)
        grave = [alarm for alarm in alarms if alarm.action != "warn"]
        if not grave:
            return False
        alarm, attempt = grave[0], int(self.trainer.attempt.numpy()) + 1
        advice = (
            "Lower the learning rates or change trainer.build.seed, and start again."
        )
        if alarm.action == "stop":
            newest = self.saved.newest or "none: the run diverged before its first"
            raise errors.UserError(
                f"{alarm.sentence} The last checkpoint is {newest}. {advice}"
            )
        if attempt > self.policy.max_roll_backs:
            raise errors.UserError(
                f"{alarm.sentence} The run has gone back {attempt - 1} times already. "
                f"{advice}"
            )
        back = self.saved.roll_back(alarm.good_until)
        if back is None:
            raise errors.UserError(
                f"{alarm.sentence} There is no checkpoint yet to go back to. {advice}"
            )
        self.trainer.attempt.assign(attempt)
        if self._chief:
            limit = self.policy.max_roll_backs
            print(
                f"Back to step {back}, and on with other random draws and another order"
                f" of the data ({attempt} of at most {limit} times)",
                flush=True,
            )
        return True

    def _leave(self, step: int) -> None:
        """Saves, and says what was done and how to go on.

        All workers wait for the chief's checkpoint: what started them may end the rest
        as soon as one leaves with another exit code than 0.

        Raises:
          UserError: it cannot be saved.
        """
        with contextlib.suppress(checkpoints.SaveError):
            self.saved.wait()  # for an earlier one; what counts now is the last
        failed = ""
        try:
            self.saved.save(step)
            self.saved.wait()
        except checkpoints.SaveError as error:
            failed = self._not_saved(step, error)
        if strategy_lib.of_chief(self.trainer.strategy, bool(failed)):
            raise errors.UserError(failed or f"The chief cannot save step {step}.")
        if not self._chief:
            return
        if step < self.schedule.num_steps:
            print(
                f"Stopped at step {step}, saved; the same command resumes from there."
            )
        else:
            self.observer.finished()
            print(f"Trained {step} steps; newest checkpoint: {self.saved.newest}")
        sys.stdout.flush()


def _agree(
    strategy: tf.distribute.Strategy, received: signal.Signals | None, num_steps: int
) -> tuple[signal.Signals | None, int]:
    """Agrees with the other workers on whether to stop, and on how many steps to do.

    Args:
      strategy: of the workers.
      received: the signal that asked this one to stop, if any.
      num_steps: what this one would do next; the chief's number counts.

    Returns:
      SIGTERM if any worker got it, else SIGINT if any got that, else None; and the
      number of steps. The same on all workers.
    """
    own = [received == number for number in _STOP_SIGNALS]
    own += [num_steps if strategy_lib.is_chief(strategy) else 0]
    *counts, steps = strategy_lib.sum_over_workers(strategy, own)
    got = [number for number, count in zip(_STOP_SIGNALS, counts, strict=True) if count]
    return (got[0] if got else None), int(steps)


class _StopRequest:
    """Notes SIGINT and SIGTERM while it is entered; a second one ends the process.

    Python gives signals to the main thread alone; in another one nothing is noted.
    """

    def __enter__(self) -> "_StopRequest":
        self.signal: signal.Signals | None = None
        self._handlers = {}
        if threading.current_thread() is threading.main_thread():
            for number in _STOP_SIGNALS:
                self._handlers[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: object) -> None:
        del frame
        if self.signal:
            _tell("Stopped at once; the same command resumes from the last checkpoint.")
            os._exit(128 + number)
        self.signal = signal.Signals(number)
        _tell("Stopping after the steps in hand… Once more stops at once.")


def _tell(sentence: str) -> None:
    start = "\n" if sys.stderr.isatty() else ""  # behind the terminal's own ^C
    print(f"{start}{sentence}", file=sys.stderr, flush=True)
