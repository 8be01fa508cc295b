"""Symmetric-Similarity-Score (paper 003, section 5): what classifiers generalise to.

One classifier is trained on real clips, one of the same architecture by the same recipe
on as many generated ones. That each tells the other's clips asks of generated clips
that they are realistic and diverse, of every class.

The paper does not say, of its 3-D ResNet-18: the optimizer (here SGD with momentum 0.9,
that of Hara et al., 2017, without their weight decay); the number of epochs (40); how
clips are augmented (not at all: of generated ones there is no more to draw from); by
which accuracy the learning rate falls (that on real test clips, for both classifiers);
of which epoch the classifier is (the last). Scores of different architectures do not
compare (appendix B.1, table 3).
"""

import dataclasses
import functools
import hashlib
import itertools
import json
import math
import os
import tempfile

import numpy as np
import tensorflow as tf

from tf_dvdgan import cli
from tf_dvdgan.evaluation import classifiers, features, networks, preprocessing
from tf_dvdgan.evaluation.networks import weights
from tf_dvdgan.training import strategy as strategy_lib

_AT_A_TIME = 16  # clips that are made or read together

# Appendix B.1 for 3-D ResNet-18; its dropout of 0.6 is the network's own.
RECIPE = classifiers.Recipe(
    functools.partial(tf.keras.optimizers.SGD, momentum=0.9),
    learning_rate=1e-3,
    batch_size=32,
    epochs=40,
    patience=4,
)


@dataclasses.dataclass(frozen=True)
class S3:
    """The score, and the accuracies that it is made of.

    Attributes:
      rer: trained on real clips, tested on real ones.
      ser: trained on generated clips ("synthetic"), tested on real ones.
      res: trained on real clips, tested on generated ones.
    """

    rer: float
    ser: float
    res: float

    @property
    def value(self) -> float:
        """Equation 9: the geometric mean of SeR and ReS, as parts of ReR."""
        return math.sqrt((self.ser / self.rer) * (self.res / self.rer))


@dataclasses.dataclass(frozen=True)
class Sides:
    """Clips to train on and others to test with, each with a label.

    Attributes:
      train: to train on.
      test: to test with.
    """

    train: features.Source
    test: features.Source


def s3(
    network: str,
    preprocess: str,
    num_classes: int,
    real: Sides,
    generated: Sides,
    cache_dir: str,
    recipe: classifiers.Recipe = RECIPE,
    strategy: tf.distribute.Strategy | None = None,
    task: str | None = None,
) -> S3:
    """Trains the two classifiers, and tests them.

    Clips lie on the disk meanwhile, in the folder for temporary files. A classifier
    that is trained stays in `cache_dir`: the one of real clips serves every model.

    Args:
      network: of both classifiers, a key of `networks.NETWORKS`.
      preprocess: from uint8 videos to its input, a function of `preprocessing`.
      num_classes: how many.
      real: real clips.
      generated: generated ones; of `train` the first are taken, as many as are real.
      cache_dir: keeps classifiers.
      recipe: how they are trained.
      strategy: where they run, and where clips are generated.
      task: shown with the progress; None shows none.

    Raises:
      UserError: clips have no labels, those of a source differ in size or from those of
        another, generated ones are too few, nothing can be told of real clips, the
        temporary files do not fit on the disk, or there are several workers.
    """
    strategy = strategy or tf.distribute.get_strategy()
    if strategy_lib.spans_workers(strategy):
        raise cli.UserError("S3 is computed by one worker; start one, without TF_CONFIG.")
    with tempfile.TemporaryDirectory(prefix="tf_dvdgan-") as folder:
        store = functools.partial(_Clips, folder, num_classes, strategy, task=task)
        real_test = store("real test clips", real.test)
        real_train = store("real training clips", real.train)
        made_test = store("generated test clips", generated.test)
        made_train = store(
            "generated training clips", generated.train, at_most=real_train.num_clips
        )
        _check_alike(real_train, real_test, made_train, made_test)
        look = getattr(preprocessing, preprocess)
        train = functools.partial(
            _trained,
            (network, preprocess, num_classes),
            test=real_test,
            recipe=recipe,
            cache_dir=cache_dir,
            strategy=strategy,
            task=task,
        )
        of_real = train(real_train)
        rer = classifiers.accuracy(of_real, look, real_test.batches(recipe.batch_size))
        if not rer:
            raise cli.UserError(
                "The classifier of real clips tells none of the real test clips, so S3 "
                "is not defined: training and test clips do not fit, or are too few."
            )
        res = classifiers.accuracy(of_real, look, made_test.batches(recipe.batch_size))
        of_made = train(made_train)
        ser = classifiers.accuracy(of_made, look, real_test.batches(recipe.batch_size))
    return S3(rer, ser, res)


class _Clips:
    """A source's clips in one file, from which they are read in any order.

    Args:
      folder: for the file.
      num_classes: labels are below.
      strategy: whose replicas make videos.
      name: of the source, in messages and of the file.
      source: of the clips.
      at_most: so many of the first are taken; None takes all.
      task: shown with the progress; None shows none.
    """

    def __init__(
        self,
        folder: str,
        num_classes: int,
        strategy: tf.distribute.Strategy,
        name: str,
        source: features.Source,
        at_most: int | None = None,
        task: str | None = None,
    ):
        self.name = name
        self.facts = source.facts()
        count = min(source.num_clips, at_most or source.num_clips)
        progress = cli.Progress(f"{task}, {name}", count)
        labels, self.shape = [], ()
        path = os.path.join(folder, cli.safe_name(name))
        rows = (row for row in source.rows(0, 0, 1) if row is not None)
        rows = itertools.islice(rows, at_most)
        try:
            with open(path, "wb") as file:
                while batch := list(itertools.islice(rows, _AT_A_TIME)):
                    videos = _videos(source, batch, strategy)
                    self.shape = self.shape or videos.shape[1:]
                    self._check_shape(videos.shape[1:])
                    file.write(videos.tobytes())
                    labels += [int(row["label"]) for row in batch]
                    if task:
                        progress.update(len(labels))
        except OSError as error:
            raise cli.UserError(
                f"The {name} cannot be kept in {folder}: {error.strerror}. Name a "
                "folder with more room by TMPDIR."
            ) from None
        if not labels:
            raise cli.UserError(f"There are no {name}.")
        if min(labels) < 0 or max(labels) >= num_classes:
            raise cli.UserError(
                f"S3 wants clips of {num_classes} classes; the {name} have labels from "
                f"{min(labels)} to {max(labels)}."
            )
        self.num_clips = len(labels)
        self._labels = np.array(labels, np.int32)
        shape = (len(labels), *self.shape)
        self._videos = np.memmap(path, np.uint8, "r", shape=shape)

    def batches(self, batch_size: int) -> classifiers.Batches:
        """Every clip once, in order."""
        return self._read(tf.data.Dataset.range(self.num_clips)).batch(batch_size)

    def training_batches(self, batch_size: int, seed: int) -> classifiers.Batches:
        """All clips in an order drawn anew each epoch, without end."""
        numbers = tf.range(self.num_clips, dtype=tf.int64)

        def order(epoch: tf.Tensor) -> tf.data.Dataset:
            shuffled = tf.random.experimental.stateless_shuffle(numbers, [seed, epoch])
            return tf.data.Dataset.from_tensor_slices(shuffled)

        epochs = tf.data.Dataset.range(tf.int64.max).flat_map(order)
        return self._read(epochs).batch(batch_size, drop_remainder=True)

    def _read(self, numbers: tf.data.Dataset) -> tf.data.Dataset:
        """Videos and labels by their numbers."""

        def read(number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            video = tf.numpy_function(self._videos.__getitem__, [number], tf.uint8)
            return tf.ensure_shape(video, self.shape), tf.gather(self._labels, number)

        return numbers.map(read, num_parallel_calls=tf.data.AUTOTUNE)

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        if shape != self.shape:
            raise cli.UserError(
                f"The {self.name} differ in size: {_size(self.shape)}, then "
                f"{_size(shape)}. Say to what resolution they are to be resized."
            )


def _videos(
    source: features.Source, rows: list[features.Row], strategy: tf.distribute.Strategy
) -> np.ndarray:
    """Uint8 videos of rows, `[batch, time, height, width, 3]`."""
    columns = {n: tf.constant(np.stack([row[n] for row in rows])) for n in rows[0]}
    # Every replica has made all of them, the same.
    videos = source.videos(columns, strategy)
    return strategy.experimental_local_results(videos)[0].numpy()


def _check_alike(
    real_train: _Clips, real_test: _Clips, made_train: _Clips, made_test: _Clips
) -> None:
    """Refuses to compare what differs in more than being generated."""
    for other in (real_test, made_train, made_test):
        if other.shape != real_train.shape:
            raise cli.UserError(
                f"The {real_train.name} are {_size(real_train.shape)} and the "
                f"{other.name} {_size(other.shape)}: S3 compares clips of one size."
            )
    if made_train.num_clips < real_train.num_clips:
        raise cli.UserError(
            f"There are {made_train.num_clips} {made_train.name}; S3 wants as many as "
            f"real ones, {real_train.num_clips}."
        )


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[0]} frames of {shape[2]}x{shape[1]}"


def _trained(
    made_for: tuple[str, str, int],
    train: _Clips,
    test: _Clips,
    recipe: classifiers.Recipe,
    cache_dir: str,
    strategy: tf.distribute.Strategy,
    task: str | None,
) -> tf.keras.Model:
    """A classifier that was trained on clips, now or before.

    Args:
      made_for: names of network and preprocessing, and the number of classes.
      train: to train on.
      test: whose accuracy the learning rate goes by.
      recipe: how.
      cache_dir: where it is kept.
      strategy: where it runs.
      task: shown with the progress; None shows none.
    """
    network, preprocess, num_classes = made_for
    key = _key(made_for, train, test, recipe)
    path = os.path.join(cache_dir, f"s3-{key[:32]}{weights.SUFFIX}")
    if tf.io.gfile.exists(path):
        with strategy.scope():
            return weights.load(path)[0]
    progress = cli.Progress(f"{task}, epochs on {train.name}", recipe.epochs)

    def tell(epoch: int, accuracy: float) -> None:
        if task:
            progress.update(epoch, f"  {accuracy:.1%} of real test clips right")

    trained = classifiers.fit(
        lambda: networks.NETWORKS[network](num_classes),
        getattr(preprocessing, preprocess),
        train.training_batches(recipe.batch_size, recipe.seed),
        train.num_clips,
        test.batches(recipe.batch_size),
        recipe,
        strategy,
        tell,
    )
    values = {n: v.numpy() for n, v in weights.variables(trained).items()}
    tf.io.gfile.makedirs(cache_dir)
    note = f"trained for S3 on {train.num_clips} {train.name}, {recipe.epochs} epochs"
    weights.save(network, values, path, note)
    return trained


def _key(
    made_for: tuple[str, str, int],
    train: _Clips,
    test: _Clips,
    recipe: classifiers.Recipe,
) -> str:
    """Of all that a classifier depends on, a SHA-256."""
    optimizer = recipe.optimizer(recipe.learning_rate).get_config()
    values = dataclasses.asdict(recipe) | {"optimizer": optimizer}
    counts = [train.num_clips, test.num_clips]
    facts = [*made_for, train.facts, test.facts, counts, values]
    text = json.dumps(facts, sort_keys=True, default=float)
    return hashlib.sha256(text.encode()).hexdigest()
