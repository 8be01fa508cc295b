"""Gin: finding files, strict parsing with suggestions, reading a run's config back.

Layers, ops and losses know nothing of Gin; what configs may name of them is registered
here. Models and training register their own; all modules of `models` are imported, so
that a new model needs no entry anywhere.
"""

import contextlib
import copy
import importlib
import inspect
import os
import pkgutil
import re
import threading
from collections.abc import Iterator, Sequence

import gin
import tensorflow as tf

from tf_dvdgan import errors, layers, losses, models
from tf_dvdgan.data import readers
from tf_dvdgan.evaluation import watch  # noqa: F401, registers what configs name
from tf_dvdgan.training import loop, optimizers

# What Gin keeps of a config.
_STATE = (
    "_CONFIG",
    "_IMPORTS",
    "_OPERATIVE_CONFIG",
    "_SINGLETONS",
    "_CONFIG_IS_LOCKED",
)
_lock = threading.RLock()
_SIZES = ("RESOLUTION", "NUM_FRAMES", "STRIDE", "BATCH_SIZE", "NUM_STEPS", "CH", "G_CH")

for _name in layers.__all__:
    gin.register(getattr(layers, _name), module="layers")
for _loss in (
    losses.hinge_generator_loss,
    losses.hinge_discriminator_loss,
    losses.cross_entropy_generator_loss,
    losses.cross_entropy_discriminator_loss,
    losses.OrthogonalRegularization,
):
    gin.register(_loss, module="losses")
gin.register(optimizers.adam, module="optimizers")
gin.register(optimizers.with_moving_average, module="optimizers")
gin.register(readers.Window, module="data")
for _module in pkgutil.iter_modules(models.__path__):
    importlib.import_module(f"{models.__name__}.{_module.name}")


def gin_directory() -> str:
    """Where the Gin files that come with the package lie."""
    package = os.path.dirname(os.path.abspath(__file__))
    installed = os.path.join(package, "gin")
    checkout = os.path.join(os.path.dirname(package), "gin")
    return installed if os.path.isdir(installed) else checkout


@contextlib.contextmanager
def isolated() -> Iterator[None]:
    """Inside, Gin holds a config of its own, at first none; after it, the one before.

    Gin keeps its config for the whole process. One thread at a time is inside.
    """
    with _lock:
        before = {name: copy.copy(getattr(gin.config, name)) for name in _STATE}
        gin.clear_config()
        try:
            yield
        finally:
            for name, value in before.items():
                setattr(gin.config, name, value)


@contextlib.contextmanager
def _our_files() -> Iterator[None]:
    """Inside, Gin looks for files in the package, too, and reads remote ones.

    Files alone: Gin's own reader takes the first folder of 'models/x.gin' for a Python
    package, and stumbles over any folder of that name.
    """
    readers, places = gin.config._FILE_READERS, gin.config._LOCATION_PREFIXES
    gin.config._FILE_READERS = [(tf.io.gfile.GFile, tf.io.gfile.exists)]
    gin.config._LOCATION_PREFIXES = [*places, gin_directory()]
    try:
        yield
    finally:
        gin.config._FILE_READERS, gin.config._LOCATION_PREFIXES = readers, places


def load(
    files: Sequence[str], parameters: Sequence[str] = (), of_run: str = ""
) -> None:
    """Parses Gin files and then single bindings, in place of what was parsed before.

    The config is the process's, unless this is called inside `isolated`.

    Args:
      files: looked for as given, then among the files of the package.
      parameters: bindings such as 'Trainer.seed = 3'.
      of_run: a config that a run wrote, instead of files; it may bind what
        nothing uses.

    Raises:
      UserError: a file is missing, or a name in it or in a binding does not exist.
    """
    gin.clear_config()
    for file in files:
        _check_exists(file)
    try:
        with _our_files():
            gin.parse_config_files_and_bindings(
                list(files), [of_run, *parameters], finalize_config=False
            )
        _check_macros(parameters)
        _check_imports()
        _check_parameters()
        _check_sizes()
        gin.finalize()
    except Exception as error:  # Gin raises all kinds, some made on the fly
        if isinstance(error, errors.UserError):
            raise
        raise errors.UserError(_sentence(error)) from None


def is_run(model_dir: str) -> bool:
    """Whether a run was started in a directory."""
    return tf.io.gfile.exists(os.path.join(model_dir, loop.CONFIG_FILE))


def load_run(model_dir: str, parameters: Sequence[str] = ()) -> None:
    """Parses the config that a run was started with.

    Raises:
      UserError: there is no run in the directory, or its config does more than bind.
    """
    if not is_run(model_dir):
        raise errors.UserError(
            f"{model_dir!r} is not a run's directory: it has no {loop.CONFIG_FILE}."
        )
    path = os.path.join(model_dir, loop.CONFIG_FILE)
    with tf.io.gfile.GFile(path) as file:
        text = file.read()
    # A run writes bindings alone. Gin's imports load modules, and some forms of them
    # make any function of any module configurable: a stranger's run could do anything.
    foreign = re.search(r"^\s*(import|include|from)\b.*$", text, re.MULTILINE)
    if foreign:
        raise errors.UserError(
            f"{path} has a line that no run writes, {foreign.group().strip()!r}: it "
            "could run code of others. Take the line out if you trust it."
        )
    load([], parameters, text)


def _check_exists(file: str) -> None:
    if tf.io.gfile.exists(file) or os.path.exists(os.path.join(gin_directory(), file)):
        return
    known = [
        os.path.relpath(os.path.join(parent, name), gin_directory())
        for parent, _, names in os.walk(gin_directory())
        for name in names
    ]
    raise errors.UserError(
        f"There is no Gin file {file!r}, neither here nor in {gin_directory()}."
        + errors.did_you_mean(file, known)
    )


def _check_macros(parameters: Sequence[str]) -> None:
    """Refuses a binding such as 'RESOLUTON = 64', which Gin takes for a new macro."""
    bindings = gin.config._CONFIG
    macros = {scope for scope, selector in bindings if selector == "gin.macro"}
    used = {
        reference.scoped_selector.split("/")[0]
        for reference in gin.config.iterate_references(bindings)
        if reference.selector == "gin.macro"
    }
    for parameter in parameters:
        for name in re.findall(r"^\s*(\w+)\s*=", parameter, re.MULTILINE):
            if name in macros - used:
                raise errors.UserError(
                    f"Nothing in the config uses {name!r}."
                    + errors.did_you_mean(name, used)
                )


def _check_imports() -> None:
    """Refuses at the start what sampling such a run would refuse; see `load_run`."""
    if gin.config._IMPORTS:
        line = sorted(statement.format() for statement in gin.config._IMPORTS)[0]
        raise errors.UserError(
            f"A config only binds and includes; it cannot have {line!r}, because a "
            "run's config is read by whoever samples it, and imports run code. Models "
            "are files of tf_dvdgan/models."
        )


def _check_parameters() -> None:
    """Refuses names that only a layer's **kwargs would take; Gin lets them pass."""
    for (_, selector), values in gin.config._CONFIG.items():
        if selector == "gin.macro":
            continue
        known = _parameters(selector)
        for name in values:
            if name not in known:
                raise errors.UserError(
                    f"{selector} has no parameter {name!r}."
                    + errors.did_you_mean(name, known)
                )


def _check_sizes() -> None:
    """Refuses sizes such as BATCH_SIZE = 0, on which TensorFlow stumbles much later."""
    for (name, selector), values in gin.config._CONFIG.items():
        if selector != "gin.macro" or name not in _SIZES:
            continue
        size = values["value"]
        is_plain = isinstance(size, int | float | str | None)  # no reference
        if is_plain and not (isinstance(size, int) and size > 0):
            raise errors.UserError(
                f"{name} is a whole number from 1 on, unlike {size!r}."
            )


def _sentence(error: Exception) -> str:
    """Gin's error as one sentence, with the right name where a name is wrong."""
    text = str(error).strip()
    place = re.search(r'In (?:bindings string|file "[^"]*"), line \d+', text)
    where = f" ({place.group()[0].lower()}{place.group()[1:]})" if place else ""
    unknown = re.search(r"No configurable matching (?:reference )?'@?([^'(]*)", text)
    if unknown:
        names = list(gin.config._REGISTRY._selector_map)
        short = unknown.group(1).split(".")[-1]
        near = errors.did_you_mean(unknown.group(1), names) or errors.did_you_mean(
            short, {name.split(".")[-1] for name in names}
        )
        return f"Gin knows nothing called {unknown.group(1)!r}{where}.{near}"
    parameter = re.search(
        r"Configurable '([^']*)' doesn't have a parameter named '([^']*)'", text
    )
    if parameter:
        owner, name = parameter.groups()
        near = errors.did_you_mean(name, _parameters(owner))
        return f"{owner} has no parameter {name!r}{where}.{near}"
    return f"The Gin config cannot be used: {text.splitlines()[0]}{where}."


def _parameters(owner: str) -> list[str]:
    """Names that a configurable's signature spells out."""
    signature = inspect.signature(gin.config._REGISTRY.get_match(owner).wrapped)
    explicit = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [p.name for p in signature.parameters.values() if p.kind in explicit]
