"""Mutations of files are read or refused; none ends the process or fills memory."""

import json
import os

import pytest
from conftest import run_process

READERS = (
    *("mp4", "avi", "gif", "webp", "image", "npy", "tfrecord", "manifest", "index"),
    *("gin", "scores", "checkpoint_list", "h5", "saved_model", "model", "generator"),
    *("mean", "table", "state_dict"),
)


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS)
def test_a_thousand_mutations_are_read_or_refused(reader, tmp_path):
    done = run_process(
        *("-P", "tests/fuzz.py", reader, str(tmp_path), "1000"),
        env=os.environ | {"PYTHONPATH": "."},  # not tests/, which has a data_prep too
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["grown"] < 1 << 30
