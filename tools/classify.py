"""Classifies actions with VGAN's discriminator (paper 004, table (a) and figure 4).

  python -m tools.classify --model_dir=RUN --data_dir=SHARDS
  python -m tools.classify --model_dir=RUN --data_dir=SHARDS --frozen

Replaces the discriminator's last layer with dropout 0.5 and a linear layer over the
data's classes. For each fraction of the labeled clips it trains the classifier twice,
from the run's weights and from scratch. Prints the accuracy on the test split and
appends it to <model_dir>/classify.jsonl, which tools.report plots over the number of
clips. With --frozen it fits a logistic regression to the frozen discriminator's
features instead.
"""

from absl import flags

from tf_dvdgan import cli

FLAGS = flags.FLAGS


def define_flags() -> None:
    flags.DEFINE_string("model_dir", None, "The run's folder.", required=True)
    flags.DEFINE_string("data_dir", None, "Shards with classes.", required=True)
    cli.define_step()
    flags.DEFINE_list("shares", ["1/8", "1/4", "1/2", "1"], "Fractions of the clips.")
    flags.DEFINE_bool("frozen", False, "Logistic regression instead of fine-tuning.")
    flags.DEFINE_integer("num_steps", 1000, "Fine-tuning steps.", lower_bound=1)
    flags.DEFINE_integer("batch_size", 256, "Clips per step.", lower_bound=1)
    flags.DEFINE_float("learning_rate", 2e-4, "Learning rate.", lower_bound=0)
    flags.DEFINE_integer("seed", 0, "Seed of the choice of clips and of new weights.")


def main(argv: list[str]) -> None:
    del argv
    from tf_dvdgan import classification

    fine_tuning = classification.FineTuning(
        FLAGS.num_steps, FLAGS.batch_size, FLAGS.learning_rate
    )
    classification.classify(
        FLAGS.model_dir,
        FLAGS.data_dir,
        FLAGS.step,
        FLAGS.shares,
        FLAGS.frozen,
        fine_tuning,
        FLAGS.seed,
    )


def run() -> None:
    define_flags()
    cli.run(main)


if __name__ == "__main__":
    run()
