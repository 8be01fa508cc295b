"""Arguments of `Scorer`: their types, and which apply to what is scored."""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np
import tensorflow as tf

from tf_dvdgan import errors
from tf_dvdgan.evaluation.runs import protocols

# Arguments of `Scorer` that only apply to folders; a model has its own.
OF_FOLDERS = ("num_frames", "stride", "resolution")
CACHE_DIR = os.path.join("~", ".cache", "tf_dvdgan")


@dataclasses.dataclass(frozen=True)
class Changes:
    """Changes to a protocol; None keeps the protocol's value.

    Attributes:
      num_generated: number of generated videos.
      num_real: maximum number of real clips.
      num_repeats: number of times a model is sampled.
    """

    num_generated: int | None = None
    num_real: int | None = None
    num_repeats: int | None = None

    def of(self, name: str) -> protocols.Protocol:
        """Returns the protocol with a name, with the changes that apply to it.

        Raises:
          UserError: there is no such protocol.
        """
        protocol = protocols.get(name)
        unused = protocol.unused_counts
        changed: dict[str, Any] = {
            name: value for name, value in self.given.items() if name not in unused
        }
        return dataclasses.replace(protocol, **changed)

    @property
    def given(self) -> dict[str, int]:
        """The changes by name."""
        given = {n: v for n, v in vars(self).items() if v is not None}
        # NumPy's are Python's for JSON.
        return {
            n: v.item() if isinstance(v, np.generic) else v for n, v in given.items()
        }


class Computation(TypedDict, total=False):
    """Arguments of `Scorer` that do not determine the score, but how it is computed."""

    num_resamples: int
    batch_size: int
    cache_dir: str
    strategy: tf.distribute.Strategy | None


class Options(Computation, total=False):
    """Optional arguments of `Scorer`, which describes them; all but `changes`."""

    mean: str | None
    lpips: Sequence[str] | None
    split: str | None
    held_out: str | None
    held_out_split: str | None
    num_frames: int | None
    stride: int | None
    resolution: int | None


def check(
    is_model: bool,
    *,
    num_repeats: int | None = None,
    lpips: Sequence[str] | None = None,
    num_frames: int | None = None,
    stride: int | None = None,
    resolution: int | None = None,
) -> None:
    """Checks that arguments of `Scorer` apply to what is scored.

    Args:
      is_model: whether it is a model, not a folder.
      num_repeats: as in `Changes`.
      lpips: as in `Scorer`.
      num_frames: as in `Scorer`.
      stride: as in `Scorer`.
      resolution: as in `Scorer`.

    Raises:
      UserError: an argument does not apply.
    """
    unused: dict[str, Any] = {"num_repeats": num_repeats, "lpips": lpips}
    own, other = "folder", "model"
    if is_model:
        own, other = "model", "folder"
        unused = {"num_frames": num_frames, "stride": stride, "resolution": resolution}
    for name, value in unused.items():
        if value is not None:
            raise errors.UserError(
                f"`{name}` is for the score of a {other}, not of a {own}."
            )
    if lpips is not None and len(lpips) != 2:
        raise errors.UserError("`lpips` must be two files: backbone, linear layers.")


def check_all(
    names: Sequence[str],
    is_model: bool,
    truncations: Sequence[float],
    changes: Changes,
    options: Options,
) -> None:
    """Checks what `Scorer` checks for all scores, before a model is loaded.

    Args:
      names: names of the protocols.
      is_model: whether a model is scored, not a folder.
      truncations: factors of a model's latents.
      changes: changes to the protocols.
      options: as in `Scorer`.

    Raises:
      UserError: there is no such protocol, a number is out of range, or an argument
        does not apply.
    """
    check(
        is_model,
        num_repeats=changes.num_repeats,
        lpips=options.get("lpips"),
        num_frames=options.get("num_frames"),
        stride=options.get("stride"),
        resolution=options.get("resolution"),
    )
    counts = {**changes.given, "num_resamples": options.get("num_resamples", 0)}
    for argument, count in counts.items():
        least = 0 if argument == "num_resamples" else 1
        is_whole = isinstance(count, int | np.integer) and not isinstance(count, bool)
        if not is_whole or count < least:
            raise errors.UserError(
                f"`{argument}` must be a whole number of at least {least}, "
                f"not {count!r}."
            )
    if not truncations or not all(0 <= t <= 1 for t in truncations):
        listed = ",".join(f"{t:g}" for t in truncations)
        raise errors.UserError(
            f"`truncations` must be numbers from 0 to 1, not {listed!r}."
        )
    if not all(isinstance(name, str) for name in names):
        raise errors.UserError(f"A protocol is named by a text; received: {names!r}.")
    selected = [changes.of(name) for name in names]
    for argument in changes.given:
        if selected and all(argument in p.unused_counts for p in selected):
            raise errors.UserError(
                f"`{argument}` does not apply to {', '.join(names)}: omit it."
            )
    for protocol in selected:
        for truncation in truncations:
            check_protocol(protocol, is_model, truncation)
    if options.get("lpips") and all(p.metric != protocols.PREDICTION for p in selected):
        raise errors.UserError("`lpips` is for `protocol=prediction`.")


def check_protocol(
    protocol: protocols.Protocol, is_model: bool, truncation: float
) -> None:
    """Checks that a protocol applies to what is scored.

    Args:
      protocol: the protocol.
      is_model: whether a model is scored, not a folder.
      truncation: factor of a model's latents.

    Raises:
      UserError: the protocol needs a model, or the truncation does not apply.
    """
    if protocol.needs_model and not is_model:
        raise errors.UserError(
            f"{protocol.name} scores a model, not a folder of videos."
        )
    if truncation != 1.0 and not is_model:
        raise errors.UserError(
            "A truncation is for the score of a model, not a folder."
        )
    if truncation != 1.0 and protocol.needs_model:
        raise errors.UserError(f"{protocol.name} is defined only for truncation 1.")
