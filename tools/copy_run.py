"""Copies a finished run between a disk and object stores.

  python -m tools.copy_run --model_dir=RUN --output=s3://BUCKET/RUN

Both may be local, gs://, s3:// or az://. With TensorFlow 2.20, which cannot read s3://
and az:// itself, copy a run from there to a disk to resume or to sample it.
"""

from absl import flags

from tf_dvdgan import cli

FLAGS = flags.FLAGS


def define_flags() -> None:
    flags.DEFINE_string("model_dir", None, "Directory of the run.", required=True)
    flags.DEFINE_string("output", None, "Directory of the copy.", required=True)


def main(argv: list[str]) -> None:
    del argv
    from tf_dvdgan import run_copy

    count = run_copy.copy_run(FLAGS.model_dir, FLAGS.output)
    print(f"{count} files in {FLAGS.output}")


def run() -> None:
    define_flags()
    cli.run(main, any_store=("model_dir", "output"))


if __name__ == "__main__":
    run()
