"""Training the small classifier on prepared clips, for scores of models of them."""

import dataclasses

import tensorflow as tf

from tf_dvdgan import errors, terminal
from tf_dvdgan.data import manifest as manifest_lib
from tf_dvdgan.data import readers, windows
from tf_dvdgan.evaluation.features import classifiers, preprocessing
from tf_dvdgan.evaluation.features.networks import small_classifier, weights
from tf_dvdgan.training import strategy as strategy_lib


@dataclasses.dataclass(frozen=True)
class Result:
    """A trained classifier.

    Attributes:
      source: what it was trained on, as its file says.
      hash: of its weights, as scores carry it.
      accuracy: on the held-out clips.
      num_held_out: held-out clips.
    """

    source: str
    hash: str
    accuracy: float
    num_held_out: int


def train(
    data_dir: str,
    output: str,
    *,
    num_frames: int = 8,
    stride: int = 2,
    epochs: int = 30,
    learning_rate: float = 3e-3,
    batch_size: int = 32,
    target_accuracy: float | None = None,
    seed: int = 0,
    strategy: tf.distribute.Strategy | None = None,
) -> Result:
    """Trains the small classifier on the split 'train', and writes its weights.

    Args:
      data_dir: folder of prepared shards with classes, and with a split 'test'.
      output: file to write; it ends in .weights.h5.
      num_frames: of each clip.
      stride: every n-th frame is taken.
      epochs: over the training clips.
      learning_rate: of Adam, at the start.
      batch_size: over all replicas.
      target_accuracy: stops after an epoch with this accuracy on the held-out clips.
      seed: of weights and windows.
      strategy: where to train; only the chief of its workers writes.

    Returns:
      What was trained.

    Raises:
      UserError: there are no classes, or the file cannot be written.
    """
    manifest = manifest_lib.load(data_dir)
    window = windows.Window(num_frames, manifest.resolution, stride)
    _check_data(data_dir, manifest, window)
    weights.check_output(output)
    strategy = strategy or tf.distribute.get_strategy()
    chief = strategy_lib.is_chief(strategy)
    progress = terminal.Progress("epochs", epochs, seconds_between=0.0)
    accuracy, epochs_done = 0.0, 0

    def on_epoch(epoch: int, test_accuracy: float) -> None:
        nonlocal accuracy, epochs_done
        accuracy, epochs_done = test_accuracy, epoch
        if chief:
            progress.update(epoch, f"  {accuracy:.1%} of held-out clips right")

    recipe = classifiers.Recipe(
        tf.keras.optimizers.Adam,
        learning_rate,
        batch_size,
        epochs,
        seed=seed,
        target_accuracy=target_accuracy,
    )
    train_rows = readers.training_dataset(data_dir, window, batch_size, seed)
    test_rows = readers.evaluation_dataset(data_dir, window)
    num_train = manifest.num_clips("train")
    network = classifiers.fit(
        lambda: small_classifier.SmallClassifier(len(manifest.class_names)),
        preprocessing.unit_range,
        train_rows.map(_pair),
        num_train,
        test_rows.map(_pair),
        recipe,
        strategy,
        on_epoch,
    )
    # Batch norm's statistics are the mean over all workers, so all read them.
    values = {n: v.numpy() for n, v in weights.variables(network).items()}
    source = (
        f"tools.train_classifier on {manifest.dataset}: {num_train} clips of "
        f"{len(manifest.class_names)} classes, {num_frames} frames at stride "
        f"{stride}, {window.resolution} pixels; {epochs_done} epochs, seed {seed}; "
        f"{accuracy:.1%} of held-out clips right"
    )
    written = ""
    if chief:
        written = weights.save(
            "small_classifier", values, output, source, manifest.class_names
        ).hash
    return Result(source, written, accuracy, manifest.num_clips("test"))


def _pair(row: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
    return row["video"], row["label"]


def _check_data(
    data_dir: str, manifest: manifest_lib.Manifest, window: windows.Window
) -> None:
    """Refuses data without classes, or without held-out clips."""
    for split in ("train", "test"):
        readers.shards_of(manifest, data_dir, split, window)
    filled = [count for count in manifest.class_counts("train") if count]
    if len(filled) < 2:
        raise errors.UserError(
            f"A classifier needs clips of several classes; in {data_dir!r} all are of "
            "one. Prepare a folder with one sub-folder for each class."
        )
