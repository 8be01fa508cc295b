"""Representation learning: action classification by a discriminator (paper 004).

Defaults are those of the authors' main_ucf.lua: Adam at 2e-4 with beta_1 0.5, 1,000
updates of 256 clips. The authors train on random crops of stabilized clips
(`data_prep.prepare --stabilize`); this module uses the middle window of each clip.
"""

import dataclasses
import fractions
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tf_dvdgan import errors, run_directory, seeds, trained
from tf_dvdgan.data import clips as clips_lib
from tf_dvdgan.data import files, transforms, windows
from tf_dvdgan.data import manifest as manifest_lib
from tf_dvdgan.layers import conditional_batch_norm
from tf_dvdgan.models import vgan


@dataclasses.dataclass(frozen=True)
class LabeledClips:
    """Labeled clips of a data set in memory, one window per clip.

    Attributes:
      train: (videos `[count, time, height, width, 3]` uint8, labels `[count]`) of the
        training split.
      test: videos and labels of the test split.
    """

    train: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]

    @classmethod
    def read(cls, data_dir: str, window: windows.Window) -> "LabeledClips":
        """Reads the middle window of each clip of both splits.

        Args:
          data_dir: folder of prepared shards.
          window: window of each clip.

        Returns:
          The clips.

        Raises:
          UserError: a split does not exist.
        """

        def read(split: str) -> tuple[np.ndarray, np.ndarray]:
            source = clips_lib.ShardSource(data_dir, split, window.classes)
            examples = [*source.examples(window)]
            videos = np.stack([example.video for example in examples])
            return videos, np.array([example.label for example in examples])

        return cls(read("train"), read("test"))


@dataclasses.dataclass(frozen=True)
class FineTuning:
    """Settings for fine-tuning a classifier.

    Attributes:
      num_steps: number of updates.
      batch_size: clips per update.
      learning_rate: learning rate of Adam.
    """

    num_steps: int = 1000
    batch_size: int = 256
    learning_rate: float = 2e-4


def classify(
    model_dir: str,
    data_dir: str,
    step: int | str | None = None,
    shares: Sequence[str | fractions.Fraction] = ("1/8", "1/4", "1/2", "1"),
    frozen: bool = False,
    fine_tuning: FineTuning = FineTuning(),
    seed: int = 0,
) -> None:
    """Measures the accuracy of a run's discriminator as a classifier.

    Prints a table, and adds a row for each fraction of clips to `classify.jsonl`.

    Args:
      model_dir: directory of the run.
      data_dir: folder of prepared shards with classes.
      step: step of the checkpoint, or 'best'; the newest by default.
      shares: fractions of the labeled clips to train on, such as "1/8"; above 0 and at
        most 1.
      frozen: whether to fit a logistic regression to frozen features; otherwise
        classifiers are trained from the run's weights and from random weights.
      fine_tuning: settings of the classifiers' training.
      seed: seed of the choice of clips and of random weights.

    Raises:
      UserError: a share or the seed is invalid, the model has no discriminator, or it
        is not VGAN's.
    """
    files.register_filesystems(model_dir, writing=True)
    seeds.check(seed)
    parts = [_share(text) for text in shares]
    model = trained.load(model_dir, step, with_discriminators=True)
    if not model.gan.discriminators:
        raise errors.UserError(
            f"The model in {model_dir!r} has no discriminator to fine-tune."
        )
    discriminator = model.gan.discriminators[0]
    check(discriminator)
    # The data may have other classes than the run's.
    window = dataclasses.replace(model.window, classes=())
    clips = LabeledClips.read(data_dir, window)
    num_classes = len(manifest_lib.load(data_dir).class_names)

    def tuned(pretrained: bool) -> Callable:
        return lambda share: fine_tune(
            discriminator, clips, num_classes, pretrained, share, fine_tuning, seed
        )

    ways = {"fine_tuned": tuned(True), "new": tuned(False)}
    if frozen:
        ways = {
            "logistic_regression": lambda share: logistic_regression(
                discriminator, clips, share, seed=seed
            )
        }
    headings = "".join(f"{name.replace('_', ' '):>21}" for name in ways)
    print(f"{'share':>6} {'clips':>6}{headings}   chance {1 / num_classes:.3f}")
    directory = run_directory.RunDirectory(model_dir)
    for share in parts:
        row: dict[str, Any] = {
            "share": str(share),
            "step": model.step,
            "seed": seed,
        }
        for name, way in ways.items():
            row[name], row["clips"] = way(float(share))
        cells = "".join(f"{row[name]:>21.3f}" for name in ways)
        print(f"{share!s:>6} {row['clips']:>6}{cells}", flush=True)
        directory.add_classification(row)


def _share(text: str | fractions.Fraction) -> fractions.Fraction:
    try:
        share = fractions.Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise errors.UserError(
            f"`shares` must be fractions such as 1/8, not {text!r}."
        ) from None
    if not 0 < share <= 1:
        raise errors.UserError(
            f"`shares` must be greater than 0 and at most 1, not {text!r}."
        )
    return share


def fine_tune(
    discriminator: vgan.Discriminator,
    clips: LabeledClips,
    num_classes: int,
    pretrained: bool = True,
    share: float = 1.0,
    fine_tuning: FineTuning = FineTuning(),
    seed: int = 0,
) -> tuple[float, int]:
    """Trains a classifier on some of the clips and measures it on the test split.

    Args:
      discriminator: discriminator with the convolutions to start from; unchanged.
      clips: labeled clips.
      num_classes: number of classes.
      pretrained: whether to start from the discriminator's weights; otherwise from
        random ones.
      share: fraction of each class's training clips to use, at least one clip.
      fine_tuning: settings of the training.
      seed: seed of the choice of clips, their order and random weights.

    Returns:
      Accuracy on the test split, and the number of training clips.

    Raises:
      UserError: the discriminator is not VGAN's.
    """
    check(discriminator)
    videos, labels = _choose(clips.train, share, seed)
    ch = discriminator.encoder.convolutions[0].filters
    batch_size = fine_tuning.batch_size
    with seeds.seeded(seed):  # weights, dropout, order
        data = tf.data.Dataset.from_tensor_slices((videos, labels))
        data = data.shuffle(len(videos), seed=seed).repeat().batch(batch_size)
        data = data.take(fine_tuning.num_steps).map(lambda v, y: (_floats(v), y))
        encoder = vgan.VideoEncoder(videos.shape[2], ch, name="encoder")
        classifier = vgan.Classifier(encoder, num_classes)
        classifier(_floats(videos[:1]))
        if pretrained:
            encoder.set_weights(discriminator.encoder.get_weights())
        classifier.compile(
            tf.keras.optimizers.Adam(fine_tuning.learning_rate, beta_1=0.5),
            tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        classifier.fit(data, verbose=0)
    _accumulate_statistics(classifier, videos, batch_size)
    logits = [
        classifier(_floats(clips.test[0][i : i + batch_size]), training=False)
        for i in range(0, len(clips.test[0]), batch_size)
    ]
    return accuracy(np.concatenate(logits), clips.test[1]), len(videos)


def logistic_regression(
    discriminator: vgan.Discriminator,
    clips: LabeledClips,
    share: float = 1.0,
    batch_size: int = 64,
    seed: int = 0,
) -> tuple[float, int]:
    """Fits a linear classifier to a discriminator's frozen features.

    Args:
      discriminator: discriminator with the features; its batch norm uses statistics of
        the training clips.
      clips: labeled clips.
      share: fraction of each class's training clips to use, at least one clip.
      batch_size: batch size of the discriminator.
      seed: seed of the choice of clips.

    Returns:
      Accuracy on the test split, and the number of training clips.

    Raises:
      UserError: the discriminator is not VGAN's, or there is only one class.
    """
    from sklearn import linear_model, pipeline, preprocessing

    check(discriminator)
    videos, labels = _choose(clips.train, share, seed)
    if len(np.unique(labels)) < 2:
        raise errors.UserError("Classification needs clips of at least two classes.")
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
    """Checks that a discriminator is VGAN's.

    Raises:
      UserError: it is another one.
    """
    if not isinstance(discriminator, vgan.Discriminator):
        raise errors.UserError(
            "Action classification needs VGAN's discriminator; this is another one."
        )


def _accumulate_statistics(
    network: vgan.Classifier | vgan.Discriminator, videos: np.ndarray, batch_size: int
) -> None:
    """Computes standing statistics of a network's batch norm over training clips."""
    for norm in network.encoder.norms:
        norm.reset_standing_statistics()
    for i in range(0, len(videos), batch_size):
        with conditional_batch_norm.accumulate_standing_statistics():
            network(_floats(videos[i : i + batch_size]), training=False)


def _choose(
    train: tuple[np.ndarray, np.ndarray], share: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Chooses the same fraction of each class's clips at random."""
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


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Computes top-1 accuracy.

    Args:
      logits: `[count, num_classes]`.
      labels: `[count]`, class ids.

    Returns:
      Fraction of rows whose largest logit is the label's.
    """
    return float(np.mean(np.argmax(logits, axis=-1) == labels))
