"""From TFRecord shards to batches of clips.

For training, row i of batch b is a function of the seed, b and i alone: not of the
number of workers, of threads, or of whether the run was stopped in between. `order`
says which record it is, `record_index` where that lies; so a worker reads the records
of its own rows and nothing else. The window and crop of a row are drawn from the seed
and the row's number since the start.
"""

import dataclasses
import os
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tf_dvdgan import errors
from tf_dvdgan.data import files, record_index, records, windows
from tf_dvdgan.data import manifest as manifest_lib
from tf_dvdgan.data import order as order_lib

_REMOTE_READS = 32  # under way at a time; each waits for its answer
_DRAW_STREAM = 1 << 32  # keeps the seeds of draws apart from those of orders


def training_dataset(
    data_dir: str,
    window: windows.Window,
    global_batch_size: int,
    seed: int,
    first_batch: int = 0,
    split: str = "train",
    worker: int = 0,
    num_workers: int = 1,
) -> tf.data.Dataset:
    """Endless training rows of one worker, in order, not yet batched.

    Args:
      data_dir: of the shards and the manifest.
      window: drawn uniformly in time and space; a clip that is too short repeats its
        last frame.
      global_batch_size: rows of a batch, over all workers; each has an equal part.
      seed: of all that is random.
      first_batch: the number of the first batch given, to go on with a run.
      split: which split.
      worker: number of this worker.
      num_workers: how many there are.

    Returns:
      Elements {'video': `[time, height, width, 3]` uint8, 'label': int32 scalar}.

    Raises:
      UserError: there is no such data, split or resolution; or there is no index and
        a shard is damaged.
    """
    whole = manifest_lib.load(data_dir)
    manifest, labels = _of_classes(whole, data_dir, window)
    shards_of(manifest, data_dir, split, window)
    try:
        index = record_index.load(data_dir, whole, split)
    except tf.errors.DataLossError as error:
        raise damaged(data_dir, error) from error
    labels_of_records = labels[index.labels]
    (taken,) = np.nonzero(labels_of_records >= 0)
    order = order_lib.Order(taken, labels_of_records[taken], seed, window.balanced)

    def read(row: tf.Tensor, number: tf.Tensor) -> dict[str, tf.Tensor]:
        draws = tf.random.stateless_uniform([4], [seed + _DRAW_STREAM, row])
        clip = _decode(index.read(number), window, draws[:3])
        if window.flips:
            mirrored = draws[3] < 0.5
            clip["video"] = tf.where(mirrored, clip["video"][:, :, ::-1], clip["video"])
        return clip | {"label": tf.gather(labels, clip["label"])}

    rows = order.rows(global_batch_size, first_batch, worker, num_workers)
    return _in_parallel(rows, read, files.is_remote(data_dir))


def evaluation_dataset(
    data_dir: str,
    window: windows.Window,
    split: str = "test",
    first: int = 0,
    worker: int = 0,
    num_workers: int = 1,
) -> tf.data.Dataset:
    """Every clip of a split once, in the shards' order: middle window, centre crop.

    Arguments, elements and errors as `training_dataset`, but `first` is the number of
    the first clip given; of those that follow each worker gets every
    `num_workers`-th.
    """
    whole = manifest_lib.load(data_dir)
    manifest, labels = _of_classes(whole, data_dir, window)
    shards = shards_of(manifest, data_dir, split, window)
    paths = [f"{data_dir}/{shard.file}" for shard in shards]

    def decode(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
        clip = _decode(serialized, window, tf.fill([3], windows.MIDDLE))
        return clip | {"label": tf.gather(labels, clip["label"])}

    rows = tf.data.TFRecordDataset(paths)
    if window.classes:
        rows = rows.filter(lambda row: tf.gather(labels, records.label_of(row)) >= 0)
    rows = rows.skip(first).shard(num_workers, worker)
    return _in_parallel(rows, decode)


def _in_parallel(
    rows: tf.data.Dataset, function: Callable, reads_remotely: bool = False
) -> tf.data.Dataset:
    """Maps rows, in their order, on every core.

    tf.data does not tune itself: an iterator that does takes up to a minute to go away.

    Args:
      rows: what to map.
      function: of a row.
      reads_remotely: whether it waits for answers; more are under way then.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    calls = os.cpu_count()
    if reads_remotely:
        calls = max(calls, _REMOTE_READS)
        options.threading.private_threadpool_size = calls
    rows = rows.map(function, num_parallel_calls=calls, deterministic=True)
    return rows.with_options(options)


def load_manifest(data_dir: str, window: windows.Window) -> manifest_lib.Manifest:
    """A directory's manifest, as if it held the window's classes alone.

    Raises:
      UserError: there is none, or it knows no such class.
    """
    return _of_classes(manifest_lib.load(data_dir), data_dir, window)[0]


def _of_classes(
    manifest: manifest_lib.Manifest, data_dir: str, window: windows.Window
) -> tuple[manifest_lib.Manifest, np.ndarray]:
    """The manifest of the window's classes; for each label of the data its own there.

    A label is -1 where the window leaves the class out.
    """
    known = manifest.class_names
    if not window.classes:
        return manifest, np.arange(len(known), dtype=np.int32)
    for name in window.classes:
        if name not in known:
            raise errors.UserError(
                f"{data_dir} has no class {name!r}, which data.Window.classes names."
                + errors.did_you_mean(name, known)
            )
    if len(set(window.classes)) < len(window.classes):
        raise errors.UserError("data.Window.classes names a class twice.")
    chosen = [known.index(name) for name in window.classes]

    def with_classes(shard: manifest_lib.Shard) -> manifest_lib.Shard:
        counts = [shard.class_counts[label] for label in chosen]
        return dataclasses.replace(shard, class_counts=counts, num_clips=sum(counts))

    splits = {
        split: [with_classes(shard) for shard in shards]
        for split, shards in manifest.splits.items()
    }
    names = list(window.classes)
    labels = np.full(len(known), -1, np.int32)
    labels[chosen] = np.arange(len(names))
    return dataclasses.replace(manifest, class_names=names, splits=splits), labels


def check_classes(manifest: manifest_lib.Manifest, split: str = "train") -> None:
    """Refuses to train a class-conditional model on what has no classes.

    Raises:
      UserError: fewer than two classes have clips. A wrong folder layout gives every
        clip label 0, and nothing else would tell.
    """
    counts = manifest.class_counts(split)
    filled = [n for n, count in zip(manifest.class_names, counts, strict=True) if count]
    if len(filled) > 1:
        return
    found = f"all {sum(counts)} clips are {filled[0]!r}" if filled else "none has clips"
    raise errors.UserError(
        f"The model wants classes, but of {len(counts)} in the data {found}. Prepare a "
        "folder with one sub-folder for each class, or train without classes: "
        "--gin_param='NUM_CLASSES = 0'."
    )


def shards_of(
    manifest: manifest_lib.Manifest, data_dir: str, split: str, window: windows.Window
) -> list[manifest_lib.Shard]:
    """A split's shards that have clips.

    Raises:
      UserError: there are none, some are missing, or the resolution does not fit.
    """
    if split not in manifest.splits:
        raise errors.UserError(
            f"{data_dir} has no split {split!r}; it has {sorted(manifest.splits)}."
        )
    if manifest.resolution != window.resolution:
        raise errors.UserError(
            f"The model makes {window.resolution} pixels, the shards in {data_dir} "
            f"have {manifest.resolution}. Prepare with "
            f"--resolution={window.resolution}, or train with "
            f"--gin_param='RESOLUTION = {manifest.resolution}'."
        )
    shards = [shard for shard in manifest.splits[split] if shard.num_clips]
    if not shards:
        raise errors.UserError(f"The split {split!r} in {data_dir} has no clips.")
    missing = files.missing_names(data_dir, [shard.file for shard in shards])
    if missing:
        raise errors.UserError(
            f"{len(missing)} of {len(shards)} shards are missing from {data_dir}, "
            f"{missing[0]} among them; run the preparation again."
        )
    return shards


def damaged(data_dir: str, error: Exception) -> errors.UserError:
    """What to say when TensorFlow cannot read shards."""
    reason = str(error).splitlines()[0]
    return errors.UserError(
        f"The shards in {data_dir} are damaged ({reason}); prepare them again."
    )


def _decode(
    serialized: tf.Tensor, window: windows.Window, positions: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Decodes the frames and pixels of one window.

    Args:
      serialized: record.
      window: what is taken; with a resolution.
      positions: `[3]` of the window in time, height and width, from 0 to 1 (excluded).

    Returns:
      "video" `[num_frames, resolution, resolution, 3]` uint8, "label" int32 scalar.
    """
    context, frames = records.parse(serialized)
    side = window.resolution
    index = window.frame_numbers(context["num_frames"], positions[0])
    encoded = tf.unstack(tf.gather(frames, index), num=window.num_frames)
    top, left = (
        windows.offset(context[name], side, position)
        for name, position in (("height", positions[1]), ("width", positions[2]))
    )

    def decode(frame: tf.Tensor) -> tf.Tensor:
        return tf.cond(
            tf.io.is_jpeg(frame),
            lambda: tf.io.decode_and_crop_jpeg(frame, [top, left, side, side], 3),
            lambda: tf.io.decode_png(frame, 3)[top : top + side, left : left + side],
        )

    video = tf.ensure_shape(
        tf.stack([decode(frame) for frame in encoded]),
        [window.num_frames, side, side, 3],
    )
    return {"video": video, "label": tf.cast(context["label"], tf.int32)}
