"""Classifies actions with VGAN's discriminator (paper 004, table (a) and figure 4).

  python -m tools.classify --model_dir=RUN --data_dir=SHARDS
  python -m tools.classify --model_dir=RUN --data_dir=SHARDS --frozen

Replaces the discriminator's last layer by dropout 0.5 and a linear layer over the
data's classes. For each share of the labelled clips the classifier is trained twice,
from the run's weights and from new ones. Its accuracy on the test split is printed and
added to <model_dir>/classify.jsonl, which tools.report plots over the number of clips.
With --frozen a logistic regression is fitted to the discriminator's frozen features.
"""

from absl import flags

from tf_dvdgan import cli, errors

FLAGS = flags.FLAGS


def define_flags() -> None:
    flags.DEFINE_string("model_dir", None, "The run's folder.", required=True)
    flags.DEFINE_string("data_dir", None, "Shards with classes.", required=True)
    cli.define_step()
    flags.DEFINE_list("shares", ["1/8", "1/4", "1/2", "1"], "Of the labelled clips.")
    flags.DEFINE_bool("frozen", False, "Logistic regression instead of fine-tuning.")
    flags.DEFINE_integer("num_steps", 1000, "Of the fine-tuning.", lower_bound=1)
    flags.DEFINE_integer("batch_size", 256, "Of the fine-tuning.", lower_bound=1)
    flags.DEFINE_float("learning_rate", 2e-4, "Of the fine-tuning.", lower_bound=0)
    flags.DEFINE_integer("seed", 0, "Of the choice of clips and the new weights.")


def main(argv: list[str]) -> None:
    del argv
    import fractions

    from tf_dvdgan import classification
    from tf_dvdgan.data import files

    files.register_filesystems(FLAGS.model_dir, writing=True)
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
    fine_tuning = classification.FineTuning(
        FLAGS.num_steps, FLAGS.batch_size, FLAGS.learning_rate
    )
    classification.classify(
        FLAGS.model_dir,
        FLAGS.data_dir,
        FLAGS.step,
        shares,
        FLAGS.frozen,
        fine_tuning,
        FLAGS.seed,
    )


def run() -> None:
    define_flags()
    cli.run(main)


if __name__ == "__main__":
    run()
