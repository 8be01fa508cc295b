"""Any folder of videos: one sub-folder per class, or no classes."""

import os
from collections.abc import Iterator

from tf_dvdgan import errors
from tf_dvdgan.data import files, video_io

from .clips import Clip, Listing, Options


def list_clips(folder: str, options: Options = Options()) -> Listing:
    """Lists every file below a folder; the decoder rejects files that are not videos.

    Classes are the names of the sub-folders in alphabetical order. Without sub-folders
    all files are of one class, 'video'. Names that begin with a dot are skipped.

    Args:
      folder: holds the class folders, or the videos.
      options: unused.

    Returns:
      Classes and clips.

    Raises:
      UserError: the folder is empty, or has files beside the sub-folders.
    """
    del options
    top = files.walk(folder, video_io.VIDEO_SUFFIXES)
    _, classes, loose = next(top, (folder, [], []))
    classes, loose = _visible(classes), _visible(loose)
    if classes and loose:
        raise errors.UserError(
            f"{folder} has both class folders and loose files, such as {loose[0]!r}; "
            "move the files into class folders."
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
