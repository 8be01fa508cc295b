"""Times the phases of a config, and compares them with the machine's peak.

Data and weights are random. GFLOP are counted in the graphs: "ref." with the reference
ops, then as run.
"""

import glob
import json
import multiprocessing
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gin
import tensorflow as tf

from tf_dvdgan import config, demo_videos, errors, flops, machine, onednn, ops, terminal
from tf_dvdgan.data import files, training_data, transforms
from tf_dvdgan.models import video_gan
from tf_dvdgan.training import input_pipeline
from tf_dvdgan.training import trainer as trainer_lib

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


def print_phases(
    gin_files: Sequence[str],
    parameters: Sequence[str] = (),
    *,
    phases: Sequence[str] = PHASES,
    num_classes: int = 101,
    repeats: int = 5,
    data_dir: str | None = None,
    output: str | None = None,
) -> dict[str, Any]:
    """Times phases of a config; prints a table, and writes the figures to a file.

    Args:
      gin_files: Gin files of the config.
      parameters: Gin bindings, such as "CH = 32".
      phases: which of `PHASES` to time.
      num_classes: number of classes of the random data.
      repeats: number of timed runs per phase.
      data_dir: prepared shards to read, as in `measure`.
      output: JSON file to write the figures to; None to write none.

    Returns:
      The figures, as `measure` returns them.

    Raises:
      UserError: the file cannot be written, the config is invalid, or there are no such
        phases or shards.
    """
    if output:
        files.check_writable(output)
    results = measure(
        gin_files,
        parameters,
        phases=phases,
        num_classes=num_classes,
        repeats=repeats,
        data_dir=data_dir,
    )
    print(table(results))
    if output:
        files.atomic_write(output, json.dumps(results, indent=2))
    return results


def measure(
    gin_files: Sequence[str],
    parameters: Sequence[str] = (),
    *,
    phases: Sequence[str] = PHASES,
    num_classes: int = 101,
    repeats: int = 5,
    data_dir: str | None = None,
) -> dict[str, Any]:
    """Times phases of a config on random data.

    Args:
      gin_files: Gin files of the config.
      parameters: Gin bindings, such as "CH = 32".
      phases: which of `PHASES` to time.
      num_classes: number of classes of the random data.
      repeats: number of timed runs per phase.
      data_dir: prepared shards to read; by default synthetic videos are prepared in a
        temporary folder.

    Returns:
      The figures as JSON types: config, machine, GFLOP/s of a matrix multiplication,
      and seconds, GFLOP and peak memory by phase.

    Raises:
      UserError: the config is invalid, or there are no such phases or shards.
    """
    for name in phases:
        if name not in PHASES:
            raise errors.InvalidValueError(
                f"phase must be one of {', '.join(PHASES)}. Received: {name!r}"
            )
    with config.isolated():
        config.load(gin_files, parameters)
        class_names = [f"class {i}" for i in range(num_classes)]
        began = time.perf_counter()
        trainer = trainer_lib.from_config(
            tf.distribute.get_strategy(), class_names, video_gan.from_config
        )
        results: dict[str, Any] = {
            "config": [*gin_files, *parameters],
            "machine": {
                "processor": machine.describe(),
                "oneDNN": onednn.describe(),
                "devices": [d.device_type for d in tf.config.list_physical_devices()],
                "date": time.strftime("%Y-%m-%d"),
            },
            "batch_size": trainer.global_batch_size,
            "precision": trainer.gan.precision,
            "build_seconds": time.perf_counter() - began,
        }
        rates = [machine.matrix_rate(results["precision"])]
        times = {
            name: _time_graph(name, function, trainer, repeats)
            for name, function in _step_phases(trainer).items()
            if name in phases
        }
        rates.append(machine.matrix_rate(results["precision"]))
        results["matmul_gflops"] = statistics.mean(rates)
        for phase in times.values():
            phase["gflops"] = phase["gflop"] / phase["median"]
            phase["share_of_matmul"] = phase["gflops"] / results["matmul_gflops"]
        with tempfile.TemporaryDirectory() as folder:
            times |= _time_data(folder, trainer, phases, data_dir, repeats)
    if "reading" in times and "whole step" in times:
        clips = trainer.global_batch_size * trainer.num_d_steps
        consumed = clips / times["whole step"]["median"]
        ratio = times["reading"]["clips_per_second"] / consumed
        times["reading"]["times_what_a_step_takes"] = ratio
    return results | {"phases": times}


def _step_phases(trainer: trainer_lib.Trainer) -> dict[str, Callable]:
    """Functions of a step's batches, by phase."""
    gan = trainer.gan
    seed = tf.constant([0, 0], tf.int64)

    def generate(batches):
        rows = batches[0]["label"].shape[0]
        z = gan.latent.sample(rows, seed)
        videos = transforms.to_unit_range(batches[0]["video"])
        conditioning = gan.conditioning(batches[0]["label"], videos)
        return gan.generate(z, conditioning)["videos"]

    phases = {"generation": generate}
    if gan.discriminators:
        phases["discriminator step"] = lambda b: trainer.updates.update_discriminators(
            b[0], seed
        )
    phases["generator step"] = lambda b: trainer.updates.update_generator(b[0], seed)
    phases["whole step"] = trainer.replica_step
    return phases


def _time_graph(
    name: str, function: Callable, trainer: trainer_lib.Trainer, repeats: int
) -> dict:
    """Seconds, operations and memory of a function of a step's batches."""
    batch = next(iter(trainer.random_batches()))
    batches = [batch] * trainer.num_d_steps
    with ops.reference_ops():
        reference = tf.function(lambda b: function(b)).get_concrete_function(batches)
    compiled = tf.function(lambda b: function(b), jit_compile=trainer.jit_compile)
    run = compiled.get_concrete_function(batches)
    return {
        "gflop_reference": flops.count(reference.graph) / 1e9,
        "gflop": flops.count(run.graph) / 1e9,
        **_time(
            name,
            lambda: tf.nest.map_structure(_wait, compiled(batches)),
            repeats,
        ),
    }


def _wait(tensor: tf.Tensor) -> None:
    tensor.numpy()


def _time(name: str, run: Callable[[], object], repeats: int) -> dict:
    """Median, minimum and maximum seconds of a run, and peak memory."""
    progress = terminal.Progress(name, repeats + 1)
    _reset_peak()
    run()
    progress.update(1)
    seconds = []
    for done in range(repeats):
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
    for gpu in tf.config.list_logical_devices("GPU"):
        tf.config.experimental.reset_memory_stats(gpu.name)
    if os.access("/proc/self/clear_refs", os.W_OK):
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")


def _peak() -> int:
    """Peak memory in bytes: of the GPUs if there are any, else of this process."""
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


def _time_data(
    folder: str,
    trainer: trainer_lib.Trainer,
    phases: Sequence[str],
    data_dir: str | None,
    repeats: int,
) -> dict[str, dict]:
    """Times preparation and reading; prepares shards unless `data_dir` is given."""
    times: dict[str, dict] = {}
    resolution = trainer.gan.generator.resolution
    videos, shards = os.path.join(folder, "videos"), os.path.join(folder, "shards")
    if "preparation" in phases or ("reading" in phases and not data_dir):
        preparation = _time_preparation(videos, shards, resolution)
        if "preparation" in phases:
            times["preparation"] = preparation
    if "reading" in phases:
        times["reading"] = _time_reading(data_dir or shards, trainer, repeats)
    return times


def _time_preparation(videos: str, shards: str, resolution: int) -> dict:
    """Times data_prep.prepare on videos of UCF-101's size, and PyAV on all cores.

    The videos are hard-linked under several names. Two runs differ in their number of
    clips; the rate comes from the difference, so it excludes the start-up time.
    """
    demo_videos.write_dataset(videos, "shapes", _NUM_VIDEOS, (240, 320), seed=0)
    paths = glob.glob(os.path.join(videos, "*", "v_*"))
    seconds = []
    for copies in _COPIES:
        links = f"{videos}-{copies}"
        _link_copies(paths, links, copies)
        shutil.rmtree(shards, ignore_errors=True)
        began = time.perf_counter()
        subprocess.run(
            [
                *(sys.executable, "-m", "tf_dvdgan.data_prep.prepare"),
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
        list(pool.imap(_decode_by_pyav, [(path, resolution) for path in paths[:8]]))
        began = time.perf_counter()
        work = ((path, resolution) for path in paths * _COPIES[1])
        frames = sum(pool.imap_unordered(_decode_by_pyav, work))
        pyav_rate = many / (time.perf_counter() - began)
    return {
        "clips_per_second": rate,
        "frames_per_second": rate * frames / many,
        "start_seconds": seconds[0] - few / rate,
        "pyav_alone_clips_per_second": pyav_rate,
        "share_of_pyav": rate / pyav_rate,
    }


def _link_copies(paths: Sequence[str], folder: str, copies: int) -> None:
    """Hard-links each video under several names, in a folder per class."""
    for path in paths:
        of_class = os.path.join(folder, os.path.basename(os.path.dirname(path)))
        os.makedirs(of_class, exist_ok=True)
        for i in range(copies):
            os.link(path, os.path.join(of_class, f"{i}-{os.path.basename(path)}"))


def _decode_by_pyav(task: tuple[str, int]) -> int:
    """Decodes and resizes a video with the libraries only; returns its frame count."""
    import av
    import cv2
    from av.video.reformatter import VideoReformatter

    path, size = task
    frames, converter = 0, VideoReformatter()
    with av.open(path) as container:
        container.streams.video[0].codec_context.thread_count = 1
        for frame in container.decode(video=0):
            image = converter.reformat(frame, format="rgb24", threads=1).to_ndarray()
            scale = size / min(image.shape[:2])
            cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
            frames += 1
    return frames


def _time_reading(data_dir: str, trainer: trainer_lib.Trainer, repeats: int) -> dict:
    """Times the batches that training reads, without training."""
    window = gin.get_configurable("data.Window")()
    size = trainer.global_batch_size
    data = training_data.Shards(data_dir, window)
    batches = input_pipeline.distribute(trainer, data, first_batch=0)
    num_batches = max(4, 256 // size)
    iterator = iter(batches)
    for _ in range(num_batches):  # fills the buffers
        next(iterator)
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        for _ in range(num_batches):
            next(iterator)
        seconds.append(time.perf_counter() - began)
    return {"clips_per_second": num_batches * size / statistics.median(seconds)}


def table(results: Mapping[str, Any]) -> str:
    """Formats the result of `measure` as a text table."""
    machine_ = results["machine"]
    lines = [
        f"{' '.join(results['config'])}",
        f"batch {results['batch_size']}, {results['precision']}, "
        f"{machine_['processor']}, oneDNN {machine_['oneDNN']}, "
        f"{'+'.join(machine_['devices'])}, {machine_['date']}",
        f"matrix multiplication: {results['matmul_gflops']:.0f} GFLOP/s; "
        f"networks built in {results['build_seconds']:.1f} s",
        "",
        f"{'phase':<20}{'median s':>9}{'fastest':>9}{'slowest':>9}{'GFLOP ref.':>12}"
        f"{'as run':>9}{'GFLOP/s':>9}{'of matmul':>11}{'peak GiB':>10}",
    ]
    for name, phase in results["phases"].items():
        if "median" in phase:
            lines.append(
                f"{name:<20}{phase['median']:>9.3f}{phase['fastest']:>9.3f}"
                f"{phase['slowest']:>9.3f}{phase['gflop_reference']:>12.1f}"
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
            f"{preparation['start_seconds']:.1f} s of starting; PyAV alone "
            f"{preparation['pyav_alone_clips_per_second']:.1f} "
            f"({preparation['share_of_pyav']:.0%})"
        )
    return "\n".join(lines)
