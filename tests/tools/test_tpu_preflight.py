"""The pre-flight: programs compiled for TPUs, and the figures derived from them."""

import dataclasses
import json

import gin
import pytest
import tensorflow as tf
from conftest import TINY, TINY_VGAN, run_module, run_process
from tensorflow.compiler.xla.service import hlo_pb2
from training.test_models import MODELS, parameters_of

from tf_dvdgan import config, errors, layers
from tools.tpu_compiler import (
    compilation,
    environment,
    hardware,
    hlo,
    program,
    search,
    work,
)

GIB = 2**30
V3 = hardware.CORES["v3"]
CLASSES = [f"class_{i}" for i in range(9)]


@pytest.fixture(scope="session")
def python() -> str:
    """Python of the compiler's environment, in the default folder."""
    try:
        return environment.ensure(environment.default_folder())
    except errors.UserError as error:
        pytest.skip(str(error))


def compiled(function, *shapes, python: str) -> compilation.Compilation:
    specs = [tf.TensorSpec(shape) for shape in shapes]
    return compilation.compile_for(
        V3, program.to_hlo(lambda given: function(*given), specs), python
    )


@pytest.mark.parametrize(
    ("gin_file", "video", "part"),
    [
        (TINY_VGAN, [8, 16, 16, 3], "step"),
        pytest.param(TINY, [4, 16, 16, 3], "step", marks=pytest.mark.slow),
        pytest.param(TINY, [4, 16, 16, 3], "generate", marks=pytest.mark.slow),
    ],
)
def test_a_tiny_model_compiles_for_v3(gin_file, video, part, python, tmp_path):
    path = tmp_path / "figures.json"
    flags = ("--batch_per_core=2", f"--part={part}", f"--json={path}")
    # A new process: it sets variables that TensorFlow reads on import.
    result = run_process("-m", "tools.tpu_preflight", f"--gin_file={gin_file}", *flags)
    assert result.returncode == 0, result.stderr
    rows = {line.split()[0] for line in result.stdout.splitlines()[1:]}
    assert {"compiles", "memory", "work", "time", "slice", "assumes"} <= rows
    figures = json.loads(path.read_text())
    assert figures["video"] == video
    assert figures["compiler"]["libtpu"]
    measured = figures["batches"]["2"]
    memory, estimate = measured["memory"], measured["estimate"]
    kinds = ("arguments", "temporaries", "code", "outputs")
    required = sum(memory[kind] for kind in kinds) - memory["aliased"]
    assert memory["total"] == required < 0.2 * GIB
    weights = sum(figures["parameters"].values())
    trained = figures["parameters"]["generator"] if part == "generate" else 3 * weights
    assert memory["arguments"] > 4 * trained
    if part == "step":
        assert memory["arguments"] - memory["aliased"] < 2**18  # the batches
    assert (estimate["all_reduce_seconds"] > 0) == (part == "step")
    low, high = estimate["step_seconds"]
    assert 0 < low < high < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("model", [m for m in MODELS if m != "dvdgan_v2"])
def test_every_model_compiles_for_v3(model, python, request):
    flow = request.getfixturevalue("flow_weights") if model == "mvt_gan_mc" else ""
    config.load([f"models/{model}.gin"], parameters_of(model, flow))
    step = program.build("step", CLASSES)
    result = compilation.compile_for(V3, step.hlo(2), python)
    assert result.error is None
    assert result.memory.aliased > 0.95 * step.gradient_bytes / 3
    assert all(loop.trips for loop in result.costs.loops)


@pytest.mark.slow
@pytest.mark.parametrize("topology", ["v4", "v5e", "v5p", "v6e"])
def test_it_compiles_for_the_other_topologies(topology, python, tiny_config):
    core = hardware.CORES[topology]
    generation = program.build("generate", CLASSES)
    result = compilation.compile_for(core, generation.hlo(2), python)
    assert result.error is None and result.costs.optimal_seconds > 0


class _EagerGRU(layers.ConvGRU):
    def call(self, x, *args, **kwargs):
        eager = tf.py_function(tf.identity, [x], x.dtype)
        return super().call(tf.ensure_shape(eager, x.shape), *args, **kwargs)


def test_an_operation_that_tpus_cannot_run_is_named_with_its_layer():
    with gin.unlock_config():
        gin.register(_EagerGRU, module="tests")
    config.load([TINY], ["dvd_gan.Generator.recurrence = @tests._EagerGRU"])
    generation = program.build("generate", CLASSES)
    with pytest.raises(program.NotForXlaError) as error:
        generation.hlo(2)
    assert "EagerPyFunc in 'generator/stage_0/stage_0_recurrence'" in str(error.value)


def test_what_the_tpu_compiler_rejects_is_named_with_its_layer(python):
    def transform(x):
        with tf.name_scope("generator/first"):
            return tf.abs(tf.signal.fft(tf.cast(x, tf.complex128)))

    result = compiled(transform, [4, 8], python=python)
    assert not result.out_of_memory
    assert "FFT" in result.error and "'generator/first/FFT'" in result.error


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--topology=v9"], 2, "--topology=v9"),
        (["--batch_per_core=0"], 2, "batch_per_core"),
        (["--gin_file=papers/dvdgan_v2/tabel1"], 1, "There is no Gin file"),
        (["--gin_param=dvd_gan.Generator.chh = 2"], 1, "no parameter 'chh'"),
    ],
)
def test_a_mistake_is_reported(flags, code, message):
    few = (f"--gin_file={TINY}", "--batch_per_core=2")
    result = run_module("tools.tpu_preflight", *few, *flags)
    assert result.returncode == code, result.stderr
    assert message in result.stderr and "Traceback" not in result.stderr


def test_a_config_has_to_be_named():
    result = run_module("tools.tpu_preflight", "--batch_per_core=2")
    assert result.returncode == 1 and "Name a config with --gin_file" in result.stderr


def test_a_compiler_that_cannot_be_installed_is_reported(tmp_path, monkeypatch):
    missing = tmp_path / "requirements.txt"
    missing.write_text("./not_there\n")
    monkeypatch.setattr(environment, "_REQUIREMENTS", missing)
    with pytest.raises(errors.UserError, match=r"cannot be installed in .*not_there"):
        environment.ensure(tmp_path / "environment")
    assert not environment.is_ready(tmp_path / "environment")


def test_a_program_that_does_not_fit_reports_the_required_memory(python):
    result = compiled(lambda x: tf.matmul(x, x) + x, [50_000, 50_000], python=python)
    assert result.out_of_memory and result.error
    assert 18 * GIB < result.required < 40 * GIB


def test_a_program_that_compiles_must_also_fit(python):
    small = dataclasses.replace(V3, available=2**20)
    hlo_module = program.to_hlo(tf.square, tf.TensorSpec([1024, 1024]))
    result = compilation.compile_for(small, hlo_module, python)
    assert result.out_of_memory and result.required == result.memory.total > 2**23


def test_an_updated_variable_counts_once(python):
    variable = tf.Variable(tf.zeros([4096, 4096]))

    def update(x):
        variable.assign_add(tf.matmul(x, x))
        return tf.reduce_sum(x)

    result = compiled(update, [4096, 4096], python=python)
    size = 4 * 4096**2
    assert result.memory.arguments == pytest.approx(2 * size, rel=0.01)
    assert result.memory.aliased == pytest.approx(size, rel=0.01)
    assert result.memory.new_outputs < 0.01 * size


def recurrence(scan: bool):
    def run(x, frames, kernel):
        def step(h, frame):
            return tf.tanh(tf.nn.conv2d(h, kernel, 1, "SAME") + frame)

        if scan:
            return tf.scan(step, frames, x)
        states = []
        for frame in tf.unstack(frames):
            x = step(x, frame)
            states.append(x)
        return tf.stack(states)

    return run


def test_a_loop_counts_once_per_iteration(python):
    shapes = ([2, 32, 32, 128], [20, 2, 32, 32, 128], [3, 3, 128, 128])
    scanned = compiled(recurrence(scan=True), *shapes, python=python).costs
    unrolled = compiled(recurrence(scan=False), *shapes, python=python).costs
    assert [loop.trips for loop in scanned.loops] == [20] and not unrolled.loops
    taps = work.positions(32, 32, 3, 1, 1, 1, 1) ** 2
    flops = 20 * 2 * 2 * taps * 128 * 128
    assert scanned.flops == pytest.approx(flops, rel=0.03)
    assert unrolled.flops == pytest.approx(flops, rel=0.03)
    assert scanned.optimal_seconds == pytest.approx(unrolled.optimal_seconds, rel=0.3)
    assert scanned.cycle_seconds == pytest.approx(unrolled.cycle_seconds, rel=0.3)


@pytest.mark.parametrize(
    "sizes",
    [(8, 8, 3, 1, 1, 1, 1), (4, 8, 4, 2, 1, 1, 1), (16, 8, 4, 1, 2, 2, 1),
     (7, 9, 3, 2, -1, 3, 2), (5, 4, 6, 3, 7, 2, 1)],
)  # fmt: skip
def test_padding_is_not_counted_as_work(sizes):
    outputs, inputs, size, stride, padding, base_dilation, window_dilation = sizes
    met = 0
    for tap in range(size):
        for output in range(outputs):
            place = output * stride + tap * window_dilation - padding
            met += place % base_dilation == 0 and 0 <= place // base_dilation < inputs
    assert work.positions(*sizes) == met


def test_gradients_go_around_a_ring():
    assert hardware.all_reduce_seconds(8e9, 1, 1e9) == 0
    assert hardware.all_reduce_seconds(8e9, 2, 1e9) == pytest.approx(8)
    assert hardware.all_reduce_seconds(8e9, 8, 2e9) == pytest.approx(7)


def test_clocks_are_those_of_the_chips():
    clocks = {
        name: round(core.clock / 1e6, -1) for name, core in hardware.CORES.items()
    }
    expected = {"v3": 940, "v4": 1050, "v5e": 1500, "v5p": 1750, "v6e": 1750}
    assert clocks == expected


@pytest.mark.parametrize("first", [1, 3, 8, 64])
@pytest.mark.parametrize(
    ("constant", "slope"), [(2.0, 1.0), (0.5, 0.013), (15.9, 3.0), (12.0, 3.4)]
)
def test_the_largest_batch_is_found_in_a_few_compilations(first, constant, slope):
    def measure(batch: int) -> search.Fit:
        required = (constant + slope * batch) * GIB
        return search.Fit(required <= 16 * GIB, required)

    largest, known = search.largest_batch(measure, first, 16 * GIB)
    assert largest == int((16 - constant) / slope)
    assert len(known) <= 5


@pytest.mark.parametrize("first", [1, 5, 100])
def test_the_largest_batch_is_found_where_memory_bends(first):
    def measure(batch: int) -> search.Fit:  # beyond 20 the compiler computes again
        required = min(0.7 * batch, 14 + 0.1 * (batch - 20)) * GIB
        return search.Fit(
            required <= 16 * GIB, required if required <= 16 * GIB else None
        )

    largest, known = search.largest_batch(measure, first, 16 * GIB)
    assert largest == 40 and len(known) <= 12


def test_copies_become_reshapes_and_aliases_stay():
    module = hlo_pb2.HloModuleProto(name="step")
    computation = module.computations.add(id=1)
    for opcode in ("parameter", "copy", "add"):
        computation.instructions.add(opcode=opcode, name=opcode)
    module.input_output_alias.entries.add(parameter_number=3, output_shape_index=[2])
    rewritten = hlo_pb2.HloModuleProto.FromString(
        hlo.rewrite_copies(module.SerializeToString())
    )
    opcodes = [i.opcode for i in rewritten.computations[0].instructions]
    assert opcodes == ["parameter", "reshape", "add"]
    assert rewritten.input_output_alias == module.input_output_alias


def test_a_config_that_makes_no_model_is_reported():
    config.load([TINY], ["RESOLUTION = 24"])
    with pytest.raises(errors.UserError, match=r"defines no valid model: .*24"):
        program.build("generate", CLASSES)


def test_an_error_leads_to_the_operation():
    module = hlo_pb2.HloModuleProto()
    instructions = module.computations.add(id=1).instructions
    for name, target, op_name in (("add.1", "", "a/Add"), ("call.2", "Eigen", "b/Eig")):
        instruction = instructions.add(name=name, custom_call_target=target)
        instruction.metadata.op_name = op_name
    text = module.SerializeToString()
    assert hlo.operation_in(text, "Bad operand of add.1.") == "a/Add"
    assert hlo.operation_in(text, "unknown target 'Eigen'") == "b/Eig"
    assert hlo.operation_in(text, "no reason") is None
