"""Checks the names in Gin configs, and suggests the right ones."""

import inspect
import tokenize
from typing import Any

import gin
from gin import config_parser

from tf_dvdgan import config_files, errors
from tf_dvdgan.models import resolved

# Configurables of earlier versions, which configs may still contain. Gin writes the
# short names into a run's config, as in "watch.schedule".
RETIRED = ("evaluation.Evaluator", "evaluation.watch", "Evaluator", "watch")


class NameCheck(config_parser.ParserDelegate):
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
        """Notes a reference; called by Gin's parser.

        Args:
          name: name of the configurable, with its scope.
          evaluate: unused.
        """
        self._references.append(name.rpartition("/")[2])

    def macro(self, name: str) -> None:
        """Notes a macro that is used; called by Gin's parser."""
        self._used.append(name)

    def check_file(self, file: str) -> None:
        """Checks a file and those that it includes.

        Raises:
          UserError: the file, or a name in it, does not exist.
        """
        self.check(config_files.read(file), file)

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
        except (RecursionError, MemoryError):  # the latter is how Python refuses it
            raise errors.UserError(
                f"The Gin config cannot be used: it is too deeply nested ({where})."
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
        elif statement.selector not in RETIRED:
            owner = _check_known(statement.selector, place)
            known = _parameters(owner)
            if statement.arg_name not in known:
                raise errors.UserError(
                    f"{owner} has no parameter {statement.arg_name!r} ({place})."
                    + errors.did_you_mean(statement.arg_name, known)
                )
        if getattr(statement, "selector", None) not in RETIRED:
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


def _parameters(owner: str) -> list[str]:
    """Returns the names of a configurable's explicit parameters."""
    signature = inspect.signature(gin.config._REGISTRY.get_match(owner).wrapped)
    explicit = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [p.name for p in signature.parameters.values() if p.kind in explicit]
