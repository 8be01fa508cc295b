"""Generators that come with the package: small runs with only what sampling needs.

    gan = tf_dvdgan.load("dvdgan_v2_shapes")

Each folder is one that `export.export_run` wrote; its README.md is the model's card.
docs/learned.md shows them all. The classifiers beside them are those of their scores.
Sampling, scoring, exporting and reporting take a name where they expect a run or a
weights file.
"""

import os
import pathlib

from tf_dvdgan import errors
from tf_dvdgan.data import files

DEFAULT = "dvdgan_v2_shapes"  # what the explorer opens if nothing is named
SUMS = "SHA256SUMS"  # of a folder: a line for each other file, hash and name
_OF_MODELS = ("config.gin", "model.json", "saved_model.pb")  # in their folders
_WEIGHTS = ".weights.h5"  # ends the names of classifiers' files

_FOLDER = pathlib.Path(__file__).parent


def names() -> list[str]:
    """Names of the generators."""
    return sorted(path.parent.name for path in _FOLDER.glob(f"*/{SUMS}"))


def path_of(name: str) -> str:
    """Returns the directory of a generator, after a check of its files.

    Args:
      name: name of the generator.

    Returns:
      A run's directory.

    Raises:
      UserError: there is no such generator, or its files were changed.
    """
    if name not in names():
        raise errors.UserError(
            f"There is no generator {name!r}; available: {', '.join(names())}."
            + errors.did_you_mean(name, names())
        )
    folder = _FOLDER / name
    for line in (folder / SUMS).read_text().splitlines():
        digest, _, file = line.partition("  ")
        found = folder / file
        if not found.exists() or files.sha256(str(found)) != digest:
            raise errors.UserError(
                f"{found} is missing or was changed; install tf_dvdgan again."
            )
    return str(folder)


def resolve(path: str) -> str:
    """Finds what a name stands for where a path is expected.

    Args:
      path: any path; or the name of a generator, or of a classifier such as
        "classifier_shapes16". Of the same name, a file, a run or a SavedModel in the
        current folder wins.

    Returns:
      The package's path for a name, else the path as it is.

    Raises:
      UserError: the files of the generator were changed.
    """
    own = (path, *(os.path.join(path, name) for name in _OF_MODELS))
    if os.path.basename(path) != path or any(map(os.path.isfile, own)):
        return path
    weights = _FOLDER / f"{path}{_WEIGHTS}"
    if weights.exists():
        return str(weights)
    return path_of(path) if path in names() else path


def is_place_of(directory: str, name: str) -> bool:
    """Tells the package's own directory of a generator from others.

    Args:
      directory: a directory, which need not exist.
      name: name of the generator; '' for none.

    Returns:
      Whether the directory is the package's for this name.
    """
    return bool(name) and os.path.abspath(directory) == str(_FOLDER / name)
