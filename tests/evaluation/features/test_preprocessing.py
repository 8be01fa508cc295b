"""Each protocol's preprocessing against the library that its authors used."""

import cv2
import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
import torch

from tf_dvdgan import errors
from tf_dvdgan.evaluation.features import preprocessing

SIZES = [(64, 64), (128, 128), (120, 160), (256, 256)]


def clips(size: tuple[int, int], frames: int = 16, count: int = 1) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, [count, frames, *size, 3], np.uint8)


@pytest.fixture(scope="module")
def mean() -> np.ndarray:
    """`[16, 128, 171, 3]` with distinct values."""
    rng = np.random.default_rng(1)
    return rng.uniform(80.0, 120.0, [16, 128, 171, 3]).astype(np.float32)


def of_frames(function, videos: np.ndarray) -> np.ndarray:
    return np.stack([[function(frame) for frame in video] for video in videos])


def tf1_bilinear(frame: np.ndarray, size: int, corners: bool = False) -> np.ndarray:
    """From the definition, one axis at a time."""
    frame = frame.astype(np.float64)
    for axis in (0, 1):
        old = frame.shape[axis]
        scale = (old - 1) / (size - 1) if corners else old / size
        positions = np.arange(size) * scale
        low = np.minimum(np.floor(positions).astype(int), old - 1)
        high = np.minimum(low + 1, old - 1)
        weight = (positions - low).reshape([-1 if i == axis else 1 for i in range(3)])
        frame = (1 - weight) * frame.take(low, axis) + weight * frame.take(high, axis)
    return frame


def cubic(frame: np.ndarray) -> np.ndarray:
    frame = frame.astype(np.float32)
    return cv2.resize(frame, (128, 128), interpolation=cv2.INTER_CUBIC)


def aligned_corners(frame: np.ndarray) -> np.ndarray:
    x = torch.from_numpy(frame.astype(np.float32)).permute(2, 0, 1)[None]
    x = torch.nn.functional.interpolate(
        x, (112, 112), mode="bilinear", align_corners=True
    )
    return x[0].permute(1, 2, 0).numpy()


def pillow(frame: np.ndarray) -> np.ndarray:
    channels = [
        PIL.Image.fromarray(frame[..., c].astype(np.float32)).resize(
            (112, 112), PIL.Image.Resampling.BILINEAR
        )
        for c in range(3)
    ]
    return np.stack([np.array(c) for c in channels], axis=-1)


@pytest.mark.parametrize("size", SIZES)
def test_i3d_resizes_as_tensorflow_1(size):
    videos = clips(size, frames=3, count=2)
    expected = of_frames(lambda f: tf1_bilinear(f, 224), videos) * 2 / 255 - 1
    found = preprocessing.unterthiner_i3d(tf.constant(videos))
    assert found.shape == [2, 3, 224, 224, 3] and found.dtype == tf.float32
    np.testing.assert_allclose(found, expected, atol=1e-4)
    np.testing.assert_array_equal(preprocessing.dvdgan_i3d(videos), found)


@pytest.mark.parametrize("size", SIZES)
def test_tgan_resizes_as_opencv(size, mean):
    """In the steps of TGAN's code: channels first, reversed, less the mean, cropped."""
    videos = clips(size)
    x = of_frames(cubic, videos)
    x = x.transpose(4, 0, 1, 2, 3)  # channels, batch, time, height, width
    x = x[::-1] - mean.transpose(3, 0, 1, 2)[:, None, :, :, 21 : 21 + 128]
    x = x[:, :, :, 8 : 8 + 112, 8 : 8 + 112]
    found = preprocessing.tgan_c3d(tf.constant(videos), mean)
    np.testing.assert_allclose(found, x.transpose(1, 2, 3, 4, 0), atol=1e-3)


@pytest.mark.parametrize("size", SIZES)
def test_tgan2_resizes_with_aligned_corners(size, mean):
    videos = clips(size)
    expected = of_frames(aligned_corners, videos)[..., ::-1] - mean[:, 8:120, 8:120]
    found = preprocessing.tgan2_c3d(tf.constant(videos), mean)
    np.testing.assert_allclose(found, expected, atol=5e-3)  # both are float32


@pytest.mark.parametrize("size", SIZES)
def test_resnet3d_resizes_as_pillow(size):
    videos = clips(size, frames=2)
    expected = of_frames(pillow, videos) - [114.7748, 107.7354, 99.4750]
    found = preprocessing.resnet3d(tf.constant(videos))
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize(
    "name", ["unterthiner_i3d", "tgan_c3d", "tgan2_c3d", "resnet3d"]
)
def test_traced_and_compiled_functions_match_eager(name, mean):
    """Traced with an unknown batch size, as for a last partial batch; and by XLA."""
    function = getattr(preprocessing, name)
    given = (mean,) if name.endswith("c3d") else ()
    videos = tf.constant(clips((96, 96), count=2))
    expected = function(videos, *given)
    spec = tf.TensorSpec([None, 16, 96, 96, 3], tf.uint8)
    traced = tf.function(lambda x: function(x, *given), input_signature=[spec])
    assert (
        traced.get_concrete_function().structured_outputs.shape[1:].is_fully_defined()
    )
    np.testing.assert_allclose(traced(videos), expected, atol=1e-4)
    compiled = tf.function(lambda x: function(x, *given), jit_compile=True)
    np.testing.assert_allclose(compiled(videos), expected, atol=2e-3)


@pytest.mark.parametrize("name", ["tgan_c3d", "tgan2_c3d"])
def test_c3d_needs_16_frames(name, mean):
    with pytest.raises(ValueError, match=r"16 frames per video\. Received: 12"):
        getattr(preprocessing, name)(clips((32, 32), frames=12), mean)


def test_mean_is_read(tmp_path, mean):
    path = str(tmp_path / "mean2.npz")
    np.savez(path, mean=mean.transpose(3, 0, 1, 2).astype(np.float64))
    found = preprocessing.load_c3d_mean(path)
    np.testing.assert_array_equal(found, mean)
    assert found.dtype == np.float32


def test_files_without_a_mean_are_rejected(tmp_path):
    path = str(tmp_path / "file.npz")
    with pytest.raises(errors.UserError, match=r"cannot be read from .*file\.npz"):
        preprocessing.load_c3d_mean(path)
    for content in (b"", b"PK\x03\x04 cut off", b"\x80\x04]\x94."):
        with open(path, "wb") as file:
            file.write(content)
        with pytest.raises(errors.UserError, match="cannot be read"):
            preprocessing.load_c3d_mean(path)
    np.savez(path, other=np.zeros(3))
    with pytest.raises(errors.UserError, match="mean"):
        preprocessing.load_c3d_mean(path)
    np.savez(path, mean=np.zeros([3, 16, 112, 112]))
    with pytest.raises(errors.UserError, match=r"\(3, 16, 112, 112\)"):
        preprocessing.load_c3d_mean(path)
