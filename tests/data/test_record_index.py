"""The index holds the position of each record; impossible ones are refused."""

import glob
import json
import os
import shutil

import numpy as np
import pytest
import tensorflow as tf
from conftest import prepare_in_process

from data_prep.sources import ucf101
from tf_dvdgan import errors
from tf_dvdgan.data import clips, inspection, readers, record_index, windows
from tf_dvdgan.data import manifest as manifest_lib


@pytest.fixture
def copied(demo_shards, tmp_path) -> str:
    return shutil.copytree(demo_shards, str(tmp_path / "copied"))


@pytest.fixture
def scanned(monkeypatch) -> list[str]:
    """Names of the shards that are read through to find their records."""
    found, original = [], record_index.scan

    def scan(path: str) -> record_index.Entries:
        found.append(os.path.basename(path))
        return original(path)

    monkeypatch.setattr(record_index, "scan", scan)
    return found


def load(folder: str, split: str = "train") -> record_index.RecordIndex:
    return record_index.load(folder, manifest_lib.load(folder), split)


def all_records(folder: str, split: str = "train") -> list[bytes]:
    shards = manifest_lib.load(folder).splits[split]
    paths = [f"{folder}/{shard.file}" for shard in shards]
    return list(tf.data.TFRecordDataset(paths).as_numpy_iterator())


@pytest.mark.parametrize("split", ["train", "test"])
def test_every_record_is_read_by_its_number(demo_shards, scanned, split):
    index, records = load(demo_shards, split), all_records(demo_shards, split)
    assert len(index) == len(records) and not scanned
    for number, record in enumerate(records):
        assert index.read(tf.constant(number, tf.int64)) == record


def test_preparation_writes_what_reading_the_shards_finds(demo_shards):
    names = sorted(glob.glob(f"{demo_shards}/train-*"))
    found = record_index.join([record_index.scan(name) for name in names])
    saved = np.load(f"{demo_shards}/index.npz", allow_pickle=False)
    np.testing.assert_array_equal(saved["train/lengths"], found.lengths)
    np.testing.assert_array_equal(saved["train/labels"], found.labels)
    sizes = [os.path.getsize(name) for name in names]
    assert [record_index.scan(name).num_bytes for name in names] == sizes


def other_bytes(folder: str) -> None:
    with open(f"{folder}/index.npz", "wb") as file:
        file.write(b"PK not an archive")


def unknown_compression(folder: str) -> None:
    with open(f"{folder}/index.npz", "r+b") as file:
        in_contents = file.read().rindex(b"PK\x01\x02")
        file.seek(in_contents + 10)
        file.write(b"\x63")


def changed(**changes):
    def change(folder: str) -> None:
        arrays = dict(np.load(f"{folder}/index.npz", allow_pickle=False))
        arrays["train/lengths"] = arrays["train/lengths"].copy()
        for name, function in changes.items():
            arrays[f"train/{name}"] = function(arrays[f"train/{name}"])
        np.savez(f"{folder}/index.npz", **arrays)

    return change


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: os.remove(f"{folder}/index.npz"),
        other_bytes,
        unknown_compression,
        changed(lengths=lambda x: x + 1),
        changed(lengths=lambda x: x[:-1], labels=lambda x: x[:-1]),
        changed(lengths=lambda x: np.concatenate([[-x[1], x[0] + 2 * x[1]], x[2:]])),
        changed(lengths=lambda x: x.astype(np.float64)),
        changed(labels=lambda x: x[::-1] * 0),
        changed(labels=lambda x: x + 100),
        changed(labels=lambda x: x[:, None]),
        changed(labels=lambda x: np.array([{}] * len(x), object)),
    ],
)
def test_without_an_index_that_fits_the_shards_are_read_through(
    copied, scanned, spoil, capsys
):
    spoil(copied)
    index, records = load(copied), all_records(copied)
    assert len(scanned) == 4  # shards
    assert "has no index" in capsys.readouterr().out
    for number in (0, 57, 107):
        assert index.read(tf.constant(number, tf.int64)) == records[number]


def test_preparing_again_adds_the_index_that_an_earlier_version_did_not_write(
    demo_videos, tmp_path
):
    folder = str(tmp_path)
    listing = ucf101.list_clips(demo_videos)
    prepare_in_process(listing, demo_videos, folder)
    with open(f"{folder}/index.npz", "rb") as file:
        first = file.read()
    os.remove(f"{folder}/index.npz")
    stamps = {name: os.stat(name).st_mtime_ns for name in glob.glob(f"{folder}/t*")}
    for path in glob.glob(f"{folder}/.prepare/*.json"):
        with open(path) as file:
            receipt = json.load(file)
        del receipt["index"]
        with open(path, "w") as file:
            json.dump(receipt, file)
    prepare_in_process(listing, demo_videos, folder)
    with open(f"{folder}/index.npz", "rb") as file:
        assert file.read() == first
    assert stamps == {name: os.stat(name).st_mtime_ns for name in stamps}


def test_damage_is_found_when_a_record_is_read(copied):
    index = load(copied)
    path = sorted(glob.glob(f"{copied}/train-*"))[0]
    with open(path, "r+b") as file:
        file.seek(100)
        file.write(b"damage")
    with pytest.raises(tf.errors.DataLossError):
        index.read(tf.constant(0, tf.int64))
    index.read(tf.constant(1, tf.int64))
    os.truncate(path, os.path.getsize(path) - 1)
    last = manifest_lib.load(copied).splits["train"][0].num_clips - 1
    with pytest.raises(tf.errors.DataLossError):
        index.read(tf.constant(last, tf.int64))


def test_a_damaged_shard_without_an_index_is_reported(copied):
    os.remove(f"{copied}/index.npz")
    path = sorted(glob.glob(f"{copied}/train-*"))[1]
    os.truncate(path, os.path.getsize(path) - 9)
    with pytest.raises(errors.UserError, match=r"shards in .* are damaged"):
        readers.training_dataset(copied, windows.Window(4, 16), 4, seed=0)


def forge(path) -> None:
    """Makes the first record say that it has 2^40 bytes, with a valid checksum."""
    length = (1 << 40).to_bytes(8, "little")
    with tf.io.TFRecordWriter(f"{path}.other") as writer:
        writer.write(length)  # after its header it is data, with that checksum
    with open(f"{path}.other", "rb") as file:
        checksum = file.read()[-4:]
    os.remove(f"{path}.other")
    with open(path, "r+b") as file:
        file.write(length + checksum)


@pytest.mark.parametrize("indexed", [True, False])
def test_a_record_longer_than_its_file_is_refused_before_it_is_read(copied, indexed):
    """TensorFlow would allocate it, and crash."""
    forge(sorted(glob.glob(f"{copied}/train-*"))[0])
    forge(sorted(glob.glob(f"{copied}/test-*"))[0])
    if not indexed:
        os.remove(f"{copied}/index.npz")
    window = windows.Window(4, 16)
    with pytest.raises(errors.UserError, match=r"damaged .train-00000"):
        readers.training_dataset(copied, window, 4, seed=0)
    with pytest.raises(errors.UserError, match=r"damaged .* of 1099511627776 bytes"):
        readers.evaluation_dataset(copied, window, "test")
    report = inspection.inspect(copied)
    assert sum("has a record of 1099511627776 bytes" in p for p in report.problems) == 2
    for ask in (
        lambda s: s.key,
        lambda s: s.clip_info,
        lambda s: list(s.clips(window)),
    ):
        with pytest.raises(errors.UserError, match="are damaged"):
            ask(clips.open_clips(copied))


def test_an_index_of_other_lengths_is_not_followed(copied):
    """Of the same sum, so that it fits the manifest."""
    with np.load(f"{copied}/index.npz") as saved:
        arrays = dict(saved)
    first, second = arrays["train/lengths"][:2]
    arrays["train/lengths"][:2] = first - 1, second + 1
    np.savez(f"{copied}/index.npz", **arrays)
    with pytest.raises(tf.errors.DataLossError, match=r"not what index\.npz says"):
        load(copied)


@pytest.mark.parametrize("size", [0, 11, 1000, -1, 1])
def test_a_shard_of_another_size_than_indexed_is_reported(copied, size):
    path = sorted(glob.glob(f"{copied}/train-*"))[1]
    whole = os.path.getsize(path)
    os.truncate(path, whole + size if abs(size) == 1 else size)
    message = f"00001-of-00004.tfrecord is not what index.npz says.* instead of {whole}"
    with pytest.raises(errors.UserError, match=message):
        readers.training_dataset(copied, windows.Window(4, 16), 4, seed=0)


def test_a_missing_shard_of_other_classes_is_not_needed(tmp_path):
    """Only shards with clips of the chosen classes must be there."""
    record, entries = b"any", []
    for name in ("a", "b"):
        with tf.io.TFRecordWriter(f"{tmp_path}/{name}") as writer:
            writer.write(record)
        of_class = [int(name == "a"), int(name == "b")]
        entries.append(manifest_lib.Shard(name, 1, 19, of_class, 1))
    shards = {"train": entries}
    manifest_lib.Manifest("", ["a", "b"], 16, shards, {}, {}).save(str(tmp_path))
    saved = record_index.Entries(np.array([3, 3]), np.array([0, 1], np.int32))
    record_index.save(str(tmp_path), {"train": saved})
    os.remove(tmp_path / "b")
    window = windows.Window(4, 16, classes=("a",))
    readers.training_dataset(str(tmp_path), window, 1, seed=0)


def test_the_key_of_clips_is_that_of_their_bytes(copied):
    """Also where manifest, sizes and times stay the same."""
    before = clips.open_clips(copied).key
    assert clips.open_clips(copied).key == before
    path = sorted(glob.glob(f"{copied}/test-*"))[0]
    rows = [row.numpy() for row in tf.data.TFRecordDataset(path)]
    times = os.stat(path)
    with tf.io.TFRecordWriter(path) as writer:
        for row in rows:
            writer.write(row[:-1] + bytes([row[-1] ^ 1]))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert os.stat(path).st_size == times.st_size
    assert clips.open_clips(copied).key != before


def test_the_key_of_clips_covers_bytes_that_their_checksums_do_not_match(copied):
    before = clips.open_clips(copied).key
    path = sorted(glob.glob(f"{copied}/test-*"))[0]
    with open(path, "r+b") as file:
        file.seek(200)
        (byte,) = file.read(1)
        file.seek(200)
        file.write(bytes([byte ^ 1]))
    assert clips.open_clips(copied).key != before
