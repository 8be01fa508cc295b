"""Finds Gin files: those of the package by name, others by their path."""

import contextlib
import os
from collections.abc import Iterator

import gin

from tf_dvdgan import errors
from tf_dvdgan.data import filesystem


def gin_directory() -> str:
    """Returns the folder of the Gin files that come with the package."""
    package = os.path.dirname(os.path.abspath(__file__))
    installed = os.path.join(package, "gin")
    checkout = os.path.join(os.path.dirname(package), "gin")
    return installed if os.path.isdir(installed) else checkout


def read(file: str) -> str:
    """Returns the text of a file, given by its path or its name in the package.

    Raises:
      UserError: there is no such file.
    """
    for path in (file, os.path.join(gin_directory(), file)):
        if filesystem.exists(path) and not filesystem.isdir(path):
            with filesystem.GFile(path) as opened:
                return opened.read()
    known = [
        os.path.relpath(os.path.join(parent, name), gin_directory())
        for parent, _, names in os.walk(gin_directory())
        for name in names
    ]
    raise errors.UserError(
        f"There is no Gin file {file!r}, neither here nor in {gin_directory()}."
        + errors.did_you_mean(file, known)
    )


@contextlib.contextmanager
def for_gin() -> Iterator[None]:
    """Makes Gin find the package's files and remote ones within a context.

    Gin's own reader is replaced: it takes 'models' in 'models/x.gin' for a Python
    package, and fails if there is a folder of that name.
    """
    readers, places = gin.config._FILE_READERS, gin.config._LOCATION_PREFIXES
    gin.config._FILE_READERS = [(filesystem.GFile, filesystem.exists)]
    gin.config._LOCATION_PREFIXES = [*places, gin_directory()]
    try:
        yield
    finally:
        gin.config._FILE_READERS, gin.config._LOCATION_PREFIXES = readers, places
