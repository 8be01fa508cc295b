"""Symmetric-Similarity-Score (paper 003, section 5): what classifiers generalize to.

One classifier is trained on real clips, one of the same architecture by the same recipe
on as many generated ones. That each tells the other's clips asks of generated clips
that they are realistic and diverse, of every class.

The paper does not say, of its 3-D ResNet-18: the first weights (a real-to-real accuracy
of 77 % on UCF-101 is that of networks that have learnt another data set before, so
`s3_mvt` starts both classifiers from a file; `s3_scratch` starts from random weights
and compares with no paper); the optimizer (here SGD with momentum 0.9, that of Hara et
al., 2017, without their weight decay); the number of epochs (40); how clips are
augmented (not at all: of generated ones there is no more to draw from); by which
accuracy the learning rate falls (that on real test clips, for both classifiers); of
which epoch the classifier is (the last). Scores of different architectures do not
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
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tf_dvdgan import errors, terminal
from tf_dvdgan.data import files
from tf_dvdgan.evaluation import classifiers, features, preprocessing
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
    """The score, and the accuracies that it is made of, all of them parts of 1.

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


class Scorer:
    """Trains the two classifiers, and tests them.

    Clips lie on the disk meanwhile, in the folder for temporary files. A classifier
    that is trained stays in `cache_dir`: that of real clips serves every model.

    Args:
      network: of both classifiers, a key of `networks.NETWORKS`.
      preprocess: from uint8 videos to its input, a function of `preprocessing`.
      num_classes: how many.
      cache_dir: keeps classifiers.
      recipe: how they are trained.
      first_weights: file of weights that both classifiers start from, but for the last
        layer where it is for other classes; None starts from random ones.
      strategy: where they run, and where clips are generated.
      task: shown with the progress; None shows none.

    Raises:
      UserError: there are several workers, or the weights are another network's.
    """

    def __init__(
        self,
        network: str,
        preprocess: str,
        num_classes: int,
        cache_dir: str,
        recipe: classifiers.Recipe = RECIPE,
        first_weights: str | None = None,
        strategy: tf.distribute.Strategy | None = None,
        task: str | None = None,
    ):
        self._strategy = strategy or tf.distribute.get_strategy()
        if strategy_lib.spans_workers(self._strategy):
            raise errors.UserError(
                "One worker computes S3; start it without TF_CONFIG."
            )
        self._network = network
        self._preprocess = preprocess
        self._look = getattr(preprocessing, preprocess)
        self._num_classes = num_classes
        self._cache_dir = cache_dir
        self._recipe = recipe
        self._task = task
        self.first: weights.Facts | None = None
        self._first_network: tf.keras.Model | None = None
        if first_weights is not None:
            self._first_network, self.first = weights.load(first_weights)
            if self.first.network != network:
                raise errors.UserError(
                    f"{first_weights!r} is of {self.first.network}, and this S3 is by "
                    f"{network}."
                )

    def __call__(self, real: Sides, generated: Sides) -> S3:
        """Scores generated clips.

        Args:
          real: real clips.
          generated: generated ones; of `train` the first, as many as are real.

        Raises:
          UserError: clips lack labels or differ in size, generated ones are too few,
            the disk is full, or nothing can be told of real clips.
        """
        with tempfile.TemporaryDirectory(prefix="tf_dvdgan-") as folder:
            keep = functools.partial(self._keep, folder)
            real_train = keep("real training clips", real.train)
            real_test = keep("real test clips", real.test)
            count = real_train.num_clips
            made_train = keep("generated training clips", generated.train, count)
            made_test = keep("generated test clips", generated.test)
            _check_alike(real_train, real_test, made_train, made_test)
            of_real = self._trained(real_train, real_test)
            rer = self._accuracy(of_real, real_test)
            if not rer:
                raise errors.UserError(
                    "The classifier of real clips tells none of the real test clips, "
                    "so S3 is not defined; do they have the same classes?"
                )
            res = self._accuracy(of_real, made_test)
            of_made = self._trained(made_train, real_test)
            return S3(rer, self._accuracy(of_made, real_test), res)

    def _keep(
        self,
        folder: str,
        name: str,
        source: features.Source,
        at_most: int | None = None,
    ) -> "_Clips":
        """Writes clips of a source to the disk, all or the first."""
        count = min(source.num_clips, at_most or source.num_clips)
        progress = terminal.Progress(f"{self._task}, {name}", count)
        clips = _Clips(
            name, source.facts(), os.path.join(folder, files.safe_name(name))
        )
        rows = (row for row in source.rows(0, 0, 1) if row is not None)
        rows = itertools.islice(rows, at_most)
        while batch := list(itertools.islice(rows, _AT_A_TIME)):
            labels = [int(row["label"]) for row in batch]
            self._check_labels(labels, name)
            clips.add(_videos(source, batch, self._strategy), labels)
            if self._task:
                progress.update(clips.num_clips)
        if not clips.num_clips:
            raise errors.UserError(f"There are no {name}.")
        return clips

    def _check_labels(self, labels: Sequence[int], name: str) -> None:
        if min(labels) < 0:
            raise errors.UserError(
                f"S3 wants classes, and the {name} have none: put those of each class "
                "into a folder of its own."
            )
        if max(labels) >= self._num_classes:
            raise errors.UserError(
                f"The {name} are of more than {self._num_classes} classes."
            )

    def _trained(self, train: "_Clips", test: "_Clips") -> tf.keras.Model:
        """A classifier that was trained on clips, now or before."""
        path = os.path.join(self._cache_dir, self._file_name(train, test))
        if tf.io.gfile.exists(path):
            with self._strategy.scope():
                return weights.load(path)[0]
        recipe = self._recipe
        task = f"{self._task}, epochs on {train.name}"
        progress = terminal.Progress(task, recipe.epochs, seconds_between=0.0)

        def tell(epoch: int, accuracy: float) -> None:
            if self._task:
                progress.update(epoch, f"  {accuracy:.1%} of real test clips right")

        network = classifiers.fit(
            self._new_network,
            self._look,
            train.shuffled(recipe.seed),
            train.num_clips,
            test.in_order(),
            recipe,
            self._strategy,
            tell,
        )
        values = {n: v.numpy() for n, v in weights.variables(network).items()}
        note = f"for S3, {recipe.epochs} epochs on {train.num_clips} {train.name}"
        weights.save(self._network, values, path, note)
        return network

    def _new_network(self) -> tf.keras.Model:
        """A classifier with the first weights."""
        network = weights.built(self._network, self._num_classes)
        if self._first_network is not None:
            given = weights.variables(self._first_network)
            for name, variable in weights.variables(network).items():
                if given[name].shape == variable.shape:  # else the last, of others
                    variable.assign(given[name].numpy())
        return network

    def _file_name(self, train: "_Clips", test: "_Clips") -> str:
        """Another for all that makes another classifier."""
        recipe = dataclasses.asdict(self._recipe)
        recipe["optimizer"] = self._recipe.optimizer(0.0).get_config()
        facts = [self._network, self._preprocess, self._num_classes, recipe]
        facts += [train.facts, train.num_clips, test.facts, test.num_clips]
        if self.first is not None:
            facts.append(self.first.hash)
        text = json.dumps(facts, sort_keys=True, default=float)
        key = hashlib.sha256(text.encode()).hexdigest()
        return f"s3-{key[:32]}{weights.SUFFIX}"

    def _accuracy(self, network: tf.keras.Model, clips: "_Clips") -> float:
        size = self._recipe.batch_size
        return classifiers.accuracy(network, self._look, clips.in_order(), size)


class _Clips:
    """Labelled clips in a file, from which they are read in any order.

    Args:
      name: of them, in messages.
      facts: what tells them from all others.
      path: of the file, which is made.
    """

    def __init__(self, name: str, facts: dict, path: str):
        self.name = name
        self.facts = facts
        self.shape: tuple[int, ...] = ()  # of a clip
        self._path = path
        self._labels: list[int] = []

    @property
    def num_clips(self) -> int:
        """How many were added."""
        return len(self._labels)

    def add(self, videos: np.ndarray, labels: Sequence[int]) -> None:
        """Adds clips.

        Args:
          videos: `[batch, time, height, width, 3]` uint8.
          labels: of each.
        """
        self.shape = videos.shape[1:]  # sources give one
        try:
            with open(self._path, "ab") as file:
                file.write(videos.tobytes())
        except OSError as error:
            raise errors.UserError(
                f"The {self.name} cannot be kept in {os.path.dirname(self._path)} "
                f"({error.strerror}); name a folder with more room by TMPDIR."
            ) from None
        self._labels += labels

    def in_order(self) -> classifiers.Clips:
        """Every clip once, as it was added."""
        return self._read(tf.data.Dataset.range(self.num_clips))

    def shuffled(self, seed: int) -> classifiers.Clips:
        """All clips in an order that is drawn again each epoch, without end."""
        numbers = tf.range(self.num_clips, dtype=tf.int64)

        def epoch(number: tf.Tensor) -> tf.data.Dataset:
            order = tf.random.experimental.stateless_shuffle(numbers, [seed, number])
            return tf.data.Dataset.from_tensor_slices(order)

        return self._read(tf.data.Dataset.range(tf.int64.max).flat_map(epoch))

    def _read(self, numbers: tf.data.Dataset) -> classifiers.Clips:
        """Videos and labels of clips by number."""
        shape = (self.num_clips, *self.shape)
        videos = np.memmap(self._path, np.uint8, "r", shape=shape)
        labels = np.array(self._labels, np.int32)

        def read(number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            video = tf.numpy_function(lambda i: videos[i], [number], tf.uint8)
            return tf.ensure_shape(video, self.shape), tf.gather(labels, number)

        return numbers.map(read, num_parallel_calls=tf.data.AUTOTUNE)


def _videos(
    source: features.Source, rows: list[features.Row], strategy: tf.distribute.Strategy
) -> np.ndarray:
    """Videos of rows, `[batch, time, height, width, 3]` uint8."""
    tensors = {n: tf.constant(np.stack([row[n] for row in rows])) for n in rows[0]}
    # Each replica makes all of them, the same.
    videos = source.videos(tensors, strategy)
    return strategy.experimental_local_results(videos)[0].numpy()


def _check_alike(
    real_train: _Clips, real_test: _Clips, made_train: _Clips, made_test: _Clips
) -> None:
    """Refuses to compare what differs in more than being generated."""
    for other in (real_test, made_train, made_test):
        if other.shape != real_train.shape:
            raise errors.UserError(
                f"The {real_train.name} have {_size(real_train.shape)}, the "
                f"{other.name} {_size(other.shape)}; S3 compares clips of one size."
            )
    if made_train.num_clips < real_train.num_clips:
        raise errors.UserError(
            f"There are {made_train.num_clips} {made_train.name}; S3 wants as many as "
            f"real ones, {real_train.num_clips}."
        )


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[0]} frames of {shape[2]}x{shape[1]} pixels"
