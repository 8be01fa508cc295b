"""Videos and images that are written, and frames that are resized."""

import os

import numpy as np
import pytest
from PIL import Image

from tf_dvdgan import demo_videos
from tf_dvdgan.data import video_io, video_reader


def clip(num_frames=30, height=48, width=64):
    frames = np.zeros([num_frames, height, width, 3], np.uint8)
    for t in range(num_frames):
        frames[t, 10:30, t : t + 20] = [240, 60, 20]
    return frames


@pytest.mark.parametrize("suffix", ["avi", "mp4"])
def test_what_is_written_is_read_back(tmp_path, suffix):
    path, frames = str(tmp_path / f"clip.{suffix}"), clip()
    video_io.write_video(path, frames, fps=25.0)
    reader = video_reader.VideoReader(path)
    read = np.stack(list(reader))
    assert (reader.fps, reader.height, reader.width) == (25.0, 48, 64)
    assert read.shape == frames.shape
    assert np.abs(read.astype(int) - frames).mean() < 3


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((48, 64), (32, 43)), ((64, 48), (43, 32)), ((10, 10), (32, 32))],
)
def test_the_smaller_side_becomes_the_resolution(shape, expected):
    frame = np.zeros([*shape, 3], np.uint8)
    assert video_io.resize_smallest_side(frame, 32).shape == (*expected, 3)


@pytest.mark.parametrize(
    ("suffix", "beginning"), [("gif", b"GIF89a"), ("png", b"\x89PNG")]
)
def test_pictures_are_written_by_suffix(tmp_path, suffix, beginning):
    path = tmp_path / f"clip.{suffix}"
    video_io.write_video(str(path), clip(num_frames=3))
    assert path.read_bytes().startswith(beginning)
    assert os.listdir(tmp_path) == [path.name]


def test_a_video_that_cannot_be_encoded_leaves_no_file(tmp_path):
    with pytest.raises(ValueError, match="unpack"):
        video_io.write_video(str(tmp_path / "clip.mp4"), np.zeros([2, 4]))
    assert not os.listdir(tmp_path)


def test_gray_of_16_bits_is_not_clipped(tmp_path):
    ramp = np.linspace(0, 65535, 256).astype(np.uint16)
    Image.fromarray(np.tile(ramp, (4, 1))).save(tmp_path / "a.png")
    found = video_io.read_image(str(tmp_path / "a.png"))
    np.testing.assert_array_equal(found[2], np.repeat(np.arange(256), 3).reshape(-1, 3))


def test_a_link_that_leads_nowhere_is_named(tmp_path):
    (tmp_path / "a.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(video_io.VideoError, match="its link leads nowhere"):
        video_io.read_image(str(tmp_path / "a.png"))


def test_other_suffixes_are_refused():
    with pytest.raises(ValueError, match=r"Received: clip\.txt"):
        video_io.write_video("clip.txt", clip())


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_the_same_frames_make_the_same_file(suffix):
    """Regardless of memory beside them: x264 would give several results in 30 runs."""
    frames = demo_videos.render("shapes", 0, (48, 64), [0, 0, 3])
    kept, found = [], set()
    for i in range(30):
        kept.append(np.zeros(97 * i, np.uint8))
        found.add(video_io.encode_video(frames, suffix, 25.0))
    assert len(found) == 1
