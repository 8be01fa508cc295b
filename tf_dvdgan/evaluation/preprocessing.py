"""From uint8 videos to what evaluation networks take.

Protocols differ in nothing so much as in how frames are resized; each function says
whose way it is. All take `[batch, time, height, width, 3]` uint8, RGB, of known time,
height and width, give float32, and run on any device.
"""

import zipfile
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tf_dvdgan import errors, ops
from tf_dvdgan.data import files, transforms

_MEAN_SHAPE = (3, 16, 128, 171)  # channels (BGR), time, height, width in the file
_ACTIVITYNET_MEAN = (114.7748, 107.7354, 99.4750)  # RGB


def unit_range(videos: tf.Tensor) -> tf.Tensor:
    """For networks of our own: as they are, from 0 to 255 to [-1, 1].

    Args:
      videos: `[batch, time, height, width, 3]` uint8, RGB.
    """
    return transforms.to_unit_range(videos)


def unterthiner_i3d(videos: tf.Tensor) -> tf.Tensor:
    """For I3D as in the Fréchet Video Distance's code (Unterthiner et al., 2018).

    Frames are stretched to 224x224 by TensorFlow 1's bilinear resize: position i of
    the result is i * old / new of the frame, without half-pixel centres, without
    antialiasing. Values go to [-1, 1].

    Args:
      videos: `[batch, time, height, width, 3]` uint8, RGB.

    Returns:
      `[batch, time, 224, 224, 3]`.
    """
    return _tf1_bilinear(videos, 224) * (2.0 / 255.0) - 1.0


def dvdgan_i3d(videos: tf.Tensor) -> tf.Tensor:
    """For I3D as in DVD-GAN's FID and Inception Score (paper 001, section 2.4).

    The paper names the network, I3D of Kinetics-600, and not how frames come to its
    size and range: this is `unterthiner_i3d`, the published way of the score that the
    paper calls very similar.

    Args:
      videos: `[batch, time, height, width, 3]` uint8, RGB.

    Returns:
      `[batch, time, 224, 224, 3]`.
    """
    return unterthiner_i3d(videos)


def tgan_c3d(videos: tf.Tensor, mean: np.ndarray) -> tf.Tensor:
    """For C3D as in TGAN's Inception Score (pfnet-research/tgan, evaluation).

    DVD-GAN's score on UCF-101 is by this code (paper 001, appendix). Frames are
    stretched to 128x128 by OpenCV's INTER_CUBIC of float32 (cubic convolution with
    a = -0.75, half-pixel centres, edges repeated, no antialiasing, nothing rounded or
    clipped), BGR, less the mean's columns 21 to 148; then rows and columns 8 to 119.

    TGAN multiplies its generator's output by 128 and adds 128, which undoes the
    (x - 128) / 128 of its data: what a pixel is in uint8.

    Args:
      videos: `[batch, 16, height, width, 3]` uint8, RGB.
      mean: `[16, 128, 171, 3]`, see `load_mean`.

    Returns:
      `[batch, 16, 112, 112, 3]`, BGR.

    Raises:
      ValueError: videos are not of 16 frames.
    """
    _check_frames(videos)
    x = _resize(videos, 128, _cubic)
    x = x[..., ::-1] - mean[:, :, 21:149]
    return x[:, :, 8:120, 8:120]


def tgan2_c3d(videos: tf.Tensor, mean: np.ndarray) -> tf.Tensor:
    """For C3D as in TGAN2's Inception Score and FID (pfnet-research/tgan2).

    Frames are stretched to 112x112 by Chainer's `resize_images` (bilinear, corners on
    corners, no antialiasing), BGR, less rows and columns 8 to 119 of the mean: the
    frame is not cropped, and the mean's columns are not its middle ones.

    Args:
      videos: `[batch, 16, height, width, 3]` uint8, RGB.
      mean: `[16, 128, 171, 3]`, see `load_mean`.

    Returns:
      `[batch, 16, 112, 112, 3]`, BGR.

    Raises:
      ValueError: videos are not of 16 frames.
    """
    _check_frames(videos)
    x = _tf1_bilinear(videos, 112, align_corners=True)
    return x[..., ::-1] - mean[:, 8:120, 8:120]


def resnet3d(videos: tf.Tensor) -> tf.Tensor:
    """For 3-D ResNet-18 as in Hara et al.'s code of 2017 (3D-ResNets-PyTorch).

    Frames are stretched to 112x112 by Pillow's BILINEAR (a triangle as wide as the
    pixels of the smaller of both), less ActivityNet's mean, not divided by a deviation.
    Hara's code crops frames that are not square; here nothing is cut off. Paper 003
    trains on 16 frames and says no more (appendix B.1).

    Args:
      videos: `[batch, time, height, width, 3]` uint8, RGB.

    Returns:
      `[batch, time, 112, 112, 3]`, RGB.
    """
    return _resize(videos, 112, _triangle) - tf.constant(_ACTIVITYNET_MEAN)


def load_mean(path: str) -> np.ndarray:
    """Reads the mean clip that C3D's training videos had, TGAN's `mean2.npz`.

    Args:
      path: of the file; its array 'mean' is `[3, 16, 128, 171]`, BGR.

    Returns:
      `[16, 128, 171, 3]` float32, BGR.

    Raises:
      UserError: it cannot be read, or holds something else.
    """
    files.ready(path)
    with files.local(path) as file:
        try:
            mean = np.load(file, allow_pickle=False)["mean"]
        except (
            OSError,
            EOFError,
            ValueError,
            LookupError,
            zipfile.BadZipFile,
        ) as error:
            raise errors.UserError(
                f"The mean of C3D's training videos, an npz file with an array 'mean' "
                f"(TGAN's mean2.npz), cannot be read from {path!r}: {error}"
            ) from None
    if mean.shape != _MEAN_SHAPE:
        raise errors.UserError(
            f"{path!r} holds a mean of shape {mean.shape}, C3D's training videos have "
            f"{_MEAN_SHAPE}."
        )
    return mean.transpose(1, 2, 3, 0).astype(np.float32)


def _check_frames(videos: tf.Tensor) -> None:
    if videos.shape[1] != 16:
        raise ValueError(f"C3D scores 16 frames a video. Received: {videos.shape[1]}")


def _tf1_bilinear(
    videos: tf.Tensor, size: int, align_corners: bool = False
) -> tf.Tensor:
    """TensorFlow 1's resize of every frame, `[batch, time, size, size, 3]`."""

    def resized(frames: tf.Tensor) -> tf.Tensor:
        return tf.compat.v1.image.resize_bilinear(
            frames, [size, size], align_corners=align_corners
        )

    return ops.on_frames(resized, tf.cast(videos, tf.float32))


def _resize(
    videos: tf.Tensor, size: int, weights: Callable[[int, int], np.ndarray]
) -> tf.Tensor:
    """Resizes every frame by a kernel that TensorFlow has not.

    Args:
      videos: `[batch, time, height, width, 3]` uint8.
      size: new height and width.
      weights: gives of an old and a new length how much each new pixel has of each
        old, `[new, old]`.

    Returns:
      `[batch, time, size, size, 3]`.
    """
    x = tf.cast(videos, tf.float32)
    for axis in (2, 3):
        x = _mixed(x, axis, weights(videos.shape[axis], size))
    return x


def _mixed(x: tf.Tensor, axis: int, weights: np.ndarray) -> tf.Tensor:
    """Multiplies an axis by a matrix `[new, old]` with few entries a row.

    Not by a matrix product, which TPUs round to bfloat16 and GPUs to TensorFloat-32.
    """
    weights = weights.astype(np.float32)
    most = np.count_nonzero(weights, axis=1).max()
    taps = np.argsort(weights == 0.0, axis=1, kind="stable")[:, :most]
    shares = np.take_along_axis(weights, taps, axis=1)
    shape = [-1 if i == axis else 1 for i in range(x.shape.rank)]
    return tf.add_n(
        [
            tf.gather(x, taps[:, i], axis=axis) * shares[:, i].reshape(shape)
            for i in range(most)
        ]
    )


def _cubic(old: int, new: int) -> np.ndarray:
    """OpenCV's INTER_CUBIC, `[new, old]`."""
    a = -0.75
    centres = (np.arange(new) + 0.5) * old / new - 0.5
    weights = np.zeros([new, old])
    for tap in range(-1, 3):
        places = np.floor(centres).astype(int) + tap
        d = np.abs(centres - places)
        near = (a + 2.0) * d**3 - (a + 3.0) * d**2 + 1.0
        far = a * (d**3 - 5.0 * d**2 + 8.0 * d - 4.0)
        inside = np.clip(places, 0, old - 1)  # edges are repeated
        weights[np.arange(new), inside] += np.where(d <= 1.0, near, far)
    return weights


def _triangle(old: int, new: int) -> np.ndarray:
    """Pillow's BILINEAR, `[new, old]`."""
    centres = (np.arange(new) + 0.5) * old / new - 0.5
    distances = np.abs(np.arange(old) - centres[:, np.newaxis])
    weights = np.maximum(1.0 - distances / max(old / new, 1.0), 0.0)
    return weights / weights.sum(axis=1, keepdims=True)
