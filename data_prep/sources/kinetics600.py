"""Kinetics-600 (Carreira et al., 2018): clips cut from YouTube videos, and lists.

A list's first line names its columns: label, youtube_id, time_start, time_end, and
often split and is_cc. Copies differ: columns are separated by commas, tabs or spaces;
test lists may lack labels; files are in a folder per class or flat, below a folder for
the split or not. Files are named `<id>_<start>_<end>.mp4` with six digits for each
time. Videos disappear from YouTube, so listed files that are missing are left for the
decoder to reject.
"""

import functools
import os
import re
from collections.abc import Callable, Iterator, Mapping

from tf_dvdgan import errors
from tf_dvdgan.data import file_kinds, files

from . import lists
from .clips import Clip, Listing, Options

# Names of each split in lists and folders; the first is the one used in the shards.
_SPLITS = (("train",), ("validation", "validate", "val"), ("test",))
_CANONICAL_SPLIT = {name: names[0] for names in _SPLITS for name in names}
_LIST_SUFFIXES = (".csv", ".tsv", ".txt")
_ID_LENGTH = 11
_COLUMNS = ("youtube_id", "time_start", "time_end")
_HINT = (
    "`dataset=kinetics600` needs train.csv, validate.csv or test.csv with the columns "
    "label,youtube_id,time_start,time_end in `input_dir` or `lists`."
)

_Times = tuple[int, ...]
_Key = tuple[str, _Times]  # YouTube id; start and end in seconds, or empty


def list_clips(folder: str, options: Options = Options()) -> Listing:
    """Lists the clips that have labels.

    Classes are the labels of all lists in alphabetical order. Clips without a label are
    skipped with a warning.

    Args:
      folder: holds the videos, in any of the layouts, and the lists.
      options: `lists` is a folder of lists, or one list.

    Returns:
      Classes and clips.

    Raises:
      UserError: there is no list, it lacks a column, or no clip has a label.
    """
    rows = _read_rows(options.lists or folder)
    if not rows:
        raise errors.UserError(f"No list in {options.lists or folder} has labels.")
    class_names = sorted({label for label, _ in rows.values()})
    labels = {name: number for number, name in enumerate(class_names)}
    find = _finder(folder)
    clips = []
    for key, (label, split) in rows.items():
        name = _file_stem(key)
        path = find(key, label, split)
        if path is None:
            path = os.path.join(lists.inside(label, "A list"), f"{name}.mp4")
        clips.append(Clip(path, labels[label], name, split))
    return Listing(class_names, clips)


def _read_rows(place: str) -> dict[_Key, tuple[str, str]]:
    """Label and split of each clip; of repeated entries the first counts."""
    rows: dict[_Key, tuple[str, str]] = {}
    for path, split in _list_files(place):
        unlabeled = 0
        for row in lists.read_table(path, _COLUMNS, _HINT, spaced="label"):
            if row.get("label"):
                key = _key_of(row, path)
                rows.setdefault(key, (row["label"], _split_of(row, split, path)))
            else:
                unlabeled += 1
        lists.warn_skipped(unlabeled, path)
    return rows


def _list_files(place: str) -> Iterator[tuple[str, str | None]]:
    """Yields one list per split, with the split; None if only its rows name it."""
    if place.lower().endswith(_LIST_SUFFIXES):
        yield place, _split_in(place)
        return
    found: dict[str, str] = {}
    for suffix in _LIST_SUFFIXES:
        for name in files.list_dir(place):
            split = _split_in(name)
            if name.lower().endswith(suffix) and split:
                found.setdefault(split, os.path.join(place, name))
    if not found:
        raise errors.UserError(f"{place} has no lists. {_HINT}")
    for names in _SPLITS:
        if names[0] in found:
            yield found[names[0]], names[0]


def _split_in(file_name: str) -> str | None:
    """The split in a list's file name, such as `kinetics600_val.csv`, `train.txt`."""
    stem = os.path.splitext(os.path.basename(file_name))[0].lower()
    found = re.fullmatch(r"(?:(?:kinetics|k)[-_]?600[-_])?([a-z]+)", stem)
    return _CANONICAL_SPLIT.get(found.group(1)) if found else None


def _split_of(row: Mapping[str, str], of_list: str | None, path: str) -> str:
    named = row.get("split", "").lower()
    split = _CANONICAL_SPLIT.get(named) if named else of_list
    if split is None:
        raise errors.UserError(
            f"{path} assigns {row['youtube_id']!r} to split {named!r}; name train, "
            "validate or test in the column split or in the list's file name."
        )
    return split


def _key_of(row: Mapping[str, str], path: str) -> _Key:
    video_id = row["youtube_id"]
    try:
        times = tuple(int(float(row[name])) for name in ("time_start", "time_end"))
    except (ValueError, OverflowError):
        times = ()
    if not times or not re.fullmatch(rf"[\w-]{{{_ID_LENGTH}}}", video_id, re.ASCII):
        raise errors.UserError(
            f"{path} has a row that is not a YouTube clip: {', '.join(row.values())}."
        )
    return video_id, times


def _file_stem(key: _Key) -> str:
    return f"{key[0]}_{key[1][0]:06}_{key[1][1]:06}"


def _finder(folder: str) -> Callable[[_Key, str, str], str | None]:
    """Returns a function that finds a clip's file in any of the layouts."""
    names_in = lists.folder_reader(folder)

    @functools.cache
    def videos_in(parent: str) -> dict[_Key, str]:
        return {
            _key_in(name): name
            for name in sorted(names_in(parent), reverse=True)
            if name.lower().endswith(file_kinds.VIDEO_SUFFIXES)
        }

    @functools.cache
    def folders(label: str, split: str) -> list[str]:
        """Existing folders that may hold the clips, those of the split first."""
        found = []
        for top in (*next(s for s in _SPLITS if s[0] == split), ""):
            if top and top not in names_in(""):
                continue
            for below in (label, label.replace(" ", "_")):
                if below in names_in(top):
                    found.append(os.path.join(top, below))
            found.append(top)
        return found

    def find(key: _Key, label: str, split: str) -> str | None:
        for parent in folders(label, split):
            videos = videos_in(parent)
            name = videos.get(key) or videos.get((key[0], ()))
            if name:
                return os.path.join(parent, name)
        return None

    return find


def _key_in(file_name: str) -> _Key:
    """A file's id and times; ids may contain `_` and `-`, so they are cut by length."""
    stem = os.path.splitext(file_name)[0]
    times = re.findall(r"\d+", stem[_ID_LENGTH:])
    return stem[:_ID_LENGTH], tuple(map(int, times))
