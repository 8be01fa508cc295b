"""What a user did wrong, in one sentence."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake of the user's; the message says what is wrong and what to do."""


class InvalidValueError(UserError, ValueError):
    """An argument that a layer, a model or a run cannot be made with.

    The message ends with what was received. Commands say that the config, which gave
    the value, cannot be used.
    """


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A suggestion to end a sentence with, or nothing if no known name is near."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""
