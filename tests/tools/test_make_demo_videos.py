"""The procedural set: real codecs, UCF-101's layout, classes that differ."""

import os
import sys

import numpy as np
import pytest

from data_prep.sources import ucf101
from tf_dvdgan import demo_objects, errors
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


def centers(clip: np.ndarray) -> np.ndarray:
    """Center of what is brightest, for each frame: `[time, 2]` as (y, x)."""
    value = clip.max(-1).astype(float)
    mask = value > 180
    grid = np.stack(np.meshgrid(*map(np.arange, value.shape[1:]), indexing="ij"), -1)
    return np.stack([grid[m].mean(0) for m in mask])


@pytest.mark.parametrize("label", range(9))
def test_a_class_moves_as_its_name_says(label):
    ranges = np.ptp(centers(demo.render("shapes", label, (48, 64), [0, 1, 2])), axis=0)
    name = demo.SHAPE_CLASSES[label]
    assert (ranges[0] > 15) == (not name.startswith("Horizontal"))
    assert (ranges[1] > 15) == (not name.startswith("Vertical"))


def test_clips_are_a_function_of_the_seed():
    make = demo.render
    first = make("shapes", 4, (24, 32), [0, 1, 2])
    np.testing.assert_array_equal(first, make("shapes", 4, (24, 32), [0, 1, 2]))
    for other in ([1, 1, 2], [0, 2, 2], [0, 1, 3]):
        assert np.abs(first - make("shapes", 4, (24, 32), other)).max() > 0


def test_objects_move_by_physics_and_are_a_function_of_the_seed():
    clips = [demo.render("objects", label, (32, 32), [0, 0, 0]) for label in range(4)]
    assert [clip.shape for clip in clips] == [(40, 32, 32, 3)] * 4
    again = demo.render("objects", 0, (32, 32), [0, 0, 0])
    np.testing.assert_array_equal(clips[0], again)
    assert np.abs(again - demo.render("objects", 0, (32, 32), [0, 0, 1])).max() > 0
    moved = [np.abs(np.diff(clip.astype(int), axis=0)).mean() for clip in clips]
    assert min(moved) > 0.5


@pytest.mark.parametrize("seed", range(5))
def test_objects_fall_stay_within_the_walls_and_collide(seed):
    rng = np.random.default_rng(seed)
    space, objects = demo_objects._scene(rng, 1.0, falls=True)
    before = [one.body.position.y for one in objects]
    hits = []
    space.on_collision(None, None, begin=lambda *_: hits.append(1))
    for _ in range(160):
        space.step(0.01)
    assert np.mean([one.body.position.y for one in objects]) > np.mean(before) + 0.1
    for one in objects:
        assert 0.0 < one.body.position.x < 1.0 and one.body.position.y < 1.0
    assert hits
    # Those of two layers pass one another; the front ones are painted last.
    masks = {next(iter(one.body.shapes)).filter.mask & 0b11 for one in objects}
    assert masks == {0b01, 0b10}
    assert [one.layer for one in objects] == sorted(one.layer for one in objects)


@pytest.mark.parametrize("seed", [-1, 1.5])
def test_a_seed_that_numpy_does_not_take_is_refused(seed, tmp_path):
    with pytest.raises(errors.UserError, match=f"`seed` must be .*, not {seed}"):
        demo.write_dataset(str(tmp_path / "a"), "shapes", 1, (16, 16), seed)
    assert not os.listdir(tmp_path)


def test_a_missing_engine_is_reported(monkeypatch):
    monkeypatch.setitem(sys.modules, "pymunk", None)
    with pytest.raises(errors.UserError, match="need pymunk: pip install"):
        demo.render("objects", 0, (32, 32), [0, 0, 0])


def test_digits_are_ten_classes_that_look_different():
    clips = [demo.render("digits", d, (32, 32), [0, 0, 0]) for d in range(10)]
    assert len(demo.class_names("digits")) == 10
    assert all(np.ptp(centers(clip), axis=0).max() > 5 for clip in clips)
