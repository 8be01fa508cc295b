"""Pictures of videos, and names from data beside them."""

import json

import av
import numpy as np
import pytest
from PIL import Image

from tf_dvdgan import text_drawing, visualize

CLASSES = ["x", "ÿ", "z"]
METADATA = [{"class": name, "seed": 3} for name in CLASSES]
VIDEOS = np.zeros([3, 4, 16, 16, 3], np.uint8)


@pytest.mark.parametrize("name", ["two\nlines", "\x1b[31m\u202e", "c\udcff", "x" * 255])
def test_any_name_can_be_written_beside_a_video(name):
    sheet = visualize.strips(VIDEOS, ["a", name, "b"])
    assert sheet.shape[1] < 4 * 66 + 500
    assert sheet[:, :40].max() > 100


def test_every_video_and_a_grid_are_written(tmp_path):
    folder = str(tmp_path / "new" / "folder")
    for file_format in ("gif", "mp4", "png"):
        path = visualize.write(
            folder, VIDEOS, ["a", "b", "c"], file_format, 8.0, METADATA, ["x", "y", "z"]
        )
        assert path == f"{folder}/grid.{file_format}"
        for stem in ("a", "b", "c", "grid"):
            known = json.loads(metadata(f"{folder}/{stem}.{file_format}"))
            assert known["class"] == {"a": "x", "b": "ÿ", "c": "z"}.get(stem, CLASSES)
            assert known["seed"] == 3


def metadata(path: str) -> str:
    """What a file's own text says, read by what its format's programs would use."""
    if path.endswith(".mp4"):
        with av.open(path) as container:
            assert container.metadata["description"] == container.metadata["comment"]
            return container.metadata["comment"]
    with Image.open(path) as image:
        return (
            image.text["Description"] if path.endswith("png") else image.info["comment"]
        )


def test_time_runs_down_in_columns():
    rng = np.random.default_rng(0)
    videos = rng.integers(0, 256, [4, 20, 64, 64, 3], np.uint8)
    image = visualize.columns(videos, ["left", "0.5", "0.75", "right"], num_columns=2)
    half = len(image) // 2
    left = text_drawing.margin(["frame 20", "frame 17"])
    for i, block in enumerate((image[:half], image[half:])):
        head = len(block) - 8 * 66
        for column in range(2):
            x = left + 66 * column
            assert block[:head, x : x + 64].max() > 100  # a caption
            for row, frame in enumerate((0, 3, 5, 8, 11, 14, 16, 19)):
                found = block[head + 66 * row :, x:][:64, :64]
                np.testing.assert_array_equal(found, videos[2 * i + column, frame])


def test_rows_of_what_belongs_together(tmp_path):
    videos = np.zeros([4, 2, 64, 64, 3], np.uint8)
    stems, metadata = list("abcd"), [{"index": i} for i in range(4)]
    path = visualize.write(
        str(tmp_path), videos, stems, "gif", 8.0, metadata, list("ppqq"), ["0.5", "1"]
    )
    with Image.open(path) as image:
        assert image.height == 2 * (64 + 2 + 18) and image.width > 2 * 66


def test_first_frames_of_many_videos_make_a_square():
    videos = np.random.default_rng(0).integers(0, 256, [7, 3, 64, 64, 3], np.uint8)
    picture = visualize.first_frames(videos)
    assert picture.shape == (3 * 66, 3 * 66, 3)
    for i in range(7):
        top, left = 66 * (i // 3), 66 * (i % 3)
        found = picture[top : top + 64, left : left + 64]
        np.testing.assert_array_equal(found, videos[i, 0])


def test_frames_of_a_long_video_are_in_raster_order():
    video = np.random.default_rng(0).integers(0, 256, [1, 48, 64, 64, 3], np.uint8)
    picture = visualize.raster(video)
    assert picture.shape == (6 * 66, 8 * 66, 3)  # as paper 001's figure 5
    for i in (0, 7, 8, 47):
        top, left = 66 * (i // 8), 66 * (i % 8)
        found = picture[top : top + 64, left : left + 64]
        np.testing.assert_array_equal(found, video[0, i])


def test_videos_of_several_models_become_alike():
    small, large = np.zeros([2, 9, 4, 4, 3]), np.zeros([2, 5, 6, 6, 3])
    small[:] = np.arange(4)[:, None, None]
    fitted = visualize.match_sizes([small, large])
    assert [videos.shape for videos in fitted] == [(2, 5, 6, 6, 3)] * 2
    np.testing.assert_array_equal(fitted[0][0, 0, :, 0, 0], [0, 0, 1, 2, 2, 3])
