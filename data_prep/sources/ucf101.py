"""UCF-101 (Soomro et al., 2012) as unpacked, with its official splits.

Files are `<Class>/v_<Class>_gNN_cNN.avi`, or all in one folder; either may be inside a
folder `UCF-101`. The lists are in `ucfTrainTestlist/`. Their labels count from 1, the
test lists have none, and some copies have DOS line ends. The files of class
HandstandPushups are spelled `v_HandStandPushups_*`, so classes and files are matched
case-insensitively. `tools.make_demo_videos` writes the same layout.
"""

import functools
import os
from collections.abc import Callable, Mapping

from tf_dvdgan import errors
from tf_dvdgan.data import files

from . import lists
from .clips import Clip, Listing, Options

_LISTS = "ucfTrainTestlist"
_UNPACKED = "UCF-101"  # the folder in the data set's archive
_HINT = (
    "`dataset=ucf101` needs the videos in `input_dir`, and UCF-101's "
    f"{_LISTS} folder there or as `lists`; for other folders use `dataset=folder`."
)


def list_clips(folder: str, options: Options = Options()) -> Listing:
    """Lists the clips of an official split.

    Args:
      folder: holds the videos and, unless `options.lists` is set, `ucfTrainTestlist/`.
      options: `split_list` is the number of the split; `lists` is `ucfTrainTestlist/`
        or its parent.

    Returns:
      Classes and clips.

    Raises:
      UserError: a list is missing, or names a class that is not in `classInd.txt`.
    """
    lists_dir = options.lists or os.path.join(folder, _LISTS)
    if options.lists and _LISTS in files.list_dir(options.lists):
        lists_dir = os.path.join(options.lists, _LISTS)
    class_names = _read_classes(os.path.join(lists_dir, "classInd.txt"))
    labels = {name.lower(): label for label, name in enumerate(class_names)}

    @functools.cache
    def names_in(parent: str) -> dict[str, str]:
        names = files.list_dir(os.path.join(folder, parent))
        return {name.lower(): name for name in names}

    clips = []
    for split in ("train", "test"):
        list_name = f"{split}list0{options.split_list}.txt"
        for line in lists.read_lines(os.path.join(lists_dir, list_name), _HINT):
            listed = lists.inside(line.split()[0], list_name)
            stem = os.path.splitext(os.path.basename(listed))[0]
            name = stem.split("_")[1] if stem.count("_") >= 3 else ""
            if name.lower() not in labels:
                raise errors.UserError(
                    f"{list_name} lists {listed!r}, whose class is not in classInd.txt."
                )
            path = _find(names_in, listed)
            clips.append(Clip(path, labels[name.lower()], stem, split))
    return Listing(class_names, clips)


def _read_classes(path: str) -> list[str]:
    numbered = [line.split() for line in lists.read_lines(path, _HINT)]
    if not all(len(pair) == 2 and pair[0].isdigit() for pair in numbered):
        raise errors.UserError(
            f"{path} must have a number and a class per line, such as 1 ApplyLips."
        )
    return [name for _, name in sorted(numbered, key=lambda pair: int(pair[0]))]


def _find(names_in: Callable[[str], Mapping[str, str]], listed: str) -> str:
    """Finds a listed file; returns the listed path if there is no such file.

    Args:
      names_in: returns the names in a folder, keyed by their lower case.
      listed: path from a list.
    """
    parent, name = os.path.split(listed)
    for top in ("", names_in("").get(_UNPACKED.lower())):
        if top is None:
            continue
        below = os.path.join(top, names_in(top).get(parent.lower(), parent))
        for place in (below, top):
            found = names_in(place).get(name.lower())
            if found:
                return os.path.join(place, found)
    return listed
