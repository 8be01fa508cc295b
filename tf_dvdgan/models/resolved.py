"""Networks as data: class and arguments of every part, independent of Gin's config.

`resolve` converts the networks in the parsed Gin config to JSON types, with all macros
and defaults resolved; `build` creates the networks from them. A run stores them as
`model.json`, so it can be opened again even if defaults change in a later version.

Parts have their names in Gin, such as "dvd_gan.Generator", and only registered parts
are used: an untrusted file cannot run other code.
"""

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import gin
import tensorflow as tf

from tf_dvdgan import errors, version
from tf_dvdgan.data import windows
from tf_dvdgan.models import video_gan

FORMAT = 1

_BUILD = "video_gan.build"
# Registered functions that write files or build whole models. A config sets their
# arguments, but no value may call them: a config may be untrusted.
_ACTIONS = ("training.train", "trainer.build", _BUILD, "gin.singleton")
_RENAMED = {"recompute": "gradient_checkpointing"}  # arguments in models of older runs
_PLAIN = (bool, int, float, str, type(None))


def resolve() -> dict:
    """Returns the networks of the parsed Gin config as JSON types."""
    networks = _part(_BUILD, gin.get_bindings(_BUILD, resolve_references=False))
    return {
        "format": FORMAT,
        "version": version.__version__,
        "tensorflow": tf.__version__,
        "networks": networks,
    }


def build(model: Mapping[str, Any], class_names: Sequence[str]) -> video_gan.Networks:
    """Creates networks, without variables.

    Args:
      model: result of `resolve`.
      class_names: class names of the data.

    Returns:
      The networks.

    Raises:
      UserError: the model is damaged, from a later version, or contains unknown parts.
    """
    with _damage_as_user_error():
        arguments = {n: _decoded(value) for n, value in _arguments(model).items()}
        return inspect.unwrap(video_gan.build)(class_names, **arguments)


def build_with_weights(
    model: Mapping[str, Any], class_names: Sequence[str]
) -> video_gan.Networks:
    """Creates networks with initial weights.

    Args:
      model: result of `resolve`.
      class_names: class names of the data.

    Returns:
      The networks.

    Raises:
      UserError: the model is damaged, from a later version, or contains unknown parts.
    """
    with _damage_as_user_error():
        networks = build(model, class_names)
        networks.build()
    return networks


def window_of(model: Mapping[str, Any]) -> windows.Window:
    """Returns the window of the model's videos.

    Raises:
      UserError: the model is damaged, from a later version, or contains unknown parts.
    """
    with _damage_as_user_error():
        return _decoded(_arguments(model)["window"])


def check_part(selector: str, where: str) -> None:
    """Checks that a value in a config or a model may refer to something registered.

    Args:
      selector: full name of what is registered.
      where: the file, for the message.

    Raises:
      UserError: it is not a part of networks or of their training.
    """
    if selector in _ACTIONS:
        raise errors.UserError(
            f"{where} has a value that calls {selector}, which no run writes. Do not "
            "use the file: it may have been tampered with."
        )


def selector_of(part: Callable) -> str | None:
    """Returns the full name of a registered part; None if it is not registered."""
    for selector, registered in gin.config._REGISTRY.items():
        if part in (registered.wrapped, registered.wrapper):
            return selector
    return None


def _arguments(model: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the networks' encoded arguments, of a format that is known."""
    if model["format"] > FORMAT:
        raise errors.UserError(
            f"The run's model.json has format {model['format']} of tf_dvdgan "
            f"{model['version']}; version {version.__version__} reads formats up to "
            f"{FORMAT}."
        )
    return model["networks"]["arguments"]


@contextlib.contextmanager
def _damage_as_user_error() -> Iterator[None]:
    """Converts what parts raise for wrong arguments."""
    try:
        yield
    except errors.UserError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as e:
        raise errors.UserError(
            "The run's model.json is damaged, or from another version of tf_dvdgan "
            f"({e}). Remove it: the model is then built from config.gin."
        ) from e


class _Part:
    """A part with default arguments, which the arguments of a call override."""

    def __init__(self, target: Callable, arguments: Mapping[str, Any]):
        self._target = target
        self._arguments = arguments
        self._signature = inspect.signature(target)

    def __call__(self, *positional: Any, **named: Any) -> Any:
        # Keras may hide a layer's signature, which then is (*args, **kwargs).
        given = {*self._signature.bind_partial(*positional, **named).arguments, *named}
        named |= {n: v for n, v in self._arguments.items() if n not in given}
        return self._target(*positional, **named)


def _part(name: str, bindings: Mapping[str, Any], call: bool = False) -> dict:
    """Describes a registered part: its bindings, and all other parameters' defaults."""
    registered = gin.config._REGISTRY.get_match(name)
    values = {
        parameter.name: parameter.default
        for parameter in inspect.signature(registered.wrapped).parameters.values()
        if _is_recordable(parameter.default)
    }
    values = {n: v for n, v in values.items() if v is not gin.REQUIRED} | dict(bindings)
    arguments = {n: _encoded(v) for n, v in values.items() if _is_encodable(v)}
    return {"part": registered.selector, "arguments": arguments, "call": call}


def _is_recordable(default: Any) -> bool:
    """Whether a default is one, and no function that only its owner's code can find."""
    if default is inspect.Parameter.empty:
        return False
    return not callable(default) or selector_of(default) is not None


def _is_encodable(value: Any) -> bool:
    """Returns whether a value can be encoded; other defaults are omitted."""
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
        with gin.config_scope(value.scopes or gin.current_scope()):
            bindings = gin.get_bindings(value.selector, resolve_references=False)
            return _part(value.selector, bindings, value.evaluate)
    selector = selector_of(value)
    if selector is not None:  # a default: unbound
        return {"part": selector, "arguments": {}, "call": False}
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
        return _unregistered(value["python"])
    registered = gin.config._REGISTRY.get_match(value["part"])
    if registered is None:
        raise errors.UserError(
            f"The run's model.json contains {value['part']!r}, which tf_dvdgan "
            f"{version.__version__} does not have. If it is your own, first import the "
            "module that registers it."
        )
    check_part(registered.selector, "model.json")
    known = inspect.signature(registered.wrapped).parameters
    arguments = {
        name if name in known else _RENAMED.get(name, name): _decoded(argument)
        for name, argument in value["arguments"].items()
    }
    part = _Part(registered.wrapped, arguments)
    return part() if value["call"] else part


def _unregistered(name: str) -> Callable:
    """Returns a placeholder for a user's function, such as a loss.

    It fails if it is called; sampling does not call it.
    """

    def fail(*arguments: Any, **named: Any) -> tf.Tensor:
        raise errors.UserError(
            f"The run was trained with {name}, which is not stored with the run: pass "
            "it to compile again."
        )

    return fail
