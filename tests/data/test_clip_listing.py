"""Which clips folders hold, as people have them; the same for preparing and scoring."""

import io
import json
import os

import numpy as np
import pytest
from PIL import Image

from data_prep import decoding, forms
from data_prep.sources import Options
from data_prep.sources import list_clips as list_for_preparation
from tf_dvdgan import errors, visualize
from tf_dvdgan.data import (
    clip_listing,
    clips,
    files,
    filesystem,
    frame_names,
    video_io,
    windows,
)


def touch(folder, *names, data=b""):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def names_of(folder):
    return [clip.name for clip in clip_listing.list_clips(str(folder)).clips]


def numbered(pattern, *ranges):
    return [pattern.format(*numbers) for numbers in np.ndindex(*ranges)]


@pytest.mark.parametrize(
    "name",
    "a.MTS a.m2ts a.3gp a.wmv a.flv a.mxf a.dv a.y4m a.nut a.h264 a.ts a.vob a.ogv "
    "a.gif a.apng a.mp4 a.AVI a.mov a.MKV a.webm a.mpg".split(),
)
def test_videos_have_many_suffixes(tmp_path, name):
    touch(tmp_path, name)
    assert names_of(tmp_path) == [name]


@pytest.mark.parametrize(
    "head",
    [
        b"\0\0\0\x20ftypisom",
        b"RIFF\0\0\0\0AVI LIST",
        b"\x1a\x45\xdf\xa3webm....",
        b"GIF89a........",
    ],
)
def test_a_name_that_does_not_say_so_may_be_a_video(tmp_path, head):
    touch(tmp_path, "dQw4w9WgXcQ", "clip.part", data=head)
    touch(tmp_path, "notes", "clip.txt", data=b"RIFF....WAVEfmt ")
    assert names_of(tmp_path) == ["clip.part", "dQw4w9WgXcQ"]


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("IMG_1.HEIC", b"\0\0\0\x20ftypheic"),
        ("1.avif", b"\0\0\0\x20ftypavif"),
        ("1.m4a", b"\0\0\0\x20ftypisom"),
        ("1.mka", b"\x1a\x45\xdf\xa3...."),
        ("1.ogg", b"OggS"),
        ("1.oga", b"OggS"),
        ("1.wma", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"),
        ("photo", b"\0\0\0\x20ftypmif1"),
        ("photos", b"\0\0\0\x20ftypavis"),
        ("song.part", b"\0\0\0\x20ftypM4A "),
    ],
)
def test_images_and_audio_in_containers_of_videos_are_side_files(tmp_path, name, head):
    touch(tmp_path, "IMG_1.mov")
    touch(tmp_path, name, data=head + bytes(20))
    found = clip_listing.list_clips(str(tmp_path))
    assert [clip.name for clip in found.clips] == ["IMG_1.mov"]
    kind = os.path.splitext(name)[1].lower() or name
    assert found.skipped == {kind: 1}


def test_side_files_are_counted_and_in_nobodys_way(tmp_path):
    touch(tmp_path, "run/1.mp4", "run/2.mp4", "jump/3.mp4")
    touch(tmp_path, "run/1.srt", "run/1.json", "run/1.jpg", "run/2.jpg", "jump/3.srt")
    touch(tmp_path, "run/Thumbs.db", "jump/.DS_Store", "__MACOSX/run/._1.mp4")
    touch(tmp_path, "labels.csv", "annotations/train.txt")
    found = clip_listing.list_clips(str(tmp_path))
    assert [clip.name for clip in found.clips] == [
        "jump/3.mp4",
        "run/1.mp4",
        "run/2.mp4",
    ]
    assert found.skipped == {
        **{".srt": 2, ".json": 1, ".jpg beside clips": 2, "Thumbs.db": 1},
        **{".DS_Store": 1, "__MACOSX": 1, ".csv": 1, ".txt": 1},
    }
    line = found.describe_skipped()
    assert line.startswith("skipped, because they are not clips: 2 .srt, 2 .jpg beside")
    assert "\n" not in line and line.endswith("4 others")
    listing = list_for_preparation("folder", str(tmp_path))
    assert listing.class_names == ["jump", "run"] and listing.skipped == line
    source = clips.open_clips(str(tmp_path))
    assert source.class_names == ["jump", "run"] and source.skipped == line


@pytest.mark.parametrize(
    ("paths", "class_names"),
    [
        ("data/train/run/{}.mp4 data/train/sit/{}.mp4 data/dev/run/{}.mp4", "run sit"),
        ("data/train_set/{}.mp4 data/Test-Set/{}.mp4", "video"),
        (
            "run/train/{}.mp4 run/test/{}.mp4 sit/train/{}.mp4 sit/eval/{}.mp4",
            "run sit",
        ),
    ],
)
def test_splits_in_a_folder_or_in_each_class_are_splits(tmp_path, paths, class_names):
    touch(tmp_path, *(path.format(i) for path in paths.split() for i in range(2)))
    listing = list_for_preparation("folder", str(tmp_path))
    assert listing.class_names == class_names.split()
    for clip in listing.clips:
        is_train = "train" in clip.path
        assert (clip.split == "train") is is_train
        if len(listing.class_names) > 1:
            assert listing.class_names[clip.label] in clip.path.split("/")


@pytest.mark.parametrize(
    "names",
    [
        ("{}.png", "{}.jpg"),
        ("{:03}.png", "{:03}.jpg"),
        ("f{:03}.png", "f{:05}.png"),
        ("f{}.png", "f{:02}.png"),
    ],
)
def test_a_clip_that_is_there_twice_is_two_clips(names):
    numbers = range(1, 10) if names[1] == "f{:02}.png" else range(12)
    found = frame_names.groups_of_frames([n.format(i) for n in names for i in numbers])
    assert sorted(found) == sorted([n.format(i) for i in numbers] for n in names)


@pytest.mark.parametrize("stray", ["01.png", "5.jpg"])
def test_a_stray_image_does_not_split_a_clip(stray):
    names = [f"{i}.png" for i in range(1, 13)]
    assert frame_names.groups_of_frames([*names, stray]) == [names]


@pytest.mark.parametrize("train", ["train", "Training"])
@pytest.mark.parametrize("held_out", ["test", "val", "validation"])
@pytest.mark.parametrize("with_classes", [True, False])
def test_folders_of_splits_are_splits(tmp_path, train, held_out, with_classes):
    inside = ["run/", "jump/"] if with_classes else [""]
    for place in inside:
        touch(tmp_path, *(f"{train}/{place}{i}.mp4" for i in range(3)))
        touch(tmp_path, f"{held_out}/{place}9.mp4")
    split = "validation" if held_out == "val" else held_out
    listing = list_for_preparation("folder", str(tmp_path))
    assert listing.class_names == (["jump", "run"] if with_classes else ["video"])
    splits = {(c.path.split("/")[0], c.split) for c in listing.clips}
    assert splits == {(train, "train"), (held_out, split)}
    for clip in listing.clips:
        name = listing.class_names[clip.label]
        assert name == (clip.path.split("/")[1] if with_classes else "video")
    with pytest.raises(errors.UserError, match="splits of their own"):
        list_for_preparation("folder", str(tmp_path), Options(test_share=0.1))
    source = clips.open_clips(str(tmp_path))  # the held-out split
    assert {name.split("/")[0] for name in source.names} == {held_out}
    source = clips.open_clips(str(tmp_path), "train")
    assert source.num_clips == 3 * len(inside) and source.describe()["split"] == "train"
    with pytest.raises(errors.UserError, match=r"no split 'other', only t.* and"):
        clips.open_clips(str(tmp_path), "other")


def test_a_lone_folder_of_a_split_holds_classes_or_is_one(tmp_path):
    touch(tmp_path, "a/train/run/1.mp4", "a/train/jump/2.mp4")
    touch(tmp_path, "b/train/1.mp4", "b/plane/2.mp4")
    listing = list_for_preparation("folder", str(tmp_path / "a"))
    assert listing.class_names == ["jump", "run"]
    assert list_for_preparation("folder", str(tmp_path / "b")).class_names == [
        *("plane", "train")
    ]


def test_splits_that_hold_classes_need_no_train(tmp_path):
    touch(tmp_path, "a/val/run/1.mp4", "a/test/run/2.mp4", "a/test/jump/3.mp4")
    touch(tmp_path, "b/test/run/1.mp4", "b/test/jump/2.mp4")
    touch(tmp_path, "c/val/run/1.mp4", "c/plane/jump/2.mp4")
    listing = list_for_preparation("folder", str(tmp_path / "a"))
    assert listing.class_names == ["jump", "run"]
    assert {(c.path[-5], c.split) for c in listing.clips} == {
        *(("1", "validation"), ("2", "test"), ("3", "test"))
    }
    listing = list_for_preparation("folder", str(tmp_path / "b"))
    assert listing.class_names == ["jump", "run"]
    assert {clip.split for clip in listing.clips} == {"test"}
    listing = list_for_preparation("folder", str(tmp_path / "c"))
    assert listing.class_names == ["plane", "val"]


def test_clips_beside_splits_are_refused(tmp_path):
    touch(tmp_path, "train/run/1.mp4", "test/run/2.mp4", "jump/3.mp4")
    with pytest.raises(errors.UserError, match="splits and other clips, such as 'jump"):
        list_for_preparation("folder", str(tmp_path))


SHOTS = [(0, 0), (0, 1), (1, 0), (1, 1)]


@pytest.mark.parametrize(
    ("names", "groups"),
    [
        # The number that varies decides.
        (numbered("frame{}_96x72.png", 12), [numbered("frame{}_96x72.png", 12)]),
        (numbered("frame{}_x2.png", 12), [numbered("frame{}_x2.png", 12)]),
        (
            [f"shot_{t / 2:g}s.png" for t in range(25)],
            [[f"shot_{t / 2:g}s.png" for t in range(25)]],
        ),
        (
            ["shot_10.5s.png", "shot_10.25s.png", "shot_9.75s.png"],
            [["shot_9.75s.png", "shot_10.25s.png", "shot_10.5s.png"]],
        ),
        (numbered("{}.jpg", 12), [numbered("{}.jpg", 12)]),
        (numbered("v1.{}.jpg", 12), [numbered("v1.{}.jpg", 12)]),
        # Several clips in one folder.
        (
            numbered("clip{}_{:03}.png", 3, 4),
            [numbered(f"clip{clip}_{{:03}}.png", 4) for clip in range(3)],
        ),
        (
            numbered("a_{}.png", 3) + numbered("b_{}.png", 2),
            [numbered("a_{}.png", 3), numbered("b_{}.png", 2)],
        ),
        (
            numbered("frame{}_cam{}.png", 4, 2),
            [[f"frame{t}_cam{cam}.png" for t in range(4)] for cam in range(2)],
        ),
        (
            numbered("s{}_t{}_96x72.png", 2, 11),
            [[f"s{s}_t{t}_96x72.png" for t in range(11)] for s in range(2)],
        ),
        (
            [*numbered("clip1_{:03}.png", 3), "clip2_001.png", "clip2_002.png"],
            [numbered("clip1_{:03}.png", 3), ["clip2_001.png", "clip2_002.png"]],
        ),
        (
            [*numbered("clip1_{:03}.png", 3), "clip2_000.png"],
            [numbered("clip1_{:03}.png", 3)],
        ),
        (
            [f"clip{c}_frame_{c * 7 + t}.png" for c in (1, 2) for t in range(5)],
            [[f"clip{c}_frame_{c * 7 + t}.png" for t in range(5)] for c in (1, 2)],
        ),
        (
            [f"{t}_shot{c}.png" for c in (1, 2) for t in range(c, 5)],
            [[f"{t}_shot{c}.png" for t in range(c, 5)] for c in (1, 2)],
        ),
        (
            [f"Scene-{c}-12-{t:02}.png" for c in (1, 2) for t in range(c, 5)],
            [[f"Scene-{c}-12-{t:02}.png" for t in range(c, 5)] for c in (1, 2)],
        ),
        (
            [f"seq{a}_video{b}_{t}.png" for a, b in SHOTS for t in range(b, 4)],
            [[f"seq{a}_video{b}_{t}.png" for t in range(b, 4)] for a, b in SHOTS],
        ),
        (
            [f"cam{c}_frame{t}.png" for c in (1, 2) for t in range(5 * c, 14)],
            [[f"cam{c}_frame{t}.png" for t in range(5 * c, 14)] for c in (1, 2)],
        ),
        (
            [f"cam{c}_img{100 * c + t}.png" for c in (1, 2) for t in range(3)],
            [[f"cam{c}_img{100 * c + t}.png" for t in range(3)] for c in (1, 2)],
        ),
        # Of one clip: a number that goes along with the frames'.
        (
            [f"12-30-{t // 5:02}_frame_{t}.png" for t in range(12)],
            [[f"12-30-{t // 5:02}_frame_{t}.png" for t in range(12)]],
        ),
        (
            [f"loss{t * 7 % 5}_frame{t}.png" for t in range(12)],
            [[f"loss{t * 7 % 5}_frame{t}.png" for t in range(12)]],
        ),
        # Points of decimal numbers.
        (
            ["shot_10.0.png", "shot_10.5.png", "shot_11.0.png", "shot_11.5.png"],
            [["shot_10.0.png", "shot_10.5.png", "shot_11.0.png", "shot_11.5.png"]],
        ),
        (
            [f"t_{10 + t / 10:.1f}.png" for t in range(25)],
            [[f"t_{10 + t / 10:.1f}.png" for t in range(25)]],
        ),
        (
            ["t_1.0.png", "t_1.1.png", "t_2.0.png", "t_2.1.png"],
            [["t_1.0.png", "t_1.1.png", "t_2.0.png", "t_2.1.png"]],
        ),
        (
            [f"{t / 25:.2f}.png" for t in range(60)],
            [[f"{t / 25:.2f}.png" for t in range(60)]],
        ),
        (
            ["x9.5.png", "x9.25.png", "x10.25.png", "x10.5.png"],
            [["x9.25.png", "x9.5.png", "x10.25.png", "x10.5.png"]],
        ),
        (
            [f"shot_{t / 2:g}.png" for t in range(25)],
            [[f"shot_{t / 2:g}.png" for t in range(25)]],
        ),
        (
            [f"clip{c}_{9 + t / 2}.png" for c in range(2) for t in range(c, 5)],
            [[f"clip{c}_{9 + t / 2}.png" for t in range(c, 5)] for c in range(2)],
        ),
        # Points that are none.
        (
            numbered("clip{}.{:03}.png", 3, 4),
            [numbered(f"clip{clip}.{{:03}}.png", 4) for clip in range(3)],
        ),
        (
            numbered("v{}.{}.jpg", 2, 12),
            [numbered(f"v{clip}.{{}}.jpg", 12) for clip in range(2)],
        ),
        (
            [f"12.{t // 60:02}.{t % 60:02}.png" for t in range(50, 70)],
            [[f"12.{t // 60:02}.{t % 60:02}.png" for t in range(50, 70)]],
        ),
        # A clock counts one clip, though several numbers vary.
        # A clock counts one clip, though several numbers vary.
        (
            [
                f"cam-12-{m:02}-{s:02}.jpg"
                for m, s in ((0, 58), (0, 59), (1, 0), (1, 1))
            ],
            [
                [
                    f"cam-12-{m:02}-{s:02}.jpg"
                    for m, s in ((0, 58), (0, 59), (1, 0), (1, 1))
                ]
            ],
        ),
        (["poster.png", *numbered("{}.png", 3)], [numbered("{}.png", 3)]),
        (["dog1.png", "cat2.png"], [["dog1.png", "cat2.png"]]),
        (["poster.png"], []),
    ],
)
def test_numbered_images_are_sorted_into_clips(names, groups):
    shuffled = [names[i] for i in np.random.default_rng(0).permutation(len(names))]
    assert frame_names.groups_of_frames(shuffled) == groups


def image(seed, size=(24, 32)):
    pixels = np.random.default_rng(seed).integers(0, 255, [*size, 3], np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return pixels, buffer.getvalue()


def as_prepared(folder, recipe=decoding.Recipe(16, "png")):
    """First frames of all clips, by name, as preparation reads them."""
    found = {}
    for clip in list_for_preparation("folder", str(folder)).clips:
        with forms.fetch(clip, str(folder)) as (paths, offset):
            decoded = decoding.decode(clip.form, paths, offset, recipe)
        first, *rest = decoded.segments[0]
        found[clip.video_id] = (np.array(Image.open(io.BytesIO(first))), 1 + len(rest))
    return found


@pytest.mark.parametrize(("size", "fits"), [((60, 40), True), ((40, 40), False)])
def test_both_take_images_of_one_size_once_they_are_resized(tmp_path, size, fits):
    for number, (width, height) in enumerate([(30, 20), size]):
        frame = np.full([height, width, 3], 99, np.uint8)
        touch(tmp_path, f"{number}.png", data=video_io.encode_png(frame))
    source = clips.open_clips(str(tmp_path))
    if fits:
        assert next(source.clips(windows.Window(2, 16, 1))).shape == (2, 16, 16, 3)
        assert [length for _, length in as_prepared(tmp_path).values()] == [2]
        return
    with pytest.raises(errors.UserError, match="frames of different sizes"):
        next(source.clips(windows.Window(2, 16, 1)))
    with pytest.raises(video_io.VideoError, match="frames of different sizes"):
        as_prepared(tmp_path)


def test_frames_flat_and_in_folders_are_read_by_both(tmp_path):
    pixels = {}
    for number, name in enumerate(
        [
            *("run/flat1_{}.png", "run/flat2_{}.png"),  # two clips of one folder
            *("jump/a/{}.png", "jump/b/frame{}_x2.png"),
        ]
    ):
        for t in range(4):
            pixels[name.format(t)], data = image(10 * number + t)
            touch(tmp_path, name.format(t), data=data)
    listing = list_for_preparation("folder", str(tmp_path))
    assert listing.class_names == ["jump", "run"] and len(listing.clips) == 4
    firsts = {
        "run[0]": "run/flat1_0.png",
        "run[1]": "run/flat2_0.png",
        "jump/a": "jump/a/0.png",
        "jump/b": "jump/b/frame0_x2.png",
    }
    prepared = as_prepared(tmp_path)
    assert prepared.keys() == firsts.keys()
    source = clips.open_clips(str(tmp_path))
    window = windows.Window(num_frames=4, stride=1)
    scored = {source.names[e.number]: e for e in source.examples(window)}
    assert scored.keys() == firsts.keys()
    for name, first in firsts.items():
        small = video_io.resize_smallest_side(pixels[first], 16)
        np.testing.assert_array_equal(prepared[name][0], small)
        assert prepared[name][1] == 4
        np.testing.assert_array_equal(scored[name].video[0], pixels[first])
        assert (
            source.class_names[scored[name].label]
            == name[: len(name.split("[")[0])].split("/")[0]
        )


def test_folders_of_one_clip_of_images_are_no_classes(tmp_path):
    touch(tmp_path, *numbered("clip{}/{}.png", 3, 4))
    listing = list_for_preparation("folder", str(tmp_path))
    assert listing.class_names == ["video"] and len(listing.clips) == 3
    assert not clips.open_clips(str(tmp_path)).class_names


def test_images_in_the_folder_itself_are_a_clip(tmp_path):
    touch(tmp_path, *numbered("{}.png", 4), data=image(0)[1])
    assert as_prepared(tmp_path)["video"][1] == 4
    assert clips.open_clips(str(tmp_path)).num_clips == 1


def test_other_arrays_beside_videos_are_skipped(tmp_path):
    touch(tmp_path, "run/1.mp4")
    np.save(tmp_path / "run" / "poses.npy", np.zeros([4, 17, 2]))
    found = clip_listing.list_clips(str(tmp_path))
    assert [clip.name for clip in found.clips] == ["run/1.mp4"]
    assert found.skipped == {".npy beside clips": 1}


def test_other_arrays_need_no_videos_beside_them(tmp_path):
    touch(tmp_path, "run/1.mp4", *numbered("jump/a/{}.png", 3))
    np.save(tmp_path / "labels.npy", np.zeros([9]))
    np.save(tmp_path / "jump" / "a" / "poses.npy", np.zeros([3, 17, 2]))
    found = clip_listing.list_clips(str(tmp_path))
    assert [clip.name for clip in found.clips] == ["jump/a", "run/1.mp4"]
    assert found.skipped == {".npy": 1, ".npy beside clips": 1}
    assert list_for_preparation("folder", str(tmp_path)).class_names == ["jump", "run"]


def test_a_folder_of_other_arrays_alone_says_what_is_wrong(tmp_path):
    (tmp_path / "run").mkdir()
    np.save(tmp_path / "run" / "a.npy", np.zeros([4, 8, 8], np.uint8))
    with pytest.raises(errors.UserError, match=r"a.npy has the shape \[4, 8, 8\]"):
        clip_listing.list_clips(str(tmp_path))


def test_arrays_are_prepared_too(tmp_path):
    videos = np.random.default_rng(0).integers(0, 255, [3, 5, 16, 16, 3], np.uint8)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    np.save(tmp_path / "a" / "many.npy", videos)
    np.save(tmp_path / "b" / "one.npy", videos[0])
    prepared = as_prepared(tmp_path)
    names = ["a/many.npy[0]", "a/many.npy[1]", "a/many.npy[2]", "b/one.npy"]
    assert list(prepared) == names
    for name, number in zip(names, (0, 1, 2, 0), strict=True):
        np.testing.assert_array_equal(prepared[name][0], videos[number, 0])


@pytest.mark.parametrize(
    "shape", ["(2, 1000000000000, 64, 3)", "(10000000000, 9, 8, 8, 3)", "(9, 8, 8, 3)"]
)
def test_an_arrays_header_is_checked_against_its_file(tmp_path, shape):
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}"
    header = header.ljust(117) + "\n"
    data = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()
    (tmp_path / "a.npy").write_bytes(data + bytes(100))
    (clip,) = clip_listing.list_clips(str(tmp_path)).clips
    assert clip.damage == "truncated"
    source = clips.open_clips(str(tmp_path))
    with pytest.raises(errors.UserError, match=r"a.npy \(truncated\)"):
        list(source.examples(windows.Window(2, stride=1)))


def test_an_array_whose_header_is_no_python_is_damaged(tmp_path):
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (4, 8, 8, 3L"
    data = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    (tmp_path / "a.npy").write_bytes(data + bytes(1000))
    (clip,) = clip_listing.list_clips(str(tmp_path)).clips
    assert clip.damage == "not an array that NumPy wrote"


def test_strips_of_samples_are_clips(tmp_path):
    """Not frames of one clip, as their numbered names would say."""
    videos = np.random.default_rng(0).integers(0, 255, [3, 5, 16, 24, 3], np.uint8)
    for number, video in enumerate(videos):
        name = f"{number:04}_run.png"
        visualize.write_video(str(tmp_path), name, video, 8.0, {"seed": 0})
    prepared = as_prepared(tmp_path)
    assert list(prepared) == [f"{number:04}_run.png" for number in range(3)]
    source = clips.open_clips(str(tmp_path))
    scored = {
        source.names[e.number]: e.video
        for e in source.examples(windows.Window(5, stride=1))
    }
    for name, video in zip(prepared, videos, strict=True):
        np.testing.assert_array_equal(prepared[name][0], video[0])
        np.testing.assert_array_equal(scored[name], video)
    text = Image.open(tmp_path / "0000_run.png").text["Description"]
    assert json.loads(text) == {"seed": 0, "strip_frames": 5}
    assert source.describe()["codecs"] == ["png"]


def test_links_are_followed_but_not_in_circles(tmp_path):
    touch(tmp_path, "elsewhere/day1/1.mp4", "elsewhere/2.mp4")
    top = tmp_path / "videos"
    (top / "run").mkdir(parents=True)
    (top / "run" / "linked").symlink_to(tmp_path / "elsewhere")
    (top / "run" / "circle").symlink_to(top)
    (top / "run" / "3.mp4").symlink_to(tmp_path / "elsewhere" / "2.mp4")
    touch(top, "run/4.mp4")
    inside = ["run/3.mp4", "run/4.mp4", "run/linked/2.mp4", "run/linked/day1/1.mp4"]
    assert names_of(top) == inside
    found = clip_listing.list_clips(str(top))
    assert found.skipped == {"link to a folder that it is in": 1}
    listing = list_for_preparation("folder", str(top))
    assert len(listing.clips) == 4
    listing = list_for_preparation("folder", str(top), Options(follow_links=False))
    assert [clip.path for clip in listing.clips] == ["run/4.mp4"]
    assert listing.skipped.endswith("skipped: 3 clips behind links out of it")


def test_a_clip_with_one_image_behind_a_link_out_is_skipped(tmp_path):
    touch(tmp_path, "secret.png")
    top = tmp_path / "videos"
    touch(top, *(f"run/{clip}/{i}.png" for clip in "abc" for i in range(3)))
    (top / "run" / "a" / "3.png").symlink_to(tmp_path / "secret.png")
    (top / "run" / "b" / "3.png").symlink_to(top / "run" / "b" / "2.png")
    listing = list_for_preparation("folder", str(top), Options(follow_links=False))
    assert {clip.path for clip in listing.clips} == {"run/b", "run/c"}
    assert len(list_for_preparation("folder", str(top)).clips) == 3


def test_images_behind_links_out_of_the_folder_itself_are_skipped(tmp_path):
    touch(tmp_path, "secret.png")
    top = tmp_path / "videos"
    touch(top, *numbered("{}.png", 3))
    options = Options(follow_links=False)
    (clip,) = list_for_preparation("folder", str(top), options).clips
    assert (clip.path, clip.form) == ("", "frames")
    (top / "3.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(errors.UserError, match="has no clips"):
        list_for_preparation("folder", str(top), options)


def test_animated_images_are_videos(tmp_path):
    frames = [Image.new("RGB", (32, 24), (20 * i, 0, 0)) for i in range(5)]
    for number in range(3):
        for suffix in ("webp", "png"):
            (tmp_path / suffix).mkdir(exist_ok=True)
            frames[0].save(
                tmp_path / suffix / f"{number}.{suffix}",
                save_all=True,
                append_images=frames[1:],
            )
    found = clip_listing.list_clips(str(tmp_path)).clips
    assert [clip.form for clip in found] == ["video"] * 6
    assert {count for _, count in as_prepared(tmp_path).values()} == {5}


@pytest.mark.parametrize("suffix", ["webp", "png"])
def test_still_images_beside_animated_ones_are_side_files(tmp_path, suffix):
    frames = [Image.new("RGB", (32, 24), (20 * i, 0, 0)) for i in range(5)]
    for number in (1, 2):
        path = tmp_path / f"clip{number}.{suffix}"
        frames[0].save(path, save_all=True, append_images=frames[1:])
    stills = ["a_poster.jpg", f"b.{suffix}", "z.jpg", f"z1.{suffix}", f"z2.{suffix}"]
    for name in stills:
        frames[0].save(tmp_path / name)
    found = clip_listing.list_clips(str(tmp_path))
    assert [(clip.name, clip.form) for clip in found.clips] == [
        (f"clip{number}.{suffix}", "video") for number in (1, 2)
    ]
    assert found.skipped == {".jpg beside clips": 2, f".{suffix} beside clips": 3}


def test_a_still_image_beside_strips_is_a_side_file(tmp_path):
    video = np.random.default_rng(0).integers(0, 255, [5, 16, 24, 3], np.uint8)
    (tmp_path / "a.png").write_bytes(image(0)[1])
    for name in ("0000.png", "0001.png"):
        visualize.write_video(str(tmp_path), name, video, 8.0, {"long": "x" * 9000})
    found = clip_listing.list_clips(str(tmp_path))
    assert [(clip.name, clip.shape) for clip in found.clips] == [
        *(("0000.png", (5,)), ("0001.png", (5,)))
    ]
    assert found.skipped == {".png beside clips": 1}


def test_remote_strips_and_animations_are_clips(tmp_path, monkeypatch):
    videos = np.random.default_rng(0).integers(0, 255, [2, 5, 16, 24, 3], np.uint8)
    top = f"ram://{tmp_path.name}"
    for number, video in enumerate(videos):
        name = f"{number:04}.png"
        visualize.write_video(str(tmp_path), name, video, 8.0, {"seed": 0})
        files.atomic_write(f"{top}/strips/{name}", (tmp_path / name).read_bytes())
        first, *rest = map(Image.fromarray, video)
        path = tmp_path / f"{number}.webp"
        first.save(path, save_all=True, append_images=rest, lossless=True)
        files.atomic_write(f"{top}/webp/{path.name}", path.read_bytes())
    for number in range(9):
        files.atomic_write(f"{top}/frames/{number}.png", image(number)[1])
    found = clip_listing.list_clips(top).clips
    assert [(clip.path, clip.form) for clip in found] == [
        ("frames", "frames"),
        *((f"strips/{number:04}.png", "strip") for number in range(2)),
        *((f"webp/{number}.webp", "video") for number in range(2)),
    ]
    requests = []
    read_bytes = filesystem.read_bytes
    monkeypatch.setattr(
        filesystem,
        "read_bytes",
        lambda path, *part: requests.append(path) or read_bytes(path, *part),
    )
    clip_listing.list_clips(top)
    assert [path for path in requests if "frames" in path] == [f"{top}/frames/0.png"]
    prepared = as_prepared(top)
    for number, video in enumerate(videos):
        for name in (f"strips/{number:04}.png", f"webp/{number}.webp"):
            np.testing.assert_array_equal(prepared[name][0], video[0])
            assert prepared[name][1] == 5


def test_remote_folders_follow_the_same_rule(tmp_path):
    top = f"ram://{tmp_path.name}"
    names = [
        "train/run/1.mp4",
        "test/run/2.mp4",
        "train/run/1.srt",
        *numbered("train/jump/c{}_{}.png", 2, 3),
    ]
    for name in names:
        files.atomic_write(f"{top}/{name}", b"x")
    listing = list_for_preparation("folder", top)
    assert listing.class_names == ["jump", "run"]
    assert [(c.video_id, c.split) for c in listing.clips] == [
        ("train/jump[0]", "train"),
        ("train/jump[1]", "train"),
        ("test/run/2.mp4", "test"),
        ("train/run/1.mp4", "train"),
    ]
    assert listing.skipped.endswith("1 .srt")
    assert os.path.basename(listing.clips[0].path) == "jump"
