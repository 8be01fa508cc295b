"""Shards that are damaged, wrong or gone, before and during training."""

import glob
import io
import json
import os
import shutil

import pytest
import tensorflow as tf
from conftest import TINY_VGAN
from PIL import Image

import tf_dvdgan as dvd
from tf_dvdgan import config, errors
from tf_dvdgan.data import manifest as manifest_lib
from tf_dvdgan.data import record_index, records
from tf_dvdgan.training import strategy as strategy_lib
from tf_dvdgan.training import train


@pytest.fixture
def shards(demo_shards, tmp_path) -> str:
    return shutil.copytree(demo_shards, str(tmp_path / "shards"))


def start(shards, tmp_path, actions=(), num_steps=9):
    one = ["training.Schedule.steps_per_loop = 1"]
    gan = dvd.VideoGAN.from_preset(TINY_VGAN, parameters=one)
    folder = str(tmp_path / "run")
    gan.fit(shards, num_steps, folder, actions=actions, checkpoint_every=100)


def rewrite(folder: str, change) -> None:
    """Writes all records again, changed, with valid checksums and an index."""
    found = manifest_lib.load(folder)
    splits = {}
    for split, of_split in found.splits.items():
        entries = []
        for number, shard in enumerate(of_split):
            path = f"{folder}/{shard.file}"
            rows = [change(row.numpy()) for row in tf.data.TFRecordDataset(path)]
            with tf.io.TFRecordWriter(path) as writer:
                for row in rows:
                    writer.write(row)
            values = json.load(open(f"{folder}/manifest.json"))
            values["splits"][split][number]["num_bytes"] = os.path.getsize(path)
            json.dump(values, open(f"{folder}/manifest.json", "w"))
            lengths = record_index.scan(path).lengths
            labels = [
                label for label, n in enumerate(shard.class_counts) for _ in range(n)
            ]
            entries.append(record_index.Entries(lengths, tf.constant(labels).numpy()))
        splits[split] = record_index.join(entries)
    record_index.save(folder, splits)


def with_frames(row: bytes, frame: bytes, **changes) -> bytes:
    context, frames = records.parse(row)
    values = {
        "video_id": context["video_id"].numpy().decode(),
        "label": int(context["label"]),
        "class_name": context["class_name"].numpy().decode(),
        "fps": float(context["fps"]),
        "height": int(context["height"]),
        "width": int(context["width"]),
        "source": context["source"].numpy().decode(),
    }
    frames = [frame or f for f in frames.numpy()]
    return records.serialize(frames, **values | changes)


def test_a_bad_image_in_a_valid_record_is_reported(shards, tmp_path):
    rewrite(shards, lambda row: with_frames(row, b"\xff\xd8\xff no image"))
    with pytest.raises(errors.UserError, match=r"are damaged \(.*JPEG.*prepare them"):
        start(shards, tmp_path)


def test_a_picture_larger_than_its_record_says_is_reported(shards, tmp_path):
    file = io.BytesIO()
    Image.new("1", (16000, 16000)).save(file, "PNG")  # 32 KB; decoded, 768 MB
    rewrite(shards, lambda row: with_frames(row, file.getvalue()))
    message = r"are damaged \(a frame is not .* pixels\); prepare them"
    with pytest.raises(errors.UserError, match=message):
        start(shards, tmp_path)


def test_a_cut_shard_is_reported(shards, tmp_path):
    path = sorted(glob.glob(f"{shards}/train-*"))[0]
    os.truncate(path, os.path.getsize(path) // 2)
    with pytest.raises(errors.UserError, match=r"are damaged \(train-00000.* instead"):
        start(shards, tmp_path)


@pytest.mark.parametrize("label", [-1, 99])
def test_a_label_without_a_class_or_index_is_reported(shards, tmp_path, label):
    rewrite(shards, lambda row: with_frames(row, b"", label=label))
    os.remove(f"{shards}/index.npz")
    with pytest.raises(errors.UserError, match=rf"label {label}, .* has 9 classes"):
        start(shards, tmp_path)


def test_a_label_without_a_class_is_reported(shards, tmp_path):
    rewrite(shards, lambda row: with_frames(row, b"", label=99))
    with pytest.raises(errors.UserError, match=r"are damaged \(.*99.*prepare them"):
        start(shards, tmp_path)


def test_a_shard_that_is_damaged_at_the_start_is_reported(shards, tmp_path):
    for path in glob.glob(f"{shards}/train-*"):
        lengths = record_index.scan(path).lengths
        with open(path, "r+b") as file:
            for length in lengths:
                file.seek(12 + 40, os.SEEK_CUR)
                file.write(b"damage")
                file.seek(int(length) - 46 + 4, os.SEEK_CUR)
    with pytest.raises(errors.UserError, match=r"are damaged \(corrupted record"):
        start(shards, tmp_path)


def test_missing_data_are_reported_and_cost_no_steps(shards, tmp_path):
    def remove(state):
        if state.step == 4:
            shutil.rmtree(shards)

    with pytest.raises(errors.UserError, match="No prepared data in") as error:
        start(shards, tmp_path, [dvd.Action("remove", 1, remove)], num_steps=4000)
    step = int(str(error.value).split("Step ")[1].split()[0])
    assert step >= 4 and str(error.value).endswith(
        f" Step {step} is saved; the same command resumes from there."
    )
    assert os.path.exists(tmp_path / "run" / "checkpoints" / f"step-{step}.index")


def test_another_error_before_the_first_step_stays_as_it_is(shards, tmp_path):
    def fail(state):
        raise tf.errors.InvalidArgumentError(None, None, "of the evaluation")

    config.load([TINY_VGAN])
    strategy = strategy_lib.create("one_device")
    with pytest.raises(tf.errors.InvalidArgumentError, match="of the evaluation"):
        train.from_config(str(tmp_path), shards, strategy, evaluation=fail).run()


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v["splits"]["train"][0].update(num_clips=10**12),
        lambda v: v["splits"]["train"][0].update(num_clips=-1),
        lambda v: v["splits"]["train"][0].update(num_bytes=3),
        lambda v: v["splits"]["train"][0].update(fewest_frames="many"),
        lambda v: v["splits"]["train"][0]["class_counts"].pop(),
        lambda v: v.update(resolution=0),
        lambda v: v.update(class_names=[1, 2, 3, 4, 5, 6, 7, 8, 9]),
        lambda v: v.update(class_names=5),
        lambda v: v.update(splits=[]),
    ],
)
def test_a_manifest_of_impossible_counts_is_reported(shards, tmp_path, change):
    values = json.load(open(f"{shards}/manifest.json"))
    change(values)
    json.dump(values, open(f"{shards}/manifest.json", "w"))
    with pytest.raises(errors.UserError, match=r"manifest\.json is damaged \("):
        start(shards, tmp_path)
    assert not os.path.exists(tmp_path / "run" / "config.gin")
