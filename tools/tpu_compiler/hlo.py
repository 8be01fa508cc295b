"""Programs in XLA's intermediate language (HLO), from TensorFlow."""

import re

from tensorflow.compiler.xla.service import hlo_pb2


def rewrite_copies(program: bytes) -> bytes:
    """Turns each `copy` into an equivalent `reshape`.

    TensorFlow copies variables that the program updates; JAX's compiler does not accept
    that operation. The pairs of results and the arguments that they overwrite
    (`input_output_alias`) are kept.
    """
    module = hlo_pb2.HloModuleProto.FromString(program)
    for computation in module.computations:
        for instruction in computation.instructions:
            if instruction.opcode == "copy":
                instruction.opcode = "reshape"
    return module.SerializeToString()


def operation_in(program: bytes, error: str) -> str | None:
    """Finds the operation that an error of the compiler refers to.

    Args:
      program: the HLO module that the compiler rejected.
      error: the message; it names an instruction, the target of a custom call, or an
        opcode in capitals.

    Returns:
      TensorFlow's name of the operation, or None if there is no match.
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
