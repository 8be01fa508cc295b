"""The outer loop: data, steps, progress, summaries, checkpoints, stopping."""

import dataclasses
import io
import json
import math
import os
import signal
import sys

import gin
import numpy as np
import tensorflow as tf

from tf_dvdgan import cli
from tf_dvdgan.data import files, readers, transforms
from tf_dvdgan.data import manifest as manifest_lib
from tf_dvdgan.models import video_gan
from tf_dvdgan.training import checkpoints, trainer
from tf_dvdgan.training import observer as observer_lib

CONFIG_FILE = "config.gin"
DATASET_FILE = "dataset.json"
FRAME_BANK_FILE = "frame_bank.npz"
_FRAME_BANK_CLIPS = 64
_SECONDS_PER_LOOP = 10.0


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
    """

    num_steps: int = 300_000
    steps_per_loop: int = 100
    checkpoint_every: int = 1000
    samples_every: int = 1000
    keep_checkpoints: int = 3

    def steps_from(self, step: int, seconds_per_step: float | None) -> int:
        """How many steps to do in one call, none past the next thing that happens.

        Args:
          step: where the run is.
          seconds_per_step: as measured; None before there is a measure.
        """
        if seconds_per_step is None:
            return 1
        ends = (self.checkpoint_every, self.samples_every)
        until = min(every - step % every for every in ends)
        in_time = max(1, int(_SECONDS_PER_LOOP / max(seconds_per_step, 1e-6)))
        return min(until, in_time, self.steps_per_loop, self.num_steps - step)


@gin.configurable(module="training")
def train(
    model_dir: str,
    data_dir: str,
    strategy: tf.distribute.Strategy,
    window: readers.Window = gin.REQUIRED,
    schedule: Schedule = Schedule(),
) -> None:
    """Trains a GAN, or goes on with training one.

    Args:
      model_dir: of the run; a checkpoint in it is gone on from.
      data_dir: of prepared shards.
      strategy: where to train.
      window: frames and pixels taken of each clip.
      schedule: when things happen.

    Raises:
      UserError: data, config and run do not fit, or the losses are no longer finite.
    """
    # 1. The data, before anything that takes long.
    manifest = manifest_lib.load(data_dir)
    readers.shards_of(manifest, data_dir, "train", window)
    if video_gan.build(manifest.class_names).class_conditional:  # no variables yet
        readers.check_classes(manifest)
    # 2. Networks, optimizers and their variables.
    the_trainer = trainer.build(strategy, manifest.class_names)
    # 3. Where the run stands.
    run = checkpoints.Checkpoints(
        model_dir,
        the_trainer.checkpoint_objects(),
        {
            "seed": the_trainer.seed,
            "global_batch_size": the_trainer.global_batch_size,
        },
        schedule.keep_checkpoints,
    )
    resumed = run.restore()
    step = int(the_trainer.step.numpy())
    print(f"{'Going on from' if resumed else 'Starting at'} step {step}", flush=True)
    if step >= schedule.num_steps:
        print(f"The run has its {schedule.num_steps} steps; nothing to train.")
        return
    # 4. Batches from there on.
    batches = distribute(
        the_trainer, data_dir, window, first_batch=step * the_trainer.num_d_steps
    )
    # 5. What is written once.
    tf.io.gfile.makedirs(model_dir)
    save_config(model_dir)
    save_dataset(model_dir, manifest)
    gan = the_trainer.gan
    if gan.generator.num_conditioning_frames:
        gan.frame_bank = _frame_bank(model_dir, data_dir, window, gan)
    observer = observer_lib.Observer(
        model_dir, the_trainer, manifest.class_names, window
    )
    observer.config(step)
    observer.real_clips(data_dir)
    _run(the_trainer, iter(batches), schedule, run, observer)


def distribute(
    the_trainer: trainer.Trainer,
    data_dir: str,
    window: readers.Window,
    first_batch: int,
) -> tf.data.Dataset | tf.distribute.DistributedDataset:
    """Training batches on the trainer's devices, from the batch of a number on."""
    global_batch_size = the_trainer.global_batch_size

    def dataset_of_worker(context: tf.distribute.InputContext) -> tf.data.Dataset:
        rows = readers.training_dataset(
            data_dir,
            window,
            global_batch_size,
            the_trainer.seed,
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


def save_dataset(model_dir: str, manifest: manifest_lib.Manifest) -> None:
    """Keeps what sampling wants to know of the data."""
    facts = {"class_names": manifest.class_names, "dataset": manifest.dataset}
    text = json.dumps(facts, ensure_ascii=False)
    files.write_whole(os.path.join(model_dir, DATASET_FILE), text)


def load_class_names(model_dir: str) -> list[str]:
    """Names of the classes that a run was trained on."""
    with tf.io.gfile.GFile(os.path.join(model_dir, DATASET_FILE)) as file:
        return json.load(file)["class_names"]


def _frame_bank(model_dir, data_dir, window, gan) -> tf.Tensor:
    """First frames of some real clips, kept with the run; samples start there."""
    path = os.path.join(model_dir, FRAME_BANK_FILE)
    if not tf.io.gfile.exists(path):
        rows = readers.training_dataset(data_dir, window, 1, seed=0)
        clips = next(iter(rows.take(_FRAME_BANK_CLIPS).batch(_FRAME_BANK_CLIPS)))
        frames = clips["video"][:, : gan.generator.num_conditioning_frames]
        buffer = io.BytesIO()
        np.savez_compressed(buffer, frames=frames.numpy())
        files.write_whole(path, buffer.getvalue())
    return load_frame_bank(model_dir)


def load_frame_bank(model_dir: str) -> tf.Tensor | None:
    """The frames that a run's samples start from, in [-1, 1]; None if from none."""
    path = os.path.join(model_dir, FRAME_BANK_FILE)
    if not tf.io.gfile.exists(path):
        return None
    with tf.io.gfile.GFile(path, "rb") as file:
        frames = np.load(io.BytesIO(file.read()), allow_pickle=False)["frames"]
    return transforms.to_unit_range(frames)


def _run(the_trainer, batches, schedule, run, observer) -> None:
    """Steps until the end, or until the process is asked to stop."""
    step = int(the_trainer.step.numpy())
    observer.start(step, schedule.num_steps)
    seconds = None
    with _StopRequest() as stop:
        while step < schedule.num_steps and not stop.requested:
            num_steps = schedule.steps_from(step, seconds)
            metrics = the_trainer.run_steps(batches, num_steps)
            step += num_steps
            _check_finite(metrics, step, run.newest)
            seconds = observer.progress(step, num_steps, metrics)
            at_end = step == schedule.num_steps
            if step % schedule.checkpoint_every == 0 or at_end:
                run.save(step)
            if step % schedule.samples_every == 0 or at_end:
                observer.samples(step)
        if stop.requested:
            run.save(step)
    if step < schedule.num_steps:
        print(f"Stopped at step {step}, saved; the same command goes on from there.")
    else:
        print(f"Trained {step} steps; newest checkpoint: {run.newest}", flush=True)


def _check_finite(metrics: dict[str, float], step: int, newest: str | None) -> None:
    bad = [name for name, value in metrics.items() if not math.isfinite(value)]
    if bad:
        raise cli.UserError(
            f"{', '.join(bad)} not finite at step {step}. The last good checkpoint is "
            f"{newest or 'none: the run diverged before its first'}. Lower the "
            "learning rates or change trainer.build.seed, and start again."
        )


class _StopRequest:
    """Notes SIGINT and SIGTERM while it is entered; a second one ends the process."""

    def __enter__(self) -> "_StopRequest":
        self.requested = False
        self._handlers = {
            number: signal.signal(number, self._note)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: object) -> None:
        del frame
        if self.requested:
            os._exit(128 + number)
        self.requested = True
        print("Stopping after the steps in hand…", file=sys.stderr, flush=True)
