"""Gin configs: finds files, checks every name, and reads the configs of runs.

Layers, ops and losses do not depend on Gin; those that configs may use are registered
here. Models and training register themselves. All modules of `models` are imported, so
a new model needs no entry here.
"""

import contextlib
import copy
import functools
import importlib
import inspect
import math
import os
import pkgutil
import threading
import tokenize
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import gin
from gin import config_parser

from tf_dvdgan import errors, layers, losses, models, run_directory
from tf_dvdgan.data import filesystem, windows
from tf_dvdgan.models import resolved
from tf_dvdgan.training import optimizers, train  # noqa: F401, registers what they name

# Gin's global state.
_STATE = (
    "_CONFIG",
    "_IMPORTS",
    "_OPERATIVE_CONFIG",
    "_SINGLETONS",
    "_CONFIG_IS_LOCKED",
)
_lock = threading.RLock()
_CUSTOM = "custom"  # Gin's module of what users register
_Constructor = TypeVar("_Constructor", bound=Callable)
_SIZES = ("RESOLUTION", "NUM_FRAMES", "STRIDE", "BATCH_SIZE", "NUM_STEPS", "CH", "G_CH")
# Configurables of earlier versions, which configs may still contain. Gin writes the
# short names into a run's config, as in "watch.schedule".
_RETIRED = ("evaluation.Evaluator", "evaluation.watch", "Evaluator", "watch")
_RENAMED = {  # in the configs of older runs
    "train.accept_other_facts": "train.allow_config_mismatch",
    ".recompute =": ".gradient_checkpointing =",
    "Schedule.on_failed_save = 'go_on'": "Schedule.on_failed_save = 'continue'",
}

for _name in layers.__all__:
    gin.register(getattr(layers, _name), module="layers")
for _loss in (
    losses.hinge_generator_loss,
    losses.hinge_discriminator_loss,
    losses.cross_entropy_generator_loss,
    losses.cross_entropy_discriminator_loss,
    losses.relativistic_hinge_generator_loss,
    losses.relativistic_hinge_discriminator_loss,
    losses.OrthogonalRegularization,
):
    gin.register(_loss, module="losses")
gin.register(optimizers.adam, module="optimizers")
gin.register(optimizers.with_moving_average, module="optimizers")
gin.register(windows.Window, module="data")
for _module in pkgutil.iter_modules(models.__path__):
    importlib.import_module(f"{models.__name__}.{_module.name}")


def gin_directory() -> str:
    """Returns the folder of the Gin files that come with the package."""
    package = os.path.dirname(os.path.abspath(__file__))
    installed = os.path.join(package, "gin")
    checkout = os.path.join(os.path.dirname(package), "gin")
    return installed if os.path.isdir(installed) else checkout


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


def register(constructor: _Constructor) -> _Constructor:
    """Registers a network of one's own, or a part of one, so that runs can store it.

    A decorator of a class, or of a function that returns a Keras model. Gin configs and
    `model.json` name it "custom.NAME"; a process that opens such a run registers it
    first, by importing its module. Registered again, as in a notebook, it replaces the
    one before.

    Args:
      constructor: the class or function.

    Returns:
      The same, unchanged.

    Raises:
      UserError: it has no name, or tf_dvdgan has a part of this name.
    """
    name = getattr(constructor, "__name__", "")
    if not name.isidentifier():  # of a lambda or a partial
        raise errors.UserError(
            f"{constructor!r} has no name that a run could store: define a class or a "
            "function."
        )
    same = gin.config._REGISTRY.matching_selectors(name)
    if len(same) == 1 and not same[0].startswith(f"{_CUSTOM}."):
        raise errors.UserError(  # the short name in older configs would be ambiguous
            f"tf_dvdgan has {same[0]!r}: choose another name than {name!r}."
        )
    with isolated(), gin.config.interactive_mode():
        return gin.register(constructor, module=_CUSTOM)


def bind(parameter: str, value: Callable | list[Callable]) -> list[str]:
    """Returns Gin bindings that set a parameter to a constructor, or a list of them.

    Args:
      parameter: such as "video_gan.build.generator".
      value: one or several constructors: registered classes or functions, or
        `functools.partial` of these with keyword arguments. Arguments that it does not
        set keep the config's values for this constructor.

    Returns:
      The bindings.

    Raises:
      UserError: a constructor is not registered, or an argument cannot be stored.
    """
    bindings: list[str] = []

    def reference(constructor: Callable, scope: str) -> str:
        if not isinstance(constructor, functools.partial):
            return f"@{scope}/{_name_of(constructor)}"
        name = _name_of(constructor.func)
        if constructor.args:
            raise errors.UserError(f"Pass the arguments of {name} by name.")
        for key, argument in constructor.keywords.items():
            text = literal(argument, f"{scope}_{key}")
            bindings.append(f"{scope}/{name}.{key} = {text}")
        return f"@{scope}/{name}"

    def literal(argument: Any, scope: str) -> str:
        if callable(argument):
            return reference(argument, scope)
        if isinstance(argument, list | tuple):
            items = [literal(item, f"{scope}_{i}") for i, item in enumerate(argument)]
            listed = "".join(f"{item}, " for item in items)
            return f"[{listed}]" if isinstance(argument, list) else f"({listed})"
        if isinstance(argument, float):
            argument = float(argument)  # NumPy's are written otherwise
        is_plain = isinstance(argument, bool | int | float | str | None)
        if not is_plain or argument in (math.inf, -math.inf) or argument != argument:
            raise errors.UserError(
                f"A run cannot store {argument!r}: pass numbers, text, or registered "
                "classes and functions."
            )
        return repr(argument)

    text = literal(value, parameter.rpartition(".")[2])
    return [*bindings, f"{parameter} = {text}"]


def _name_of(constructor: Callable) -> str:
    """Returns the full name of a registered constructor."""
    name = resolved.selector_of(constructor)
    if name is None:
        raise errors.UserError(
            f"{getattr(constructor, '__name__', constructor)} is not registered, so a "
            "run could not store it: decorate it with `tf_dvdgan.register`."
        )
    return name


@contextlib.contextmanager
def _our_files() -> Iterator[None]:
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
      UserError: no file is given, a file is missing, or a name in a file or binding
        does not exist.
    """
    if not files and not of_run:
        raise errors.UserError("Name a config with `gin_file`, such as demo.gin.")
    gin.clear_config()
    checked = _Names()
    for file in files:
        checked.check_file(file)
    checked.check(of_run, "the run's config")
    for parameter in parameters:
        checked.check(parameter, f"{parameter.strip()!r}", must_be_used=True)
    checked.check_macros()
    try:
        with _our_files():
            gin.parse_config_files_and_bindings(
                list(files),
                [of_run, *parameters],
                finalize_config=False,
                skip_unknown=list(_RETIRED),
            )
        _check_sizes()
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
    text = directory.read_config()
    for old, new in _RENAMED.items():
        text = text.replace(old, new)
    # A run writes only bindings. Gin's imports load modules, and some make any function
    # configurable: somebody else's run could execute arbitrary code.
    for line in text.splitlines():
        words = line.split()
        if words and words[0] in ("import", "include", "from"):
            raise errors.UserError(
                f"{directory.config_path} contains {line.strip()!r}, which no run "
                "writes and which can run arbitrary code. Remove the line to use the "
                "config."
            )
    load([], parameters, text)


class _Names(config_parser.ParserDelegate):
    """Checks every name in a config before Gin parses it.

    Gin's own errors are meant for developers, and Gin accepts a misspelled macro as a
    new one, and any parameter of a function with **kwargs.
    """

    def __init__(self) -> None:
        self._references: list[str] = []  # in the current statement
        self._used: list[str] = []  # macros
        self._defined: set[str] = set()
        self._must_be_used: list[str] = []

    def configurable_reference(self, name: str, evaluate: bool) -> None:
        self._references.append(name.rpartition("/")[2])

    def macro(self, name: str) -> None:
        self._used.append(name)

    def check_file(self, file: str) -> None:
        """Checks a file and those that it includes.

        Raises:
          UserError: the file, or a name in it, does not exist.
        """
        self.check(_read(file), file)

    def check(self, text: str, where: str, must_be_used: bool = False) -> None:
        """Checks bindings.

        Args:
          text: the bindings.
          where: source of the bindings, for messages.
          must_be_used: whether an unused macro is an error.

        Raises:
          UserError: a name does not exist, or the text is not a Gin config.
        """
        try:
            for statement in config_parser.ConfigParser(text, self):
                place = f"{where}, line {statement.location.line_num}"
                self._check_statement(statement, place, must_be_used)
        except SyntaxError as error:
            raise errors.UserError(
                f"The Gin config cannot be used: {error.msg} ({where}, line "
                f"{error.lineno})."
            ) from None
        except tokenize.TokenError as error:
            raise errors.UserError(
                f"The Gin config cannot be used: {error.args[0]} ({where})."
            ) from None

    def _check_statement(self, statement: Any, place: str, must_be_used: bool) -> None:
        references, self._references = self._references, []
        if isinstance(statement, config_parser.ImportStatement):
            raise errors.UserError(
                f"A config may only contain bindings and includes, not "
                f"{statement.format()!r}: imports run code, and whoever samples a run "
                "loads its config. Add new models to tf_dvdgan/models."
            )
        if isinstance(statement, config_parser.IncludeStatement):
            self.check_file(statement.filename)
        elif isinstance(statement, config_parser.BlockDeclaration):
            _check_known(statement.selector, place)
        elif not statement.arg_name:
            self._defined.add(statement.selector)
            if must_be_used:
                self._must_be_used.append(statement.selector)
        elif statement.selector not in _RETIRED:
            owner = _check_known(statement.selector, place)
            known = _parameters(owner)
            if statement.arg_name not in known:
                raise errors.UserError(
                    f"{owner} has no parameter {statement.arg_name!r} ({place})."
                    + errors.did_you_mean(statement.arg_name, known)
                )
        if getattr(statement, "selector", None) not in _RETIRED:
            for name in references:
                resolved.check_part(_check_known(name, place), place)

    def check_macros(self) -> None:
        """Checks macros; call it after all other checks.

        Raises:
          UserError: a macro is used and not defined, or must be used and is not.
        """
        for name in self._used:
            if name not in self._defined:
                raise errors.UserError(
                    f"The config uses %{name}, which is not defined."
                    + errors.did_you_mean(name, self._defined)
                )
        for name in self._must_be_used:
            if name not in self._used:
                raise errors.UserError(
                    f"Nothing in the config uses {name!r}."
                    + errors.did_you_mean(name, self._used)
                )


def _read(file: str) -> str:
    """Returns the text of a file, given by its path or its name in the package."""
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


def _check_known(name: str, place: str) -> str:
    """Returns the full name of a configurable; a config may use the end of it."""
    registry = gin.config._REGISTRY
    if len(registry.matching_selectors(name)) != 1:
        known = [selector for selector, _ in registry.items()]
        short = name.split(".")[-1]
        near = errors.did_you_mean(name, known) or errors.did_you_mean(
            short, {selector.split(".")[-1] for selector in known}
        )
        raise errors.UserError(f"There is no configurable {name!r} ({place}).{near}")
    return registry.matching_selectors(name)[0]


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


def _parameters(owner: str) -> list[str]:
    """Returns the names of a configurable's explicit parameters."""
    signature = inspect.signature(gin.config._REGISTRY.get_match(owner).wrapped)
    explicit = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [p.name for p in signature.parameters.values() if p.kind in explicit]
