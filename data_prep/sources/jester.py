"""20BN-Jester v1: a folder of numbered JPEGs per clip, and lists.

Frames are `20bn-jester-v1/<id>/00001.jpg` and so on; the lists are beside that folder:
`jester-v1-labels.csv` has the class names in order, `jester-v1-train.csv` and
`jester-v1-validation.csv` have `id;label` without a header. The labels of the test
clips were never published, so these are not listed.
"""

import os

from tf_dvdgan import errors

from . import lists
from .clips import Clip, Listing, Options

_FRAMES = "20bn-jester-v1"
_SPLITS = ("train", "validation")
_HINT = (
    f"`dataset=jester` needs the folder {_FRAMES} in `input_dir`, and the lists "
    "jester-v1-labels.csv, jester-v1-train.csv and jester-v1-validation.csv in "
    "`input_dir` or `lists`."
)


def list_clips(folder: str, options: Options = Options()) -> Listing:
    """Lists the clips that have labels.

    Args:
      folder: holds `20bn-jester-v1`, or is that folder.
      options: `lists` is the folder of the lists.

    Returns:
      Classes and clips.

    Raises:
      UserError: a list is missing, or has a class that `jester-v1-labels.csv` lacks.
    """
    place = options.lists or folder
    class_names = [
        line.strip()
        for line in lists.read_lines(os.path.join(place, _list_name("labels")), _HINT)
    ]
    labels = {name: label for label, name in enumerate(class_names)}
    top = _FRAMES if _FRAMES in lists.folder_reader(folder)("") else ""
    clips = []
    for split in _SPLITS:
        name = _list_name(split)
        for line in lists.read_lines(os.path.join(place, name), _HINT):
            video_id, _, label = (part.strip() for part in line.partition(";"))
            if label not in labels:
                raise errors.UserError(
                    f"{name} assigns {video_id!r} to class {label!r}, which is not in "
                    f"{_list_name('labels')}.{errors.did_you_mean(label, labels)}"
                )
            path = os.path.join(top, lists.inside(video_id, name))
            clips.append(Clip(path, labels[label], video_id, split, "frames"))
    return Listing(class_names, clips)


def _list_name(what: str) -> str:
    return f"jester-v1-{what}.csv"
