"""Times every phase of a config and compares it with the machine's peak rate.

  python -m tools.benchmark --gin_file=demo.gin

Data and weights are random. Videos to prepare and shards to read are written to a
temporary folder, unless --data_dir names shards. GFLOP are counted in the graphs:
"plain" without the exact rewrites, then as run.
"""

import glob
import json
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence

from absl import flags

from tf_dvdgan import cli, errors, machine, onednn, terminal
from tf_dvdgan.data import files

FLAGS = flags.FLAGS
PHASES = (
    "generation",
    "discriminator step",
    "generator step",
    "whole step",
    "reading",
    "preparation",
)
_NUM_VIDEOS = 180
_COPIES = (4, 16)  # of each video, in the two preparation runs


def define_flags() -> None:
    flags.DEFINE_multi_string("gin_file", [], "Gin file; may be repeated.")
    flags.DEFINE_multi_string("gin_param", [], "A Gin binding, such as 'CH = 32'.")
    flags.DEFINE_integer("num_classes", 101, "Number of classes of the random data.")
    flags.DEFINE_multi_enum("phase", list(PHASES), PHASES, "Phase to time.")
    flags.DEFINE_integer("repeats", 5, "Number of timed runs per phase.", lower_bound=1)
    flags.DEFINE_string("data_dir", None, "Prepared shards to read.")
    flags.DEFINE_string("json", None, "File to write the figures to.")


def main(argv: list[str]) -> None:
    del argv
    import tensorflow as tf

    from tf_dvdgan import config
    from tf_dvdgan.training import trainer

    if not FLAGS.gin_file:
        raise errors.UserError("Name a config with --gin_file, such as demo.gin.")
    if FLAGS.json:
        files.check_writable(FLAGS.json)
    config.load(FLAGS.gin_file, FLAGS.gin_param)
    class_names = [f"class {i}" for i in range(FLAGS.num_classes)]
    began = time.perf_counter()
    the_trainer = trainer.build(tf.distribute.get_strategy(), class_names)
    results = {
        "config": [*FLAGS.gin_file, *FLAGS.gin_param],
        "machine": {
            "processor": machine.describe(),
            "oneDNN": onednn.describe(),
            "devices": [d.device_type for d in tf.config.list_physical_devices()],
            "date": time.strftime("%Y-%m-%d"),
        },
        "batch_size": the_trainer.global_batch_size,
        "precision": the_trainer.gan.precision,
        "build_seconds": time.perf_counter() - began,
        "phases": {},
    }
    rates = [machine.matrix_rate(results["precision"])]
    for name, function in _step_phases(the_trainer).items():
        if name in FLAGS.phase:
            results["phases"][name] = _time_graph(name, function, the_trainer)
    rates.append(machine.matrix_rate(results["precision"]))
    results["matmul_gflops"] = statistics.mean(rates)
    for phase in results["phases"].values():
        phase["gflops"] = phase["gflop"] / phase["median"]
        phase["share_of_matmul"] = phase["gflops"] / results["matmul_gflops"]
    with tempfile.TemporaryDirectory() as folder:
        _time_data(folder, the_trainer, results["phases"])
    print(table(results))
    if FLAGS.json:
        files.atomic_write(FLAGS.json, json.dumps(results, indent=2))


def _step_phases(the_trainer) -> dict[str, Callable]:
    """Functions of a step's batches, by phase."""
    import tensorflow as tf

    from tf_dvdgan.data import transforms

    gan = the_trainer.gan
    seed = tf.constant([0, 0], tf.int64)

    def generate(batches):
        rows = batches[0]["label"].shape[0]
        z = gan.latent.sample(rows, seed)
        videos = transforms.to_unit_range(batches[0]["video"])
        conditioning = gan.conditioning(batches[0]["label"], videos)
        return gan.generate(z, conditioning)["videos"]

    phases = {"generation": generate}
    if gan.discriminators:
        phases["discriminator step"] = lambda b: the_trainer.update_discriminators(
            b[0], seed
        )
    phases["generator step"] = lambda b: the_trainer.update_generator(b[0], seed)
    phases["whole step"] = the_trainer.replica_step
    return phases


def _time_graph(name: str, function: Callable, the_trainer) -> dict:
    """Seconds, operations and memory of a function of a step's batches."""
    import tensorflow as tf

    from tf_dvdgan import flops, ops

    batch = next(iter(the_trainer.random_batches()))
    batches = [batch] * the_trainer.num_d_steps
    with ops.reference_ops():
        plain = tf.function(lambda b: function(b)).get_concrete_function(batches)
    compiled = tf.function(lambda b: function(b), jit_compile=the_trainer.jit_compile)
    run = compiled.get_concrete_function(batches)
    return {
        "gflop_plain": flops.count(plain.graph) / 1e9,
        "gflop": flops.count(run.graph) / 1e9,
        **_time(name, lambda: tf.nest.map_structure(_wait, compiled(batches))),
    }


def _wait(tensor) -> None:
    tensor.numpy()


def _time(name: str, run: Callable[[], None]) -> dict:
    """Median, minimum and maximum seconds of a run, and peak memory."""
    progress = terminal.Progress(name, FLAGS.repeats + 1)
    _reset_peak()
    run()
    progress.update(1)
    seconds = []
    for done in range(FLAGS.repeats):
        began = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - began)
        progress.update(done + 2)
    return {
        "median": statistics.median(seconds),
        "fastest": min(seconds),
        "slowest": max(seconds),
        "peak_gib": _peak() / 2**30,
    }


def _reset_peak() -> None:
    """Resets the peak memory counters where the system allows it."""
    import tensorflow as tf

    for gpu in tf.config.list_logical_devices("GPU"):
        tf.config.experimental.reset_memory_stats(gpu.name)
    if os.access("/proc/self/clear_refs", os.W_OK):
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")


def _peak() -> int:
    """Peak memory in bytes: of the GPUs if there are any, else of this process."""
    import resource

    import tensorflow as tf

    gpus = tf.config.list_logical_devices("GPU")
    if gpus:
        info = tf.config.experimental.get_memory_info
        return max(info(gpu.name)["peak"] for gpu in gpus)
    try:
        with open("/proc/self/status") as file:
            line = next(line for line in file if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    except (OSError, StopIteration):
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _time_data(folder: str, the_trainer, phases: dict) -> None:
    """Times preparation and reading; prepares shards unless --data_dir names some."""
    data_dir = FLAGS.data_dir
    resolution = the_trainer.gan.generator.resolution
    if "preparation" in FLAGS.phase or ("reading" in FLAGS.phase and not data_dir):
        videos, shards = os.path.join(folder, "videos"), os.path.join(folder, "shards")
        preparation = _time_preparation(videos, shards, resolution)
        if "preparation" in FLAGS.phase:
            phases["preparation"] = preparation
        data_dir = data_dir or shards
    if "reading" in FLAGS.phase:
        phases["reading"] = _time_reading(data_dir, the_trainer)
        step = phases.get("whole step")
        if step:
            clips = the_trainer.global_batch_size * the_trainer.num_d_steps
            consumed = clips / step["median"]
            phases["reading"]["times_what_a_step_takes"] = (
                phases["reading"]["clips_per_second"] / consumed
            )


def _time_preparation(videos: str, shards: str, resolution: int) -> dict:
    """Times data_prep.prepare on videos of UCF-101's size, and OpenCV on all cores.

    The videos are hard-linked under several names. Two runs differ in their number of
    clips; the rate comes from the difference, so it excludes the start-up time.
    """
    from . import make_demo_videos

    make_demo_videos.write_dataset(videos, "shapes", _NUM_VIDEOS, (240, 320), seed=0)
    paths = glob.glob(os.path.join(videos, "*", "v_*"))
    inside = __package__.removesuffix("tools")  # "tf_dvdgan." once installed
    seconds = []
    for copies in _COPIES:
        links = f"{videos}-{copies}"
        _link_copies(paths, links, copies)
        shutil.rmtree(shards, ignore_errors=True)
        began = time.perf_counter()
        subprocess.run(
            [
                *(sys.executable, "-m", f"{inside}data_prep.prepare"),
                *("--dataset=folder", f"--input={links}", f"--output={shards}"),
                f"--resolution={resolution}",
            ],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        seconds.append(time.perf_counter() - began)
    few, many = (count * len(paths) for count in _COPIES)
    rate = (many - few) / (seconds[1] - seconds[0])
    context = multiprocessing.get_context("spawn")
    with context.Pool() as pool:
        list(pool.imap(_decode_by_opencv, [(path, resolution) for path in paths[:8]]))
        began = time.perf_counter()
        work = ((path, resolution) for path in paths * _COPIES[1])
        frames = sum(pool.imap_unordered(_decode_by_opencv, work))
        opencv_rate = many / (time.perf_counter() - began)
    return {
        "clips_per_second": rate,
        "frames_per_second": rate * frames / many,
        "start_seconds": seconds[0] - few / rate,
        "opencv_alone_clips_per_second": opencv_rate,
        "share_of_opencv": rate / opencv_rate,
    }


def _link_copies(paths: Sequence[str], folder: str, copies: int) -> None:
    """Hard-links each video under several names, in a folder per class."""
    for path in paths:
        of_class = os.path.join(folder, os.path.basename(os.path.dirname(path)))
        os.makedirs(of_class, exist_ok=True)
        for i in range(copies):
            os.link(path, os.path.join(of_class, f"{i}-{os.path.basename(path)}"))


def _decode_by_opencv(task: tuple[str, int]) -> int:
    """Decodes and resizes a video with OpenCV only; returns its number of frames."""
    import cv2

    path, size = task
    capture, frames = cv2.VideoCapture(path), 0
    while True:
        read, frame = capture.read()
        if not read:
            return frames
        scale = size / min(frame.shape[:2])
        cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
        frames += 1


def _time_reading(data_dir: str, the_trainer) -> dict:
    """Times the batches that training reads, without training."""
    import gin

    from tf_dvdgan.data import training_data
    from tf_dvdgan.training import loop

    window = gin.get_configurable("data.Window")()
    size = the_trainer.global_batch_size
    data = training_data.Shards(data_dir, window)
    batches = loop.distribute(the_trainer, data, first_batch=0)
    num_batches = max(4, 256 // size)
    iterator = iter(batches)
    for _ in range(num_batches):  # fills the buffers
        next(iterator)
    seconds = []
    for _ in range(FLAGS.repeats):
        began = time.perf_counter()
        for _ in range(num_batches):
            next(iterator)
        seconds.append(time.perf_counter() - began)
    return {"clips_per_second": num_batches * size / statistics.median(seconds)}


def table(results: dict) -> str:
    """Formats the figures as a text table."""
    the_machine = results["machine"]
    lines = [
        f"{' '.join(results['config'])}",
        f"batch {results['batch_size']}, {results['precision']}, "
        f"{the_machine['processor']}, oneDNN {the_machine['oneDNN']}, "
        f"{'+'.join(the_machine['devices'])}, {the_machine['date']}",
        f"matrix multiplication: {results['matmul_gflops']:.0f} GFLOP/s; "
        f"networks built in {results['build_seconds']:.1f} s",
        "",
        f"{'phase':<20}{'median s':>9}{'fastest':>9}{'slowest':>9}{'GFLOP plain':>13}"
        f"{'as run':>9}{'GFLOP/s':>9}{'of matmul':>11}{'peak GiB':>10}",
    ]
    for name, phase in results["phases"].items():
        if "median" in phase:
            lines.append(
                f"{name:<20}{phase['median']:>9.3f}{phase['fastest']:>9.3f}"
                f"{phase['slowest']:>9.3f}{phase['gflop_plain']:>13.1f}"
                f"{phase['gflop']:>9.1f}{phase['gflops']:>9.0f}"
                f"{phase['share_of_matmul']:>11.0%}{phase['peak_gib']:>10.2f}"
            )
    reading = results["phases"].get("reading")
    if reading:
        times = reading.get("times_what_a_step_takes")
        ratio = f", {times:.1f} times what the step takes" if times else ""
        lines.append(f"reading: {reading['clips_per_second']:.0f} clips/s{ratio}")
    preparation = results["phases"].get("preparation")
    if preparation:
        lines.append(
            f"preparation: {preparation['clips_per_second']:.1f} clips/s after "
            f"{preparation['start_seconds']:.1f} s of starting; OpenCV alone "
            f"{preparation['opencv_alone_clips_per_second']:.1f} "
            f"({preparation['share_of_opencv']:.0%})"
        )
    return "\n".join(lines)


def run() -> None:
    define_flags()
    cli.run(main)


if __name__ == "__main__":
    run()
