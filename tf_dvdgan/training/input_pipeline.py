"""Batches of training data on a trainer's devices, and errors of reading them."""

import re

import tensorflow as tf

from tf_dvdgan import errors
from tf_dvdgan.data import readers, training_data
from tf_dvdgan.training import strategy as strategy_lib
from tf_dvdgan.training import trainer as trainer_lib


def distribute(
    trainer: trainer_lib.Trainer,
    data: training_data.TrainingData,
    first_batch: int,
) -> tf.data.Dataset | tf.distribute.DistributedDataset:
    """Distributes training batches to the trainer's devices.

    Args:
      trainer: trainer with the batch size, the seed and the strategy.
      data: training data.
      first_batch: number of the first batch.

    Returns:
      Infinite batches of "video" and "label".
    """
    global_batch_size = trainer.global_batch_size

    def dataset_of_worker(context: tf.distribute.InputContext) -> tf.data.Dataset:
        rows = data.rows(
            global_batch_size,
            trainer.data_seed,
            first_batch,
            worker=context.input_pipeline_id,
            num_workers=context.num_input_pipelines,
        )
        size = context.get_per_replica_batch_size(global_batch_size)
        return rows.batch(size, drop_remainder=True).prefetch(4)

    return trainer.strategy.distribute_datasets_from_function(dataset_of_worker)


def find_data_error(
    error: tf.errors.OpError,
    trainer: trainer_lib.Trainer,
    data: training_data.TrainingData,
    num_steps: int,
) -> errors.UserError | None:
    """Finds out whether a step failed because the data cannot be read.

    Most errors of a step do not say whether data or networks failed: then the clips
    of the steps that were to come are read again. Not those of a user's dataset, where
    this may take as long as the run: TensorFlow names the operation that read it.

    Args:
      error: error of a call to the device.
      trainer: trainer at the last complete step.
      data: training data.
      num_steps: number of steps of the call.

    Returns:
      The error of the data; None if they can be read.
    """
    if not isinstance(data, training_data.Shards | training_data.Clips):
        return None
    if isinstance(error, tf.errors.ResourceExhaustedError):
        return None
    is_lost = isinstance(error, strategy_lib.LOST_WORKER_ERRORS)
    if is_lost and strategy_lib.spans_workers(trainer.strategy):
        return None
    if isinstance(data, training_data.Clips):
        # Not "IteratorGetNext/_5", which only transfers what was read.
        was_read = re.search(r"IteratorGetNext\w*(\]\]|\}\})", str(error))
        return training_data.unusable(error) if was_read else None
    # Without other workers, it is a remote store that is lost.
    if is_lost or isinstance(error, tf.errors.DataLossError):
        return readers.damaged(data.data_dir, error)
    worker, num_workers = strategy_lib.worker_index_and_count(trainer.strategy)
    num_batches = trainer.num_d_steps * num_steps
    num_clips = num_batches * trainer.global_batch_size // num_workers
    try:
        rows = data.rows(
            trainer.global_batch_size,
            trainer.data_seed,
            int(trainer.step.numpy()) * trainer.num_d_steps,
            worker=worker,
            num_workers=num_workers,
        )
        for _ in rows.take(num_clips):
            pass
    except errors.UserError as again:  # already the manifest or the index
        return again
    except tf.errors.OpError as again:
        return readers.damaged(data.data_dir, again)
    return None
