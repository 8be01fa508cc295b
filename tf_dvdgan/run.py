"""Trains and evaluates a video GAN from a Gin file.

  python -m tf_dvdgan.run --gin_file=demo.gin --data_dir=SHARDS --model_dir=RUN

--gin_file is a file that comes with the package (demo.gin, papers/dvdgan_v2/...) or a
path, and may be repeated; --gin_param sets a single value, as in
--gin_param='RESOLUTION = 64'. The same command with the same --model_dir resumes the
run from its newest checkpoint. Without --gin_file the run's own config is used.

--mode=train_and_eval also scores every checkpoint and copies the best to RUN/best;
--mode=eval does so in a separate process, while the run trains or afterwards.
--profile_steps=10 traces ten steps for TensorBoard's profiler.

SIGTERM or Ctrl-C finishes the current call to the device, saves a checkpoint and stops;
the exit code is then 143 or 130, and 0 after the last step of the run. A second signal
stops at once.

--init_from=OTHER_RUN starts a new run from the weights of another one, which may have
other classes or another resolution.
"""

import os
import sys
import time
from typing import NoReturn

from absl import flags

from tf_dvdgan import cli

FLAGS = flags.FLAGS
_SECONDS_BEFORE_START = 5.0


def define_flags() -> None:
    flags.DEFINE_enum(
        "mode", "train", ["train", "eval", "train_and_eval"], "What to run."
    )
    cli.define_gin()
    flags.DEFINE_string("model_dir", None, "The run's folder.", required=True)
    flags.DEFINE_string("data_dir", None, "Folder of prepared shards.", required=True)
    flags.DEFINE_string(
        "init_from", None, "Folder of another run, whose weights this one starts from."
    )
    flags.DEFINE_string(
        "init_step", None, "Its checkpoint: a step or 'best'; the newest by default."
    )
    flags.DEFINE_integer(
        "profile_steps",
        0,
        "Number of steps to trace for TensorBoard's profiler, soon after the start.",
        lower_bound=0,
    )
    cli.define_strategy()


def main(argv: list[str]) -> int:
    del argv
    from tf_dvdgan import launch

    run_and_data = FLAGS.model_dir, FLAGS.data_dir
    devices = {"strategy": FLAGS.strategy, "tpu": FLAGS.tpu}
    if FLAGS.mode == "eval":
        launch.evaluate(*run_and_data, FLAGS.gin_param, **devices)
        return 0
    try:
        stopped_by = launch.train(
            *run_and_data,
            FLAGS.gin_file,
            FLAGS.gin_param,
            evaluate=FLAGS.mode == "train_and_eval",
            profile_steps=FLAGS.profile_steps,
            init_from=FLAGS.init_from,
            init_step=FLAGS.init_step,
            **devices,
        )
    except launch.WorkerLostError as error:
        _start_again(error)
    return 128 + stopped_by if stopped_by else 0


def _start_again(error: Exception) -> NoReturn:
    """Restarts this command, which waits for the other workers and resumes.

    A worker cannot rejoin a TensorFlow cluster, so all workers restart from the newest
    checkpoint.
    """
    print(
        f"A worker is lost ({error}). Starting again in "
        f"{_SECONDS_BEFORE_START:.0f} s from the newest checkpoint",
        flush=True,
    )
    time.sleep(_SECONDS_BEFORE_START)
    os.execv(sys.executable, sys.orig_argv)


def run() -> None:
    define_flags()
    cli.run(main, if_interrupted="The same command resumes from the last checkpoint.")


if __name__ == "__main__":
    run()
