"""The window of a clip: the frames and pixels that a model sees."""

import dataclasses
from collections.abc import Sequence

import tensorflow as tf

MIDDLE = 0.5  # position of a window that is not random


@dataclasses.dataclass(frozen=True)
class Window:
    """The window of each clip, and which clips of a data set are used.

    Attributes:
      num_frames: length in frames.
      resolution: height and width of the crop, in pixels; None for whole frames, which
        prepared shards do not support.
      stride: takes every n-th frame; 2 in paper 001, section 2.3, 1 for prediction.
      consecutive_if_short: whether to take consecutive frames of a clip with fewer than
        num_frames * stride frames, instead of repeating its last frame.
      flips: whether to mirror half of the training clips, left to right.
      reverses: whether to play half of the training clips backwards.
      classes: names of the only classes to use, in the order of their labels; empty
        for all.
      balanced: whether training sees each class equally often, regardless of its number
        of clips; does not change the length of an epoch.
    """

    num_frames: int
    resolution: int | None = None
    stride: int = 2
    consecutive_if_short: bool = False
    flips: bool = False
    reverses: bool = False
    classes: Sequence[str] = ()
    balanced: bool = False

    @property
    def length(self) -> int:
        """Number of the clip's frames from the window's first to its last."""
        return (self.num_frames - 1) * self.stride + 1

    def frame_numbers(
        self, clip_length: int | tf.Tensor, position: float | tf.Tensor = MIDDLE
    ) -> tf.Tensor:
        """Computes the numbers of the frames in the window.

        Args:
          clip_length: number of frames of the clip; a longer window repeats the last
            one.
          position: position of the window, from 0 (at the start) to 1 (excluded).

        Returns:
          `[num_frames]` int32.
        """
        clip_length = tf.cast(clip_length, tf.int32)
        stride = tf.constant(self.stride)
        if self.consecutive_if_short:
            enough = clip_length >= self.num_frames * self.stride
            stride = tf.where(enough, self.stride, 1)
        first = offset(clip_length, (self.num_frames - 1) * stride + 1, position)
        numbers = first + tf.range(self.num_frames) * stride
        return tf.minimum(numbers, clip_length - 1)


def offset(
    size: int | tf.Tensor, taken: int | tf.Tensor, position: float | tf.Tensor
) -> tf.Tensor:
    """Computes where a window begins along an axis.

    Args:
      size: length of the axis.
      taken: length of the window; it begins at 0 if longer than the axis.
      position: position of the window, from 0 (at the start) to 1 (excluded).

    Returns:
      int32 scalar.
    """
    room = tf.maximum(size - taken, 0) + 1
    return tf.cast(tf.floor(position * tf.cast(room, tf.float32)), tf.int32)
