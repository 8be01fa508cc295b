"""Models as data: class and arguments of every part, independent of Gin's config.

`resolve` converts networks and what trains them to JSON types, with the arguments of
constructors, the parsed Gin config, and all macros and defaults resolved; `build`
creates the networks from them. A run stores them as `model.json`, so it can be opened
again even if defaults change in a later version.

Parts have their names in Gin, such as "dvd_gan.Generator", and only registered parts
are used: an untrusted file cannot run other code. Models register themselves; layers,
losses and windows are registered here.
"""

import contextlib
import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import gin
import numpy as np
import tensorflow as tf

from tf_dvdgan import errors, layers, losses, version
from tf_dvdgan.data import windows
from tf_dvdgan.models import video_gan

FORMAT = 1

_BUILD = "video_gan.build"
# Registered functions that write files or build whole models. A config sets their
# arguments, but no value may call them: a config may be untrusted.
_ACTIONS = ("training.train", "trainer.build", _BUILD, "gin.singleton")
_RENAMED = {"recompute": "gradient_checkpointing"}  # arguments in models of older runs
_PLAIN = (bool, int, float, str, type(None))
# Arguments of `video_gan.build` that sampling does not call: they may be unregistered.
_ONLY_TRAINING = ("generator_loss", "discriminator_loss")

# These modules do not depend on Gin.
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
gin.register(windows.Window, module="data")


def resolve(
    networks: Callable[..., video_gan.Networks] = video_gan.from_config, **training: Any
) -> dict:
    """Returns networks, and what trains them, as JSON types.

    Args:
      networks: builds the networks: `video_gan.from_config`, whose arguments are those
        of the parsed Gin config, or a `functools.partial` of `video_gan.build`.
      **training: what trains them: a constructor that is registered in Gin, a partial
        of one, or an instance of a registered dataclass.

    Returns:
      The networks and the training, with the versions of the software.

    Raises:
      UserError: a network is not registered, or an argument cannot be stored.
    """
    described = _described(networks)
    for name, value in described["arguments"].items():
        if name not in _ONLY_TRAINING:
            _check_registered(value)
    return {
        "format": FORMAT,
        "version": version.__version__,
        "tensorflow": tf.__version__,
        "networks": described,
        "training": {
            name: _described(part) if callable(part) else _encoded(part)
            for name, part in training.items()
        },
    }


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Compares two results of `resolve`.

    Args:
      before: the earlier one.
      now: the later one.

    Returns:
      A text such as "trainer.build.seed is now 1 (was 0)" for each argument that both
      have with different values.

    Raises:
      UserError: the earlier one is damaged.
    """
    found: list[str] = []

    def compare(old: Any, new: Any, name: str) -> None:
        old, new = _listed(old), _listed(new)
        if _is_part(old) and _is_part(new) and old["part"] == new["part"]:
            for key in old["arguments"].keys() & new["arguments"].keys():
                values = old["arguments"][key], new["arguments"][key]
                compare(*values, f"{new['part']}.{key}")
        elif _are_parts(old) and _are_parts(new) and len(old) == len(new):
            for pair in zip(old, new, strict=True):
                compare(*pair, name)
        elif old != new:
            found.append(f"{name} is now {_short(new)} (was {_short(old)})")

    with _damage_as_user_error():
        _arguments(before).keys()
        compare(before["networks"], now["networks"], "networks")
        trained = before.get("training", {})  # not in runs of earlier versions
        for name in trained.keys() & now["training"].keys():
            compare(trained[name], now["training"][name], name)
    return sorted(set(found))


def _listed(value: Any) -> Any:
    """Returns a list for an encoded tuple: Gin's lists replace tuples of defaults."""
    return value["tuple"] if isinstance(value, dict) and "tuple" in value else value


def _is_part(value: Any) -> bool:
    return isinstance(value, dict) and "part" in value


def _are_parts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_part, value))


def _short(value: Any) -> str:
    """Returns an encoded value as a config has it, without arguments of parts."""
    match _listed(value):
        case {"part": name} | {"python": name}:
            return str(name)
        case list(items):
            return f"[{', '.join(map(_short, items))}]"
        case {"mapping": pairs}:
            items = [f"{_short(k)}: {_short(v)}" for k, v in pairs]
            return f"{{{', '.join(items)}}}"
    return repr(value)


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
        return video_gan.build(class_names, **arguments)


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


def name_of(constructor: Callable) -> str:
    """Returns the full name of a registered part, which a run can store.

    Args:
      constructor: the class or function.

    Raises:
      UserError: it is not registered.
    """
    name = selector_of(constructor)
    if name is None:
        raise _not_registered(getattr(constructor, "__name__", str(constructor)))
    return name


def not_storable(value: Any) -> errors.UserError:
    """Returns the error for an argument that is not data."""
    return errors.UserError(
        f"A run cannot store {value!r}: pass numbers, text, or registered classes and "
        "functions."
    )


def not_by_name(constructor: functools.partial) -> errors.UserError:
    """Returns the error for a partial with positional arguments."""
    return errors.UserError(
        f"Pass the arguments of {name_of(constructor.func)} by name."
    )


def _not_registered(name: str) -> errors.UserError:
    return errors.UserError(
        f"{name} is not registered, so a run could not store it: decorate it with "
        "`tf_dvdgan.register`."
    )


def _check_registered(value: Any) -> None:
    """Checks that an encoded value names only registered parts."""
    if isinstance(value, dict) and "python" in value:
        raise _not_registered(value["python"])
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            _check_registered(item)


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


def _described(constructor: Callable) -> dict:
    """Describes a registered constructor, or a partial of one."""
    given: Mapping[str, Any] = {}
    if isinstance(constructor, functools.partial):
        if constructor.args:
            raise not_by_name(constructor)
        given, constructor = constructor.keywords, constructor.func
    name = name_of(constructor)
    bindings: Mapping[str, Any] = {}
    if constructor is gin.config._REGISTRY.get_match(name).wrapper:  # reads Gin
        bindings = gin.get_bindings(name, resolve_references=False)
    return _part(name, {**bindings, **given})


def _part(name: str, bindings: Mapping[str, Any], call: bool = False) -> dict:
    """Describes a registered part: its bindings, and all other parameters' defaults."""
    registered = gin.config._REGISTRY.get_match(name)
    defaults = {
        parameter.name: parameter.default
        for parameter in inspect.signature(registered.wrapped).parameters.values()
        if _is_recordable(parameter.default)
    }
    arguments = {n: _encoded(v) for n, v in {**defaults, **bindings}.items()}
    return {"part": registered.selector, "arguments": arguments, "call": call}


def _is_recordable(default: Any) -> bool:
    """Whether a default is one that can be encoded.

    Functions that only their owner's code can find, such as a layer's default
    activation, cannot.
    """
    if default is inspect.Parameter.empty or default is gin.REQUIRED:
        return False
    if isinstance(default, dict):
        return all(map(_is_recordable, (*default, *default.values())))
    if isinstance(default, list | tuple):
        return all(map(_is_recordable, default))
    if callable(default):
        return selector_of(default) not in (None, *_ACTIONS)
    return isinstance(default, _PLAIN) or _is_instance(default)


def _is_instance(value: Any) -> bool:
    """Returns whether a value is an instance of a registered dataclass."""
    return dataclasses.is_dataclass(value) and selector_of(type(value)) is not None


def _encoded(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
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
    if callable(value) and selector_of(getattr(value, "func", value)) is not None:
        return _described(value)
    if _is_instance(value):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return _part(name_of(type(value)), fields, call=True)
    if not callable(value):
        raise not_storable(value)
    named = inspect.unwrap(value)
    named = inspect.unwrap(getattr(named, "func", named))  # of a partial
    name = getattr(named, "__qualname__", type(named).__qualname__)
    return {"python": f"{named.__module__}.{name}"}


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
