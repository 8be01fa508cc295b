"""Public data sets in their published layouts; each module lists the clips of one."""

import collections
import dataclasses
import functools
import os

from tf_dvdgan import errors, terminal
from tf_dvdgan.data import files

from . import (
    bair,
    csv_file,
    folder,
    jester,
    kinetics600,
    lists,
    tinyvideo,
    ucf101,
    weizmann,
)
from .clips import Clip, Listing, Options, hold_out

__all__ = ["NAMES", "Clip", "Listing", "Options", "list_clips"]

_SOURCES = {
    "folder": folder.list_clips,
    "csv": csv_file.list_clips,
    "ucf101": ucf101.list_clips,
    "kinetics600": kinetics600.list_clips,
    "bair": bair.list_clips,
    "jester": jester.list_clips,
    "weizmann": weizmann.list_clips,
    "tinyvideo": tinyvideo.list_clips,
    "demo": ucf101.list_clips,  # tools.make_demo_videos writes UCF-101's layout
}
NAMES = tuple(_SOURCES)
WITH_SPLIT_LISTS = ("ucf101", "demo")
WITH_LISTS = (*WITH_SPLIT_LISTS, "csv", "kinetics600", "jester", "tinyvideo")


def list_clips(dataset: str, input_dir: str, options: Options = Options()) -> Listing:
    """Lists a data set's clips.

    Listed files that do not exist are included, and the decoder rejects them one by
    one. It is an error only if all of them are missing.

    Args:
      dataset: one of `NAMES`.
      input_dir: folder of the data set; clips' paths are relative to it.
      options: the user's options.

    Returns:
      Classes and clips.

    Raises:
      UserError: the folder does not have the data set's layout, or its lists are
        malformed.
    """
    with terminal.clock(f"listing {terminal.printable(input_dir)}"):
        listing = _SOURCES[dataset](input_dir, options)
        if not options.follow_links and not files.is_remote(input_dir):
            listing = _without_links_out(listing, input_dir)
        _check(listing, dataset, input_dir)
    return hold_out(listing, options.test_share) if options.test_share else listing


def _without_links_out(listing: Listing, input_dir: str) -> Listing:
    """Leaves out clips of which a file is really outside the input folder."""
    top = os.path.join(os.path.realpath(input_dir), "")

    def is_outside(path: str) -> bool:
        return not os.path.join(os.path.realpath(path), "").startswith(top)

    @functools.cache
    def has_images_outside(folder: str) -> bool:
        with os.scandir(folder) as entries:
            return any(
                entry.is_symlink() and is_outside(entry.path) for entry in entries
            )

    clips = []
    for clip in listing.clips:
        path = os.path.join(input_dir, clip.path)
        if is_outside(path) or (clip.form == "frames" and has_images_outside(path)):
            continue
        clips.append(clip)
    count = len(listing.clips) - len(clips)
    if not count:
        return listing
    sentences = [listing.skipped, f"skipped: {count} clips behind links out of it"]
    skipped = "; ".join(filter(None, sentences))
    return dataclasses.replace(listing, clips=clips, skipped=skipped)


def _check(listing: Listing, dataset: str, input_dir: str) -> None:
    clips = listing.clips
    if not clips:
        raise errors.UserError(f"`dataset={dataset}` has no clips in {input_dir}.")
    names_in = lists.folder_reader(input_dir)
    paths = (os.path.split(clip.path) for clip in clips)
    is_listed = dataset in WITH_LISTS
    if is_listed and not any(name in names_in(parent) for parent, name in paths):
        raise errors.UserError(
            f"None of the {len(clips)} listed clips is in {input_dir}, for example "
            f"{clips[0].path!r}; docs/data.md has the layout of `dataset={dataset}`."
        )
    ids = collections.Counter(clip.video_id for clip in clips)
    video_id, times = ids.most_common(1)[0]
    if times > 1:
        raise errors.UserError(
            f"{video_id!r} is listed {times} times; list each clip once."
        )
