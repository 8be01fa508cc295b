"""The unlabeled videos of VGAN (paper 004, section 3.1): stacks of frames in JPEGs.

A listing file has the paths of the JPEGs, one per line, relative to the folder. There
are no classes and no splits.
"""

from collections.abc import Iterator

import numpy as np

from tf_dvdgan.data import video_io

from . import lists
from .clips import Clip, Listing, Options

_STACK_FRAMES = 32  # that VGAN reads from a stack

_HINT = (
    "`dataset=tinyvideo` needs a listing file in `input_dir` or as `lists`: a .txt "
    "with the path of a JPEG in each line."
)


def list_clips(folder: str, options: Options = Options()) -> Listing:
    """Lists the clips of the listing file, without repetitions.

    All are in the split 'train' and of one class, 'video'.

    Args:
      folder: paths in the listing are relative to it and must stay inside.
      options: `lists` is the listing file, if it is not the only one in the folder.

    Returns:
      One class, and the clips.

    Raises:
      UserError: there is no listing file, or a path leaves the folder.
    """
    listing = lists.one_file(folder, options.lists, (".txt",), _HINT)
    lines = lists.read_lines(listing, _HINT)
    paths = dict.fromkeys(lists.inside(line.strip(), listing) for line in lines)
    return Listing(["video"], [Clip(p, 0, p, "train", "stack") for p in paths])


def read_stack(path: str) -> Iterator[np.ndarray]:
    """Reads an image of stacked square frames; repeats the last one up to 32.

    Args:
      path: local path of the image.

    Yields:
      The frames, `[side, side, 3]` uint8 RGB each.

    Raises:
      VideoError: the image has no such frames, or only one.
    """
    image = video_io.read_image(path)
    height, side, _ = image.shape
    count, rest = divmod(height, side)
    if rest or not count:
        raise video_io.VideoError(f"not a stack of square frames: {side} x {height}")
    if count == 1:
        raise video_io.VideoError("only one frame")
    for i in range(_STACK_FRAMES):
        first = min(i, count - 1) * side
        yield image[first : first + side]
