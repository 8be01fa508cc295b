"""A dataset of one's own: what is refused, noticed and reported."""

import itertools
import time

import numpy as np
import pytest
import tensorflow as tf

from tf_dvdgan import errors
from tf_dvdgan.data import training_data, windows

NAMES = ["run", "jump", "sit"]
SHAPE = (2, 4, 4, 3)


def videos(count: int = 12) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, [count, *SHAPE], np.uint8)


def floats(count: int = 12, lowest: float = -1.0, highest: float = 1.0) -> np.ndarray:
    return (lowest + videos(count) / 255.0 * (highest - lowest)).astype(np.float32)


def clips(of: np.ndarray | tf.Tensor, labels=None) -> training_data.Clips:
    labels = np.arange(len(of)) % 3 if labels is None else labels
    return opened(tf.data.Dataset.from_tensor_slices((of, labels)))


def opened(dataset: tf.data.Dataset) -> training_data.Clips:
    return training_data.Clips(dataset, NAMES, windows.Window(2, 4))


def generated(elements, shape=(None, 4, 4, 3)) -> training_data.Clips:
    """A dataset of what a function yields, whose lengths are not known before."""
    spec = (tf.TensorSpec(shape, tf.uint8), tf.TensorSpec([], tf.int64))
    return opened(tf.data.Dataset.from_generator(elements, output_signature=spec))


def check(data: training_data.Clips, class_conditional: bool = True) -> None:
    data.check(class_conditional, verbose=True)


def read(data: training_data.Clips, count: int) -> list[dict[str, np.ndarray]]:
    return list(data.rows(1, seed=0).take(count).as_numpy_iterator())


@pytest.mark.parametrize("dtype", ["bool", "int32", "int64", "uint16"])
def test_videos_of_another_dtype_are_refused(dtype):
    message = rf"videos must be uint8, or floats in \[-1, 1\], not {dtype}\."
    with pytest.raises(errors.UserError, match=message):
        clips(videos().astype(dtype))


@pytest.mark.parametrize("dtype", ["bool", "float32", "str"])
def test_labels_that_are_no_whole_numbers_are_refused(dtype):
    name = "string" if dtype == "str" else dtype
    message = rf"labels must be whole numbers, such as int64, not {name}\."
    with pytest.raises(errors.UserError, match=message):
        clips(videos(), (np.arange(12) % 3).astype(dtype))


def test_elements_that_are_no_pairs_of_tensors_are_refused():
    pairs = tf.data.Dataset.from_tensor_slices(({"video": videos()}, np.arange(12)))
    with pytest.raises(errors.UserError, match="must be pairs of video and label"):
        opened(pairs)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("labels", ["uint8", "int32", "int64"])
def test_floats_and_whole_labels_of_any_size_are_suitable(dtype, labels, capsys):
    data = clips(tf.cast(floats(), dtype), (np.arange(12) % 3).astype(labels))
    check(data)
    assert capsys.readouterr().out == ""
    rows = read(data, 3)
    expected = videos()[:3].astype(int)
    atol = 1 if dtype == "bfloat16" else 0
    np.testing.assert_allclose([r["video"] for r in rows], expected, atol=atol)
    assert [row["label"] for row in rows] == [0, 1, 2]
    assert all(row["label"].dtype == np.int32 for row in rows)


@pytest.mark.parametrize("label", [-1, 3, 2**32])
def test_a_label_without_a_class_is_refused_behind_the_first_row_too(label):
    labels = np.arange(12) % 3
    labels[7] = label
    with pytest.raises(
        errors.UserError, match=rf"it has the label {label}, but there are only 3 clas"
    ):
        check(clips(videos(), labels))


def test_labels_that_a_model_ignores_may_be_any():
    data = clips(videos(), np.arange(12) * 7 - 5)
    check(data, class_conditional=False)
    assert len(read(data, 12)) == 12


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(value):
    of = floats()
    of[5, 1, 2, 3, 0] = value
    with pytest.raises(errors.UserError, match="video with values that are not finite"):
        check(clips(of))


@pytest.mark.parametrize("ends", [(0, 255), (-127.5, 127.5), (-1, 1.8), (-2, 1)])
def test_floats_of_another_range_are_refused_with_the_range(ends):
    message = rf"from {ends[0]:g} to {ends[1]:g}, but floats must be in \[-1, 1\]"
    with pytest.raises(errors.UserError, match=message):
        check(clips(floats(40, *ends)))


def test_what_resizing_overshoots_is_clipped():
    sharp = np.where(np.arange(12) // 3 % 2, 1.0, -1.0).astype(np.float32)
    sharp = np.broadcast_to(sharp[:, None, None], [12, 12, 12, 3])
    resized = tf.image.resize(sharp, [4, 4], "lanczos3", antialias=False)
    resized = tf.image.resize(resized, [4, 4]).numpy()
    resized[0, 0, 0] = -1.3
    of = np.stack([resized, resized], axis=1)
    data = clips(of)
    check(data)
    assert read(data, 1)[0]["video"].min() == 0


@pytest.mark.parametrize(
    ("of", "is_said"),
    [(floats(12, 0, 1), True), (floats(12, -0.1, 1), False), (videos(), False)],
)
def test_floats_from_0_are_noticed(of, is_said, capsys):
    clips(of).check(True, verbose=False)
    assert capsys.readouterr().out == ""
    check(clips(of))
    out = capsys.readouterr().out
    assert ("no value below 0" in out and "2 * video - 1" in out) == is_said


def test_a_clip_of_another_length_is_refused():
    def elements():
        for i in range(9):
            yield np.zeros([3 if i == 6 else 2, 4, 4, 3], np.uint8), i % 3

    with pytest.raises(errors.UserError) as error:
        check(generated(elements))
    assert str(error.value) == (
        "The dataset cannot be used: it has a video of shape (3, 4, 4, 3) instead of "
        "(2, 4, 4, 3)."
    )
    with pytest.raises(errors.UserError, match=r"\(3, 4, 4, 3\) instead of"):
        generated(elements).clips(9)
    with pytest.raises(errors.UserError, match=r"\(3, 4, 4, 3\) instead of"):
        generated(elements, None).sample(9, held_out=False)


def test_an_error_of_the_dataset_is_one_sentence():
    def elements():
        yield videos()[0], 0
        raise ValueError("no such file: x.mp4")

    with pytest.raises(errors.UserError) as error:
        check(generated(elements))
    reason = "ValueError: no such file: x.mp4"
    assert str(error.value) == f"The dataset cannot be used: {reason}."


@pytest.mark.parametrize("seconds", [99.0, 0.05])
def test_the_check_reads_few_rows_and_not_for_long(seconds, monkeypatch):
    monkeypatch.setattr(training_data, "_CHECK_SECONDS", seconds)
    seen = []

    def elements():
        for i in itertools.count():
            seen.append(i)
            if seconds < 1:
                time.sleep(0.02)
            yield videos(1)[0], i % 3

    check(generated(elements))
    first = seen[: seen.index(0, 1)]
    assert (len(first) < 10) if seconds < 1 else (256 <= len(first) < 270)
    assert len(seen) - len(first) < 12


@pytest.mark.parametrize("fault", ["label", "not finite"])
def test_faults_of_later_rows_are_errors(fault, monkeypatch):
    monkeypatch.setattr(training_data, "_CHECKED_ROWS", 4)
    of, labels = floats(), np.arange(12) % 3
    if fault == "label":
        labels[7] = 3
    else:
        of[7, 0, 0, 0, 0] = np.nan
    data = clips(of, labels)
    check(data)
    assert len(read(data, 7)) == 7
    with pytest.raises(tf.errors.InvalidArgumentError, match=fault):
        read(data, 8)


def shuffled(**settings) -> training_data.Clips:
    given = tf.data.Dataset.from_tensor_slices((videos(60), np.arange(60) % 3))
    return opened(given.shuffle(60, **settings))


@pytest.mark.parametrize(
    ("settings", "is_said"),
    [
        ({}, True),
        ({"seed": 0}, True),
        ({"seed": 0, "reshuffle_each_iteration": False}, False),
    ],
)
def test_another_order_at_each_reading_is_noticed(settings, is_said, capsys):
    shuffled(**settings).check(True, verbose=False)
    assert capsys.readouterr().out == ""
    check(shuffled(**settings))
    out = capsys.readouterr().out
    assert ("pass reshuffle_each_iteration=False" in out) == is_said
    assert bool(out) == is_said


def test_a_dataset_that_can_be_read_only_once_is_refused():
    elements = iter([(video, 0) for video in videos()])
    with pytest.raises(errors.UserError, match="nothing when it is read again"):
        check(generated(lambda: elements))
