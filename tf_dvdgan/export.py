"""Exports a trained generator: a SavedModel that needs only TensorFlow, or a small run.

The SavedModel contains standing statistics for a grid of truncations and interpolates
between them.
The signatures, for n videos:

- `generate`, also named `serving_default`: (count, label, truncation, seed), all
  scalars, to `videos`, the same as `tools.sample` generates from the seed. A label of
  -1 draws a random class for each video.
- `generate_from_latents`: (z `[n, latent]`, class_weights `[n, classes]`, truncation)
  to `videos`. Rows of class_weights are one-hot, or mix classes. The signature
  multiplies z by the truncation.
- `draw_latents`: (count, seed) to `z`.

Inputs out of range are errors, of which the message gives the range: a label, a
truncation outside the grid, a count below 1, latents or weights that are not finite.

`videos` are `[n, time, height, width, 3]` uint8. `generate_float` and
`generate_from_latents_float` return them as float32 in [-1, 1].

A model without classes takes neither label nor class_weights. A prediction model takes
`frames` `[n, conditioning_frames, height, width, 3]` uint8, which also replace count.
Assets: `class_names.txt`, one name per line; `generator.json`, the result of
`generators.describe`. `README.md` is the model's card. docs/serving.md has examples of
requests.
"""

import ast
import contextlib
import json
import os
import pathlib
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf

from tf_dvdgan import (
    errors,
    generators,
    pretrained,
    run_directory,
    terminal,
    trained,
)
from tf_dvdgan.data import files, filesystem, transforms
from tf_dvdgan.models import variables, video_gan
from tf_dvdgan.sampling import latents, sampler, standing_statistics

TRUNCATIONS = (0.0, 0.25, 0.5, 0.75, 1.0)
_GRAPH = "saved_model.pb"  # written last
_CARD = "README.md"
_IN_EXPORTED_RUN = (
    r"README\.md|SHA256SUMS|(frame_bank|generator)\.npz|scores\.jsonl"
    r"|(dataset|model)\.json|(config|operative_config-\d+)\.gin"
)
_STRING = r"""(?:'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*")"""  # in a Gin config
_SUFFIXES = "h5|hdf5|keras|np[yz]|pth?|pkl|mat|ckpt|pb|onnx|gin|json|ya?ml|csv|txt"
# They end the names of folders that are being written, and of those before.
_UNFINISHED, _REPLACED = ".unfinished", ".replaced"
_ASSETS = ("class_names.txt", generators.DESCRIPTION)
# Names in a SavedModel; of its folders, what names in them match.
_CONTENTS = {
    _GRAPH: "",
    "fingerprint.pb": "",
    _CARD: "",
    "variables": r"variables\.(index|data-\d+-of-\d+)",
    "assets": "|".join(map(re.escape, _ASSETS)),
}


def export(
    model: trained.TrainedModel,
    directory: str,
    truncations: Sequence[float] = TRUNCATIONS,
    num_batches: int = standing_statistics.NUM_BATCHES,
    batch_size: int = standing_statistics.BATCH_SIZE,
    card: str = "",
) -> None:
    """Writes a SavedModel, completely or not at all.

    Args:
      model: the trained model.
      directory: folder of the SavedModel.
      truncations: truncations to compute standing statistics for, in increasing order.
      num_batches: number of batches that statistics are averaged over.
      batch_size: size of these batches.
      card: text of `README.md`, see `model_card`; '' for none.

    Raises:
      UserError: the directory contains files that are not of a SavedModel, or
        TensorFlow cannot load one from a directory of this name.
    """
    files.check_name_for_checkpoints(directory)
    _check_replaceable(directory)
    with tempfile.TemporaryDirectory() as folder:
        assets = _write_assets(model, folder)
        statistics = _grid(model.gan, truncations, num_batches, batch_size)
        module = _ExportedGenerator(model.gan, assets, truncations, statistics)
        with _replacing(directory) as place:
            tf.saved_model.save(module, place, module.signatures(model.gan))
            if card:
                files.atomic_write(os.path.join(place, _CARD), card)


def export_run(
    model: trained.TrainedModel,
    model_dir: str,
    directory: str,
    card: str,
    **described: str,
) -> None:
    """Writes what sampling needs of a run, a directory that is a run's itself.

    It has the averaged weights of one step, the config, the classes and the scores of
    that step, but no optimizers, discriminators and events, and no paths of this
    machine: of files there are only names. It is much smaller than the run. It can be
    sampled, scored, exported and explored; training cannot resume.

    Args:
      model: the trained model.
      model_dir: directory of its run.
      directory: folder to write to: empty, or an earlier result.
      card: text of `README.md`, see `model_card`.
      **described: what the card says of the data: data_name, data_license.

    Raises:
      UserError: the folder has other files.
    """
    _check_exported_run(directory)
    source = run_directory.RunDirectory(model_dir)
    own = sampler.hashes_of_model(model.gan)["model"]
    with tempfile.TemporaryDirectory() as folder:
        target = run_directory.RunDirectory(folder)
        target.write_dataset(
            source.class_names, source.dataset, source.num_clips, **described
        )
        architecture = source.read_model()
        if architecture is not None:
            if origin := architecture.get("initialized_from"):
                origin["run"] = files.base_name(origin["run"])
            target.write_model(architecture)
        if model.gan.frame_bank is not None:
            target.write_frame_bank(model.gan.frame_bank)
        for row in source.read_scores():
            weights = run_directory.model_of(row)
            if row.get("step") == model.step and weights in (None, own):
                if "inputs" in row:
                    row["inputs"] = _without_folders(row["inputs"])
                run_directory.add_row(target.scores_file, row)
        arrays = variables.by_path(model.gan.generator)
        rounded = {n: variables.as_exported(v.numpy()) for n, v in arrays.items()}
        target.write_generator(rounded, model.step)
        files.atomic_write(os.path.join(folder, _CARD), card)
        target.write_config(_names_for_paths(source.read_config()))
        operative = _names_for_paths(source.read_operative_config(model.step))
        if operative:
            target.write_operative_config(0, operative)
        lines = []
        for path in sorted(pathlib.Path(folder).rglob("*")):
            if path.is_file():
                name = path.relative_to(folder).as_posix()
                lines.append(f"{files.sha256(str(path))}  {name}\n")
        (pathlib.Path(folder) / pretrained.SUMS).write_text("".join(lines))
        last = [run_directory.GENERATOR, pretrained.SUMS]
        with _replacing(directory, last, _check_exported_run) as place:
            files.copy_folder(folder, place, last)


def _names_for_paths(config: str) -> str:
    """Of paths in a config, such as that of a classifier, the names are enough.

    Args:
      config: a Gin config, of which Python can read the strings.

    Returns:
      The config with `files.base_name` of each string that is a path.
    """

    def named(found: re.Match) -> str:
        text = ast.literal_eval(f"({found[0]})")  # long ones are in several parts
        return repr(files.base_name(text)) if _is_path(text) else found[0]

    strings = rf"{_STRING}(\\?\s+{_STRING})*"
    bindings = re.split(r"^(?=\w)", config, flags=re.MULTILINE)
    return "".join(
        binding
        if re.match(r"\S*\bclasses\s*=", binding)  # any names
        else re.sub(strings, named, binding)
        for binding in bindings
    )


def _is_path(text: str) -> bool:
    """Whether a string of a config names a place, and not parts of a network."""
    is_rooted = text.startswith(("/", "~", "./", "../")) or "://" in text
    is_file = re.search(rf"/[^/*]*\.({_SUFFIXES})$", text)
    return bool((is_rooted or is_file) and files.base_name(text))


def _without_folders(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a score with the names of files for their paths.

    `scores.verify` takes the places; the run is this folder, wherever it is.
    """

    def named(value: Any) -> Any:
        if isinstance(value, list):
            return [named(one) for one in value]
        return files.base_name(value) if isinstance(value, str) else value

    paths = ("real", "weights", "mean", "lpips", "held_out", "generated")
    names = {key: named(inputs[key]) for key in paths if key in inputs}
    return {**inputs, **names, "model_dir": None}


def _check_is_no_file(directory: str) -> None:
    if filesystem.exists(directory) and not files.is_folder(directory):
        raise errors.UserError(f"{directory} is a file; name a folder to export to.")


def _check_exported_run(directory: str) -> None:
    """Checks that a folder holds at most what `export_run` wrote, maybe not all of it.

    Raises:
      UserError: it is a file, or holds other files.
    """
    _check_is_no_file(directory)
    names = set(files.list_dir(directory))
    listed = {pretrained.SUMS}
    if pretrained.SUMS in names:
        with filesystem.GFile(os.path.join(directory, pretrained.SUMS)) as file:
            listed |= {line.partition("  ")[2] for line in file.read().splitlines()}
    is_whole = run_directory.GENERATOR in listed and names <= listed
    # The card is the first that is written, and nothing that a run begins with.
    began = _CARD in names and (
        directory.endswith(_UNFINISHED)
        or (_must_stay(directory) and run_directory.GENERATOR not in names)
    )
    is_part = (began or directory.endswith(_REPLACED)) and all(
        re.fullmatch(_IN_EXPORTED_RUN, name.partition(".tmp")[0]) for name in names
    )
    if names and not (is_whole or is_part):
        raise errors.UserError(
            f"{directory} is not empty and is not an exported run; name another folder."
        )


def _write_assets(model: trained.TrainedModel, folder: str) -> dict[str, str]:
    """Writes the assets; returns their paths by attribute of the module."""
    names = [terminal.printable(name) for name in model.class_names]
    description = generators.describe(model) | {"class_names": names}
    assets = {
        "class_names": (_ASSETS[0], "".join(f"{name}\n" for name in names)),
        "description": (_ASSETS[1], json.dumps(description, indent=1)),
    }
    paths = {}
    for attribute, (name, text) in assets.items():
        paths[attribute] = os.path.join(folder, name)
        with open(paths[attribute], "w", encoding="utf-8") as file:
            file.write(text)
    return paths


def _check_replaceable(directory: str) -> None:
    """Checks that a directory contains at most a SavedModel, or an incomplete one.

    Raises:
      UserError: it is a file, or contains other files.
    """
    _check_is_no_file(directory)
    for name in files.list_dir(directory):
        inside = _CONTENTS.get(name.partition(".tmp")[0])
        if inside is None:
            raise _foreign(directory, name)
        place = os.path.join(directory, name)
        for part in files.list_dir(place) if inside else ():
            if not re.fullmatch(inside, part.partition(".tmp")[0]):
                raise _foreign(directory, os.path.join(name, part))


def _foreign(directory: str, name: str) -> errors.UserError:
    return errors.UserError(
        f"{directory} contains {name!r}, which is not part of a SavedModel; export to "
        "an empty folder."
    )


@contextlib.contextmanager
def _replacing(
    directory: str,
    last: Sequence[str] = (_GRAPH,),
    check: Callable[[str], None] = _check_replaceable,
) -> Iterator[str]:
    """Yields a folder to write an export to, which then replaces the directory.

    If the process is killed, there is a complete export or none. Object stores cannot
    rename folders, and those may be mounted or in a folder that cannot be written to;
    into such, files are copied: the first of the `last` ones, without which it is no
    export, is removed before, and they are written after all others.

    Args:
      directory: folder of the export.
      last: names of the files that mark an export as complete.
      check: checks that a folder may be replaced, complete or not.
    """
    if _must_stay(directory):
        earlier = {name.rstrip("/") for name in files.list_dir(directory)}
        mark = os.path.join(directory, last[0])
        if filesystem.exists(mark):
            filesystem.remove(mark)
        with tempfile.TemporaryDirectory() as folder:
            yield folder
            files.copy_folder(folder, directory, last)
            for name in earlier - set(os.listdir(folder)):
                filesystem.remove(os.path.join(directory, name))
        return
    directory = files.absolute(directory).rstrip("/")
    unfinished, replaced = directory + _UNFINISHED, directory + _REPLACED
    for leftover in (unfinished, replaced):
        check(leftover)
    if filesystem.exists(replaced) and not filesystem.exists(directory):
        filesystem.rename(replaced, directory)
    _remove(unfinished, replaced)
    yield unfinished
    if filesystem.exists(directory):
        filesystem.rename(directory, replaced)
    filesystem.rename(unfinished, directory)
    _remove(replaced)


def _must_stay(directory: str) -> bool:
    """Whether a folder cannot be renamed."""
    if files.is_object_store(directory):
        return True
    if files.is_remote(directory) or not os.path.isdir(directory):
        return False
    parent = os.path.dirname(os.path.abspath(directory))
    return os.path.ismount(directory) or not os.access(parent, os.W_OK)


def _remove(*folders: str) -> None:
    for folder in folders:
        if filesystem.exists(folder):
            filesystem.rmtree(folder)


class _ExportedGenerator(tf.Module):
    """The generator's variables and functions, without Keras objects."""

    def __init__(
        self,
        gan: video_gan.Networks,
        assets: dict[str, str],
        truncations: Sequence[float],
        statistics: list[tuple[tf.Variable, tf.Variable]],
    ):
        super().__init__(name="exported_generator")
        self.weights = list(gan.generator.variables)
        self.truncations = tf.constant(truncations, tf.float32)
        self.limits = (float(min(truncations)), float(max(truncations)))
        self.statistics = statistics
        self.class_names = tf.saved_model.Asset(assets["class_names"])
        self.description = tf.saved_model.Asset(assets["description"])

    def signatures(self, gan: video_gan.Networks) -> dict[str, Callable]:
        """Returns the signatures by name; all take keyword arguments."""
        num_classes = gan.generator.num_classes

        def from_latents(z, truncation, class_weights=None, frames=None):
            low, high = self.limits
            _check(
                (truncation >= low) & (truncation <= high),  # not a number is neither
                f"truncation must be from {low:g} to {high:g}",
            )
            for name, values in (("z", z), ("class_weights", class_weights)):
                if values is not None:
                    finite = tf.reduce_all(tf.math.is_finite(values))
                    _check(finite, f"{name} must be finite")
            statistics = self._statistics(truncation)
            return sampler.generate(
                gan, z, class_weights, truncation, frames, statistics
            )["videos"]

        def from_seed(seed, truncation, count=None, label=None, frames=None):
            count = tf.shape(frames)[0] if count is None else count
            _check(count > 0, "count must be at least 1")
            z = latents.draw(gan.latent, count, seed)
            weights = None
            if label is not None:
                _check(
                    (label >= -1) & (label < num_classes),
                    f"label must be from -1 to {num_classes - 1}",
                )
                drawn = latents.draw_labels(count, seed, num_classes)
                weights = tf.one_hot(tf.where(label < 0, drawn, label), num_classes)
            return from_latents(z, truncation, weights, frames)

        def draw_latents(count, seed):
            _check(count > 0, "count must be at least 1")
            return {"z": latents.draw(gan.latent, count, seed)}

        specs = _input_specs(gan)
        generate = _function(_as_uint8(from_seed), specs["seed"])
        return {
            "serving_default": generate,
            "generate": generate,
            "generate_float": _function(_as_float(from_seed), specs["seed"]),
            "generate_from_latents": _function(_as_uint8(from_latents), specs["z"]),
            "generate_from_latents_float": _function(
                _as_float(from_latents), specs["z"]
            ),
            "draw_latents": _function(draw_latents, specs["count"]),
        }

    def _statistics(self, truncation: tf.Tensor) -> list[tuple[tf.Tensor, tf.Tensor]]:
        """Interpolates the statistics of the two nearest truncations of the grid."""
        grid = self.truncations
        position = tf.reduce_sum(tf.cast(grid[1:-1] <= truncation, tf.int32))
        low, high = grid[position], grid[position + 1]
        weight = tf.clip_by_value((truncation - low) / (high - low), 0.0, 1.0)

        def between(values: tf.Tensor) -> tf.Tensor:
            return (1.0 - weight) * values[position] + weight * values[position + 1]

        return [
            (between(mean), between(variance)) for mean, variance in self.statistics
        ]


def _check(condition: tf.Tensor, rule: str) -> None:
    """Makes a signature fail with `rule` as its message if a condition is false."""
    tf.debugging.Assert(condition, [rule])


def _function(run: Callable, specs: dict[str, tf.TensorSpec]) -> Callable:
    return tf.function(run, autograph=False).get_concrete_function(**specs)


def _as_uint8(run: Callable) -> Callable:
    return lambda **inputs: {"videos": transforms.to_uint8(run(**inputs))}


def _as_float(run: Callable) -> Callable:
    return lambda **inputs: {"videos": run(**inputs)}


def _input_specs(gan: video_gan.Networks) -> dict[str, dict[str, tf.TensorSpec]]:
    """Returns the inputs of the functions of a seed, of latents, and of a count."""
    generator = gan.generator
    size, given = generator.resolution, generator.num_conditioning_frames
    shapes = {
        "count": ([], tf.int32),
        "label": ([], tf.int32),
        "seed": ([], tf.int32),
        "truncation": ([], tf.float32),
        "z": ([None, gan.latent.size], tf.float32),
        "class_weights": ([None, generator.num_classes], tf.float32),
        "frames": ([None, given, size, size, 3], tf.uint8),
    }
    count, frames = ([], ["frames"]) if given else (["count"], [])
    has_classes = generator.num_classes > 1
    label, class_weights = ["label"] * has_classes, ["class_weights"] * has_classes
    inputs = {
        "seed": [*count, *frames, *label, "truncation", "seed"],
        "z": ["z", *class_weights, *frames, "truncation"],
        "count": ["count", "seed"],
    }
    return {
        key: {name: tf.TensorSpec(*shapes[name], name) for name in names}
        for key, names in inputs.items()
    }


def _grid(
    gan: video_gan.Networks,
    truncations: Sequence[float],
    num_batches: int,
    batch_size: int,
) -> list[tuple[tf.Variable, tf.Variable]]:
    """Computes mean and variance of each layer, `[truncations, time, channels]`."""
    standing = standing_statistics.StandingStatistics(gan, batch_size)
    grid = [standing.compute(num_batches, truncation) for truncation in truncations]
    return [
        tuple(
            tf.Variable(tf.stack(values), trainable=False)
            for values in zip(*of_layer, strict=True)
        )
        for of_layer in zip(*grid, strict=True)
    ]
