"""What a data set is to the pipeline: its classes and a list of clips."""

import collections
import dataclasses
import hashlib

from tf_dvdgan import errors


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
      test_share: of the clips of each class, held out where all are for training.
    """

    split_list: int = 1
    lists: str | None = None
    test_share: float = 0.0


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


def hold_out(listing: Listing, share: float) -> Listing:
    """Moves a share of each class's clips from the split 'train' to 'test'.

    Which ones is a matter of their ids alone: other clips that come or go later change
    a few at most. A class of two clips or more keeps one on either side.

    Raises:
      UserError: the data set has splits of its own.
    """
    splits = sorted({clip.split for clip in listing.clips})
    if splits != ["train"]:
        raise errors.UserError(
            "--test_share is for data sets all of whose clips are for training; this "
            f"one has {' and '.join(splits)}."
        )
    by_class = collections.defaultdict(list)
    for clip in listing.clips:
        by_class[clip.label].append(clip)
    held_out = set()
    for clips in by_class.values():
        count = min(max(round(share * len(clips)), 1), len(clips) - 1)
        held_out |= {clip.video_id for clip in sorted(clips, key=_rank)[:count]}
    dealt = [
        dataclasses.replace(clip, split="test") if clip.video_id in held_out else clip
        for clip in listing.clips
    ]
    return dataclasses.replace(listing, clips=dealt)


def _rank(clip: Clip) -> str:
    return hashlib.sha256(clip.video_id.encode(errors="surrogateescape")).hexdigest()
