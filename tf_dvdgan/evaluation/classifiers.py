"""Training a video classifier: the small one, and those of S3."""

import dataclasses
import math
from collections.abc import Callable

import tensorflow as tf

from tf_dvdgan import errors

Clips = tf.data.Dataset  # of (uint8 video `[time, height, width, 3]`, label)
Preprocess = Callable[[tf.Tensor], tf.Tensor]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a classifier is trained.

    Attributes:
      optimizer: makes one of a learning rate.
      learning_rate: at the start; a tenth after `patience` epochs in a row whose test
        accuracy did not beat the best (paper 003, appendix B.1).
      batch_size: clips of one update, over all replicas.
      epochs: passes over the training clips.
      patience: see `learning_rate`.
      seed: of the first weights and of dropout.
      target_accuracy: training ends after an epoch that reaches this test accuracy;
        None trains all epochs.
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
    train: Clips,
    num_train: int,
    test: Clips,
    recipe: Recipe,
    strategy: tf.distribute.Strategy | None = None,
    on_epoch: Callable[[int, float], None] | None = None,
) -> tf.keras.Model:
    """Trains a classifier; its weights are those of the last epoch that was run.

    Args:
      make_network: makes one; its outputs hold "logits".
      preprocess: uint8 videos to the network's input, on the device.
      train: endless.
      num_train: clips of one epoch, whose last batch is filled up.
      test: whose accuracy the learning rate goes by.
      recipe: how.
      strategy: where to train; each of several workers gives all the clips.
      on_epoch: called with each epoch's number, from 1, and its test accuracy.

    Raises:
      UserError: the replicas cannot share a batch evenly.
    """
    strategy = strategy or tf.distribute.get_strategy()
    replicas = strategy.num_replicas_in_sync
    if recipe.batch_size % replicas:
        raise errors.UserError(
            f"A batch of {recipe.batch_size} clips cannot be dealt to {replicas} "
            "replicas evenly; take a batch size that can."
        )
    tf.keras.utils.set_random_seed(recipe.seed)
    with strategy.scope():
        network = make_network()
        classifier = _OfBytes(network, preprocess)
        classifier.compile(
            recipe.optimizer(recipe.learning_rate),
            tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            weighted_metrics=[_accuracy()],
        )
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
        callbacks.append(_StopWhenReached(recipe.target_accuracy))
    if on_epoch:
        tell = tf.keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: on_epoch(epoch + 1, logs["val_accuracy"])
        )
        callbacks.append(tell)
    classifier.fit(
        _shared(train.batch(recipe.batch_size, drop_remainder=True)),
        steps_per_epoch=math.ceil(num_train / recipe.batch_size),
        epochs=recipe.epochs,
        validation_data=_shared(_filled(test, recipe.batch_size)),
        callbacks=callbacks,
        verbose=0,
    )
    return network


def accuracy(
    network: tf.keras.Model, preprocess: Preprocess, clips: Clips, batch_size: int
) -> float:
    """Share of clips whose label has the largest logit.

    Args:
      network: its outputs hold "logits"; it runs by the strategy that it was made in.
      preprocess: uint8 videos to the network's input.
      clips: all of them, once.
      batch_size: clips at a time, over all replicas.
    """
    with network.distribute_strategy.scope():
        classifier = _OfBytes(network, preprocess)
        classifier.compile(weighted_metrics=[_accuracy()])
    batches = _shared(_filled(clips, batch_size))
    return classifier.evaluate(batches, verbose=0, return_dict=True)["accuracy"]


class _StopWhenReached(tf.keras.callbacks.Callback):
    def __init__(self, target_accuracy: float):
        super().__init__()
        self._target_accuracy = target_accuracy

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        del epoch
        if logs["val_accuracy"] >= self._target_accuracy:
            self.model.stop_training = True


class _OfBytes(tf.keras.Model):
    """Logits of videos as they are stored: uint8 is what devices are sent."""

    def __init__(self, network: tf.keras.Model, preprocess: Preprocess):
        super().__init__(dtype="float32")
        self._network = network
        self._preprocess = preprocess

    def call(self, videos: tf.Tensor, training: bool = False) -> tf.Tensor:
        return self._network(self._preprocess(videos), training=training)["logits"]


def _accuracy() -> tf.keras.metrics.Metric:
    return tf.keras.metrics.SparseCategoricalAccuracy(name="accuracy")


def _filled(clips: Clips, size: int) -> tf.data.Dataset:
    """Batches of one size, with the weight of each clip: 0 of what fills the last.

    A replica without any clips would fail, and a TPU wants one shape.
    """

    def fill(x: tf.Tensor) -> tf.Tensor:
        ends = [[0, 0]] * (x.shape.rank - 1)
        filled = tf.pad(x, [[0, size - tf.shape(x)[0]], *ends])
        return tf.ensure_shape(filled, [size, *x.shape[1:]])

    def weigh(videos: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, ...]:
        weights = tf.ones_like(labels, tf.float32)
        return fill(videos), fill(labels), fill(weights)

    return clips.batch(size).map(weigh)


def _shared(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Of which each worker takes its part of every batch, not of the files."""
    options = tf.data.Options()
    policy = tf.data.experimental.AutoShardPolicy.DATA
    options.experimental_distribute.auto_shard_policy = policy
    return batches.with_options(options).prefetch(2)
