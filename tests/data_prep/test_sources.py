"""Every data set in its exact format: what is listed, the variations, the mistakes."""

import logging
import os
import pathlib
import shutil
import struct

import numpy as np
import pytest
from conftest import prepare_in_process

from data_prep import sources
from tests.data_prep import fixtures
from tf_dvdgan import errors
from tf_dvdgan.data import readers, windows


def listed(dataset: str, root: pathlib.Path, **options) -> sources.Listing:
    return sources.list_clips(dataset, str(root), sources.Options(**options))


def entries(listing: sources.Listing) -> set[tuple[str, str, str]]:
    """Id, class name and split of each clip."""
    return {(c.video_id, listing.class_names[c.label], c.split) for c in listing.clips}


def present(listing: sources.Listing, root: pathlib.Path) -> list[bool]:
    return [(root / clip.path).exists() for clip in listing.clips]


def prepared(dataset: str, root: pathlib.Path, **recipe):
    """Decoded clips of each split as training reads them, and the job's outcome."""
    listing = listed(dataset, root)
    shards = root.parent / "shards"
    recipe = {"encoding": listing.encoding, **recipe}
    outcome = prepare_in_process(listing, str(root), str(shards), **recipe)

    def read(split: str, num_frames: int, side: int) -> list[tuple[np.ndarray, str]]:
        window = windows.Window(num_frames, side, stride=1)
        rows = readers.evaluation_dataset(str(shards), window, split)
        names = outcome.manifest.class_names
        return [(r["video"].numpy(), names[int(r["label"])]) for r in rows]

    return outcome, read


def seed_of(decoded: np.ndarray, seeds: int) -> int:
    """Which of `fixtures.frames` a decoded clip is, by its mean colors in time."""
    means = decoded.astype(float).mean((1, 2))
    errors = [
        np.abs(means - fixtures.frames(seed, len(decoded)).mean((1, 2))).mean()
        for seed in range(seeds)
    ]
    best = int(np.argmin(errors))
    assert errors[best] < 4, errors
    return best


def test_every_name_is_a_data_set():
    names = "ucf101 kinetics600 bair jester weizmann tinyvideo folder csv demo".split()
    assert sorted(sources.NAMES) == sorted(names)


@pytest.mark.parametrize("dataset", ["ucf101", "bair", "kinetics600", "csv", "folder"])
def test_an_empty_folder_is_reported(dataset, tmp_path):
    with pytest.raises(errors.UserError, match=r"missing|has no|is empty"):
        listed(dataset, tmp_path)


# UCF-101


@pytest.mark.parametrize(
    "layout",
    [
        {},
        {"flat": True},
        {"end": "\r\n"},
        {"top": "UCF-101"},
        {"top": "UCF-101", "flat": True},
    ],
    ids=str,
)
def test_ucf101(layout, tmp_path):
    fixtures.ucf101(tmp_path, **layout)
    listing = listed("ucf101", tmp_path)
    assert listing.class_names == ["ApplyEyeMakeup", "Archery", "HandstandPushups"]
    assert entries(listing) == {
        ("v_ApplyEyeMakeup_g08_c01", "ApplyEyeMakeup", "train"),
        ("v_HandStandPushups_g08_c01", "HandstandPushups", "train"),
        ("v_ApplyEyeMakeup_g08_c02", "ApplyEyeMakeup", "train"),
        ("v_Archery_g01_c01", "Archery", "test"),
        ("v_HandStandPushups_g01_c01", "HandstandPushups", "test"),
    }
    assert all(present(listing, tmp_path))
    assert listed("demo", tmp_path) == listing


def test_ucf101_spelt_otherwise_on_disk_and_another_split(tmp_path):
    fixtures.ucf101(tmp_path / "lists")
    videos = tmp_path / "videos"
    odd = videos / "HandStandPushups" / "v_HandstandPushups_g08_c01.avi"
    fixtures.video(odd, 0)
    first = listed("ucf101", videos, lists=str(tmp_path / "lists"))
    assert sum(present(first, videos)) == 1 and len(first.clips) == 5
    lists = str(tmp_path / "lists" / "ucfTrainTestlist")
    with pytest.raises(errors.UserError, match="None of the 2 listed clips"):
        listed("ucf101", videos, lists=lists, split_list=2)
    with pytest.raises(errors.UserError, match=r"trainlist03.txt is missing"):
        listed("ucf101", videos, lists=lists, split_list=3)


def test_ucf101_lists_must_fit_one_another(tmp_path):
    fixtures.ucf101(tmp_path)
    test_list = tmp_path / "ucfTrainTestlist" / "testlist01.txt"
    fixtures.text(test_list, ["Diving/v_Diving_g01_c01.avi"])
    with pytest.raises(errors.UserError, match=r"Diving.*not in classInd\.txt"):
        listed("ucf101", tmp_path)
    fixtures.text(test_list, [fixtures.UCF101_TRAIN[0].split()[0]])
    with pytest.raises(errors.UserError, match="is listed 2 times"):
        listed("ucf101", tmp_path)


# Kinetics-600

KINETICS_ENTRIES = {
    ("-0wR5jVB_WP_000417_000427", "riding a bike", "train"),
    ("gone_-gone-_000000_000010", "riding a bike", "train"),
    ("_-4hBTZ4V5-_000007_000017", "abseiling", "train"),
    ("V_0123456-9_000020_000030", "abseiling", "validation"),
    ("test________000001_000011", "zumba", "test"),
}


@pytest.mark.parametrize(
    "variation",
    [
        {},
        {"layout": "{label}"},
        {"layout": "{split}"},
        {"layout": "."},
        {"is_cc": True},
        {"delimiter": "\t", "suffix": ".txt"},
        {"delimiter": " ", "suffix": ".txt"},
        {"delimiter": " ", "suffix": ".txt", "is_cc": True},
    ],
    ids=str,
)
def test_kinetics600(variation, tmp_path):
    fixtures.kinetics600(tmp_path, **variation)
    listing = listed("kinetics600", tmp_path)
    assert listing.class_names == ["abseiling", "riding a bike", "zumba"]
    assert entries(listing) == KINETICS_ENTRIES
    missing = [
        clip.path
        for clip, there in zip(listing.clips, present(listing, tmp_path), strict=True)
        if not there
    ]
    assert missing == ["riding a bike/gone_-gone-_000000_000010.mp4"]


def test_kinetics600_unlabeled_test_clips_are_skipped_with_a_warning(tmp_path, caplog):
    fixtures.kinetics600(tmp_path, test_labels=False)
    with caplog.at_level(logging.WARNING, "absl"):
        listing = listed("kinetics600", tmp_path)
    assert listing.class_names == ["abseiling", "riding a bike"]
    assert entries(listing) == {f for f in KINETICS_ENTRIES if f[2] != "test"}
    assert "test.csv: 1 clips have no label and are skipped" in caplog.text


def test_kinetics600_folders_and_files_of_other_names(tmp_path):
    videos, lists = tmp_path / "videos", tmp_path / "lists"
    fixtures.kinetics600(lists)
    fixtures.video(videos / "train" / "riding_a_bike" / "-0wR5jVB_WP.mp4", 0)
    fixtures.video(videos / "val" / "V_0123456-9_20_30.webm.mp4", 1)
    # Another part of the same video is another clip.
    fixtures.video(videos / "train" / "abseiling" / "_-4hBTZ4V5-_000050_000060.mp4", 2)
    for name in ("train", "validate", "test"):
        (lists / f"{name}.csv").rename(lists / f"kinetics-600_{name}.csv")
    listing = listed("kinetics600", videos, lists=str(lists))
    found = [
        clip.path
        for clip, there in zip(listing.clips, present(listing, videos), strict=True)
        if there
    ]
    assert found == [
        "train/riding_a_bike/-0wR5jVB_WP.mp4",
        "val/V_0123456-9_20_30.webm.mp4",
    ]
    assert entries(listing) == KINETICS_ENTRIES


def test_kinetics600_one_list_of_all_splits(tmp_path):
    fixtures.kinetics600(tmp_path / "videos")
    rows = [f"{i},{s},{e},{label},{of}" for label, i, s, e, of in fixtures.KINETICS]
    one = tmp_path / "mine.csv"
    # In another order, after a byte-order mark, with a row twice.
    fixtures.text(
        one, ["\ufeffyoutube_id,time_start,time_end,label,split", *rows, rows[0]]
    )
    listing = listed("kinetics600", tmp_path / "videos", lists=str(one))
    assert entries(listing) == KINETICS_ENTRIES


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["label,id,start,end"], "no column 'youtube_id'"),
        (
            ["label,youtube_id,time_start,time_end", "a,short,1,2"],
            "not a YouTube clip: a, short, 1, 2",
        ),
        (
            ["label,youtube_id,time_start,time_end", "a,-0wR5jVB_WP,1,soon"],
            "not a YouTube clip",
        ),
        (["label,youtube_id,time_start,time_end", "a,b"], "Row 2 .* 2 fields"),
        (
            ["label,youtube_id,time_start,time_end,split", "a,-0wR5jVB_WP,1,2,../x"],
            "to split '../x'",
        ),
        (
            ["label,youtube_id,time_start,time_end", "../a,-0wR5jVB_WP,1,2"],
            "stay inside it",
        ),
        (["youtube_id,time_start,time_end", "-0wR5jVB_WP,1,2"], "has labels"),
    ],
)
def test_kinetics600_mistakes(lines, message, tmp_path):
    fixtures.text(tmp_path / "train.csv", lines)
    with pytest.raises(errors.UserError, match=message):
        listed("kinetics600", tmp_path)


# BAIR


def test_bair(tmp_path):
    fixtures.bair(tmp_path)
    listing = listed("bair", tmp_path)
    assert listing.class_names == ["video"] and listing.encoding == "png"
    size = len(fixtures.bair_record(0)) + 16
    top = "softmotion30_44k"
    assert [(c.path, c.offset, c.video_id, c.split) for c in listing.clips] == [
        (f"{top}/train/traj_0_to_1.tfrecords", 0, "train/traj_0_to_1:000", "train"),
        (f"{top}/train/traj_0_to_1.tfrecords", size, "train/traj_0_to_1:001", "train"),
        (f"{top}/train/traj_2_to_2.tfrecords", 0, "train/traj_2_to_2:000", "train"),
        (f"{top}/test/traj_0_to_1.tfrecords", 0, "test/traj_0_to_1:000", "test"),
        (f"{top}/test/traj_0_to_1.tfrecords", size, "test/traj_0_to_1:001", "test"),
    ]
    assert {c.form for c in listing.clips} == {"softmotion"}
    inner = listed("bair", tmp_path / top)
    assert entries(inner) == entries(listing) and all(present(inner, tmp_path / top))


def test_bair_reads_little_and_survives_damage(tmp_path):
    folder = tmp_path / "train"
    folder.mkdir()
    length, count = 740_000, 256
    with open(folder / "traj_0_to_255.tfrecords", "wb") as file:  # all holes
        for i in range(count):
            file.seek(i * (length + 16))
            file.write(struct.pack("<QI", length, 0))
        file.truncate(count * (length + 16))
    (folder / "traj_256_to_511.tfrecords").touch()
    (folder / "traj_512_to_767.tfrecords").write_bytes(bytes(10_000))
    (folder / "traj_768_to_1023.tfrecords").symlink_to("gone")
    with open(folder / "traj_0_to_255.tfrecords", "rb") as file:
        cut = file.read(3 * length)
    (folder / "traj_1024_to_1279.tfrecords").write_bytes(cut)
    listed("bair", tmp_path)  # loads TensorFlow
    before = bytes_read()
    listing = listed("bair", tmp_path)
    assert bytes_read() - before < 512 * count  # a seek would read half a megabyte
    numbers = [clip.path.split("_")[1] for clip in listing.clips]
    # What is cut is listed, for the decoder to reject.
    assert {n: numbers.count(n) for n in numbers} == {
        **{"0": count, "256": 1, "512": 1, "768": 1, "1024": 3}
    }


def bytes_read() -> int:
    """By this process since it began, as the kernel counts."""
    return int(pathlib.Path("/proc/self/io").read_text().split()[1])


# Jester


def test_jester(tmp_path):
    fixtures.jester(tmp_path)
    listing = listed("jester", tmp_path)
    assert listing.class_names == ["Swiping Left", "No gesture", "Doing other things"]
    assert listing.clips == [
        sources.Clip("20bn-jester-v1/34870", 1, "34870", "train", "frames"),
        sources.Clip("20bn-jester-v1/7", 0, "7", "train", "frames"),
        sources.Clip("20bn-jester-v1/118562", 2, "118562", "validation", "frames"),
    ]
    inner = listed("jester", tmp_path / "20bn-jester-v1", lists=str(tmp_path))
    assert [clip.path for clip in inner.clips] == ["34870", "7", "118562"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("7;Swiping left", "Did you mean 'Swiping Left'"),
        ("7", "to class ''"),
        ("../7;Swiping Left", "stay inside it"),
    ],
)
def test_jester_mistakes(line, message, tmp_path):
    fixtures.jester(tmp_path)
    fixtures.text(tmp_path / "jester-v1-train.csv", [line])
    with pytest.raises(errors.UserError, match=message):
        listed("jester", tmp_path)
    (tmp_path / "jester-v1-train.csv").unlink()
    with pytest.raises(errors.UserError, match=r"train\.csv is missing"):
        listed("jester", tmp_path)


# Weizmann


@pytest.mark.parametrize("nested", [False, True])
def test_weizmann(nested, tmp_path):
    fixtures.weizmann(tmp_path, nested)
    fixtures.text(tmp_path / "classification_masks.mat", ["no video"])
    listing = listed("weizmann", tmp_path)
    assert listing.class_names == sorted(listing.class_names)
    assert len(listing.class_names) == 10
    expected = {
        (name, name.split("_")[1].removesuffix("1").removesuffix("2"), "train")
        for name in fixtures.WEIZMANN
        if "wave" not in name
    }
    assert entries(listing) == expected | {
        ("daria_wave1", "wave1", "train"),
        ("daria_wave2", "wave2", "train"),
        ("lena_wave1", "wave1", "train"),
    }
    assert {name for _, name, _ in entries(listing)} == set(listing.class_names)
    assert all(present(listing, tmp_path))


def test_weizmann_mistakes(tmp_path):
    with pytest.raises(errors.UserError, match=r"has no \.avi file"):
        listed("weizmann", tmp_path)
    (tmp_path / "daria_dance.avi").touch()
    with pytest.raises(errors.UserError, match=r"daria_dance\.avi.* bend, jack"):
        listed("weizmann", tmp_path)


# tinyvideo, csv, folder


def test_tinyvideo(tmp_path):
    fixtures.tinyvideo(tmp_path)
    listing = listed("tinyvideo", tmp_path)
    assert listing == sources.Listing(
        ["video"],
        [sources.Clip(p, 0, p, "train", "stack") for p in fixtures.TINYVIDEO],
    )
    fixtures.text(tmp_path / "beach.txt", ["./golf/a/2.jpg", "golf/a/2.jpg"])
    with pytest.raises(errors.UserError, match=r"2 files .*`lists=.*beach\.txt"):
        listed("tinyvideo", tmp_path)
    beach = listed("tinyvideo", tmp_path, lists=str(tmp_path / "beach.txt"))
    assert [clip.path for clip in beach.clips] == ["golf/a/2.jpg"]


def test_tinyvideo_mistakes(tmp_path):
    with pytest.raises(errors.UserError, match=r"no \*\.txt file.*path of a JPEG"):
        listed("tinyvideo", tmp_path)
    fixtures.text(tmp_path / "golf.txt", ["elsewhere/1.jpg"])
    with pytest.raises(errors.UserError, match="None of the 1 listed clips"):
        listed("tinyvideo", tmp_path)
    (tmp_path / "golf.txt").write_text("\n")
    with pytest.raises(errors.UserError, match="has no clips"):
        listed("tinyvideo", tmp_path)


@pytest.mark.parametrize("first", [[], ["sep=;"]])
def test_a_table_from_a_spreadsheet(tmp_path, first):
    """It may name its delimiter, and have line breaks in quotes."""
    (tmp_path / "a\nb.mp4").touch()
    fixtures.text(tmp_path / "clips.csv", [*first, "path;label", '"a\nb.mp4";x'])
    assert [clip.path for clip in listed("csv", tmp_path).clips] == ["a\nb.mp4"]


def test_splits_of_a_table_have_the_names_of_folders(tmp_path):
    table = tmp_path / "clips.csv"
    fixtures.text(table, ["path,label,split", "a.mp4,a,Train", "b.mp4,a,val"])
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).touch()
    listing = listed("csv", tmp_path)
    assert [clip.split for clip in listing.clips] == ["train", "validation"]


def test_csv(tmp_path):
    for seed, name in enumerate(("a.mp4", "sub dir/b, c.avi")):
        fixtures.video(tmp_path / name, seed)
    table = tmp_path / "clips.csv"
    rows = ["path,label,split", "a.mp4,10,train", '"sub dir/b, c.avi", 9 ,held_out']
    fixtures.text(table, [*rows, "gone.mp4,10,"], "\r\n")
    listing = listed("csv", tmp_path)
    assert listing.class_names == ["9", "10"]  # by number, not by letter
    assert entries(listing) == {
        ("a.mp4", "10", "train"),
        ("sub dir/b, c.avi", "9", "held_out"),
        ("gone.mp4", "10", "train"),
    }
    tabs = ["label\tpath", "Jump\ta.mp4", "high kick\tsub dir/b, c.avi", "\tgone.mp4"]
    fixtures.text(tmp_path / "other.tsv", tabs)
    listing = listed("csv", tmp_path, lists=str(tmp_path / "other.tsv"))
    assert listing.class_names == ["Jump", "high kick"]
    assert [clip.path for clip in listing.clips] == ["a.mp4", "sub dir/b, c.avi"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["a.mp4,Jump"], "no column 'path'"),
        (["path", "a.mp4"], "no column 'label'"),
        (["path,label,path", "a.mp4,x,b.mp4"], "two columns 'path'"),
        (["path,label", "/etc/passwd,a"], "begin with '/'"),
        (["path,label", "x/../../a.mp4,a"], "or contain '..'"),
        (["path,label", "s3://bucket/a.mp4,a"], "'://'"),
        (["path,label,split", "a.mp4,a,../../b"], r"the split '\.\./\.\./b'"),
        (["path,label", "a,b.mp4,a"], "put quotes around"),
        (["path label", "my a.mp4 a"], "put quotes around"),
        (["path,label", "a.mp4,a", "./a.mp4,b"], "'a.mp4' is listed 2 times"),
        (["path,label", "b.mp4,a"], "None of the 1 listed clips"),
        (["path,label"], "has no clips"),
        (["path,label", "x" * 200_000], "is not a table"),
    ],
)
def test_csv_mistakes(lines, message, tmp_path):
    (tmp_path / "a.mp4").touch()
    fixtures.text(tmp_path / "clips.csv", lines)
    with pytest.raises(errors.UserError, match=message):
        listed("csv", tmp_path)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "latin-1", "utf-16-le"])
def test_a_table_is_read_in_its_encoding_or_refused(tmp_path, encoding):
    fixtures.video(tmp_path / "é.mp4", 0)
    (tmp_path / "clips.csv").write_bytes("path,label\né.mp4,café\n".encode(encoding))
    if encoding in ("utf-16", "utf-8-sig"):
        listing = listed("csv", tmp_path)
        assert listing.class_names == ["café"] and listing.clips[0].path == "é.mp4"
    else:
        with pytest.raises(errors.UserError, match=r"clips\.csv is not text in UTF-8"):
            listed("csv", tmp_path)


def test_a_folder_with_classes_and_without(tmp_path):
    for seed, name in enumerate(("b/1.mp4", "a/deep/2.avi")):
        fixtures.video(tmp_path / name, seed)
    listing = listed("folder", tmp_path)
    assert listing.class_names == ["a", "b"]
    assert entries(listing) == {
        ("a/deep/2.avi", "a", "train"),
        ("b/1.mp4", "b", "train"),
    }
    loose = listed("folder", tmp_path / "b")
    assert entries(loose) == {("1.mp4", "video", "train")}


# From fixtures to decoded tensors


def test_bair_comes_through_exactly(tmp_path):
    fixtures.bair(tmp_path / "in")
    with open(
        tmp_path / "in/softmotion30_44k/train/traj_2_to_2.tfrecords", "r+b"
    ) as file:
        file.truncate(500_000)
    outcome, read = prepared("bair", tmp_path / "in", resolution=64)
    assert [e["reason"].split(":")[0] for e in outcome.rejected] == ["truncated"]
    for split, seeds in (("train", {0, 1}), ("test", {3, 4})):
        clips = read(split, fixtures.BAIR_FRAMES, 64)
        pixels = {clip.tobytes() for clip, _ in clips}
        assert pixels == {fixtures.bair_video(seed).tobytes() for seed in seeds}
        assert len(clips) == 2


def test_ucf101_comes_through(tmp_path):
    fixtures.ucf101(tmp_path / "in", flat=True, end="\r\n")
    outcome, read = prepared("ucf101", tmp_path / "in", resolution=24)
    assert not outcome.rejected
    assert outcome.num_written == {"train": 3, "test": 2}
    classes = {0: "ApplyEyeMakeup", 1: "HandstandPushups", 2: "ApplyEyeMakeup"}
    classes |= {3: "Archery", 4: "HandstandPushups"}
    clips = read("train", 4, 24) + read("test", 4, 24)
    assert {seed_of(clip, 5): label for clip, label in clips} == classes


def test_kinetics600_comes_through_but_for_what_is_missing(tmp_path):
    fixtures.kinetics600(tmp_path / "in")
    outcome, read = prepared("kinetics600", tmp_path / "in", resolution=24)
    assert outcome.rejected == [
        {
            "path": "riding a bike/gone_-gone-_000000_000010.mp4",
            "reason": "not a file",
        }
    ]
    clips = [c for s in ("train", "validation", "test") for c in read(s, 4, 24)]
    assert {seed_of(clip, 5): label for clip, label in clips} == {
        seed: label for seed, (label, *_) in enumerate(fixtures.KINETICS) if seed != 1
    }


def test_jester_comes_through_in_the_frames_order(tmp_path):
    fixtures.jester(tmp_path / "in")
    outcome, read = prepared("jester", tmp_path / "in", resolution=24)
    assert not outcome.rejected
    clips = read("train", fixtures.JESTER_FRAMES, 24) + read("validation", 11, 24)
    labels = {0: "No gesture", 1: "Swiping Left", 2: "Doing other things"}
    assert {seed_of(clip, 3): label for clip, label in clips} == labels
    for clip, _ in clips:
        steps = np.diff(clip.astype(float).mean((1, 2, 3)))
        np.testing.assert_allclose(steps, fixtures.STEP, atol=1)


def test_tinyvideo_comes_through_as_32_frames(tmp_path):
    fixtures.tinyvideo(tmp_path / "in")
    outcome, read = prepared("tinyvideo", tmp_path / "in", resolution=128)
    assert not outcome.rejected
    seen = set()
    for clip, label in read("train", 32, 128):
        assert label == "video"
        seed = seed_of(clip[:16], 3)
        seen.add(seed)
        count = list(fixtures.TINYVIDEO.values())[seed]
        whole = fixtures.frames(seed, count, (128, 128))
        expected = whole[np.minimum(np.arange(32), count - 1)]
        assert np.abs(clip.astype(float) - expected).mean() < 4
    assert seen == {0, 1, 2}


def test_weizmann_and_csv_come_through(tmp_path):
    fixtures.weizmann(tmp_path / "in")
    table = tmp_path / "in" / "clips.csv"
    rows = [f"{name}.avi,{name.split('_')[0]}" for name in fixtures.WEIZMANN[:4]]
    fixtures.text(table, ["path,label", *rows])
    for dataset, count in (("weizmann", len(fixtures.WEIZMANN)), ("csv", 4)):
        outcome, read = prepared(dataset, tmp_path / "in", resolution=24)
        assert not outcome.rejected
        names = {
            os.path.splitext(video_id)[0]: name
            for video_id, name, _ in entries(listed(dataset, tmp_path / "in"))
        }
        clips = read("train", 4, 24)
        assert len(clips) == count
        assert {seed_of(clip, count): label for clip, label in clips} == {
            seed: names[stem] for seed, stem in enumerate(fixtures.WEIZMANN[:count])
        }


def test_a_share_of_each_class_is_held_out_whatever_else_there_is(tmp_path):
    for name, count in (("a", 20), ("b", 10), ("c", 2), ("d", 1)):
        (tmp_path / name).mkdir()
        for i in range(count):
            (tmp_path / name / f"{i}.mp4").touch()
    options = sources.Options(test_share=0.1)
    listing = sources.list_clips("folder", str(tmp_path), options)
    held_out = {clip.path for clip in listing.clips if clip.split == "test"}
    assert [sum(p.startswith(c) for p in held_out) for c in "abcd"] == [2, 1, 1, 0]
    assert len(listing.clips) == 33
    shutil.rmtree(tmp_path / "a")
    (tmp_path / "b" / "10.mp4").touch()
    listing = sources.list_clips("folder", str(tmp_path), options)
    again = {clip.path for clip in listing.clips if clip.split == "test"}
    assert len(again - held_out) <= 1 and len(again) == 2


def test_splits_of_the_data_set_are_not_overruled(demo_videos):
    with pytest.raises(errors.UserError, match=r"`test_share` .* has test and train"):
        sources.list_clips("ucf101", demo_videos, sources.Options(test_share=0.1))
