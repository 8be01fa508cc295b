"""Gin configs: loads files and the configs of runs.

Models and training register themselves, and `models.resolved` the layers and losses,
which do not depend on Gin. All modules of `models` are imported, so a new model needs
no entry here.
"""

import contextlib
import copy
import importlib
import os
import pkgutil
import threading
from collections.abc import Iterator, Sequence

import gin

from tf_dvdgan import config_files, config_names, errors, models, run_directory
from tf_dvdgan.training import (
    evaluation_plan,  # noqa: F401, registers itself
    train,  # noqa: F401, registers what it uses
)

# Gin's global state.
_STATE = (
    "_CONFIG",
    "_IMPORTS",
    "_OPERATIVE_CONFIG",
    "_SINGLETONS",
    "_CONFIG_IS_LOCKED",
)
_lock = threading.RLock()
_SIZES = ("RESOLUTION", "NUM_FRAMES", "STRIDE", "BATCH_SIZE", "NUM_STEPS", "CH", "G_CH")
_RENAMED = {  # in the configs of older runs
    "train.accept_other_facts": "train.allow_config_mismatch",
    ".recompute =": ".gradient_checkpointing =",
    "Schedule.on_failed_save = 'go_on'": "Schedule.on_failed_save = 'continue'",
}

for _module in pkgutil.iter_modules(models.__path__):
    importlib.import_module(f"{models.__name__}.{_module.name}")


@contextlib.contextmanager
def isolated() -> Iterator[None]:
    """Clears Gin's config within a context and restores it afterwards.

    Gin's config is global to the process; other threads wait until the context ends.
    Errors of users that pass through Gin or Keras leave the context in one line.
    """
    with _lock:
        before = {name: copy.copy(getattr(gin.config, name)) for name in _STATE}
        gin.clear_config()
        try:
            yield
        except errors.UserError as error:
            in_one_line = errors.in_one_line(error)
            if in_one_line is error:
                raise
            raise in_one_line from error
        finally:
            for name, value in before.items():
                setattr(gin.config, name, value)


def load(
    files: Sequence[str], parameters: Sequence[str] = (), of_run: str = ""
) -> None:
    """Parses Gin files and then single bindings; replaces Gin's previous config.

    The config is global to the process, unless this is called inside `isolated`.

    Args:
      files: paths, or names of files that come with the package.
      parameters: bindings such as 'trainer.build.seed = 3'.
      of_run: text of a run's config, instead of files; unlike parameters it may define
        unused macros.

    Raises:
      UserError: no file is given, a file is missing, a name in a file or binding does
        not exist, or no file has a model.
    """
    if not files and not of_run:
        raise errors.UserError("Name a config with `gin_file`, such as demo.gin.")
    gin.clear_config()
    checked = config_names.NameCheck()
    for file in files:
        checked.check_file(file)
    checked.check(of_run, "the run's config")
    for parameter in parameters:
        checked.check(parameter, f"{parameter.strip()!r}", must_be_used=True)
    checked.check_macros()
    try:
        with config_files.for_gin():
            gin.parse_config_files_and_bindings(
                list(files),
                [of_run, *parameters],
                finalize_config=False,
                skip_unknown=list(config_names.RETIRED),
            )
        _check_sizes()
        _check_model()
        gin.finalize()
    except errors.UserError:
        raise
    except Exception as error:  # Gin raises many types, some created dynamically
        first_line = str(error).strip().splitlines()[0]
        raise errors.UserError(f"The Gin config cannot be used: {first_line}") from None


def is_run(model_dir: str) -> bool:
    """Returns whether a run was started in a directory."""
    return run_directory.RunDirectory(model_dir).is_run


def load_run(model_dir: str, parameters: Sequence[str] = ()) -> None:
    """Parses the config that a run was started with.

    Args:
      model_dir: directory of the run.
      parameters: additional bindings.

    Raises:
      UserError: there is no run in the directory, or its config contains imports or
        includes.
    """
    directory = run_directory.RunDirectory(model_dir)
    if not directory.is_run:
        name = os.path.basename(directory.config_path)
        raise errors.UserError(
            f"{model_dir!r} is not a run's directory: it has no {name}."
        )
    if directory.is_without_gin:
        raise errors.UserError(
            f"The run in {model_dir!r} has no Gin config: resume it by the program "
            "that started it, with train.prepare."
        )
    text = directory.read_config()
    for old, new in _RENAMED.items():
        text = text.replace(old, new)
    # A run writes only bindings. Gin's imports load modules, and some make any function
    # configurable: an untrusted run could execute arbitrary code.
    for line in text.splitlines():
        words = line.split()
        if words and words[0] in ("import", "include", "from"):
            raise errors.UserError(
                f"{directory.config_path} contains {line.strip()!r}, which no run "
                "writes and which can run arbitrary code. Remove the line to use the "
                "config."
            )
    load([], parameters, text)


def _check_sizes() -> None:
    """Rejects sizes such as BATCH_SIZE = 0, with which TensorFlow fails much later."""
    for (name, selector), values in gin.config._CONFIG.items():
        if selector != "gin.macro" or name not in _SIZES:
            continue
        size = values["value"]
        is_plain = isinstance(size, int | float | str | None)  # not a reference
        if is_plain and not (isinstance(size, int) and size > 0):
            raise errors.UserError(
                f"{name} must be a whole number of at least 1, not {size!r}."
            )


def _check_model() -> None:
    """Rejects files that only change a model, such as small_data.gin alone."""
    bindings = gin.get_bindings("video_gan.build", resolve_references=False)
    if "window" not in bindings or "generator" not in bindings:
        raise errors.UserError(
            "The config has no model: name one first, such as "
            "`gin_file=models/dvdgan_v2.gin`."
        )
