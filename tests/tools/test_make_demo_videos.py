"""The procedural set: real codecs, UCF-101's layout, classes that differ."""

import os

import numpy as np
import pytest

from data_prep.sources import ucf101
from tf_dvdgan import demo_videos as demo
from tf_dvdgan.data import video_reader


def test_files_are_encoded_listed_and_of_both_kinds(demo_videos):
    listing = ucf101.list_clips(demo_videos)
    assert len(listing.class_names) == 9 and len(listing.clips) == 144
    suffixes = {os.path.splitext(clip.path)[1] for clip in listing.clips}
    assert suffixes == {".avi", ".mp4"}
    for clip in listing.clips[:4]:
        reader = video_reader.VideoReader(os.path.join(demo_videos, clip.path))
        frames = np.stack(list(reader))
        assert frames.shape == (40, 24, 32, 3) and reader.fps == 25.0
    assert {clip.split for clip in listing.clips} == {"train", "test"}
    for split in ("train", "test"):
        labels = {clip.label for clip in listing.clips if clip.split == split}
        assert labels == set(range(9))


def centres(clip: np.ndarray) -> np.ndarray:
    """Centre of what is brightest, for each frame: `[time, 2]` as (y, x)."""
    value = clip.max(-1).astype(float)
    mask = value > 180
    grid = np.stack(np.meshgrid(*map(np.arange, value.shape[1:]), indexing="ij"), -1)
    return np.stack([grid[m].mean(0) for m in mask])


@pytest.mark.parametrize("label", range(9))
def test_a_class_moves_as_its_name_says(label):
    ranges = np.ptp(centres(demo.render("shapes", label, (48, 64), [0, 1, 2])), axis=0)
    name = demo.SHAPE_CLASSES[label]
    assert (ranges[0] > 15) == (not name.startswith("Horizontal"))
    assert (ranges[1] > 15) == (not name.startswith("Vertical"))


def test_clips_are_a_function_of_the_seed():
    make = demo.render
    first = make("shapes", 4, (24, 32), [0, 1, 2])
    np.testing.assert_array_equal(first, make("shapes", 4, (24, 32), [0, 1, 2]))
    for other in ([1, 1, 2], [0, 2, 2], [0, 1, 3]):
        assert np.abs(first - make("shapes", 4, (24, 32), other)).max() > 0


def test_digits_are_ten_classes_that_look_different():
    clips = [demo.render("digits", d, (32, 32), [0, 0, 0]) for d in range(10)]
    assert len(demo.class_names("digits")) == 10
    assert all(np.ptp(centres(clip), axis=0).max() > 5 for clip in clips)
