"""S3 with known accuracies, its cache, and rejected input."""

import dataclasses
import functools
import math

import numpy as np
import pytest
import tensorflow as tf

from tf_dvdgan import errors
from tf_dvdgan.evaluation.features import classifiers, networks, sources
from tf_dvdgan.evaluation.features.networks import weights
from tf_dvdgan.evaluation.runs import s3

CLASSES = 4
COLORS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [0, 0, 0]])
RECIPE = classifiers.Recipe(tf.keras.optimizers.Adam, 0.3, 8, epochs=6)


class Tiny(tf.keras.Model):
    """Classifies by the mean color."""

    FEATURES = 3
    INPUT = (2, 4, 4, 3)

    def __init__(self, num_classes, name=None):
        super().__init__(name=name)
        self.linear = tf.keras.layers.Dense(num_classes, name="logits")

    def call(self, videos, training=False):
        features = tf.reduce_mean(videos, axis=[1, 2, 3])
        return {"logits": self.linear(features), "features": features}


class Colored(sources.Source):
    """A `sources.Source` of clips with a plain color for each class, plus noise.

    Args:
      colors: index into `COLORS` for each clip.
      labels: of each clip.
      seed: of the noise.
      size: time, height and width of a clip.
      gap: index of a clip that cannot be read.
    """

    def __init__(self, colors, labels, seed=0, size=(2, 6, 8), gap=None):
        self.num_clips = len(labels)
        self._arguments = colors, labels, seed, size, gap

    def rows(self, first, worker, num_workers):
        colors, labels, seed, size, gap = self._arguments
        rng = np.random.default_rng(seed)
        for i in range(first + worker, len(labels), num_workers):
            video = COLORS[colors[i]] + rng.integers(-60, 60, [*size, 3])
            video = np.clip(video, 0, 255).astype(np.uint8)
            row = {"video": video, "label": np.int32(labels[i])}
            yield None if i == gap else row

    def videos(self, rows):
        return rows["video"]

    def fingerprint(self):
        return {"arguments": str(self._arguments)}


def of_classes(classes, count=24, labels=None, **arguments) -> Colored:
    """Clips that cycle through classes; `labels` maps classes to other labels."""
    classes = np.resize(classes, count)
    labels = classes if labels is None else np.array(labels)[classes]
    return Colored(classes, labels, **arguments)


def sides(classes=range(CLASSES), seed=1, **arguments) -> s3.Splits:
    train = of_classes(list(classes), seed=seed, **arguments)
    return s3.Splits(train, of_classes(list(classes), seed=seed + 1, **arguments))


fake = functools.partial(sides, seed=3)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(networks.NETWORKS, "tiny", Tiny)


@pytest.fixture
def scorer(tmp_path) -> s3.S3Scorer:
    return s3.S3Scorer("tiny", "unit_range", CLASSES, str(tmp_path / "cache"), RECIPE)


@pytest.fixture
def fitted(monkeypatch) -> list[str]:
    """Has one entry per trained classifier."""
    fit, calls = classifiers.fit, []

    def counted(*arguments):
        calls.append("fit")
        return fit(*arguments)

    monkeypatch.setattr(classifiers, "fit", counted)
    return calls


@pytest.mark.parametrize(
    ("generated", "ser", "res"),
    [
        (fake(), 1.0, 1.0),
        (fake(labels=[1, 2, 3, 0]), 0.0, 0.0),
        # Realistic, but half of the classes are missing.
        (fake([0, 1]), 0.5, 1.0),
        (fake(labels=[0, 1, 3, 2]), 0.5, 0.5),
        # Training clips have the right labels, test clips do not: only ReS is low.
        (s3.Splits(fake().train, fake(labels=[1, 0, 3, 2]).test), 1.0, 0.0),
    ],
    ids=["the same", "all wrong", "half missing", "half wrong", "test wrong"],
)
def test_known_accuracies(scorer, generated, ser, res):
    found = scorer(sides(), generated)
    assert dataclasses.astuple(found) == (1.0, ser, res)
    assert found.value == pytest.approx(math.sqrt(ser * res))


def test_equation_9():
    assert s3.S3(rer=0.8, ser=0.2, res=0.4).value == pytest.approx(
        math.sqrt((0.2 / 0.8) * (0.4 / 0.8))
    )


def test_trains_on_as_many_generated_clips_as_real_ones(scorer):
    labels = np.resize(range(CLASSES), 240)
    wrong = np.where(np.arange(240) < 24, labels, (labels + 1) % CLASSES)
    found = scorer(sides(), s3.Splits(Colored(labels, wrong), fake().test))
    assert found.ser == 1.0


def test_unreadable_clips_are_skipped(scorer):
    real = s3.Splits(of_classes(range(CLASSES), 25, gap=3), sides().test)
    assert scorer(real, fake()).value == 1.0


def test_the_classifier_of_real_clips_is_trained_once_for_all_models(
    scorer, fitted, tmp_path
):
    first = scorer(sides(), fake())
    assert len(fitted) == 2
    assert scorer(sides(), fake()) == first and len(fitted) == 2
    assert scorer(sides(), fake([0, 1])).ser == 0.5 and len(fitted) == 3
    other = dataclasses.replace(RECIPE, seed=1)
    cache_dir = str(tmp_path / "cache")
    s3.S3Scorer("tiny", "unit_range", CLASSES, cache_dir, other)(sides(), fake())
    assert len(fitted) == 5


def initial_weights(path, classes: int, value: float) -> str:
    shapes = {"logits/kernel": [3, classes], "logits/bias": [classes]}
    arrays = {n: np.full(shape, value, np.float32) for n, shape in shapes.items()}
    weights.save("tiny", arrays, str(path), "typed")
    return str(path)


@pytest.mark.slow
def test_classifiers_start_from_given_weights(tmp_path, fitted):
    file = initial_weights(tmp_path / "a.weights.h5", CLASSES, 0.25)
    make = functools.partial(
        s3.S3Scorer, "tiny", "unit_range", CLASSES, str(tmp_path / "cache"), RECIPE
    )
    scorer = make(initial_weights=file)
    new = scorer._new_network()
    assert all((v.numpy() == 0.25).all() for v in new.variables)
    assert scorer.initial_metadata.source == "typed"
    # The last layer stays random if the number of classes differs.
    others = initial_weights(tmp_path / "b.weights.h5", CLASSES + 3, 0.25)
    new = make(initial_weights=others)._new_network()
    assert (
        new.linear.kernel.shape == [3, CLASSES]
        and not (new.linear.kernel == 0.25)[0, 0]
    )
    # The cache distinguishes classifiers by their initial weights.
    scorer(sides(), fake())
    make()(sides(), fake())
    assert len(fitted) == 4
    scorer(sides(), fake())
    assert len(fitted) == 4


def test_weights_of_another_network_are_rejected(tmp_path, monkeypatch):
    file = initial_weights(tmp_path / "a.weights.h5", CLASSES, 0.0)
    monkeypatch.setitem(networks.NETWORKS, "other", Tiny)
    with pytest.raises(
        errors.UserError, match="weights of tiny; this S3 needs weights of other"
    ):
        s3.S3Scorer("other", "unit_range", CLASSES, str(tmp_path), initial_weights=file)


def test_a_classifier_is_cached_before_the_next_is_trained(scorer, fitted, monkeypatch):
    load_or_train = scorer._load_or_train

    def fail(train, test):
        if train.name.startswith("generated"):
            raise KeyboardInterrupt
        return load_or_train(train, test)

    monkeypatch.setattr(scorer, "_load_or_train", fail)
    with pytest.raises(KeyboardInterrupt):
        scorer(sides(), fake())
    monkeypatch.undo()
    monkeypatch.setitem(networks.NETWORKS, "tiny", Tiny)
    scorer(sides(), fake())
    assert fitted == ["fit"]  # of the real clips; later ones are not counted


def test_clips_are_shuffled_differently_each_epoch(tmp_path):
    clips = s3._Clips("clips", {}, str(tmp_path / "clips"))
    videos = np.arange(12, dtype=np.uint8).reshape(12, 1, 1, 1, 1)
    videos = np.broadcast_to(videos, [12, 1, 2, 2, 3])
    clips.add(videos[:5], list(range(5)))
    clips.add(videos[5:], list(range(5, 12)))

    def epochs(seed):
        taken = list(clips.shuffled(seed).batch(4).take(6))
        for videos_, labels in taken:
            assert (videos_.numpy() == labels.numpy().reshape(-1, 1, 1, 1, 1)).all()
        return np.concatenate([labels for _, labels in taken]).reshape(2, 12)

    shuffled = epochs(0)
    np.testing.assert_array_equal(np.sort(shuffled), [range(12)] * 2)
    assert (shuffled[0] != shuffled[1]).any() and (shuffled[0] != range(12)).any()
    np.testing.assert_array_equal(shuffled, epochs(0))
    assert (shuffled != epochs(1)).any()
    in_order = np.concatenate([labels for _, labels in clips.in_order().batch(5)])
    np.testing.assert_array_equal(in_order, range(12))


@pytest.mark.parametrize(
    ("real", "generated", "message"),
    [
        (sides(), fake(labels=[-1] * 4), "generated training clips have none"),
        (sides(), fake(labels=[0, 1, 2, 9]), "have more than 4 classes"),
        (sides(), fake(count=20), "20 generated training clips; S3 needs as many"),
        (sides(), fake(count=0), "There are no generated training clips"),
        (sides(), fake(size=(2, 6, 6)), "2 frames of 8x6 pixels, the generated"),
        (
            s3.Splits(sides().train, sides(labels=[1, 2, 3, 0]).test),
            fake(),
            "wrong on every real test clip",
        ),
    ],
    ids=["no labels", "labels", "few", "none", "size", "nothing learned"],
)
def test_clips_that_cannot_be_scored_are_rejected(scorer, real, generated, message):
    with pytest.raises(errors.UserError, match=message):
        scorer(real, generated)


def test_a_full_disk_is_reported(tmp_path):
    clips = s3._Clips("real test clips", {}, "/dev/full")
    with pytest.raises(
        errors.UserError, match=r"real test clips cannot be written.*TMPDIR"
    ):
        clips.add(np.zeros([1, 99, 99, 99, 3], np.uint8), [0])
