"""Any folder of videos: a sub-folder for each class, or no classes at all."""

import os
from collections.abc import Iterator

from tf_dvdgan import errors
from tf_dvdgan.data import files, video_io

from .clips import Clip, Listing, Options


def list_clips(folder: str, options: Options = Options()) -> Listing:
    """Lists every file below a folder; what is no video is found out when decoding.

    The classes are the sub-folders' names in alphabetical order. Files that lie in the
    folder itself have a class only if there is no sub-folder; it is named 'video'.
    Names that begin with a dot are passed over.

    Args:
      folder: holds the class folders, or the videos.
      options: none concerns it.

    Raises:
      UserError: there are no files, or files beside the sub-folders.
    """
    del options
    top = files.walk(folder, video_io.VIDEO_SUFFIXES)
    _, classes, loose = next(top, (folder, [], []))
    classes, loose = _visible(classes), _visible(loose)
    if classes and loose:
        raise errors.UserError(
            f"{folder} has both class folders and loose files, {loose[0]!r} among "
            "them; move the files into a class's folder."
        )
    if not classes and not loose:
        raise errors.UserError(f"{folder} is empty.")
    if not classes:
        return Listing(["video"], [Clip(name, 0, name, "train") for name in loose])
    clips = []
    for label, name in enumerate(classes):
        below = _files_below(os.path.join(folder, name))
        for path in sorted(os.path.join(name, path) for path in below):
            clips.append(Clip(path, label, path, "train"))
    return Listing(classes, clips)


def _files_below(folder: str) -> Iterator[str]:
    """Paths of files below a folder, relative to it."""
    for parent, folders, names in files.walk(folder, video_io.VIDEO_SUFFIXES):
        folders[:] = _visible(folders)
        for name in _visible(names):
            yield os.path.join(parent, name)[len(folder) :].lstrip("/")


def _visible(names: list[str]) -> list[str]:
    return sorted(name for name in names if not name.startswith("."))
