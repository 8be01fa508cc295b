"""The unlabelled videos of VGAN (paper 004, section 3.1): stacks of frames in JPEGs.

A listing file has the JPEGs' paths, one in a line, relative to the folder. There are
no classes and no splits.
"""

from . import lists
from .clips import Clip, Listing, Options

_WANTS = (
    "--dataset=tinyvideo wants a listing file in --input or as --lists: a .txt with "
    "the path of a JPEG in each line."
)


def list_clips(folder: str, options: Options = Options()) -> Listing:
    """Lists what the listing file does, each once: all 'train', of one class 'video'.

    Args:
      folder: paths in the listing are relative to it and stay in it.
      options: of them `lists`, where the listing is if not alone in the folder.

    Raises:
      UserError: there is no listing, or a path leaves the folder.
    """
    listing = lists.one_file(folder, options.lists, (".txt",), _WANTS)
    lines = lists.read_lines(listing, _WANTS)
    paths = dict.fromkeys(lists.inside(line.strip(), listing) for line in lines)
    return Listing(["video"], [Clip(p, 0, p, "train", "stack") for p in paths])
