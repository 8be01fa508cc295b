"""Tells actions by VGAN's discriminator (paper 004, table (a) and figure 4).

  python -m tools.classify --model_dir=RUN --data_dir=SHARDS
  python -m tools.classify --model_dir=RUN --data_dir=SHARDS --frozen

The discriminator's last layer gives way to dropout 0.5 and a linear layer over the
data's classes. For each share of the labelled clips the classifier is trained twice,
from the run's weights and from new ones, and its accuracy on the test split is printed
and kept in <model_dir>/classify.jsonl, which tools.report draws over the number of
clips. With --frozen the discriminator stays as it is, and a logistic regression is
fitted to its features.
"""

import json
import os

from absl import flags

from tf_dvdgan import cli, errors

FLAGS = flags.FLAGS


def define_flags() -> None:
    flags.DEFINE_string("model_dir", None, "The run's folder.", required=True)
    flags.DEFINE_string("data_dir", None, "Shards with classes.", required=True)
    cli.define_step()
    flags.DEFINE_list("shares", ["1/8", "1/4", "1/2", "1"], "Of the labelled clips.")
    flags.DEFINE_bool("frozen", False, "Logistic regression in place of fine-tuning.")
    flags.DEFINE_integer("num_steps", 1000, "Of the fine-tuning.", lower_bound=1)
    flags.DEFINE_integer("batch_size", 256, "Of the fine-tuning.", lower_bound=1)
    flags.DEFINE_float("learning_rate", 2e-4, "Of the fine-tuning.", lower_bound=0)
    flags.DEFINE_integer("seed", 0, "Of the choice of clips and the new weights.")


def main(argv: list[str]) -> None:
    del argv
    import dataclasses
    import fractions
    import functools

    import tensorflow as tf

    from tf_dvdgan import classification, trained
    from tf_dvdgan.data import files
    from tf_dvdgan.data import manifest as manifest_lib

    files.ready(FLAGS.model_dir, writing=True)
    shares = []
    for text in FLAGS.shares:
        try:
            shares.append(fractions.Fraction(text))
        except (ValueError, ZeroDivisionError):
            raise errors.UserError(
                f"--shares are numbers such as 1/8: {text!r}"
            ) from None
        if not 0 < shares[-1] <= 1:
            raise errors.UserError(f"A share is above 0 and at most 1: {text!r}")
    class_names = manifest_lib.load(FLAGS.data_dir).class_names
    model = trained.load(FLAGS.model_dir, FLAGS.step, with_discriminators=True)
    if not model.gan.discriminators:
        raise errors.UserError(
            f"The model in {FLAGS.model_dir!r} has no discriminator to fine-tune."
        )
    discriminator = model.gan.discriminators[0]
    classification.check(discriminator)
    path = os.path.join(FLAGS.model_dir, classification.FILE)
    window = dataclasses.replace(model.window, classes=())  # those of other data
    clips = classification.Clips.read(FLAGS.data_dir, window)
    if FLAGS.frozen:
        ways = {"logistic_regression": classification.logistic_regression}
    else:
        tuned = functools.partial(
            classification.fine_tune,
            num_classes=len(class_names),
            num_steps=FLAGS.num_steps,
            batch_size=FLAGS.batch_size,
            learning_rate=FLAGS.learning_rate,
        )
        ways = {
            "fine_tuned": functools.partial(tuned, pretrained=True),
            "new": functools.partial(tuned, pretrained=False),
        }
    headings = "".join(f"{name.replace('_', ' '):>21}" for name in ways)
    print(f"{'share':>6} {'clips':>6}{headings}   chance {1 / len(class_names):.3f}")
    for share in shares:
        row = {"share": str(share), "step": model.step, "seed": FLAGS.seed}
        for name, way in ways.items():
            row[name], row["clips"] = way(
                discriminator, clips, share=float(share), seed=FLAGS.seed
            )
        cells = "".join(f"{row[name]:>21.3f}" for name in ways)
        print(f"{share!s:>6} {row['clips']:>6}{cells}", flush=True)
        with tf.io.gfile.GFile(path, "a") as file:
            file.write(json.dumps(row) + "\n")


def run() -> None:
    define_flags()
    cli.run(main)


if __name__ == "__main__":
    run()
