"""How near predicted frames are to what came: PSNR, SSIM, LPIPS, by frame.

They say whether one future was hit, so of a generator that draws many the best of some
is taken (Denton and Fergus, 2018; Lee et al., 2018); what all of them are like, the
Fréchet distance says. Videos are uint8, or floats in [0, 1].
"""

from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

_FRAMES_AT_A_TIME = 256
# Wang, Bovik, Sheikh and Simoncelli, 2004, section III.C.
_SSIM_WINDOW, _SSIM_SIGMA, _SSIM_K1, _SSIM_K2 = 11, 1.5, 0.01, 0.03

# Of the metrics that may be asked for, those where less is better.
LOWER_IS_BETTER = {"psnr": False, "ssim": False, "lpips": True}


def psnr(real: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio in dB, over a frame's pixels and channels.

    Args:
      real: `[..., height, width, channels]`.
      predicted: of the same shape, or one that `real` is repeated to.

    Returns:
      `[...]` float64; infinite where frames are the same.

    Raises:
      ValueError: floats lie outside [0, 1].
    """
    apart = np.square(_unit(real, np.float64) - _unit(predicted, np.float64))
    with np.errstate(divide="ignore"):
        return -10.0 * np.log10(apart.mean(axis=(-3, -2, -1)))


def ssim(real: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Structural similarity, the mean over places and channels.

    A Gaussian window of 11x11 with deviation 1.5 that stays inside the frame, K1 = 0.01
    and K2 = 0.03 (Wang et al., 2004), each channel by itself.

    Args:
      real: `[..., height, width, channels]`, sides of 11 pixels at least.
      predicted: as for `psnr`.

    Returns:
      `[...]` float32.

    Raises:
      ValueError: floats lie outside [0, 1], or frames are too small.
    """
    if min(predicted.shape[-3:-1]) < _SSIM_WINDOW:
        raise ValueError(
            f"SSIM wants frames of {_SSIM_WINDOW} pixels at least. Received: "
            f"{predicted.shape}"
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
    """Learnt perceptual distance; see `networks.lpips`.

    Args:
      network: of `networks.lpips.load`.
      real: `[..., height, width, 3]`.
      predicted: as for `psnr`.

    Returns:
      `[...]` float32.
    """

    def distance(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
        return network(2.0 * a - 1.0, 2.0 * b - 1.0)

    return _by_frame(distance, real, predicted)


def _by_frame(
    function: Callable, real: np.ndarray, predicted: np.ndarray
) -> np.ndarray:
    """Calls a function of `[batch, height, width, channels]`, a part at a time."""
    real = np.broadcast_to(real, predicted.shape)
    frames = [x.reshape([-1, *predicted.shape[-3:]]) for x in (real, predicted)]
    parts = []
    for i in range(0, len(frames[0]), _FRAMES_AT_A_TIME):
        pair = [_unit(x[i : i + _FRAMES_AT_A_TIME], np.float32) for x in frames]
        parts.append(function(*map(tf.constant, pair)).numpy())
    return np.concatenate(parts).reshape(predicted.shape[:-3])


def _unit(frames: np.ndarray, dtype: type) -> np.ndarray:
    """Frames as floats in [0, 1]."""
    if frames.dtype == np.uint8:
        return frames.astype(dtype) / dtype(255)
    if not np.issubdtype(frames.dtype, np.floating):
        raise ValueError(f"Give uint8 or floats. Received: {frames.dtype}")
    if not (frames.min() >= 0.0 and frames.max() <= 1.0):
        raise ValueError(
            f"Floats lie in [0, 1]. Received: {frames.min()} to {frames.max()}"
        )
    return frames.astype(dtype)


class PredictionScores:
    """Scores of any number of clips, each continued a number of times.

    The best of a clip's samples is, for each metric by itself, the one whose mean over
    the predicted frames is best; its curve is taken whole.

    Args:
      conditioning_frames: so many of the first frames were given; they do not count.
      lpips_network: of `networks.lpips.load`; LPIPS is left out without it.
    """

    def __init__(self, conditioning_frames: int, lpips_network: Callable | None = None):
        self._conditioning_frames = conditioning_frames
        self._metrics: dict[str, Callable] = {"psnr": psnr, "ssim": ssim}
        if lpips_network is not None:
            self._metrics["lpips"] = lambda *pair: lpips(lpips_network, *pair)
        self._best: dict[str, list[np.ndarray]] = {name: [] for name in self._metrics}
        self._mean: dict[str, list[np.ndarray]] = {name: [] for name in self._metrics}
        self._num_samples: int | None = None

    def add(self, real: np.ndarray, samples: np.ndarray) -> None:
        """Sees a clip.

        Args:
          real: `[time, height, width, 3]`, conditioning frames included.
          samples: `[num_samples, time, height, width, 3]`; as many of each clip.

        Raises:
          ValueError: shapes do not fit one another, or no frame is predicted.
        """
        if samples.shape[1:] != real.shape or not len(samples):
            raise ValueError(
                f"Samples are [num_samples, *real.shape]. Received: {samples.shape} "
                f"and {real.shape}"
            )
        if self._num_samples not in (None, len(samples)):
            raise ValueError(
                f"The best of {self._num_samples} does not compare with the best of "
                f"another number. Received: {samples.shape}"
            )
        if len(real) <= self._conditioning_frames:
            raise ValueError(
                f"All frames are given ones: {self._conditioning_frames}. Received: "
                f"{real.shape}"
            )
        self._num_samples = len(samples)
        first = self._conditioning_frames
        for name, metric in self._metrics.items():
            curves = metric(real[first:], samples[:, first:])  # [num_samples, time]
            means = curves.mean(axis=1)
            best = means.argmin() if LOWER_IS_BETTER[name] else means.argmax()
            self._best[name].append(curves[best])
            self._mean[name].append(curves.mean(axis=0))

    def result(self) -> Mapping[str, Mapping[str, float | list[float]]]:
        """Means over the clips.

        Returns:
          By metric: "best" and "mean", of the best and of all samples over all
          predicted frames; "best_by_frame" and "mean_by_frame", their curves.

        Raises:
          ValueError: no clip was seen.
        """
        if self._num_samples is None:
            raise ValueError("There are no scores of no clips.")
        found = {}
        for name in self._metrics:
            curves = {"best": self._best[name], "mean": self._mean[name]}
            found[name] = {}
            for kind, of_clips in curves.items():
                curve = np.mean(of_clips, axis=0, dtype=np.float64)
                found[name][kind] = float(curve.mean())
                found[name][f"{kind}_by_frame"] = curve.tolist()
        return found
