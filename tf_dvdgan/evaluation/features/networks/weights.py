"""Weights of the feature networks: converts published weights to a file with a hash.

`convert` reads TensorFlow checkpoints, SavedModels, Keras h5, PyTorch state dicts and
npz, in any naming in the network's `FORMATS`. It writes a Keras weights file, readable
by the network's `load_weights`, with metadata in its attributes. The hash covers only
names, shapes and values, so the same weights have the same hash whatever their source
format.
"""

import dataclasses
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence

import h5py
import numpy as np
import tensorflow as tf

from tf_dvdgan import array_files, errors, pretrained
from tf_dvdgan.data import files
from tf_dvdgan.evaluation.features import networks
from tf_dvdgan.evaluation.features.networks import weight_formats
from tf_dvdgan.models import variables

SUFFIX = ".weights.h5"  # Keras detects the format by it

Arrays = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class WeightsMetadata:
    """Metadata of a weights file.

    Attributes:
      network: a key of `networks.NETWORKS`.
      num_classes: number of logits.
      source: where the weights come from.
      hash: hexadecimal SHA-256 of names, shapes and values.
      class_names: in the order of the logits; empty if unknown.
    """

    network: str
    num_classes: int
    source: str
    hash: str
    class_names: tuple[str, ...] = ()


def convert(
    source: str, network_name: str, output: str, note: str = ""
) -> WeightsMetadata:
    """Converts published weights to a weights file.

    Args:
      source: prefix or folder of a checkpoint, folder of a SavedModel, or a file.
      network_name: a key of `networks.NETWORKS`.
      output: file to write; ends in ".weights.h5".
      note: on the origin of the weights, stored with the source's base name.

    Returns:
      The metadata of the file written.

    Raises:
      UserError: the source cannot be read or holds weights of another network, or
        `output` cannot be written.
    """
    _network_class(network_name)
    check_output(output)
    arrays = _convert_names(weight_formats.read(source), network_name, source)
    origin = files.base_name(source)
    if note:
        origin = f"{origin} ({note})"
    return save(network_name, arrays, output, origin)


def save(
    network_name: str,
    arrays: Arrays,
    output: str,
    source: str,
    class_names: Sequence[str] = (),
) -> WeightsMetadata:
    """Writes a weights file.

    Args:
      network_name: a key of `networks.NETWORKS`.
      arrays: values of all variables, with names as in `models.variables.by_path`.
      output: file to write; ends in ".weights.h5".
      source: where the weights come from.
      class_names: in the order of the logits, if known.

    Returns:
      The metadata of the file written.

    Raises:
      UserError: an array is missing or has a wrong shape, or `output` has another
        suffix or cannot be written.
    """
    check_output(output)
    network, num_classes = _build_with(arrays, network_name, source)
    names = tuple(class_names)
    metadata = WeightsMetadata(
        network_name, num_classes, source, digest(network), names
    )
    with tempfile.TemporaryDirectory(prefix="tf_dvdgan-") as folder:
        file = os.path.join(folder, f"network{SUFFIX}")
        network.save_weights(file)
        with h5py.File(file, "r+") as h5:
            as_json = {"class_names": json.dumps(names)}
            h5.attrs.update(dataclasses.asdict(metadata) | as_json)
        with open(file, "rb") as written:
            data = written.read()
    with files.report_write_errors(output):
        files.atomic_write(output, data)
    return metadata


def load(path: str) -> tuple[tf.keras.Model, WeightsMetadata]:
    """Loads a network with its weights.

    Args:
      path: local or remote file that `save` wrote, or the name of a classifier that
        comes with the package.

    Returns:
      The network and the file's metadata.

    Raises:
      UserError: the file does not exist, is not a weights file, or is damaged.
    """
    path = pretrained.resolve(path)
    files.register_filesystems(path)
    with files.local_copy(path) as file, tempfile.TemporaryDirectory() as folder:
        if not os.path.isfile(file):
            raise errors.UserError(f"There is no weights file at {path!r}.")
        link = os.path.join(folder, f"network{SUFFIX}")  # Keras requires the suffix
        os.symlink(os.path.abspath(file), link)
        metadata = _read_metadata(link, path)
        _network_class(metadata.network)
        try:
            network = build(metadata.network, metadata.num_classes)
            network.load_weights(link)
            intact = digest(network) == metadata.hash
        except (OSError, KeyError, ValueError, RuntimeError):
            intact = False
    if not intact:
        raise errors.UserError(
            f"{path!r} is damaged: its values do not match the hash stored in it; "
            "convert the weights again with tools.convert_weights."
        )
    return network, metadata


def read_metadata(path: str) -> WeightsMetadata:
    """Reads the metadata of a weights file without checking its values.

    Raises:
      UserError: the file does not exist, or is not a weights file.
    """
    path = pretrained.resolve(path)
    files.register_filesystems(path)
    with files.local_copy(path) as file:
        if not os.path.isfile(file):
            raise errors.UserError(f"There is no weights file at {path!r}.")
        return _read_metadata(file, path)


def digest(network: tf.keras.Model) -> str:
    """SHA-256 over the name, shape and values of each variable, sorted by name.

    Values are little-endian float32.
    """
    sha256 = hashlib.sha256()
    for name, variable in sorted(variables.by_path(network).items()):
        values = np.ascontiguousarray(variable.numpy(), "<f4")
        sha256.update(f"{name} {list(values.shape)}\n".encode())
        sha256.update(values.tobytes())
    return sha256.hexdigest()


def _convert_names(
    arrays: Arrays, network_name: str, source: str
) -> dict[str, np.ndarray]:
    """Converts arrays from the first of the network's formats that matches."""
    module = sys.modules[_network_class(network_name).__module__]
    formats = getattr(module, "FORMATS", {})
    if not formats:
        raise errors.UserError(
            f"No published weights of {network_name} are known; train it instead."
        )
    problems = []
    for name, function in formats.items():
        try:
            return function(arrays)
        except KeyError as error:
            problems.append(f"{name} format: {error.args[0]} is missing")
        except ValueError as error:
            problems.append(f"{name} format: {errors.reason_of(error)}")
    content = f"{len(arrays)} arrays such as {min(arrays)}" if arrays else "no arrays"
    raise errors.UserError(
        f"{source!r} does not hold weights of {network_name}; it has {content} "
        f"({'; '.join(problems)})."
    )


def _build_with(
    arrays: Arrays, network_name: str, source: str
) -> tuple[tf.keras.Model, int]:
    """Builds a network with the given values; also returns its number of classes."""
    network_class = _network_class(network_name)
    try:
        num_classes = _num_classes(network_class, arrays)
        network = build(network_name, num_classes)
        for name, variable in variables.by_path(network).items():
            _assign(variable, arrays, name)
    except ValueError as error:
        raise errors.UserError(
            f"{source!r} does not hold weights of {network_name}: "
            f"{errors.reason_of(error)}."
        ) from None
    return network, num_classes


def _num_classes(network_class: type[tf.keras.Model], arrays: Arrays) -> int:
    """Number of classes, from the arrays whose last axis has one entry per class.

    These are the variables whose last axis is 1 in a network for one class.
    """
    with tf.Graph().as_default():  # creates variables without allocating them
        network = network_class(1)
        network(tf.zeros([1, *network_class.INPUT]))
        by_path = variables.by_path(network).items()
        logits = [name for name, variable in by_path if variable.shape[-1:] == [1]]
    sizes = {
        size for name in logits if name in arrays for size in arrays[name].shape[-1:]
    }
    if len(sizes) != 1:
        raise ValueError(f"{' and '.join(logits)} are for {sorted(sizes)} classes")
    return sizes.pop()


def _assign(variable: tf.Variable, arrays: Arrays, name: str) -> None:
    if name not in arrays:
        raise ValueError(f"{name} is missing")
    array, shape = arrays[name], list(variable.shape)
    if list(array.shape) != shape:
        raise ValueError(f"{name} has the shape {list(array.shape)} instead of {shape}")
    variable.assign(np.asarray(array, np.float32))


def build(name: str, num_classes: int) -> tf.keras.Model:
    """Builds a network with randomly initialized variables.

    Args:
      name: a key of `networks.NETWORKS`.
      num_classes: number of logits.

    Returns:
      The network.

    Raises:
      UserError: there is no network of that name.
    """
    network_class = _network_class(name)
    network = network_class(num_classes)
    network(tf.zeros([1, *network_class.INPUT]))
    return network


def _network_class(name: str) -> type[tf.keras.Model]:
    if name not in networks.NETWORKS:
        raise errors.UserError(
            f"There is no network {name!r}; choose from {', '.join(networks.NETWORKS)}."
            + errors.did_you_mean(name, networks.NETWORKS)
        )
    return networks.NETWORKS[name]


def check_output(path: str) -> None:
    """Checks early that a weights file can be written.

    Raises:
      UserError: the path has another suffix or cannot be written.
    """
    if not path.endswith(SUFFIX):
        raise errors.UserError(
            f"The name of a weights file ends in {SUFFIX}; change {path!r}."
        )
    files.check_writable(path)


def _read_metadata(file: str, path: str) -> WeightsMetadata:
    """Reads the attributes of a local file; `path` names it in messages."""
    try:
        array_files.check_hdf5(file)
        with h5py.File(file, "r") as h5:
            attributes = dict(h5.attrs)
        found = WeightsMetadata(
            str(attributes["network"]),
            int(attributes["num_classes"]),
            str(attributes["source"]),
            str(attributes["hash"]),
            tuple(map(str, files.parse_json(attributes.get("class_names", "[]")))),
        )
        if not 1 <= found.num_classes <= os.path.getsize(file):
            raise ValueError(f"it says that it is for {found.num_classes} classes")
        return found
    except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise errors.UserError(
            f"{path!r} was not written by tools.convert_weights, or is damaged: "
            f"{errors.reason_of(error)}"
        ) from None
