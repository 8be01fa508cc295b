"""Videos are cut where their scene changes, and not where things move."""

import numpy as np
import pytest

from data_prep import decoding, scenes
from tests.data_prep.fixtures import scene
from tf_dvdgan.data import video_io


def test_scenes_are_those_that_were_joined():
    lengths = [30, 12, 50, 9]
    video = np.concatenate([scene(seed, n) for seed, n in enumerate(lengths)])
    found = [np.stack(list(frames)) for frames in scenes.split(video, 25.0)]
    assert [len(frames) for frames in found] == lengths
    np.testing.assert_array_equal(np.concatenate(found), video)


def test_a_flash_is_no_scene():
    video = scene(0, 40)
    video[20] = 255
    assert len([list(frames) for frames in scenes.split(video, 25.0)]) <= 2


@pytest.mark.parametrize(
    ("segment_frames", "lengths"), [(0, [30, 12, 9]), (12, [12, 12, 12]), (60, [30])]
)
def test_clips_are_cut_at_scenes_before_they_are_cut_into_segments(
    tmp_path, segment_frames, lengths
):
    video = np.concatenate([scene(seed, n) for seed, n in enumerate((30, 12, 9))])
    path = str(tmp_path / "a.mp4")
    video_io.write_video(path, video)
    recipe = decoding.Recipe(
        32, "png", segment_frames=segment_frames, split_scenes=True
    )
    decoded = decoding.decode("video", [path], 0, recipe)
    assert list(decoded.segments.lengths.values()) == lengths
