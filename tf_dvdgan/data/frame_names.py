"""Which numbered images of a folder are frames of one clip, and in which order."""

import itertools
import os
import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
_SECONDS = re.compile(r"([0-9]+)(?:\.([0-9]+))?(?=s(?![a-z])|sec)")
_NUMBER = re.compile(r"[0-9]+")
_OF_FRAMES = re.compile(
    r"(?<![a-z])(frames?|fr|f|images?|img|t|time)[^a-z0-9]*$", re.IGNORECASE
)
_OF_CLIPS = re.compile(
    r"(?<![a-z])(clip|shot|scene|seq|sequence|video|vid)[^a-z0-9]*$", re.IGNORECASE
)
_DIGITS_OF_MILLISECONDS = 3

_Row = tuple[tuple[str, ...], str]  # an image's numbers, and its name


def groups_of_frames(names: Sequence[str]) -> list[list[str]]:
    """Sorts the numbered images of a folder into clips.

    Names that differ only in numbers belong together. Of the numbers that vary, one
    counts the frames: the one after a word such as 'frame', or the last. Those after a
    word such as 'clip' tell clips apart, and others before it do if it begins again in
    each.

    Args:
      names: names of files.

    Returns:
      The names of each clip's images, in order; a clip of a single image only if there
      is nothing else.
    """
    by_text: dict[tuple[str, ...], list[_Row]] = {}
    for name in names:
        stem, suffix = os.path.splitext(name)
        if suffix.lower() not in IMAGE_SUFFIXES or name.startswith("."):
            continue
        stem = _SECONDS.sub(lambda m: f"{m[1]}{m[2] or '':0<9}", stem)
        numbers = tuple(_NUMBER.findall(stem))
        if numbers:
            by_text.setdefault(tuple(_NUMBER.split(stem)), []).append((numbers, name))
    by_text = _with_decimals(by_text)
    groups = [
        group
        for texts in sorted(by_text)
        for rows in _with_different_numbers(by_text[texts])
        for group in _clips_of(texts, _sorted(rows))
    ]
    several = [group for group in groups if len(group) > 1]
    if several or not groups:
        return several
    return [sorted(itertools.chain(*groups), key=_last_number)]


def _with_different_numbers(rows: list[_Row]) -> list[list[_Row]]:
    """Separates images if two have the same numbers: the same clip, twice.

    By format; where that is not enough, padded numbers by their digits.
    """

    def suffix(row: _Row) -> str:
        return os.path.splitext(row[1])[1].lower()

    padded = {len(n) for found, _ in rows for n in found if _is_padded(n)}
    # 10 may be one of 08, 09, 10 or of 8, 9, 10.
    some_are_not = any(len(n) not in padded for found, _ in rows for n in found)

    def padding(row: _Row) -> tuple[int, ...]:
        return tuple(len(n) if _is_padded(n) or not some_are_not else 0 for n in row[0])

    groups = [rows]
    for key in (suffix, padding):
        groups = [
            part
            for group in groups
            for part in (_by(key, group) if _has_twins(group) else [group])
        ]
    return groups


def _is_padded(number: str) -> bool:
    return len(number) > 1 and number[0] == "0"


def _has_twins(rows: list[_Row]) -> bool:
    numbers = {tuple(map(float, found)) for found, _ in rows}
    return len(numbers) < len(rows)


def _by(key: Callable[[_Row], Any], rows: list[_Row]) -> list[list[_Row]]:
    parts: dict[Any, list[_Row]] = {}
    for row in rows:
        parts.setdefault(key(row), []).append(row)
    return [parts[value] for value in sorted(parts)]


def _last_number(name: str) -> tuple[int, str]:
    return int(_NUMBER.findall(os.path.splitext(name)[0])[-1]), name


def _with_decimals(
    by_text: dict[tuple[str, ...], list[_Row]],
) -> dict[tuple[str, ...], list[_Row]]:
    """Makes one number of two with a decimal point between them."""
    joined: dict[tuple[str, ...], list[_Row]] = {}
    for texts, rows in by_text.items():
        for i in reversed(range(1, len(texts) - 1)):
            without = (*texts[:i], *texts[i + 1 :])
            if "." in texts[i - 1 : i + 2 : 2] or texts[i] != ".":
                continue
            # Some programs omit zeros: 9, 9.5, 10.
            has_whole = without in by_text and not any(
                numbers[i].endswith("0") for numbers, _ in rows
            )
            if has_whole or _is_decimal_point(texts, rows, i):
                texts, rows = without, [_joined(row, i) for row in rows]
        joined.setdefault(texts, []).extend(rows)
    return joined


def _joined(row: _Row, i: int) -> _Row:
    numbers, name = row
    point = f"{numbers[i - 1]}.{numbers[i]}"
    return (*numbers[: i - 1], point, *numbers[i + 1 :]), name


def _is_decimal_point(texts: tuple[str, ...], rows: list[_Row], i: int) -> bool:
    """Whether the point before a number makes it the fraction of the one before.

    It does if both vary, unless the number counts in each clip: as 1.00, 1.01, 1.02,
    2.00, 2.01, 2.02 do, which are no even times.
    """
    if min(len({numbers[j] for numbers, _ in rows}) for j in (i - 1, i)) < 2:
        return False
    if _OF_FRAMES.search(texts[i - 1]):
        return True
    parts: dict[tuple[str, ...], list[int]] = {}
    for numbers, _ in rows:
        parts.setdefault((*numbers[:i], *numbers[i + 1 :]), []).append(int(numbers[i]))
    widths = {len(numbers[i]) for numbers, _ in rows}
    begin_again = len({min(counts) for counts in parts.values()}) == 1
    counts_in_each = all(
        max(counts) - min(counts) == len(counts) - 1 < 10 ** max(widths) - 1
        for counts in parts.values()
    )
    may_count = begin_again or min(widths) >= _DIGITS_OF_MILLISECONDS
    return not (counts_in_each and may_count)


_Number = int | Fraction
_Sorted = list[tuple[tuple[_Number, ...], str]]


def _sorted(rows: list[_Row]) -> _Sorted:
    return sorted(
        (tuple(Fraction(n) if "." in n else int(n) for n in numbers), name)
        for numbers, name in rows
    )


def _clips_of(texts: tuple[str, ...], rows: _Sorted) -> list[list[str]]:
    """Clips of images whose names have the same texts between their numbers."""
    columns = list(zip(*(numbers for numbers, _ in rows), strict=True))
    varying = [i for i, column in enumerate(columns) if len(set(column)) > 1]
    if len(varying) < 2:
        return [[name for _, name in rows]]
    of_clips = [i for i in varying if _OF_CLIPS.search(texts[i])]
    if of_clips and of_clips != varying:
        return [
            clip
            for part in _by_numbers(rows, of_clips).values()
            for clip in _clips_of(texts, part)
        ]
    counted = [i for i in varying if _OF_FRAMES.search(texts[i])]
    of_frame = counted[-1] if counted else varying[-1]
    clips = [
        sorted((numbers[of_frame], name) for numbers, name in part)
        for part in _by_numbers(rows, [i for i in varying if i != of_frame]).values()
    ]
    apart = _are_apart(clips) if counted else _begin_again(clips)
    if apart:
        return [[name for _, name in clip] for clip in clips]
    if counted:
        rows = sorted(rows, key=lambda row: (row[0][of_frame], row))
    return [[name for _, name in rows]]


def _by_numbers(
    rows: _Sorted, places: Sequence[int]
) -> dict[tuple[_Number, ...], _Sorted]:
    """Rows by their numbers in some places."""
    parts: dict[tuple[_Number, ...], _Sorted] = {}
    for row in rows:
        parts.setdefault(tuple(row[0][i] for i in places), []).append(row)
    return parts


_Counted = list[list[tuple[_Number, str]]]  # by clip, each frame's number and name


def _begin_again(clips: _Counted) -> bool:
    """Whether the last number counts in each clip, not on, as a clock's does."""
    return len({clip[0][0] for clip in clips}) == 1 and min(map(len, clips)) > 1


def _are_apart(clips: _Counted) -> bool:
    """Whether frames that are counted for certain are of several clips.

    They are of one if another number, such as a time or a score, goes along with them.
    """
    numbers = [number for clip in clips for number, _ in clip]
    if max(map(len, clips)) < 2:
        return False
    if len(set(numbers)) < len(numbers):
        return True
    clips = sorted(clips)
    gaps = [after[0][0] - clip[-1][0] for clip, after in itertools.pairwise(clips)]
    steps = [b[0] - a[0] for clip in clips for a, b in itertools.pairwise(clip)]
    return min(map(len, clips)) > 1 and min(gaps) > max(steps)
