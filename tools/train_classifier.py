"""Trains the small classifier on prepared clips, to score models of the same clips.

  python -m tools.train_classifier --data_dir=SHARDS --output=FILE.weights.h5

Trains on random windows of the 'train' split. The learning rate is divided by ten
whenever the accuracy on the 'test' split has not improved for four epochs in a row;
that accuracy is printed at the end. Scores are comparable only if they use the same
weights file: train one per data set, with the models' number of frames and stride, and
keep it.

With few clips the classifier stays weak, and scores of a weak classifier mean little:
check its accuracy on the held-out clips.
"""

from absl import flags

from tf_dvdgan import cli, terminal

FLAGS = flags.FLAGS


def define_flags() -> None:
    flags.DEFINE_string("data_dir", None, "Shards with classes.", required=True)
    flags.DEFINE_string("output", None, "File; ends in .weights.h5.", required=True)
    flags.DEFINE_integer("num_frames", 8, "Frames per clip.", lower_bound=1)
    flags.DEFINE_integer("stride", 2, "Every n-th frame.", lower_bound=1)
    flags.DEFINE_integer("epochs", 30, "Passes over the training clips.", lower_bound=1)
    flags.DEFINE_float(
        "target_accuracy",
        None,
        "Stop after the first epoch with this accuracy on held-out clips.",
        lower_bound=0,
        upper_bound=1,
    )
    flags.DEFINE_float("learning_rate", 3e-3, "Initial learning rate.", lower_bound=0)
    flags.DEFINE_integer(
        "batch_size", 32, "Clips per step, over all replicas.", lower_bound=1
    )
    flags.DEFINE_integer("seed", 0, "Seed of weights and windows.", lower_bound=0)
    cli.define_strategy()


def main(argv: list[str]) -> None:
    del argv
    from tf_dvdgan.evaluation.features import train_small_classifier
    from tf_dvdgan.training import strategy as strategy_lib

    strategy = strategy_lib.create(FLAGS.strategy, FLAGS.tpu)
    result = train_small_classifier.train(
        FLAGS.data_dir,
        FLAGS.output,
        num_frames=FLAGS.num_frames,
        stride=FLAGS.stride,
        epochs=FLAGS.epochs,
        learning_rate=FLAGS.learning_rate,
        batch_size=FLAGS.batch_size,
        target_accuracy=FLAGS.target_accuracy,
        seed=FLAGS.seed,
        strategy=strategy,
    )
    if not strategy_lib.is_chief(strategy):
        return
    print(f"source   {terminal.printable(result.source)}")
    print(f"hash     {result.hash}")
    print(f"file     {FLAGS.output}")
    print(
        f"{result.accuracy:.1%} of {result.num_held_out} held-out real clips "
        "classified correctly"
    )


def run() -> None:
    define_flags()
    cli.run(main)


if __name__ == "__main__":
    run()
