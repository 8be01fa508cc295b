"""Errors that are reported to the user in one sentence."""

import difflib
import errno
import os
import re
from collections.abc import Iterable
from typing import Any

# What TensorFlow's messages have before and around the reason.
_AROUND = ("Graph execution error", "Detected at node", "<stack traces", 'File "')
_NODES = re.compile(r"\{\{function_node .*?\}\}|\{\{node .*?\}\}|\[Op:\w+\]| name: $")
_ASSERTION = re.compile(r"assertion failed: \[(.*?)\].*")


class UserError(Exception):
    """A mistake by the user; the message says what is wrong and what to do.

    Arguments are in backticks, as in `step` or `step=3`; a command prints those that
    are its flags as --step and --step=3.
    """


class InvalidValueError(UserError, ValueError):
    """An invalid argument of a layer, a model or a run.

    The message ends with the value received. Commands report that the config, where
    the value comes from, cannot be used.
    """


def in_one_line(error: UserError) -> UserError:
    """Returns an error without the lines that Gin and Keras add to its message.

    Args:
      error: the error, as it was caught.

    Returns:
      The same, or a new one of the same kind if its message has several lines.
    """
    lines = str(error).splitlines()
    if len(lines) < 2:
        return error
    if isinstance(error, InvalidValueError):
        received = [line.strip() for line in lines if "Received: " in line]
        return InvalidValueError((received or lines)[0])
    return UserError(lines[0])


def check_creates(name: str, value: Any) -> None:
    """Checks that an argument is not a part itself, where what creates it is needed.

    Args:
      name: name of the argument.
      value: the argument.

    Raises:
      InvalidValueError: it is a layer, a network or another part itself.
    """
    if hasattr(type(value), "with_name_scope"):  # a tf.Module, which may be callable
        raise InvalidValueError(
            f"{name} must create a part, as @A without parentheses does. Received: "
            f"{value!r}"
        )


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Suggests a known name for a misspelled one.

    Args:
      name: the unknown name.
      known: all valid names.

    Returns:
      A sentence to append to an error message; empty if no name is similar.
    """
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def reason_of(error: Exception) -> str:
    """Returns the reason in a TensorFlow error, without the names of its operations.

    Args:
      error: of TensorFlow, whose message may name nodes, stacks and an assertion.

    Returns:
      One line.
    """
    text = getattr(error, "message", None) or str(error)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    reason = next((line for line in lines if not line.startswith(_AROUND)), "")
    return _ASSERTION.sub(r"\1", _NODES.sub("", reason)).strip() or type(error).__name__


def is_full_disk(error: BaseException) -> bool:
    """Returns whether an error says that a disk or a quota is full.

    TensorFlow's and Beam's errors have only the system's text.
    """
    texts = map(os.strerror, (errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
    return any(text in str(error) for text in texts)
