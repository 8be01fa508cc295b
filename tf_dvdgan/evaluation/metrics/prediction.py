"""Per-frame similarity of predicted and real frames: PSNR, SSIM and LPIPS.

These metrics compare with a single future, so a stochastic generator is scored by the
best of several samples (Denton and Fergus, 2018; Lee et al., 2018); the Fréchet
distance scores the distribution of samples. Videos are uint8, or floats in [0, 1].
"""

from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

_BATCH_SIZE = 256
# Wang, Bovik, Sheikh and Simoncelli, 2004, section III.C.
_SSIM_WINDOW, _SSIM_SIGMA, _SSIM_K1, _SSIM_K2 = 11, 1.5, 0.01, 0.03

# Of frames that differ by no more than rounding to 8 bits: those that are equal would
# have an infinite one, and so would the mean over clips. 58.9 dB.
_HIGHEST_PSNR = 10.0 * np.log10(12.0 * 255.0**2)

# Metric names, and whether a lower value is better.
LOWER_IS_BETTER = {"psnr": False, "ssim": False, "lpips": True}


def psnr(real: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio of each frame in dB, over pixels and channels.

    Args:
      real: `[..., height, width, channels]`.
      predicted: `[..., height, width, channels]`; `real` broadcasts to it.

    Returns:
      `[...]` float64; infinite for identical frames.

    Raises:
      ValueError: floats are outside [0, 1].
    """
    errors = np.square(_to_unit(real, np.float64) - _to_unit(predicted, np.float64))
    with np.errstate(divide="ignore"):
        return -10.0 * np.log10(errors.mean(axis=(-3, -2, -1)))


def _finite_psnr(real: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    return np.minimum(psnr(real, predicted), _HIGHEST_PSNR)


def ssim(real: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Structural similarity of each frame, the mean over positions and channels.

    Uses an 11x11 Gaussian window with standard deviation 1.5 and no padding, K1 = 0.01
    and K2 = 0.03 (Wang et al., 2004), on each channel separately.

    Args:
      real: `[..., height, width, channels]`, at least 11x11 pixels.
      predicted: `[..., height, width, channels]`; `real` broadcasts to it.

    Returns:
      `[...]` float32.

    Raises:
      ValueError: floats are outside [0, 1], or frames are too small.
    """
    if min(predicted.shape[-3:-1]) < _SSIM_WINDOW:
        raise ValueError(
            f"SSIM needs frames of at least {_SSIM_WINDOW}x{_SSIM_WINDOW} pixels. "
            f"Received: {predicted.shape}"
        )
    return _by_frame(_ssim, real, predicted)


@tf.function(reduce_retracing=True)
def _ssim(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    return tf.image.ssim(
        a,
        b,
        max_val=1.0,
        filter_size=_SSIM_WINDOW,
        filter_sigma=_SSIM_SIGMA,
        k1=_SSIM_K1,
        k2=_SSIM_K2,
    )


def lpips(network: Callable, real: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Learned perceptual distance of each frame (`networks.lpips`).

    Args:
      network: returned by `networks.lpips.load`.
      real: `[..., height, width, 3]`.
      predicted: `[..., height, width, 3]`; `real` broadcasts to it.

    Returns:
      `[...]` float32.
    """

    def distance(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
        return network(2.0 * a - 1.0, 2.0 * b - 1.0)

    return _by_frame(distance, real, predicted)


def _by_frame(
    function: Callable, real: np.ndarray, predicted: np.ndarray
) -> np.ndarray:
    """Applies a function of `[batch, height, width, channels]` in batches of frames."""
    real = np.broadcast_to(real, predicted.shape)
    frames = [x.reshape([-1, *predicted.shape[-3:]]) for x in (real, predicted)]
    scores = []
    for i in range(0, len(frames[0]), _BATCH_SIZE):
        pair = [_to_unit(x[i : i + _BATCH_SIZE], np.float32) for x in frames]
        scores.append(function(*map(tf.constant, pair)).numpy())
    return np.concatenate(scores).reshape(predicted.shape[:-3])


def _to_unit(frames: np.ndarray, dtype: type) -> np.ndarray:
    """Converts frames to floats in [0, 1]."""
    if frames.dtype == np.uint8:
        return frames.astype(dtype) / dtype(255)
    if not np.issubdtype(frames.dtype, np.floating):
        raise ValueError(f"Frames must be uint8 or floats. Received: {frames.dtype}")
    if not (frames.min() >= 0.0 and frames.max() <= 1.0):
        raise ValueError(
            "Float frames must be in [0, 1]. "
            f"Received: {frames.min()} to {frames.max()}"
        )
    return frames.astype(dtype)


def repeat_last_frame(videos: np.ndarray, given: int) -> np.ndarray:
    """The prediction that nothing moves: repeats the last given frame.

    Args:
      videos: `[..., time, height, width, channels]`.
      given: number of leading frames to keep.

    Returns:
      `[..., time, height, width, channels]`.
    """
    time = videos.shape[-4]
    return np.take(videos, np.minimum(np.arange(time), given - 1), axis=-4)


class PredictionScores:
    """Accumulates the scores of clips, each continued several times.

    The best sample of a clip is chosen for each metric separately: the one with the
    best mean over the predicted frames. Its per-frame curve counts as a whole. The
    baseline repeats the last given frame. The PSNR of a frame counts up to 58.9 dB, the
    error of rounding to 8 bits.

    Args:
      conditioning_frames: number of leading frames that the model was given; they are
        not scored.
      lpips_network: returned by `networks.lpips.load`; None skips LPIPS.
    """

    def __init__(self, conditioning_frames: int, lpips_network: Callable | None = None):
        self._conditioning_frames = conditioning_frames
        self._metrics: dict[str, Callable] = {"psnr": _finite_psnr, "ssim": ssim}
        if lpips_network is not None:
            self._metrics["lpips"] = lambda *pair: lpips(lpips_network, *pair)
        self._best: dict[str, list[np.ndarray]] = {name: [] for name in self._metrics}
        self._mean: dict[str, list[np.ndarray]] = {name: [] for name in self._metrics}
        self._copy: dict[str, list[np.ndarray]] = {name: [] for name in self._metrics}
        self._num_samples: int | None = None

    def add(self, real: np.ndarray, samples: np.ndarray) -> None:
        """Scores a clip.

        Args:
          real: `[time, height, width, 3]`, including the conditioning frames.
          samples: `[num_samples, time, height, width, 3]`, with the same `num_samples`
            for each clip.

        Raises:
          ValueError: the shapes do not match, or no frame is predicted.
        """
        self._check(real, samples)
        self._num_samples = len(samples)
        first = self._conditioning_frames
        copies = repeat_last_frame(real, first)
        for name, metric in self._metrics.items():
            curves = metric(real[first:], samples[:, first:])  # [num_samples, time]
            means = curves.mean(axis=1)
            best = means.argmin() if LOWER_IS_BETTER[name] else means.argmax()
            self._best[name].append(curves[best])
            self._mean[name].append(curves.mean(axis=0))
            self._copy[name].append(metric(real[first:], copies[np.newaxis, first:])[0])

    def _check(self, real: np.ndarray, samples: np.ndarray) -> None:
        if samples.shape[1:] != real.shape or not len(samples):
            raise ValueError(
                "Samples must be [num_samples, *real.shape]. "
                f"Received: {samples.shape} and {real.shape}"
            )
        if self._num_samples not in (None, len(samples)):
            raise ValueError(
                f"All clips must have {self._num_samples} samples. "
                f"Received: {samples.shape}"
            )
        if len(real) <= self._conditioning_frames:
            raise ValueError(
                f"Clips must be longer than the {self._conditioning_frames} "
                f"conditioning frames. Received: {real.shape}"
            )

    def result(self) -> Mapping[str, Mapping[str, float | list[float]]]:
        """Averages over the clips.

        Returns:
          For each metric: "best", "mean" and "copy", the score of the best sample, the
          mean over samples, and the score of the last given frame, averaged over
          predicted frames; "best_by_frame" and so on, their values for each predicted
          frame.

        Raises:
          ValueError: no clip has been added.
        """
        if self._num_samples is None:
            raise ValueError("There is nothing to average: add clips first.")
        results: dict[str, dict[str, float | list[float]]] = {}
        for name in self._metrics:
            curves = {
                "best": self._best[name],
                "mean": self._mean[name],
                "copy": self._copy[name],
            }
            results[name] = {}
            for kind, of_clips in curves.items():
                curve = np.mean(of_clips, axis=0, dtype=np.float64)
                results[name][kind] = float(curve.mean())
                results[name][f"{kind}_by_frame"] = curve.tolist()
        return results
