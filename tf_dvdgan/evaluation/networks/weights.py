"""Weights of the feature networks: from what others publish to one file with a hash.

`convert` reads TensorFlow checkpoints, SavedModels, Keras h5, PyTorch state dicts and
npz, in the namings that a network's `FORMATS` know. It writes a Keras weights file that
`load_weights` of the same network reads; attributes of it say what it holds. The hash
is of the values alone: the same weights have the same one, whatever file they came in.
"""

import dataclasses
import hashlib
import json
import os
import re
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence

import h5py
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import trackable_object_graph_pb2

from tf_dvdgan import errors, state_dict
from tf_dvdgan.data import files
from tf_dvdgan.evaluation import networks

SUFFIX = ".weights.h5"  # by which Keras tells its format
_CHECKPOINT_PART = re.compile(r"\.(index|meta|data-\d+-of-\d+)$")
_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"

Arrays = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Facts:
    """What a file of weights says of itself.

    Attributes:
      network: its name in `networks.NETWORKS`.
      num_classes: how many logits.
      source: where the weights come from.
      hash: SHA-256 of names, shapes and values, in hexadecimal digits.
      class_names: in the order of the logits; empty where nobody said.
    """

    network: str
    num_classes: int
    source: str
    hash: str
    class_names: tuple[str, ...] = ()


def variables(network: tf.keras.Model) -> dict[str, tf.Variable]:
    """Variables of a built network by their path in it, such as "conv1/kernel"."""
    named = {}
    for variable in network.variables:
        path = variable.name.removesuffix(":0")
        # Built inside another scope, names begin with that.
        inside = f"/{path}".partition(f"/{network.name}/")[2]
        named[inside or path] = variable
    return named


def convert(source: str, network_name: str, output: str, note: str = "") -> Facts:
    """Converts weights that others publish.

    Args:
      source: a checkpoint's prefix or folder, a SavedModel's folder, or a file.
      network_name: of `networks.NETWORKS`.
      output: file to write; ends in ".weights.h5".
      note: on where the weights come from, kept beside the source's base name.

    Raises:
      UserError: the source is missing or not readable, or is not this network's.
    """
    _network_class(network_name)
    check_output(output)
    arrays = _in_our_naming(read(source), network_name, source)
    origin = os.path.basename(source.rstrip("/"))
    if note:
        origin = f"{origin} ({note})"
    return save(network_name, arrays, output, origin)


def save(
    network_name: str,
    arrays: Arrays,
    output: str,
    source: str,
    class_names: Sequence[str] = (),
) -> Facts:
    """Writes a file of weights.

    Args:
      network_name: of `networks.NETWORKS`.
      arrays: values by the names of `variables`.
      output: file to write; ends in ".weights.h5".
      source: where the weights come from.
      class_names: in the order of the logits, if they are known.

    Raises:
      UserError: an array is missing or has another shape, or the file's name or place
        will not do.
    """
    check_output(output)
    network, num_classes = _filled(network_name, arrays, source)
    names = tuple(class_names)
    facts = Facts(network_name, num_classes, source, digest(network), names)
    with tempfile.TemporaryDirectory(prefix="tf_dvdgan-") as folder:
        file = os.path.join(folder, f"network{SUFFIX}")
        network.save_weights(file)
        with h5py.File(file, "r+") as h5:
            as_json = {"class_names": json.dumps(names)}
            h5.attrs.update(dataclasses.asdict(facts) | as_json)
        with open(file, "rb") as whole:
            data = whole.read()
    with files.cannot_be_written(output):
        files.write_whole(output, data)
    return facts


def load(path: str) -> tuple[tf.keras.Model, Facts]:
    """A network with the weights of a file, and what the file says of them.

    Args:
      path: a file that `save` wrote, here or remote.

    Raises:
      UserError: there is no such file, another program wrote it, or it is damaged.
    """
    files.ready(path)
    with files.local(path) as file, tempfile.TemporaryDirectory() as folder:
        if not os.path.isfile(file):
            raise errors.UserError(f"There is no file of weights {path!r}.")
        named = os.path.join(folder, f"network{SUFFIX}")  # whatever it is called
        os.symlink(os.path.abspath(file), named)
        facts = _facts(named, path)
        _network_class(facts.network)
        try:
            network = built(facts.network, facts.num_classes)
            network.load_weights(named)
            whole = digest(network) == facts.hash
        except (OSError, KeyError, ValueError, RuntimeError):
            whole = False
    if not whole:
        raise errors.UserError(
            f"{path!r} is damaged: its values do not have the hash that stands in it; "
            "convert the weights again with tools.convert_weights."
        )
    return network, facts


def read_facts(path: str) -> Facts:
    """What a file of weights says of itself; its values are not looked at.

    Raises:
      UserError: there is no such file, or another program wrote it.
    """
    files.ready(path)
    with files.local(path) as file:
        if not os.path.isfile(file):
            raise errors.UserError(f"There is no file of weights {path!r}.")
        return _facts(file, path)


def digest(network: tf.keras.Model) -> str:
    """SHA-256 over name, shape and values of each variable, in the order of names.

    Values are float32, the least significant byte first.
    """
    sha256 = hashlib.sha256()
    for name, variable in sorted(variables(network).items()):
        values = np.ascontiguousarray(variable.numpy(), "<f4")
        sha256.update(f"{name} {list(values.shape)}\n".encode())
        sha256.update(values)
    return sha256.hexdigest()


def read(path: str) -> dict[str, np.ndarray]:
    """Arrays by name from whatever lies at a path.

    Names are as they stand there, without TensorFlow's ":0", `DataParallel`'s "module."
    and the "model_weights/" of a whole Keras model.

    Raises:
      UserError: nothing is there, or nothing that can be read.
    """
    files.ready(path)
    prefix = _checkpoint_prefix(path)
    try:
        if prefix:
            return _read_checkpoint(prefix)
        with files.local(path) as file:
            return _read_file(file, path)
    except errors.UserError:
        raise
    except Exception as error:  # of four libraries, on files that may be cut or forged
        raise errors.UserError(f"{path!r} cannot be read: {_reason(error)}") from None


def _checkpoint_prefix(path: str) -> str:
    """What TensorFlow calls a checkpoint at a path; nothing where there is none."""
    bare = _CHECKPOINT_PART.sub("", path.rstrip("/"))
    for prefix in (bare, os.path.join(bare, "variables", "variables")):
        if tf.io.gfile.exists(f"{prefix}.index"):
            return prefix
    if not tf.io.gfile.isdir(bare):
        return ""
    found = [name for name in files.names_in(bare) if name.endswith(".index")]
    if len(found) != 1:
        raise errors.UserError(
            f"{path!r} is neither a SavedModel's folder nor that of one checkpoint: it "
            f"holds {len(found)}."
        )
    return os.path.join(bare, found[0].removesuffix(".index"))


def _read_checkpoint(prefix: str) -> dict[str, np.ndarray]:
    reader = tf.train.load_checkpoint(prefix)
    keys = reader.get_variable_to_shape_map()
    if _OBJECT_GRAPH not in keys:
        return {name: reader.get_tensor(name) for name in keys}
    # TensorFlow 2 goes by the places of objects, and keeps the variables' names here.
    graph = trackable_object_graph_pb2.TrackableObjectGraph()
    graph.ParseFromString(reader.get_tensor(_OBJECT_GRAPH))
    return {
        attribute.full_name: reader.get_tensor(attribute.checkpoint_key)
        for node in graph.nodes
        for attribute in node.attributes
        if attribute.full_name
    }


def _read_file(file: str, path: str) -> dict[str, np.ndarray]:
    """Reads a local file, told by what stands in it."""
    if not os.path.isfile(file):
        raise errors.UserError(f"There are no weights at {path!r}.")
    if h5py.is_hdf5(file):
        return _read_h5(file)
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            is_npz = all(name.endswith(".npy") for name in archive.namelist())
        if is_npz:
            with np.load(file, allow_pickle=False) as arrays:
                return dict(arrays)
        return state_dict.read(file)
    with open(file, "rb") as start:
        if start.read(1) == b"\x80":  # PyTorch's older format begins with a pickle
            return state_dict.read(file)
    raise errors.UserError(
        f"{path!r} is no file of weights: wanted is a TensorFlow checkpoint, a "
        "SavedModel's folder, a Keras h5 file, a PyTorch state dict or an npz file."
    )


def _read_h5(file: str) -> dict[str, np.ndarray]:
    arrays = {}

    def visit(name: str, node: h5py.Group | h5py.Dataset) -> None:
        if isinstance(node, h5py.Dataset) and not name.startswith("optimizer_weights/"):
            ours = name.removeprefix("model_weights/").removesuffix(":0")
            arrays[ours] = node[()]

    with h5py.File(file, "r") as h5:
        h5.visititems(visit)
    return arrays


def _in_our_naming(
    arrays: Arrays, network_name: str, source: str
) -> dict[str, np.ndarray]:
    """Tries the namings that a network's weights are known in."""
    module = sys.modules[_network_class(network_name).__module__]
    formats = getattr(module, "FORMATS", {})
    if not formats:
        raise errors.UserError(f"Nobody publishes weights of {network_name}: train it.")
    lacking = []
    for name, function in formats.items():
        try:
            return function(arrays)
        except KeyError as error:
            lacking.append(f"in {name}'s naming it lacks {error.args[0]}")
        except ValueError as error:
            lacking.append(f"in {name}'s naming {_reason(error)}")
    held = f"{len(arrays)} arrays, {min(arrays)} first" if arrays else "no arrays"
    raise errors.UserError(
        f"{source!r} does not hold {network_name}'s weights; it has {held}: "
        f"{'; '.join(lacking)}."
    )


def _filled(
    network_name: str, arrays: Arrays, source: str
) -> tuple[tf.keras.Model, int]:
    """A network with given values, and its number of classes."""
    network_class = _network_class(network_name)
    try:
        num_classes = _num_classes(network_class, arrays)
        network = built(network_name, num_classes)
        for name, variable in variables(network).items():
            _assign(variable, arrays, name)
    except ValueError as error:
        raise errors.UserError(
            f"{source!r} does not hold {network_name}'s weights: {_reason(error)}."
        ) from None
    return network, num_classes


def _num_classes(network_class: type[tf.keras.Model], arrays: Arrays) -> int:
    """The last side of what has a last side of 1 in a network for one class."""
    with tf.Graph().as_default():  # where variables are made and not filled
        network = network_class(1)
        network(tf.zeros([1, *network_class.INPUT]))
        named = variables(network).items()
        logits = [name for name, variable in named if variable.shape[-1:] == [1]]
    sizes = {
        size for name in logits if name in arrays for size in arrays[name].shape[-1:]
    }
    if len(sizes) != 1:
        raise ValueError(f"{' and '.join(logits)} are for {sorted(sizes)} classes")
    return sizes.pop()


def _assign(variable: tf.Variable, arrays: Arrays, name: str) -> None:
    if name not in arrays:
        raise ValueError(f"{name} is missing")
    array, wanted = arrays[name], list(variable.shape)
    if list(array.shape) != wanted:
        raise ValueError(f"{name} is {list(array.shape)} and should be {wanted}")
    variable.assign(np.asarray(array, np.float32))


def built(name: str, num_classes: int) -> tf.keras.Model:
    """A network of `networks.NETWORKS` with its variables, of random values."""
    network_class = _network_class(name)
    network = network_class(num_classes)
    network(tf.zeros([1, *network_class.INPUT]))
    return network


def _network_class(name: str) -> type[tf.keras.Model]:
    if name not in networks.NETWORKS:
        raise errors.UserError(
            f"There is no network {name!r}; there are {', '.join(networks.NETWORKS)}."
            + errors.did_you_mean(name, networks.NETWORKS)
        )
    return networks.NETWORKS[name]


def check_output(path: str) -> None:
    """Refuses a file that could not be written in the end.

    Raises:
      UserError: it has another suffix, or nothing can be written there.
    """
    if not path.endswith(SUFFIX):
        raise errors.UserError(f"A file of weights ends in {SUFFIX}, unlike {path!r}.")
    files.check_writable(path)


def _facts(file: str, path: str) -> Facts:
    """What stands in the attributes of a local file."""
    try:
        with h5py.File(file, "r") as h5:
            attributes = dict(h5.attrs)
        return Facts(
            str(attributes["network"]),
            int(attributes["num_classes"]),
            str(attributes["source"]),
            str(attributes["hash"]),
            tuple(json.loads(attributes.get("class_names", "[]"))),
        )
    except (OSError, KeyError, ValueError) as error:
        raise errors.UserError(
            f"{path!r} is no file that tools.convert_weights wrote, or is damaged: "
            f"{_reason(error)}"
        ) from None


def _reason(error: Exception) -> str:
    """The first line of what an error says, or its kind."""
    return str(error).partition("\n")[0] or type(error).__name__
