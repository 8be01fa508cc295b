"""Representation learning: actions told by what a discriminator has learnt (paper 004).

Defaults are those of the authors' main_ucf.lua: Adam at 2e-4 with beta_1 0.5, 1,000
updates of 256 clips. Theirs are random crops of clips whose camera motion was taken out
(`data_prep.prepare --stabilize`); here each clip gives its middle.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from tf_dvdgan import errors
from tf_dvdgan.data import readers, transforms
from tf_dvdgan.layers import conditional_batch_norm
from tf_dvdgan.models import vgan

FILE = "classify.jsonl"  # in a run's folder: what tools.classify measured


@dataclasses.dataclass(frozen=True)
class Clips:
    """Labelled clips of a data set, one window of each, in memory.

    Attributes:
      train: (videos `[count, time, height, width, 3]` uint8, labels `[count]`).
      test: the same of the test split.
    """

    train: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]

    @classmethod
    def read(cls, data_dir: str, window: readers.Window) -> "Clips":
        """Reads both splits; the middle of each clip."""
        splits = []
        for split in ("train", "test"):
            rows = readers.evaluation_dataset(data_dir, window, split)
            pairs = [(r["video"], r["label"]) for r in rows.as_numpy_iterator()]
            videos, labels = zip(*pairs, strict=True)
            splits.append((np.stack(videos), np.array(labels)))
        return cls(*splits)


def fine_tune(
    discriminator: vgan.Discriminator,
    clips: Clips,
    num_classes: int,
    pretrained: bool = True,
    share: float = 1.0,
    num_steps: int = 1000,
    batch_size: int = 256,
    learning_rate: float = 2e-4,
    seed: int = 0,
) -> tuple[float, int]:
    """Trains a classifier on a share of the clips and measures it on the test split.

    Args:
      discriminator: whose convolutions to start from; it is left as it is.
      clips: labelled.
      num_classes: K.
      pretrained: whether its weights are taken over, or new ones made.
      share: of each class's training clips that is used, at least one clip.
      num_steps: updates.
      batch_size: clips of one update.
      learning_rate: of Adam.
      seed: of the choice of clips, their order and new weights.

    Returns:
      Accuracy on the test split, and the number of clips trained on.

    Raises:
      UserError: the discriminator is not VGAN's.
    """
    check(discriminator)
    tf.keras.utils.set_random_seed(seed)
    videos, labels = _choose(clips.train, share, seed)
    ch = discriminator.encoder.convolutions[0].filters
    encoder = vgan.VideoEncoder(videos.shape[2], ch, name="encoder")
    classifier = vgan.Classifier(encoder, num_classes)
    classifier(_floats(videos[:1]))
    if pretrained:
        encoder.set_weights(discriminator.encoder.get_weights())
    classifier.compile(
        tf.keras.optimizers.Adam(learning_rate, beta_1=0.5),
        tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    data = tf.data.Dataset.from_tensor_slices((videos, labels))
    data = data.shuffle(len(videos), seed=seed).repeat().batch(batch_size)
    data = data.take(num_steps).map(lambda v, y: (_floats(v), y))
    classifier.fit(data, verbose=0)
    _accumulate_statistics(classifier, videos, batch_size)
    logits = [
        classifier(_floats(clips.test[0][i : i + batch_size]), training=False)
        for i in range(0, len(clips.test[0]), batch_size)
    ]
    return vgan.accuracy(np.concatenate(logits), clips.test[1]), len(videos)


def logistic_regression(
    discriminator: vgan.Discriminator,
    clips: Clips,
    share: float = 1.0,
    batch_size: int = 64,
    seed: int = 0,
) -> tuple[float, int]:
    """Fits a linear classifier to a discriminator's features, which stay as they are.

    Args:
      discriminator: its batch norm takes the statistics of the training clips.
      clips: labelled.
      share: of each class's training clips that is used, at least one clip.
      batch_size: clips at a time.
      seed: of the choice of clips.

    Returns:
      Accuracy on the test split, and the number of clips trained on.

    Raises:
      UserError: the discriminator is not VGAN's, or there is one class alone.
    """
    from sklearn import linear_model, pipeline, preprocessing

    check(discriminator)
    videos, labels = _choose(clips.train, share, seed)
    if len(np.unique(labels)) < 2:
        raise errors.UserError("Telling actions wants clips of two classes at least.")
    _accumulate_statistics(discriminator, videos, batch_size)

    def features(videos: np.ndarray) -> np.ndarray:
        parts = (
            vgan.flatten(discriminator.encoder(_floats(videos[i : i + batch_size])))
            for i in range(0, len(videos), batch_size)
        )
        return np.concatenate([part.numpy() for part in parts])

    classifier = pipeline.make_pipeline(
        preprocessing.StandardScaler(), linear_model.LogisticRegression(max_iter=1000)
    )
    classifier.fit(features(videos), labels)
    return float(classifier.score(features(clips.test[0]), clips.test[1])), len(videos)


def check(discriminator: tf.keras.Model) -> None:
    """Raises a `UserError` unless a discriminator is VGAN's."""
    if not isinstance(discriminator, vgan.Discriminator):
        raise errors.UserError(
            "Telling actions is for VGAN's discriminator; this is another."
        )


def _accumulate_statistics(
    network: vgan.Classifier | vgan.Discriminator, videos: np.ndarray, batch_size: int
) -> None:
    """Standing statistics of a network's batch norm, over its training clips."""
    for norm in network.encoder.norms:
        norm.reset_standing_statistics()
    for i in range(0, len(videos), batch_size):
        with conditional_batch_norm.accumulate_standing_statistics():
            network(_floats(videos[i : i + batch_size]), training=False)


def _choose(train, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The same share of each class's clips."""
    videos, labels = train
    rng = np.random.default_rng(seed)
    chosen = []
    for label in np.unique(labels):
        own = rng.permutation(np.flatnonzero(labels == label))
        chosen.append(own[: max(1, round(share * len(own)))])
    index = np.concatenate(chosen)
    return videos[index], labels[index]


def _floats(videos: np.ndarray) -> tf.Tensor:
    return transforms.to_unit_range(videos)
