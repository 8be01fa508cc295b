"""Exports a run's generator as a SavedModel.

  python -m tools.export --model_dir=RUN

It holds averaged weights, standing statistics for several truncations and the names of
the classes, and loads wherever TensorFlow does, without this package. Its signatures
`generate` (count, label, truncation, seed) and `generate_from_latents` (z, label) are
described in tf_dvdgan/export.py.
"""

import os

from absl import flags

from tf_dvdgan import cli

FLAGS = flags.FLAGS


def define_flags() -> None:
    flags.DEFINE_string("model_dir", None, "The run's folder.", required=True)
    cli.define_step()
    flags.DEFINE_string("output", None, "Folder; <model_dir>/export/<step> by default.")


def main(argv: list[str]) -> None:
    del argv
    from tf_dvdgan import export, trained
    from tf_dvdgan.data import files

    files.ready(FLAGS.output or FLAGS.model_dir, writing=True)
    model = trained.load(FLAGS.model_dir, FLAGS.step)
    output = FLAGS.output or os.path.join(FLAGS.model_dir, "export", str(model.step))
    export.export(model, output)
    print(f"SavedModel of step {model.step}: {output}")


def run() -> None:
    define_flags()
    cli.run(main)


if __name__ == "__main__":
    run()
