"""One compilation: a program goes to the compiler's environment, figures come back."""

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
_WANTED = re.compile(r"(?:temporaries \(|Used )([\d.]+)([KMGT]?)")


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes of a core's memory that a program wants, by kind.

    Attributes:
      arguments: variables and batches.
      outputs: results, most of them new values of variables.
      aliased: so much of the outputs is written over arguments.
      temporaries: everything between.
      code: the program.
    """

    arguments: int
    outputs: int
    aliased: int
    temporaries: int
    code: int

    @property
    def new_outputs(self) -> int:
        """Outputs in a place of their own."""
        return self.outputs - self.aliased

    @property
    def total(self) -> int:
        """All kinds, each byte once."""
        return self.arguments + self.new_outputs + self.temporaries + self.code


@dataclasses.dataclass(frozen=True)
class Costs:
    """What a compiled program does on one core, loops as often as they run.

    Attributes:
      flops: by the compiler's account.
      hbm_bytes: read from and written to the core's large memory.
      optimal_seconds: the compiler's estimate, every operation at the peak rate of the
        matrix units or the memory; None where it has none.
      roofline_seconds: the same, from our own walk through the compiled program.
      cycle_seconds: the compiler's cycle counts of all operations, in seconds.
      loops: of the program.
      costliest: operations by TensorFlow's names and their cycles in seconds, the first
        of them all.
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
    """What came of compiling a program for one core.

    Attributes:
      seconds: that it took.
      error: why it does not compile or does not fit; None if it does both.
      out_of_memory: whether it does not fit. The compiler refuses what is too large
        at one moment; with the gaps between values a program that it takes can want
        more than there is.
      wanted: bytes that it wants, where it does not fit and they are known.
      memory: None if it does not compile.
      costs: as `memory`.
    """

    seconds: float
    error: str | None = None
    out_of_memory: bool = False
    wanted: float | None = None
    memory: Memory | None = None
    costs: Costs | None = None


def compile_for(core: hardware.Core, program: bytes, python: str) -> Compilation:
    """Compiles a program.

    Args:
      core: to compile for.
      program: a serialized HLO module, as TensorFlow gives it.
      python: of the compiler's environment.

    Raises:
      UserError: the compiler died.
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
            raise _death(run)
        with open(os.path.join(folder, "result.json")) as file:
            result = json.load(file)
        if "error" in result:
            return _failure(result, program)
        with open(os.path.join(folder, "compiled.hlo"), "rb") as file:
            return _success(result, file.read(), core)


def _death(run: subprocess.CompletedProcess) -> errors.UserError:
    if run.returncode == -9:
        return errors.UserError(
            "The TPU compiler was killed, probably for want of memory on this machine; "
            "free some, or lower --batch_per_core."
        )
    last = (run.stderr.strip().splitlines() or ["it said nothing"])[-1]
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
    found = _WANTED.search(text)
    wanted = float(found[1]) * _UNITS[found[2]] if found else None
    return Compilation(result["seconds"], sentence, out_of_memory=True, wanted=wanted)


def _success(result: dict, compiled: bytes, core: hardware.Core) -> Compilation:
    walked = work.CompiledProgram(compiled, core)
    theirs = result["costs"]
    costs = Costs(
        flops=theirs["flops"] + walked.total.flops - walked.once.flops,
        hbm_bytes=walked.total.hbm_bytes,
        optimal_seconds=_optimal_seconds(theirs["optimal_seconds"], walked),
        roofline_seconds=walked.total.roofline_seconds,
        cycle_seconds=walked.total.cycles / core.clock,
        loops=tuple(walked.loops),
        costliest=_costliest(walked, core),
    )
    memory = Memory(**result["memory"])
    fits = memory.total <= core.available
    return Compilation(
        result["seconds"],
        error=None if fits else "It wants more memory than a program may have",
        out_of_memory=not fits,
        wanted=None if fits else memory.total,
        memory=memory,
        costs=costs,
    )


def _costliest(walked: work.CompiledProgram, core: hardware.Core) -> dict[str, float]:
    seconds = {name: one.cycles / core.clock for name, one in walked.by_name.items()}
    names = sorted(seconds, key=seconds.get, reverse=True)
    return {name: seconds[name] for name in names[:_NUM_COSTLIEST]}


def _optimal_seconds(theirs: float, walked: work.CompiledProgram) -> float | None:
    """The compiler's estimate without the seconds that it takes for want of knowledge.

    None where what remains is well below our own walk: then the compiler knew no time
    of more operations than we know.
    """
    once = theirs + walked.once.untimed
    ours = walked.once.roofline_seconds
    if once < 0.9 * ours - 1e-4:
        return None
    return once + walked.total.roofline_seconds - ours
