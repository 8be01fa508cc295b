"""Reads the frames of a video file as players show them."""

import itertools
from collections.abc import Callable, Iterator

import av
import numpy as np

from tf_dvdgan.data import video_filters, video_io, video_streams
from tf_dvdgan.data.video_io import VideoError


class VideoReader:
    """Reads the frames of a video file once, in order; checks that none is missing.

    The format is detected from the contents, not the suffix. Frames are as players show
    them: converted to RGB by the stream's matrix and range (BT.601 if it has none, as
    FFmpeg), upright, of square pixels, without interlacing (bwdif), and without alpha.
    A picture attached to a file, such as a cover, is not its video.

    Args:
      path: local path of the file.
      smallest_side: resize the smaller side to this, in pixels; None keeps the size.
      fps: repeats or drops frames for this rate, by their timestamps; None keeps them.
      progress: called for each decoded frame, also of those that `fps` drops.

    Attributes:
      fps: frames per second of what is read; the mean if the rate varies.
      width: width of the frames in pixels, as shown, before resizing.
      height: height of the frames in pixels, as shown, before resizing.
      codec: FFmpeg's name of the codec.
      declared_frames: number of frames that the container declares, with those of an
        animation that are repeated; 0 if unknown, and if `fps` is given.

    Raises:
      VideoError: there is no such file, it is empty, its name is not UTF-8, it has no
        video stream, or no frame can be decoded.
    """

    def __init__(
        self,
        path: str,
        smallest_side: int | None = None,
        fps: float | None = None,
        progress: Callable[[], None] = lambda: None,
    ):
        self._smallest_side = smallest_side
        self._rate = fps
        self._stream = stream = video_streams.open_stream(path)
        try:
            decoded = _reporting(stream.frames(), progress)
            first = next(decoded, None)
            if first is None:
                raise VideoError("no frame can be decoded")
        except BaseException:
            stream.close()
            raise
        self._mean_rate, self._times_shown = stream.rate, list[int]()
        if stream.delays is not None:  # writers of animations omit repeated frames
            self._mean_rate, self._times_shown = video_filters.repetitions(
                stream.delays
            )
        self.fps = fps or self._mean_rate
        self.codec = stream.codec
        self.declared_frames = 0 if fps else sum(self._times_shown) or stream.num_frames
        self._orientation = video_filters.Orientation(first)
        self._size = first.height, max(1, round(first.width * stream.pixel_ratio))
        self.height, self.width = self._orientation.size(*self._size)
        self._frames = video_filters.as_rgb(itertools.chain([first], decoded))

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yields the frames.

        Raises:
          VideoError: there are fewer than the container declares, or sizes differ.
        """
        size = self._size
        if self._smallest_side:
            size = video_io.size_of_smallest_side(*size, self._smallest_side)
        try:
            for frame, times in self._repeated():
                image = video_io.resize(frame.to_ndarray(), size)
                yield from itertools.repeat(self._orientation.upright(image), times)
            self._stream.check_complete()
        finally:
            self._stream.close()

    def _repeated(self) -> Iterator[tuple[av.VideoFrame, int]]:
        """The frames, each with how many times it is to be yielded."""
        if self._rate:
            return video_filters.resampled(self._frames, self._rate, self._mean_rate)
        times = itertools.chain(self._times_shown, itertools.repeat(1))
        return zip(self._frames, times, strict=False)


def _reporting(
    frames: Iterator[av.VideoFrame], progress: Callable[[], None]
) -> Iterator[av.VideoFrame]:
    for frame in frames:
        progress()
        yield frame
