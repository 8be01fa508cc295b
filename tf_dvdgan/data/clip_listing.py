"""Which clips a folder holds: one rule for preparation and for scoring.

A clip is a video file, a NumPy array, a row of one, numbered images, or a strip of
frames that `tools.sample` wrote. What is none of these is left out, and counted.
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
from tf_dvdgan.data import files, filesystem

VIDEO_SUFFIXES = tuple(
    f".{suffix}"
    for suffix in (
        "3g2 3gp apng asf avi divx dv f4v flv gif h264 hevc ivf m1v m2t m2ts m2v m4v "
        "mjpeg mjpg mkv mov mp4 mpe mpeg mpg mts mxf nut obu ogm ogv qt ts vob "
        "webm wmv y4m 264 265"
    ).split()
)
_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
_ARRAY_SUFFIX = ".npy"
_GRIDS = ("grid.gif", "grid.mp4")  # written by tools.sample beside its videos
_FILE_SUFFIXES = (*VIDEO_SUFFIXES, *_IMAGE_SUFFIXES, _ARRAY_SUFFIX)
_CHANNELS = 3
# What systems leave in folders, beside names that begin with a dot.
_OF_SYSTEMS = ("thumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin")
# How containers begin, and at which byte; for files whose names do not say what they
# are.
_BEGINNINGS = (
    (0, b"\x1a\x45\xdf\xa3"),
    (0, b"GIF8"),
    (0, b"OggS"),
    (0, b"FLV\x01"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"),
    (0, b"\x00\x00\x01\xba"),
    (4, b"ftyp"),
    (8, b"AVI "),
)
_ORDER_OF_NUMBERS = re.compile(r"([0-9]+)|([^0-9]+)")
_SECONDS = re.compile(r"([0-9]+)(?:\.([0-9]+))?(?=s(?![a-z])|sec)")
_NUMBER = re.compile(r"[0-9]+")
_OF_FRAMES = re.compile(
    r"(?<![a-z])(frames?|fr|f|images?|img|t|time)[^a-z0-9]*$", re.IGNORECASE
)
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
      left_out: number of files that are not clips, by kind.
    """

    clips: list[ClipFile]
    left_out: collections.Counter[str]

    def describe_left_out(self) -> str:
        """One line that counts what was left out; empty if there is nothing."""
        if not self.left_out:
            return ""
        kinds = self.left_out.most_common()
        shown = [
            f"{count} {terminal.printable(kind)}"
            for kind, count in kinds[:_SHOWN_KINDS]
        ]
        rest = sum(count for _, count in kinds[_SHOWN_KINDS:])
        if rest:
            shown.append(f"{rest} others")
        return f"left out, because they are not clips: {', '.join(shown)}"


def list_clips(path: str) -> Found:
    """Lists the clips below a folder; follows links.

    Args:
      path: path of the folder, or of a single video file or array.

    Returns:
      The clips, and what was left out.

    Raises:
      UserError: there are no clips, or an array does not hold clips.
    """
    found = Found([], collections.Counter())
    if files.is_folder(path):
        _list_below(path, "", (), found)
    elif filesystem.exists(path):
        folder, name = os.path.split(path)
        _list_among(folder, "", [name], found)
    else:
        raise errors.UserError(f"There is nothing at {path}.")
    if not found.clips:
        others = found.describe_left_out()
        raise errors.UserError(
            f"{path} has no clips: no videos ({', '.join(VIDEO_SUFFIXES[:8])}, ...), "
            f"arrays (.npy) or numbered images{'; ' * bool(others)}{others}."
        )
    found.clips.sort(key=lambda clip: (_by_number(clip.path), clip.number or 0))
    return found


def _list_below(folder: str, inside: str, above: tuple[str, ...], found: Found) -> None:
    """Lists a folder and those below it; enters no folder from within itself."""
    place = os.path.join(folder, inside) if inside else folder
    real = place if files.is_remote(place) else os.path.realpath(place)
    if real in above:
        found.left_out["link to a folder that it is in"] += 1
        return
    sub_folders, names = _contents(place)
    for name in [name for name in sub_folders if _is_hidden(name)]:
        sub_folders.remove(name)
        if not name.startswith("."):
            found.left_out[name] += 1
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
    kinds = _by_kind(place, visible)
    clips = [ClipFile(os.path.join(inside, name), "video") for name in kinds["video"]]
    for name in kinds["strip"]:
        count = frames_of_strip(os.path.join(place, name))
        clips.append(ClipFile(os.path.join(inside, name), "strip", shape=(count,)))
    for name in kinds["array"]:
        try:
            clips += clips_of_array(folder, os.path.join(inside, name))
        except errors.UserError:
            if not kinds["video"]:  # beside videos it may be anything
                raise
    if not clips:  # otherwise they are previews and posters
        groups = groups_of_frames(kinds["image"])
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
        beside = suffix in (*_IMAGE_SUFFIXES, _ARRAY_SUFFIX) and bool(clips)
        if beside and not _is_hidden(name):
            found.left_out[f"{suffix} beside clips"] += 1
        else:
            found.left_out[name if _is_hidden(name) else suffix or name] += 1


def _by_kind(place: str, names: Sequence[str]) -> dict[str, list[str]]:
    """Names by kind; the first image of a folder says what all of its images are."""
    kinds: dict[str, list[str]] = {
        kind: [] for kind in ("video", "array", "image", "strip")
    }
    for name in names:
        suffix = os.path.splitext(name)[1].lower()
        if suffix in VIDEO_SUFFIXES:
            kinds["video"].append(name)
        elif suffix == _ARRAY_SUFFIX:
            kinds["array"].append(name)
        elif suffix in _IMAGE_SUFFIXES:
            kinds["image"].append(name)
        elif _begins_as_video(os.path.join(place, name)):
            kinds["video"].append(name)
    if kinds["image"]:
        first = os.path.join(place, kinds["image"][0])
        if _is_animated(first):
            kinds["video"] += kinds["image"]
            kinds["image"] = []
        elif frames_of_strip(first):
            kinds["strip"], kinds["image"] = kinds["image"], []
    return kinds


def _beginning(path: str, size: int) -> bytes:
    """The first bytes of a local file; nothing of others, which would be a request."""
    if files.is_remote(path):
        return b""
    try:
        with open(path, "rb") as file:
            return file.read(size)
    except OSError:
        return b""


def _begins_as_video(path: str) -> bool:
    if not os.path.isfile(path):  # opening a pipe would wait
        return False
    data = _beginning(path, 12)
    return any(data[at:].startswith(mark) for at, mark in _BEGINNINGS)


def _is_animated(path: str) -> bool:
    """Whether an image is an animation: a WebP with its flag, a PNG with its chunk."""
    if not os.path.isfile(path):
        return False
    data = _beginning(path, 4096)
    is_webp = data[8:16] == b"WEBPVP8X" and len(data) > 20 and bool(data[20] & 2)
    return is_webp or (data[1:4] == b"PNG" and b"acTL" in data.partition(b"IDAT")[0])


def frames_of_strip(path: str) -> int:
    """Number of frames in a strip; 0 if the image is none, see `visualize`."""
    head = _beginning(path, 2**16).partition(b"IDAT")[0]
    found = re.search(rb'"strip_frames": ([0-9]{1,5})', head)
    return int(found[1]) if found else 0


def groups_of_frames(names: Sequence[str]) -> list[list[str]]:
    """Sorts the numbered images of a folder into clips.

    Names that differ only in numbers belong together. Of the numbers that vary, one
    counts the frames: the one after a word such as 'frame', or the last. Those before
    it tell clips apart if it begins again in each.

    Args:
      names: names of files.

    Returns:
      The names of each clip's images, in order; a clip of a single image only if there
      is nothing else.
    """
    by_text: dict[tuple[str, ...], list[tuple[tuple[int, ...], str]]] = {}
    for name in names:
        stem, suffix = os.path.splitext(name)
        if suffix.lower() not in _IMAGE_SUFFIXES or name.startswith("."):
            continue
        stem = _SECONDS.sub(lambda m: f"{m[1]}{m[2] or '':0<9}", stem)
        numbers = tuple(map(int, _NUMBER.findall(stem)))
        if numbers:
            by_text.setdefault(tuple(_NUMBER.split(stem)), []).append((numbers, name))
    groups = [
        group for texts in sorted(by_text) for group in _clips_of(texts, by_text[texts])
    ]
    several = [group for group in groups if len(group) > 1]
    if several or not groups:
        return several
    return [sorted(itertools.chain(*groups), key=_last_number)]


def _last_number(name: str) -> tuple[int, str]:
    return int(_NUMBER.findall(os.path.splitext(name)[0])[-1]), name


def _clips_of(
    texts: tuple[str, ...], rows: list[tuple[tuple[int, ...], str]]
) -> list[list[str]]:
    """Clips of images whose names have the same texts between their numbers."""
    rows = sorted(rows)
    columns = list(zip(*(numbers for numbers, _ in rows), strict=True))
    varying = [i for i, column in enumerate(columns) if len(set(column)) > 1]
    if len(varying) < 2:
        return [[name for _, name in rows]]
    counted = [i for i in varying if _OF_FRAMES.search(texts[i])]
    of_frame = counted[0] if len(counted) == 1 else varying[-1]
    clips: dict[tuple[int, ...], list[tuple[int, str]]] = {}
    for numbers, name in rows:
        key = tuple(numbers[i] for i in varying if i != of_frame)
        clips.setdefault(key, []).append((numbers[of_frame], name))
    firsts = {min(clip)[0] for clip in clips.values()}
    if len(firsts) > 1 or min(map(len, clips.values())) < 2:
        return [[name for _, name in rows]]
    return [[name for _, name in sorted(clip)] for clip in clips.values()]


def clips_of_array(folder: str, path: str, row: int | None = None) -> list[ClipFile]:
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
    data, size = _head(path)
    head = io.BytesIO(data)
    return (*array_files.read_header(head), head.tell(), size)


def _head(path: str) -> tuple[bytes, int]:
    """The first bytes of a file, and its size."""
    if not files.is_remote(path):  # TensorFlow takes only UTF-8 names
        with open(path, "rb") as file:
            return file.read(_MAX_HEADER_BYTES), os.fstat(file.fileno()).st_size
    import tensorflow as tf

    try:
        with filesystem.GFile(path, "rb") as file:
            return file.read(_MAX_HEADER_BYTES), filesystem.stat(path).length
    except tf.errors.OpError as error:
        raise OSError(error.message) from error
