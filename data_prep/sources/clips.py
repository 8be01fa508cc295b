"""What a data set is to the pipeline: its classes and a list of clips."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Clip:
    """One clip to prepare.

    Attributes:
      path: of its file, relative to the input folder.
      label: class number, from 0.
      video_id: unique in the data set.
      split: 'train', 'test' or the like.
      form: what lies there: a 'video' file; a folder of numbered image files, 'frames';
        one image of frames above one another, 'stack'; a record of a TFRecord file,
        'softmotion'.
      offset: of the record in its file, in bytes.
    """

    path: str
    label: int
    video_id: str
    split: str
    form: str = "video"
    offset: int = 0


@dataclasses.dataclass(frozen=True)
class Options:
    """What a user may say of a data set; each source takes what concerns it.

    Attributes:
      split_list: which of UCF-101's three splits.
      lists: folder of the data set's lists, or a list file, where not in the input.
    """

    split_list: int = 1
    lists: str | None = None


@dataclasses.dataclass(frozen=True)
class Listing:
    """A data set's classes, in the order of their labels, and its clips.

    Attributes:
      class_names: in the order of their labels.
      clips: all of them.
      encoding: of the frames, unless the user wants another: 'jpeg' or 'png'.
    """

    class_names: list[str]
    clips: list[Clip]
    encoding: str = "jpeg"
