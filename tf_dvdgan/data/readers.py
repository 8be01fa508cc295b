"""Datasets of clips from TFRecord shards.

In training, row i of batch b depends only on the seed, b and i: not on the number of
workers or threads, nor on interruptions of the run. `order` chooses the record and
`record_index` locates it, so a worker reads only the records of its own rows. The
window and crop of a row are drawn from the seed and the number of the row since the
start of the run.
"""

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf

from tf_dvdgan import errors
from tf_dvdgan.data import files, record_index, records, video_io, windows
from tf_dvdgan.data import manifest as manifest_lib
from tf_dvdgan.data import order as order_lib

_NOT_READ = (
    tf.errors.NotFoundError,
    tf.errors.PermissionDeniedError,
    tf.errors.UnavailableError,
    tf.errors.DeadlineExceededError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
)
_REMOTE_READS = 32  # parallel reads, each with a round trip
# They separate the seeds of windows and flips, and of reversals, from those of orders.
_NOISE_STREAM, _REVERSES = 1 << 32, 2 << 32


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
    """Creates the infinite training data of one worker, in order, not batched.

    Args:
      data_dir: folder of prepared shards.
      window: window of each clip, at a uniformly random position in time and space; a
        clip that is too short repeats its last frame.
      global_batch_size: rows per batch over all workers, which have equal shares.
      seed: seed of the order, the windows and the flips.
      first_batch: number of the first batch, to resume a run.
      split: name of the split.
      worker: index of this worker.
      num_workers: number of workers.

    Returns:
      Elements {'video': `[time, height, width, 3]` uint8, 'label': int32 scalar}.

    Raises:
      UserError: there is no such data, split or resolution; or a shard is not what its
        index says, or has none and is damaged, or has labels without a class.
    """
    full_manifest = manifest_lib.load(data_dir)
    manifest, labels = _of_classes(full_manifest, data_dir, window.classes)
    shards_of(manifest, data_dir, split, window)
    with reading(data_dir):
        index = record_index.load(data_dir, full_manifest, split)
    _check_labels(index.labels, len(labels), data_dir)
    labels_of_records = labels[index.labels]
    (taken,) = np.nonzero(labels_of_records >= 0)
    order = order_lib.Order(taken, labels_of_records[taken], seed, window.balanced)

    def read(row: tf.Tensor, number: tf.Tensor) -> dict[str, tf.Tensor]:
        clip = _decode(index.read(number), window, _uniform_noise(seed, row)[:3])
        video = with_symmetries(clip["video"], window, seed, row)
        return {"video": video, "label": tf.gather(labels, clip["label"])}

    rows = order.rows(global_batch_size, first_batch, worker, num_workers)
    return _in_parallel(rows, read, files.is_remote(data_dir))


def _uniform_noise(seed: int, row: tf.Tensor) -> tf.Tensor:
    """Random numbers of a row of training: three of its window, one of its flip."""
    return tf.random.stateless_uniform([4], [seed + _NOISE_STREAM, row])


def with_symmetries(
    video: tf.Tensor, window: windows.Window, seed: int, row: tf.Tensor
) -> tf.Tensor:
    """Mirrors half of the training clips and plays half backwards, if asked to.

    Args:
      video: `[time, height, width, 3]`.
      window: says which of the two are wanted.
      seed: seed of the run.
      row: number of the clip's row in the run, int64 scalar.

    Returns:
      `[time, height, width, 3]`.
    """
    if window.flips:
        mirrored = _uniform_noise(seed, row)[3] < 0.5
        video = tf.where(mirrored, video[:, :, ::-1], video)
    if window.reverses:
        backwards = tf.random.stateless_uniform([], [seed + _REVERSES, row]) < 0.5
        video = tf.where(backwards, video[::-1], video)
    return video


def evaluation_dataset(
    data_dir: str,
    window: windows.Window,
    split: str = "test",
    first: int = 0,
    worker: int = 0,
    num_workers: int = 1,
) -> tf.data.Dataset:
    """Creates a dataset with each clip of a split once, in the order of the shards.

    Args:
      data_dir: folder of prepared shards.
      window: window of each clip, in the middle of its frames and pixels; a clip that
        is too short repeats its last frame.
      split: name of the split.
      first: number of the first clip.
      worker: index of this worker.
      num_workers: number of workers; each gets every `num_workers`-th clip.

    Returns:
      Elements {'video': `[time, height, width, 3]` uint8, 'label': int32 scalar}.

    Raises:
      UserError: there is no such data, split or resolution, or a shard is damaged.
    """
    full_manifest = manifest_lib.load(data_dir)
    manifest, labels = _of_classes(full_manifest, data_dir, window.classes)
    shards = shards_of(manifest, data_dir, split, window)
    paths = [f"{data_dir}/{shard.file}" for shard in shards]

    def decode(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
        clip = _decode(serialized, window, tf.fill([3], windows.MIDDLE))
        return clip | {"label": tf.gather(labels, clip["label"])}

    with reading(data_dir):
        rows = record_index.rows(paths)
    if window.classes:
        rows = rows.filter(lambda row: tf.gather(labels, records.label_of(row)) >= 0)
    rows = rows.skip(first).shard(num_workers, worker)
    return _in_parallel(rows, decode)


def _check_labels(found: np.ndarray, num_classes: int, data_dir: str) -> None:
    wrong = found[(found < 0) | (found >= num_classes)]
    if len(wrong):
        raise errors.UserError(
            f"The shards in {data_dir} are damaged (a record has label {wrong[0]}, but "
            f"their {manifest_lib.FILE_NAME} has {num_classes} classes, from 0); "
            "prepare them again."
        )


def _in_parallel(
    rows: tf.data.Dataset, function: Callable, reads_remotely: bool = False
) -> tf.data.Dataset:
    """Maps rows in parallel on all cores, in order.

    Disables autotuning, because an autotuned iterator takes up to a minute to be
    destroyed.

    Args:
      rows: rows to map.
      function: function of a row.
      reads_remotely: whether the function waits for remote reads, so more calls should
        run in parallel.

    Returns:
      The mapped rows.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    calls = os.cpu_count() or 1
    if reads_remotely:
        calls = max(calls, _REMOTE_READS)
        options.threading.private_threadpool_size = calls
    rows = rows.map(function, num_parallel_calls=calls, deterministic=True)
    return rows.with_options(options)


def load_manifest(data_dir: str, classes: Sequence[str] = ()) -> manifest_lib.Manifest:
    """Loads the manifest of prepared shards, reduced to some classes.

    Args:
      data_dir: folder of prepared shards.
      classes: the only classes to use, see `windows.Window`; empty for all.

    Returns:
      The manifest.

    Raises:
      UserError: there is no manifest, or no such class.
    """
    return _of_classes(manifest_lib.load(data_dir), data_dir, classes)[0]


def _of_classes(
    manifest: manifest_lib.Manifest, data_dir: str, classes: Sequence[str]
) -> tuple[manifest_lib.Manifest, np.ndarray]:
    """Returns the manifest of some classes, and new labels by old label.

    The new label of a class that is not among them is -1.
    """
    all_names = manifest.class_names
    if not classes:
        return manifest, np.arange(len(all_names), dtype=np.int32)
    for name in classes:
        if name not in all_names:
            raise errors.UserError(
                f"{data_dir} has no class {name!r}, which is in data.Window.classes."
                + errors.did_you_mean(name, all_names)
            )
    if len(set(classes)) < len(classes):
        raise errors.UserError("data.Window.classes contains a class twice.")
    chosen = [all_names.index(name) for name in classes]

    def with_classes(shard: manifest_lib.Shard) -> manifest_lib.Shard:
        counts = [shard.class_counts[label] for label in chosen]
        return dataclasses.replace(shard, class_counts=counts, num_clips=sum(counts))

    splits = {
        split: [with_classes(shard) for shard in shards]
        for split, shards in manifest.splits.items()
    }
    names = list(classes)
    labels = np.full(len(all_names), -1, np.int32)
    labels[chosen] = np.arange(len(names))
    return dataclasses.replace(manifest, class_names=names, splits=splits), labels


def check_classes(manifest: manifest_lib.Manifest, split: str = "train") -> None:
    """Checks that data are suitable for a class-conditional model.

    A wrong folder layout gives every clip label 0, which nothing else would detect.

    Args:
      manifest: manifest of the data.
      split: name of the split.

    Raises:
      UserError: fewer than two classes have clips.
    """
    counts = manifest.class_counts(split)
    filled = [n for n, count in zip(manifest.class_names, counts, strict=True) if count]
    if len(filled) > 1:
        return
    found = f"all {sum(counts)} are of {filled[0]!r}" if filled else "there are none"
    raise errors.UserError(
        f"The model needs clips of several classes, but {found}. Prepare a folder with "
        "one sub-folder for each class, or train without classes: "
        "`gin_param='NUM_CLASSES = 0'`."
    )


def shards_of(
    manifest: manifest_lib.Manifest, data_dir: str, split: str, window: windows.Window
) -> list[manifest_lib.Shard]:
    """Returns the shards of a split that have clips.

    Args:
      manifest: manifest of the data.
      data_dir: folder of the shards.
      split: name of the split.
      window: window whose resolution the shards must have.

    Returns:
      The shards with at least one clip.

    Raises:
      UserError: there are no clips, shards are missing, or the resolution differs.
    """
    if split not in manifest.splits:
        raise errors.UserError(
            f"{data_dir} has no split {split!r}; it has {sorted(manifest.splits)}."
        )
    if manifest.resolution != window.resolution:
        raise errors.UserError(
            f"The model has a resolution of {window.resolution} pixels, the shards in "
            f"{data_dir} have {manifest.resolution}. Run "
            f"data_prep.prepare --resolution={window.resolution}, or "
            f"tf_dvdgan.run --gin_param='RESOLUTION = {manifest.resolution}'."
        )
    shards = [shard for shard in manifest.splits[split] if shard.num_clips]
    if not shards:
        raise errors.UserError(f"The split {split!r} in {data_dir} has no clips.")
    missing = files.missing_names(data_dir, [shard.file for shard in shards])
    if missing:
        raise errors.UserError(
            f"{len(missing)} of {len(shards)} shards are missing from {data_dir}, for "
            f"example {missing[0]}; run the preparation again."
        )
    return shards


@contextlib.contextmanager
def reading(data_dir: str) -> Iterator[None]:
    """Turns errors of TensorFlow's operations that read shards into `UserError`s.

    Raises:
      UserError: a shard cannot be read within the context.
    """
    try:
        yield
    except tf.errors.OpError as error:
        raise damaged(data_dir, error) from error


def damaged(data_dir: str, error: tf.errors.OpError) -> errors.UserError:
    """Creates the error to raise when TensorFlow cannot read shards.

    Args:
      data_dir: folder of the shards.
      error: TensorFlow's error.

    Returns:
      The error.
    """
    reason = errors.reason_of(error)
    if isinstance(error, _NOT_READ):
        return errors.UserError(f"The shards in {data_dir} cannot be read ({reason}).")
    return errors.UserError(
        f"The shards in {data_dir} are damaged ({reason}); prepare them again."
    )


def _decode(
    serialized: tf.Tensor, window: windows.Window, positions: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Decodes the frames and pixels of one window.

    Args:
      serialized: a record.
      window: the window; it has a resolution.
      positions: `[3]` positions of the window in time, height and width, from 0 to 1
        (excluded).

    Returns:
      "video" `[num_frames, resolution, resolution, 3]` uint8, "label" int64 scalar.

    Raises:
      InvalidArgumentError: the record is damaged.
    """
    context, frames = records.parse(serialized)
    side = window.resolution
    index = window.frame_numbers(context["num_frames"], positions[0])
    message = "a record has another number of frames than it declares"
    counted = tf.debugging.Assert(
        tf.equal(tf.size(frames, tf.int64), context["num_frames"]), [message]
    )
    with tf.control_dependencies([counted]):
        frames = tf.gather(frames, index)
    encoded = _checked(frames, context, window.num_frames)
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
    return {"video": video, "label": context["label"]}


def _checked(
    frames: tf.Tensor, context: Mapping[str, tf.Tensor], num_frames: int
) -> list[tf.Tensor]:
    """Lists frames, after a check of the sizes in their headers."""
    frames = tf.ensure_shape(frames, [num_frames])
    message = (
        "a frame is not a JPEG or PNG of the height and width in its record, or has "
        f"over {video_io.MAX_PIXELS // 10**6} million pixels"
    )
    checked = tf.debugging.Assert(
        records.fits(context, records.frame_sizes(frames)), [message]
    )
    with tf.control_dependencies([checked]):
        return tf.unstack(tf.identity(frames))
