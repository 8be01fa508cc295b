"""Trains the small classifier on prepared clips, for scores of models that learn them.

  python -m tools.train_classifier --data_dir=SHARDS --output=FILE.weights.h5

It sees random windows of the 'train' split. The learning rate falls to a tenth each
time that four epochs in a row have not brought a better accuracy on the 'test' split,
which is printed in the end. Scores compare only by the same file: train it once for a
data set, with the frames and the stride of the models, and keep it.

On few clips it stays weak, and scores by a weak classifier mean little: look at what
share of the held-out clips it tells.
"""

from absl import flags

from tf_dvdgan import cli, errors, terminal

FLAGS = flags.FLAGS


def define_flags() -> None:
    flags.DEFINE_string("data_dir", None, "Shards with classes.", required=True)
    flags.DEFINE_string("output", None, "File; ends in .weights.h5.", required=True)
    flags.DEFINE_integer("num_frames", 8, "Of each clip.", lower_bound=1)
    flags.DEFINE_integer("stride", 2, "Every n-th frame.", lower_bound=1)
    flags.DEFINE_integer("epochs", 30, "Over the training clips.", lower_bound=1)
    flags.DEFINE_float(
        "target_accuracy",
        None,
        "Stop after an epoch in which this share of held-out clips is right.",
        lower_bound=0,
        upper_bound=1,
    )
    flags.DEFINE_float("learning_rate", 3e-3, "Of Adam, at the start.", lower_bound=0)
    flags.DEFINE_integer("batch_size", 32, "Over all replicas.", lower_bound=1)
    flags.DEFINE_integer("seed", 0, "Of weights and windows.", lower_bound=0)
    cli.define_strategy()


def main(argv: list[str]) -> None:
    del argv
    import tensorflow as tf

    from tf_dvdgan.data import manifest as manifest_lib
    from tf_dvdgan.data import readers
    from tf_dvdgan.evaluation import classifiers, preprocessing
    from tf_dvdgan.evaluation.networks import small_classifier, weights
    from tf_dvdgan.training import strategy as strategy_lib

    manifest = manifest_lib.load(FLAGS.data_dir)
    window = readers.Window(FLAGS.num_frames, manifest.resolution, FLAGS.stride)
    _check_data(FLAGS.data_dir, manifest, window)
    weights.check_output(FLAGS.output)
    strategy = strategy_lib.create(FLAGS.strategy, FLAGS.tpu)
    is_chief = strategy_lib.is_chief(strategy)
    progress = terminal.Progress("epochs", FLAGS.epochs, seconds_between=0.0)
    found, epochs = 0.0, 0

    def tell(epoch: int, accuracy: float) -> None:
        nonlocal found, epochs
        found, epochs = accuracy, epoch
        if is_chief:
            progress.update(epoch, f"  {accuracy:.1%} of held-out clips right")

    recipe = classifiers.Recipe(
        tf.keras.optimizers.Adam,
        FLAGS.learning_rate,
        FLAGS.batch_size,
        FLAGS.epochs,
        seed=FLAGS.seed,
        target_accuracy=FLAGS.target_accuracy,
    )
    train = readers.training_dataset(
        FLAGS.data_dir, window, recipe.batch_size, recipe.seed
    )
    num_train = manifest.num_clips("train")
    test = readers.evaluation_dataset(FLAGS.data_dir, window)
    network = classifiers.fit(
        lambda: small_classifier.SmallClassifier(len(manifest.class_names)),
        preprocessing.unit_range,
        train.map(_pair),
        num_train,
        test.map(_pair),
        recipe,
        strategy,
        tell,
    )
    # Batch norm's statistics are the mean over all workers, so all read them.
    values = {n: v.numpy() for n, v in weights.variables(network).items()}
    if not is_chief:
        return
    source = (
        f"tools.train_classifier on {manifest.dataset}: {num_train} clips of "
        f"{len(manifest.class_names)} classes, {window.num_frames} frames at stride "
        f"{window.stride}, {window.resolution} pixels; {epochs} epochs, seed "
        f"{recipe.seed}; {found:.1%} of held-out clips right"
    )
    facts = weights.save(
        "small_classifier", values, FLAGS.output, source, manifest.class_names
    )
    print(f"source   {terminal.printable(facts.source)}")
    print(f"hash     {facts.hash}")
    print(f"file     {FLAGS.output}")
    print(f"{found:.1%} of {manifest.num_clips('test')} held-out real clips right")


def _pair(row: dict) -> tuple:
    return row["video"], row["label"]


def _check_data(data_dir: str, manifest, window) -> None:
    """Refuses data without classes, or with nothing to hold out."""
    from tf_dvdgan.data import readers

    for split in ("train", "test"):
        readers.shards_of(manifest, data_dir, split, window)
    filled = [count for count in manifest.class_counts("train") if count]
    if len(filled) < 2:
        raise errors.UserError(
            f"A classifier wants clips of several classes; in {data_dir!r} all "
            "are of one. Prepare a folder with one sub-folder for each class."
        )


def run() -> None:
    define_flags()
    cli.run(main)


if __name__ == "__main__":
    run()
