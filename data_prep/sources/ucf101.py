"""UCF-101 (Soomro et al., 2012) as it unpacks, with its official splits.

Files are `<Class>/v_<Class>_gNN_cNN.avi`, or all in one folder; the lists lie in
`ucfTrainTestlist/`. Labels there count from 1, the test lists have none, and some
copies have DOS line ends. The files of class HandstandPushups are spelt
`v_HandStandPushups_*`, so classes are matched without regard to case.
"""

import functools
import os
from collections.abc import Callable

from tf_dvdgan import cli
from tf_dvdgan.data import files

from . import Clip, Listing

_LISTS = "ucfTrainTestlist"


def list_clips(folder: str, split_list: int = 1) -> Listing:
    """Lists the clips of an official split.

    Args:
      folder: holds the videos and `ucfTrainTestlist/`.
      split_list: 1, 2 or 3.

    Raises:
      UserError: a list is missing, or names a class that `classInd.txt` does not.
    """
    class_names = _read_classes(folder)

    @functools.cache
    def names_in(parent: str) -> frozenset[str]:
        return frozenset(files.names_in(os.path.join(folder, parent)))

    labels = {name.lower(): label for label, name in enumerate(class_names)}
    clips = []
    for split in ("train", "test"):
        for line in _read_lines(folder, f"{split}list0{split_list}.txt"):
            listed = line.rsplit(" ", 1)[0] if split == "train" else line
            stem = os.path.splitext(os.path.basename(listed))[0]
            name = stem.split("_")[1] if stem.count("_") >= 3 else ""
            if name.lower() not in labels:
                raise cli.UserError(
                    f"{split}list0{split_list}.txt lists {listed!r}, whose class is "
                    "not in classInd.txt."
                )
            path = _find(names_in, listed)
            clips.append(Clip(path, labels[name.lower()], stem, split))
    return Listing(class_names, clips)


def _read_classes(folder: str) -> list[str]:
    numbered = [line.split() for line in _read_lines(folder, "classInd.txt")]
    return [name for _, name in sorted(numbered, key=lambda pair: int(pair[0]))]


def _read_lines(folder: str, name: str) -> list[str]:
    path = os.path.join(folder, _LISTS, name)
    with files.local(path) as local:
        if not os.path.isfile(local):
            raise cli.UserError(
                f"{path} is missing. --dataset=ucf101 wants the videos and UCF-101's "
                f"{_LISTS} folder in --input; other folders are --dataset=folder."
            )
        with open(local, encoding="utf-8") as file:
            return [line.strip() for line in file if line.strip()]


def _find(names_in: Callable[[str], frozenset[str]], listed: str) -> str:
    """Where a listed file lies: nested as listed, or flat."""
    parent, name = os.path.split(listed)
    return name if name not in names_in(parent) and name in names_in("") else listed
