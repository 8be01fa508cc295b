"""Classifier training: learning rate schedule, seeds, replicas and accuracy."""

import numpy as np
import pytest
import tensorflow as tf
from conftest import run_python

from tf_dvdgan.evaluation.features import classifiers, preprocessing
from tf_dvdgan.evaluation.features.networks import resnet3d
from tf_dvdgan.evaluation.runs import s3

COLORS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]])


class Small(tf.keras.Model):
    """Has layers with randomness and with parallel sums."""

    def __init__(self, num_classes: int = 3):
        super().__init__()
        self.convolution = tf.keras.layers.Conv3D(16, 2, padding="same")
        self.dropout = tf.keras.layers.Dropout(0.1)
        self.linear = tf.keras.layers.Dense(num_classes, name="logits")

    def call(self, videos, training=False):
        x = tf.nn.relu(self.convolution(videos))
        features = tf.reduce_mean(x, axis=[1, 2, 3])
        x = self.dropout(features, training=training)
        return {"logits": self.linear(x), "features": features}


class Scripted(tf.keras.Model):
    """Classifies `right[i]` of ten test clips correctly in epoch i + 1."""

    def __init__(self, right: list[int]):
        super().__init__()
        self.epoch = tf.Variable(0, trainable=False)
        self.weight = tf.Variable(1.0)
        self.right = tf.constant(right)

    def call(self, videos, training=False):
        if training:  # one batch is one epoch
            self.epoch.assign_add(1)
        right = tf.range(10) < self.right[tf.maximum(self.epoch - 1, 0)]
        logits = tf.one_hot(1 - tf.cast(right, tf.int32), 2)
        return {"logits": logits + 0.0 * self.weight}


def colored(count: int, size=(2, 8, 8), seed: int = 0) -> tuple[np.ndarray, ...]:
    """Clips with a plain color for each class, plus noise."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int32) % 3
    noise = rng.integers(-60, 60, [count, *size, 3])
    plain = COLORS[labels][:, None, None, None]
    return np.clip(plain + noise, 0, 255).astype(np.uint8), labels


def as_dataset(videos, labels) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices((videos, labels))


def fit(
    make_network,
    recipe,
    on_epoch=None,
    clips=None,
    preprocess=preprocessing.unit_range,
):
    clips = colored(30) if clips is None else clips
    return classifiers.fit(
        make_network,
        preprocess,
        as_dataset(*clips).repeat(),
        len(clips[0]),
        as_dataset(*clips),
        recipe,
        on_epoch=on_epoch,
    )


def test_learning_rate_falls_after_four_epochs_without_improvement():
    right = [1, 3, 2, 3, 3, 2, 4, 1, 1, 1, 5, 1, 5, 1, 4, 2]
    #              1  2  3  4, falls          1  2  3  4, falls
    falls = [6, 15]
    optimizers, seen = [], []

    def optimizer(rate):
        optimizers.append(tf.keras.optimizers.SGD(rate))
        return optimizers[-1]

    def on_epoch(epoch, accuracy):
        seen.append((epoch, accuracy, float(optimizers[0].learning_rate)))

    recipe = classifiers.Recipe(optimizer, 1.0, batch_size=10, epochs=len(right))
    clips = np.zeros([10, 1, 1, 1, 3], np.uint8), np.zeros(10, np.int32)
    fit(lambda: Scripted(right), recipe, on_epoch, clips)
    for i, (epoch, accuracy, rate) in enumerate(seen):
        assert epoch == i + 1
        assert accuracy == pytest.approx(right[i] / 10)
        fallen = sum(epoch >= fall for fall in falls)
        assert rate == pytest.approx(0.1**fallen), epoch
    assert len(seen) == len(right)


def test_fit_learns_and_accuracy_is_the_fraction_of_correct_clips():
    network = fit(Small, classifiers.Recipe(tf.keras.optimizers.Adam, 0.05, 10, 8))
    videos, labels = colored(31, seed=1)  # the last batch has one clip
    logits = network(preprocessing.unit_range(videos))["logits"].numpy()
    np.testing.assert_array_equal(logits.argmax(axis=1), labels)
    labels[:12] = (labels[:12] + 1) % 3
    found = classifiers.accuracy(
        network, preprocessing.unit_range, as_dataset(videos, labels), 10
    )
    assert found == pytest.approx(19 / 31, abs=1e-6)


def test_seed_makes_the_weights_reproducible():
    def weights(seed):
        recipe = classifiers.Recipe(
            tf.keras.optimizers.Adam, batch_size=10, epochs=2, seed=seed
        )
        return fit(Small, recipe).get_weights()

    one, again, another = weights(1), weights(1), weights(2)
    for a, b in zip(one, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert any((a != b).any() for a, b in zip(one, another, strict=True))


@pytest.mark.slow  # another network learns with the same `fit` above
def test_resnet_learns_with_the_recipe_of_s3():
    clips = colored(32, (4, 16, 16))

    def preprocess(videos):
        return preprocessing.resnet3d(videos)[:, :, ::7, ::7]  # back to 16 pixels

    def loss(rate: float) -> float:
        recipe = classifiers.Recipe(s3.RECIPE.optimizer, rate, 8, epochs=1)
        network = fit(
            lambda: resnet3d.ResNet3D18(3), recipe, clips=clips, preprocess=preprocess
        )
        tf.keras.utils.set_random_seed(0)  # of dropout
        logits = network(preprocess(clips[0]), training=True)["logits"]
        losses = tf.keras.losses.sparse_categorical_crossentropy(
            clips[1], logits, from_logits=True
        )
        return float(tf.reduce_mean(losses))

    assert loss(s3.RECIPE.learning_rate) < 0.8 * loss(0.0)


_REPLICAS = """
import numpy as np
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from tf_dvdgan import errors
from tf_dvdgan.evaluation.features import classifiers, preprocessing
from tf_dvdgan.evaluation.features.networks import small_classifier
rng = np.random.default_rng(0)
videos = rng.integers(0, 255, [21, 2, 8, 8, 3], np.uint8)
labels = np.arange(21) % 3
data = tf.data.Dataset.from_tensor_slices((videos, labels))
def fit(strategy, batch_size=10):
    recipe = classifiers.Recipe(tf.keras.optimizers.SGD, 0.1, batch_size, epochs=2)
    network = classifiers.fit(
        lambda: small_classifier.SmallClassifier(3), preprocessing.unit_range,
        data.repeat(), 21, data,
        recipe, strategy)
    accuracy = classifiers.accuracy(network, preprocessing.unit_range, data, 10)
    return network, accuracy
two = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
one, accuracy = fit(tf.distribute.OneDeviceStrategy("CPU:0"))
mirrored, of_mirrored = fit(two)
for a, b in zip(one.get_weights(), mirrored.get_weights(), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
logits = one(preprocessing.unit_range(videos))["logits"].numpy()
share = (logits.argmax(axis=1) == labels).mean()
assert abs(accuracy - share) < 1e-6 and abs(of_mirrored - share) < 1e-6
try:
    fit(two, 5)
except errors.UserError as error:
    print(error)
"""


@pytest.mark.slow  # replicas of the trainer are in conformance/
def test_two_replicas_train_the_same_weights_as_one():
    done = run_python("-c", _REPLICAS)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "5 clips cannot be split evenly between 2 replicas" in done.stdout
