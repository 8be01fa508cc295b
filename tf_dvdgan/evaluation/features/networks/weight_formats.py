"""Reads arrays by name from the files that weights are published in.

TensorFlow checkpoints, SavedModels, Keras h5, PyTorch state dicts and npz. Which names
a network has in them is its own matter, see `FORMATS` in its module.
"""

import os
import re
import zipfile

import h5py
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import trackable_object_graph_pb2

from tf_dvdgan import array_files, errors, state_dict
from tf_dvdgan.data import files, filesystem

_CHECKPOINT_PART = re.compile(r"\.(index|meta|data-\d+-of-\d+)$")
_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"


def read(path: str) -> dict[str, np.ndarray]:
    """Reads arrays by name from a checkpoint, SavedModel or file of any known format.

    Names are unchanged except that TensorFlow's ":0", `DataParallel`'s "module." and
    the "model_weights/" of a complete Keras model are removed.

    Raises:
      UserError: the path does not exist or cannot be read.
    """
    files.register_filesystems(path)
    prefix = _checkpoint_prefix(path)
    try:
        if prefix:
            return _read_checkpoint(prefix)
        with files.local_copy(path) as file:
            return _read_file(file, path)
    except errors.UserError:
        raise
    except Exception as error:  # four libraries; files may be truncated or forged
        raise errors.UserError(
            f"{path!r} cannot be read: {errors.reason_of(error)}"
        ) from None


def _checkpoint_prefix(path: str) -> str:
    """Prefix of the TensorFlow checkpoint at a path; empty if there is none."""
    bare = _CHECKPOINT_PART.sub("", path.rstrip("/"))
    for prefix in (bare, os.path.join(bare, "variables", "variables")):
        if filesystem.exists(f"{prefix}.index"):
            return prefix
    if not filesystem.isdir(bare):
        return ""
    indices = [name for name in files.list_dir(bare) if name.endswith(".index")]
    if len(indices) != 1:
        raise errors.UserError(
            f"{path!r} must be the folder of a SavedModel or of a single checkpoint; "
            f"it holds {len(indices)} checkpoints."
        )
    return os.path.join(bare, indices[0].removesuffix(".index"))


def _read_checkpoint(prefix: str) -> dict[str, np.ndarray]:
    reader = tf.train.load_checkpoint(prefix)
    keys = reader.get_variable_to_shape_map()
    if _OBJECT_GRAPH not in keys:
        return {name: reader.get_tensor(name) for name in keys}
    # TensorFlow 2 uses object paths as keys and stores the variables' names here.
    graph = trackable_object_graph_pb2.TrackableObjectGraph()
    graph.ParseFromString(reader.get_tensor(_OBJECT_GRAPH))
    return {
        attribute.full_name: reader.get_tensor(attribute.checkpoint_key)
        for node in graph.nodes
        for attribute in node.attributes
        if attribute.full_name
    }


def _read_file(file: str, path: str) -> dict[str, np.ndarray]:
    """Reads a local file, detecting its format from its content."""
    if not os.path.isfile(file):
        raise errors.UserError(f"There are no weights at {path!r}.")
    if h5py.is_hdf5(file):
        return _read_h5(file)
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            is_npz = all(name.endswith(".npy") for name in archive.namelist())
        if is_npz:
            return dict(array_files.load_npz(file))
        return state_dict.load(file)
    with open(file, "rb") as start:
        if start.read(1) == b"\x80":  # PyTorch's older format begins with a pickle
            return state_dict.load(file)
    raise errors.UserError(
        f"{path!r} is not in a known format: use a TensorFlow checkpoint, a "
        "SavedModel's folder, a Keras h5 file, a PyTorch state dict or an npz file."
    )


def _read_h5(file: str) -> dict[str, np.ndarray]:
    arrays = {}

    def visit(name: str, node: h5py.Group | h5py.Dataset) -> None:
        if isinstance(node, h5py.Dataset) and not name.startswith("optimizer_weights/"):
            key = name.removeprefix("model_weights/").removesuffix(":0")
            arrays[key] = node[()]

    array_files.check_hdf5(file)
    with h5py.File(file, "r") as h5:
        h5.visititems(visit)
    return arrays
