"""Options of an update: passes of a batch, augmentation, terms, frozen layers."""

import numpy as np
import pytest
import tensorflow as tf

from tf_dvdgan import discriminator_terms, layers, losses
from tf_dvdgan.models import dvd_gan, video_gan
from tf_dvdgan.training import adaptation, augmentation, optimizers, trainer, updates

BATCH, FRAMES, PIXELS = 4, 4, 16


def make(**settings):
    tf.keras.utils.set_random_seed(1)
    networks = {
        name: settings.pop(name)
        for name in ("generator_loss", "discriminator_loss", "discriminator_terms")
        if name in settings
    }
    gan = video_gan.Networks(
        dvd_gan.Generator(
            *(PIXELS, FRAMES, 3),
            ch=2,
            normalization=layers.ConditionalNoNorm,
            last_normalization=layers.NoNorm,
        ),
        settings.pop(
            "discriminators",
            [
                dvd_gan.SpatialDiscriminator(PIXELS, 3, ch=2, num_frames=2),
                dvd_gan.TemporalDiscriminator(PIXELS, 3, ch=2),
            ],
        ),
        video_gan.GaussianLatent(),
        **networks,
    )
    return trainer.Trainer(
        gan,
        tf.distribute.get_strategy(),
        BATCH,
        optimizers.with_moving_average(tf.keras.optimizers.legacy.SGD(1e-3)),
        tf.keras.optimizers.legacy.SGD(1e-3),
        num_d_steps=1,
        **settings,
    )


def batches():
    rng = np.random.default_rng(0)
    shape = [BATCH, FRAMES, PIXELS, PIXELS, 3]
    batch = {
        "video": tf.constant(rng.integers(0, 256, shape, np.uint8)),
        "label": tf.constant([0, 1, 2, 0]),
    }
    return iter(tf.data.Dataset.from_tensors(batch).repeat())


def all_values(t):
    return [v.numpy() for v in [*t.gan.generator.variables, *_of_discriminators(t)]]


def _of_discriminators(t):
    return [v for d in t.gan.discriminators for v in d.variables]


def with_state():
    """What draws random numbers or keeps state, created for each of two trainers."""
    return {
        "discriminators": [dvd_gan.TemporalDiscriminator(PIXELS, 3, ch=2)],
        "augmentation": augmentation.Augmentation(
            flip=True, reverse=True, zoom=0.2, probability=0.5,
            adaptation=adaptation.Adaptation,
        ),
        "discriminator_terms": [
            discriminator_terms.LeCam(start_step=0),
            discriminator_terms.R1(every=1, weight=0.1, method="finite_differences"),
        ],
    }  # fmt: skip


def test_a_batch_in_two_passes_gives_the_weights_of_one(eagerly):
    found = []
    for passes in (1, 2):
        t = make(accumulate_steps=passes, **with_state())
        metrics = t.run_steps(batches(), 1)
        found.append((all_values(t), metrics, t.checkpoint_objects()))
    (one, metrics, objects), (two, metrics_of_two, objects_of_two) = found
    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)
    for name in metrics:
        assert metrics[name] == pytest.approx(metrics_of_two[name], rel=2e-3, abs=1e-3)
    for name in ("lecam", "augmentation"):
        for a, b in zip(
            objects[name].variables, objects_of_two[name].variables, strict=True
        ):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_more_passes_than_clips_are_refused():
    with pytest.raises(ValueError, match="cannot be split evenly into passes"):
        make(accumulate_steps=3)


def test_passes_on_several_gpus_are_refused():
    class Two:
        num_replicas_in_sync = 2

    trained = type("", (), {"gan": make().gan, "strategy": Two, "step": None})
    for name in ("generator", "discriminator"):
        setattr(trained, f"{name}_optimizer", None)
        setattr(trained, f"{name}_variables", [])
    trained.augmentation, trained.global_batch_size = None, 4
    with pytest.raises(ValueError, match="accumulate on one device or a TPU"):
        updates.Updates(trained, accumulate_steps=2)


def test_the_discriminators_see_augmented_clips_of_both_kinds(eagerly, monkeypatch):
    seen = []
    t = make(augmentation=augmentation.Augmentation(brightness=2.0, cutout=0.0))
    call = type(t.gan.discriminators[1]).__call__

    def record(self, videos, *rest, **named):
        seen.append(videos.numpy())
        return call(self, videos, *rest, **named)

    monkeypatch.setattr(type(t.gan.discriminators[1]), "__call__", record)
    t.run_steps(batches(), 1)
    of_discriminators, of_generator = seen
    real, fake = np.split(of_discriminators, 2)
    plain = next(batches())["video"].numpy() / 127.5 - 1
    assert np.abs(real - plain).max() > 0.1
    random = t.updates.draw(tf.constant([0, 3], tf.int64))
    numbers = [random.augmentation(is_fake).numpy() for is_fake in (False, True)]
    assert np.abs(numbers[0] - numbers[1]).min() > 0  # of their own
    assert len(fake) == len(of_generator) == BATCH


def test_the_relativistic_loss_gives_the_generator_real_scores(eagerly):
    given = []

    def loss(fake_logits, real_logits):
        given.append((fake_logits.numpy(), real_logits.numpy()))
        return losses.relativistic_hinge_generator_loss(fake_logits, real_logits)

    t = make(
        generator_loss=loss,
        discriminator_loss=losses.relativistic_hinge_discriminator_loss,
    )
    metrics = t.run_steps(batches(), 1)
    expected = sum(
        float(losses.relativistic_hinge_generator_loss(*pair)) for pair in given
    )
    assert len(given) == 2 and metrics["loss/generator"] == pytest.approx(expected)
    assert all(len(real) == len(fake) == BATCH for fake, real in given)


def test_frozen_layers_keep_their_values(eagerly):
    t = make(frozen=["*/block_0/*", "temporal_discriminator/block_1/conv_1/kernel"])
    before = {v.name: v.numpy() for v in t.gan.discriminator_variables}
    t.run_steps(batches(), 1)
    kept = {
        v.name
        for v in t.gan.discriminator_variables
        if np.array_equal(before[v.name], v)
    }
    frozen = {name for name in before if "/block_0/" in name}
    frozen.add("temporal_discriminator/block_1/conv_1/kernel:0")
    assert len(frozen) == 13
    # Hinge losses do not depend on the last bias where no score is beyond 1.
    assert {name for name in kept - frozen if "head/linear/bias" not in name} == set()
    assert frozen <= kept


def test_a_pattern_that_freezes_nothing_is_refused():
    with pytest.raises(ValueError, match=r"'block_9' matches no variable.*spatial_dis"):
        make(frozen=["block_9"])


def test_rates_follow_the_square_root_of_the_batch(tiny_config):
    rates = []
    for size in (None, 1):
        t = trainer.from_config(
            tf.distribute.get_strategy(),
            ["a", "b"],
            video_gan.from_config,
            global_batch_size=4,
            rates_for_batch_size=size,
        )
        rates.append(float(t.generator_optimizer.learning_rate))
    assert rates[1] == pytest.approx(2 * rates[0])
