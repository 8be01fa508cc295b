"""Removes the camera's motion (paper 004, VGAN's preparation of its videos).

SIFT keypoints are matched between consecutive frames at full size, RANSAC estimates the
homography that explains most of the matches, and each frame is warped to the
coordinates of the first one. Pixels that a warped frame does not cover are filled from
the frame before.

The constants are those of the authors' script: the best match is under 0.7 times the
distance of the second best, RANSAC's inlier threshold is 5 pixels, the covered area is
eroded by 5x5 pixels, and a clip with fewer than 10 matches is dropped. Two rules are
added. The paper drops segments whose re-projection error is too large, without giving a
threshold; here the median error over all matches must not exceed RANSAC's 5 pixels, so
that most matches, the background, agree. And if there are too few matches but most
pixels do not change, the camera is taken to be still: of the 108 clips of moving shapes
that `tools.make_demo_videos` writes, filmed by a still camera, the authors' script
would drop 108, this one 6.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from tf_dvdgan.data import video_io

_MAX_KEYPOINTS = 1000
_MAX_DISTANCE_RATIO = 0.7  # of the best match to the next (Lowe, 2004)
_FEWEST_MATCHES = 10
_INLIER_PIXELS = 5.0
_EROSION_KERNEL = np.ones([5, 5], np.uint8)
_STILL = 2.0  # maximum median change between frames of a still camera, of 255 levels


class CameraMotionError(video_io.VideoError):
    """Camera motion that cannot be removed; the message is the reason."""


def stabilize(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Warps frames to the coordinates of the first one.

    Args:
      frames: `[height, width, 3]` uint8 RGB, all of one size.

    Yields:
      The stabilized frames, of the same size.

    Raises:
      CameraMotionError: no homography fits two consecutive frames.
    """
    sift = cv2.SIFT.create(_MAX_KEYPOINTS)
    to_first = np.eye(3)
    before: _View | None = None
    still: np.ndarray | None = None
    for t, frame in enumerate(frames):
        gray = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        view = _View(gray, *sift.detectAndCompute(gray, None))
        if before is None or still is None:
            still = frame
        else:
            to_first = to_first @ _homography(view, before, t)
            still = _warp(frame, to_first / to_first[2, 2], still)
        before = view
        yield still


class _View(NamedTuple):
    """A gray-scale frame with its keypoints and their descriptors."""

    gray: np.ndarray
    keypoints: Sequence[cv2.KeyPoint]
    descriptors: np.ndarray | None


def _warp(frame: np.ndarray, matrix: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Warps a frame onto another, without the edge of the area that it covers."""
    size = frame.shape[1], frame.shape[0]
    covered = cv2.warpPerspective(np.ones(size[::-1], np.uint8), matrix, size)
    covered = cv2.erode(covered, _EROSION_KERNEL).astype(bool)
    if not covered.any():
        raise CameraMotionError("camera motion too large: nothing of the scene is left")
    return np.where(covered[..., None], cv2.warpPerspective(frame, matrix, size), below)


def _homography(view: _View, before: _View, t: int) -> np.ndarray:
    """The homography from frame t to the one before it, by their keypoints."""
    points, target = _matches(view, before)
    if len(points) < _FEWEST_MATCHES:
        if np.median(cv2.absdiff(view.gray, before.gray)) <= _STILL:
            return np.eye(3)
        raise CameraMotionError(
            f"camera motion unknown: only {len(points)} keypoint matches in frame {t}"
        )
    matrix, _ = cv2.findHomography(points, target, cv2.RANSAC, _INLIER_PIXELS)
    if matrix is None:
        raise CameraMotionError(f"camera motion unknown: no homography to frame {t}")
    projected = cv2.perspectiveTransform(points[:, None], matrix)[:, 0]
    error = float(np.median(np.linalg.norm(projected - target, axis=1)))
    if not error <= _INLIER_PIXELS:
        raise CameraMotionError(
            f"camera motion too complex: re-projection error of {error:.1f} pixels in "
            f"frame {t}"
        )
    return matrix


def _matches(view: _View, before: _View) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates `[count, 2]` of unambiguous keypoint matches in both frames."""
    if view.descriptors is None or before.descriptors is None:
        return np.empty([0, 2]), np.empty([0, 2])
    pairs = cv2.BFMatcher().knnMatch(view.descriptors, before.descriptors, k=2)
    good = [
        pair[0]
        for pair in pairs
        if len(pair) == 2 and pair[0].distance < _MAX_DISTANCE_RATIO * pair[1].distance
    ]
    points = [view.keypoints[match.queryIdx].pt for match in good]
    target = [before.keypoints[match.trainIdx].pt for match in good]
    return _coordinates(points), _coordinates(target)


def _coordinates(points: Sequence[Sequence[float]]) -> np.ndarray:
    """`[count, 2]` float64; `count` may be 0."""
    return np.array(points, np.float64).reshape(-1, 2)
