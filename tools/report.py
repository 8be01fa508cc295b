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

from tf_dvdgan import cli

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
    from tf_dvdgan.report import page

    page.write(
        FLAGS.model_dir,
        [path for text in FLAGS.compare for path in text.split(",") if path],
        FLAGS.step,
        FLAGS.data_dir,
        FLAGS.weights,
        FLAGS.output,
    )


def run() -> None:
    define_flags()
    cli.run(main)


if __name__ == "__main__":
    run()
