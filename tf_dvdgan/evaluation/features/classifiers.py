"""Trains and evaluates video classifiers: the small one, and those of S3."""

import dataclasses
import math
from collections.abc import Callable
from typing import TypeAlias

import tensorflow as tf

from tf_dvdgan import errors, seeds

# Elements are (uint8 video `[time, height, width, 3]`, label).
ClipDataset: TypeAlias = tf.data.Dataset
Preprocess = Callable[[tf.Tensor], tf.Tensor]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Training hyperparameters of a classifier.

    Attributes:
      optimizer: creates an optimizer, given a learning rate.
      learning_rate: initial value; divided by 10 when the best test accuracy has not
        improved for `patience` epochs in a row (paper 003, appendix B.1).
      batch_size: clips per update, over all replicas.
      epochs: passes over the training clips.
      patience: epochs without improvement before the learning rate falls.
      seed: seed of the initial weights and of dropout.
      target_accuracy: stops training after the epoch that reaches this test accuracy;
        None trains for all epochs.
    """

    optimizer: Callable[[float], tf.keras.optimizers.Optimizer]
    learning_rate: float = 1e-3
    batch_size: int = 32
    epochs: int = 40
    patience: int = 4
    seed: int = 0
    target_accuracy: float | None = None


def fit(
    make_network: Callable[[], tf.keras.Model],
    preprocess: Preprocess,
    train: ClipDataset,
    num_train: int,
    test: ClipDataset,
    recipe: Recipe,
    strategy: tf.distribute.Strategy | None = None,
    on_epoch: Callable[[int, float], None] | None = None,
) -> tf.keras.Model:
    """Trains a classifier.

    Args:
      make_network: creates the network; its outputs must include "logits".
      preprocess: maps uint8 videos to the network's input, on the device.
      train: training clips, repeated without end.
      num_train: clips per epoch, rounded up to whole batches.
      test: test clips; their accuracy controls the learning rate.
      recipe: hyperparameters.
      strategy: where to train; with several workers each must pass all the clips.
      on_epoch: called with each epoch's number, from 1, and its test accuracy.

    Returns:
      The network with the weights of the last epoch.

    Raises:
      UserError: the batch size is not a multiple of the number of replicas.
    """
    strategy = strategy or tf.distribute.get_strategy()
    replicas = strategy.num_replicas_in_sync
    if recipe.batch_size % replicas:
        raise errors.UserError(
            f"A batch of {recipe.batch_size} clips cannot be split evenly between "
            f"{replicas} replicas; choose a multiple of {replicas}."
        )
    with seeds.seeded(recipe.seed):  # weights, dropout
        with strategy.scope():
            network = make_network()
            classifier = _Uint8Classifier(network, preprocess)
            classifier.compile(
                recipe.optimizer(recipe.learning_rate),
                tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
                weighted_metrics=[_accuracy()],
            )
        train_batches = train.batch(recipe.batch_size, drop_remainder=True)
        classifier.fit(
            _sharded_by_data(train_batches),
            steps_per_epoch=math.ceil(num_train / recipe.batch_size),
            epochs=recipe.epochs,
            validation_data=_sharded_by_data(_padded_batches(test, recipe.batch_size)),
            callbacks=_callbacks(recipe, on_epoch),
            verbose=0,
        )
    return network


def accuracy(
    network: tf.keras.Model, preprocess: Preprocess, clips: ClipDataset, batch_size: int
) -> float:
    """Top-1 accuracy of a classifier.

    Args:
      network: its outputs include "logits"; runs under the strategy it was created in.
      preprocess: maps uint8 videos to the network's input.
      clips: every clip once.
      batch_size: clips per batch, over all replicas.

    Returns:
      The fraction of clips whose label has the largest logit.
    """
    with network.distribute_strategy.scope():
        classifier = _Uint8Classifier(network, preprocess)
        classifier.compile(weighted_metrics=[_accuracy()])
    batches = _sharded_by_data(_padded_batches(clips, batch_size))
    return classifier.evaluate(batches, verbose=0, return_dict=True)["accuracy"]


def _callbacks(
    recipe: Recipe, on_epoch: Callable[[int, float], None] | None
) -> list[tf.keras.callbacks.Callback]:
    """The learning rate schedule, early stopping, and `on_epoch`."""
    callbacks = [
        tf.keras.callbacks.ReduceLROnPlateau(
            "val_accuracy",
            factor=0.1,
            patience=recipe.patience,
            mode="max",
            min_delta=0.0,
        )
    ]
    if recipe.target_accuracy is not None:
        callbacks.append(_StopAtAccuracy(recipe.target_accuracy))
    if on_epoch:
        report = tf.keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: on_epoch(epoch + 1, logs["val_accuracy"])
        )
        callbacks.append(report)
    return callbacks


class _StopAtAccuracy(tf.keras.callbacks.Callback):
    def __init__(self, target_accuracy: float):
        super().__init__()
        self._target_accuracy = target_accuracy

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        del epoch
        if logs["val_accuracy"] >= self._target_accuracy:
            self.model.stop_training = True


class _Uint8Classifier(tf.keras.Model):
    """Logits of uint8 videos, so that only uint8 is copied to the devices."""

    def __init__(self, network: tf.keras.Model, preprocess: Preprocess):
        super().__init__(dtype="float32")
        self._network = network
        self._preprocess = preprocess

    def call(self, videos: tf.Tensor, training: bool = False) -> tf.Tensor:
        return self._network(self._preprocess(videos), training=training)["logits"]


def _accuracy() -> tf.keras.metrics.Metric:
    return tf.keras.metrics.SparseCategoricalAccuracy(name="accuracy")


def _padded_batches(clips: ClipDataset, size: int) -> tf.data.Dataset:
    """Batches of one size with a weight per clip, 0 for the padding of the last batch.

    A replica fails on an empty batch, and a TPU needs a static shape.
    """

    def pad(x: tf.Tensor) -> tf.Tensor:
        other_axes = [[0, 0]] * (x.shape.rank - 1)
        padded = tf.pad(x, [[0, size - tf.shape(x)[0]], *other_axes])
        return tf.ensure_shape(padded, [size, *x.shape[1:]])

    def pad_batch(videos: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, ...]:
        weights = tf.ones_like(labels, tf.float32)
        return pad(videos), pad(labels), pad(weights)

    return clips.batch(size).map(pad_batch)


def _sharded_by_data(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Makes each worker take its part of every batch instead of part of the files."""
    options = tf.data.Options()
    policy = tf.data.experimental.AutoShardPolicy.DATA
    options.experimental_distribute.auto_shard_policy = policy
    return batches.with_options(options).prefetch(2)
