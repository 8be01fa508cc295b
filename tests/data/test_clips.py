"""Clips from real files of every kind: which, in what order, cut how, and warned of."""

import itertools
import json
import os
import pathlib
import signal
import threading
import time

import cv2
import numpy as np
import pytest
from conftest import prepare_in_process
from PIL import Image

from data_prep.sources import folder as folder_source
from tf_dvdgan import errors
from tf_dvdgan.data import (
    clip_files,
    clip_listing,
    clips,
    files,
    manifest,
    video_io,
    video_process,
    video_reader,
    windows,
)
from tf_dvdgan.evaluation.features import sources
from tf_dvdgan.evaluation.runs import comparability

WINDOW = windows.Window(num_frames=3, stride=2, resolution=16)


def noise(seed: int, time=9, height=20, width=26) -> np.ndarray:
    shape = [time, height, width, 3]
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def smooth(seed: int, time=9, height=24, width=32) -> np.ndarray:
    """What a lossy codec keeps: a color, lighter with time and to the right."""
    color = np.random.default_rng(seed).integers(20, 100, 3)
    lighter = 8 * np.arange(time)[:, None, None, None]
    slope = np.linspace(0, 60, width)[:, None]
    shape = [time, height, width, 3]
    return np.broadcast_to(color + lighter + slope, shape).astype(np.uint8)


def write_movie(path: pathlib.Path, video: np.ndarray, fps: float = 25.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    video_io.write_video(str(path), video, fps)


def write_frames(folder: pathlib.Path, video: np.ndarray, suffix: str = "png") -> None:
    """Numbered without zeros before them, so that names alone would mislead."""
    folder.mkdir(parents=True)
    for number, frame in enumerate(video, 1):
        cv2.imwrite(str(folder / f"frame_{number}.{suffix}"), frame[..., ::-1])


def write_array(path: pathlib.Path, video: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, video)


def cut(video: np.ndarray, window: windows.Window) -> np.ndarray:
    """The middle window, and the center, said another way: what is left is halved."""
    spare = max(len(video) - window.length, 0)
    first = spare - spare // 2
    taken = [
        video[min(first + i * window.stride, len(video) - 1)]
        for i in range(window.num_frames)
    ]
    made = []
    for frame in taken:
        height, width = frame.shape[:2]
        scale = window.resolution / min(height, width)
        size = [round(width * scale), round(height * scale)]
        frame = cv2.resize(frame, size, interpolation=cv2.INTER_LINEAR)
        top, left = ((s - window.resolution) for s in frame.shape[:2])
        top, left = top - top // 2, left - left // 2
        made.append(
            frame[top : top + window.resolution, left : left + window.resolution]
        )
    return np.stack(made)


def read(source: clips.ClipSource, window=WINDOW, **part) -> np.ndarray:
    return np.stack(list(source.clips(window, **part)))


def read_by_name(source: clips.FolderSource, window=WINDOW) -> np.ndarray:
    """All that can be read, as `clip_listing.list_clips` has them."""
    videos = {source.names[e.number]: e.video for e in source.examples(window)}
    listed = [clip.name for clip in clip_listing.list_clips(source.path).clips]
    return np.stack([videos[name] for name in listed if name in videos])


@pytest.mark.parametrize("length", [9, 10, 5, 4, 1])
@pytest.mark.parametrize("form", ["array", "frames"])
def test_what_is_lossless_comes_out_to_the_bit(tmp_path, form, length):
    videos = [noise(seed, length) for seed in range(12)]
    for number, video in enumerate(videos):
        if form == "array":
            write_array(tmp_path / f"clip{number}.npy", video)
        else:
            write_frames(tmp_path / f"clip{number}", video)
    source = clips.open_clips(str(tmp_path))
    assert source.num_clips == 12
    expected = [cut(video, WINDOW) for video in videos]
    np.testing.assert_array_equal(read_by_name(source), expected)
    assert not source.rejected and not source.class_names


def test_the_first_clips_are_of_all_classes(tmp_path):
    """A protocol takes so many of the first."""
    for label in "abcdef":
        for number in range(20):
            write_array(tmp_path / label / f"{number}.npy", noise(number, 3, 8, 8))
    source = clips.open_clips(str(tmp_path))
    examples = itertools.islice(source.examples(windows.Window(3, stride=1)), 30)
    counts = np.bincount([example.label for example in examples], minlength=6)
    assert counts.min() >= 1 and counts.max() <= 9
    again = clips.open_clips(str(tmp_path))
    assert again.names == source.names


def test_one_array_of_many_clips_is_each_of_them(tmp_path):
    videos = np.stack([noise(seed) for seed in range(5)])
    np.save(tmp_path / "samples.npy", videos)
    for path in (tmp_path, tmp_path / "samples.npy"):
        source = clips.open_clips(str(path))
        assert source.num_clips == 5
        as_they_are = windows.Window(9, stride=1)
        np.testing.assert_array_equal(read_by_name(source, as_they_are), videos)
        expected = [cut(video, WINDOW) for video in videos]
        np.testing.assert_array_equal(read_by_name(source), expected)


@pytest.mark.parametrize("suffix", ["avi", "mp4", "gif"])
def test_encoded_videos_are_nearly_what_was_written(tmp_path, suffix):
    videos = [smooth(seed) for seed in range(3)]
    for number, video in enumerate(videos):
        write_movie(tmp_path / f"{number}.{suffix}", video)
    source = clips.open_clips(str(tmp_path))
    found, expected = read_by_name(source), [cut(video, WINDOW) for video in videos]
    assert np.abs(found.astype(int) - expected).max() <= 6  # of 8 between frames
    assert source.describe()["codecs"] == [
        {"avi": "mpeg4", "mp4": "h264", "gif": "gif"}[suffix]
    ]


def test_the_middle_is_that_of_the_frames_and_not_of_the_promise(tmp_path, monkeypatch):
    write_movie(tmp_path / "a.avi", smooth(0, time=20))
    expected = read(clips.open_clips(str(tmp_path)))

    class Promises(video_process.Reader):
        def clip_info(self, path):
            return super().clip_info(path)._replace(num_frames=self.promised)

    monkeypatch.setattr(video_process, "Reader", Promises)
    for Promises.promised in (0, 3, 22):
        source = clips.open_clips(str(tmp_path))
        np.testing.assert_array_equal(read(source), expected)


def test_properties_of_videos_are_read_in_the_child(tmp_path, monkeypatch):
    """Where a video that crashes its decoder crashes nothing else."""
    write_movie(tmp_path / "a.avi", smooth(0, time=20))
    monkeypatch.setattr(video_reader, "VideoReader", None)
    [info] = clips.open_clips(str(tmp_path)).clip_info
    assert (info.num_frames, info.codec) == (20, "mpeg4")


def test_an_image_of_too_many_pixels_is_not_decoded(tmp_path):
    path = str(tmp_path / "a.png")
    Image.new("1", (9000, 8000)).save(path)
    with pytest.raises(video_io.VideoError, match="over 67 million pixels"):
        video_io.read_image(path)


@pytest.fixture(scope="module")
def png_shards(tmp_path_factory):
    """Videos of two classes, and the same as lossless shards; one is too short."""
    videos, shards = (tmp_path_factory.mktemp(name) for name in ("videos", "shards"))
    for seed in range(6):
        video = smooth(seed, time=4 if seed == 3 else 11)
        write_movie(videos / ("zoo", "ant")[seed % 2] / f"{seed}.avi", video)
    listing = folder_source.list_clips(str(videos))
    prepare_in_process(listing, str(videos), str(shards), encoding="png")
    return str(videos), str(shards)


def test_shards_and_the_videos_they_were_made_of_give_the_same(png_shards):
    of_videos, of_shards = map(clips.open_clips, png_shards)
    assert of_shards.class_names == of_videos.class_names == ["ant", "zoo"]
    assert of_shards.num_clips == of_videos.num_clips == 6

    def seen(source):
        found = [(e.label, e.video.tobytes()) for e in source.examples(WINDOW)]
        assert len(found) == 6
        return sorted(found)

    assert seen(of_shards) == seen(of_videos)
    window = windows.Window(3, 16, 2)  # this one will do, too
    np.testing.assert_array_equal(read(of_shards, window), read(of_shards))


def test_shards_are_resized_to_another_resolution(png_shards):
    source = clips.open_clips(png_shards[1])
    small = read(source, windows.Window(3, 8, 2))
    assert small.shape == (6, 3, 8, 8, 3)
    whole = read(source, windows.Window(3, stride=2))
    np.testing.assert_array_equal(whole, read(source))
    assert np.abs(small.mean((2, 3)) - whole.mean((2, 3))).max() < 1


@pytest.mark.parametrize("place", [0, 1])
def test_parts_of_workers_and_what_is_skipped_make_up_the_whole(png_shards, place):
    source = clips.open_clips(png_shards[place])
    whole = list(source.examples(WINDOW))
    assert [example.number for example in whole] == list(range(6))
    parts = [list(source.examples(WINDOW, 1, worker, 2)) for worker in (0, 1)]
    assert [[e.number for e in part] for part in parts] == [[1, 3, 5], [2, 4]]
    for example in parts[0] + parts[1]:
        np.testing.assert_array_equal(example.video, whole[example.number].video)
        assert example.label == whole[example.number].label


def test_a_split_is_chosen(png_shards, demo_shards):
    assert clips.open_clips(png_shards[1]).split == "train"  # it has no test clips
    assert clips.open_clips(demo_shards).num_clips == 36
    train = clips.open_clips(demo_shards, "train")
    assert train.num_clips == 108
    assert train.key != clips.open_clips(demo_shards).key
    with pytest.raises(errors.UserError, match="no split 'trian'"):
        clips.open_clips(demo_shards, "trian")
    with pytest.raises(errors.UserError, match="no split 'test'"):
        clips.open_clips(png_shards[0], "test")


def test_classes_are_the_outermost_folders(tmp_path):
    write_array(tmp_path / "b" / "1.npy", noise(0))
    write_frames(tmp_path / "a" / "x", noise(1))
    write_array(tmp_path / "b" / "2.npy", np.stack([noise(2), noise(3)]))
    write_array(tmp_path / "b" / "deeper" / "3.npy", noise(4))
    source = clips.open_clips(str(tmp_path))
    assert source.class_names == ["a", "b"]
    labels = {source.names[e.number]: e.label for e in source.examples(WINDOW)}
    in_b = ("b/1.npy", "b/2.npy[0]", "b/2.npy[1]", "b/deeper/3.npy")
    assert labels == {"a/x": 0, **dict.fromkeys(in_b, 1)}


def test_hidden_files_and_others_are_passed_over(tmp_path):
    write_array(tmp_path / "1.npy", noise(0))
    write_array(tmp_path / ".hidden" / "2.npy", noise(0))
    for name in (".3.npy", "readme.txt", "preview.png"):
        (tmp_path / name).write_bytes(b"text")
    assert clips.open_clips(str(tmp_path)).num_clips == 1


def test_the_grid_beside_a_model_s_videos_is_none_of_them(tmp_path):
    for name in ("0000_a.mp4", "0001_b.mp4", "grid.mp4"):
        video_io.write_video(str(tmp_path / name), noise(0), 8.0)
    assert clips.open_clips(str(tmp_path)).num_clips == 2
    for name in ("0000_a.mp4", "0001_b.mp4"):
        (tmp_path / name).unlink()
    assert clips.open_clips(str(tmp_path)).num_clips == 1  # it is all there is


def test_the_key_changes_with_the_data_alone(tmp_path):
    write_frames(tmp_path / "clips" / "1", noise(0))
    write_array(tmp_path / "clips" / "2.npy", noise(1))

    def key():
        return clips.open_clips(str(tmp_path / "clips")).key

    keys = [key()]
    assert len(keys[0]) == 64 and int(keys[0], 16)
    assert key() == keys[0]
    frame = tmp_path / "clips" / "1" / "frame_2.png"
    stat = frame.stat()
    os.utime(frame, ns=(stat.st_atime_ns, stat.st_mtime_ns + 10**9))
    keys.append(key())
    with open(frame, "ab") as file:
        file.write(b"x")
    os.utime(frame, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    keys.append(key())
    write_array(tmp_path / "clips" / "3.npy", noise(1))
    keys.append(key())
    (tmp_path / "clips" / "3.npy").rename(tmp_path / "clips" / "4.npy")
    keys.append(key())
    assert len(set(keys)) == 5
    (tmp_path / "clips").rename(tmp_path / "moved")
    assert clips.open_clips(str(tmp_path / "moved")).key == keys[-1]


def test_arrays_that_were_unpacked_with_the_same_times_have_keys_of_their_own(tmp_path):
    for name, seed in (("a", 0), ("b", 1)):
        (tmp_path / name).mkdir()
        write_array(tmp_path / name / "videos.npy", noise(seed))
        os.utime(tmp_path / name / "videos.npy", (1e9, 1e9))
    one, other = (clips.open_clips(str(tmp_path / name)) for name in ("a", "b"))
    assert one.key != other.key


def test_shards_of_the_same_clips_have_one_hash_wherever_they_are_from(
    png_shards, tmp_path
):
    source = clips.open_clips(png_shards[1])
    for name in os.listdir(png_shards[1]):
        path = pathlib.Path(png_shards[1], name)
        if path.is_file():
            (tmp_path / name).write_bytes(path.read_bytes())
    values = json.loads((tmp_path / "manifest.json").read_text())
    values["made_with"] = {"input": "/elsewhere"}
    (tmp_path / "manifest.json").write_text(json.dumps(values))
    copy = clips.open_clips(str(tmp_path))
    assert copy.content_hash == source.content_hash
    other = next(tmp_path.glob(f"{copy.split}-*"))
    data = bytearray(other.read_bytes())
    data[-5] ^= 1
    other.write_bytes(bytes(data))
    assert clips.open_clips(str(tmp_path)).content_hash != source.content_hash


def test_the_key_of_shards_changes_with_their_manifest(png_shards, tmp_path):
    source = clips.open_clips(png_shards[1])
    for name in os.listdir(png_shards[1]):
        if os.path.isfile(os.path.join(png_shards[1], name)):
            (tmp_path / name).write_bytes(
                pathlib.Path(png_shards[1], name).read_bytes()
            )
    assert clips.open_clips(str(tmp_path)).key == source.key
    values = json.loads((tmp_path / "manifest.json").read_text())
    values["splits"]["train"][0]["num_bytes"] += 1
    (tmp_path / "manifest.json").write_text(json.dumps(values))
    assert clips.open_clips(str(tmp_path)).key != source.key


def test_damaged_shards_are_reported(png_shards, tmp_path):
    for name in os.listdir(png_shards[1]):
        path = pathlib.Path(png_shards[1], name)
        if path.is_file():
            data = path.read_bytes()
            end = len(data) // 2 if "tfrecord" in name else len(data)
            (tmp_path / name).write_bytes(data[:end])
    with pytest.raises(errors.UserError, match=r"damaged \("):
        read(clips.open_clips(str(tmp_path)))


def bad_files(tmp_path, good: int):
    for number in range(good):
        write_array(tmp_path / f"{number}.npy", noise(number, 5, 16, 16))
    write_movie(tmp_path / "x1.avi", noise(0, 30, 48, 48))
    os.truncate(tmp_path / "x1.avi", os.path.getsize(tmp_path / "x1.avi") // 2)
    (tmp_path / "x2.npy").write_bytes(b"no array")
    write_array(tmp_path / "x3.npy", noise(0, 5, 16, 16))
    os.truncate(tmp_path / "x3.npy", 2000)
    write_frames(tmp_path / "x4", noise(0, 5, 16, 16))
    os.truncate(tmp_path / "x4" / "frame_3.png", 50)


def test_bad_files_are_skipped_and_named(tmp_path):
    bad_files(tmp_path, 80)
    source = clips.open_clips(str(tmp_path))
    assert source.num_clips == 84
    expected = [cut(noise(n, 5, 16, 16), WINDOW) for n in range(80)]
    for _ in range(2):  # a second time they are not counted again
        np.testing.assert_array_equal(read_by_name(source), expected)
        rejected = dict(source.rejected)
        assert set(rejected) == {"x1.avi", "x2.npy", "x3.npy", "x4"}
        assert rejected["x1.avi"].startswith("truncated")
        assert rejected["x2.npy"] == "not an array that NumPy wrote"
        assert rejected["x3.npy"] == "truncated"
        assert rejected["x4"] == "an image cannot be decoded: frame_3.png"
    text = warned(source, source, 0, WINDOW)
    assert "4 real clips cannot be read and are skipped, for example x" in text


def test_more_than_a_twentieth_of_bad_files_is_an_error(tmp_path):
    bad_files(tmp_path, 70)
    with pytest.raises(errors.UserError, match=r"4 clips in .* at most 5% of 74"):
        read(clips.open_clips(str(tmp_path)))
    source = clips.open_clips(str(tmp_path))
    with pytest.raises(errors.UserError, match="cannot be read"):
        read(source, worker=1, num_workers=2)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros([4, 8, 8, 3], np.float32), r"float32.*\(x \+ 1\) \* 127.5.*x \* 255"),
        (np.zeros([4, 8, 8, 3], np.int64), "int64"),
        (np.array([{"a": 1}]), "object"),
        (np.zeros([4, 3, 8, 8], np.uint8), r"\[4, 3, 8, 8\]; clips are \[time"),
        (np.zeros([0, 8, 8, 3], np.uint8), r"\[0, 8, 8, 3\]"),
        (np.zeros([8, 8, 3], np.uint8), r"\[8, 8, 3\]"),
        (np.asfortranarray(np.zeros([4, 8, 8, 3], np.uint8)), "Fortran"),
    ],
)
def test_arrays_of_anything_else_are_refused(tmp_path, array, message):
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(errors.UserError, match=f"x.npy .*{message}"):
        clips.open_clips(str(tmp_path))


def test_a_place_without_clips_is_refused(tmp_path):
    (tmp_path / "readme.txt").write_text("text")
    for place, message in (
        (tmp_path, "has no clips"),
        (tmp_path / "readme.txt", "has no clips"),
        (tmp_path / "nowhere", "nothing at"),
    ):
        with pytest.raises(errors.UserError, match=message):
            clips.open_clips(str(place))


def test_images_beside_videos_are_previews(tmp_path):
    write_frames(tmp_path / "clip", noise(0))
    write_movie(tmp_path / "clip" / "film.avi", smooth(0))
    source = clips.open_clips(str(tmp_path))
    assert source.names == ["clip/film.avi"]
    assert source.skipped.endswith("not clips: 9 .png beside clips")


def test_other_sizes_need_a_resolution(tmp_path):
    write_array(tmp_path / "a.npy", noise(0))
    write_array(tmp_path / "b.npy", noise(0, width=30))
    source = clips.open_clips(str(tmp_path))
    with pytest.raises(
        errors.UserError, match=r"a.npy has frames of 26x20 and b.npy of 30x20"
    ):
        read(source, windows.Window(3, stride=1))
    assert read(source).shape == (2, 3, 16, 16, 3)
    write_frames(tmp_path / "c", noise(0, time=1))
    cv2.imwrite(str(tmp_path / "c" / "frame_2.png"), noise(0, 1, 8, 8)[0])
    only_c = clips.open_clips(str(tmp_path / "c"))
    with pytest.raises(errors.UserError, match="frames of different sizes"):
        read(only_c, windows.Window(2, stride=1))


def test_a_place_is_described(tmp_path, png_shards):
    write_movie(tmp_path / "a.mp4", smooth(0), fps=12.5)
    write_frames(tmp_path / "b", noise(0), "jpg")
    assert clips.open_clips(str(tmp_path) + "/").describe() == {
        "name": tmp_path.name,
        "kind": "folder",
        "num_clips": 2,
        "fps": [12.5],
        "sizes": ["26x20", "32x24"],
        "codecs": ["h264", "jpeg"],
        "num_probed": 2,
    }
    described = clips.open_clips(png_shards[1]).describe()
    assert described["kind"] == "shards" and described["split"] == "train"
    assert described["fps"] == [25.0] and described["codecs"] == ["png"]
    assert described["sizes"] == ["21x16"] and described["num_clips"] == 6


def folder_of(path, count=1, fps=25.0, suffix="avi", **size) -> clips.ClipSource:
    for number in range(count):
        if suffix == "npy":
            write_array(path / f"{number}.npy", smooth(number, **size))
        else:
            write_movie(path / f"{number}.{suffix}", smooth(number, **size), fps)
    return clips.open_clips(str(path))


def warned(real, generated, feature_size, window) -> str:
    sides = (sources.ClipSelection(x, window) for x in (real, generated))
    found = comparability.warnings(*sides, feature_size)
    return "\n".join(found)


def test_nothing_is_said_of_arrays_that_are_alike(tmp_path):
    real = folder_of(tmp_path / "real", 3, suffix="npy")
    generated = folder_of(tmp_path / "generated", 3, suffix="npy")
    assert warned(real, generated, 2, WINDOW) == ""


def test_every_rate_that_was_read_is_counted(tmp_path):
    folder_of(tmp_path, 19, fps=30.0)
    source = clips.open_clips(str(tmp_path))
    slow = source.names[1]  # of every second clip a few are probed: not this one
    write_movie(tmp_path / slow, smooth(1), 15.0)
    source = clips.open_clips(str(tmp_path))
    assert set(source.rates) == {30.0}
    list(source.clips(WINDOW))
    assert source.rates == {30.0: 18, 15.0: 1}
    selection = sources.ClipSelection(source, WINDOW)
    (warning,) = comparability.warnings_of("real", selection)
    assert (
        "Of 19 real clips examined, 18 have 30, 1 has 15 frames per second" in warning
    )


def test_warnings_say_what_is_not_alike(tmp_path):
    real = folder_of(tmp_path / "real", 3)
    generated = folder_of(
        tmp_path / "generated", 2, suffix="npy", height=48, width=48, time=4
    )
    text = warned(real, generated, 2, WINDOW)
    assert "3 real clips and 2 generated ones" in text
    assert "2 generated clips are too few for the covariance of 2 features" in text
    assert "real clips are too few" not in text
    assert "encoded by mpeg4, the generated ones by raw" in text
    assert "real frames is 24 pixels, of generated ones 48" in text
    assert "Some generated clips (2 of 2" in text and "shortest has 4 frames" in text
    assert "Some real clips" not in text and "per second" not in text


def test_warnings_of_two_encoded_sides(tmp_path):
    real = folder_of(tmp_path / "real", fps=25.0, suffix="mp4")
    generated = folder_of(tmp_path / "generated", fps=8.0, suffix="mp4")
    text = warned(real, generated, 0, WINDOW)
    assert "Both sides are encoded by h264: re-encoding to mp4 shifts FVD" in text
    assert "1 has 25 frames per second, of the generated ones 1 has 8" in text
    assert len(text.splitlines()) == 2


def test_short_videos_are_known_when_read_and_shards_by_their_manifest(png_shards):
    of_videos, of_shards = map(clips.open_clips, png_shards)
    read(of_videos)
    text = warned(of_videos, of_shards, 0, WINDOW)
    assert "Some real clips (1 of 6" in text
    shards = manifest.load(png_shards[1]).splits["train"]
    filled = sum(shard.num_clips > 0 for shard in shards)
    assert f"Some generated clips (in 1 of {filled} shards)" in text
    assert "shorter" not in warned(of_videos, of_shards, 0, windows.Window(4, 16, 1))


def test_videos_are_read_in_children_that_end_with_reading(tmp_path, monkeypatch):
    for i in range(6):
        write_movie(tmp_path / f"{i}.avi", smooth(i))
    readers = []
    make = video_process.Reader

    def spy():
        readers.append(make())
        return readers[-1]

    monkeypatch.setattr(video_process, "Reader", spy)
    source = clips.open_clips(str(tmp_path))
    examples = source.examples(WINDOW)
    next(examples)
    children = [reader._child for reader in readers if reader._child]
    assert children and all(child.poll() is None for child in children)
    examples.close()
    assert all(child.poll() is not None for child in children)


def test_remote_folders_are_read_as_local_ones(tmp_path, monkeypatch):
    """Walked and copied by TensorFlow's file systems; here one in memory."""
    import tensorflow as tf

    write_array(tmp_path / "2.npy", noise(0))
    write_movie(tmp_path / "10.avi", smooth(0))
    write_frames(tmp_path / "3", noise(1))
    expected = clips.open_clips(str(tmp_path))
    for parent, _, names in os.walk(tmp_path):
        for name in names:
            path = pathlib.Path(parent, name)
            place = f"ram://clips/{path.relative_to(tmp_path)}"
            tf.io.gfile.makedirs(os.path.dirname(place))
            files.atomic_write(place, path.read_bytes())
    source = clips.open_clips("ram://clips")
    assert source.num_clips == 3
    np.testing.assert_array_equal(read(source), read(expected))
    assert source.describe()["codecs"] == expected.describe()["codecs"]


def test_an_interrupt_ends_reading_at_once(tmp_path, monkeypatch):
    """Also what threads are at: here clips that are read until their reader closes."""
    source, ended = folder_of(tmp_path, 40, suffix="npy"), []

    def endless(root, clip, window, reader):
        until = time.monotonic() + 20
        is_first = clip.path == source.names[0]
        while not is_first and not reader.closed and time.monotonic() < until:
            time.sleep(0.01)
        ended.append((clip.path, reader.closed))
        return np.zeros([3, 16, 16, 3], np.uint8), 3, None

    monkeypatch.setattr(clip_files, "read", endless)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    reading = source.clips(WINDOW)
    next(reading)
    main = threading.main_thread().ident
    with pytest.raises(KeyboardInterrupt):
        threading.Timer(0.3, signal.pthread_kill, [main, signal.SIGINT]).start()
        next(reading)
    signal.signal(signal.SIGINT, before)
    threads, until = max(2, min(os.cpu_count(), 8)), time.monotonic() + 30
    while len(ended) < 1 + threads and time.monotonic() < until:
        time.sleep(0.01)
    time.sleep(0.2)
    assert len(ended) == 1 + threads  # what was waiting was not begun
    assert {path for path, was_closed in ended if not was_closed} == {source.names[0]}


def test_reading_may_be_left_in_the_middle(tmp_path):
    source = folder_of(tmp_path, 30, suffix="npy")
    reading = source.clips(WINDOW)
    first = next(reading)
    reading.close()
    np.testing.assert_array_equal(first, read(source)[0])
