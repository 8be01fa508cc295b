"""Which samples standing statistics are made of."""

import types

import numpy as np
import pytest
import tensorflow as tf

from tf_dvdgan import run_directory
from tf_dvdgan.data import manifest, training_data, windows
from tf_dvdgan.models import video_gan
from tf_dvdgan.sampling import standing_statistics
from tf_dvdgan.training import train


class Counting(tf.Module):
    """A generator that counts how often it starts from each frame of a bank."""

    num_conditioning_frames, num_classes, num_frames, resolution = 1, 0, 2, 4

    def __init__(self, count: int):
        super().__init__()
        self.counts = tf.Variable(tf.zeros([count], tf.int32))

    def __call__(self, z, labels, frames, training):
        numbers = tf.cast(tf.round((frames[:, 0, 0, 0, 0] + 1.0) * 127.5), tf.int32)
        ones = tf.ones_like(numbers)
        self.counts.scatter_add(tf.IndexedSlices(ones, numbers))
        return tf.concat([frames, frames], axis=1)


@pytest.mark.parametrize(("batch_size", "num_batches"), [(32, 4), (5, 9)])
def test_samples_start_from_the_whole_frame_bank(batch_size, num_batches):
    bank = np.zeros([40, 1, 4, 4, 3], np.uint8) + np.arange(40, dtype=np.uint8).reshape(
        [40, 1, 1, 1, 1]
    )
    gan = video_gan.Networks(Counting(40), [], video_gan.GaussianLatent([3]))
    gan.frame_bank = bank
    standing_statistics.StandingStatistics(gan, batch_size).compute(num_batches)
    counts = gan.generator.counts.numpy()
    assert counts.sum() == batch_size * num_batches
    assert counts.max() - counts.min() <= 1


def test_a_run_keeps_a_frame_for_each_sample_of_its_statistics(
    demo_shards, tmp_path, monkeypatch
):
    there = manifest.load(demo_shards).num_clips("train")

    def kept(folder: str) -> np.ndarray:
        path = tmp_path / folder
        path.mkdir()
        data = training_data.Shards(demo_shards, windows.Window(4, 16))
        directory = run_directory.RunDirectory(str(path))
        gan = types.SimpleNamespace(
            generator=types.SimpleNamespace(num_conditioning_frames=2)
        )
        train._set_frame_bank(directory, data, gan, chief=True)
        np.testing.assert_array_equal(directory.read_frame_bank(), gan.frame_bank)
        return gan.frame_bank

    assert train._FRAME_BANK_CLIPS == 512
    every = kept("every")
    assert every.shape == (there, 2, 16, 16, 3) and every.dtype == np.uint8
    assert len(np.unique(every.reshape(there, -1), axis=0)) > 0.9 * there
    monkeypatch.setattr(train, "_FRAME_BANK_CLIPS", 3)
    np.testing.assert_array_equal(kept("few"), every[:3])
