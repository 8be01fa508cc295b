"""The list files that come with data sets: lines, tables, and what paths they may have.

Lists come from strangers. What they name is looked for below the input folder alone,
and a split becomes part of a file's name, so both are checked here.
"""

import csv
import functools
import os
import re
from collections.abc import Callable, Iterator, Sequence

from absl import logging

from tf_dvdgan import errors, terminal
from tf_dvdgan.data import files

_DELIMITERS = ("\t", ";", ",", " ")


def read_lines(path: str, wants: str) -> list[str]:
    """Lines of a text file without line ends; empty ones are left out.

    Args:
      path: of the file, anywhere.
      wants: what to do if it is missing; the end of the error.

    Raises:
      UserError: there is no such file.
    """
    with files.local(path) as local:
        if not os.path.isfile(local):
            raise errors.UserError(f"{path} is missing. {wants}")
        with open(local, encoding="utf-8-sig", errors="surrogateescape") as file:
            return [line.rstrip("\r\n") for line in file if line.strip()]


def read_table(
    path: str, columns: Sequence[str], wants: str, spaced: str = ""
) -> Iterator[dict[str, str]]:
    """Rows of a file whose first line names the columns, by name.

    Columns are separated by tabs, semicolons, commas or spaces; the first line tells.

    Args:
      path: of the file, anywhere.
      columns: that must be there; others may be.
      wants: what to do if it is missing; the end of the error.
      spaced: column that may have spaces even where spaces separate the columns.

    Raises:
      UserError: the file or a column is missing, or a row has not as many fields.
    """
    lines = read_lines(path, wants)
    first = lines[0] if lines else ""
    delimiter = next((d for d in _DELIMITERS if d in first), ",")
    rows = csv.reader(lines, delimiter=delimiter, skipinitialspace=delimiter != "\t")
    try:
        header = [name.strip().lower() for name in next(rows, [])]
        missing = [name for name in columns if name not in header]
        if missing:
            raise errors.UserError(
                f"{path} has no column {missing[0]!r}. Its first line must name the "
                f"columns, {', '.join(columns)} among them."
            )
        for row in rows:
            if delimiter == " " and spaced in header:
                row = _joined(row, header.index(spaced), len(header))
            if len(row) != len(header):
                raise errors.UserError(
                    f"Row {rows.line_num} of {path} has {len(row)} fields where "
                    f"{len(header)} columns are named; put quotes around what holds "
                    f"{delimiter!r}."
                )
            yield dict(zip(header, map(str.strip, row), strict=True))
    except csv.Error as error:
        raise errors.UserError(f"{path} is no table: {error}.") from None


def _joined(row: list[str], place: int, width: int) -> list[str]:
    """A row whose surplus fields are parts of the one at a place."""
    end = place + 1 + max(len(row) - width, 0)
    return [*row[:place], " ".join(row[place:end]), *row[end:]]


def inside(path: str, list_name: str) -> str:
    """A listed path in its plain form, if it stays below the input folder.

    Raises:
      UserError: it is absolute, names another file system, or has `..`.
    """
    if os.path.isabs(path) or "://" in path or ".." in path.split("/"):
        raise errors.UserError(
            f"{list_name} lists {path!r}. Paths there are relative to --input and stay "
            "in it: none begins with '/' or has '..' or '://'."
        )
    return os.path.normpath(path)


def split_name(text: str, list_name: str) -> str:
    """A listed split, if it can be part of a file's name.

    Raises:
      UserError: it cannot.
    """
    if not re.fullmatch(r"[A-Za-z]\w*", text, re.ASCII):
        raise errors.UserError(
            f"{list_name} has the split {text!r}; a split is a word, such as train."
        )
    return text


def one_file(
    input_dir: str, place: str | None, suffixes: tuple[str, ...], wants: str
) -> str:
    """The list file: the one that the user named, or the only one there is.

    Args:
      input_dir: where it is looked for.
      place: a file, or a folder to look in instead.
      suffixes: of list files.
      wants: what to do if there is none; the end of the error.

    Raises:
      UserError: there is none, or there are several.
    """
    if place and place.lower().endswith(suffixes):
        return place
    folder = place or input_dir
    found = [
        name
        for name in files.names_in(folder)
        if name.lower().endswith(suffixes) and not name.startswith(".")
    ]
    if len(found) == 1:
        return os.path.join(folder, found[0])
    if found:
        raise errors.UserError(
            f"{folder} has {len(found)} files that may be the list, {found[0]} and "
            f"{found[1]} among them; name it: --lists={os.path.join(folder, found[0])}"
        )
    raise errors.UserError(f"{folder} has no *{suffixes[0]} file and is none. {wants}")


def folder_reader(input_dir: str) -> Callable[[str], frozenset[str]]:
    """Gives a function that lists sub-folders of the input, each once."""

    @functools.cache
    def names_in(folder: str) -> frozenset[str]:
        return frozenset(files.names_in(os.path.join(input_dir, folder)))

    return names_in


def say_left_out(count: int, list_name: str) -> None:
    """Warns of clips that are left out because nobody says what they show."""
    if count:
        logging.warning(
            "%s: %d clips have no label and are left out.",
            terminal.printable(list_name),
            count,
        )
