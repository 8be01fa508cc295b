"""`tools.train_classifier` as a user calls it."""

import dataclasses
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from conftest import DEFAULT_SIGNALS, after, run_module

from tf_dvdgan import errors
from tf_dvdgan.data import manifest as manifest_lib
from tf_dvdgan.data import readers, windows
from tf_dvdgan.evaluation.features import preprocessing, train_small_classifier
from tf_dvdgan.evaluation.features.networks import weights

FLAGS = ("--num_frames=4", "--stride=1", "--batch_size=12")


def test_it_writes_a_file_that_says_what_it_is(demo_shards, tmp_path):
    output = str(tmp_path / "new" / "small.weights.h5")
    done = run_module(
        "tools.train_classifier",
        *(f"--data_dir={demo_shards}", f"--output={output}", "--epochs=4", *FLAGS),
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stderr.splitlines()) == 4, done.stderr  # a line for each epoch
    network, metadata = weights.load(output)
    assert (metadata.network, metadata.num_classes) == ("small_classifier", 9)
    rows = readers.evaluation_dataset(demo_shards, windows.Window(4, 16, 1))
    rows = list(rows.as_numpy_iterator())
    videos = np.stack([row["video"] for row in rows])
    labels = np.array([row["label"] for row in rows])
    logits = network(preprocessing.unit_range(videos))["logits"].numpy()
    share = f"{(logits.argmax(axis=1) == labels).mean():.1%}"
    dataset = manifest_lib.load(demo_shards).dataset
    source = (
        f"tools.train_classifier on {dataset}: 108 clips of 9 classes, 4 frames at "
        f"stride 1, 16 pixels; 4 epochs, seed 0; {share} held-out accuracy"
    )
    assert metadata.class_names[1] == "VerticalCircle"
    assert metadata.source == source
    assert done.stdout.splitlines() == [
        f"source   {source}",
        f"hash     {metadata.hash}",
        f"file     {output}",
        f"{share} of 36 held-out real clips classified correctly",
    ]


def test_it_stops_when_enough_clips_are_right(demo_shards, tmp_path):
    output = str(tmp_path / "small.weights.h5")
    done = run_module(
        "tools.train_classifier",
        *(f"--data_dir={demo_shards}", f"--output={output}", "--epochs=30", *FLAGS),
        "--target_accuracy=0.12",
    )
    assert done.returncode == 0, done.stderr
    shown = [line.split("  ")[-1] for line in done.stderr.splitlines()]
    accuracies = [float(line.partition("%")[0]) for line in shown]
    assert accuracies[-1] >= 12 and all(a < 12 for a in accuracies[:-1]), shown
    assert len(accuracies) < 30
    assert f"{len(accuracies)} epochs, seed 0" in weights.load(output)[1].source


def test_an_interrupt_leaves_nothing(demo_shards, tmp_path):
    flags = [f"--data_dir={demo_shards}", f"--output={tmp_path}/a.weights.h5"]
    command = ["tools.train_classifier", *flags, *FLAGS]
    process = subprocess.Popen(
        [sys.executable, *after(DEFAULT_SIGNALS, "-m", *command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert "epochs 1/30" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Interrupted." in errors and "Traceback" not in errors
    assert not os.listdir(tmp_path)


def test_a_mistake_is_reported(tmp_path):
    output = f"--output={tmp_path}/a.weights.h5"
    done = run_module("tools.train_classifier", "--data_dir=/nowhere", output)
    assert done.returncode == 1
    assert done.stderr.startswith("error: No prepared data in '/nowhere'")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.h5", "ends in .weights.h5"),
        ("file/a.weights.h5", "cannot be written"),
        ("folder.weights.h5", "cannot be written"),
    ],
)
def test_an_impossible_output_is_refused_at_once(tmp_path, name, message):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.weights.h5").mkdir()
    with pytest.raises(errors.UserError, match=message):
        weights.check_output(str(tmp_path / name))
    assert sorted(os.listdir(tmp_path)) == ["file", "folder.weights.h5"]


def test_an_output_that_can_be_stays_as_it_was(tmp_path):
    path = tmp_path / "a.weights.h5"
    path.write_text("of before")
    weights.check_output(str(path))
    assert os.listdir(tmp_path) == [path.name] and path.read_text() == "of before"


def test_unsuitable_data_are_reported(demo_shards):
    manifest = manifest_lib.load(demo_shards)
    window = windows.Window(4, 16)
    train_small_classifier._check_data(demo_shards, manifest, window)
    alone = {"train": manifest.splits["train"]}
    without_test = dataclasses.replace(manifest, splits=alone)
    with pytest.raises(errors.UserError, match="has no split 'test'"):
        train_small_classifier._check_data(demo_shards, without_test, window)
    splits = {
        split: [
            dataclasses.replace(shard, class_counts=[shard.num_clips])
            for shard in shards
        ]
        for split, shards in manifest.splits.items()
    }
    one = dataclasses.replace(manifest, class_names=["all"], splits=splits)
    with pytest.raises(errors.UserError, match="clips of several classes"):
        train_small_classifier._check_data(demo_shards, one, window)
