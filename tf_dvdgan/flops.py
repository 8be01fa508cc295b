"""Counts the floating-point operations of convolutions and matrix products."""

import tensorflow as tf

# For each operation, where the convolution's result and the kernel (or their gradients)
# are: each element of the result takes as many products as the kernel has elements per
# output channel.
_CONVOLUTIONS = {
    "Conv2D": ("outputs", 0, "inputs", 1),
    "Conv2DBackpropInput": ("inputs", 2, "inputs", 1),
    "Conv2DBackpropFilter": ("inputs", 2, "outputs", 0),
    "Conv3D": ("outputs", 0, "inputs", 1),
    "Conv3DBackpropInputV2": ("inputs", 2, "inputs", 1),
    "Conv3DBackpropFilterV2": ("inputs", 2, "outputs", 0),
}
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
_LOOPS = ("While", "StatelessWhile")


def count(graph: tf.Graph) -> int:
    """Counts the operations of one execution of a graph.

    A multiplication and an addition count as two. The body of a loop counts once per
    iteration, up to the loop's maximum; a function counts once per call.

    Args:
      graph: a graph with static shapes.

    Returns:
      Floating-point operations of all convolutions and matrix products.

    Raises:
      ValueError: a shape or the length of a loop is unknown.
    """
    return sum(_of_operation(op) for op in graph.get_operations())


def _of_operation(op: tf.Operation) -> int:
    if op.type in _CONVOLUTIONS:
        side, i, kernel_side, k = _CONVOLUTIONS[op.type]
        kernel = getattr(op, kernel_side)[k].shape
        return 2 * _elements(getattr(op, side)[i], op) * kernel[:-1].num_elements()
    if op.type in ("MatMul", "BatchMatMulV2"):
        transposed = op.get_attr("transpose_a" if op.type == "MatMul" else "adj_x")
        inner = op.inputs[0].shape[-2 if transposed else -1]
        return 2 * _elements(op.outputs[0], op) * inner
    if op.type in _CALLS:
        return count(_function(op.graph, op.get_attr("f").name))
    if op.type in _LOOPS:
        times = tf.get_static_value(op.inputs[1])
        if times is None or times < 0:
            raise ValueError(f"The length of the loop {op.name!r} is unknown.")
        return int(times) * count(_function(op.graph, op.get_attr("body").name))
    return 0


def _elements(tensor: tf.Tensor, op: tf.Operation) -> int:
    number = tensor.shape.num_elements()
    if number is None:
        raise ValueError(
            f"The shape of {op.name!r} is unknown. Received: {tensor.shape}"
        )
    return number


def _function(graph: tf.Graph, name: str) -> tf.Graph:
    while name not in graph._functions:
        graph = graph.outer_graph
    function = graph._functions[name]
    return getattr(function, "graph", None) or function.cached_graph
