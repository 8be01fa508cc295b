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
    flags.DEFINE_string("model_dir", None, "The run's folder.", required=True)
    cli.define_step()
    flags.DEFINE_string("output", None, "Folder; <model_dir>/export/<step> by default.")
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
    from tf_dvdgan import export, model_card, run_directory, trained
    from tf_dvdgan.data import files

    if FLAGS.format == "run" and not FLAGS.output:
        raise errors.UserError("--format=run needs --output.")
    truncations = sorted({float(text) for text in FLAGS.truncations})
    if len(truncations) < 2:
        raise errors.UserError("--truncations needs at least two numbers, as in 0.5,1.")
    files.check_writable(FLAGS.output or FLAGS.model_dir, as_folder=True)
    model = trained.load(FLAGS.model_dir, FLAGS.step)
    directory = run_directory.RunDirectory(FLAGS.model_dir)
    output = FLAGS.output or directory.export(model.step)
    card = model_card.write(
        model,
        FLAGS.model_dir,
        FLAGS.card_name,
        FLAGS.data_name,
        FLAGS.data_license,
    )
    if FLAGS.format == "run":
        export.export_run(model, FLAGS.model_dir, output, card)
        print(f"Run with step {model.step}: {output}")
        return
    export.export(model, output, truncations, card=card)
    print(f"SavedModel of step {model.step}: {output}")


def run() -> None:
    define_flags()
    cli.run(main)


if __name__ == "__main__":
    run()
