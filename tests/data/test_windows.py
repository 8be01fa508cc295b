"""Which frames and pixels a window takes, against plain counting."""

import numpy as np
import pytest
import tensorflow as tf

from tf_dvdgan.data import windows


@pytest.mark.parametrize("length", [1, 5, 7, 8, 30, 31])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_the_middle_frames_are_those_in_the_middle(length, stride):
    window = windows.Window(4, 16, stride)
    found = window.frame_numbers(length).numpy()
    first = (max(length - window.length, 0) + 1) // 2
    expected = np.minimum(first + stride * np.arange(4), length - 1)
    np.testing.assert_array_equal(found, expected)


def test_positions_reach_every_window_and_none_beyond():
    window = windows.Window(3, 16, 2)  # 5 frames long
    firsts = [
        int(window.frame_numbers(9, position)[0])
        for position in np.linspace(0, 1, 50, endpoint=False, dtype=np.float32)
    ]
    assert set(firsts) == {0, 1, 2, 3, 4} and firsts == sorted(firsts)


def test_a_short_clip_repeats_its_last_frame_or_gives_consecutive_ones():
    repeating = windows.Window(4, 16, 2)
    consecutive = windows.Window(4, 16, 2, consecutive_if_short=True)
    assert repeating.frame_numbers(5).numpy().tolist() == [0, 2, 4, 4]
    assert consecutive.frame_numbers(5).numpy().tolist() == [1, 2, 3, 4]
    assert consecutive.frame_numbers(8).numpy().tolist() == [1, 3, 5, 7]


def test_numbers_and_tensors_give_the_same():
    for size, taken in ((21, 16), (16, 16), (9, 16), (64, 5)):
        position = np.float32(0.37)
        eager = int(windows.offset(size, taken, position))
        graph = tf.function(windows.offset)(tf.constant(size), taken, position)
        assert eager == int(graph) == int(np.floor(0.37 * (max(size - taken, 0) + 1)))
