"""Features are those of one plain forward: in parts, stopped, by any strategy."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tf_dvdgan import errors
from tf_dvdgan.evaluation.features import extraction, sources
from tf_dvdgan.evaluation.metrics import frechet

SHAPE = (3, 4, 4, 3)
KERNEL = np.random.default_rng(9).normal(size=[144, 5]).astype(np.float32) / 12


def feature_fn(videos, labels):
    x = tf.reshape(tf.cast(videos, tf.float32) / 255, [-1, 144])
    return {"features": tf.tanh(x @ KERNEL), "class": labels}


class Clips(sources.Source):
    """Random clips; those with the numbers of `gaps` cannot be read."""

    def __init__(self, num_clips, gaps=(), seed=0):
        self.num_clips = num_clips
        self._gaps = set(gaps)
        self._seed = seed
        self.all = np.random.default_rng(seed).integers(
            0, 256, [num_clips, *SHAPE], np.uint8
        )
        self.asked: list[int] = []

    def rows(self, first, worker, num_workers):
        for i in range(first + worker, self.num_clips, num_workers):
            self.asked.append(i)
            bad = i in self._gaps
            yield None if bad else {"video": self.all[i], "label": np.int32(i)}

    def videos(self, rows):
        return rows["video"]

    def fingerprint(self):
        return {"seed": self._seed, "num_clips": self.num_clips}

    @property
    def expected(self):
        there = [i for i in range(self.num_clips) if i not in self._gaps]
        return feature_fn(self.all[there], np.array(there))


def extractor(batch_size=4, counts=None, fails_at=None):
    """Counts batches; an exception comes instead of one of them."""

    def counted(videos, labels):
        def count():
            counts.append(len(counts))
            if len(counts) == fails_at:
                raise RuntimeError("killed")

        if counts is not None:
            tf.py_function(count, [], [])
        return feature_fn(videos, labels)

    strategy = tf.distribute.get_strategy()
    return extraction.Extractor(counted, strategy, batch_size)


def assert_found(found, source):
    for name, value in source.expected.items():
        np.testing.assert_allclose(found.get(name), value, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(found.get("label"), source.expected["class"])


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(extraction, "_CLIPS_OF_PART", 8)


@pytest.mark.parametrize("num_clips", [1, 4, 23, 24])
@pytest.mark.parametrize("batch_size", [1, 4, 7])
def test_parts_are_one_forward(small_parts, tmp_path, num_clips, batch_size):
    source = Clips(num_clips)
    found = extractor(batch_size)(source, {}, str(tmp_path))
    assert_found(found, source)
    assert len([*found.parts()]) == -(-num_clips // (-(-8 // batch_size) * batch_size))


@pytest.mark.parametrize("gaps", [[0], [22], [4, 5, 6, 7], [0, 1, 2, 3, 4, 11, 21, 22]])
def test_bad_clips_leave_the_others_right(small_parts, tmp_path, gaps):
    source = Clips(23, gaps)
    found = extractor()(source, {}, str(tmp_path))
    assert_found(found, source)
    assert found.num_places == 23


def test_nothing_but_bad_clips_is_reported(tmp_path):
    with pytest.raises(errors.UserError, match="None of the clips can be read"):
        extractor()(Clips(5, range(5)), {}, str(tmp_path))


def test_moments_are_those_of_two_passes_across_parts(small_parts, tmp_path):
    source = Clips(61, [3])
    seen = extractor()(source, {}, str(tmp_path))
    found, x = seen.moments("features"), seen.get("features").astype(np.float64)
    assert found.count == len(x) == 60
    np.testing.assert_allclose(found.mean, x.mean(0), rtol=1e-9)
    np.testing.assert_allclose(found.covariance, np.cov(x, rowvar=False), rtol=1e-6)


def test_no_more_is_held_than_asked_for(small_parts, tmp_path, monkeypatch):
    source = Clips(60)
    found = extractor()(source, {}, str(tmp_path))
    read, plain = [], extraction.Features._read
    monkeypatch.setattr(
        extraction.Features, "_read", lambda *a: read.append(a) or plain(*a)
    )
    expected = source.expected["features"]
    np.testing.assert_allclose(found.get("features", 10), expected[:10], atol=1e-6)
    assert len(read) == 2  # parts of 8
    monkeypatch.setattr(extraction.Features.get, "__defaults__", (20,))
    assert len(found.get("features")) == 20
    assert len(found.get("features", None)) == 60


def test_complete_features_are_not_extracted_again(small_parts, tmp_path):
    counts, source = [], Clips(23)
    extractor(counts=counts)(source, {}, str(tmp_path))
    assert len(counts) == 6
    found = extractor(counts=counts)(source, {}, str(tmp_path))
    assert len(counts) == 6
    assert_found(found, source)


def test_resumes_where_it_was_stopped(small_parts, tmp_path):
    counts, source = [], Clips(40, [9])
    with pytest.raises(tf.errors.OpError, match="killed"):
        extractor(counts=counts, fails_at=7)(source, {}, str(tmp_path))
    counts.clear()
    source.asked.clear()
    found = extractor(counts=counts)(source, {}, str(tmp_path))
    # Six batches were made; the part of the last was not full, for there was a gap.
    assert len(counts) == 5 and min(source.asked) == 20
    assert_found(found, source)


def folder_of(tmp_path):
    (name,) = os.listdir(tmp_path)
    return os.path.join(tmp_path, name)


@pytest.mark.parametrize("number, again", [(0, 6), (1, 4), (-1, 2)])
@pytest.mark.parametrize("keep", [None, 0, 0.5, 0.999])
@pytest.mark.parametrize("batch_size", [4, 3])
def test_a_part_that_is_lost_or_cut_is_made_again(
    small_parts, tmp_path, number, again, keep, batch_size
):
    counts, source = [], Clips(24)
    extractor()(source, {}, str(tmp_path))
    folder = folder_of(tmp_path)
    path = os.path.join(folder, sorted(os.listdir(folder))[number])
    if keep is None:
        os.remove(path)
    else:
        os.truncate(path, int(os.path.getsize(path) * keep))
    found = extractor(batch_size, counts)(source, {}, str(tmp_path))
    assert len(counts) == -(-again * 4 // batch_size)
    assert_found(found, source)
    again = extractor(batch_size, counts)(source, {}, str(tmp_path))
    assert_found(again, source)


def test_a_file_half_written_is_no_part(small_parts, tmp_path):
    source = Clips(24)
    extractor()(source, {}, str(tmp_path))
    folder = folder_of(tmp_path)
    last = os.path.join(folder, sorted(os.listdir(folder))[-1])
    os.truncate(last, 100)
    os.rename(last, f"{last}.unfinished-7")  # as a process leaves it that is killed
    assert extraction.Features(folder).num_places == 16
    assert_found(extractor()(source, {}, str(tmp_path)), source)


def test_other_clips_or_networks_have_other_features(tmp_path):
    counts = []
    extract = extractor(counts=counts)
    for source, metadata in (
        (Clips(8), {"hash": "a"}),
        (Clips(8), {"hash": "b"}),
        (Clips(8, seed=1), {"hash": "a"}),
        (Clips(7), {"hash": "a"}),
    ):
        before = len(counts)
        assert_found(extract(source, metadata, str(tmp_path)), source)
        assert len(counts) == before + 2
    assert len(os.listdir(tmp_path)) == 4


def test_an_error_of_the_reader_comes_through(tmp_path):
    class Broken(Clips):
        def rows(self, first, worker, num_workers):
            yield from [*super().rows(first, worker, num_workers)][:9]
            raise errors.UserError("too many are bad")

    with pytest.raises(errors.UserError, match="too many"):
        extractor()(Broken(24), {}, str(tmp_path))


_SCRIPT = """
import json, os, sys
replicas, out = int(sys.argv[1]), sys.argv[2]
import numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * replicas)
if "TF_CONFIG" in os.environ:
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
elif replicas == 1:
    strategy = tf.distribute.OneDeviceStrategy("CPU:0")
else:
    strategy = tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(replicas)])
from tests.evaluation.features import test_extraction as t
from tf_dvdgan.evaluation.features import extraction
from tf_dvdgan.training import strategy as strategy_lib
with strategy.scope():
    kernel = tf.Variable(t.KERNEL)
extraction._CLIPS_OF_PART = 8

def feature_fn(videos, labels):
    x = tf.reshape(tf.cast(videos, tf.float32) / 255, [-1, 144])
    return {"features": tf.tanh(x @ kernel), "class": labels}

extract = extraction.Extractor(feature_fn, strategy, 6)
for name, clips in t.CASES.items():
    found = extract(clips, {}, out)
    if strategy_lib.is_chief(strategy):
        values = {n: found.get(n) for n in ("features", "class", "label")}
        np.savez(f"{out}.{name}.npz", **values)
"""
CASES = {"whole": Clips(40), "gaps": Clips(37, [0, 5, 6, 36], seed=1)}


def in_process(replicas, out, tf_config=None) -> subprocess.Popen:
    root = os.path.abspath(os.path.join(os.path.dirname(__file__), *[os.pardir] * 3))
    config = {"TF_CONFIG": json.dumps(tf_config)} if tf_config else {}
    return subprocess.Popen(
        [sys.executable, "-c", _SCRIPT, str(replicas), out],
        env={**os.environ, "PYTHONPATH": root, **config},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture(scope="module")
def by_strategy(tmp_path_factory):
    """Where each strategy left what it found; each worker had a folder."""
    from tests.conformance import test_replicas  # not in the processes: it takes long

    root = str(tmp_path_factory.mktemp("strategies"))
    places = test_replicas.free_ports(2)
    cluster = {"worker": [f"127.0.0.1:{port}" for port in places]}
    workers = [
        {"cluster": cluster, "task": {"type": "worker", "index": i}} for i in (0, 1)
    ]
    for group in (
        [in_process(1, f"{root}/one")],
        [in_process(2, f"{root}/two")],
        [in_process(1, f"{root}/worker{i}", workers[i]) for i in (0, 1)],
    ):
        for process in group:
            output = process.communicate(timeout=300)[0]
            assert process.returncode == 0, output[-3000:]
    return root


@pytest.mark.parametrize("strategy", ["one", "two", "worker0"])
@pytest.mark.parametrize("case", ["whole", "gaps"])
def test_any_strategy_finds_the_same_in_the_same_order(by_strategy, strategy, case):
    expected = CASES[case].expected
    with np.load(f"{by_strategy}/{strategy}.{case}.npz") as found:
        np.testing.assert_array_equal(found["label"], expected["class"])
        np.testing.assert_array_equal(found["class"], expected["class"])
        np.testing.assert_allclose(found["features"], expected["features"], atol=1e-6)


def test_distances_of_all_strategies_agree(by_strategy):
    def moments(path):
        with np.load(path) as found:
            seen = frechet.Moments(5)
            seen.add(found["features"])
            return seen

    distances = [
        frechet.distance(*(moments(f"{by_strategy}/{s}.{c}.npz") for c in CASES))
        for s in ("one", "two", "worker0")
    ]
    np.testing.assert_allclose(distances[1:], distances[0], rtol=1e-6)


def test_the_chief_alone_writes(by_strategy):
    assert os.listdir(f"{by_strategy}/worker0")
    assert not os.path.exists(f"{by_strategy}/worker1")
