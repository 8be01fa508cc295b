"""Pictures of videos, and names from data beside them."""

import os

import numpy as np
import pytest

from tf_dvdgan import visualize

VIDEOS = np.zeros([3, 4, 16, 16, 3], np.uint8)


@pytest.mark.parametrize("name", ["two\nlines", "\x1b[31m\u202e", "c\udcff", "x" * 255])
def test_any_name_can_be_written_beside_a_video(name):
    sheet = visualize.strips(VIDEOS, ["a", name, "b"])
    assert sheet.shape[1] < 4 * 66 + 500
    assert sheet[:, :40].max() > 100


def test_every_video_and_a_grid_are_written(tmp_path):
    folder = str(tmp_path / "new" / "folder")
    for file_format in ("gif", "mp4", "png"):
        path = visualize.write(folder, VIDEOS, ["a", "b", "c"], file_format, 8.0)
        assert path == f"{folder}/grid.{file_format}"
        for stem in ("a", "b", "c", "grid"):
            assert os.path.getsize(f"{folder}/{stem}.{file_format}") > 0
