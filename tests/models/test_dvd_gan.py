"""DVD-GAN: parameter counts, independence of samples, phi and k of figure 6."""

import numpy as np
import pytest
import tensorflow as tf
from conftest import gradients_by_precision, graph_of_shapes

from tf_dvdgan import layers
from tf_dvdgan.models import dvd_gan


def num_parameters(model) -> int:
    return sum(int(np.prod(v.shape)) for v in model.trainable_variables)


@tf.autograph.experimental.do_not_convert
def counts(resolution, num_frames, num_classes, ch):
    """Trainable parameters of G, D_S, D_T, from shapes: nothing is allocated."""
    with graph_of_shapes():
        parts = (
            dvd_gan.Generator(resolution, num_frames, num_classes, ch),
            dvd_gan.SpatialDiscriminator(resolution, num_classes, ch),
            dvd_gan.TemporalDiscriminator(resolution, num_classes, ch),
        )
        labels = tf.zeros([1], tf.int32)
        videos = parts[0](tf.zeros([1, 120]), labels)
        for discriminator in parts[1:]:
            discriminator(videos, labels)
        return [num_parameters(part) for part in parts]


@pytest.mark.long
def test_parameter_counts_are_exact_at_ch_32():
    assert counts(64, 12, 101, 32) == [21_055_579, 9_630_401, 10_149_953]


@pytest.mark.long
@pytest.mark.parametrize(
    ("resolution", "num_frames", "ch", "expected"),
    [
        (64, 12, 128, ["305.28", "154.41", "162.68"]),
        pytest.param(
            *(64, 48, 128, ["305.28", "154.41", "162.68"]), marks=pytest.mark.slow
        ),
        pytest.param(
            *(128, 12, 96, ["176.96", "87.36", "88.52"]), marks=pytest.mark.slow
        ),
        (128, 48, 96, ["176.96", "87.36", "88.52"]),
    ],
)
def test_parameter_counts_of_the_paper_widths(resolution, num_frames, ch, expected):
    found = counts(resolution, num_frames, 600, ch)
    assert [f"{count / 1e6:.2f}" for count in found] == expected


def make_generator(**kwargs):
    generator = dvd_gan.Generator(16, 3, 4, ch=4, **kwargs)
    z = tf.random.stateless_normal([4, 120], [0, 1])
    labels = tf.constant([0, 1, 2, 3])
    generator(z, labels)
    for layer in generator.submodules:  # statistics that are not trivial
        if isinstance(layer, layers.BatchNorm):
            layer.standing_count.assign(2.0)
            shape = layer.mean_sum.shape
            layer.mean_sum.assign(0.2 * tf.random.stateless_normal(shape, [1, 1]))
            layer.variance_sum.assign(tf.random.stateless_uniform(shape, [1, 2]) + 1)
    return generator, z, labels


def test_changing_one_sample_changes_only_its_video():
    generator, z, labels = make_generator()
    videos = generator(z, labels, training=False).numpy()
    other_z = tf.tensor_scatter_nd_update(z, [[2]], -z[2:3])
    other_labels = tf.constant([0, 1, 0, 3])
    for changed in (
        generator(other_z, labels, training=False).numpy(),
        generator(z, other_labels, training=False).numpy(),
    ):
        differs = np.abs(changed - videos).max(axis=(1, 2, 3, 4)) > 1e-6
        assert differs.tolist() == [False, False, True, False]
        frames = np.abs(changed[2] - videos[2]).max(axis=(1, 2, 3))
        assert (frames > 1e-6).all()


def test_permuting_the_batch_permutes_the_videos():
    generator, z, labels = make_generator()
    order = [2, 0, 3, 1]
    videos = generator(z, labels, training=False).numpy()
    permuted = generator(tf.gather(z, order), tf.gather(labels, order), training=False)
    np.testing.assert_allclose(permuted, videos[order], atol=1e-5)


def test_discriminators_score_each_video_independently():
    videos = tf.random.stateless_normal([3, 5, 16, 16, 3], [0, 1])
    labels = tf.constant([0, 1, 2])
    uniform_noise = tf.random.stateless_uniform([3, 5], [0, 2])
    for discriminator in (
        dvd_gan.SpatialDiscriminator(16, 4, ch=2, num_frames=2),
        dvd_gan.TemporalDiscriminator(16, 4, ch=2),
    ):
        scores = discriminator(videos, labels, uniform_noise).numpy()
        assert scores.shape == (3,)
        changed = tf.concat([videos[:2], -videos[2:]], 0)
        other = discriminator(changed, labels, uniform_noise).numpy()
        np.testing.assert_allclose(other[:2], scores[:2], atol=1e-5)
        assert abs(other[2] - scores[2]) > 1e-4


def test_videos_are_float32_in_range_under_bfloat16():
    tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
    generator, z, labels = make_generator()
    videos = generator(z, labels, training=True)
    assert videos.dtype == tf.float32
    assert float(tf.reduce_max(tf.abs(videos))) <= 1.0


def test_gradients_in_bfloat16_are_those_of_float32():
    """Of 65,536 pixels: sums of so many need more than bfloat16."""
    z = tf.random.stateless_normal([4, 120], [0, 1])
    videos = tf.random.stateless_uniform([4, 8, 32, 32, 3], [2, 3], -1.0, 1.0)
    labels = tf.constant([0, 1, 2, 0])

    def score(discriminator):
        return discriminator(videos, labels, training=False)

    def generate(generator):
        return generator(z, labels, training=False) * videos

    for make, run in (
        (lambda: dvd_gan.Generator(32, 8, 3, ch=4), generate),
        (lambda: dvd_gan.SpatialDiscriminator(32, 3, ch=8, num_frames=8), score),
        (lambda: dvd_gan.TemporalDiscriminator(32, 3, ch=8), score),
    ):
        for name, found, expected in gradients_by_precision(make, run):
            error = np.linalg.norm(found - expected) / (np.linalg.norm(expected) + 1e-3)
            assert error < 0.3, (name, error)


@pytest.mark.long
@pytest.mark.parametrize(
    "resolution",
    [16, *(pytest.param(n, marks=pytest.mark.slow) for n in (32, 64, 128)), 256],
)
@pytest.mark.parametrize("num_classes", [0, 3])
@tf.autograph.experimental.do_not_convert
def test_every_resolution_builds_with_and_without_classes(resolution, num_classes):
    with graph_of_shapes():
        generator = dvd_gan.Generator(resolution, 3, num_classes, ch=1)
        videos = generator(tf.zeros([2, 120]), tf.zeros([2], tf.int32))
        assert videos.shape == [2, 3, resolution, resolution, 3]
        for discriminator in (
            dvd_gan.SpatialDiscriminator(resolution, num_classes, 1, num_frames=2),
            dvd_gan.TemporalDiscriminator(resolution, num_classes, 1),
        ):
            assert discriminator(videos, tf.zeros([2], tf.int32)).shape == [2]


def test_more_frames_than_the_loop_unrolls():
    generator = dvd_gan.Generator(16, 20, 2, ch=1)
    videos = generator(tf.zeros([1, 120]), tf.constant([1]), training=True)
    assert videos.shape == [1, 20, 16, 16, 3]


@pytest.mark.parametrize(
    ("phi", "shape"),
    [("pool2", 8), ("pool4", 4), ("none", 16), ("crop", 8)],
)
def test_phi_is_one_of_figure_6(phi, shape):
    discriminator = dvd_gan.TemporalDiscriminator(16, 2, ch=1, downsampling=phi)
    videos = tf.random.stateless_normal([2, 3, 16, 16, 3], [0, 1])
    num_uniforms = discriminator.num_uniforms(3)
    uniform_noise = tf.random.stateless_uniform([2, num_uniforms], [0, 2])
    seen = discriminator.downsample(videos, uniform_noise)
    assert seen.shape == [2, 3, shape, shape, 3]
    assert discriminator(videos, tf.constant([0, 1]), uniform_noise).shape == [2]


@pytest.mark.parametrize("k", [1, 2, 8, 10])
def test_spatial_score_is_the_sum_over_k_frames(k):
    discriminator = dvd_gan.SpatialDiscriminator(16, 2, ch=1, num_frames=k)
    videos = tf.random.stateless_normal([2, 10, 16, 16, 3], [0, 1])
    labels = tf.constant([0, 1])
    score = discriminator(videos, labels)
    discriminator.num_frames = 1
    alone = [discriminator(videos[:, t : t + 1], labels) for t in range(k)]
    np.testing.assert_allclose(score, tf.add_n(alone), rtol=1e-4, atol=1e-4)


def test_projection_head_equals_numpy():
    head = dvd_gan.ProjectionHead(5)
    x = tf.random.stateless_normal([3, 2, 4, 4, 6], [0, 1])
    labels = np.array([4, 0, 2])
    scores = head(x, tf.constant(labels))
    features = np.maximum(x.numpy(), 0).sum((2, 3))
    linear = head.linear.normalized_kernel().numpy()
    head.linear.bias.assign([0.5])
    embedding = head.embedding.normalized_kernel().numpy()[labels]
    expected = (features @ linear)[..., 0] + (features * embedding[:, None]).sum(-1)
    np.testing.assert_allclose(scores, expected, atol=1e-4)
    np.testing.assert_allclose(head(x, tf.constant(labels)), expected + 0.5, atol=1e-4)


def test_too_few_frames_for_k_are_refused():
    discriminator = dvd_gan.SpatialDiscriminator(16, 2, ch=1, num_frames=8)
    with pytest.raises(ValueError, match="scores 8 frames"):
        discriminator(tf.zeros([1, 4, 16, 16, 3]), tf.constant([0]))


def test_a_recurrence_may_be_at_chosen_stages_only():
    generator, _, _ = make_generator(recurrent_stages=(0,))
    kinds = [type(m).__name__ for m in generator.submodules]
    assert kinds.count("ConvGRU") == 1


def test_the_last_attention_is_before_the_final_residual_block():
    """Between the two blocks of the last stage (paper 002, appendix A.2)."""
    generator, z, labels = make_generator(last_attention=layers.SeparableAttention)
    seen = []

    def recording(name, layer):
        call = layer.call

        def record(x, *args, **kwargs):
            y = call(x, *args, **kwargs)
            seen.append((name, x.numpy(), y.numpy()))
            return y

        layer.call = record

    assert [stage.last_attention is not None for stage in generator.stages] == [
        False,
        True,
    ]
    last = generator.stages[-1]
    for part in ("height", "width", "time"):
        getattr(last.last_attention, f"over_{part}").gamma.assign(0.7)
    for name in ("block_1", "last_attention", "block_2"):
        recording(name, getattr(last, name))
    generator(z, labels)
    assert [name for name, _, _ in seen] == ["block_1", "last_attention", "block_2"]
    (_, _, of_block), (_, x, y), (_, into_last, _) = seen
    np.testing.assert_array_equal(of_block, x)
    np.testing.assert_array_equal(y, into_last)
    assert abs(y - x).max() > 1e-3


def test_an_unknown_resolution_names_those_there_are():
    with pytest.raises(ValueError, match="16, 32, 64, 128, 256"):
        dvd_gan.Generator(48, 3, 2)
