"""Cuts videos where their scene changes, by PySceneDetect."""

import itertools
import operator
from collections.abc import Iterable, Iterator

import cv2
import numpy as np

from tf_dvdgan.data import video_io

_SIDE = 64  # of the frames that are compared
_SHORTEST = 8  # frames of a scene; cuts that follow sooner are flashes


def split(frames: Iterable[np.ndarray], fps: float) -> Iterator[Iterator[np.ndarray]]:
    """Splits frames into scenes, to be read in order.

    A scene begins where hue, saturation and lightness of the pixels differ by more than
    27 of 255 in the mean from the frame before: PySceneDetect's ContentDetector.

    Args:
      frames: `[height, width, 3]` uint8 RGB each.
      fps: frames per second.

    Yields:
      The frames of each scene.
    """
    scenes = itertools.groupby(_numbered(frames, fps), key=operator.itemgetter(0))
    for _, scene in scenes:
        yield (frame for _, frame in scene)


def _numbered(
    frames: Iterable[np.ndarray], fps: float
) -> Iterator[tuple[int, np.ndarray]]:
    """Each frame with the number of its scene."""
    import scenedetect
    from scenedetect.detector import FlashFilter

    detector = scenedetect.ContentDetector(
        min_scene_len=_SHORTEST, filter_mode=FlashFilter.Mode.SUPPRESS
    )
    scene = 0
    for number, frame in enumerate(frames):
        small = video_io.resize_smallest_side(frame, _SIDE)
        bgr = cv2.cvtColor(small, cv2.COLOR_RGB2BGR)
        time = scenedetect.FrameTimecode(number, fps)
        if detector.process_frame(time, bgr) and number:
            scene += 1
        yield scene, frame
