"""Compares DVD-GAN's training step with the same model in plain PyTorch.

  python -m tools.benchmarks.versus_pytorch

Each contestant runs in its own process and they take turns, one step each, so that
other load on the machine affects all of them. Needs PyTorch (the extra `weights`) and
a checkout. Skips the bfloat16 contestants on a CPU without bfloat16 instructions, where
a step takes minutes.
"""

import json
import os
import statistics
import subprocess
import sys
import time

from absl import flags

from tf_dvdgan import cli, errors, machine
from tf_dvdgan.data import files

FLAGS = flags.FLAGS

_CONTESTANTS = {
    "PyTorch float32": ("pytorch", False),
    "PyTorch bfloat16": ("pytorch", True),
    "tf_dvdgan float32": ("tf_dvdgan", False),
    "tf_dvdgan bfloat16": ("tf_dvdgan", True),
}
_BASELINE = "PyTorch float32"


def define_flags() -> None:
    flags.DEFINE_integer("ch", 32, "Width multiplier of all networks.")
    flags.DEFINE_integer("resolution", 64, "Height and width of the videos.")
    flags.DEFINE_integer("num_frames", 12, "Frames of the videos.")
    flags.DEFINE_integer("num_classes", 101, "Number of classes.")
    flags.DEFINE_integer("batch_size", 2, "Videos per update.")
    flags.DEFINE_integer("rounds", 7, "Timed steps of each contestant.")
    flags.DEFINE_string("json", None, "File to write the figures to.")
    flags.DEFINE_string("contestant", None, "Internal: runs this contestant.")


def main(argv: list[str]) -> None:
    del argv
    if FLAGS.contestant:
        _serve(FLAGS.contestant)
        return
    names = contestants(machine.has_bfloat16())
    print(machine.describe(), flush=True)
    if len(names) < len(_CONTESTANTS):
        print("No bfloat16 instructions: times only float32", flush=True)
    children = {}
    try:
        for name in names:
            print(f"{name}: first step", file=sys.stderr, flush=True)
            children[name] = _start(name)
            _ask(children[name], name)
        seconds: dict[str, list[float]] = {name: [] for name in children}
        for done in range(FLAGS.rounds):
            for name, child in children.items():
                seconds[name].append(_ask(child, name))
            print(f"round {done + 1}/{FLAGS.rounds}", file=sys.stderr, flush=True)
    finally:
        for child in children.values():
            child.kill()
    print(table(seconds))
    if FLAGS.json:
        files.atomic_write(FLAGS.json, json.dumps(seconds, indent=2))


def contestants(has_bfloat16: bool) -> list[str]:
    """Names of the contestants on a CPU with or without bfloat16 instructions."""
    return [
        name for name, (_, bfloat16) in _CONTESTANTS.items() if has_bfloat16 >= bfloat16
    ]


def table(seconds: dict[str, list[float]]) -> str:
    """Formats median, range and ratio to the baseline as a text table.

    Args:
      seconds: of each round, by contestant. The ratio is the median of the rounds'
        ratios.

    Returns:
      A header and a row for each contestant.
    """
    lines = [f"{'':<20}{'median s':>10}{'fastest':>10}{'slowest':>10}{'ratio':>8}"]
    for name, times in seconds.items():
        ratios = [a / b for a, b in zip(times, seconds[_BASELINE], strict=True)]
        lines.append(
            f"{name:<20}{statistics.median(times):>10.2f}{min(times):>10.2f}"
            f"{max(times):>10.2f}{statistics.median(ratios):>8.2f}"
        )
    return "\n".join(lines)


def _start(name: str) -> subprocess.Popen:
    sizes = ("ch", "resolution", "num_frames", "num_classes", "batch_size")
    return subprocess.Popen(
        [
            *(sys.executable, "-m", f"{__package__}.versus_pytorch"),
            f"--contestant={name}",
            *(f"--{size}={FLAGS[size].value}" for size in sizes),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _ask(child: subprocess.Popen, name: str) -> float:
    """Asks a contestant for one step; returns its seconds."""
    assert child.stdin and child.stdout
    child.stdin.write("step\n")
    child.stdin.flush()
    answer = child.stdout.readline()
    if not answer:
        raise errors.UserError(f"{name} ended without an answer; its error is above.")
    return float(answer)


def _serve(name: str) -> None:
    """Runs a step for each line on standard input."""
    library, bfloat16 = _CONTESTANTS[name]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # keeps what libraries print out of the answers
    make = {"pytorch": _pytorch_step, "tf_dvdgan": _our_step}[library]
    step = make(bfloat16)
    for _ in sys.stdin:
        began = time.perf_counter()
        step()
        print(time.perf_counter() - began, file=answers, flush=True)


def _pytorch_step(bfloat16: bool):
    from . import pytorch_dvd_gan

    return pytorch_dvd_gan.PlainTrainer(
        FLAGS.ch,
        FLAGS.resolution,
        FLAGS.num_frames,
        FLAGS.num_classes,
        FLAGS.batch_size,
        bfloat16,
    ).step


def _our_step(bfloat16: bool):
    import tensorflow as tf

    from tf_dvdgan import config
    from tf_dvdgan.models import video_gan
    from tf_dvdgan.training import trainer

    parameters = {
        "CH": FLAGS.ch,
        "RESOLUTION": FLAGS.resolution,
        "NUM_FRAMES": FLAGS.num_frames,
        "BATCH_SIZE": FLAGS.batch_size,
        "video_gan.build.precision": repr("bfloat16" if bfloat16 else "float32"),
    }
    bindings = [f"{name} = {value}" for name, value in parameters.items()]
    config.load(["models/dvdgan_v2.gin"], bindings)
    class_names = [f"class {i}" for i in range(FLAGS.num_classes)]
    the_trainer = trainer.from_config(
        tf.distribute.get_strategy(), class_names, video_gan.from_config
    )
    batches = iter(the_trainer.random_batches())
    return lambda: the_trainer.run_steps(batches, 1)


def run() -> None:
    define_flags()
    cli.run(main)


if __name__ == "__main__":
    run()
