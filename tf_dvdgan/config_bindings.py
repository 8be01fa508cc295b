"""Networks of users in Gin configs: registers constructors, and binds them."""

import functools
import math
from collections.abc import Callable
from typing import Any, TypeVar

import gin
import numpy as np

from tf_dvdgan import config, errors
from tf_dvdgan.models import resolved

_CUSTOM = "custom"  # Gin's module of what users register
_Constructor = TypeVar("_Constructor", bound=Callable)


def register(constructor: _Constructor) -> _Constructor:
    """Registers a user-defined network, or a part of one, so that runs can store it.

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
    with config.isolated(), gin.config.interactive_mode():
        return gin.register(constructor, module=_CUSTOM)


def bind(parameter: str, value: Any) -> list[str]:
    """Returns Gin bindings that set a parameter.

    Args:
      parameter: such as "video_gan.build.generator".
      value: a number, text, a list, or a constructor: a registered class or function,
        or a `functools.partial` of it with keyword arguments. Arguments that it does
        not set keep the config's values for this constructor.

    Returns:
      The bindings.

    Raises:
      UserError: a constructor is not registered, or an argument cannot be stored.
    """
    bindings: list[str] = []

    def reference(constructor: Callable, scope: str) -> str:
        if not isinstance(constructor, functools.partial):
            return f"@{scope}/{resolved.name_of(constructor)}"
        name = resolved.name_of(constructor.func)
        if constructor.args:
            raise resolved.not_by_name(constructor)
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
        if isinstance(argument, np.generic):
            argument = argument.item()  # Gin does not read how NumPy 2 writes it
        is_plain = isinstance(argument, bool | int | float | str | None)
        if not is_plain or argument in (math.inf, -math.inf) or argument != argument:
            raise resolved.not_storable(argument)
        return repr(argument)

    text = literal(value, parameter.rpartition(".")[2])
    return [*bindings, f"{parameter} = {text}"]
