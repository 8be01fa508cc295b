"""Data sets as they lie on users' disks: each module lists one's clips."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Clip:
    """One clip to prepare.

    Attributes:
      path: of its file, relative to the input folder.
      label: class number, from 0.
      video_id: unique in the data set.
      split: 'train', 'test' or the like.
    """

    path: str
    label: int
    video_id: str
    split: str


@dataclasses.dataclass(frozen=True)
class Listing:
    """A data set's classes, in the order of their labels, and its clips."""

    class_names: list[str]
    clips: list[Clip]
