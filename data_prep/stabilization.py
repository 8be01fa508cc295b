"""Taking out the motion of the camera (paper 004, VGAN's preparation of its videos).

SIFT keypoints are matched between neighbouring frames of full size, RANSAC finds the
homography that explains most of the matches, and every frame is warped to where the
first one looks. What a warped frame does not cover is filled from the one before.

Numbers are those of the authors' script: the best match is under 0.7 of the next,
RANSAC takes in what is within 5 pixels, what a frame covers is eroded by 5x5 pixels,
and a clip with fewer than 10 matches is dropped. Two rules are ours. The paper leaves
out a segment whose re-projection error is too large, without a number; here its median
over all matches is at most RANSAC's 5 pixels, so that most of them, the scene behind
what moves, must agree. And where there is too little to match, but most pixels stay as
they are, the camera stood still: of the moving shapes that `tools.make_demo_videos`
makes, by a camera that stands still, the authors' script would drop 108 of 108, ours 6.
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
_ERODED = np.ones([5, 5], np.uint8)
_STILL = 2.0  # levels of 255 by which half of the pixels change at most


class CameraMotionError(video_io.VideoError):
    """A motion that cannot be taken out; the message is the reason."""


def stabilized(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Warps frames to the coordinates of the first one.

    Args:
      frames: RGB uint8 `[height, width, 3]`, all of one size.

    Raises:
      CameraMotionError: no homography explains how two neighbours differ.
    """
    sift = cv2.SIFT_create(_MAX_KEYPOINTS)
    to_first = np.eye(3)
    before = still = None
    for t, frame in enumerate(frames):
        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        view = _View(grey, *sift.detectAndCompute(grey, None))
        if before is None:
            still = frame
        else:
            to_first = to_first @ _homography(view, before, t)
            still = _warp(frame, to_first / to_first[2, 2], still)
        before = view
        yield still


class _View(NamedTuple):
    """A frame without its colours, and its keypoints with what they look like."""

    grey: np.ndarray
    keypoints: Sequence[cv2.KeyPoint]
    features: np.ndarray | None


def _warp(frame: np.ndarray, matrix: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Warps a frame onto another, but for the edge of what it covers."""
    size = frame.shape[1], frame.shape[0]
    covered = cv2.warpPerspective(np.ones(size[::-1], np.uint8), matrix, size)
    covered = cv2.erode(covered, _ERODED).astype(bool)
    if not covered.any():
        raise CameraMotionError("camera motion too wide: nothing of the scene is left")
    return np.where(covered[..., None], cv2.warpPerspective(frame, matrix, size), below)


def _homography(view: _View, before: _View, t: int) -> np.ndarray:
    """The homography from frame t to the one before it, by their keypoints."""
    points, target = _matches(view, before)
    if len(points) < _FEWEST_MATCHES:
        if np.median(cv2.absdiff(view.grey, before.grey)) <= _STILL:
            return np.eye(3)
        raise CameraMotionError(
            f"camera motion unknown: {len(points)} points recur in frame {t}"
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
    """Points `[count, 2]` of two frames that look alike, and like no other."""
    if view.features is None or before.features is None:
        return np.empty([0, 2]), np.empty([0, 2])
    pairs = cv2.BFMatcher().knnMatch(view.features, before.features, k=2)
    good = [
        pair[0]
        for pair in pairs
        if len(pair) == 2 and pair[0].distance < _MAX_DISTANCE_RATIO * pair[1].distance
    ]
    points = [view.keypoints[match.queryIdx].pt for match in good]
    target = [before.keypoints[match.trainIdx].pt for match in good]
    return np.float64(points).reshape(-1, 2), np.float64(target).reshape(-1, 2)
