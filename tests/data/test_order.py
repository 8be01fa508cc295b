"""Batches are in random order: measured on what training reads from real shards."""

import cv2
import numpy as np
import pytest
import tensorflow as tf

from tf_dvdgan.data import manifest as manifest_lib
from tf_dvdgan.data import order, readers, record_index, records, windows

WINDOW = windows.Window(num_frames=1, resolution=4, stride=1)
SEVERAL = np.random.default_rng(0).integers(1, 6, 200).tolist()  # clips of 200 shards
# Clips of each shard, and the batch size.
LAYOUTS = {
    "few equal shards": ([32] * 8, 8),
    "longer ones": ([60] * 8, 16),
    "more of them": ([40] * 16, 32),
    "unequal shards": ([3, 100, 20, 77, 1, 55], 8),
    "one shard": ([250], 8),
    "many unequal shards": (SEVERAL, 64),
    "more rows than shards have clips": ([5] * 64, 64),
    "a batch that no shards divide": ([33] * 7, 10),
}


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=pytest.mark.slow) if "more" in name else name
        for name in LAYOUTS
    ],
)
def epochs(request, tmp_path_factory):
    """Shard sizes, batch size, and the clips of 24 epochs in order, `[24, clips]`."""
    counts, batch = LAYOUTS[request.param]
    folder = str(tmp_path_factory.mktemp("order"))
    write(folder, counts)
    rows = read(folder, batch, 24 * sum(counts))
    return counts, batch, np.reshape(rows, [24, sum(counts)])


def write(folder: str, counts: list[int]) -> None:
    """Shards of clips of one frame, each with a label of its own: its number."""
    frame = cv2.imencode(".png", np.zeros([4, 4, 3], np.uint8))[1].tobytes()
    num_clips, first, shards = sum(counts), 0, []
    for i, count in enumerate(counts):
        name = f"train-{i}.tfrecord"
        with tf.io.TFRecordWriter(f"{folder}/{name}") as writer:
            for clip in range(first, first + count):
                writer.write(
                    records.serialize(
                        [frame],
                        video_id=str(clip),
                        label=clip,
                        class_name="",
                        fps=1.0,
                        height=4,
                        width=4,
                        source="",
                    )
                )
        own = np.zeros([num_clips], int)
        own[first : first + count] = 1
        size = tf.io.gfile.stat(f"{folder}/{name}").length
        shards.append(manifest_lib.Shard(name, count, size, own.tolist(), 1))
        first += count
    names = [str(clip) for clip in range(num_clips)]
    manifest = manifest_lib.Manifest("test", names, 4, {"train": shards}, {}, {})
    entries = [record_index.scan(f"{folder}/{shard.file}") for shard in shards]
    record_index.save(folder, {"train": record_index.join(entries)})
    manifest.save(folder)


def read(folder: str, batch: int, num_rows: int, **settings) -> list[int]:
    rows = readers.training_dataset(folder, WINDOW, batch, **{"seed": 1, **settings})
    rows = rows.map(lambda row: row["label"]).batch(512)
    return np.concatenate(list(rows.take(-(-num_rows // 512))))[:num_rows].tolist()


def test_every_epoch_has_each_clip_once_in_another_order(epochs):
    _, _, clips = epochs
    np.testing.assert_array_equal(np.sort(clips), np.sort(clips[:1]).repeat(24, 0))
    assert len({tuple(epoch) for epoch in clips}) == 24


def test_companions_in_a_batch_meet_again_as_by_chance(epochs):
    counts, batch, clips = epochs
    num_clips = sum(counts)
    again = together = 0
    before = None
    for epoch in clips:
        number_of_batch = np.empty([num_clips], int)
        number_of_batch[epoch] = np.arange(num_clips) // batch
        same = number_of_batch[:, None] == number_of_batch
        np.fill_diagonal(same, False)
        if before is not None:
            again += (same & before).sum() // 2
            together += before.sum() // 2
        before = same
    full, rest = divmod(num_clips, batch)
    pairs = full * batch * (batch - 1) + rest * (rest - 1)
    chance = pairs / (num_clips * (num_clips - 1))
    spread = np.sqrt(together * chance * (1 - chance))
    assert abs(again - together * chance) < 4 * spread, (again / together, chance)


def test_every_row_sees_every_shard_as_often_as_it_has_clips(epochs):
    counts, batch, clips = epochs
    shard_of = np.repeat(np.arange(len(counts)), counts)
    whole = clips.reshape(-1)[: clips.size // batch * batch]
    seen = shard_of[whole].reshape(-1, batch)
    for row in seen.T:
        found = np.bincount(row, minlength=len(counts))
        expected = np.array(counts) / sum(counts) * len(row)
        # Of shards that come less than some five times in all a few may be missing.
        assert (found[expected > 12] > 0).all()
        assert ((found - expected) ** 2 / expected).sum() < 2 * len(counts) + 15


def test_the_first_batches_are_drawn_from_all_of_the_data(epochs):
    counts, batch, clips = epochs
    starts = clips[:, :batch].mean()  # of 24 epochs
    deviation = sum(counts) / np.sqrt(12 * 24 * batch)
    assert abs(starts - (sum(counts) - 1) / 2) < 4 * deviation


def test_another_seed_gives_other_batches(tmp_path):
    write(str(tmp_path), [20, 30])
    first, other = (read(str(tmp_path), 5, 50, seed=seed) for seed in (1, 2))
    assert first != other and sorted(first) == sorted(other)
    # Nor is one seed's order that of another, some epochs on.
    of_first = np.reshape(read(str(tmp_path), 5, 1000, seed=1), [20, 50])
    of_other = np.reshape(read(str(tmp_path), 5, 1000, seed=2), [20, 50])
    assert not {tuple(e) for e in of_first} & {tuple(e) for e in of_other}


def test_every_permutation_of_three_is_equally_likely():
    of_three = order.Order(np.arange(3), np.zeros([3], int), seed=5)
    found = [
        tuple(of_three.epoch(tf.constant(e, tf.int64)).numpy()) for e in range(600)
    ]
    counts = [found.count(permutation) for permutation in set(found)]
    assert len(counts) == 6
    assert ((np.array(counts) - 100) ** 2 / 100).sum() < 20  # 5 degrees: p = 0.001


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([0] * 30 + [1] * 12 + [2] * 6, [16, 16, 16]),
        ([0] * 7 + [2] * 4, [6, 0, 5]),  # a class without clips, a share that is none
        ([1] * 5, [0, 5]),
    ],
)
def test_balanced_classes_have_equal_shares_to_one_row(labels, expected):
    balanced = order.Order(100 + np.arange(len(labels)), np.array(labels), 3, True)
    counts = np.bincount(labels)
    total = np.zeros([len(labels)], int)
    for number in range(40):
        clips = balanced.epoch(tf.constant(number, tf.int64)).numpy() - 100
        assert np.bincount(np.array(labels)[clips]).tolist() == expected
        times = np.bincount(clips, minlength=len(labels))
        of_each = np.array(expected)[labels] / counts[labels]
        assert (times >= np.floor(of_each)).all() and (times <= np.ceil(of_each)).all()
        total += times
    # In the long run each clip comes as often as the others of its class.
    assert (abs(total - 40 * np.array(expected)[labels] / counts[labels]) < 16).all()


def test_workers_have_their_rows_of_each_batch():
    one = order.Order(np.arange(11), np.zeros([11], int), seed=0)

    def first(rows):
        return list(rows.take(12).as_numpy_iterator())

    whole = first(one.rows(4, 2, 0, 1))
    assert [row for row, _ in whole] == list(range(8, 20))
    parts = [first(one.rows(4, 2, worker, 2)) for worker in (0, 1)]
    for b in range(3):
        joined = parts[0][2 * b : 2 * b + 2] + parts[1][2 * b : 2 * b + 2]
        assert joined == whole[4 * b : 4 * b + 4]
