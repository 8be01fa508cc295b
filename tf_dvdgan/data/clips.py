"""Clips for evaluation: prepared shards, or a folder of videos, as one source."""

import os
from collections.abc import Sequence

from tf_dvdgan.data import files, filesystem, manifest
from tf_dvdgan.data.clip_source import ClipSource
from tf_dvdgan.data.folder_source import FolderSource
from tf_dvdgan.data.shard_source import ShardSource

__all__ = ["ClipSource", "FolderSource", "ShardSource", "is_prepared", "open_clips"]


def is_prepared(path: str) -> bool:
    """Returns whether a folder contains prepared shards."""
    files.register_filesystems(path)
    return filesystem.exists(os.path.join(path, manifest.FILE_NAME))


def open_clips(
    path: str, split: str | None = None, classes: Sequence[str] = ()
) -> ClipSource:
    """Opens the clips at a path, without decoding them.

    Args:
      path: folder of prepared shards, folder of videos, arrays and frames, or a single
        video or array.
      split: split to use; by default the held-out split, or 'train' if there is none. A
        folder without folders of splits has none to choose.
      classes: the only classes of shards to use, see `windows.Window`; empty for all.

    Returns:
      The clips.

    Raises:
      UserError: there are no clips, or no such split or class.
    """
    if is_prepared(path):
        return ShardSource(path, split, classes)
    return FolderSource(path, split)
