"""Video files that are good, and the many ways they are not."""

import os
from fractions import Fraction

import av
import numpy as np
import pytest

from tf_dvdgan import demo_videos
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


def muxed(path, frames, times=None, keep_start=False):
    """Writes H.264 or MPEG-4 frames at times in ticks of 1/25 s; some below zero."""
    options = {"avoid_negative_ts": "disabled", "use_editlist": "1"}
    with av.open(path, "w", options=options if keep_start else {}) as container:
        codec = "mpeg4" if path.endswith("avi") else "libx264"
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt, stream.codec_context.max_b_frames = "yuv420p", 0
        for time, frame in zip(times, frames, strict=True):
            picture = av.VideoFrame.from_ndarray(frame, "rgb24")
            picture.pts, picture.time_base = time, Fraction(1, 25)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def test_a_clip_that_was_cut_out_shows_what_is_to_be_shown(tmp_path):
    frames = np.full([40, 48, 64, 3], 128, np.uint8)
    frames[:10] = 0  # there only so that the others can be decoded
    path = str(tmp_path / "cut_out.mp4")
    muxed(path, frames, range(-10, 30), keep_start=True)
    read = np.stack(list(video_io.VideoReader(path)))
    assert len(read) == 30 and read.min() > 100


def test_pauses_in_an_avi_are_no_missing_frames(tmp_path):
    frames = np.random.default_rng(0).integers(0, 255, [24, 48, 64, 3], np.uint8)
    path = str(tmp_path / "pauses.avi")
    muxed(path, frames, range(0, 96, 4))
    assert len(list(video_io.VideoReader(path))) == 24
    os.truncate(path, os.path.getsize(path) * 2 // 3)
    with pytest.raises(video_io.VideoError, match="truncated: 11 of 93"):
        list(video_io.VideoReader(path))


def test_a_truncated_file_without_a_count_is_refused(tmp_path):
    path = str(tmp_path / "clip.mkv")
    frames = np.random.default_rng(0).integers(0, 255, [40, 48, 64, 3], np.uint8)
    muxed(path, frames, range(40))
    assert len(list(video_io.VideoReader(path))) == 40
    os.truncate(path, os.path.getsize(path) // 2)
    with pytest.raises(video_io.VideoError, match="truncated: 0"):
        list(video_io.VideoReader(path))


def test_a_text_is_neither_a_video_nor_a_list_of_files(tmp_path):
    video_io.write_video(str(tmp_path / "clip.mp4"), clip())
    path = tmp_path / "readme.txt"
    for text in ("plain text\n" * 99, "ffconcat version 1.0\nfile clip.mp4\n"):
        path.write_text(text)
        with pytest.raises(video_io.VideoError, match="not a video"):
            video_io.VideoReader(str(path))


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


def test_frames_that_a_gif_leaves_out_are_there(tmp_path):
    """Pillow shows a frame for longer instead of others that are like it."""
    levels = [10, 60, 60, 60, 110, 160, 160, 210]
    video = np.stack([np.full([8, 8, 3], level, np.uint8) for level in levels])
    path = str(tmp_path / "a.gif")
    video_io.write_video(path, video, fps=12.5)
    np.testing.assert_array_equal(list(video_io.VideoReader(path)), video)


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_the_same_frames_make_the_same_file(suffix):
    """Whatever lies beside them in memory: x264 would give several of 30."""
    frames = demo_videos.render("shapes", 0, (48, 64), [0, 0, 3])
    kept, found = [], set()
    for i in range(30):
        kept.append(np.zeros(97 * i, np.uint8))
        found.add(video_io.encode_video(frames, suffix, 25.0))
    assert len(found) == 1
