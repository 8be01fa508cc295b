"""The Weizmann actions (Blank et al., 2005): 93 files `<person>_<action>.avi`.

One person, lena, performs some actions twice: `lena_run1` and `lena_run2` are of class
run, while wave1 and wave2 are classes. There are no official splits; all clips are in
'train'.
"""

import os

from tf_dvdgan import errors
from tf_dvdgan.data import files

from .clips import Clip, Listing, Options

_CLASSES = ["bend", "jack", "jump", "pjump", "run", "side", "skip", "walk"]
_CLASSES += ["wave1", "wave2"]  # in alphabetical order
_SUFFIXES = (".avi",)


def list_clips(folder: str, options: Options = Options()) -> Listing:
    """Lists the clips.

    Args:
      folder: holds the files, directly or in sub-folders.
      options: unused.

    Returns:
      Classes and clips.

    Raises:
      UserError: a file's name has no known action, or there are no files.
    """
    del options
    clips = []
    for parent, _, names in files.walk(folder, _SUFFIXES):
        for name in names:
            if name.lower().endswith(_SUFFIXES) and not name.startswith("."):
                path = os.path.join(parent, name)[len(folder) :].lstrip("/")
                stem = os.path.splitext(name)[0]
                clips.append(Clip(path, _label(stem, path), stem, "train"))
    if not clips:
        raise errors.UserError(
            f"{folder} has no .avi file. `dataset=weizmann` needs the data set's "
            "files, such as daria_walk.avi, in `input_dir`."
        )
    return Listing(list(_CLASSES), sorted(clips, key=lambda clip: clip.path))


def _label(stem: str, path: str) -> int:
    action = stem.rpartition("_")[2].lower()
    for name in (action, action.rstrip("12")):
        if name in _CLASSES:
            return _CLASSES.index(name)
    raise errors.UserError(
        f"{path!r} is not a file of the Weizmann data set. Files must be named "
        f"<person>_<action>.avi; the actions are {', '.join(_CLASSES)}."
    )
