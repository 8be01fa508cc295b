"""Augmentations of clips against NumPy, clip by clip and pixel by pixel."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tf_dvdgan.training import augmentation
from tf_dvdgan.training.augmentation import NUM_UNIFORMS, Augmentation

OFF = {"brightness": 0, "saturation": 0, "contrast": 0, "translation": 0, "cutout": 0}
# Places of the numbers, as the module has them: which group applies, then values.
COLOR, ZOOM, TRANSLATION, CUTOUT, FLIP, REVERSE = range(6)


def clips(batch=6, time=3, height=8, width=8, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1, [batch, time, height, width, 3]).astype(np.float32)


def numbers(batch=6, seed=1):
    rng = np.random.default_rng(seed)
    return rng.uniform(0, 1, [batch, NUM_UNIFORMS]).astype(np.float32)


def apply(videos, uniforms, **settings):
    made = Augmentation(**{**OFF, **settings})
    return made(tf.constant(videos), tf.constant(uniforms)).numpy()


def test_without_any_transform_or_with_probability_0_clips_stay_as_they_are():
    videos, uniforms = clips(), numbers()
    np.testing.assert_array_equal(apply(videos, uniforms), videos)
    full = Augmentation(flip=True, reverse=True, zoom=0.5, probability=0.0)
    np.testing.assert_allclose(full(videos, uniforms), videos, atol=1e-6)


def test_color():
    videos, uniforms = clips(), numbers()
    found = apply(videos, uniforms, brightness=0.5, saturation=1.0, contrast=0.5)
    for x, u, y in zip(videos, uniforms, found, strict=True):
        x = x + (u[6] - 0.5)  # from -0.5 to 0.5
        gray = x.mean(-1, keepdims=True)
        x = gray + 2 * u[7] * (x - gray)  # from 0 to 2 times
        x = x.mean() + (u[8] + 0.5) * (x - x.mean())  # from 0.5 to 1.5 times
        np.testing.assert_allclose(y, x, atol=1e-5)


@pytest.mark.parametrize("height, width", [(8, 8), (9, 12)])
def test_translation_shifts_whole_pixels_and_leaves_gray(height, width):
    videos, uniforms = clips(height=height, width=width), numbers()
    found = apply(videos, uniforms, translation=0.25)
    largest = round(0.25 * height), round(0.25 * width)
    for x, u, y in zip(videos, uniforms, found, strict=True):
        down = math.floor(u[10] * (2 * largest[0] + 1)) - largest[0]
        right = math.floor(u[11] * (2 * largest[1] + 1)) - largest[1]
        expected = np.zeros_like(x)
        for i in range(height):
            for j in range(width):
                if 0 <= i - down < height and 0 <= j - right < width:
                    expected[:, i, j] = x[:, i - down, j - right]
        np.testing.assert_allclose(y, expected, atol=1e-6)


def test_translation_reaches_both_ends_equally():
    uniforms = np.zeros([400, NUM_UNIFORMS], np.float32)
    uniforms[:, 10] = (np.arange(400) + 0.5) / 400
    videos = np.zeros([400, 1, 8, 8, 3], np.float32)
    videos[:, :, 4] = 1.0
    found = apply(videos, uniforms, translation=0.25)
    rows = found[:, 0, :, 4, 0].argmax(axis=1)
    assert np.bincount(rows).tolist() == [0, 0, 80, 80, 80, 80, 80]


def test_zoom_is_bilinear_around_the_middle():
    videos, uniforms = clips(height=8, width=10), numbers()
    found = apply(videos, uniforms, zoom=0.5)
    for x, u, y in zip(videos, uniforms, found, strict=True):
        factor = 1.5 ** (2 * u[9] - 1)
        expected = np.zeros_like(x)
        for i in range(8):
            for j in range(10):
                a, b = 3.5 + (i - 3.5) / factor, 4.5 + (j - 4.5) / factor
                for k in (math.floor(a), math.floor(a) + 1):
                    for m in (math.floor(b), math.floor(b) + 1):
                        if 0 <= k < 8 and 0 <= m < 10:
                            weight = (1 - abs(a - k)) * (1 - abs(b - m))
                            expected[:, i, j] += weight * x[:, k, m]
        np.testing.assert_allclose(y, expected, atol=2e-5)


def test_flips_in_space_and_time():
    videos, uniforms = clips(40), numbers(40)
    mirrored = apply(videos, uniforms, flip=True)
    backwards = apply(videos, uniforms, reverse=True)
    for x, u, in_space, in_time in zip(
        videos, uniforms, mirrored, backwards, strict=True
    ):
        np.testing.assert_array_equal(in_space, x[:, :, ::-1] if u[14] < 0.5 else x)
        np.testing.assert_array_equal(in_time, x[::-1] if u[15] < 0.5 else x)
    assert 0 < (uniforms[:, 14] < 0.5).sum() < 40


@pytest.mark.parametrize("size", [8, 9])
def test_cutout_is_one_square_of_a_clip(size):
    videos, uniforms = clips(40, height=size, width=size), numbers(40)
    found = apply(videos, uniforms, cutout=0.5)
    side = round(0.5 * size)
    for x, u, y in zip(videos, uniforms, found, strict=True):
        top, left = (
            math.floor(u[n] * (size + 1 - side % 2)) - side // 2 for n in (12, 13)
        )
        expected = x.copy()
        expected[:, max(top, 0) : top + side, max(left, 0) : left + side] = 0
        np.testing.assert_array_equal(y, expected)


def test_all_transforms_follow_one_another_in_the_documented_order():
    """Color, reversal, then flip, zoom and shift as one motion, then cutout."""
    height, width = 8, 10
    videos, uniforms = clips(40, height=height, width=width), numbers(40)
    color = {"brightness": 0.5, "saturation": 1.0, "contrast": 0.5}
    moves = {"reverse": True, "flip": True, "zoom": 0.5, "translation": 0.25}
    found = apply(videos, uniforms, probability=0.7, cutout=0.5, **color, **moves)
    colored = apply(videos, uniforms, probability=0.7, **color)

    def sources(size, shift, factor, flipped):
        """For each pixel of a line, where its value comes from."""
        for i in range(size):
            middle = (size - 1) / 2
            at = middle + (i - shift - middle) / factor
            yield size - 1 - at if flipped else at

    def bilinear(x, y_of, x_of):
        total = np.zeros([len(x), 3], np.float32)
        for k in (math.floor(y_of), math.floor(y_of) + 1):
            for m in (math.floor(x_of), math.floor(x_of) + 1):
                if 0 <= k < height and 0 <= m < width:
                    total += (1 - abs(y_of - k)) * (1 - abs(x_of - m)) * x[:, k, m]
        return total

    for x, u, y in zip(colored, uniforms, found, strict=True):
        does = u < 0.7
        if does[REVERSE] and u[15] < 0.5:
            x = x[::-1]
        factor = 1.5 ** (2 * u[9] - 1) if does[ZOOM] else 1.0
        down, right = (
            math.floor(u[n] * (2 * most + 1)) - most if does[TRANSLATION] else 0
            for n, most in ((10, 2), (11, 2))
        )
        flipped = does[FLIP] and u[14] < 0.5
        expected = np.zeros_like(x)
        for i, y_of in enumerate(sources(height, down, factor, False)):
            for j, x_of in enumerate(sources(width, right, factor, flipped)):
                expected[:, i, j] = bilinear(x, y_of, x_of)
        if does[CUTOUT]:
            top = math.floor(u[12] * (height + 1)) - 2
            left = math.floor(u[13] * width) - 2  # of five columns
            expected[:, max(top, 0) : top + 4, max(left, 0) : left + 5] = 0
        np.testing.assert_allclose(y, expected, atol=2e-5)


def test_each_group_applies_with_the_probability():
    count = 600
    uniforms, videos = numbers(count), clips(count, time=2)
    ways = {
        COLOR: {"brightness": 0.5},
        TRANSLATION: {"translation": 0.25},
        CUTOUT: {"cutout": 0.5},
        ZOOM: {"zoom": 0.5},
        FLIP: {"flip": True},
        REVERSE: {"reverse": True},
    }
    for place, settings in ways.items():
        found = apply(videos, uniforms, probability=0.3, **settings)
        changed = np.abs(found - videos).max(axis=(1, 2, 3, 4)) > 1e-6
        assert not changed[uniforms[:, place] >= 0.3].any()
        share = {FLIP: 0.15, REVERSE: 0.15}.get(place, 0.3)
        assert changed.mean() == pytest.approx(share, abs=0.06)


def test_the_gradient_passes_through_all_of_it_exactly():
    """The transforms are linear in the clip but for color, and that is too."""
    made = Augmentation(flip=True, reverse=True, zoom=0.3)
    videos, uniforms = clips(2), numbers(2)
    direction = clips(2, seed=5)
    with tf.GradientTape() as tape:
        x = tf.constant(videos)
        tape.watch(x)
        total = tf.reduce_sum(tf.square(made(x, uniforms)))
    gradient = tape.gradient(total, x).numpy()
    ahead, behind = (
        float(tf.reduce_sum(tf.square(made(videos + s * direction, uniforms))))
        for s in (0.5, -0.5)
    )
    along = float((gradient.astype(np.float64) * direction).sum())
    assert along == pytest.approx(ahead - behind, rel=1e-4)  # exact for a square


def test_all_transforms_of_a_clip_are_the_same_in_each_frame():
    still = np.repeat(clips(8, time=1), 4, axis=1)
    found = apply(
        still, numbers(8), translation=0.25, cutout=0.5, zoom=0.3, brightness=0.5
    )
    assert np.abs(found - found[:, :1]).max() < 1e-6


def test_values_out_of_range_are_refused():
    for name, value in {"cutout": 1.5, "zoom": -0.1, "probability": 2.0}.items():
        with pytest.raises(ValueError, match=f"{name} must be from 0 to"):
            Augmentation(**{name: value})


def test_an_alarm_raises_the_probability_up_to_1():
    made = Augmentation(probability=0.25)
    assert made.raise_probability(0.5) == 0.75
    assert made.raise_probability(0.5) == 1.0 and int(made.num_raises) == 2
    assert augmentation.Augmentation().metric_names == ("augmentation/probability",)
