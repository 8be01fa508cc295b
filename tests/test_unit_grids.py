"""Units are selected, and shown where they are active."""

import numpy as np

from tf_dvdgan import text_drawing, unit_grids


def test_units_are_shown_where_they_are_most_active():
    rng = np.random.default_rng(0)
    frames = rng.integers(100, 256, [5, 64, 64, 3], np.uint8)
    active = rng.uniform(0, 0.1, [5, 4, 4, 3])
    active[3, 1, 2, 1] = 9.0  # of unit 1, in frame 3
    active[:, :, :, 2] = 5.0  # unit 2 is active everywhere
    assert unit_grids.selective_units(active, 2)[0] == 1
    picture = unit_grids.unit_grid(frames, active, [1], num_columns=2)
    left = text_drawing.margin(["unit 1"])
    cell = picture[:64, left : left + 64]
    lit = (cell == frames[3]).all(axis=-1)
    ys, xs = np.nonzero(lit)
    assert abs(ys.mean() - 24) < 2 and abs(xs.mean() - 40) < 2  # of 16 pixels each
    np.testing.assert_array_equal(cell[~lit], frames[3][~lit] // 4)
