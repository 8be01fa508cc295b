"""Video files that are good, and the many ways they are not."""

import os

import numpy as np
import pytest

from tf_dvdgan.data import video_io


def clip(num_frames=30, height=48, width=64):
    frames = np.zeros([num_frames, height, width, 3], np.uint8)
    for t in range(num_frames):
        frames[t, 10:30, t : t + 20] = [240, 60, 20]
    return frames


@pytest.mark.parametrize("suffix", ["avi", "mp4"])
def test_what_is_written_is_read_back(tmp_path, suffix):
    path, frames = str(tmp_path / f"clip.{suffix}"), clip()
    video_io.write_video(path, frames, fps=25.0)
    reader = video_io.VideoReader(path)
    read = np.stack(list(reader))
    assert (reader.fps, reader.height, reader.width) == (25.0, 48, 64)
    assert read.shape == frames.shape
    assert np.abs(read.astype(int) - frames).mean() < 3


@pytest.mark.parametrize("suffix", ["avi", "mp4"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_truncated_file_is_refused(tmp_path, suffix, share):
    noise = np.random.default_rng(0).integers(0, 255, [40, 96, 96, 3], np.uint8)
    whole, cut = str(tmp_path / f"whole.{suffix}"), str(tmp_path / f"cut.{suffix}")
    video_io.write_video(whole, noise, fps=25.0)
    data = open(whole, "rb").read()
    with open(cut, "wb") as file:
        file.write(data[: int(len(data) * share)])
    with pytest.raises(video_io.VideoError):
        list(video_io.VideoReader(cut))


def test_a_clip_shorter_than_its_container_says_is_refused(tmp_path, monkeypatch):
    path = str(tmp_path / "clip.avi")
    video_io.write_video(path, clip(), fps=25.0)
    monkeypatch.setattr(video_io, "_frames_promised", lambda _: 40)
    with pytest.raises(video_io.VideoError, match="truncated: 30 of 40 frames"):
        list(video_io.VideoReader(path))


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "empty file"), (b"plain text\n" * 99, "not a video")],
)
def test_what_is_no_video_is_refused(tmp_path, content, reason):
    path = tmp_path / "x.avi"
    path.write_bytes(content)
    with pytest.raises(video_io.VideoError, match=reason):
        video_io.VideoReader(str(path))


def test_a_folder_and_a_missing_file_are_refused(tmp_path):
    for path in (tmp_path, tmp_path / "missing.avi"):
        with pytest.raises(video_io.VideoError, match="not a file"):
            video_io.VideoReader(str(path))


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


def test_other_suffixes_are_refused():
    with pytest.raises(ValueError, match=r"Received: clip\.txt"):
        video_io.write_video("clip.txt", clip())
