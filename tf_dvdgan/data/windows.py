"""The window of a clip: which frames and which pixels are taken of it."""

import dataclasses
from collections.abc import Sequence

import tensorflow as tf

MIDDLE = 0.5  # position of a window that is not drawn


@dataclasses.dataclass(frozen=True)
class Window:
    """What is taken of a data set, and of each clip.

    Attributes:
      num_frames: length in frames.
      resolution: height and width of the crop, in pixels; None keeps whole frames, of
        clips that are no prepared shards.
      stride: every n-th frame; 2 in paper 001, section 2.3, 1 for prediction.
      consecutive_if_short: whether a clip with fewer than num_frames * stride frames
        gives consecutive frames instead of repeating its last one.
      flips: whether half of the training clips are mirrored, left to right.
      classes: names of the only ones that are taken, in the order of their labels;
        empty takes all.
      balanced: whether training sees each class equally often, however many clips it
        has; an epoch is as long as without.
    """

    num_frames: int
    resolution: int | None = None
    stride: int = 2
    consecutive_if_short: bool = False
    flips: bool = False
    classes: Sequence[str] = ()
    balanced: bool = False

    @property
    def length(self) -> int:
        """Frames of the clip from the window's first to its last."""
        return (self.num_frames - 1) * self.stride + 1

    def frame_numbers(
        self, clip_length: int | tf.Tensor, position: float | tf.Tensor = MIDDLE
    ) -> tf.Tensor:
        """Numbers of the frames that are taken of a clip.

        Args:
          clip_length: frames of the clip; a window that is longer repeats the last one.
          position: of the window, from 0 (at the start) to 1 (excluded).

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
    """Where a part of an axis begins.

    Args:
      size: of the axis.
      taken: length of the part; it begins at 0 if that is more than `size`.
      position: of the part, from 0 (at the start) to 1 (excluded).

    Returns:
      int32 scalar.
    """
    room = tf.maximum(size - taken, 0) + 1
    return tf.cast(tf.floor(position * tf.cast(room, tf.float32)), tf.int32)
