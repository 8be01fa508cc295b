"""Any folder of videos: a sub-folder for each class, or no classes at all."""

import os

from tf_dvdgan import cli

from . import Clip, Listing


def list_clips(folder: str) -> Listing:
    """Lists every file below a folder; what is no video is found out when decoding.

    The classes are the sub-folders' names in alphabetical order. Files that lie in the
    folder itself have a class only if there is no sub-folder; it is named 'video'.
    Names that begin with a dot are passed over.

    Raises:
      UserError: there are no files, or files beside the sub-folders.
    """
    names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    classes = [name for name in names if os.path.isdir(os.path.join(folder, name))]
    loose = [name for name in names if name not in classes]
    if classes and loose:
        raise cli.UserError(
            f"{folder} has both class folders and loose files, {loose[0]!r} among "
            "them; move the files into a class's folder."
        )
    if not names:
        raise cli.UserError(f"{folder} is empty.")
    if not classes:
        return Listing(["video"], [Clip(name, 0, name, "train") for name in loose])
    clips = []
    for label, name in enumerate(classes):
        for path in sorted(_files_below(os.path.join(folder, name))):
            relative = os.path.relpath(path, folder)
            clips.append(Clip(relative, label, relative, "train"))
    return Listing(classes, clips)


def _files_below(folder: str):
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if not name.startswith("."):
                yield os.path.join(parent, name)
