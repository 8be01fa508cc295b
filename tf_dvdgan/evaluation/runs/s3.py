"""Symmetric-Similarity-Score (paper 003, section 5): how well classifiers generalize.

One classifier is trained on real clips, and one of the same architecture with the same
recipe on equally many generated clips. Each can classify the other's clips only if the
generated clips are realistic, and diverse in every class.

The paper leaves the following open for its 3-D ResNet-18. This module chooses:

- Initial weights: a real-to-real accuracy of 77 % on UCF-101 suggests networks
  pretrained on another data set, so `s3_mvt` starts both classifiers from a weights
  file. `s3_scratch` starts from random weights and compares with no paper.
- Optimizer: SGD with momentum 0.9, as in Hara et al., 2017, without their weight decay.
- Epochs: 40; the classifier has the weights of the last one.
- Augmentation: none, as generated clips have no further frames or pixels to crop from.
- Learning rate schedule: by the accuracy on real test clips, for both classifiers.

Scores of different architectures do not compare (appendix B.1, table 3).
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
from tf_dvdgan.data import files, filesystem
from tf_dvdgan.evaluation.features import classifiers, preprocessing, sources
from tf_dvdgan.evaluation.features.networks import weights
from tf_dvdgan.models import variables
from tf_dvdgan.training import strategy as strategy_lib

_BATCH_SIZE = 16  # clips generated or read at once

# Appendix B.1 for 3-D ResNet-18; the network itself has the dropout of 0.6.
RECIPE = classifiers.Recipe(
    functools.partial(tf.keras.optimizers.SGD, momentum=0.9),
    learning_rate=1e-3,
    batch_size=32,
    epochs=40,
    patience=4,
)


@dataclasses.dataclass(frozen=True)
class S3:
    """The three accuracies, in [0, 1], and the score.

    Attributes:
      rer: trained on real clips, tested on real clips.
      ser: trained on generated ("synthetic") clips, tested on real clips.
      res: trained on real clips, tested on generated clips.
    """

    rer: float
    ser: float
    res: float

    @property
    def value(self) -> float:
        """Equation 9: the geometric mean of SeR / ReR and ReS / ReR."""
        return math.sqrt((self.ser / self.rer) * (self.res / self.rer))


@dataclasses.dataclass(frozen=True)
class Splits:
    """Labeled training and test clips, either real or generated.

    Attributes:
      train: training clips.
      test: test clips, none of them in `train`.
    """

    train: sources.Source
    test: sources.Source


class S3Scorer:
    """Trains and tests the two classifiers.

    Clips are written to the folder for temporary files while a score is computed.
    Trained classifiers are cached, so the one of real clips is trained once for all
    models.

    Args:
      network: architecture of both classifiers, a key of `networks.NETWORKS`.
      preprocess: name of the function in `preprocessing` that computes its input.
      num_classes: number of classes.
      cache_dir: folder to cache trained classifiers in.
      recipe: training hyperparameters.
      initial_weights: weights file that both classifiers start from, except for the
        last layer if it has another number of classes; None starts from random weights.
      strategy: where the classifiers and the generator run.
      task: label of the progress display; None shows no progress.

    Attributes:
      initial_metadata: metadata of the initial weights; None if they are random.

    Raises:
      UserError: there are several workers, or the weights are of another network.
    """

    def __init__(
        self,
        network: str,
        preprocess: str,
        num_classes: int,
        cache_dir: str,
        recipe: classifiers.Recipe = RECIPE,
        initial_weights: str | None = None,
        strategy: tf.distribute.Strategy | None = None,
        task: str | None = None,
    ):
        self._strategy = strategy or tf.distribute.get_strategy()
        if strategy_lib.spans_workers(self._strategy):
            raise errors.UserError(
                "S3 supports only one worker; start it without TF_CONFIG."
            )
        self._network = network
        self._preprocess = preprocess
        self._preprocess_fn = getattr(preprocessing, preprocess)
        self._num_classes = num_classes
        self._cache_dir = cache_dir
        self._recipe = recipe
        self._task = task
        self.initial_metadata: weights.WeightsMetadata | None = None
        self._initial_network: tf.keras.Model | None = None
        if initial_weights is not None:
            self._initial_network, self.initial_metadata = weights.load(initial_weights)
            if self.initial_metadata.network != network:
                raise errors.UserError(
                    f"{initial_weights!r} holds weights of "
                    f"{self.initial_metadata.network}; this S3 needs weights of "
                    f"{network}."
                )

    def __call__(self, real: Splits, generated: Splits) -> S3:
        """Scores generated clips.

        Args:
          real: real clips.
          generated: generated clips; training uses the first of them, as many as there
            are real training clips.

        Returns:
          The score and its accuracies.

        Raises:
          UserError: clips lack labels or differ in size, there are too few generated
            clips, the disk is full, or the classifier of real clips is always wrong.
        """
        with tempfile.TemporaryDirectory(prefix="tf_dvdgan-") as folder:
            write = functools.partial(self._write, folder)
            real_train = write("real training clips", real.train)
            real_test = write("real test clips", real.test)
            generated_train = write(
                "generated training clips", generated.train, real_train.num_clips
            )
            generated_test = write("generated test clips", generated.test)
            _check_comparable(real_train, real_test, generated_train, generated_test)
            return self._score(real_train, real_test, generated_train, generated_test)

    def _score(
        self,
        real_train: "_Clips",
        real_test: "_Clips",
        generated_train: "_Clips",
        generated_test: "_Clips",
    ) -> S3:
        by_real = self._load_or_train(real_train, real_test)
        rer = self._accuracy(by_real, real_test)
        if not rer:
            raise errors.UserError(
                "The classifier of real clips is wrong on every real test clip; "
                "check that training and test clips have the same classes."
            )
        res = self._accuracy(by_real, generated_test)
        by_generated = self._load_or_train(generated_train, real_test)
        return S3(rer, self._accuracy(by_generated, real_test), res)

    def _write(
        self,
        folder: str,
        name: str,
        source: sources.Source,
        max_clips: int | None = None,
    ) -> "_Clips":
        """Writes the clips of a source, or the first `max_clips`, to a file."""
        count = min(source.num_clips, max_clips or source.num_clips)
        progress = terminal.Progress(f"{self._task}, {name}", count)
        clips = _Clips(
            name, source.fingerprint(), os.path.join(folder, files.safe_name(name))
        )
        rows = itertools.islice(source.readable_rows(), max_clips)
        while batch := list(itertools.islice(rows, _BATCH_SIZE)):
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
                f"S3 needs classes, but the {name} have none: put the clips of each "
                "class into a separate folder."
            )
        if max(labels) >= self._num_classes:
            raise errors.UserError(
                f"The {name} have more than {self._num_classes} classes."
            )

    def _load_or_train(self, train: "_Clips", test: "_Clips") -> tf.keras.Model:
        """Loads a classifier of the clips from the cache, or trains it."""
        path = os.path.join(self._cache_dir, self._file_name(train, test))
        if filesystem.exists(path):
            with self._strategy.scope():
                return weights.load(path)[0]
        network = self._train(train, test)
        values = {n: v.numpy() for n, v in variables.by_path(network).items()}
        epochs = self._recipe.epochs
        note = f"for S3, {epochs} epochs on {train.num_clips} {train.name}"
        weights.save(self._network, values, path, note)
        return network

    def _train(self, train: "_Clips", test: "_Clips") -> tf.keras.Model:
        recipe = self._recipe
        task = f"{self._task}, epochs on {train.name}"
        progress = terminal.Progress(task, recipe.epochs, seconds_between=0.0)

        def report(epoch: int, accuracy: float) -> None:
            if self._task:
                progress.update(epoch, f"  {accuracy:.1%} accuracy on real test clips")

        return classifiers.fit(
            self._new_network,
            self._preprocess_fn,
            train.shuffled(recipe.seed),
            train.num_clips,
            test.in_order(),
            recipe,
            self._strategy,
            report,
        )

    def _new_network(self) -> tf.keras.Model:
        """Creates a classifier with the initial weights."""
        network = weights.build(self._network, self._num_classes)
        if self._initial_network is not None:
            initial = variables.by_path(self._initial_network)
            for name, variable in variables.by_path(network).items():
                # Shapes differ in the last layer if the classes do.
                if initial[name].shape == variable.shape:
                    variable.assign(initial[name].numpy())
        return network

    def _file_name(self, train: "_Clips", test: "_Clips") -> str:
        """File name with a hash of everything that determines the classifier."""
        recipe = dataclasses.asdict(self._recipe)
        recipe["optimizer"] = self._recipe.optimizer(0.0).get_config()
        parts = [self._network, self._preprocess, self._num_classes, recipe]
        parts += [train.fingerprint, train.num_clips, test.fingerprint, test.num_clips]
        if self.initial_metadata is not None:
            parts.append(self.initial_metadata.hash)
        text = json.dumps(parts, sort_keys=True, default=float)
        key = hashlib.sha256(text.encode()).hexdigest()
        return f"s3-{key[:32]}{weights.SUFFIX}"

    def _accuracy(self, network: tf.keras.Model, clips: "_Clips") -> float:
        size = self._recipe.batch_size
        return classifiers.accuracy(
            network, self._preprocess_fn, clips.in_order(), size
        )


class _Clips:
    """Labeled clips in a file, readable in any order.

    Args:
      name: name of the clips in messages.
      fingerprint: JSON-serializable values that identify the clips.
      path: path of the file to write.
    """

    def __init__(self, name: str, fingerprint: dict, path: str):
        self.name = name
        self.fingerprint = fingerprint
        self.shape: tuple[int, ...] = ()  # of a clip
        self._path = path
        self._labels: list[int] = []

    @property
    def num_clips(self) -> int:
        """Number of clips added."""
        return len(self._labels)

    def add(self, videos: np.ndarray, labels: Sequence[int]) -> None:
        """Appends clips to the file.

        Args:
          videos: `[batch, time, height, width, 3]` uint8.
          labels: class of each clip.

        Raises:
          UserError: the file cannot be written.
        """
        self.shape = videos.shape[1:]  # all clips of a source have one shape
        try:
            with open(self._path, "ab") as file:
                file.write(videos.tobytes())
        except OSError as error:
            raise errors.UserError(
                f"The {self.name} cannot be written to {os.path.dirname(self._path)} "
                f"({error.strerror}); set TMPDIR to a folder with more space."
            ) from None
        self._labels += labels

    def in_order(self) -> classifiers.ClipDataset:
        """Every clip once, in the order added."""
        return self._read(tf.data.Dataset.range(self.num_clips))

    def shuffled(self, seed: int) -> classifiers.ClipDataset:
        """All clips without end, in a new random order each epoch."""
        indices = tf.range(self.num_clips, dtype=tf.int64)

        def epoch(number: tf.Tensor) -> tf.data.Dataset:
            order = tf.random.experimental.stateless_shuffle(indices, [seed, number])
            return tf.data.Dataset.from_tensor_slices(order)

        return self._read(tf.data.Dataset.range(tf.int64.max).flat_map(epoch))

    def _read(self, indices: tf.data.Dataset) -> classifiers.ClipDataset:
        """Reads videos and labels by index."""
        shape = (self.num_clips, *self.shape)
        videos = np.memmap(self._path, np.uint8, "r", shape=shape)
        labels = np.array(self._labels, np.int32)

        def read(index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            video = tf.numpy_function(lambda i: videos[i], [index], tf.uint8)
            return tf.ensure_shape(video, self.shape), tf.gather(labels, index)

        return indices.map(read, num_parallel_calls=tf.data.AUTOTUNE)


def _videos(
    source: sources.Source,
    rows: list[sources.Row],
    strategy: tf.distribute.Strategy,
) -> np.ndarray:
    """Reads or generates the videos, `[batch, time, height, width, 3]` uint8."""
    tensors = {n: tf.constant(np.stack([row[n] for row in rows])) for n in rows[0]}
    # Each replica returns all videos, so any replica's result will do.
    videos = source.videos(tensors)
    return strategy.experimental_local_results(videos)[0].numpy()


def _check_comparable(
    real_train: _Clips,
    real_test: _Clips,
    generated_train: _Clips,
    generated_test: _Clips,
) -> None:
    """Checks that clip sizes match and that there are enough generated clips."""
    for other in (real_test, generated_train, generated_test):
        if other.shape != real_train.shape:
            raise errors.UserError(
                f"The {real_train.name} have {_size(real_train.shape)}, the "
                f"{other.name} {_size(other.shape)}; S3 needs clips of one size."
            )
    if generated_train.num_clips < real_train.num_clips:
        raise errors.UserError(
            f"There are {generated_train.num_clips} {generated_train.name}; S3 "
            f"needs as many as there are real ones, {real_train.num_clips}."
        )


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[0]} frames of {shape[2]}x{shape[1]} pixels"
