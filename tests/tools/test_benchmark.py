"""The benchmark: operation counts, and the table of the command."""

import json
import subprocess
import sys

import pytest
import tensorflow as tf
from conftest import TINY

from tf_dvdgan import benchmark, errors, flops, layers, ops
from tools.benchmarks import versus_pytorch

X = tf.TensorSpec([2, 8, 8, 3])


def graph_of(function, *specs) -> tf.Graph:
    return tf.function(function).get_concrete_function(*specs).graph


def test_a_convolution_and_its_gradients_cost_the_same():
    kernel = tf.ones([3, 3, 3, 5])
    forward = 2 * (2 * 8 * 8 * 5) * (3 * 3 * 3)
    conv = graph_of(lambda x: tf.nn.conv2d(x, kernel, 1, "SAME"), X)
    assert flops.count(conv) == forward

    def gradients(x, kernel):
        with tf.GradientTape() as tape:
            tape.watch([x, kernel])
            y = tf.nn.conv2d(x, kernel, 1, "SAME")
        return tape.gradient(y, [x, kernel])

    both = graph_of(gradients, X, tf.TensorSpec(kernel.shape))
    assert flops.count(both) in (2 * forward, 3 * forward)  # pruned forward or not


def test_products_loops_and_functions_are_counted_as_often_as_they_run():
    @tf.function
    def square(a):
        return tf.matmul(a, a)

    def five_times(a):
        _, product = tf.while_loop(
            lambda i, _: i < 5,
            lambda i, a: (i + 1, square(a)),
            (0, a),
            maximum_iterations=5,
        )
        return product

    a = tf.TensorSpec([4, 4])
    once = graph_of(five_times, a)
    loops = [op for op in once.get_operations() if "While" in op.type]
    assert loops
    assert flops.count(once) == 5 * 2 * 4**3


def test_a_loop_of_unknown_length_is_refused():
    def forever(a, n):
        return tf.while_loop(lambda i, _: i < n, lambda i, a: (i + 1, a @ a), (0, a))[1]

    specs = tf.TensorSpec([4, 4]), tf.TensorSpec([], tf.int32)
    with pytest.raises(ValueError, match="is unknown"):
        flops.count(graph_of(forever, *specs))


@pytest.mark.parametrize(
    ("make", "shape", "ratio"),
    [
        (lambda: layers.SpectralConv2D(4, 3, "up"), [2, 8, 8, 3], 2.25),
        (lambda: layers.SpectralConv2D(4, 3, "down"), [2, 8, 8, 3], 2.25),
        (lambda: layers.SpectralConv2D(4, 1, "up"), [2, 8, 8, 3], 4.0),
        (lambda: layers.SpectralConv2D(4, 1, "down"), [2, 8, 8, 3], 4.0),
        (lambda: layers.SpectralConv3D(4, 3, True), [2, 4, 8, 8, 3], 3.375),
        (lambda: layers.SpectralConv3D(4, 3, True, False), [2, 4, 8, 8, 3], 2.25),
        (lambda: layers.SpectralConv3D(4, 1, True), [2, 4, 8, 8, 3], 8.0),
    ],
)
def test_the_switch_gives_the_same_function_with_the_work_of_the_reference_ops(
    make, shape, ratio
):
    layer, x = make(), tf.random.stateless_normal(shape, [1, 2])
    layer.build(shape)
    power_iterations = graph_of(lambda: layer.normalized_kernel())

    def run():
        function = tf.function(lambda x: layer(x))
        graph = function.get_concrete_function(tf.TensorSpec(shape)).graph
        return function(x), flops.count(graph) - flops.count(power_iterations)

    y, count = run()
    with ops.reference_ops():
        plain_y, plain_count = run()
    tf.debugging.assert_near(y, plain_y, atol=1e-5)
    assert plain_count == pytest.approx(ratio * count)


@pytest.mark.parametrize("kind", [layers.ConvGRU, layers.MultiplicativeConvGRU])
def test_a_plain_recurrence_convolves_its_constant_input_at_every_step(kind):
    layer, x = kind(), tf.random.stateless_normal([2, 1, 4, 4, 3], [1, 2])
    layer(x, None, 5)

    def run():
        function = tf.function(lambda x: layer(x, None, 5))
        return function(x), flops.count(function.get_concrete_function(x).graph)

    y, count = run()
    with ops.reference_ops():
        plain_y, plain_count = run()
    tf.debugging.assert_near(y, plain_y, atol=1e-5)
    inputs = 2 * (2 * 4 * 4 * 9) * (9 * 3)  # of one frame, three kernels
    assert plain_count >= count + 4 * inputs


@pytest.mark.slow
def test_the_command_fills_the_table(demo_shards, tmp_path):
    path = tmp_path / "figures.json"
    phases = ("generation", "whole step", "reading")
    result = subprocess.run(
        [
            *(sys.executable, "-m", "tools.benchmark", f"--gin_file={TINY}"),
            *(f"--phase={phase}" for phase in phases),
            *("--num_classes=9", f"--data_dir={demo_shards}", "--repeats=2"),
            f"--json={path}",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    figures = json.loads(path.read_text())
    assert set(figures["phases"]) == set(phases)
    for name in phases[:2]:
        assert name in result.stdout
        phase = figures["phases"][name]
        assert phase["gflop_reference"] > 1.1 * phase["gflop"] > 0
        assert phase["fastest"] <= phase["median"] <= phase["slowest"]
        assert 0 < phase["share_of_matmul"] < 1 and phase["peak_gib"] > 0.1
    assert figures["phases"]["reading"]["clips_per_second"] > 0
    assert "times what the step takes" in result.stdout


def test_the_output_is_checked_before_anything_is_timed():
    with pytest.raises(errors.UserError, match="cannot be written"):
        benchmark.print_phases(["/nowhere.gin"], output="/proc/no/figures.json")


def test_pyav_alone_reads_every_frame(demo_videos):
    import glob

    path = sorted(glob.glob(f"{demo_videos}/*/*.avi"))[0]
    assert benchmark._decode_by_pyav((path, 16)) > 16


def test_ratios_are_of_rounds():
    seconds = {
        "PyTorch float32": [2.0, 4.0, 10.0],
        "tf_dvdgan float32": [1.0, 3.0, 5.0],
    }
    last = versus_pytorch.table(seconds).splitlines()[-1].split()
    assert last[-4:] == ["3.00", "1.00", "5.00", "0.50"]
