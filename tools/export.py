"""Exports a run's generator as a SavedModel, or as a small run.

  python -m tools.export --model_dir=RUN
  python -m tools.export --model_dir=RUN --format=run --step=best --output=SMALL_RUN

The SavedModel has the averaged weights, standing statistics for several truncations and
the class names; it needs only TensorFlow, not this package. Its README.md is the
model's card: data, training, scores. tf_dvdgan/export.py documents its signatures,
docs/serving.md requests to a server. With --format=run the output is a run's directory
with only what sampling needs, to publish or to keep.
"""

from absl import flags

from tf_dvdgan import cli, errors

FLAGS = flags.FLAGS


def define_flags() -> None:
    flags.DEFINE_string(
        "model_dir",
        None,
        "The run's folder, or the name of a generator that comes with the package.",
        required=True,
    )
    cli.define_step()
    flags.DEFINE_string(
        "output",
        None,
        "Folder; <model_dir>/export/<step> by default, if this is not an exported run.",
    )
    flags.DEFINE_enum("format", "saved_model", ["saved_model", "run"], "What to write.")
    flags.DEFINE_string("card_name", "", "Name of the model in its card, README.md.")
    flags.DEFINE_string("data_name", "", "Name of the training data in the card.")
    flags.DEFINE_string(
        "data_license", "", "License of the training data in the card: apache-2.0, ..."
    )
    flags.DEFINE_list(
        "truncations",
        ["0", "0.25", "0.5", "0.75", "1"],
        "Truncations to compute standing statistics for; others are interpolated.",
    )
    flags.register_validator(
        "truncations", cli.are_truncations, message="it must be numbers from 0 to 1"
    )


def main(argv: list[str]) -> None:
    del argv
    from tf_dvdgan import video_gan

    as_run = FLAGS.format == "run"
    if as_run and not FLAGS.output:
        raise errors.UserError("--format=run needs --output.")
    gan = video_gan.load(FLAGS.model_dir, FLAGS.step)
    output = gan.save(
        FLAGS.output,
        cli.numbers("truncations"),
        as_run=as_run,
        card_name=FLAGS.card_name,
        data_name=FLAGS.data_name,
        data_license=FLAGS.data_license,
    )
    kind = "Run with" if as_run else "SavedModel of"
    print(f"{kind} step {gan.generator.metadata['step']}: {output}")


def run() -> None:
    define_flags()
    cli.run(main)


if __name__ == "__main__":
    run()
