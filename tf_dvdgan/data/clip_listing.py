"""Which clips a folder holds: one rule for preparation and for scoring.

A clip is a video file, a NumPy array, a row of one, numbered images, or a strip of
frames that `tools.sample` wrote. Other files are skipped and counted.
`clip_layout` says which splits and classes they have.
"""

import collections
import dataclasses
import io
import itertools
import math
import os
import re
from collections.abc import Sequence

import numpy as np

from tf_dvdgan import array_files, errors, terminal
from tf_dvdgan.data import file_kinds, files, filesystem, frame_names

_GRIDS = ("grid.gif", "grid.mp4")  # written by tools.sample beside its videos
_PICTURE_SUFFIXES = (*frame_names.IMAGE_SUFFIXES, file_kinds.ARRAY_SUFFIX)
_FILE_SUFFIXES = (*file_kinds.VIDEO_SUFFIXES, *_PICTURE_SUFFIXES)
_CHANNELS = 3
# What systems leave in folders, beside names that begin with a dot.
_OF_SYSTEMS = ("thumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin")
_ORDER_OF_NUMBERS = re.compile(r"([0-9]+)|([^0-9]+)")
_SHOWN_KINDS = 4
_MAX_HEADER_BYTES = 10_000  # NumPy's own limit


@dataclasses.dataclass(frozen=True)
class ClipFile:
    """A clip in a folder.

    Attributes:
      path: path of its file or of its folder of images, relative to the listed folder.
      form: 'video', 'array', 'frames' or 'strip'.
      names: names of the images, in order; empty for other forms.
      shape: (time, height, width) of an array's clip, (time,) of a strip; empty for
        other forms and a damaged array.
      number: index of the clip in its array, or among those of its folder of images;
        None if it is the only one.
      offset: position of the clip's first byte in the array's file.
      damage: why an array cannot be read; '' if it can, as far as its header says.
    """

    path: str
    form: str
    names: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    number: int | None = None
    offset: int = 0
    damage: str = ""

    @property
    def name(self) -> str:
        """The clip's name in messages; unique in the folder."""
        return self.path if self.number is None else f"{self.path}[{self.number}]"

    @property
    def paths(self) -> list[str]:
        """Paths of the clip's files, relative to the listed folder."""
        return [os.path.join(self.path, name) for name in self.names] or [self.path]


@dataclasses.dataclass(frozen=True)
class Found:
    """What a folder holds.

    Attributes:
      clips: the clips, sorted by name; numbers in names are compared.
      skipped: number of files that are not clips, by kind.
      refused: why arrays among them are not clips.
    """

    clips: list[ClipFile]
    skipped: collections.Counter[str]
    refused: list[errors.UserError] = dataclasses.field(default_factory=list)

    def describe_skipped(self) -> str:
        """One line that counts what was skipped; empty if there is nothing."""
        if not self.skipped:
            return ""
        kinds = self.skipped.most_common()
        shown = [
            f"{count} {terminal.printable(kind)}"
            for kind, count in kinds[:_SHOWN_KINDS]
        ]
        rest = sum(count for _, count in kinds[_SHOWN_KINDS:])
        if rest:
            shown.append(f"{rest} others")
        return f"skipped, because they are not clips: {', '.join(shown)}"


def list_clips(path: str) -> Found:
    """Lists the clips below a folder; follows links.

    Args:
      path: path of the folder, or of a single video file or array.

    Returns:
      The clips, and what was skipped.

    Raises:
      UserError: there are no clips; says what is wrong with an array if there is one.
    """
    found = Found([], collections.Counter())
    if files.is_folder(path):
        _list_below(path, "", (), found)
    elif filesystem.exists(path):
        folder, name = os.path.split(path)
        _list_among(folder, "", [name], found)
    else:
        raise errors.UserError(f"There is nothing at {path}.")
    if not found.clips and found.refused:
        raise found.refused[0]
    if not found.clips:
        others = found.describe_skipped()
        raise errors.UserError(
            f"{path} has no clips: no videos "
            f"({', '.join(file_kinds.VIDEO_SUFFIXES[:8])}, ...), "
            f"arrays (.npy) or numbered images{'; ' * bool(others)}{others}."
        )
    found.clips.sort(key=lambda clip: (_by_number(clip.path), clip.number or 0))
    return found


def _list_below(folder: str, inside: str, above: tuple[str, ...], found: Found) -> None:
    """Lists a folder and those below it; enters no folder from within itself."""
    place = os.path.join(folder, inside) if inside else folder
    real = place if files.is_remote(place) else os.path.realpath(place)
    if real in above:
        found.skipped["link to a folder that it is in"] += 1
        return
    sub_folders, names = _contents(place)
    for name in [name for name in sub_folders if _is_hidden(name)]:
        sub_folders.remove(name)
        if not name.startswith("."):
            found.skipped[name] += 1
    _list_among(folder, inside, names, found)
    for name in sub_folders:
        _list_below(folder, os.path.join(inside, name), (*above, real), found)


def _contents(place: str) -> tuple[list[str], list[str]]:
    """Names of folders and of files in a folder."""
    _, folders, names = next(files.walk(place, _FILE_SUFFIXES), (place, [], []))
    return sorted(folders), sorted(names)


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in _OF_SYSTEMS


def _by_number(path: str) -> list[list[tuple[str, int]]]:
    """Sort key that puts 2.avi before 10.avi and keeps a folder's clips together."""
    return [
        [(text, int(digits or 0)) for digits, text in _ORDER_OF_NUMBERS.findall(name)]
        for name in path.split("/")
    ]


def _list_among(folder: str, inside: str, names: Sequence[str], found: Found) -> None:
    """Lists the clips of one folder, without its sub-folders.

    Args:
      folder: the listed folder.
      inside: path of the folder below it.
      names: names of the folder's files.
      found: gets the clips, and the kinds of the other files.
    """
    place = os.path.join(folder, inside)
    visible = [name for name in names if not _is_hidden(name)]
    visible = [name for name in visible if name not in _GRIDS] or visible
    kinds = file_kinds.by_kind(place, visible)
    clips = [ClipFile(os.path.join(inside, name), "video") for name in kinds["video"]]
    for name in kinds["strip"]:
        count = file_kinds.frames_of_strip(os.path.join(place, name))
        clips.append(ClipFile(os.path.join(inside, name), "strip", shape=(count,)))
    for name in kinds["array"]:
        try:
            clips += _clips_of_array(folder, os.path.join(inside, name))
        except errors.UserError as error:  # labels or poses of the clips, perhaps
            found.refused.append(error)
    if not clips:  # otherwise they are previews and posters
        groups = frame_names.groups_of_frames(kinds["image"])
        numbers = itertools.count() if len(groups) > 1 else itertools.repeat(None)
        clips = [
            ClipFile(inside, "frames", tuple(group), number=number)
            for group, number in zip(groups, numbers, strict=False)
        ]
    found.clips.extend(clips)
    used = {name for clip in clips for name in clip.names}
    used |= {os.path.basename(clip.path) for clip in clips if not clip.names}
    for name in names:
        if name in used or name in _GRIDS:
            continue
        suffix = os.path.splitext(name)[1].lower()
        beside = suffix in _PICTURE_SUFFIXES and bool(clips)
        if beside and not _is_hidden(name):
            found.skipped[f"{suffix} beside clips"] += 1
        else:
            found.skipped[name if _is_hidden(name) else suffix or name] += 1


def clip_at(paths: Sequence[str], form: str, number: int = 0) -> ClipFile:
    """Describes a single clip, of which the form is known.

    Args:
      paths: paths of its files, of frames in order.
      form: as in `ClipFile`.
      number: index of the clip in its array.

    Returns:
      The clip, relative to no folder.

    Raises:
      UserError: it is an array, but not of clips.
    """
    if form == "frames":
        return ClipFile("", form, names=tuple(paths))
    (path,) = paths
    if form == "array":
        folder, name = os.path.split(path)
        (clip,) = _clips_of_array(folder, name, number)
        return dataclasses.replace(clip, path=path)
    if form == "strip":
        return ClipFile(path, form, shape=(file_kinds.frames_of_strip(path),))
    return ClipFile(path, form)


def _clips_of_array(folder: str, path: str, row: int | None = None) -> list[ClipFile]:
    """Lists the clips of a NumPy array, by its header.

    Args:
      folder: the listed folder.
      path: path of the array relative to it.
      row: lists only the clip of this row; None lists all.

    Returns:
      Its clips; a single one if the file is damaged.

    Raises:
      UserError: it is an array, but not of clips.
    """
    place = os.path.join(folder, path)
    try:
        shape, is_fortran, dtype, start, size = _array_header(place)
    except (ValueError, OSError):
        return [ClipFile(path, "array", damage="not an array that NumPy wrote")]
    if dtype != np.uint8:
        raise errors.UserError(
            f"{path} holds {dtype}; clips are uint8, 0 to 255. Convert values in "
            "[-1, 1] by (x + 1) * 127.5, values in [0, 1] by x * 255, and round."
        )
    if start + math.prod(shape) > size:
        return [ClipFile(path, "array", damage="truncated")]
    if (
        len(shape) not in (4, 5)
        or shape[-1] != _CHANNELS
        or min(shape) < 1
        or is_fortran
    ):
        order = " in Fortran order" if is_fortran else ""
        raise errors.UserError(
            f"{path} has the shape {list(shape)}{order}; clips are [time, height, "
            "width, 3] or [count, time, height, width, 3] in C order."
        )
    if len(shape) == 4:
        return [ClipFile(path, "array", shape=shape[:3], offset=start)]
    bytes_of_clip = math.prod(shape[1:])
    return [
        ClipFile(
            path, "array", shape=shape[1:4], number=i, offset=start + i * bytes_of_clip
        )
        for i in (range(shape[0]) if row is None else [row])
    ]


def _array_header(path: str) -> tuple[tuple[int, ...], bool, np.dtype, int, int]:
    """An array's shape, order and type, the position of its data, and its file's size.

    Raises:
      ValueError, OSError: the file is not an array, or cannot be read.
    """
    head = io.BytesIO(filesystem.read_bytes(path, _MAX_HEADER_BYTES))
    return (*array_files.read_header(head), head.tell(), filesystem.size_of(path))
