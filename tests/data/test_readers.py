"""Reading: what is in a batch, its order, and who reads what."""

import shutil
import struct

import cv2
import numpy as np
import pytest
import tensorflow as tf

from tf_dvdgan import errors
from tf_dvdgan.data import manifest as manifest_lib
from tf_dvdgan.data import readers, record_index, records, windows

HEIGHT, WIDTH, NUM_FRAMES = 16, 22, 20
CLIPS_OF_SHARD = (5, 7, 6, 6)


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> str:
    """24 clips whose pixels say clip, frame and column: (10 * clip, t, column)."""
    folder = str(tmp_path_factory.mktemp("shards"))
    clip, entries = 0, []
    for i, count in enumerate(CLIPS_OF_SHARD):
        name, class_counts = f"train-{i}.tfrecord", [0, 0]
        with tf.io.TFRecordWriter(f"{folder}/{name}") as writer:
            for _ in range(count):
                writer.write(_record(clip))
                class_counts[clip % 2] += 1
                clip += 1
        size = tf.io.gfile.stat(f"{folder}/{name}").length
        entries.append(manifest_lib.Shard(name, count, size, class_counts, NUM_FRAMES))
    manifest_lib.Manifest(
        "test", ["even", "odd"], HEIGHT, {"train": entries}, {}, {}
    ).save(folder)
    return folder


def _record(
    clip: int, num_frames: int = NUM_FRAMES, label: int | None = None, name: str = ""
) -> bytes:
    frames = []
    for t in range(num_frames):
        frame = np.empty([HEIGHT, WIDTH, 3], np.uint8)
        frame[..., 0], frame[..., 1], frame[..., 2] = 10 * clip, t, np.arange(WIDTH)
        frames.append(cv2.imencode(".png", frame[..., ::-1])[1].tobytes())
    return records.serialize(
        frames,
        video_id=name or str(clip),
        label=clip % 2 if label is None else label,
        class_name="",
        fps=25.0,
        height=HEIGHT,
        width=WIDTH,
        source="",
    )


WINDOW = windows.Window(num_frames=4, resolution=16, stride=3)


def read(shards, num_batches, batch=8, **kwargs):
    """(clip, first frame, first column) of each row, one list a batch."""
    kwargs = {"window": WINDOW, "global_batch_size": batch, "seed": 1} | kwargs
    rows = readers.training_dataset(shards, **kwargs)
    own = batch // kwargs.get("num_workers", 1)
    batches = rows.batch(own).take(num_batches)
    return [
        [tuple(video[0, 0, 0] // [10, 1, 1]) for video in batch["video"].numpy()]
        for batch in batches
    ]


def test_a_window_is_of_one_clip_with_stride_and_crop(shards):
    rows = readers.training_dataset(shards, WINDOW, 8, seed=1).take(24)
    firsts, lefts = set(), set()
    for row in rows.as_numpy_iterator():
        video = row["video"]
        assert video.shape == (4, 16, 16, 3) and video.dtype == np.uint8
        assert len(np.unique(video[..., 0])) == 1
        assert row["label"] == video[0, 0, 0, 0] // 10 % 2
        times = video[:, 0, 0, 1]
        np.testing.assert_array_equal(np.diff(times), [3, 3, 3])
        np.testing.assert_array_equal(np.diff(video[0, 0, :, 2]), 1)
        firsts.add(times[0])
        lefts.add(video[0, 0, 0, 2])
    assert firsts <= set(range(11)) and len(firsts) > 5
    assert lefts <= set(range(7)) and len(lefts) > 3


@pytest.mark.parametrize("batch", [1, 8, 24])
def test_every_clip_comes_once_an_epoch(shards, batch):
    clips = [row[0] for b in read(shards, 72 // batch, batch) for row in b]
    for epoch in range(3):
        assert sorted(clips[24 * epoch : 24 * epoch + 24]) == list(range(24))


def test_order_and_windows_are_a_function_of_the_seed(shards):
    assert read(shards, 10) == read(shards, 10)
    assert read(shards, 10) != read(shards, 10, seed=2)
    tf.random.set_seed(123)  # no other seed matters
    again = read(shards, 10)
    tf.random.set_seed(0)
    assert again == read(shards, 10)


def test_epochs_differ_in_order_and_windows(shards):
    batches = read(shards, 48, batch=1)
    first, second = batches[:24], batches[24:]
    assert sorted(b[0][0] for b in first) == sorted(b[0][0] for b in second)
    assert [b[0][0] for b in first] != [b[0][0] for b in second]
    assert {b[0] for b in first} != {b[0] for b in second}


@pytest.mark.parametrize("first_batch", [1, 5, 17])
def test_reading_resumes_anywhere_as_if_never_stopped(shards, first_batch):
    whole = read(shards, 20)
    rest = read(shards, 20 - first_batch, first_batch=first_batch)
    assert rest == whole[first_batch:]


@pytest.mark.parametrize("num_workers", [2, 4, 8])
def test_workers_share_the_rows_of_a_single_one(shards, num_workers):
    parts = [
        read(shards, 6, worker=w, num_workers=num_workers) for w in range(num_workers)
    ]
    joined = [[row for part in parts for row in part[b]] for b in range(6)]
    assert joined == read(shards, 6)
    assert parts[0] != parts[1]


def test_a_worker_reads_only_its_own_records(shards, tmp_path):
    folder = str(tmp_path / "damaged")
    shutil.copytree(shards, folder)
    of_worker = {"worker": 1, "num_workers": 2}
    own = {row[0] for batch in read(shards, 2, **of_worker) for row in batch}
    manifest = manifest_lib.load(folder)
    clip = 0
    for shard in manifest.splits["train"]:
        path = f"{folder}/{shard.file}"
        data, start = bytearray(open(path, "rb").read()), 0
        for _ in range(shard.num_clips):
            (length,) = struct.unpack_from("<Q", data, start)
            if clip not in own:  # neither length nor data can be read
                data[start : start + 16 + length] = bytes(16 + length)
            start += 16 + length
            clip += 1
        open(path, "wb").write(data)
    whole = [f"{shards}/{shard.file}" for shard in manifest.splits["train"]]
    entries = record_index.join([record_index.scan(path) for path in whole])
    record_index.save(folder, {"train": entries})
    assert read(folder, 2, **of_worker) == read(shards, 2, **of_worker)
    with pytest.raises(tf.errors.DataLossError):
        read(folder, 2)


def test_a_clip_that_is_too_short_repeats_its_last_frame():
    row = readers._decode(_record(3, num_frames=5), WINDOW, tf.fill([3], 0.9))
    np.testing.assert_array_equal(row["video"][:, 0, 0, 1], [0, 3, 4, 4])


@pytest.mark.parametrize(
    ("num_frames", "times"),
    [
        (12, [0, 3, 6, 9]),  # num_frames * stride of them: enough
        (11, [7, 8, 9, 10]),  # too few: consecutive frames, here the last ones
        (3, [0, 1, 2, 2]),
    ],
)
def test_a_short_clip_gives_consecutive_frames_where_asked_for(num_frames, times):
    window = windows.Window(4, 16, stride=3, consecutive_if_short=True)
    positions = tf.fill([3], 0.0 if times[0] == 0 else 0.99)
    row = readers._decode(_record(3, num_frames=num_frames), window, positions)
    np.testing.assert_array_equal(row["video"][:, 0, 0, 1], times)


def test_only_drawn_frames_are_decoded():
    good = cv2.imencode(".png", np.zeros([16, 22, 3], np.uint8))[1].tobytes()
    frames = [b"not an image"] * 20
    for t in (0, 3, 6, 9):
        frames[t] = good
    record = records.serialize(
        frames,
        video_id="",
        label=0,
        class_name="",
        fps=1.0,
        height=16,
        width=22,
        source="",
    )
    readers._decode(record, WINDOW, tf.zeros([3]))
    with pytest.raises(tf.errors.InvalidArgumentError):
        readers._decode(record, WINDOW, tf.fill([3], 0.9))


def encoded(kind: str, height: int, width: int) -> bytes:
    """A file of this size; a large PNG only as far as its header."""
    if kind == "png" and not 0 < height < 1000:
        header = struct.pack(">II5B", width, height, 8, 2, 0, 0, 0)
        return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + header
    if kind == "gif":
        size = struct.pack("<HH", width, height)
        pixel = b",\0\0\0\0\1\0\1\0\0\2\2D\1\0;"
        return b"GIF89a" + size + b"\x80\0\0" + bytes(6) + pixel
    return cv2.imencode(f".{kind}", np.zeros([height, width, 3], np.uint8))[1].tobytes()


def of_frame(frame: bytes, height: int = HEIGHT, width: int = WIDTH) -> bytes:
    return records.serialize(
        [frame] * 20,
        video_id="",
        label=0,
        class_name="",
        fps=1.0,
        height=height,
        width=width,
        source="",
    )


@pytest.mark.parametrize(
    ("kind", "size", "declared"),
    [
        ("png", (16000, 16000), (16, 22)),
        ("png", (16000, 16000), (16000, 16000)),  # over 67 million pixels
        ("png", (2**31 - 1, 2**31 - 1), (2**31 - 1, 2**31 - 1)),
        ("png", (2**32 - 1, 2**32 - 1), (-1, -1)),
        ("gif", (16000, 16000), (16, 22)),
        ("gif", (16, 22), (16, 22)),
        ("gif", (16, 22), (-1, -1)),
        ("bmp", (16, 22), (16, 22)),
        ("png", (32, 44), (16, 22)),
        ("jpg", (32, 44), (16, 22)),
        ("jpg", (16, 23), (16, 22)),
        ("png", (0, 0), (0, 0)),
    ],
)
def test_a_frame_of_another_size_or_format_is_not_decoded(kind, size, declared):
    decode = tf.function(lambda row: readers._decode(row, WINDOW, tf.zeros([3])))
    frame = encoded(kind, *size)
    with pytest.raises(tf.errors.InvalidArgumentError, match="a frame is not a JPEG"):
        decode(of_frame(frame, *declared))
    empty_or_cut = frame[:20] if kind == "png" else b""
    with pytest.raises(tf.errors.InvalidArgumentError, match="a frame is not a JPEG"):
        decode(of_frame(empty_or_cut, *declared))


@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_frames_of_jpeg_and_png_are_decoded(kind):
    frame = cv2.imencode(f".{kind}", np.full([16, 22, 3], 90, np.uint8))[1].tobytes()
    row = readers._decode(of_frame(frame), WINDOW, tf.zeros([3]))
    np.testing.assert_array_equal(row["video"], np.full([4, 16, 16, 3], 90))


def test_the_largest_frames_are_read():
    for width, fits in ((8192, True), (8193, False)):  # 2^26 pixels, and more
        size = tf.constant([8192, width], tf.int64)
        context = {"height": size[0], "width": size[1]}
        assert bool(records.fits(context, size[None])) == fits


def with_labels(folder: str, labels: list[int], names: list[str]) -> None:
    """Writes a shard of these labels without an index."""
    with tf.io.TFRecordWriter(f"{folder}/a") as writer:
        for clip, label in enumerate(labels):
            writer.write(_record(clip, label=label))
    size = tf.io.gfile.stat(f"{folder}/a").length
    counts = [sum(label == i for label in labels) for i in range(len(names))]
    counts[0] += len(labels) - sum(counts)
    shard = manifest_lib.Shard("a", len(labels), size, counts, NUM_FRAMES)
    manifest_lib.Manifest("", names, HEIGHT, {"train": [shard]}, {}, {}).save(folder)


@pytest.mark.parametrize("label", [-1, 3, 2**32, -(2**32)])
@pytest.mark.parametrize("classes", [(), ("b",)])
def test_a_label_without_a_class_is_reported(tmp_path, label, classes):
    with_labels(str(tmp_path), [0, 1, 2, label], ["a", "b", "c"])
    window = windows.Window(4, 16, classes=classes)
    message = r"are damaged \(a record has label .*has 3 classes"
    with pytest.raises(errors.UserError, match=message):
        readers.training_dataset(str(tmp_path), window, 4, 0)
    rows = readers.evaluation_dataset(str(tmp_path), window, "train")
    with pytest.raises(errors.UserError, match="are damaged"), readers.reading("x"):
        list(rows)


def test_data_of_one_class_are_read(tmp_path):
    with_labels(str(tmp_path), [0, 0, 0], ["video"])
    assert labels_of(str(tmp_path), WINDOW, 3) == [0, 0, 0]


def test_evaluation_reads_every_clip_once_at_its_center(shards):
    rows = list(readers.evaluation_dataset(shards, WINDOW, "train").as_numpy_iterator())
    corners = [tuple(row["video"][0, 0, 0] // [10, 1, 1]) for row in rows]
    assert corners == [(clip, 5, 3) for clip in range(24)]


def test_datasets_do_not_tune_themselves(shards):
    # Deleting an iterator that does takes up to a minute: a run would not end.
    for dataset in (
        readers.training_dataset(shards, WINDOW, 4, 0).batch(4).prefetch(4),
        readers.evaluation_dataset(shards, WINDOW, "train"),
    ):
        assert dataset.options().autotune.enabled is False


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"split": "test"}, "no split 'test'"),
        ({"window": windows.Window(4, 32)}, "--resolution=32"),
    ],
)
def test_what_does_not_fit_is_refused(shards, change, message):
    with pytest.raises(errors.UserError, match=message):
        read(shards, 1, **change)


def test_a_missing_folder_and_a_missing_shard_are_named(shards, tmp_path):
    with pytest.raises(errors.UserError, match="No prepared data in '/nowhere'"):
        read("/nowhere", 1)
    manifest_lib.load(shards).save(str(tmp_path))
    with pytest.raises(errors.UserError, match="4 of 4 shards are missing"):
        read(str(tmp_path), 1)


@pytest.mark.parametrize(
    ("names", "counts"),
    [(["video"], [7]), (["a", "b"], [7, 0]), (["a", "b", "c"], [0, 0, 7])],
)
def test_a_data_set_without_classes_is_refused(names, counts):
    shard = manifest_lib.Shard("x", 7, 1, counts, 9)
    manifest = manifest_lib.Manifest("folder", names, 16, {"train": [shard]}, {}, {})
    with pytest.raises(errors.UserError, match="needs clips of several classes"):
        readers.check_classes(manifest)


def test_a_data_set_with_classes_is_not_refused(shards):
    readers.check_classes(manifest_lib.load(shards))


def test_a_manifest_of_another_version_or_damaged_is_refused(shards, tmp_path):
    text = open(f"{shards}/manifest.json").read()
    for changed, message in (
        (text.replace('"schema_version": 1', '"schema_version": 9'), "version 9"),
        (text[:40], "damaged"),
        ("[" * 100_000, "damaged .*deeply nested"),
        (text.replace("train-1.", "train-0."), "names a shard twice"),
        (text.replace('"made_with": {', '"made_with": [1], "x": {'), "its made_with"),
    ):
        (tmp_path / "manifest.json").write_text(changed)
        with pytest.raises(errors.UserError, match=message):
            manifest_lib.load(str(tmp_path))


@pytest.mark.parametrize(
    "file", ["../x", "/etc/passwd", "..", "a/b", "s3://bucket/x", "a\\\\b", ""]
)
def test_a_manifest_that_points_elsewhere_is_refused(shards, tmp_path, file):
    text = open(f"{shards}/manifest.json").read().replace("train-1.tfrecord", file)
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(errors.UserError, match="shards are files beside it"):
        manifest_lib.load(str(tmp_path))


@pytest.mark.parametrize(
    "text",
    ["[]", "{}", '{"schema_version": 1}', "\xff", '{"schema_version": 1, "s": 2}'],
)
def test_a_manifest_of_something_else_is_refused(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text, encoding="latin-1")
    with pytest.raises(errors.UserError, match=r"damaged|schema version"):
        manifest_lib.load(str(tmp_path))


def test_a_manifest_keeps_any_name_and_shows_it_escaped(tmp_path):
    names = ["a\x1b[2J", "\u202eb", "c\udcff", "踊り"]
    manifest_lib.Manifest("folder", names, 16, {}, {}, {}).save(str(tmp_path))
    assert (tmp_path / "manifest.json").read_text().isascii()
    assert manifest_lib.load(str(tmp_path)).class_names == names


@pytest.fixture(scope="module")
def uneven(tmp_path_factory) -> str:
    """48 clips in 4 shards: 30 of class 'many', 12 of 'some', 6 of 'few'."""
    folder = str(tmp_path_factory.mktemp("uneven"))
    labels = np.random.default_rng(0).permutation([0] * 30 + [1] * 12 + [2] * 6)
    entries = []
    for i in range(4):
        name, own = f"train-{i}.tfrecord", range(12 * i, 12 * i + 12)
        with tf.io.TFRecordWriter(f"{folder}/{name}") as writer:
            for clip in own:
                writer.write(_record(clip % 25, 10, int(labels[clip]), str(clip)))
        counts = np.bincount(labels[own], minlength=3).tolist()
        size = tf.io.gfile.stat(f"{folder}/{name}").length
        entries.append(manifest_lib.Shard(name, 12, size, counts, 10))
    manifest_lib.Manifest(
        "test", ["many", "some", "few"], HEIGHT, {"train": entries}, {}, {}
    ).save(folder)
    return folder


def labels_of(folder, window, num_rows, batch=8, **kwargs) -> list[int]:
    rows = readers.training_dataset(folder, window, batch, 1, **kwargs)
    return [int(row["label"]) for row in rows.take(num_rows).as_numpy_iterator()]


def test_balanced_classes_come_equally_often_every_epoch(uneven):
    window = windows.Window(4, 16, 3, balanced=True)
    for epochs in (1, 3):
        counts = np.bincount(labels_of(uneven, window, 48 * epochs), minlength=3)
        assert counts.sum() == 48 * epochs
        # 16 of each; shares of a stream are rounded.
        np.testing.assert_allclose(counts, 16 * epochs, atol=2 * epochs)


def test_balancing_takes_other_clips_of_a_large_class_each_time(uneven):
    window = windows.Window(1, 16, 1, balanced=True)
    rows = readers.training_dataset(uneven, window, 4, 1).take(48 * 8)
    seen = {int(row["video"][0, 0, 0, 0]) for row in rows.as_numpy_iterator()}
    assert len(seen) == 25  # all pixel values there are


@pytest.mark.parametrize("settings", [{"balanced": True}, {"classes": ("few", "many")}])
def test_other_clips_too_resume_from_any_batch(uneven, settings):
    window = windows.Window(4, 16, 3, **settings)
    whole = read(uneven, 12, window=window)
    for first in (1, 5, 7):
        assert (
            read(uneven, 3, window=window, first_batch=first)
            == (whole[first : first + 3])
        )


def test_a_subset_of_classes_has_its_own_labels(uneven):
    window = windows.Window(4, 16, 3, classes=("few", "many"))
    manifest = readers.load_manifest(uneven, window.classes)
    assert manifest.class_names == ["few", "many"]
    assert manifest.class_counts("train") == [6, 30]
    assert np.bincount(labels_of(uneven, window, 36)).tolist() == [6, 30]
    rows = readers.evaluation_dataset(uneven, window, "train").as_numpy_iterator()
    assert np.bincount([int(row["label"]) for row in rows]).tolist() == [6, 30]
    both = windows.Window(4, 16, 3, classes=("few", "many"), balanced=True)
    np.testing.assert_allclose(np.bincount(labels_of(uneven, both, 36)), 18, atol=2)


def test_an_unknown_class_is_reported_with_the_nearest_name(uneven):
    window = windows.Window(4, 16, 3, classes=("few", "manny"))
    with pytest.raises(errors.UserError, match=r"no class 'manny'.*'many'"):
        readers.load_manifest(uneven, window.classes)


def test_half_the_clips_are_mirrored_or_played_backwards_where_asked_for(shards):
    def training_clips(**options):
        window = windows.Window(4, 16, 3, **options)
        dataset = readers.training_dataset(shards, window, 8, 1).take(200)
        return [row["video"] for row in dataset.as_numpy_iterator()]

    plain = training_clips()
    changed = {}
    for option, change in (
        ("flips", lambda clip: clip[:, :, ::-1]),
        ("reverses", lambda clip: clip[::-1]),
    ):
        changed[option] = []
        for as_it_is, perhaps in zip(
            plain, training_clips(**{option: True}), strict=True
        ):
            changed[option].append(not np.array_equal(as_it_is, perhaps))
            expected = change(as_it_is) if changed[option][-1] else as_it_is
            np.testing.assert_array_equal(expected, perhaps)
        assert 70 < sum(changed[option]) < 130
    # Independently of one another.
    assert 30 < np.sum(np.logical_and(*changed.values())) < 70
    both = training_clips(flips=True, reverses=True)
    for clip, found, is_flipped, is_reversed in zip(
        plain, both, *changed.values(), strict=True
    ):
        expected = clip[:, :, ::-1] if is_flipped else clip
        expected = expected[::-1] if is_reversed else expected
        np.testing.assert_array_equal(expected, found)


def test_clips_for_scores_are_as_they_are(shards):
    one, other = (
        next(iter(readers.evaluation_dataset(shards, window, "train").take(1)))
        for window in (
            windows.Window(4, 16, 3),
            windows.Window(4, 16, 3, flips=True, reverses=True),
        )
    )
    np.testing.assert_array_equal(one["video"], other["video"])
