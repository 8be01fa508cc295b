"""Starts a run from the weights of another one.

The other run may have other classes or another resolution. Variables are matched by
path and shape. If a network has other numbers of blocks, they are matched from the
first or from the last one, whichever copies more. All other variables keep their
initial values.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from tf_dvdgan import errors, pretrained, run_directory, terminal
from tf_dvdgan.data import files
from tf_dvdgan.layers import spectral_norm
from tf_dvdgan.models import resolved, variables, video_gan
from tf_dvdgan.training import checkpoints

_LEAST = 0.1  # of a network's values must match
# The first numbered part of a path, "stage_0/..." or "conditioned/stage_0/...".
_BLOCK = re.compile(r"((?:[^/]+/)*?[^/]*[a-z])_(\d+)/")


def initialize(
    networks: video_gan.Networks,
    class_names: Sequence[str],
    model_dir: str,
    step: int | str | None = None,
    frozen: Sequence[tf.Variable] = (),
    verbose: bool = True,
) -> dict:
    """Gives networks the weights of another run, as far as they match.

    Args:
      networks: the networks of the new run, with their variables.
      class_names: its class names. Embeddings are copied class by class, by name.
      model_dir: directory of the other run.
      step: step of its checkpoint, or 'best'; the newest by default.
      frozen: variables of the discriminators that are not trained.
      verbose: whether to print what was copied.

    Returns:
      A record for the new run: 'run', 'step', 'classes' that both have, and for each
      network how many of its values were 'copied' of 'all'.

    Raises:
      UserError: it is not a run, hardly anything of a network matches, or a frozen
        variable would keep initial values.
    """
    source, old_names = _build(model_dir)
    old = {"generator": source.generator, **{d.name: d for d in source.discriminators}}
    own = {"generator": networks.generator}
    own |= {d.name: d for d in networks.discriminators if d.name in old}
    old = {name: old[name] for name in own}
    found = checkpoints.restore_networks(model_dir, old, step)
    both_have_classes = networks.class_conditional and source.class_conditional
    rows = {
        class_names.index(name): old_names.index(name)
        for name in class_names
        if both_have_classes and name in old_names
    }
    counts, kept = {}, {id(variable): variable for variable in frozen}
    for name, network in own.items():
        copied, total, complete = _copy(network, old[name], rows)
        for variable in complete:
            kept.pop(id(variable), None)
        if copied < _LEAST * total:
            raise errors.UserError(
                f"Only {100 * copied / total:.0f} % of the {name} match that of "
                f"{model_dir!r}: another width, architecture or resolution."
            )
        counts[name] = {"copied": copied, "all": total}
    for variable in kept.values():
        raise errors.UserError(
            f"trainer.build.frozen matches {variable.name.removesuffix(':0')!r}, which "
            f"{model_dir!r} does not have in the same form: frozen, it would keep its "
            "random initial values. Freeze only layers that are copied."
        )
    shares = ", ".join(
        f"{name} {100 * c['copied'] / c['all']:.0f} %" for name, c in counts.items()
    )
    said = f"Starting from step {found} of {model_dir}: {shares} of the values"
    if both_have_classes:
        said += f"; {len(rows)} of {len(class_names)} classes are the same"
    if verbose:
        terminal.say(said)
    return {
        "run": model_dir,
        "step": found,
        "classes": [class_names[i] for i in rows],
        "networks": counts,
    }


def _build(model_dir: str) -> tuple[video_gan.Networks, list[str]]:
    """Builds the networks of another run; returns them and its class names."""
    model_dir = pretrained.resolve(model_dir)
    files.register_filesystems(model_dir)
    directory = run_directory.RunDirectory(model_dir)
    if directory.is_exported:
        raise errors.UserError(
            f"{model_dir!r} is an exported run, which has no discriminators to start "
            "from: name the run it is of."
        )
    model = directory.read_model()
    if model is None:
        raise errors.UserError(
            f"{model_dir!r} has no model.json: name the directory of a run of this "
            "version, or resume its own run once, which writes it."
        )
    names = directory.class_names
    return resolved.build_with_weights(model, names), names


def _copy(
    network: tf.keras.Model, old: tf.keras.Model, rows: Mapping[int, int]
) -> tuple[int, int, list[tf.Variable]]:
    """Copies what matches.

    Returns:
      The number of copied values and of all, and the variables that have no initial
      value left.
    """
    target = variables.by_path(network)
    source = {path: v.numpy() for path, v in variables.by_path(old).items()}
    embeddings = {
        id(layer.kernel)
        for layer in network.submodules
        if isinstance(layer, spectral_norm.SpectralEmbedding)
    }
    before, now = _num_blocks(source), _num_blocks(target)
    shifts = {name: now[name] - before[name] for name in before if name in now}
    found: dict[str, np.ndarray] = {}
    incomplete: set[str] = set()
    for aligned in (source, {_shifted(p, shifts): v for p, v in source.items()}):
        matches, partly = {}, set()
        for path, variable in target.items():
            value = aligned.get(path)
            if value is None:
                continue
            if id(variable) in embeddings and value.shape[1:] == variable.shape[1:]:
                value, is_whole = _by_class(variable.numpy(), value, rows)
                partly |= set() if is_whole else {path}
            if value.shape == tuple(variable.shape):
                matches[path] = value
        if _size(matches) > _size(found):
            found, incomplete = matches, partly
    complete = []
    for path, value in found.items():
        target[path].assign(value)
        if path not in incomplete:
            complete.append(target[path])
    total = sum(int(np.prod(v.shape)) for v in target.values())
    return _size(found), total, complete


def _by_class(
    initial: np.ndarray, source: np.ndarray, rows: Mapping[int, int]
) -> tuple[np.ndarray, bool]:
    """Rows of the classes that both have; the others keep their initial values.

    Returns:
      The rows, and whether all are copied.
    """
    if len(initial) == len(source) == 1:
        return source, True  # without classes
    result = initial.copy()
    if 1 in (len(initial), len(source)):  # only one of them has classes
        return result, False
    for new, old in rows.items():
        result[new] = source[old]
    return result, len(rows) == len(result)


def _size(values: Mapping[str, np.ndarray]) -> int:
    return sum(value.size for value in values.values())


def _num_blocks(paths: Iterable[str]) -> dict[str, int]:
    """The number of blocks of each name, such as "stage" or "conditioned/stage"."""
    counts: dict[str, int] = {}
    for path in paths:
        if match := _BLOCK.match(path):
            counts[match[1]] = max(counts.get(match[1], 0), int(match[2]) + 1)
    return counts


def _shifted(path: str, shifts: Mapping[str, int]) -> str:
    """Adds to the number of a path's block, "stage_0/stage_0_block_1/..."."""
    match = _BLOCK.match(path)
    if not match:
        return path
    name, number = match[1].rpartition("/")[2], int(match[2])
    old, new = f"{name}_{number}", f"{name}_{number + shifts.get(match[1], 0)}"
    return re.sub(rf"(?<![a-z]){old}(?!\d)", new, path)
