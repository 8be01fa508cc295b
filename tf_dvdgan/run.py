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

from tf_dvdgan import cli, errors, terminal

FLAGS = flags.FLAGS
_SECONDS_BEFORE_START = 5.0


def define_flags() -> None:
    flags.DEFINE_enum(
        "mode", "train", ["train", "eval", "train_and_eval"], "What to run."
    )
    flags.DEFINE_multi_string("gin_file", [], "Gin file; may be repeated.")
    flags.DEFINE_multi_string("gin_param", [], "Gin binding, such as 'a.b = 1'.")
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
    import gin

    from tf_dvdgan import config
    from tf_dvdgan.data import files, manifest
    from tf_dvdgan.evaluation.runs import evaluator, watch
    from tf_dvdgan.training import strategy, train

    files.register_filesystems(FLAGS.model_dir, writing=True)
    manifest.load(FLAGS.data_dir)  # reports a wrong path before devices are set up
    if FLAGS.mode == "eval":
        _evaluate()
        return 0
    if FLAGS.gin_file:
        config.load(FLAGS.gin_file, FLAGS.gin_param)
    elif config.is_run(FLAGS.model_dir):
        config.load_run(FLAGS.model_dir, FLAGS.gin_param)
    else:
        raise errors.UserError("Name a config with --gin_file, such as demo.gin.")
    files.check_writable(FLAGS.model_dir, as_folder=True, by_tensorflow=True)
    plan = gin.get_configurable("evaluation.Plan")()
    evaluator.check_plan(plan)
    evaluation = None
    if FLAGS.mode == "train_and_eval":
        evaluation = watch.EvaluationCallback(
            FLAGS.model_dir,
            FLAGS.data_dir,
            gin.get_configurable("data.Window")(),
            plan,
            gin.get_configurable("training.Schedule")().num_steps,
        )
    where = strategy.create(FLAGS.strategy, FLAGS.tpu)
    try:
        stopped_by = train.train(
            FLAGS.model_dir,
            FLAGS.data_dir,
            where,
            evaluation=evaluation,
            protocols=plan.protocols,
            profile_steps=FLAGS.profile_steps,
            init_from=FLAGS.init_from,
            init_step=FLAGS.init_step,
        )
    except strategy.LOST_WORKER_ERRORS as error:
        if not strategy.spans_workers(where):
            raise
        _start_again(error)
    return 128 + stopped_by if stopped_by else 0


def _evaluate() -> None:
    """Waits for a run and evaluates its checkpoints."""
    import gin

    from tf_dvdgan import config, trained
    from tf_dvdgan.evaluation.runs import evaluator, watch
    from tf_dvdgan.training import strategy

    if not config.is_run(FLAGS.model_dir):
        print(f"Waiting for a run in {terminal.printable(FLAGS.model_dir)}", flush=True)
    while not config.is_run(FLAGS.model_dir):
        time.sleep(1.0)
    config.load_run(FLAGS.model_dir, FLAGS.gin_param)
    plan = gin.get_configurable("evaluation.Plan")()
    last_step = gin.get_configurable("training.Schedule")().num_steps
    where = strategy.create(FLAGS.strategy, FLAGS.tpu)
    with where.scope():
        networks, window = trained.build(FLAGS.model_dir)
    of_run = evaluator.Evaluator(
        FLAGS.model_dir, FLAGS.data_dir, window, plan, last_step, where
    )
    watch.watch(networks, of_run, FLAGS.model_dir, last_step, where)


def _start_again(error: Exception) -> NoReturn:
    """Restarts this command, which waits for the other workers and resumes.

    A worker cannot rejoin a TensorFlow cluster, so all workers restart from the newest
    checkpoint.
    """
    reason = type(error).__name__
    print(
        f"A worker is lost ({reason}). Starting again in "
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
