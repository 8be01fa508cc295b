"""Writes a self-contained HTML page about a run, or about several side by side.

  python -m tools.report --model_dir=RUN --data_dir=SHARDS
  python -m tools.report --compare=RUN1 --compare=RUN2 --output=compared.html

The page shows the run's settings and config, samples by class, truncation,
interpolations, curves, and scores next to published ones. With --data_dir it also shows
real clips, and the training clips nearest to generated ones: by features of the small
classifier if the run is scored by it or --weights is set, otherwise by pixels. If a run
lacks something, the page shows the command that creates it. The page loads nothing from
other files or machines.
"""

from absl import flags

from tf_dvdgan import cli, errors

FLAGS = flags.FLAGS


def define_flags() -> None:
    flags.DEFINE_string("model_dir", None, "The run's folder.")
    flags.DEFINE_multi_string(
        "compare", [], "Folders of runs to compare; may be repeated."
    )
    cli.define_step()
    flags.DEFINE_string("data_dir", None, "Shards of real clips to show.")
    flags.DEFINE_multi_string("weights", [], "Weights file of the small classifier.")
    flags.DEFINE_string(
        "output", None, "Page to write; report.html in the run's folder by default."
    )


def main(argv: list[str]) -> None:
    del argv
    compared = [path for text in FLAGS.compare for path in text.split(",") if path]
    if bool(FLAGS.model_dir) == bool(compared):
        raise errors.UserError("Set either --model_dir, or --compare for each run.")
    if len(compared) == 1:
        raise errors.UserError("--compare needs at least two runs.")
    if compared and not FLAGS.output:
        raise errors.UserError("--compare needs --output, the page to write.")
    if compared and FLAGS.weights:
        raise errors.UserError(
            "--weights needs --model_dir; it has no effect with --compare."
        )
    from tf_dvdgan import run_directory
    from tf_dvdgan.data import files
    from tf_dvdgan.report import page

    output = FLAGS.output or run_directory.RunDirectory(FLAGS.model_dir).report
    files.register_filesystems(*compared)
    if FLAGS.output:
        files.check_writable(output)
    if compared:
        html = page.of_runs(compared, FLAGS.step, FLAGS.data_dir)
    else:
        html = page.of_run(FLAGS.model_dir, FLAGS.step, FLAGS.data_dir, FLAGS.weights)
    with files.report_write_errors(output):
        files.atomic_write(output, html)
    print(f"{len(html) / 1e6:.1f} MB: {output}")


def run() -> None:
    define_flags()
    cli.run(main)


if __name__ == "__main__":
    run()
