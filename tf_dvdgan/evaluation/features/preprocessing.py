"""Preprocessing of uint8 videos for evaluation networks.

Protocols differ most in how frames are resized; each function names the code that it
reproduces. All take `[batch, time, height, width, 3]` uint8 RGB videos with static
time, height and width, return float32, and run on any device.
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tf_dvdgan import array_files, errors, ops
from tf_dvdgan.data import files, transforms

_MEAN_SHAPE = (3, 16, 128, 171)  # channels (BGR), time, height, width in the file
_ACTIVITYNET_MEAN = (114.7748, 107.7354, 99.4750)  # RGB


def unit_range(videos: tf.Tensor) -> tf.Tensor:
    """For networks trained here: scales [0, 255] to [-1, 1] without resizing.

    Args:
      videos: `[batch, time, height, width, 3]` uint8, RGB.

    Returns:
      `[batch, time, height, width, 3]`.
    """
    return transforms.to_unit_range(videos)


def unterthiner_i3d(videos: tf.Tensor) -> tf.Tensor:
    """For I3D, as in the code of the Fréchet Video Distance (Unterthiner et al., 2018).

    Resizes frames to 224x224, ignoring the aspect ratio, with TensorFlow 1's bilinear
    resize: output pixel i samples input position i * old / new, without half-pixel
    centers or antialiasing. Values are scaled to [-1, 1].

    Args:
      videos: `[batch, time, height, width, 3]` uint8, RGB.

    Returns:
      `[batch, time, 224, 224, 3]`.
    """
    return _tf1_bilinear(videos, 224) * (2.0 / 255.0) - 1.0


def dvdgan_i3d(videos: tf.Tensor) -> tf.Tensor:
    """For I3D, as in DVD-GAN's FID and Inception Score (paper 001, section 2.4).

    The paper names the network, I3D on Kinetics-600, but not its preprocessing. This is
    `unterthiner_i3d`, published for the score that the paper calls very similar.

    Args:
      videos: `[batch, time, height, width, 3]` uint8, RGB.

    Returns:
      `[batch, time, 224, 224, 3]`.
    """
    return unterthiner_i3d(videos)


def tgan_c3d(videos: tf.Tensor, mean: np.ndarray) -> tf.Tensor:
    """For C3D, as in TGAN's Inception Score (pfnet-research/tgan, evaluation).

    DVD-GAN's score on UCF-101 uses this code (paper 001, appendix). Resizes frames to
    128x128, ignoring the aspect ratio, with OpenCV's INTER_CUBIC on float32 (cubic
    convolution with a = -0.75, half-pixel centers, replicated edges, no antialiasing,
    no rounding or clipping); converts to BGR; subtracts columns 21 to 148 of the mean;
    crops rows and columns 8 to 119.

    TGAN multiplies its generator's output by 128 and adds 128, which inverts the
    (x - 128) / 128 of its data and restores uint8 values.

    Args:
      videos: `[batch, 16, height, width, 3]` uint8, RGB.
      mean: `[16, 128, 171, 3]`, from `load_c3d_mean`.

    Returns:
      `[batch, 16, 112, 112, 3]`, BGR.

    Raises:
      ValueError: videos do not have 16 frames.
    """
    _check_num_frames(videos)
    x = _resize(videos, 128, _cubic)
    x = x[..., ::-1] - mean[:, :, 21:149]
    return x[:, :, 8:120, 8:120]


def tgan2_c3d(videos: tf.Tensor, mean: np.ndarray) -> tf.Tensor:
    """For C3D, as in TGAN2's Inception Score and FID (pfnet-research/tgan2).

    Resizes frames to 112x112, ignoring the aspect ratio, with Chainer's `resize_images`
    (bilinear, aligned corners, no antialiasing); converts to BGR; subtracts rows and
    columns 8 to 119 of the mean. The frame is not cropped, and the mean's crop is not
    centered.

    Args:
      videos: `[batch, 16, height, width, 3]` uint8, RGB.
      mean: `[16, 128, 171, 3]`, from `load_c3d_mean`.

    Returns:
      `[batch, 16, 112, 112, 3]`, BGR.

    Raises:
      ValueError: videos do not have 16 frames.
    """
    _check_num_frames(videos)
    x = _tf1_bilinear(videos, 112, align_corners=True)
    return x[..., ::-1] - mean[:, 8:120, 8:120]


def resnet3d(videos: tf.Tensor) -> tf.Tensor:
    """For 3-D ResNet-18, as in Hara et al.'s code of 2017 (3D-ResNets-PyTorch).

    Resizes frames to 112x112, ignoring the aspect ratio, with Pillow's BILINEAR (a
    triangle filter, widened when downsampling); subtracts ActivityNet's mean and does
    not divide by a standard deviation. Hara's code crops non-square frames; this does
    not. Paper 003 specifies only 16 frames (appendix B.1).

    Args:
      videos: `[batch, time, height, width, 3]` uint8, RGB.

    Returns:
      `[batch, time, 112, 112, 3]`, RGB.
    """
    return _resize(videos, 112, _triangle) - tf.constant(_ACTIVITYNET_MEAN)


def load_c3d_mean(path: str) -> np.ndarray:
    """Reads the mean of C3D's training clips, TGAN's `mean2.npz`.

    Args:
      path: npz file with an array 'mean', `[3, 16, 128, 171]`, BGR.

    Returns:
      `[16, 128, 171, 3]` float32, BGR.

    Raises:
      UserError: the file cannot be read, or does not hold such an array.
    """
    files.register_filesystems(path)
    with files.local_copy(path) as file:
        try:
            mean = array_files.load_npz(file)["mean"]
        except (ValueError, LookupError) as error:
            raise errors.UserError(
                "The mean of C3D's training clips cannot be read from "
                f"{path!r}, which must be an npz file with an array 'mean' such as "
                f"TGAN's mean2.npz: {error}"
            ) from None
    if mean.shape != _MEAN_SHAPE:
        raise errors.UserError(
            f"The mean in {path!r} has the shape {mean.shape}; C3D needs "
            f"{_MEAN_SHAPE}, as in TGAN's mean2.npz."
        )
    return mean.transpose(1, 2, 3, 0).astype(np.float32)


def _check_num_frames(videos: tf.Tensor) -> None:
    if videos.shape[1] != 16:
        raise ValueError(f"C3D needs 16 frames per video. Received: {videos.shape[1]}")


def _tf1_bilinear(
    videos: tf.Tensor, size: int, align_corners: bool = False
) -> tf.Tensor:
    """Resizes every frame as TensorFlow 1 does, `[batch, time, size, size, 3]`."""

    def resize(frames: tf.Tensor) -> tf.Tensor:
        return tf.compat.v1.image.resize_bilinear(
            frames, [size, size], align_corners=align_corners
        )

    return ops.on_frames(resize, tf.cast(videos, tf.float32))


def _resize(
    videos: tf.Tensor, size: int, weights: Callable[[int, int], np.ndarray]
) -> tf.Tensor:
    """Resizes every frame with a separable kernel that TensorFlow does not have.

    Args:
      videos: `[batch, time, height, width, 3]` uint8.
      size: new height and width.
      weights: maps an old and a new length to the weight of each old pixel in each new
        one, `[new, old]`.

    Returns:
      `[batch, time, size, size, 3]`.
    """
    x = tf.cast(videos, tf.float32)
    for axis in (2, 3):
        x = _resample(x, axis, weights(videos.shape[axis], size))
    return x


def _resample(x: tf.Tensor, axis: int, weights: np.ndarray) -> tf.Tensor:
    """Multiplies an axis by a matrix `[new, old]` with few non-zero entries per row.

    A matrix product would round to bfloat16 on TPUs and to TensorFloat-32 on GPUs.
    """
    weights = weights.astype(np.float32)
    num_taps = np.count_nonzero(weights, axis=1).max()
    taps = np.argsort(weights == 0.0, axis=1, kind="stable")[:, :num_taps]
    tap_weights = np.take_along_axis(weights, taps, axis=1)
    shape = [-1 if i == axis else 1 for i in range(x.shape.rank)]
    return tf.add_n(
        [
            tf.gather(x, taps[:, i], axis=axis) * tap_weights[:, i].reshape(shape)
            for i in range(num_taps)
        ]
    )


def _cubic(old: int, new: int) -> np.ndarray:
    """Weights of OpenCV's INTER_CUBIC, `[new, old]`."""
    a = -0.75
    centers = (np.arange(new) + 0.5) * old / new - 0.5
    weights = np.zeros([new, old])
    for tap in range(-1, 3):
        positions = np.floor(centers).astype(int) + tap
        d = np.abs(centers - positions)
        near = (a + 2.0) * d**3 - (a + 3.0) * d**2 + 1.0
        far = a * (d**3 - 5.0 * d**2 + 8.0 * d - 4.0)
        inside = np.clip(positions, 0, old - 1)  # replicates the edges
        weights[np.arange(new), inside] += np.where(d <= 1.0, near, far)
    return weights


def _triangle(old: int, new: int) -> np.ndarray:
    """Weights of Pillow's BILINEAR, `[new, old]`."""
    centers = (np.arange(new) + 0.5) * old / new - 0.5
    distances = np.abs(np.arange(old) - centers[:, np.newaxis])
    weights = np.maximum(1.0 - distances / max(old / new, 1.0), 0.0)
    return weights / weights.sum(axis=1, keepdims=True)
