"""The step: which weights move, what it draws, and that XLA compiles it."""

import gc
import os
import subprocess
import sys
import weakref

import numpy as np
import pytest
import tensorflow as tf

from tf_dvdgan import addons
from tf_dvdgan.models import dvd_gan, vgan, video_gan
from tf_dvdgan.training import optimizers, trainer, updates
from tf_dvdgan.training.random_numbers import fold_in

pytestmark = pytest.mark.usefixtures("quick_graphs")

BATCH, FRAMES, PIXELS = 4, 4, 16


def make(num_d_steps=2, seed=0, g_rate=1e-3, d_rate=1e-3, start_step=0):
    tf.keras.utils.set_random_seed(1)
    gan = video_gan.Networks(
        dvd_gan.Generator(PIXELS, FRAMES, 3, ch=2),
        [
            dvd_gan.SpatialDiscriminator(PIXELS, 3, ch=2, num_frames=2),
            dvd_gan.TemporalDiscriminator(PIXELS, 3, ch=2),
        ],
        video_gan.GaussianLatent(),
    )
    g_optimizer = optimizers.with_moving_average(
        optimizers.adam(g_rate), decay=0.9, start_step=start_step
    )
    return trainer.Trainer(
        gan,
        tf.distribute.get_strategy(),
        BATCH,
        g_optimizer,
        optimizers.adam(d_rate),
        num_d_steps=num_d_steps,
        seed=seed,
    )


def batches(seed=0):
    rng = np.random.default_rng(seed)
    shape = [BATCH, FRAMES, PIXELS, PIXELS, 3]
    while True:
        yield {
            "video": tf.constant(rng.integers(0, 256, shape, np.uint8)),
            "label": tf.constant(rng.integers(0, 3, [BATCH], np.int32)),
        }


def dataset(seed=0):
    made = list(zip(range(12), batches(seed), strict=False))
    stacked = tf.nest.map_structure(lambda *x: tf.stack(x), *[b for _, b in made])
    return iter(tf.data.Dataset.from_tensor_slices(stacked).repeat())


def values(variables):
    return [v.numpy() for v in variables]


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_nothing_of_a_training_stays_in_memory():
    def graph_of_step() -> weakref.ref:
        made = make(num_d_steps=1)
        made.run_steps(dataset(), 1)
        (step,) = made._compiled_step._list_all_concrete_functions()
        return weakref.ref(step.graph)

    graph = graph_of_step()
    for _ in range(2):  # the first ends what holds the rest
        gc.collect()
    assert graph() is None


def test_a_rate_of_zero_leaves_a_side_as_it_is(eagerly):
    for g_rate, d_rate in ((0.0, 1e-3), (1e-3, 0.0)):
        t = make(num_d_steps=1, g_rate=g_rate, d_rate=d_rate)
        g, d = values(t.generator_variables), values(t.discriminator_variables)
        t.run_steps(dataset(), 1)
        assert same(g, values(t.generator_variables)) == (g_rate == 0.0)
        assert same(d, values(t.discriminator_variables)) == (d_rate == 0.0)


def test_a_step_takes_num_d_steps_batches_and_counts_one(eagerly):
    t = make(num_d_steps=3)
    source = dataset()
    t.run_steps(source, 2)
    assert int(t.step) == 2
    assert int(t.generator_optimizer.iterations) == 2
    assert int(t.discriminator_optimizer.iterations) == 6
    expected = dataset()
    for _ in range(6):
        next(expected)
    np.testing.assert_array_equal(next(source)["video"], next(expected)["video"])


def test_one_discriminator_update_equals_the_equations(eagerly):
    """Losses and Adam's first update from the parts, by hand."""
    t = make(num_d_steps=1, g_rate=0.0)
    twin = make(num_d_steps=1, g_rate=0.0)
    batch = next(dataset())
    metrics = t.run_steps(dataset(), 1)
    gan = twin.gan
    real = tf.cast(batch["video"], tf.float32) / 127.5 - 1.0
    step_seed = fold_in(tf.constant([0, 0], tf.int64), twin.step)
    seed = fold_in(step_seed, 0)
    random = twin.updates.draw(seed)
    z = random.latents()
    fake = gan.generator(z, batch["label"], training=True)
    labels = tf.concat([batch["label"]] * 2, 0)
    for i, discriminator in enumerate(gan.discriminators):
        uniform_noise = [random.uniform_noise(i, fake) for fake in (False, True)]
        scores = discriminator(
            tf.concat([real, fake], 0),
            labels,
            tf.concat(uniform_noise, 0),
            training=True,
        ).numpy()
        expected = (
            np.maximum(0, 1 - scores[:BATCH]).mean()
            + np.maximum(0, 1 + scores[BATCH:]).mean()
        )
        name = discriminator.name
        np.testing.assert_allclose(metrics[f"loss/{name}"], expected, rtol=1e-4)
        found = metrics[f"scores/{name}_real"], metrics[f"scores/{name}_fake"]
        np.testing.assert_allclose(
            found, [scores[:BATCH].mean(), scores[BATCH:].mean()], rtol=1e-4, atol=1e-4
        )


def test_random_numbers_differ_between_steps_updates_and_seeds():
    t = make()
    seeds = [
        fold_in(fold_in(tf.constant([s, 0], tf.int64), step), update)
        for s in (0, 1)
        for step in (0, 1)
        for update in (0, 1)
    ]
    drawn = {tuple(t.updates.draw(seed).latents().numpy()[0, :4]) for seed in seeds}
    assert len(drawn) == 8


def test_the_average_equals_the_weights_until_its_start_and_lags_after(eagerly):
    t = make(num_d_steps=1, start_step=2)
    first = t.generator_variables[0]
    history = []
    for _ in range(4):
        t.run_steps(dataset(), 1)
        average = optimizers.moving_average_of(t.generator_optimizer, first).numpy()
        history.append((first.numpy(), average))
    for weights, average in history[:2]:
        np.testing.assert_array_equal(weights, average)
    expected = history[1][1]
    for weights, average in history[2:]:
        expected = 0.9 * expected + 0.1 * weights
        np.testing.assert_allclose(average, expected, atol=1e-6)


def test_weights_are_restored_bit_for_bit_after_averages_were_used(eagerly):
    t = make(num_d_steps=1)
    t.run_steps(dataset(), 2)
    before = values(t.generator_variables)
    with optimizers.averaged_weights(t.generator_optimizer, t.generator_variables):
        assert not same(before, values(t.generator_variables))
    assert same(before, values(t.generator_variables))


def test_a_batch_that_replicas_cannot_share_is_refused():
    class Three:
        num_replicas_in_sync = 3

    with pytest.raises(ValueError, match="4 videos cannot be split evenly across 3"):
        trainer.Trainer(None, Three(), 4, None, None)


@pytest.mark.slow
def test_xla_compiles_the_step_of_the_demo():
    """In a process of its own, so that LLVM need not optimize what runs once."""
    script = """
import tensorflow as tf
from tf_dvdgan import config
from tf_dvdgan.models import video_gan
from tf_dvdgan.training import optimizers, trainer, updates
from tf_dvdgan.training.random_numbers import fold_in
config.load(["demo.gin"])
import gin
gan = video_gan.from_config([str(i) for i in range(9)])
batch = gin.query_parameter("%BATCH_SIZE")
t = trainer.Trainer(
    gan, tf.distribute.get_strategy(), batch,
    optimizers.with_moving_average(optimizers.adam(1e-4)), optimizers.adam(1e-4),
    num_d_steps=1, jit_compile=True)
g = gan.generator
shape = [batch, g.num_frames, g.resolution, g.resolution, 3]
element = {"video": tf.zeros(shape, tf.uint8), "label": tf.zeros([batch], tf.int32)}
metrics = t.run_steps(iter(tf.data.Dataset.from_tensors(element).repeat()), 1)
assert all(value == value for value in metrics.values()), metrics
print("compiled", len(metrics))
"""
    environment = os.environ | {"XLA_FLAGS": "--xla_backend_optimization_level=0"}
    result = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert "compiled 11" in result.stdout, result.stderr[-3000:]


def test_noise_is_each_sample_s_own_and_of_the_deviation_asked_for():
    t = make()
    videos, seed = tf.zeros([BATCH, 8, 8, 8, 3]), tf.constant([0, 7], tf.int64)

    def seen(seed):
        random = t.updates.draw(seed)
        return t.updates.discriminator_input(videos, random, fake=True).numpy()

    np.testing.assert_array_equal(seen(seed), videos)
    t.gan.discriminator_noise = 0.5
    noise = seen(seed)
    np.testing.assert_allclose(noise.std(axis=(1, 2, 3, 4)), [0.5] * BATCH, rtol=0.1)
    assert len({round(float(n[0, 0, 0, 0]), 6) for n in noise}) == BATCH
    assert np.abs(noise - seen(fold_in(seed, 1))).max() > 0.1


def test_a_discriminator_with_batch_norm_scores_real_and_fake_separately():
    discriminator = vgan.Discriminator(PIXELS, 0, ch=2)
    real = tf.random.stateless_normal([4, 8, PIXELS, PIXELS, 3], [0, 1])
    fake = 3.0 * tf.random.stateless_normal([4, 8, PIXELS, PIXELS, 3], [0, 2])
    rest = (tf.zeros([8], tf.int32), tf.zeros([8, 0]))
    both = tf.concat([real, fake], 0)
    scores = updates._score_real_and_fake(discriminator, both, *rest)
    for part, videos in zip(scores, (real, fake), strict=True):
        alone = discriminator(videos, training=True)
        np.testing.assert_allclose(part, alone, atol=1e-6)


def test_decaying_rates_have_one_factor_and_resume_from_constant_ones():
    def make_pair(decay_steps):
        pair = [
            optimizers.with_moving_average(
                optimizers.adam(0.4, decay_steps=decay_steps)
            ),
            optimizers.adam(0.8, decay_steps=decay_steps, updates_per_step=2),
        ]
        variables = [tf.Variable([1.0]), tf.Variable([1.0])]
        for optimizer, variable in zip(pair, variables, strict=True):
            addons.create_slots(optimizer, [variable])
        return pair, variables

    def step(pair, variables):
        for optimizer, variable, times in zip(pair, variables, (1, 2), strict=True):
            for _ in range(times):
                optimizer.apply_gradients([(tf.constant([1.0]), variable)])

    falling, variables = make_pair((2, 6))
    rates = []
    for _ in range(8):
        rates.append([addons.learning_rate(optimizer) for optimizer in falling])
        before = float(variables[0][0])
        step(falling, variables)
        moved = before - float(variables[0][0])
        assert moved == pytest.approx(rates[-1][0], abs=1e-3)  # Adam's, of one gradient
    shares = np.array([1, 1, 1, 0.75, 0.5, 0.25, 0, 0])
    np.testing.assert_allclose(rates, np.outer(shares, [0.4, 0.8]), rtol=1e-6)
    assert [float(optimizer.learning_rate) for optimizer in falling] == pytest.approx(
        [0.4, 0.8]
    )


def test_a_rate_that_would_fall_after_the_end_is_kept_until_then():
    optimizer = optimizers.adam(0.4, decay_steps=(14_000, 5))
    rates = []
    for step in (0, 4, 5, 6):
        optimizer.iterations.assign(step)
        rates.append(addons.learning_rate(optimizer))
    assert rates == pytest.approx([0.4, 0.4, 0.0, 0.0])


def test_a_run_with_constant_rates_resumes_with_decaying_ones(tmp_path):
    kept = []
    for decay_steps in (None, (1, 3)):
        optimizer = optimizers.with_moving_average(
            optimizers.adam(0.4, decay_steps=decay_steps)
        )
        variable = tf.Variable([1.0])
        addons.create_slots(optimizer, [variable])
        kept.append(tf.train.Checkpoint(optimizer=optimizer, variable=variable))
    kept[0].optimizer.apply_gradients([(tf.constant([1.0]), kept[0].variable)])
    kept[0].optimizer.iterations.assign(2)
    status = kept[1].restore(kept[0].save(str(tmp_path / "step")))
    status.assert_consumed()
    assert addons.learning_rate(kept[1].optimizer) == pytest.approx(0.2)
