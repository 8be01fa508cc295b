"""Reads the list files of data sets: lines and tables, with validated paths.

Lists are untrusted input. The files that they name must be below the input folder, and
a split becomes part of a file name, so both are validated here.
"""

import codecs
import csv
import functools
import os
import re
from collections.abc import Callable, Iterator, Sequence

from absl import logging

from tf_dvdgan import errors, terminal
from tf_dvdgan.data import files

_DELIMITERS = ("\t", ";", ",", " ")


def read_lines(path: str, hint: str) -> list[str]:
    """Reads the lines of a text file.

    Args:
      path: local or remote path.
      hint: sentence that ends the error message if the file is missing.

    Returns:
      The lines that are not empty, without line ends.

    Raises:
      UserError: there is no such file, or it is neither UTF-8 nor UTF-16.
    """
    with files.local_copy(path) as local:
        if not os.path.isfile(local):
            raise errors.UserError(f"{path} is missing. {hint}")
        with open(local, "rb") as file:
            data = file.read()
    is_utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode("utf-16" if is_utf16 else "utf-8-sig")
        if "\0" in text:
            raise ValueError("zero bytes")
    except ValueError:
        raise errors.UserError(
            f"{path} is not text in UTF-8, so its names may be misread. Save it as "
            "UTF-8, as with: iconv -f ISO-8859-1 -t UTF-8"
        ) from None
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return [line for line in lines if line.strip()]


def read_table(
    path: str, columns: Sequence[str], hint: str, spaced: str = ""
) -> Iterator[dict[str, str]]:
    """Reads a table whose first line names the columns.

    Columns are separated by tabs, semicolons, commas or spaces, as in the first line.

    Args:
      path: local or remote path.
      columns: required columns; there may be others.
      hint: sentence that ends the error message if the file is missing.
      spaced: column whose values may contain spaces even if spaces separate columns.

    Yields:
      Each row as column name to value.

    Raises:
      UserError: the file or a column is missing or there twice, or a row has the wrong
        number of fields.
    """
    lines = read_lines(path, hint)
    if lines and re.fullmatch(r"sep=.", lines[0], re.IGNORECASE):  # of Excel
        lines = lines[1:]
    first = lines[0] if lines else ""
    delimiter = next((d for d in _DELIMITERS if d in first), ",")
    rows = csv.reader(
        [f"{line}\n" for line in lines],  # one in quotes is part of a name
        delimiter=delimiter,
        skipinitialspace=delimiter != "\t",
    )
    try:
        header = [name.strip().lower() for name in next(rows, [])]
        missing = [name for name in columns if name not in header]
        if missing:
            raise errors.UserError(
                f"{path} has no column {missing[0]!r}. Its first line must name the "
                f"columns, including {', '.join(columns)}."
            )
        twice = [name for name in columns if header.count(name) > 1]
        if twice:
            raise errors.UserError(f"{path} has two columns {twice[0]!r}.")
        for row in rows:
            if delimiter == " " and spaced in header:
                row = _joined(row, header.index(spaced), len(header))
            if len(row) != len(header):
                raise errors.UserError(
                    f"Row {rows.line_num} of {path} has {len(row)} fields for "
                    f"{len(header)} columns; put quotes around fields that contain "
                    f"{delimiter!r}."
                )
            yield dict(zip(header, map(str.strip, row), strict=True))
    except csv.Error as error:
        raise errors.UserError(f"{path} is not a table: {error}.") from None


def _joined(row: list[str], place: int, width: int) -> list[str]:
    """Joins a row's surplus fields into the one at index `place`."""
    end = place + 1 + max(len(row) - width, 0)
    return [*row[:place], " ".join(row[place:end]), *row[end:]]


def inside(path: str, list_name: str) -> str:
    """Normalizes a listed path and checks that it stays below the input folder.

    Args:
      path: path from a list.
      list_name: the list, for the error message.

    Returns:
      The normalized path.

    Raises:
      UserError: the path is absolute, names another file system, or contains `..`.
    """
    if os.path.isabs(path) or "://" in path or ".." in path.split("/"):
        raise errors.UserError(
            f"{list_name} lists {path!r}. Paths must be relative to `input_dir` and "
            "stay inside it: they must not begin with '/' or contain '..' or '://'."
        )
    return os.path.normpath(path)


def split_name(text: str, list_name: str) -> str:
    """Checks that a listed split can be part of a file name.

    Args:
      text: split name from a list.
      list_name: the list, for the error message.

    Returns:
      `text`.

    Raises:
      UserError: the name is invalid.
    """
    if not re.fullmatch(r"[A-Za-z]\w*", text, re.ASCII):
        raise errors.UserError(
            f"{list_name} has the split {text!r}; name splits by a word, such as train."
        )
    return text


def one_file(
    input_dir: str, place: str | None, suffixes: tuple[str, ...], hint: str
) -> str:
    """Finds the list file: the one that the user named, or the only one.

    Args:
      input_dir: folder to search.
      place: the list file, or a folder to search instead; None if not given.
      suffixes: suffixes of list files.
      hint: sentence that ends the error message if there is none.

    Returns:
      The path of the list file.

    Raises:
      UserError: there is none, or there are several.
    """
    if place and place.lower().endswith(suffixes):
        return place
    folder = place or input_dir
    found = [
        name
        for name in files.list_dir(folder)
        if name.lower().endswith(suffixes) and not name.startswith(".")
    ]
    if len(found) == 1:
        return os.path.join(folder, found[0])
    if found:
        raise errors.UserError(
            f"{folder} has {len(found)} files that may be the list, such as {found[0]} "
            f"and {found[1]}; choose: `lists={os.path.join(folder, found[0])}`"
        )
    raise errors.UserError(f"{folder} has no *{suffixes[0]} file. {hint}")


def folder_reader(input_dir: str) -> Callable[[str], frozenset[str]]:
    """Returns a cached function that lists the names in a sub-folder of the input."""

    @functools.cache
    def names_in(folder: str) -> frozenset[str]:
        return frozenset(files.list_dir(os.path.join(input_dir, folder)))

    return names_in


def warn_skipped(count: int, list_name: str) -> None:
    """Warns about clips that are skipped because they have no label.

    Args:
      count: number of such clips; 0 warns about nothing.
      list_name: the list they are in.
    """
    if count:
        logging.warning(
            "%s: %d clips have no label and are skipped.",
            terminal.printable(list_name),
            count,
        )
