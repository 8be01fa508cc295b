"""Splits and classes of a folder's clips, by the folders that they are in.

Folders named like splits are splits, the ones below them or at the top are classes.
"""

import dataclasses
import re
from collections.abc import Sequence

from tf_dvdgan import errors
from tf_dvdgan.data import clip_listing

_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("val", "valid", "validate", "validation"), "validation"),
    **dict.fromkeys(("dev", "eval", "evaluation"), "validation"),
}


def split_of(name: str) -> str:
    """Returns the split that a folder's or a table's name stands for; '' for none.

    Args:
      name: such as "Train", "val", "test_set".

    Returns:
      'train', 'test', 'validation' or ''.
    """
    return _SPLITS.get(re.sub(r"[ _-]?set$", "", name.lower()), "")


@dataclasses.dataclass(frozen=True)
class Layout:
    """Splits and classes of clips.

    Attributes:
      splits: each clip's split; all '' if the folder has none.
      classes: each clip's class; all '' if there are none.
    """

    splits: list[str]
    classes: list[str]

    @property
    def class_names(self) -> list[str]:
        """Names of the classes in alphabetical order; empty if there are none."""
        return sorted(set(self.classes) - {""})


def layout(clips: Sequence[clip_listing.ClipFile], path: str) -> Layout:
    """Sorts clips into splits and classes.

    Folders named train, test, validation (or val, ...) are splits if there are no other
    folders and no clips beside them, and either one is named train or all hold folders
    of classes; likewise in a single folder around them, or if each class has them.
    Below, or at the top, the outermost folders are classes, except folders of images
    that are single clips.

    Args:
      clips: from `list_clips`.
      path: the listed folder, for messages.

    Returns:
      The split and the class of each clip.

    Raises:
      UserError: there are clips both in class folders and beside them, or class folders
        beside splits.
    """
    folders = _folders_above(clips)
    second = [split_of(above[1]) if len(above) > 1 else "" for above in folders]
    if all(second) and "train" in second and not any(split_of(a[0]) for a in folders):
        if len({above[0] for above in folders}) == 1:
            folders = [above[1:] for above in folders]
        else:
            return Layout(second, [above[0] for above in folders])
    splits = [split_of(above[0]) if above else "" for above in folders]
    inner = [above[1:] for above in folders]
    tops = {above[0] for above in folders if above}
    with_train = "train" in splits and (len(tops) > 1 or any(inner))
    if all(splits) and (with_train or all(inner)):
        return Layout(splits, _classes(inner, clips, path))
    if "train" in splits and len(set(splits) - {""}) > 1:
        other = clips[splits.index("")].name
        raise errors.UserError(
            f"{path} has folders of splits and other clips, such as {other!r}; move "
            "these into a split's folder."
        )
    return Layout([""] * len(clips), _classes(folders, clips, path))


def _folders_above(clips: Sequence[clip_listing.ClipFile]) -> list[list[str]]:
    """Names of the folders that each clip is in, the outermost first.

    The folder of a clip's images is the clip itself, except where it holds several, or
    where other clips have folders above and it has none.
    """
    paths = [clip.path.split("/") if clip.path else [] for clip in clips]
    above = [
        parts if clip.form == "frames" and clip.number is not None else parts[:-1]
        for clip, parts in zip(clips, paths, strict=True)
    ]
    if any(above):
        for i, clip in enumerate(clips):
            if clip.form == "frames" and not above[i]:
                above[i] = paths[i]
    return above


def _classes(
    folders: Sequence[Sequence[str]], clips: Sequence[clip_listing.ClipFile], path: str
) -> list[str]:
    """The outermost folder of each clip; '' for all if there are none."""
    if any(folders) and not all(folders):
        loose = clips[[bool(above) for above in folders].index(False)]
        raise errors.UserError(
            f"{path} has both class folders and loose clips, such as {loose.name!r}; "
            "move these into class folders."
        )
    return [above[0] if above else "" for above in folders]
