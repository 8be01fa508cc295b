"""Options of an update: passes of a batch, augmentation, terms, frozen layers."""

import types

import numpy as np
import pytest
import tensorflow as tf

from tf_dvdgan import discriminator_terms, errors, layers, losses
from tf_dvdgan.models import dvd_gan, video_gan
from tf_dvdgan.training import (
    adaptation,
    augmentation,
    optimizers,
    random_numbers,
    trainer,
    updates,
)

BATCH, FRAMES, PIXELS = 4, 4, 16


def make(rate: float = 1e-3, **settings):
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
        optimizers.with_moving_average(tf.keras.optimizers.legacy.SGD(rate)),
        tf.keras.optimizers.legacy.SGD(rate),
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


@pytest.mark.parametrize("num_passes", [2, 4])
def test_a_batch_in_passes_gives_the_weights_of_one(num_passes, eagerly):
    found = []
    for passes in (1, num_passes):
        t = make(rate=0.1, accumulate_steps=passes, **with_state())
        for i, kernel in enumerate(t.gan.discriminator_variables):
            # New kernels are orthogonal: any vectors would be right.
            noise = tf.random.stateless_normal(kernel.shape, [i, 0])
            kernel.assign_add(0.3 * tf.math.reduce_std(kernel) * noise)
        before = all_values(t)
        metrics = t.run_steps(batches(), 1)
        changes = [a - b for a, b in zip(all_values(t), before, strict=True)]
        found.append((changes, metrics, t.checkpoint_objects()))
    (one, metrics, objects), (two, metrics_of_two, objects_of_two) = found
    for a, b in zip(one, two, strict=True):
        # R1's finite differences have two or three digits.
        assert np.linalg.norm(a - b) < 0.05 * np.linalg.norm(a) + 1e-6
    assert np.mean([np.abs(change).max() > 1e-5 for change in one]) > 0.8
    for name in metrics:
        assert metrics[name] == pytest.approx(metrics_of_two[name], rel=0.01, abs=1e-3)
    for name in ("lecam", "augmentation"):
        for a, b in zip(
            objects[name].variables, objects_of_two[name].variables, strict=True
        ):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_r1_in_two_passes_is_that_of_one(eagerly):
    """With kernels of which all vectors are right: it scores after their update."""
    found = []
    for passes in (1, 2):
        r1 = discriminator_terms.R1(every=1, weight=1000.0)
        t = make(accumulate_steps=passes, discriminator_terms=[r1])
        metrics = t.run_steps(batches(), 1)
        found.append((metrics["loss/r1"], all_values(t)))
    (one, values), (two, values_of_two) = found
    assert one > 0.1 and two == pytest.approx(one, rel=1e-4)
    for a, b in zip(values, values_of_two, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_parts_of_a_batch_draw_their_rows_of_the_whole():
    gan, seed = make().gan, tf.constant([3, 4], tf.int64)
    whole, *parts = (
        random_numbers.RandomNumbers(gan, BATCH, rows, seed)
        for rows in (None, tf.constant([0]), tf.constant([1, 2, 3]))
    )
    draws = {
        "latents": lambda r: r.latents(),
        "uniform_noise": lambda r: r.uniform_noise(0, fake=True),
        "augmentation": lambda r: r.augmentation(fake=False),
        "noise": lambda r: r.noise([2, 3], fake=True),
        "directions": lambda r: r.directions([2, 3], 1),
    }
    for name, draw in draws.items():
        expected = draw(whole).numpy()
        np.testing.assert_array_equal(
            np.concatenate([draw(part) for part in parts]), expected, err_msg=name
        )
        assert len(np.unique(expected)) == expected.size, name


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


def recorded(monkeypatch, owner, name: str) -> list:
    """Arguments and results of each call of a method, without `self`."""
    calls, method = [], getattr(owner, name)

    def record(self, *arguments, **named):
        result = method(self, *arguments, **named)
        calls.append((*arguments, result))
        return result

    monkeypatch.setattr(owner, name, record)
    return calls


def test_the_discriminators_see_augmented_clips_of_both_kinds(eagerly, monkeypatch):
    t = make(augmentation=augmentation.Augmentation(flip=True, zoom=0.2))
    generated = recorded(monkeypatch, video_gan.Networks, "generate")
    augmented = recorded(monkeypatch, augmentation.Augmentation, "__call__")
    seen = [
        recorded(monkeypatch, kind, "__call__")
        for kind in (dvd_gan.SpatialDiscriminator, dvd_gan.TemporalDiscriminator)
    ]
    t.run_steps(batches(), 1)
    real = next(batches())["video"].numpy() / 127.5 - 1
    seed = random_numbers.fold_in(tf.constant([0, 0], tf.int64), 0)  # seed, step
    expected, of_update = [], [random_numbers.fold_in(seed, i) for i in range(2)]
    fakes = [call[-1]["videos"] for call in generated]
    for videos, update, is_fake in (
        (real, of_update[0], False),
        (fakes[0], of_update[0], True),
        (fakes[1], of_update[1], True),
    ):
        numbers = t.updates.draw(update).augmentation(is_fake)
        expected.append((videos, numbers))
    assert len(augmented) == 3
    assert np.abs(expected[0][1] - expected[1][1]).min() > 0  # of their own
    for (videos, numbers), (*found, result) in zip(expected, augmented, strict=True):
        np.testing.assert_allclose(found[0], videos, atol=1e-6)
        np.testing.assert_array_equal(found[1], numbers)
        assert np.abs(result - videos).max() > 0.1
    of_real, of_fake, of_generator = (call[-1] for call in augmented)
    for calls in seen:
        (in_d, *_), (in_g, *_) = calls
        np.testing.assert_array_equal(in_d, tf.concat([of_real, of_fake], 0))
        np.testing.assert_array_equal(in_g, of_generator)


def test_averages_of_lecam_follow_the_scores_of_the_update(eagerly):
    t = make(discriminator_terms=[discriminator_terms.LeCam(decay=0.9)])
    metrics = t.run_steps(batches(), 1)
    names = [d.name for d in t.gan.discriminators]
    (lecam,) = t.gan.discriminator_terms
    for of, average in (("real", lecam.real_average), ("fake", lecam.fake_average)):
        expected = [0.1 * metrics[f"scores/{name}_{of}"] for name in names]
        np.testing.assert_allclose(average, expected, rtol=1e-5)
    real, fake = lecam.real_average.numpy(), lecam.fake_average.numpy()
    assert np.abs(real - fake).min() > 1e-4


def test_the_measure_of_overfitting_is_of_real_scores(eagerly, monkeypatch):
    """Discriminators that accept all real clips and reject all generated ones."""

    def score(discriminator, videos, labels, uniform_noise):
        weights = tf.add_n(
            [tf.reduce_sum(v) for v in discriminator.trainable_variables]
        )
        right = tf.fill([BATCH], 1.0 + 0.0 * weights)
        return right, -right

    monkeypatch.setattr(updates, "_score_real_and_fake", score)
    adapted = augmentation.Augmentation(adaptation=adaptation.Adaptation)
    t = make(augmentation=adapted)
    t.updates.update_discriminators(next(batches()), tf.constant([0, 0], tf.int64))
    assert float(adapted.adaptation.overfitting) == pytest.approx(BATCH / 512)


def test_a_relativistic_discriminator_is_measured_relative_to_the_middle(
    eagerly, monkeypatch
):
    """A constant that is added to all scores changes neither loss nor measure.

    A score counts as that of a real video above the middle of both sides' means.
    """
    found = []
    # Most real scores lie between the fake ones' mean and the middle.
    offsets = [2.0, 3.0, 4.0, 40.0]
    for constant in (0.0, 7.0):

        def score(discriminator, videos, labels, uniform_noise, constant=constant):
            scores = constant + videos[:, 0, 0, 0, 0]
            real, fake = tf.split(scores, 2)
            return real + tf.constant(offsets), fake

        monkeypatch.setattr(updates, "_score_real_and_fake", score)
        t = make(
            generator_loss=losses.relativistic_hinge_generator_loss,
            discriminator_loss=losses.relativistic_hinge_discriminator_loss,
        )
        random = t.updates.draw(tf.constant([0, 0], tf.int64))
        _, values = t.updates._discriminator_pass(next(batches()), random)
        loss, scores, rest = tf.split(values, [2, 4, 4])
        found.append((scores, tf.concat([loss, rest], 0)))
        videos, _ = t.updates._real_and_fake(next(batches()), random)
        real, fake = np.split(videos[:, 0, 0, 0, 0], 2)
        real = real + offsets
        middle = (real.mean() + fake.mean()) / 2
        correct = np.concatenate([real > middle, fake < middle])
        expected = [correct.mean()] * 2 + [np.sign(real - middle).mean()] * 2
        np.testing.assert_allclose(rest, expected, rtol=1e-6)
    (scores, rest), (more, same) = found
    np.testing.assert_allclose(more, scores + 7.0, rtol=1e-5)
    np.testing.assert_allclose(same, rest, rtol=1e-4, atol=1e-5)
    accuracy, sign = rest[2:].numpy().reshape(2, 2)
    assert (np.abs(sign) < 1).all() and ((accuracy > 0) & (accuracy < 1)).all()


def test_r1_is_due_every_n_th_step(eagerly):
    t = make(discriminator_terms=[discriminator_terms.R1(every=2)])
    data = batches()
    found = [t.run_steps(data, 1)["loss/r1"] for _ in range(3)]
    assert found[0] > 0 and found[1] == 0 and found[2] > 0


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


def test_what_a_model_cannot_have_is_refused():
    made = augmentation.Augmentation(reverse=True)
    with pytest.raises(errors.InvalidValueError, match="this model has none: train"):
        make(discriminators=[], augmentation=made)
    with pytest.raises(errors.InvalidValueError, match="frozen needs a discriminator"):
        make(discriminators=[], frozen=["*"])
    continues = types.SimpleNamespace(
        discriminators=[None],
        generator=types.SimpleNamespace(num_conditioning_frames=2),
    )
    with pytest.raises(errors.InvalidValueError, match="cannot have them reversed"):
        trainer._check_augmentation(continues, made)


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
