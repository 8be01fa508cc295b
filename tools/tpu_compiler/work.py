"""The work of a compiled program: operations, bytes of memory, time.

The compiler's own cost analysis counts the body of a loop once, regardless of its
iterations, and adds -1 s for each operation that it cannot time. So this module walks
the compiled program, operation by operation, and counts a loop's body once per
iteration.
"""

import dataclasses
import math
import re
from collections.abc import Iterator

from tensorflow.compiler.xla import xla_data_pb2
from tensorflow.compiler.xla.service import hlo_pb2

from . import hardware

# They move nothing.
_FREE = {
    "parameter",
    "constant",
    "tuple",
    "get-tuple-element",
    "bitcast",
    "after-all",
    "custom-call",  # the TPU compiler's are views, and parts of 64-bit numbers
}
# A slice of their result needs only a slice of their operand.
_ELEMENTWISE = {"bitcast", "convert", "copy", "pad", "reshape", "transpose"}
_CYCLES = re.compile(rb'"estimated_cycles":"(\d+)"')
_BITS = {
    number: 8 if name == "PRED" else int("0" + re.sub(r"^[A-Z]+(\d*).*", r"\1", name))
    for name, number in xla_data_pb2.PrimitiveType.items()
}


@dataclasses.dataclass(frozen=True)
class Work:
    """The work of a compiled program, or of a part, on one core.

    Attributes:
      flops: of convolutions and matrix products.
      hbm_bytes: read and written, including the padding of tiles.
      roofline_seconds: sum over operations; each takes its time at the peak rate of the
        matrix units or of the memory, whichever is longer.
      cycles: sum of the compiler's estimates for each operation.
      untimed: number of operations for which the compiler adds -1 s.
    """

    flops: float = 0.0
    hbm_bytes: float = 0.0
    roofline_seconds: float = 0.0
    cycles: float = 0.0
    untimed: int = 0

    def __add__(self, other: "Work") -> "Work":
        pairs = zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)
        return Work(*map(sum, pairs))

    def __mul__(self, times: int) -> "Work":
        return Work(*(times * value for value in dataclasses.astuple(self)))


@dataclasses.dataclass(frozen=True)
class Loop:
    """A loop of a compiled program.

    Attributes:
      name: TensorFlow's name of the operation.
      trips: number of iterations; None if it cannot be read from the program.
    """

    name: str
    trips: int | None


class CompiledProgram:
    """Counts the work of a compiled module.

    Args:
      compiled: the serialized module.
      core: that it was compiled for.

    Attributes:
      loops: in the order of the walk.
      total: the work; each loop's body counts once per iteration (once if unknown).
      once: the work; each loop's body counts once, as in the compiler's own analysis.
      by_name: the total work of operations by their TensorFlow names.
    """

    def __init__(self, compiled: bytes, core: hardware.Core):
        module = hlo_pb2.HloModuleProto.FromString(compiled)
        self._computations = {c.id: c for c in module.computations}
        self._core = core
        self.loops: list[Loop] = []
        self.total = self.once = Work()
        self.by_name: dict[str, Work] = {}
        for instruction, operands, times in self._visit(module.entry_computation_id, 1):
            work = self._work(instruction, operands)
            self.once += work
            self.total += work * times
            name = _name(instruction)
            self.by_name[name] = self.by_name.get(name, Work()) + work * times

    def _visit(self, computation_id: int, times: int) -> Iterator[tuple]:
        """Yields (operation, operations of its computation by id, number of runs).

        A fusion is one operation.
        """
        instructions = self._by_id(computation_id)
        for instruction in instructions.values():
            called = instruction.called_computation_ids
            if instruction.opcode == "while":
                body, condition = called
                loop = self._loop(instruction, instructions, condition)
                self.loops.append(loop)
                trips = 1 if loop.trips is None else loop.trips
                yield from self._visit(body, times * trips)
                yield from self._visit(condition, times * trips)
            elif instruction.opcode in ("call", "conditional"):
                for computation in called:
                    yield from self._visit(computation, times)
            else:
                yield instruction, instructions, times

    def _work(self, instruction, operands) -> Work:
        if instruction.opcode in _FREE:
            # Allocations are custom calls too; the compiler counts no time for them.
            target = instruction.custom_call_target
            return Work(untimed=int(target not in ("", "AllocateBuffer")))
        if instruction.opcode.endswith(("-done", "-update")):
            return Work()
        flops = self._flops(instruction, operands)
        num_bytes = self._hbm_bytes(instruction, operands)
        found = _CYCLES.search(instruction.backend_config)
        seconds = max(
            flops / self._core.flops_per_second,
            num_bytes / self._core.hbm_bytes_per_second,
        )
        return Work(flops, num_bytes, seconds, int(found[1]) if found else 0)

    def _loop(self, instruction, operands, condition_id: int) -> Loop:
        """A loop; its trips are known if it counts from a constant to a constant."""
        name = _name(instruction)
        unknown = Loop(name, None)
        inside = self._by_id(condition_id)
        root = inside[self._computations[condition_id].root_id]
        if root.opcode != "compare" or root.comparison_direction != "LT":
            return unknown
        counter, limit = (inside[i] for i in root.operand_ids)
        start = operands[instruction.operand_ids[0]]
        if counter.opcode != "get-tuple-element" or start.opcode != "tuple":
            return unknown
        start = operands[start.operand_ids[counter.tuple_index]]
        while start.opcode in ("copy", "bitcast"):
            start = operands[start.operand_ids[0]]
        first, last = _integer(start), _integer(limit)
        if first is None or last is None:
            return unknown
        return Loop(name, max(0, last - first))

    def _flops(self, instruction, operands) -> float:
        """FLOPs of the convolutions and matrix products in an operation."""
        if instruction.opcode == "convolution":
            return _flops_of_convolution(instruction, operands)
        if instruction.opcode == "dot":
            return _flops_of_dot(instruction, operands)
        flops = 0.0
        for computation in instruction.called_computation_ids:
            inside = self._by_id(computation)
            flops += sum(self._flops(i, inside) for i in inside.values())
        return flops

    def _hbm_bytes(self, instruction, operands) -> int:
        """Bytes read from and written to HBM."""
        sources = [operands[i] for i in instruction.operand_ids]
        if instruction.opcode.endswith("-start"):
            # A transfer. Its result contains the destination and the source, which may
            # be larger than the part that is moved.
            parts = instruction.shape.tuple_shapes
            moved = parts[1] if parts[0].tuple_shapes else parts[0]
            places = [moved, *(source.shape for source in sources[:1])]
            return _size(moved) * sum(map(_in_hbm, places))
        if instruction.opcode != "fusion":
            return _read(instruction, sources) + _written(instruction, operands)
        (computation,) = instruction.called_computation_ids
        inside = self._by_id(computation)
        root = inside[self._computations[computation].root_id]
        read = sum(
            self._read_in_fusion(computation, number, source.shape)
            for number, source in enumerate(sources)
            if _in_hbm(source.shape)
        )
        return read + _written(root, inside)

    def _read_in_fusion(self, computation_id: int, number: int, shape) -> int:
        """Bytes that a fusion reads of an operand, possibly only slices of it."""
        inside = self._by_id(computation_id)
        (parameter,) = (
            i
            for i in inside.values()
            if i.opcode == "parameter" and i.parameter_number == number
        )
        read, whole = 0, _size(shape)
        for user, name in _users(parameter, inside):
            place = list(user.operand_ids).index(name)
            if user.opcode == "fusion":
                (computation,) = user.called_computation_ids
                read += self._read_in_fusion(computation, place, shape)
            elif user.opcode in ("dynamic-slice", "slice") and not place:
                read += _size(user.shape)
            elif user.opcode != "dynamic-update-slice" or place:
                return whole
        return min(read, whole)

    def _by_id(self, computation_id: int) -> dict:
        return {i.id: i for i in self._computations[computation_id].instructions}


def _name(instruction) -> str:
    """TensorFlow's name of an operation, or the opcode if the compiler added it."""
    name = re.sub(r"^(call\.\d+/)+", "", instruction.metadata.op_name)
    return name or instruction.opcode


def _read(instruction, sources) -> int:
    """Bytes that an operation reads; only the part that it slices or gathers."""
    if instruction.opcode in ("dynamic-slice", "slice", "gather"):
        return _hbm_size(instruction.shape)
    if instruction.opcode == "dynamic-update-slice":
        return _hbm_size(sources[1].shape)
    return sum(_hbm_size(source.shape) for source in sources)


def _written(root, instructions) -> int:
    """Bytes of a result; only the update if it updates its operand in place."""
    while root.opcode == "bitcast":
        root = instructions[root.operand_ids[0]]
    if root.opcode == "tuple":
        return sum(_written(instructions[i], instructions) for i in root.operand_ids)
    if root.opcode == "dynamic-update-slice":
        return _hbm_size(instructions[root.operand_ids[1]].shape)
    return _hbm_size(root.shape)


def _users(instruction, instructions) -> list[tuple]:
    """Operations that use a value, possibly reshaped, and the id of their operand."""
    found = []
    for user in instructions.values():
        if instruction.id in user.operand_ids:
            if user.opcode in _ELEMENTWISE:
                found += _users(user, instructions)
            else:
                found.append((user, instruction.id))
    return found


def _integer(instruction) -> int | None:
    """The value of an integer constant, or None."""
    literal = instruction.literal
    values = [*literal.s32s, *literal.s64s, *literal.u32s, *literal.u64s]
    if instruction.opcode != "constant" or len(values) != 1:
        return None
    return values[0]


def _in_hbm(shape) -> bool:
    return not shape.layout.memory_space


def _hbm_size(shape) -> int:
    """Bytes of a value in HBM."""
    if shape.tuple_shapes:
        return sum(map(_hbm_size, shape.tuple_shapes))
    return _size(shape) if _in_hbm(shape) else 0


def _size(shape) -> int:
    """Bytes of an array, including the padding of tiles."""
    sizes = [shape.dimensions[axis] for axis in shape.layout.minor_to_major]
    for tile in shape.layout.tiles[:1]:
        for axis, multiple in enumerate(reversed(tile.dimensions)):
            if axis < len(sizes):
                sizes[axis] = -(-sizes[axis] // multiple) * multiple
    return math.prod(sizes) * _BITS[shape.element_type] // 8


def _flops_of_dot(instruction, operands) -> float:
    left = operands[instruction.operand_ids[0]].shape
    summed = instruction.dot_dimension_numbers.lhs_contracting_dimensions
    depth = math.prod(left.dimensions[axis] for axis in summed)
    return 2.0 * depth * math.prod(instruction.shape.dimensions)


def _flops_of_convolution(instruction, operands) -> float:
    """Two for each product of a kernel entry and an input entry, without padding."""
    image, kernel = (operands[i].shape.dimensions for i in instruction.operand_ids[:2])
    output = instruction.shape.dimensions
    axes = instruction.convolution_dimension_numbers
    flops = 2.0 * kernel[axes.kernel_input_feature_dimension]
    flops *= output[axes.output_feature_dimension] * output[axes.output_batch_dimension]
    for window, axis_in, axis_out in zip(
        instruction.window.dimensions,
        axes.input_spatial_dimensions,
        axes.output_spatial_dimensions,
        strict=True,
    ):
        flops *= positions(
            output[axis_out],
            image[axis_in],
            window.size,
            window.stride,
            window.padding_low,
            window.base_dilation,
            window.window_dilation,
        )
    return flops


def positions(
    outputs: int,
    inputs: int,
    size: int,
    stride: int,
    padding: int,
    base_dilation: int,
    window_dilation: int,
) -> int:
    """Counts the products of kernel and input entries along one axis.

    Entry t of the kernel and output o use input i where
    i * base_dilation = o * stride + t * window_dilation - padding.

    Args:
      outputs: length of the output.
      inputs: length of the input.
      size: length of the kernel.
      stride: of the output over the input.
      padding: before the first input; may be negative.
      base_dilation: distance of inputs, 1 without gaps.
      window_dilation: distance of kernel entries, 1 without gaps.

    Returns:
      The number of products, those with padding or gaps not counted.
    """
    common = math.gcd(stride, base_dilation)
    period = base_dilation // common  # of the outputs that use an input
    inverse = pow(stride // common, -1, period)
    count = 0
    for tap in range(size):
        start = tap * window_dilation - padding
        if start % common:
            continue
        phase = -start // common * inverse % period
        lowest = max(0, -(start // stride))
        highest = min(outputs - 1, ((inputs - 1) * base_dilation - start) // stride)
        count += max(0, (highest - phase) // period - (lowest - 1 - phase) // period)
    return count
