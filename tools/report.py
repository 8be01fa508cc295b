"""Makes one HTML page of a run, or of several side by side; it opens from any disk.

  python -m tools.report --model_dir=RUN --data_dir=SHARDS
  python -m tools.report --compare=RUN1 --compare=RUN2 --output=compared.html

The page has the run's facts and config, samples by class, truncation, interpolations,
curves, and scores beside those that papers print. With --data_dir real clips stand
beside generated ones, and training clips nearest to generated ones are looked for: by
the features of the small classifier, where the run is scored by it or --weights names
its file, else by pixels. What a run lacks is left out, with a sentence about the
command that makes it. Nothing on the page is loaded from elsewhere.
"""

import os

from absl import flags

from tf_dvdgan import cli, errors

FLAGS = flags.FLAGS


def define_flags() -> None:
    flags.DEFINE_string("model_dir", None, "The run's folder.")
    flags.DEFINE_multi_string(
        "compare", [], "Folder of a run; repeated, or several with commas between."
    )
    cli.define_step()
    flags.DEFINE_string("data_dir", None, "Shards of real clips, to show beside.")
    flags.DEFINE_multi_string("weights", [], "The small classifier's file of weights.")
    flags.DEFINE_string(
        "output", None, "Page to write; report.html in the run's folder by default."
    )


def main(argv: list[str]) -> None:
    del argv
    compared = [path for text in FLAGS.compare for path in text.split(",") if path]
    if bool(FLAGS.model_dir) == bool(compared):
        raise errors.UserError("Give either --model_dir, or --compare for each run.")
    if len(compared) == 1:
        raise errors.UserError("--compare wants two runs at the least.")
    if compared and not FLAGS.output:
        raise errors.UserError("--compare wants --output, the page to write.")
    if compared and FLAGS.weights:
        raise errors.UserError("--weights are for the page of one run, not --compare.")
    from tf_dvdgan.data import files
    from tf_dvdgan.report import page

    output = FLAGS.output or os.path.join(FLAGS.model_dir, "report.html")
    files.ready(*compared)
    if FLAGS.output:
        files.check_writable(output)
    if compared:
        html = page.of_runs(compared, FLAGS.step, FLAGS.data_dir)
    else:
        html = page.of_run(FLAGS.model_dir, FLAGS.step, FLAGS.data_dir, FLAGS.weights)
    with files.cannot_be_written(output):
        files.write_whole(output, html)
    print(f"{len(html) / 1e6:.1f} MB: {output}")


def run() -> None:
    define_flags()
    cli.run(main)


if __name__ == "__main__":
    run()
