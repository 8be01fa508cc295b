"""How the pipeline sees a data set: class names and a list of clips."""

import collections
import dataclasses
import hashlib

from tf_dvdgan import errors


@dataclasses.dataclass(frozen=True)
class Clip:
    """One clip to prepare.

    Attributes:
      path: path of its file or folder, relative to the input folder.
      label: class number, from 0.
      video_id: unique in the data set.
      split: split name, such as 'train' or 'test'.
      form: storage format: 'video', a video file; 'frames', numbered images of a
        folder; 'array', a NumPy array or a row of one; 'strip', an image of frames side
        by side; 'stack', an image of vertically stacked frames; 'softmotion', a record
        of a TFRecord file.
      offset: where the clip is in its file or folder: the position of a record in
        bytes, the row of an array, or the number among clips of numbered images.
    """

    path: str
    label: int
    video_id: str
    split: str
    form: str = "video"
    offset: int = 0


@dataclasses.dataclass(frozen=True)
class Options:
    """User options for listing a data set; each source uses those that apply to it.

    Attributes:
      split_list: which of UCF-101's three splits, 1 to 3.
      lists: the data set's list file or its folder, if not in the input folder.
      test_share: fraction of each class's clips to hold out, for data sets without
        splits.
      follow_links: whether to use clips behind links that lead out of the input folder.
    """

    split_list: int = 1
    lists: str | None = None
    test_share: float = 0.0
    follow_links: bool = True


@dataclasses.dataclass(frozen=True)
class Listing:
    """A data set's classes and clips.

    Attributes:
      class_names: class names in the order of the labels.
      clips: all clips of all splits.
      encoding: default format of the stored frames, 'jpeg' or 'png'.
      skipped: summary of the folder's skipped files in one line; '' if there are none.
    """

    class_names: list[str]
    clips: list[Clip]
    encoding: str = "jpeg"
    skipped: str = ""


def hold_out(listing: Listing, share: float) -> Listing:
    """Moves a fraction of each class's clips from the split 'train' to 'test'.

    The choice depends only on the clips' ids, so that adding or removing clips moves
    few others. A class with at least two clips has one in each split.

    Args:
      listing: a data set whose clips are all in 'train'.
      share: fraction to hold out, 0 to 1.

    Returns:
      The listing with the new splits.

    Raises:
      UserError: the data set has splits of its own.
    """
    splits = sorted({clip.split for clip in listing.clips})
    if splits != ["train"]:
        raise errors.UserError(
            "`test_share` is for data sets without splits of their own; this one has "
            f"{' and '.join(splits)}: omit it."
        )
    by_class = collections.defaultdict(list)
    for clip in listing.clips:
        by_class[clip.label].append(clip)
    held_out = set()
    for clips in by_class.values():
        count = min(max(round(share * len(clips)), 1), len(clips) - 1)
        held_out |= {clip.video_id for clip in sorted(clips, key=_rank)[:count]}
    clips = [
        dataclasses.replace(clip, split="test") if clip.video_id in held_out else clip
        for clip in listing.clips
    ]
    return dataclasses.replace(listing, clips=clips)


def _rank(clip: Clip) -> str:
    return hashlib.sha256(clip.video_id.encode(errors="surrogateescape")).hexdigest()
