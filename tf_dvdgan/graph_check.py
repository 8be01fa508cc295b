"""Checks which operations a SavedModel's graph has, before it is loaded.

Loading and calling a SavedModel runs its graph, and some of TensorFlow's operations
read or write files, open connections or run Python. A generator needs none of these.
"""

import os

import tensorflow as tf
from google.protobuf import message
from tensorflow.core.framework import op_def_pb2, types_pb2
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework import op_def_registry

from tf_dvdgan import errors
from tf_dvdgan.data import filesystem

# Beside operations of numbers alone: variables, control flow, lists, and what reads
# checkpoints.
_ALLOWED = frozenset(
    "Assert AssignVariableOp Const DisableCopyOnRead If Identity IdentityN NoOp Pack "
    "PartitionedCall Placeholder ReadVariableOp Reshape RestoreV2 ShardedFilename "
    "Select StatefulPartitionedCall StatelessIf StatelessWhile StaticRegexFullMatch "
    "StringJoin TensorListElementShape TensorListFromTensor TensorListGetItem "
    "TensorListLength TensorListReserve TensorListSetItem TensorListStack "
    "VarHandleOp VarIsInitializedOp While".split()
)
# Every SavedModel has a function that saves it; loading does not call it.
_OF_SAVING = frozenset(("SaveV2", "MergeV2Checkpoints"))
_NOT_NUMBERS = {types_pb2.DT_STRING, types_pb2.DT_RESOURCE, types_pb2.DT_VARIANT}


def check(directory: str) -> None:
    """Checks a SavedModel's graph and functions.

    Args:
      directory: folder of the SavedModel.

    Raises:
      UserError: there is an operation that no generator has, or no SavedModel.
    """
    model = saved_model_pb2.SavedModel()
    try:
        path = os.path.join(directory, "saved_model.pb")
        with filesystem.GFile(path, "rb") as file:
            model.ParseFromString(file.read())
    except (message.DecodeError, tf.errors.OpError, OSError) as error:
        raise errors.UserError(
            f"{directory} is not a SavedModel, or damaged: {error}"
        ) from None
    for graph in model.meta_graphs:
        functions = graph.graph_def.library.function
        saving = {
            function.signature.name
            for function in functions
            if any(node.op in _OF_SAVING for node in function.node_def)
        }
        for node in graph.graph_def.node:
            _check_node(node, directory)
        for function in functions:
            is_saving = function.signature.name in saving
            for node in function.node_def:
                if not (is_saving and node.op in _OF_SAVING):
                    _check_node(node, directory)
                if saving & _functions_of(node):
                    raise _refusal("SaveV2", directory)
        if saving & set(graph.object_graph_def.concrete_functions):
            raise _refusal("SaveV2", directory)


def _functions_of(node: tf.compat.v1.NodeDef) -> set[str]:
    """Names of the functions that a node calls, or any other node of their name."""
    found = {node.op}
    for value in node.attr.values():
        found |= {value.func.name, *(function.name for function in value.list.func)}
    return found - {""}


def _check_node(node: tf.compat.v1.NodeDef, directory: str) -> None:
    if node.op in _ALLOWED:
        return
    definition = op_def_registry.get(node.op)
    if definition is None or definition.is_stateful or not _is_numeric(definition):
        raise _refusal(node.op, directory)
    for value in node.attr.values():
        if value.type in _NOT_NUMBERS or set(value.list.type) & _NOT_NUMBERS:
            raise _refusal(node.op, directory)


def _is_numeric(definition: op_def_pb2.OpDef) -> bool:
    arguments = [*definition.input_arg, *definition.output_arg]
    return not any(argument.type in _NOT_NUMBERS for argument in arguments)


def _refusal(operation: str, directory: str) -> errors.UserError:
    return errors.UserError(
        f"The SavedModel in {directory} has the operation {operation}, which no "
        "generator has and which may read or write files. If you trust its author, "
        "pass `trust=True`."
    )
