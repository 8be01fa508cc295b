"""20BN-Jester v1: a folder of numbered JPEGs for each clip, and its lists.

The frames lie in `20bn-jester-v1/<id>/00001.jpg`, the lists beside that folder:
`jester-v1-labels.csv` has the classes in their order, `jester-v1-train.csv` and
`jester-v1-validation.csv` have `id;label` without a header. The labels of the test
clips were never published; they are not listed.
"""

import os

from tf_dvdgan import errors

from . import lists
from .clips import Clip, Listing, Options

_FRAMES = "20bn-jester-v1"
_SPLITS = ("train", "validation")
_WANTS = (
    f"--dataset=jester wants the folder {_FRAMES} in --input, and in it or in --lists "
    "jester-v1-labels.csv, jester-v1-train.csv and jester-v1-validation.csv."
)


def list_clips(folder: str, options: Options = Options()) -> Listing:
    """Lists the clips that have labels.

    Args:
      folder: holds `20bn-jester-v1`, or what is in it.
      options: of them `lists`, the folder of the lists.

    Raises:
      UserError: a list is missing, or has a class that the list of labels has not.
    """
    place = options.lists or folder
    class_names = [
        line.strip()
        for line in lists.read_lines(os.path.join(place, _list_name("labels")), _WANTS)
    ]
    labels = {name: label for label, name in enumerate(class_names)}
    top = _FRAMES if _FRAMES in lists.folder_reader(folder)("") else ""
    clips = []
    for split in _SPLITS:
        name = _list_name(split)
        for line in lists.read_lines(os.path.join(place, name), _WANTS):
            video_id, _, label = (part.strip() for part in line.partition(";"))
            if label not in labels:
                raise errors.UserError(
                    f"{name} gives {video_id!r} the class {label!r}, which is not in "
                    f"{_list_name('labels')}.{errors.did_you_mean(label, labels)}"
                )
            path = os.path.join(top, lists.inside(video_id, name))
            clips.append(Clip(path, labels[label], video_id, split, "frames"))
    return Listing(class_names, clips)


def _list_name(what: str) -> str:
    return f"jester-v1-{what}.csv"
