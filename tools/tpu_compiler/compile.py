"""Compiles a program for a TPU, in an environment with JAX and without TensorFlow.

  python compile.py PROGRAM TOPOLOGY CHIP_CONFIG OUTPUT_FOLDER

PROGRAM is a serialized HLO module. Writes `result.json`, with "seconds" and either
"memory" and "costs" or "error", and `compiled.hlo`, the compiled module. Run by
`tools.tpu_preflight`; needs no TPU.
"""

import json
import os
import sys
import threading
import time

os.environ |= {
    "TPU_SKIP_MDS_QUERY": "1",  # no metadata server: this is no TPU VM
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # no lock: no chip is taken
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_LOG_DIR": "disabled",
    "TPU_MIN_LOG_LEVEL": "3",
    "TPU_STDERR_LOG_LEVEL": "3",
    "JAX_PLATFORMS": "cpu",
}

import jax
import numpy as np
from jax._src.interpreters import mlir
from jax._src.lib import xla_client
from jax._src.lib.mlir import ir
from jax.experimental import topologies

_MEMORY = {
    "arguments": "argument_size_in_bytes",
    "outputs": "output_size_in_bytes",
    "aliased": "alias_size_in_bytes",
    "temporaries": "temp_size_in_bytes",
    "code": "generated_code_size_in_bytes",
}
_COSTS = {
    "flops": "flops",
    "bytes": "bytes accessed",
    "transcendentals": "transcendentals",
    "optimal_seconds": "optimal_seconds",
}


def compile_program(program: bytes, topology: str, chip_config: str):
    """Compiles a serialized HLO module for one core of a topology.

    Args:
      program: the module.
      topology: as the compiler names it, such as "v3:2x2".
      chip_config: the compiler's name for the cores of a chip, or an empty string.

    Returns:
      A loaded executable of JAX's runtime.
    """
    options = {"chip_config_name": chip_config} if chip_config else {}
    device = topologies.get_topology_desc(
        topology_name=topology, platform="tpu", **options
    ).devices[0]
    text = xla_client._xla.mlir.xla_computation_to_mlir_module(
        xla_client.XlaComputation(program)
    )
    compile_options = xla_client.CompileOptions()
    compile_options.num_replicas = 1
    compile_options.num_partitions = 1
    compile_options.executable_build_options.device_assignment = (
        xla_client.DeviceAssignment.create(np.array([[device.id]], np.int32))
    )
    with mlir.make_ir_context():
        module = ir.Module.parse(text)
        return device.client.compile(
            module, xla_client.DeviceList((device,)), compile_options
        )


def measure(executable) -> dict:
    """The compiler's memory and cost figures, under this project's names."""
    memory = executable.get_compiled_memory_stats()
    costs = executable.cost_analysis()
    return {
        "memory": {name: getattr(memory, key) for name, key in _MEMORY.items()},
        "costs": {name: costs.get(key, 0.0) for name, key in _COSTS.items()},
    }


def main(path: str, topology: str, chip_config: str, output: str) -> None:
    """Compiles a file and writes the results.

    Args:
      path: of the serialized HLO module.
      topology: as the compiler names it.
      chip_config: the compiler's name for the cores of a chip, or an empty string.
      output: folder to write to.
    """
    with open(path, "rb") as file:
        program = file.read()
    began = time.monotonic()
    try:
        executable = compile_program(program, topology, chip_config)
    except (jax.errors.JaxRuntimeError, ir.MLIRError, RuntimeError) as error:
        result = {"error": str(error)}
    else:
        result = measure(executable)
        (module,) = executable.hlo_modules()
        with open(os.path.join(output, "compiled.hlo"), "wb") as file:
            file.write(module.as_serialized_hlo_module_proto())
    result["seconds"] = time.monotonic() - began
    with open(os.path.join(output, "result.json"), "w") as file:
        json.dump(result, file)


def _end_with(parent: int) -> None:
    """Ends this process when its parent is gone: the results have no reader."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with, args=[os.getppid()], daemon=True).start()
    main(*sys.argv[1:])
