"""Compiles a training step, or generation, for a TPU, on a machine without one.

  python -m tools.tpu_preflight --gin_file=papers/dvdgan_v2/table1_kinetics600_48x64.gin
      --topology=v3 --batch_per_core=8 --bfloat16

Reports whether the program compiles and if not why, how much memory of a core it
requires, and how long a step takes on a slice of --num_cores. Writes the figures as
JSON, too. With --find_largest_batch it searches from --batch_per_core for the largest
batch that fits. The compiler has its own virtual environment, created on first use
(1.3 GB). Runs from a checkout only; it is not installed.

Times are ranges. The lower bound is the compiler's estimate, or a roofline if it has
none: every operation at the peak rate of the matrix units or of the memory. The upper
bound comes from the compiler's cycle counts, which include half-filled tiles and vector
work.

The exit code is 1 if the program does not compile or does not fit.
"""

import dataclasses
import json
import os
import pathlib

from absl import flags

from tf_dvdgan import cli, errors, terminal
from tf_dvdgan.data import files

from .tpu_compiler import environment, hardware, search

FLAGS = flags.FLAGS


def define_flags() -> None:
    cli.define_gin()
    flags.DEFINE_enum("topology", "v3", list(hardware.CORES), "TPU generation.")
    flags.DEFINE_integer(
        "batch_per_core", None, "Videos per core.", required=True, lower_bound=1
    )
    flags.DEFINE_bool(
        "bfloat16", False, "Compute in bfloat16, regardless of the config."
    )
    flags.DEFINE_enum("part", "step", ["step", "generate"], "Program to compile.")
    flags.DEFINE_bool(
        "find_largest_batch", False, "Search for the largest batch that fits."
    )
    flags.DEFINE_integer(
        "num_cores",
        None,
        "Cores of the slice whose speed is estimated; by default the smallest slice: 8 "
        "of v3, 4 of the others (two cores of a chip of v4 or v5p count as one).",
        lower_bound=1,
    )
    flags.DEFINE_integer("num_classes", 101, "Classes of the data.", lower_bound=1)
    flags.DEFINE_string(
        "json",
        None,
        "File for the figures; ./preflight-CONFIG-TOPOLOGY-PART.json by default.",
    )
    flags.DEFINE_string(
        "environment",
        None,
        "Folder of the compiler's virtual environment; by default in the user's cache.",
    )


def main(argv: list[str]) -> None:
    del argv
    # oneDNN's allocator keeps freed memory, which the compiler needs.
    os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"

    from tf_dvdgan import config

    from .tpu_compiler import program

    precision = ["video_gan.build.precision = 'bfloat16'"] if FLAGS.bfloat16 else []
    config.load(FLAGS.gin_file, [*FLAGS.gin_param, *precision])
    python = _environment()
    with terminal.clock("creating variables"):
        class_names = [f"class_{i}" for i in range(FLAGS.num_classes)]
        the_program = program.build(FLAGS.part, class_names)
    metadata = {
        "gin_file": FLAGS.gin_file,
        "gin_param": FLAGS.gin_param,
        "part": FLAGS.part,
        "topology": FLAGS.topology,
        "precision": the_program.gan.precision,
        "num_classes": FLAGS.num_classes,
        "compiler": environment.versions(),
        **the_program.metadata(),
    }
    preflight = Preflight(the_program, python, hardware.CORES[FLAGS.topology], metadata)
    if FLAGS.find_largest_batch:
        preflight.find_largest(FLAGS.batch_per_core)
    else:
        preflight.check(FLAGS.batch_per_core)


class Preflight:
    """Compiles a program for one or several batch sizes, and reports the results.

    Args:
      the_program: a `program.TrainingStep` or `program.Generation`.
      python: path of the Python in the compiler's environment.
      core: to compile for.
      metadata: of the config, written with the figures.
    """

    def __init__(self, the_program, python: str, core: hardware.Core, metadata: dict):
        self._program = the_program
        self._python = python
        self._core = core
        self._path = FLAGS.json or _default_path()
        files.check_writable(self._path)
        self._figures = {**metadata, "core": dataclasses.asdict(core), "batches": {}}
        self._compiled: dict = {}  # batch size to `compilation.Compilation`

    def check(self, batch: int) -> None:
        """Compiles for one batch size.

        Raises:
          UserError: it does not compile, or does not fit.
        """
        compiled = self._compile(batch)
        if compiled.out_of_memory:
            raise errors.UserError(
                f"{batch} videos do not fit on a core of TPU {FLAGS.topology}: "
                f"{_requirement(compiled, self._core)}. Lower --batch_per_core, or use "
                f"--find_largest_batch. The figures: {self._path}"
            )
        self._show(batch)

    def find_largest(self, first: int) -> None:
        """Compiles for growing batch sizes, until one does not fit.

        Args:
          first: batch size to start from.

        Raises:
          UserError: it does not compile, or not even one video fits.
        """
        largest, _ = search.largest_batch(self._measure, first, self._core.available)
        if not largest:
            raise errors.UserError(
                f"Not even one video fits on a core of TPU {FLAGS.topology}: "
                f"{_requirement(self._compiled[1], self._core)}. The figures: "
                f"{self._path}"
            )
        self._figures["largest_batch_per_core"] = largest
        self._show(largest)
        print(f"  largest   {largest} videos on a core; {largest + 1} do not fit")

    def _measure(self, batch: int) -> search.Fit:
        compiled = self._compile(batch)
        took = terminal.duration(compiled.seconds)
        if compiled.out_of_memory:
            required = _requirement(compiled, self._core)
            print(
                f"{batch} videos on a core do not fit: {required} ({took})", flush=True
            )
            return search.Fit(False, compiled.required)
        total = compiled.memory.total
        gib = total / hardware.GIB
        print(f"{batch} videos on a core fit: {gib:.2f} GiB ({took})", flush=True)
        return search.Fit(True, total)

    def _compile(self, batch: int):
        """Compiles for a batch size, and writes the figures.

        Raises:
          UserError: it does not compile, for a reason other than memory.
        """
        from .tpu_compiler import compilation, program, report

        try:
            with terminal.clock(f"tracing {batch} videos"):
                hlo = self._program.hlo(batch)
            with terminal.clock(f"compiling for {FLAGS.topology}"):
                compiled = compilation.compile_for(self._core, hlo, self._python)
        except program.NotForXlaError as error:
            compiled = compilation.Compilation(0.0, error=str(error))
        self._compiled[batch] = compiled
        figures = dataclasses.asdict(compiled)
        if compiled.memory:
            figures["memory"]["total"] = compiled.memory.total
            figures["estimate"] = dataclasses.asdict(self._estimate(batch))
        self._figures["batches"][batch] = figures
        self._figures["assumptions"] = report.ASSUMPTIONS
        self._write()
        if compiled.error and not compiled.out_of_memory:
            raise errors.UserError(
                f"It does not compile for TPU {FLAGS.topology}: {compiled.error}. The "
                f"figures: {self._path}"
            )
        return compiled

    def _estimate(self, batch: int):
        from .tpu_compiler import report

        return report.estimate(
            self._compiled[batch].costs,
            self._core,
            FLAGS.num_cores or self._core.num_cores,
            batch,
            self._program.gradient_bytes,
            self._program.batches_per_step,
        )

    def _show(self, batch: int) -> None:
        from .tpu_compiler import report

        self._write()
        title = " · ".join(
            [
                *(os.path.splitext(file)[0] for file in FLAGS.gin_file),
                FLAGS.part,
                f"TPU {FLAGS.topology}",
                f"{batch} videos on a core",
                self._figures["precision"],
            ]
        )
        estimated = self._estimate(batch)
        print(report.table(title, self._compiled[batch], self._core, estimated))
        print(f"  figures   {self._path}")

    def _write(self) -> None:
        files.atomic_write(self._path, json.dumps(self._figures, indent=1) + "\n")


def _requirement(compiled, core: hardware.Core) -> str:
    """The memory that a program requires, if that is too much."""
    available = f"{core.available / hardware.GIB:.2f} GiB"
    if not compiled.required:
        return f"more than {available}"
    return f"{compiled.required / hardware.GIB:.2f} of {available}"


def _default_path() -> str:
    config = os.path.splitext(os.path.basename(FLAGS.gin_file[0]))[0]
    return f"preflight-{files.safe_name(config)}-{FLAGS.topology}-{FLAGS.part}.json"


def _environment() -> str:
    """The Python of the compiler's environment; creates that if there is none."""
    given = FLAGS.environment
    folder = pathlib.Path(given) if given else environment.default_folder()
    folder = folder.expanduser().absolute()
    if not environment.is_ready(folder):
        print(f"Installing the TPU compiler in {folder}, only once", flush=True)
    with terminal.clock("installing the TPU compiler"):
        return environment.ensure(folder)


def run() -> None:
    define_flags()
    cli.run(main)


if __name__ == "__main__":
    run()
