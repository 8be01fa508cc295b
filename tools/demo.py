"""The main job in small: from videos to a trained, scored and exported generator.

  python -m tools.demo --output=FOLDER

Runs the commands a user would, one after the other, and shows each. Stopped and
started again, it resumes where it was.
"""

import contextlib
import os
import platform
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

from absl import flags

from tf_dvdgan import cli, machine, onednn, terminal
from tf_dvdgan.data import files

FLAGS = flags.FLAGS
_NUM_VIDEOS = 1728
_NUM_SCORED = 432  # generated, and real ones: as many as are held out
# Of the demo's time on fast cores: what does not depend on the rate of matrix products,
# and what does. On slow cores the first takes up to twice as long.
_SECONDS = 250
_GFLOP = 30_000
_HOW_TO_GO_ON = "The same command, or `make demo`, resumes from here."
_SECONDS_TOGETHER = 0.5  # signals within this time are one


def define_flags() -> None:
    flags.DEFINE_string("output", "demo_run", "Folder for everything.")
    flags.DEFINE_multi_string("gin_param", [], "Passed on to the training.")


def main(argv: list[str]) -> None:
    del argv
    began = time.monotonic()
    _say_what_to_expect()
    output = FLAGS.output
    videos, shards, run_dir, samples = (
        os.path.join(output, name) for name in ("videos", "shards", "run", "samples")
    )
    classifier = os.path.join(output, "small_classifier.weights.h5")
    inside = __package__.removesuffix("tools")  # "tf_dvdgan." once installed
    tools, data_prep = f"{inside}tools", f"{inside}data_prep"
    if files.missing(os.path.join(videos, "ucfTrainTestlist"), ["testlist01.txt"]):
        _run(
            "Videos, encoded, in UCF-101's layout",
            f"{tools}.make_demo_videos",
            f"--output={videos}",
            f"--num_videos={_NUM_VIDEOS}",
        )
    _run(
        "TFRecord shards",
        f"{data_prep}.prepare",
        "--dataset=ucf101",
        f"--input={videos}",
        f"--output={shards}",
        "--resolution=32",
        "--num_shards=8",
    )
    if files.missing(output, [os.path.basename(classifier)]):
        _run(
            "A classifier of real clips, which the generated ones are scored by",
            f"{tools}.train_classifier",
            f"--data_dir={shards}",
            f"--output={classifier}",
            "--batch_size=16",
            "--target_accuracy=0.98",
        )
    _run(
        f"Training; sample sheets come to {run_dir}/samples",
        "tf_dvdgan.run",
        "--mode=train_and_eval",
        "--gin_file=demo.gin",
        "--gin_file=evaluation/small.gin",
        f"--gin_param=SMALL_CLASSIFIER = {files.absolute(classifier)!r}",
        f"--gin_param=evaluation.Plan.num_videos = {_NUM_SCORED}",
        f"--gin_param=evaluation.Plan.num_videos_at_end = {_NUM_SCORED}",
        f"--data_dir={shards}",
        f"--model_dir={run_dir}",
        *(f"--gin_param={parameter}" for parameter in FLAGS.gin_param),
    )
    _run(
        "Samples",
        f"{tools}.sample",
        f"--model_dir={run_dir}",
        f"--output={samples}",
        "--num_videos=36",
    )
    _run("SavedModel", f"{tools}.export", f"--model_dir={run_dir}")
    _show_scores(run_dir)
    print(
        f"\nDone in {terminal.duration(time.monotonic() - began)}. Look at\n"
        f"  samples     {samples}/grid.gif and {run_dir}/samples\n"
        f"  SavedModel  {run_dir}/export\n"
        f"  curves      {sys.executable} -m tensorboard.main --logdir={run_dir}\n"
        f"  one page    {sys.executable} -m {tools}.report --model_dir={run_dir} "
        f"--data_dir={shards}"
    )


def _say_what_to_expect() -> None:
    """Prints what the demo runs on, and how long it takes there from the start."""
    rate = machine.matrix_rate()
    least = (_SECONDS + _GFLOP / rate) / 60
    print(f"Python {platform.python_version()} ({sys.executable})")
    print(f"{machine.describe()}; oneDNN {onednn.describe()}; {rate:.0f} GFLOP/s")
    print(f"The demo takes {least:.0f} to {2 * least:.0f} minutes here", flush=True)


def _show_scores(run_dir: str) -> None:
    """Prints how good the generator has become, by its own data's classifier."""
    from tf_dvdgan.evaluation import evaluator

    rows = evaluator.read_scores(run_dir)
    ours = {"accuracy_small", "fid_small"}  # tools.score adds others' rows
    newest = {r["step"]: r["scores"] for r in rows if ours <= r["scores"].keys()}
    if not newest:  # --gin_param has the run scored by something else
        return
    first, last = newest[min(newest)], newest[max(newest)]
    print(f"\n== Scores of {_NUM_SCORED} clips, comparable with no paper's")
    print(f"{'':26}class accuracy  FID_small")
    for title, accuracy, fid in (
        (
            "real clips, held out",
            last["accuracy_small/real"],
            last["fid_small/real_from_real"],
        ),
        ("before training", first["accuracy_small"], first["fid_small"]),
        (f"after {max(newest)} steps", last["accuracy_small"], last["fid_small"]),
    ):
        print(f"{title:26}{accuracy:14.1%}  {fid:9.3f}")


def _run(title: str, *command: str) -> None:
    """Runs a module as a user would; ends the demo as it ends, unless it succeeds."""
    print(f"\n== {title}\n   python -m {shlex.join(command)}", flush=True)
    quiet = ["--quiet"] if FLAGS.quiet else []
    with _noted_signals() as noted:
        # A process group of its own: a signal to all of the demo's group (by Ctrl-C, by
        # `timeout`) would come to it twice, and the second one stops training at once.
        child = subprocess.Popen(
            [sys.executable, "-m", *command, *quiet], process_group=0
        )
        code = _wait(child, noted)
    if code < 0:
        code = 128 - code  # a signal killed it
    if noted and not code:
        code = 128 + noted[0]  # it was done all the same
    if code > 128:
        print(f"Stopped with exit code {code}. {_HOW_TO_GO_ON}", file=sys.stderr)
    if code:
        sys.exit(code)


@contextlib.contextmanager
def _noted_signals() -> Iterator[list[int]]:
    """Collects the signals that ask the demo to stop, except those that are ignored."""
    noted = []
    handlers = {
        number: signal.signal(number, lambda number, frame: noted.append(number))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is not signal.SIG_IGN  # as nohup has it
    }
    try:
        yield noted
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _wait(child: subprocess.Popen, noted: list[int]) -> int:
    """Waits for a child's exit code; passes on to it the signals noted meanwhile.

    Those that come at about the same time are passed on as one: `make` sends SIGTERM to
    the demo, and what stops `make` may do so, too.
    """
    passed_on = 0
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return child.wait(timeout=_SECONDS_TOGETHER)
        if len(noted) > passed_on:
            time.sleep(_SECONDS_TOGETHER)
            passed_on = len(noted)
            os.killpg(child.pid, noted[-1])


def run() -> None:
    define_flags()
    cli.run(main, if_interrupted=_HOW_TO_GO_ON)


if __name__ == "__main__":
    run()
