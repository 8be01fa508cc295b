"""Copies a run, between a disk and object stores too."""

import os

from tf_dvdgan import errors, run_directory
from tf_dvdgan.data import files


def copy_run(source: str, target: str) -> int:
    """Copies a finished run, also between a disk and object stores.

    Args:
      source: directory of the run.
      target: directory of the copy; it does not exist, or has an earlier copy.

    Returns:
      The number of files.

    Raises:
      UserError: the source is not a run, or the target has another run or other files,
        or cannot be written.
    """
    files.register_filesystems(source, by_tensorflow=False)
    files.check_writable(target, as_folder=True)
    if not run_directory.RunDirectory(source).is_run:
        raise errors.UserError(f"There is no run in {source!r}.")
    if files.list_dir(target) and not run_directory.RunDirectory(target).is_run:
        raise errors.UserError(
            f"{target!r} is not empty and has no run; name another folder."
        )
    # The names of its events tell a run from others, also of the same config.
    own, copied = (
        set(files.list_dir(run_directory.RunDirectory(path).events("train")))
        for path in (source, target)
    )
    if not copied <= own:
        raise errors.UserError(f"{target!r} has another run; name another folder.")
    # Readers look for the config of a run, and for TensorFlow's list of checkpoints.
    config = os.path.basename(run_directory.RunDirectory(target).config_path)
    return files.copy_folder(source, target, last=["checkpoint", config])
