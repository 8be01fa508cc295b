"""Compiles a program in the compiler's environment and returns the figures."""

import dataclasses
import json
import os
import re
import subprocess
import tempfile

from tf_dvdgan import errors

from . import environment, hardware, hlo, work

_NUM_COSTLIEST = 20
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_REQUIRED_MEMORY = re.compile(r"(?:temporaries \(|Used )([\d.]+)([KMGT]?)")


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes of a core's memory that a program requires, by kind.

    Attributes:
      arguments: variables and batches.
      outputs: results, most of them new values of variables.
      aliased: part of the outputs that overwrites arguments.
      temporaries: all intermediate values.
      code: the program itself.
    """

    arguments: int
    outputs: int
    aliased: int
    temporaries: int
    code: int

    @property
    def new_outputs(self) -> int:
        """Outputs that overwrite no argument."""
        return self.outputs - self.aliased

    @property
    def total(self) -> int:
        """The sum of all kinds; each byte counts once."""
        return self.arguments + self.new_outputs + self.temporaries + self.code


@dataclasses.dataclass(frozen=True)
class Costs:
    """The work of a compiled program on one core; loop bodies count once per iteration.

    Attributes:
      flops: as the compiler counts them.
      hbm_bytes: read from and written to the core's HBM.
      optimal_seconds: the compiler's estimate with every operation at the peak rate of
        the matrix units or of the memory; None if it has none.
      roofline_seconds: this project's estimate at the same peak rates.
      cycle_seconds: the compiler's cycle counts of all operations, in seconds.
      loops: of the program.
      costliest: seconds, from cycle counts, of the costliest operations by their
        TensorFlow names, in descending order.
    """

    flops: float
    hbm_bytes: float
    optimal_seconds: float | None
    roofline_seconds: float
    cycle_seconds: float
    loops: tuple[work.Loop, ...]
    costliest: dict[str, float]


@dataclasses.dataclass(frozen=True)
class Compilation:
    """The result of compiling a program for one core.

    Attributes:
      seconds: duration of the compilation.
      error: why it does not compile or does not fit; None if it does both.
      out_of_memory: whether it does not fit. The compiler rejects a program whose live
        values are too large at some point; a program that it accepts can still exceed
        the memory because of gaps between values.
      required: required bytes if it does not fit and they are known.
      memory: None if it does not compile.
      costs: None if it does not compile.
    """

    seconds: float
    error: str | None = None
    out_of_memory: bool = False
    required: float | None = None
    memory: Memory | None = None
    costs: Costs | None = None


def compile_for(core: hardware.Core, program: bytes, python: str) -> Compilation:
    """Compiles a program.

    Args:
      core: to compile for.
      program: a serialized HLO module from TensorFlow.
      python: path of the Python in the compiler's environment.

    Returns:
      Figures of the compiled program, or why it does not compile or fit.

    Raises:
      UserError: the compiler crashed.
    """
    program = hlo.rewrite_copies(program)
    with tempfile.TemporaryDirectory(prefix="tpu_preflight-") as folder:
        path = os.path.join(folder, "program.hlo")
        with open(path, "wb") as file:
            file.write(program)
        command = [python, "-I", str(environment.WORKER), path]
        run = subprocess.run(
            [*command, core.topology, core.chip_config, folder],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if run.returncode:
            raise _crash(run)
        with open(os.path.join(folder, "result.json")) as file:
            result = json.load(file)
        if "error" in result:
            return _failure(result, program)
        with open(os.path.join(folder, "compiled.hlo"), "rb") as file:
            return _success(result, file.read(), core)


def _crash(run: subprocess.CompletedProcess) -> errors.UserError:
    if run.returncode == -9:
        return errors.UserError(
            "The TPU compiler was killed, probably because this machine ran out of "
            "memory; free some, or lower --batch_per_core."
        )
    last = (run.stderr.strip().splitlines() or ["no message"])[-1]
    return errors.UserError(
        f"The TPU compiler ended with code {run.returncode}: {last}"
    )


def _failure(result: dict, program: bytes) -> Compilation:
    text = result["error"]
    sentence = text.strip().splitlines()[0].rstrip(".")
    if "RESOURCE_EXHAUSTED" not in text:
        operation = hlo.operation_in(program, text)
        where = f", in {operation!r}" if operation else ""
        return Compilation(result["seconds"], error=f"{sentence}{where}")
    found = _REQUIRED_MEMORY.search(text)
    required = float(found[1]) * _UNITS[found[2]] if found else None
    return Compilation(
        result["seconds"], sentence, out_of_memory=True, required=required
    )


def _success(result: dict, compiled: bytes, core: hardware.Core) -> Compilation:
    walked = work.CompiledProgram(compiled, core)
    reported = result["costs"]
    costs = Costs(
        flops=reported["flops"] + walked.total.flops - walked.once.flops,
        hbm_bytes=walked.total.hbm_bytes,
        optimal_seconds=_optimal_seconds(reported["optimal_seconds"], walked),
        roofline_seconds=walked.total.roofline_seconds,
        cycle_seconds=walked.total.cycles / core.clock,
        loops=tuple(walked.loops),
        costliest=_costliest(walked, core),
    )
    memory = Memory(**result["memory"])
    fits = memory.total <= core.available
    return Compilation(
        result["seconds"],
        error=None if fits else "It requires more memory than a program may use",
        out_of_memory=not fits,
        required=None if fits else memory.total,
        memory=memory,
        costs=costs,
    )


def _costliest(walked: work.CompiledProgram, core: hardware.Core) -> dict[str, float]:
    seconds = {name: one.cycles / core.clock for name, one in walked.by_name.items()}
    names = sorted(seconds, key=seconds.__getitem__, reverse=True)
    return {name: seconds[name] for name in names[:_NUM_COSTLIEST]}


def _optimal_seconds(reported: float, walked: work.CompiledProgram) -> float | None:
    """The compiler's estimate, corrected for operations that it cannot time.

    The compiler adds -1 s for each of them. None if the corrected estimate is well
    below the roofline: then there are more such operations than `work` recognizes.
    """
    once = reported + walked.once.untimed
    roofline = walked.once.roofline_seconds
    if once < 0.9 * roofline - 1e-4:
        return None
    return once + walked.total.roofline_seconds - roofline
