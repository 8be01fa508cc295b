"""What a manifest says of its splits."""

import pytest

from tf_dvdgan.data import manifest


@pytest.mark.parametrize(
    ("splits", "held_out"),
    [
        (("train", "test", "validation"), "test"),
        (("train", "validation"), "validation"),
        (("train",), None),
    ],
)
def test_the_split_that_is_held_out(splits, held_out):
    shard = manifest.Shard("a.tfrecord", 3, 9, [3], 4)
    filled = {name: [shard] for name in splits}
    empty = {name: [] for name in ("test", "validation") if name not in splits}
    made = manifest.Manifest("a", ["b"], 8, filled | empty, {}, {})
    assert made.nonempty_splits == list(splits) and made.held_out_split == held_out
