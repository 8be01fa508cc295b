"""What is shown to networks: of folders, of shards, and made by a model."""

import dataclasses
import json
import os

import numpy as np
import pytest
import tensorflow as tf
from conftest import TINY, run_python

from tf_dvdgan import config
from tf_dvdgan.data import clips, readers, transforms, windows
from tf_dvdgan.evaluation.features import extraction, sources
from tf_dvdgan.models import video_gan
from tf_dvdgan.sampling import latents, standing_statistics
from tf_dvdgan.sampling import sampler as sampler_lib

pytestmark = pytest.mark.usefixtures("quick_graphs")

WINDOW = windows.Window(4, 16, 2)


def feature_fn(videos, labels):
    return {"videos": videos}


def of_shards(shards, split, at_most=None, window=WINDOW):
    return sources.ClipSelection(clips.open_clips(shards, split), window, at_most)


def seen(source, folder, batch_size=5):
    strategy = tf.distribute.get_strategy()
    return extraction.Extractor(feature_fn, strategy, batch_size)(
        source, {}, str(folder)
    )


def test_prepared_clips_are_those_of_the_reader(demo_shards, tmp_path):
    source = of_shards(demo_shards, "test", 23)
    found = seen(source, tmp_path)
    rows = readers.evaluation_dataset(demo_shards, WINDOW, "test").take(23)
    expected = [*rows.as_numpy_iterator()]
    np.testing.assert_array_equal(
        found.get("videos"), [row["video"] for row in expected]
    )
    np.testing.assert_array_equal(
        found.get("label"), [row["label"] for row in expected]
    )
    assert of_shards(demo_shards, "train").num_clips == 108
    assert of_shards(demo_shards, "test", 1000).num_clips == 36


def numbers_of(source, first, worker, num_workers):
    return [
        None if row is None else int(row["label"])
        for row in source.rows(first, worker, num_workers)
    ]


@pytest.mark.parametrize("first", [0, 7, 36])
@pytest.mark.parametrize(
    "classes", [(), ("RoundCircle", "RoundSquare", "RoundTriangle")]
)
def test_workers_take_clips_in_turn(demo_shards, first, classes):
    place = clips.open_clips(demo_shards, classes=classes)
    source = sources.ClipSelection(place, WINDOW, 30)
    whole = numbers_of(source, 0, 0, 1)
    assert len(whole) == min(30, place.num_clips)
    for worker in range(3):
        assert numbers_of(source, first, worker, 3) == whole[first + worker :: 3]


@pytest.fixture
def folder(tmp_path):
    """40 clips of two classes; the videos of those in GAPS cannot be read."""
    rng = np.random.default_rng(0)
    for i in range(40):
        path = tmp_path / "clips" / "ab"[i // 20] / f"{i:02}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        video = rng.integers(0, 256, [4, 16, 16, 3], np.uint8)
        np.save(path, video)
    return str(tmp_path / "clips")


class WithGaps(clips.FolderSource):
    def examples(self, *arguments):
        for example in super().examples(*arguments):
            if example.number not in GAPS:
                yield example


GAPS = (0, 5, 6, 39)


@pytest.mark.parametrize("at_most", [None, 33])
def test_a_folders_bad_clips_are_gaps_in_their_places(folder, tmp_path, at_most):
    place = WithGaps(folder)
    source = sources.ClipSelection(place, windows.Window(4, stride=1), at_most)
    for worker in (0, 1):
        rows = [*source.rows(3, worker, 2)]
        numbers = range(3 + worker, source.num_clips, 2)
        for number, row in zip(numbers, rows, strict=False):  # the last may be dropped
            assert (row is None) == (number in GAPS)
    found = seen(source, tmp_path / "seen")
    kept = [i for i in range(at_most or 40) if i not in GAPS]
    names = [place.names[i] for i in kept]
    labels = ["ab".index(name[0]) for name in names]
    np.testing.assert_array_equal(found.get("label"), labels)
    expected = [np.load(f"{folder}/{name}") for name in names]
    np.testing.assert_array_equal(found.get("videos"), expected)


def test_fingerprints_identify_clips(demo_shards, folder):
    wider = dataclasses.replace(WINDOW, stride=1)
    place = clips.open_clips(folder)
    found = [
        of_shards(demo_shards, "test"),
        of_shards(demo_shards, "train"),
        of_shards(demo_shards, "train", 9),
        of_shards(demo_shards, "train", window=wider),
        sources.ClipSelection(place, windows.Window(4, stride=1)),
        sources.ClipSelection(place, windows.Window(3, stride=1)),
        sources.ClipSelection(place, windows.Window(4, stride=1), 9),
    ]
    assert len({json.dumps(source.fingerprint()) for source in found}) == len(found)
    assert found[0].fingerprint() == of_shards(demo_shards, "test").fingerprint()


@pytest.fixture
def gan(tiny_config):
    made = video_gan.from_config([f"{i}" for i in range(9)])
    made.build()
    return sampler_of(made)


def sampler_of(gan, num_batches=2):
    return sampler_lib.Sampler(gan, None, num_batches, 8)


def test_generated_videos_are_those_of_sampling(gan, tmp_path):
    source = sources.ModelSource(gan, 13, seed=3, truncation=0.7)
    found = seen(source, tmp_path)
    labels = latents.draw_labels(13, 3, 9)
    z = latents.draw(gan.networks.latent, 13, 3)
    statistics = standing_statistics.StandingStatistics(gan.networks, 8).compute(2, 0.7)
    given = gan.networks.conditioning(labels, None)
    made = gan.networks.generate(0.7 * z, given, statistics=statistics)["videos"]
    expected = transforms.to_uint8(made).numpy()
    assert found.get("videos").dtype == np.uint8
    np.testing.assert_array_equal(found.get("label"), labels)
    apart = np.abs(found.get("videos").astype(int) - expected)
    assert apart.max() <= 1 and (apart > 0).mean() < 0.01
    assert expected.std() > 5  # they are not all alike
    rows = [*source.rows(4, 1, 3)]
    np.testing.assert_array_equal([row["z"] for row in rows], z[5::3])


def test_so_many_frames_are_given_as_are_asked_for(gan, tmp_path):
    whole, cut = (
        seen(sources.ModelSource(gan, 3, 0, num_frames=n), tmp_path / str(n))
        for n in (None, 3)
    )
    np.testing.assert_array_equal(cut.get("videos"), whole.get("videos")[:, :3])


def test_labels_may_be_given(gan):
    rows = sources.ModelSource(gan, 3, 0, labels=np.array([8, 0, 3])).rows(0, 0, 1)
    assert [int(row["label"]) for row in rows] == [8, 0, 3]


def test_a_model_without_classes_makes_videos_without(tiny_config):
    config.load([TINY], ["NUM_CLASSES = 0"])
    gan = video_gan.from_config(["video"])
    gan.build()
    rows = [*sources.ModelSource(sampler_of(gan), 3, 0).rows(0, 0, 1)]
    assert [int(row["label"]) for row in rows] == [-1, -1, -1]


def test_fingerprints_identify_generated_videos(gan):
    def fingerprint(*arguments, **settings):
        source = sources.ModelSource(gan, *arguments, **settings)
        return json.dumps(source.fingerprint())

    found = [
        fingerprint(9, 0),
        fingerprint(8, 0),
        fingerprint(9, 1),
        fingerprint(9, 0, 0.5),
        fingerprint(9, 0, labels=np.zeros(9, int)),
    ]
    assert fingerprint(9, 0) == found[0]
    more = sources.ModelSource(sampler_of(gan.networks, 3), 9, 0)
    found.append(json.dumps(more.fingerprint()))
    first = gan.networks.generator.trainable_variables[0]
    first.assign_add(tf.ones_like(first))
    found.append(fingerprint(9, 0))
    assert len(set(found)) == len(found)


class Continuing:
    """A generator conditioned on two frames: it repeats the second."""

    num_conditioning_frames, num_classes, num_frames, resolution = 2, 0, 4, 8
    submodules, trainable_variables, non_trainable_variables = (), (), ()

    def __call__(self, z, labels, frames, training):
        return tf.concat([frames, frames[:, 1:], frames[:, 1:]], axis=1)


def frames_of(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, [count, 2, 8, 8, 3], np.uint8)


def continuing():
    made = video_gan.Networks(Continuing(), [], video_gan.GaussianLatent([3]))
    made.frame_bank = frames_of(2)
    return sampler_of(made)


def test_conditioning_frames_are_cycled_in_order(tmp_path):
    gan = continuing()
    frames = frames_of(3)
    found = seen(sources.ModelSource(gan, 7, 0, frames=frames), tmp_path).get("videos")
    for i, video in enumerate(found):
        np.testing.assert_array_equal(video, frames[i % 3][[0, 1, 1, 1]])
    bank = sources.ModelSource(gan, 5, 0)
    videos = seen(bank, tmp_path).get("videos")
    np.testing.assert_array_equal(videos[0], videos[2])
    assert (videos[0] != videos[1]).any()
    before = bank.fingerprint()
    gan.networks.frame_bank = gan.networks.frame_bank[::-1]
    assert sources.ModelSource(gan, 5, 0).fingerprint() != before


_SCRIPT = """
import sys
replicas, gin_file, out = int(sys.argv[1]), sys.argv[2], sys.argv[3]
import numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * replicas)
from tf_dvdgan import config
from tf_dvdgan.evaluation.features import extraction, sources
from tf_dvdgan.models import video_gan
from tf_dvdgan.sampling import sampler
if replicas == 1:
    strategy = tf.distribute.OneDeviceStrategy("CPU:0")
else:
    strategy = tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(replicas)])
config.load([gin_file])
tf.keras.utils.set_random_seed(0)
with strategy.scope():
    gan = video_gan.from_config([f"{i}" for i in range(9)])
    gan.build()
source = sources.ModelSource(sampler.Sampler(gan, strategy, 2, 8), 21, seed=5)
feature_fn = lambda videos, labels: {"videos": tf.cast(videos, tf.int32)}
found = extraction.Extractor(feature_fn, strategy, 4)(source, {}, out)
np.savez(out + ".npz", videos=found.get("videos"), label=found.get("label"),
         fingerprint=str(source.fingerprint()))
"""


def test_replicas_make_the_same_videos(tmp_path):
    found = []
    for replicas in (1, 2):
        out = str(tmp_path / f"of_{replicas}")
        done = run_python("-c", _SCRIPT, str(replicas), TINY, out)
        assert done.returncode == 0, done.stderr[-3000:]
        with np.load(f"{out}.npz") as arrays:
            found.append(dict(arrays))
        assert os.listdir(out)
    one, two = found
    np.testing.assert_array_equal(one["label"], two["label"])
    assert str(one["fingerprint"]) == str(two["fingerprint"])
    apart = np.abs(one["videos"] - two["videos"])
    assert apart.max() <= 1 and (apart > 0).mean() < 0.01
    assert len(one["videos"]) == 21 and one["videos"].std() > 5
