"""Trains the small classifier on prepared clips, to score models of the same clips."""

import dataclasses

import tensorflow as tf

from tf_dvdgan import errors, terminal
from tf_dvdgan.data import manifest as manifest_lib
from tf_dvdgan.data import readers, windows
from tf_dvdgan.evaluation.features import classifiers, preprocessing
from tf_dvdgan.evaluation.features.networks import small_classifier, weights
from tf_dvdgan.models import variables
from tf_dvdgan.training import strategy as strategy_lib


@dataclasses.dataclass(frozen=True)
class Result:
    """A trained classifier.

    Attributes:
      source: description of its training, as in its file.
      hash: hash of its weights, as in the metadata of scores.
      accuracy: accuracy on the held-out clips.
      num_held_out: number of held-out clips.
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
      data_dir: folder of prepared shards with classes and a split 'test'.
      output: file to write, ending in .weights.h5.
      num_frames: number of frames per clip.
      stride: takes every n-th frame.
      epochs: maximum number of epochs.
      learning_rate: initial learning rate of Adam.
      batch_size: number of clips per update, over all replicas.
      target_accuracy: stops after an epoch with this accuracy on the held-out clips;
        None for all epochs.
      seed: seed of the initial weights and the windows.
      strategy: where to train; only the chief of its workers writes.

    Returns:
      The trained classifier.

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
            progress.update(epoch, f"  {accuracy:.1%} held-out accuracy")

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
    # All workers must read the variables: batch norm's are means over the workers.
    values = {n: v.numpy() for n, v in variables.by_path(network).items()}
    source = (
        f"tools.train_classifier on {manifest.dataset}: {num_train} clips of "
        f"{len(manifest.class_names)} classes, {num_frames} frames at stride "
        f"{stride}, {window.resolution} pixels; {epochs_done} epochs, seed {seed}; "
        f"{accuracy:.1%} held-out accuracy"
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
    """Checks that the data have several classes and held-out clips."""
    for split in ("train", "test"):
        readers.shards_of(manifest, data_dir, split, window)
    filled = [count for count in manifest.class_counts("train") if count]
    if len(filled) < 2:
        raise errors.UserError(
            f"A classifier needs clips of several classes; {data_dir!r} has at most "
            "one. Prepare a folder with one sub-folder for each class."
        )
