"""S3 where the three accuracies are known, and what it keeps and refuses."""

import dataclasses
import functools
import math

import numpy as np
import pytest
import tensorflow as tf

from tf_dvdgan import errors
from tf_dvdgan.evaluation import classifiers, networks, s3
from tf_dvdgan.evaluation.networks import weights

CLASSES = 4
COLOURS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [0, 0, 0]])
RECIPE = classifiers.Recipe(tf.keras.optimizers.Adam, 0.3, 8, epochs=6)


class Tiny(tf.keras.Model):
    """Tells classes by the mean colour."""

    FEATURES = 3
    INPUT = (2, 4, 4, 3)

    def __init__(self, num_classes, name=None):
        super().__init__(name=name)
        self.linear = tf.keras.layers.Dense(num_classes, name="logits")

    def call(self, videos, training=False):
        features = tf.reduce_mean(videos, axis=[1, 2, 3])
        return {"logits": self.linear(features), "features": features}


class Coloured:
    """Clips of a plain colour for each class, and noise; a `features.Source`.

    Args:
      colours: of each class.
      labels: that are said of each.
      seed: of the noise.
      size: of a clip.
      gap: number of one that cannot be read.
    """

    def __init__(self, colours, labels, seed=0, size=(2, 6, 8), gap=None):
        self.num_clips = len(labels)
        self._arguments = colours, labels, seed, size, gap

    def rows(self, first, worker, num_workers):
        colours, labels, seed, size, gap = self._arguments
        rng = np.random.default_rng(seed)
        for i in range(first + worker, len(labels), num_workers):
            video = COLOURS[colours[i]] + rng.integers(-60, 60, [*size, 3])
            video = np.clip(video, 0, 255).astype(np.uint8)
            row = {"video": video, "label": np.int32(labels[i])}
            yield None if i == gap else row

    def videos(self, rows, strategy):
        return rows["video"]

    def facts(self):
        return {"arguments": str(self._arguments)}


def of_classes(classes, count=24, labels=None, **arguments) -> Coloured:
    """Clips of some classes in turn, with labels of others."""
    classes = np.resize(classes, count)
    labels = classes if labels is None else np.array(labels)[classes]
    return Coloured(classes, labels, **arguments)


def sides(classes=range(CLASSES), seed=1, **arguments) -> s3.Sides:
    train = of_classes(list(classes), seed=seed, **arguments)
    return s3.Sides(train, of_classes(list(classes), seed=seed + 1, **arguments))


made = functools.partial(sides, seed=3)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(networks.NETWORKS, "tiny", Tiny)


@pytest.fixture
def scorer(tmp_path) -> s3.Scorer:
    return s3.Scorer("tiny", "unit_range", CLASSES, str(tmp_path / "kept"), RECIPE)


@pytest.fixture
def fitted(monkeypatch) -> list[str]:
    """Grows with each classifier that is trained."""
    fit, calls = classifiers.fit, []

    def counted(*arguments):
        calls.append("fit")
        return fit(*arguments)

    monkeypatch.setattr(classifiers, "fit", counted)
    return calls


@pytest.mark.parametrize(
    ("generated", "ser", "res"),
    [
        (made(), 1.0, 1.0),
        (made(labels=[1, 2, 3, 0]), 0.0, 0.0),
        (made([0, 1]), 0.5, 1.0),  # realistic, and half of the classes are lacking
        (made(labels=[0, 1, 3, 2]), 0.5, 0.5),
        # Which are trained on is right, which are tested is not: ReS alone suffers.
        (s3.Sides(made().train, made(labels=[1, 0, 3, 2]).test), 1.0, 0.0),
    ],
    ids=["the same", "all wrong", "half missing", "half wrong", "test wrong"],
)
def test_of_known_accuracies(scorer, generated, ser, res):
    found = scorer(sides(), generated)
    assert dataclasses.astuple(found) == (1.0, ser, res)
    assert found.value == pytest.approx(math.sqrt(ser * res))


def test_equation_9():
    assert s3.S3(rer=0.8, ser=0.2, res=0.4).value == pytest.approx(
        math.sqrt((0.2 / 0.8) * (0.4 / 0.8))
    )


def test_as_many_generated_clips_are_trained_on_as_real_ones(scorer):
    labels = np.resize(range(CLASSES), 240)
    wrong = np.where(np.arange(240) < 24, labels, (labels + 1) % CLASSES)
    found = scorer(sides(), s3.Sides(Coloured(labels, wrong), made().test))
    assert found.ser == 1.0


def test_what_cannot_be_read_is_left_out(scorer):
    real = s3.Sides(of_classes(range(CLASSES), 25, gap=3), sides().test)
    assert scorer(real, made()).value == 1.0


def test_the_classifier_of_real_clips_serves_every_model(scorer, fitted, tmp_path):
    first = scorer(sides(), made())
    assert len(fitted) == 2
    assert scorer(sides(), made()) == first and len(fitted) == 2
    assert scorer(sides(), made([0, 1])).ser == 0.5 and len(fitted) == 3
    other = dataclasses.replace(RECIPE, seed=1)
    kept = str(tmp_path / "kept")
    s3.Scorer("tiny", "unit_range", CLASSES, kept, other)(sides(), made())
    assert len(fitted) == 5


def first_weights(path, classes: int, value: float) -> str:
    shapes = {"logits/kernel": [3, classes], "logits/bias": [classes]}
    arrays = {n: np.full(shape, value, np.float32) for n, shape in shapes.items()}
    weights.save("tiny", arrays, str(path), "typed")
    return str(path)


def test_classifiers_start_from_weights_that_are_given(tmp_path, fitted):
    file = first_weights(tmp_path / "a.weights.h5", CLASSES, 0.25)
    make = functools.partial(
        s3.Scorer, "tiny", "unit_range", CLASSES, str(tmp_path / "kept"), RECIPE
    )
    scorer = make(first_weights=file)
    new = scorer._new_network()
    assert all((v.numpy() == 0.25).all() for v in new.variables)
    assert scorer.first.source == "typed"
    # The last layer is another one for other classes.
    others = first_weights(tmp_path / "b.weights.h5", CLASSES + 3, 0.25)
    new = make(first_weights=others)._new_network()
    assert (
        new.linear.kernel.shape == [3, CLASSES]
        and not (new.linear.kernel == 0.25)[0, 0]
    )
    # What they start from tells kept classifiers apart.
    scorer(sides(), made())
    make()(sides(), made())
    assert len(fitted) == 4
    scorer(sides(), made())
    assert len(fitted) == 4


def test_weights_of_another_network_are_refused(tmp_path, monkeypatch):
    file = first_weights(tmp_path / "a.weights.h5", CLASSES, 0.0)
    monkeypatch.setitem(networks.NETWORKS, "other", Tiny)
    with pytest.raises(errors.UserError, match="is of tiny, and this S3 is by other"):
        s3.Scorer("other", "unit_range", CLASSES, str(tmp_path), first_weights=file)


def test_a_classifier_is_kept_when_the_next_fails(scorer, fitted, monkeypatch):
    trained = scorer._trained

    def fail(train, test):
        if train.name.startswith("generated"):
            raise KeyboardInterrupt
        return trained(train, test)

    monkeypatch.setattr(scorer, "_trained", fail)
    with pytest.raises(KeyboardInterrupt):
        scorer(sides(), made())
    monkeypatch.undo()
    monkeypatch.setitem(networks.NETWORKS, "tiny", Tiny)
    scorer(sides(), made())
    assert fitted == ["fit"]  # of real clips; counted no more after that


def test_clips_are_drawn_in_another_order_each_epoch(tmp_path):
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

    drawn = epochs(0)
    np.testing.assert_array_equal(np.sort(drawn), [range(12)] * 2)
    assert (drawn[0] != drawn[1]).any() and (drawn[0] != range(12)).any()
    np.testing.assert_array_equal(drawn, epochs(0))
    assert (drawn != epochs(1)).any()
    in_order = np.concatenate([labels for _, labels in clips.in_order().batch(5)])
    np.testing.assert_array_equal(in_order, range(12))


@pytest.mark.parametrize(
    ("real", "generated", "sentence"),
    [
        (sides(), made(labels=[-1] * 4), "generated training clips have none"),
        (sides(), made(labels=[0, 1, 2, 9]), "are of more than 4 classes"),
        (sides(), made(count=20), "20 generated training clips; S3 wants as many"),
        (sides(), made(count=0), "There are no generated training clips"),
        (sides(), made(size=(2, 6, 6)), "2 frames of 8x6 pixels, the generated"),
        (
            s3.Sides(sides().train, sides(labels=[1, 2, 3, 0]).test),
            made(),
            "tells none of the real test clips",
        ),
    ],
    ids=["no labels", "labels", "few", "none", "size", "nothing learnt"],
)
def test_what_cannot_be_scored_gets_a_sentence(scorer, real, generated, sentence):
    with pytest.raises(errors.UserError, match=sentence):
        scorer(real, generated)


def test_a_full_disk_gets_a_sentence(tmp_path):
    clips = s3._Clips("real test clips", {}, "/dev/full")
    with pytest.raises(
        errors.UserError, match=r"real test clips cannot be kept.*TMPDIR"
    ):
        clips.add(np.zeros([1, 99, 99, 99, 3], np.uint8), [0])
