"""Programs in XLA's intermediate language (HLO), as TensorFlow gives them."""

import re

from tensorflow.compiler.xla.service import hlo_pb2


def rewrite_copies(program: bytes) -> bytes:
    """Turns each `copy` into a `reshape`; they are the same to what follows.

    TensorFlow copies variables that the program writes back; the way into JAX's
    compiler rejects that operation. Which results take the place of which arguments
    (`input_output_alias`) is in the program, and stays.
    """
    module = hlo_pb2.HloModuleProto.FromString(program)
    for computation in module.computations:
        for instruction in computation.instructions:
            if instruction.opcode == "copy":
                instruction.opcode = "reshape"
    return module.SerializeToString()


def operation_in(program: bytes, error: str) -> str | None:
    """The operation that an error of the compiler is about, by TensorFlow's name.

    Args:
      program: that was given to the compiler.
      error: the text; it names an instruction, a custom call's target, or in capitals
        an opcode.
    """
    module = hlo_pb2.HloModuleProto.FromString(program)
    names = set(re.findall(r"[\w-]+(?:\.[\w-]+)*", error))
    for computation in module.computations:
        for instruction in computation.instructions:
            own = {instruction.name, instruction.custom_call_target}
            own.add(instruction.opcode.upper())
            if own & names and instruction.metadata.op_name:
                return instruction.metadata.op_name
    return None
