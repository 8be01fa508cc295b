"""Networks as data: class and arguments of every part, without Gin.

`resolve` writes what a parsed Gin config says of the networks, macros and defaults
resolved, as JSON's types; `build` makes the networks of it. A run keeps it as
`model.json`: it can be reopened whatever defaults a later version has.

Parts are named as in Gin, such as "dvd_gan.Generator", and looked up among the
registered ones: a stranger's file runs nothing else.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gin
import tensorflow as tf

from tf_dvdgan import errors, version
from tf_dvdgan.data import windows
from tf_dvdgan.models import video_gan

FORMAT = 1

_BUILD = "video_gan.build"
_PLAIN = (bool, int, float, str, type(None))


def resolve() -> dict:
    """The networks of the parsed Gin config, as JSON's types."""
    networks = _part(_BUILD, gin.get_bindings(_BUILD, resolve_references=False))
    return {"format": FORMAT, "version": version.__version__, "networks": networks}


def build(model: Mapping[str, Any], class_names: Sequence[str]) -> video_gan.Networks:
    """Makes networks, without their variables.

    Args:
      model: of `resolve`.
      class_names: of the data.

    Returns:
      The networks.

    Raises:
      UserError: the file is of a later version, or names unknown parts.
    """
    arguments = _arguments(model)
    return inspect.unwrap(video_gan.build)(class_names, **arguments)


def window_of(model: Mapping[str, Any]) -> windows.Window:
    """The window of the model's videos.

    Raises:
      UserError: see `build`.
    """
    return _arguments(model)["window"]


def _arguments(model: Mapping[str, Any]) -> dict[str, Any]:
    if model["format"] > FORMAT:
        raise errors.UserError(
            f"The run's model.json has format {model['format']}, of tf_dvdgan "
            f"{model['version']}; this is {version.__version__}, which reads format "
            f"{FORMAT}."
        )
    arguments = model["networks"]["arguments"]
    return {name: _decoded(value) for name, value in arguments.items()}


class _Part:
    """A part with its arguments; those that a caller gives come first."""

    def __init__(self, target: Callable, arguments: Mapping[str, Any]):
        self._target = target
        self._arguments = arguments
        self._signature = inspect.signature(target)

    def __call__(self, *positional: Any, **named: Any) -> Any:
        given = self._signature.bind_partial(*positional, **named).arguments
        named |= {n: v for n, v in self._arguments.items() if n not in given}
        return self._target(*positional, **named)


def _part(name: str, bindings: Mapping[str, Any], call: bool = False) -> dict:
    """A registered part: its bindings, and the defaults of all other parameters."""
    registered = gin.config._REGISTRY.get_match(name)
    values = {
        parameter.name: parameter.default
        for parameter in inspect.signature(registered.wrapped).parameters.values()
        if parameter.default is not inspect.Parameter.empty
    }
    values = {n: v for n, v in values.items() if v is not gin.REQUIRED} | dict(bindings)
    arguments = {n: _encoded(v) for n, v in values.items() if _is_known(v)}
    return {"part": registered.selector, "arguments": arguments, "call": call}


def _is_known(value: Any) -> bool:
    """Whether a value can be written; a default that cannot is not."""
    containers = (list, tuple, dict, gin.config.ConfigurableReference)
    return isinstance(value, (*_PLAIN, *containers)) or callable(value)


def _encoded(value: Any) -> Any:
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, list):
        return [_encoded(item) for item in value]
    if isinstance(value, tuple):
        return {"tuple": [_encoded(item) for item in value]}
    if isinstance(value, dict):
        return {"mapping": [[_encoded(k), _encoded(v)] for k, v in value.items()]}
    if isinstance(value, gin.config.ConfigurableReference):
        if value.selector == "gin.macro":
            return _encoded(gin.query_parameter(f"%{value.scoped_selector[:-10]}"))
        bindings = gin.get_bindings(value.selector, resolve_references=False)
        return _part(value.selector, bindings, value.evaluate)
    for _, registered in gin.config._REGISTRY.items():
        if value in (registered.wrapped, registered.wrapper):  # a default: unbound
            return {"part": registered.selector, "arguments": {}, "call": False}
    return {"python": f"{value.__module__}.{value.__qualname__}"}


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return [_decoded(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "tuple" in value:
        return tuple(_decoded(item) for item in value["tuple"])
    if "mapping" in value:
        return {_decoded(k): _decoded(v) for k, v in value["mapping"]}
    if "python" in value:
        return _not_registered(value["python"])
    registered = gin.config._REGISTRY.get_match(value["part"])
    if registered is None:
        raise errors.UserError(
            f"The run's model.json names {value['part']!r}, which tf_dvdgan "
            f"{version.__version__} does not have."
        )
    arguments = {name: _decoded(v) for name, v in value["arguments"].items()}
    part = _Part(registered.wrapped, arguments)
    return part() if value["call"] else part


def _not_registered(name: str) -> Callable:
    """Stands for a user's own function, such as a loss; sampling does not call it."""

    def refuse(*arguments: Any, **named: Any) -> tf.Tensor:
        raise errors.UserError(
            f"The run was trained with {name}, which its files do not hold: give it to "
            "compile again."
        )

    return refuse
