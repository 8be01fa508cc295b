"""The interface of sources of clips for evaluation, whatever their format.

Every source yields each clip once, in a fixed arbitrary order: the middle window in
time and, if the window has a resolution, the center crop in space. Both sides of a
comparison are then cut in the same way. `evaluation.runs.comparability` warns about
other differences.
"""

import abc
import collections
import hashlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from tf_dvdgan.data import files, windows
from tf_dvdgan.data.video_process import ClipInfo

UNREAD = "unread:"  # begins the content hash of clips that were not read for it
NUM_PROBED = 8  # number of clips that `ClipSource.clip_info` describes


class Example(NamedTuple):
    """A decoded clip.

    Attributes:
      video: `[num_frames, height, width, 3]` uint8.
      label: number of the class; None if there are no classes.
      number: number of the clip in the source, from 0 to `num_clips` - 1.
    """

    video: np.ndarray
    label: int | None
    number: int


class ClipSource(abc.ABC):
    """Clips of a folder or file, in an arbitrary but fixed order.

    Attributes:
      path: path of the folder or file.
      num_clips: number of clips, including unreadable ones.
      class_names: class names in the order of the labels; empty if there are none.
      skipped: summary of a folder's skipped files in one line; '' if there are none.
    """

    path: str
    num_clips: int
    class_names: list[str]
    skipped: str = ""

    def __init__(self) -> None:
        self._rejected: dict[str, str] = {}

    @property
    def rejected(self) -> list[tuple[str, str]]:
        """Paths of clips that could not be read so far, with the reasons."""
        return list(self._rejected.items())

    @property
    @abc.abstractmethod
    def key(self) -> str:
        """A SHA-256 that changes when the clips do."""

    @property
    @abc.abstractmethod
    def content_hash(self) -> str:
        """A SHA-256 of the clips' contents and names, wherever they are.

        Of remote shards, which are not read for it, it is `UNREAD` and their `key`.
        """

    @property
    @abc.abstractmethod
    def clip_info(self) -> list[ClipInfo]:
        """Properties of a few of the clips."""

    @property
    def rates(self) -> collections.Counter[float]:
        """Number of clips by frames per second, of clips whose rate is known so far."""
        rates = (info.fps for info in self.clip_info)
        return collections.Counter(rate for rate in rates if rate is not None)

    @abc.abstractmethod
    def short_clips(self, window: windows.Window) -> str:
        """Describes the clips that are known to be shorter than a window, or ''."""

    @abc.abstractmethod
    def examples(
        self,
        window: windows.Window,
        skip: int = 0,
        worker: int = 0,
        num_workers: int = 1,
    ) -> Iterator[Example]:
        """Reads the clips.

        Args:
          window: window of each clip. Clips that are too short repeat the last frame.
          skip: number of clips to skip at the start.
          worker: index of this worker.
          num_workers: number of workers; each reads every `num_workers`-th clip.

        Yields:
          The clips in order, without those that cannot be read.

        Raises:
          UserError: too many clips cannot be read, or the frames differ in size and the
            window has no resolution.
        """

    def clips(
        self,
        window: windows.Window,
        skip: int = 0,
        worker: int = 0,
        num_workers: int = 1,
    ) -> Iterator[np.ndarray]:
        """Reads the videos of the clips.

        Args:
          window: window of each clip. Clips that are too short repeat the last frame.
          skip: number of clips to skip at the start.
          worker: index of this worker.
          num_workers: number of workers; each reads every `num_workers`-th clip.

        Yields:
          `[num_frames, height, width, 3]` uint8, as `examples`.
        """
        for example in self.examples(window, skip, worker, num_workers):
            yield example.video

    def describe(self) -> dict:
        """Returns the metadata that is written beside scores, as JSON types."""
        infos = self.clip_info
        return {
            "name": files.base_name(self.path),
            "num_clips": self.num_clips,
            "fps": sorted({info.fps for info in infos if info.fps is not None}),
            "sizes": sorted({f"{info.width}x{info.height}" for info in infos}),
            "codecs": sorted({info.codec for info in infos}),
            "num_probed": len(infos),
        }


def sha256_of(lines: list[str]) -> str:
    """Returns the SHA-256 of lines of text, in hexadecimal digits."""
    data = "\n".join(lines).encode("utf-8", "surrogateescape")
    return hashlib.sha256(data).hexdigest()
