"""Times every phase of a config beside what the machine can do.

  python -m tools.benchmark --gin_file=demo.gin

Data and weights are made up; videos to prepare and shards to read are written to a
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
from collections.abc import Callable

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
_COPIES = (4, 16)  # of each video, in the two runs of preparing


def define_flags() -> None:
    flags.DEFINE_multi_string("gin_file", [], "Gin file; may be given several times.")
    flags.DEFINE_multi_string("gin_param", [], "A Gin binding, such as 'CH = 32'.")
    flags.DEFINE_integer("num_classes", 101, "Classes of the made-up data.")
    flags.DEFINE_multi_enum("phase", list(PHASES), PHASES, "What to time.")
    flags.DEFINE_integer("repeats", 5, "Timed runs of each phase.", lower_bound=1)
    flags.DEFINE_string("data_dir", None, "Prepared shards to read.")
    flags.DEFINE_string("json", None, "File for the figures.")


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
        files.write_whole(FLAGS.json, json.dumps(results, indent=2))


def _step_phases(the_trainer) -> dict[str, Callable]:
    """What a phase computes, from a step's batches."""
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

    from tf_dvdgan import ops

    from .benchmarks import flops

    batch = next(iter(the_trainer.random_batches()))
    batches = [batch] * the_trainer.num_d_steps
    with ops.plain_form():
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
    """Median and extremes of the seconds of a run, and the peak of memory."""
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
    """Forgets the peak of memory, where the system can."""
    import tensorflow as tf

    for gpu in tf.config.list_logical_devices("GPU"):
        tf.config.experimental.reset_memory_stats(gpu.name)
    if os.access("/proc/self/clear_refs", os.W_OK):
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")


def _peak() -> int:
    """Bytes at the peak: of the devices that tell, else of this process."""
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
    """Reads shards; before that prepares them, if none are named."""
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
    """The command on videos of UCF-101's size, beside OpenCV alone on as many cores.

    The videos are linked under several names. The rate is that of the clips by which a
    second run has more than a first, so that starting up does not count.
    """
    from . import make_demo_videos

    make_demo_videos.write(videos, "shapes", _NUM_VIDEOS, (240, 320), seed=0)
    paths = glob.glob(os.path.join(videos, "*", "v_*"))
    inside = __package__.removesuffix("tools")  # "tf_dvdgan." once installed
    seconds, listed = [], []
    for copies in _COPIES:
        listed.append(f"{videos}-{copies}")
        for path in paths:
            folder = os.path.join(listed[-1], os.path.basename(os.path.dirname(path)))
            os.makedirs(folder, exist_ok=True)
            for i in range(copies):
                os.link(path, os.path.join(folder, f"{i}-{os.path.basename(path)}"))
        shutil.rmtree(shards, ignore_errors=True)
        began = time.perf_counter()
        subprocess.run(
            [
                *(sys.executable, "-m", f"{inside}data_prep.prepare"),
                *("--dataset=folder", f"--input={listed[-1]}", f"--output={shards}"),
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
        list(pool.imap(_decode_alone, [(path, resolution) for path in paths[:8]]))
        began = time.perf_counter()
        work = ((path, resolution) for path in paths * _COPIES[1])
        frames = sum(pool.imap_unordered(_decode_alone, work))
        alone = many / (time.perf_counter() - began)
    return {
        "clips_per_second": rate,
        "frames_per_second": rate * frames / many,
        "start_seconds": seconds[0] - few / rate,
        "opencv_alone_clips_per_second": alone,
        "share_of_opencv": rate / alone,
    }


def _decode_alone(task: tuple[str, int]) -> int:
    """Decodes and resizes a video by OpenCV and nothing else; gives its frames."""
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
    """Batches as training reads them, with nothing else to do."""
    import gin

    from tf_dvdgan.data import training_data
    from tf_dvdgan.training import loop

    window = gin.get_configurable("data.Window")()
    size = the_trainer.global_batch_size
    data = training_data.Shards(data_dir, window)
    batches = loop.distribute(the_trainer, data, first_batch=0)
    num = max(4, 256 // size)
    iterator = iter(batches)
    for _ in range(num):
        next(iterator)
    seconds = []
    for _ in range(FLAGS.repeats):
        began = time.perf_counter()
        for _ in range(num):
            next(iterator)
        seconds.append(time.perf_counter() - began)
    return {"clips_per_second": num * size / statistics.median(seconds)}


def table(results: dict) -> str:
    """The figures for people."""
    facts = results["machine"]
    lines = [
        f"{' '.join(results['config'])}",
        f"batch {results['batch_size']}, {results['precision']}, "
        f"{facts['processor']}, oneDNN {facts['oneDNN']}, "
        f"{'+'.join(facts['devices'])}, {facts['date']}",
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
        beside = f", {times:.1f} times what the step takes" if times else ""
        lines.append(f"reading: {reading['clips_per_second']:.0f} clips/s{beside}")
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
