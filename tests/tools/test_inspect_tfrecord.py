"""`tools.inspect_tfrecord` on intact shards and on damaged ones."""

import io
import json
import os
import shutil
import subprocess

import numpy as np
import pytest
import tensorflow as tf
from conftest import run_module
from PIL import Image

from tf_dvdgan import errors, shard_inspection
from tf_dvdgan.data import inspection, records


def run(*arguments: str) -> subprocess.CompletedProcess:
    return run_module("tools.inspect_tfrecord", *arguments)


@pytest.fixture
def copied(demo_shards, tmp_path) -> str:
    folder = str(tmp_path / "shards")
    shutil.copytree(demo_shards, folder)
    return folder


def first_shard(folder) -> str:
    return f"{folder}/train-00000-of-00004.tfrecord"


def test_whole_shards_are_counted_and_shown(demo_shards, tmp_path):
    done = run(demo_shards, f"--sheet={tmp_path}/sheet.png")
    assert done.returncode == 0, done.stderr
    assert "records  144" in done.stdout and "All records are valid" in done.stdout
    assert done.stdout.count(" 16 #") == 9  # of each class 12 train and 4 test
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert sheet.std() > 20 and sheet.shape[0] > 12 * 16


def test_without_a_path_no_sheet_is_written(demo_shards, tmp_path):
    before = sorted(os.listdir(demo_shards))
    modules = {"PYTHONPATH": os.getcwd()}
    done = run_module(
        "tools.inspect_tfrecord", demo_shards, cwd=tmp_path, env=os.environ | modules
    )
    assert done.returncode == 0, done.stderr
    assert not os.listdir(tmp_path) and sorted(os.listdir(demo_shards)) == before


def test_the_function_of_the_command_checks_its_arguments_first(demo_shards, capsys):
    with pytest.raises(errors.UserError, match="`frames` must be"):
        shard_inspection.inspect_shards(demo_shards, "first")
    with pytest.raises(errors.UserError, match="cannot be written"):
        shard_inspection.inspect_shards(demo_shards, sheet="/proc/no/sheet.png")
    assert "records" not in capsys.readouterr().out
    assert not shard_inspection.inspect_shards(demo_shards).problems
    assert "size     21x16 (144)\n" in capsys.readouterr().out


def test_a_typo_is_reported():
    for arguments, code in ((("/nowhere",), 1), ((), 1), (("x", "--fames=all"), 2)):
        done = run(*arguments)
        assert done.returncode == code
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr


@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_a_damaged_shard_is_reported(copied, damage):
    path = first_shard(copied)
    size = os.path.getsize(path)
    if damage == "gone":
        os.remove(path)
    elif damage == "cut":
        os.truncate(path, size - 1000)
    else:
        with open(path, "r+b") as file:
            file.seek(size // 2)
            file.write(b"\0\1\2\3")
    problems = inspection.inspect(str(copied), all_frames=True).problems
    assert any("train-00000-of-00004.tfrecord, after" in text for text in problems)
    assert any("the manifest has 27" in text for text in problems)


GIF = b"GIF89a\x16\0\x10\0\x80\0\0\0\0\0\0\0\0,\0\0\0\0\1\0\1\0\0\2\2D\1\0;"


def large_png() -> bytes:
    """32 KB that take 768 MB when decoded."""
    file = io.BytesIO()
    Image.new("1", (16000, 16000)).save(file, "PNG")
    return file.getvalue()


def spoil(folder, **changes) -> None:
    """Writes the first shard again, its first record with other contents."""
    path = first_shard(folder)
    rows = [row.numpy() for row in tf.data.TFRecordDataset(path)]
    context, frames = records.parse(rows[0])
    values = {
        "video_id": "x",
        "label": int(context["label"]),
        "class_name": context["class_name"].numpy().decode(),
        "fps": 25.0,
        "height": int(context["height"]),
        "width": int(context["width"]),
        "source": "",
        "frames": [frame.numpy() for frame in frames],
    } | changes
    rows[0] = records.serialize(values.pop("frames"), **values)
    with tf.io.TFRecordWriter(path) as writer:
        for row in rows:
            writer.write(row)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"label": 9}, "label 9 of 9 classes"),
        ({"class_name": "another"}, "not 'another'"),
        ({"height": 17}, "not 17x"),
        ({"frames": []}, "0 frames"),
        ({"frames": [b"no picture"]}, "record 1: frame 0 is neither JPEG nor PNG"),
        ({"frames": [b"\xff\xd8\xff no picture"]}, "record 1: "),
        ({"frames": [GIF]}, "record 1: frame 0 is neither JPEG nor PNG"),
        ({"frames": [large_png()]}, "record 1: frame 0 is 16000x16000, not 16x"),
        (
            {"frames": [large_png()], "height": 16000, "width": 16000},
            "record 1: frame 0 is too large, 16000x16000",
        ),
    ],
)
def test_a_wrong_record_is_reported(copied, changes, problem):
    spoil(copied, **changes)
    (found,) = inspection.inspect(str(copied), all_frames=True).problems
    assert problem in found


def test_the_sheet_has_each_clip_with_the_same_chance(demo_shards):
    seen = set()
    for seed in range(3):
        report = inspection.inspect(demo_shards, num_sheet_clips=12, seed=seed)
        assert len(report.sheet) == 12
        seen |= {video.tobytes() for video, _ in report.sheet}
    assert len(seen) > 25


def test_a_long_histogram_is_cut_in_the_middle():
    lines = list(inspection.histogram({str(i): i for i in range(100)}, at_most=10))
    assert len(lines) == 11 and "90 others" in lines[5]
    assert json.dumps(lines[-1]).count("#") == 40
