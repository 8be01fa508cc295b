"""A small end-to-end run: from videos to a trained, scored and exported generator.

  python -m tools.demo --output=FOLDER

Runs the commands of each step in turn and prints them. If it is stopped, the same
command resumes.
"""

import collections
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
_TOOLS = __package__
_DATA_PREP = f"{__package__.removesuffix('tools')}data_prep"
_NUM_VIDEOS = 1728
_NUM_SCORED = 432  # generated clips, and real ones: the size of the test split
# The demo's time on fast cores: a constant part, and matrix products. On slow cores the
# constant part takes up to twice as long.
_SECONDS = 250
_GFLOP = 30_000
_HOW_TO_RESUME = "The same command, or `make demo`, resumes from here."
_SECONDS_TO_MERGE = 0.5  # signals within this time count as one


def define_flags() -> None:
    flags.DEFINE_string("output", "demo_run", "Folder for all files.")
    flags.DEFINE_multi_string("gin_param", [], "Gin binding for training.")


def main(argv: list[str]) -> None:
    del argv
    began = time.monotonic()
    _print_expectation()
    output = FLAGS.output
    videos, shards, run_dir, samples = (
        os.path.join(output, name) for name in ("videos", "shards", "run", "samples")
    )
    classifier = os.path.join(output, "small_classifier.weights.h5")
    _make_data(videos, shards)
    if files.missing_names(output, [os.path.basename(classifier)]):
        _train_classifier(shards, classifier)
    _train(shards, classifier, run_dir)
    _run(
        "Samples",
        f"{_TOOLS}.sample",
        f"--model_dir={run_dir}",
        f"--output={samples}",
        "--num_videos=36",
    )
    _run(
        "SavedModel",
        f"{_TOOLS}.export",
        f"--model_dir={run_dir}",
        "--data_name=moving shapes (tools.make_demo_videos)",
        "--data_license=apache-2.0",
    )
    _show_scores(run_dir)
    print(
        f"\nDone in {terminal.duration(time.monotonic() - began)}. Look at\n"
        f"  samples     {samples}/grid.gif and {run_dir}/samples\n"
        f"  SavedModel  {run_dir}/export\n"
        f"  curves      {sys.executable} -m tensorboard.main --logdir={run_dir}\n"
        f"  one page    {sys.executable} -m {_TOOLS}.report --model_dir={run_dir} "
        f"--data_dir={shards}"
    )


def _make_data(videos: str, shards: str) -> None:
    if files.missing_names(
        os.path.join(videos, "ucfTrainTestlist"), ["testlist01.txt"]
    ):
        _run(
            "Videos, encoded, in UCF-101's layout",
            f"{_TOOLS}.make_demo_videos",
            f"--output={videos}",
            f"--num_videos={_NUM_VIDEOS}",
        )
    _run(
        "TFRecord shards",
        f"{_DATA_PREP}.prepare",
        "--dataset=ucf101",
        f"--input={videos}",
        f"--output={shards}",
        "--resolution=32",
        "--num_shards=8",
    )


def _train_classifier(shards: str, classifier: str) -> None:
    _run(
        "A classifier of real clips, to score the generated ones",
        f"{_TOOLS}.train_classifier",
        f"--data_dir={shards}",
        f"--output={classifier}",
        "--batch_size=16",
        "--target_accuracy=0.98",
    )


def _train(shards: str, classifier: str, run_dir: str) -> None:
    _run(
        f"Training; sample sheets are written to {run_dir}/samples",
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


def _print_expectation() -> None:
    """Prints the machine and how long the whole demo takes on it."""
    rate = machine.matrix_rate()
    least = (_SECONDS + _GFLOP / rate) / 60
    print(f"Python {platform.python_version()} ({sys.executable})")
    print(f"{machine.describe()}; oneDNN {onednn.describe()}; {rate:.0f} GFLOP/s")
    print(f"The demo takes {least:.0f} to {2 * least:.0f} minutes here", flush=True)


def _show_scores(run_dir: str) -> None:
    """Prints the generator's scores, by the classifier trained on the demo's data."""
    from tf_dvdgan import run_directory

    of_step: dict[int, dict[str, float]] = collections.defaultdict(dict)
    for row in run_directory.RunDirectory(run_dir).read_scores():
        if row["protocol"]["num_generated"] == _NUM_SCORED:  # not those of tools.score
            of_step[row["step"]] |= row["scores"]
    ours = {"accuracy_small", "fid_small"}
    newest = {step: found for step, found in of_step.items() if ours <= found.keys()}
    if not newest:  # --gin_param may select other metrics
        return
    first, last = newest[min(newest)], newest[max(newest)]
    print(f"\n== Scores of {_NUM_SCORED} clips, not comparable with papers")
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
    """Runs a module as a user would; if it fails, exits with its code."""
    print(f"\n== {title}\n   python -m {shlex.join(command)}", flush=True)
    quiet = ["--quiet"] if FLAGS.quiet else []
    with _noted_signals() as noted:
        # A separate process group: the child would get a signal to the demo's group
        # (Ctrl-C, `timeout`) twice, and the second signal stops training at once.
        child = subprocess.Popen(
            [sys.executable, "-m", *command, *quiet], process_group=0
        )
        code = _wait(child, noted)
    if code < 0:
        code = 128 - code  # a signal killed it
    if noted and not code:
        code = 128 + noted[0]  # the child finished anyway
    if code > 128:
        print(f"Stopped with exit code {code}. {_HOW_TO_RESUME}", file=sys.stderr)
    if code:
        sys.exit(code)


@contextlib.contextmanager
def _noted_signals() -> Iterator[list[int]]:
    """Collects the signals that ask the demo to stop, except ignored ones."""
    noted: list[int] = []
    handlers = {
        number: signal.signal(number, lambda number, frame: noted.append(number))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is not signal.SIG_IGN  # as under nohup
    }
    try:
        yield noted
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _wait(child: subprocess.Popen, noted: list[int]) -> int:
    """Waits for a child's exit code; forwards the signals noted meanwhile.

    Forwards signals that arrive at about the same time as one: `make` sends SIGTERM to
    the demo, and whatever stops `make` may send it, too.
    """
    num_forwarded = 0
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return child.wait(timeout=_SECONDS_TO_MERGE)
        if len(noted) > num_forwarded:
            time.sleep(_SECONDS_TO_MERGE)
            num_forwarded = len(noted)
            os.killpg(child.pid, noted[-1])


def run() -> None:
    define_flags()
    cli.run(main, if_interrupted=_HOW_TO_RESUME)


if __name__ == "__main__":
    run()
