"""From TFRecord shards to batches of clips.

For training, what stands in row i of batch b is a function of the seed, b and i alone:
not of the number of workers, of threads, or of whether the run was stopped in between.
The rows of a batch are dealt to streams, and so are the shards; a stream reads its
shards in an order that is drawn anew each epoch, and shuffles their records. A worker
reads only the streams of its own rows. The window and crop of a row are drawn from the
seed and the row's number since the start.

Where classes are to be balanced, a stream gives each record as many times as its class
wants, none for some of a large one: evenly spaced, others each time, and as many in all
every epoch, so that a run can still go on from any batch.
"""

import dataclasses
import math
import os
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from tf_dvdgan import errors
from tf_dvdgan.data import files, records
from tf_dvdgan.data import manifest as manifest_lib

_SHUFFLE_BYTES = 256 * 2**20  # of encoded clips, over all of a worker's streams
_DRAW_STREAM = 1 << 32  # keeps the seeds of draws apart from those of orders


@dataclasses.dataclass(frozen=True)
class Window:
    """What is taken of a data set, and of each clip.

    Attributes:
      num_frames: how many frames.
      resolution: height and width of the crop.
      stride: every so manieth frame; 2 in paper 001, section 2.3, 1 for prediction.
      flips: whether half of the training clips are mirrored, left to right.
      classes: names of the only ones that are taken, in the order of their labels;
        none takes all.
      balanced: whether training sees each class equally often, however many clips it
        has; an epoch is as long as without.
    """

    num_frames: int
    resolution: int
    stride: int = 2
    flips: bool = False
    classes: Sequence[str] = ()
    balanced: bool = False

    @property
    def length(self) -> int:
        """Frames of the clip from the window's first to its last."""
        return (self.num_frames - 1) * self.stride + 1


def training_dataset(
    data_dir: str,
    window: Window,
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
      UserError: there is no such data, split or resolution.
    """
    manifest, labels = _load(data_dir, window)
    shards = shards_of(manifest, data_dir, split, window)
    counts = np.array(manifest.class_counts(split))
    # How often an epoch gives a clip of each class.
    times = counts.sum() / np.count_nonzero(counts) / np.maximum(counts, 1)
    times = times if window.balanced else np.ones(len(counts))
    rows_of_worker = global_batch_size // num_workers
    num_streams = math.gcd(global_batch_size, len(shards))
    rows_of_stream = global_batch_size // num_streams
    own = [
        s
        for s in range(num_streams)
        if s * rows_of_stream < (worker + 1) * rows_of_worker
        and (s + 1) * rows_of_stream > worker * rows_of_worker
    ]
    bytes_per_clip = sum(s.num_bytes for s in shards) / counts.sum()
    buffer = max(2, int(_SHUFFLE_BYTES / len(own) / bytes_per_clip))
    streams = []
    for s in own:
        records_ = _stream(
            data_dir,
            shards[s::num_streams],
            times,
            labels,
            first_record=first_batch * rows_of_stream,
            seed=seed,
            buffer=buffer,
        )
        streams.append(records_.map(_numbering(s, rows_of_stream, global_batch_size)))
    dataset = streams[0]
    if len(streams) > 1:
        # Taking whole groups of rows in turn puts the rows of a batch in order.
        turns = tf.data.Dataset.range(len(streams)).repeat()
        turns = turns.flat_map(
            lambda i: tf.data.Dataset.from_tensors(i).repeat(rows_of_stream)
        )
        dataset = tf.data.Dataset.choose_from_datasets(streams, turns)
    covered = len(own) * rows_of_stream
    if covered != rows_of_worker:  # streams are shared between workers
        first = worker * rows_of_worker - own[0] * rows_of_stream
        dataset = dataset.batch(covered).map(
            lambda *row: tuple(x[first : first + rows_of_worker] for x in row)
        )
        dataset = dataset.unbatch()

    def decode(number: tf.Tensor, serialized: tf.Tensor) -> dict[str, tf.Tensor]:
        draws = tf.random.stateless_uniform([4], [seed + _DRAW_STREAM, number])
        clip = _decode(serialized, window, draws[:3])
        if window.flips:
            mirrored = draws[3] < 0.5
            clip["video"] = tf.where(mirrored, clip["video"][:, :, ::-1], clip["video"])
        return clip | {"label": tf.gather(labels, clip["label"])}

    return _on_every_core(dataset, decode)


def evaluation_dataset(
    data_dir: str,
    window: Window,
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
    manifest, labels = _load(data_dir, window)
    shards = shards_of(manifest, data_dir, split, window)
    paths = [f"{data_dir}/{shard.file}" for shard in shards]

    def decode(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
        clip = _decode(serialized, window, tf.fill([3], 0.5))
        return clip | {"label": tf.gather(labels, clip["label"])}

    rows = tf.data.TFRecordDataset(paths)
    if window.classes:
        rows = rows.filter(lambda row: tf.gather(labels, records.label_of(row)) >= 0)
    rows = rows.skip(first).shard(num_workers, worker)
    return _on_every_core(rows, decode)


def _on_every_core(rows: tf.data.Dataset, decode: Callable) -> tf.data.Dataset:
    """Decodes rows, in their order.

    tf.data does not tune itself: an iterator that does takes up to a minute to go away.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    rows = rows.map(decode, num_parallel_calls=os.cpu_count(), deterministic=True)
    return rows.with_options(options)


def load_manifest(data_dir: str, window: Window) -> manifest_lib.Manifest:
    """A directory's manifest, as if it held the window's classes alone.

    Raises:
      UserError: there is none, or it knows no such class.
    """
    return _load(data_dir, window)[0]


def _load(data_dir: str, window: Window) -> tuple[manifest_lib.Manifest, np.ndarray]:
    """The manifest of the window's classes; for each label of the data its own there.

    A label is -1 where the window leaves the class out.
    """
    manifest = manifest_lib.load(data_dir)
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
    manifest: manifest_lib.Manifest, data_dir: str, split: str, window: Window
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
    missing = files.missing(data_dir, [shard.file for shard in shards])
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


def _stream(
    data_dir: str,
    shards: Sequence[manifest_lib.Shard],
    times: np.ndarray,
    labels: np.ndarray,
    first_record: int,
    seed: int,
    buffer: int,
) -> tf.data.Dataset:
    """Endless (number since the start, record) pairs, epoch after epoch.

    Args:
      data_dir: of the shards.
      shards: those of the stream.
      times: how often a record of each class comes in an epoch, on average.
      labels: for each label of the data that of its class, -1 where it is left out.
      first_record: the number of the first pair.
      seed: of the order.
      buffer: records that are shuffled together.
    """
    files = [f"{data_dir}/{shard.file}" for shard in shards]
    counts = np.sum([shard.class_counts for shard in shards], axis=0)
    wanted = np.round(counts * times).astype(np.int64)
    if not wanted.any():
        wanted = counts
    num_records = int(wanted.sum())
    as_they_are = bool((wanted == counts).all() and (labels >= 0).all())
    first_epoch, first_in_epoch = divmod(first_record, num_records)

    def epoch(number: tf.Tensor) -> tf.data.Dataset:
        tf.random.set_seed(1)  # of this graph: the order shall depend on `draw` alone
        order = tf.random.experimental.stateless_shuffle(
            tf.constant(files), [seed, number]
        )
        draw = tf.random.stateless_uniform(
            [], [seed, number], 0, tf.int64.max, tf.int64
        )
        rows = tf.data.TFRecordDataset(order)
        if not as_they_are:
            phases = tf.random.stateless_uniform([len(counts)], [number, seed])
            rows = rows.scan(
                tf.zeros([len(counts)], tf.int64),
                _times(counts, wanted, labels, phases),
            ).flat_map(lambda row, n: tf.data.Dataset.from_tensors(row).repeat(n))
        shuffled = rows.shuffle(
            min(buffer, num_records), seed=draw, reshuffle_each_iteration=False
        )
        before = tf.where(number == first_epoch, first_in_epoch, 0)
        return shuffled.skip(tf.cast(before, tf.int64))

    epochs = tf.data.Dataset.range(first_epoch, tf.int64.max)
    return epochs.flat_map(epoch).enumerate(first_record)


def _times(
    counts: np.ndarray, wanted: np.ndarray, labels: np.ndarray, phases: tf.Tensor
) -> Callable:
    """How often each record is given, so that its class comes as often as wanted.

    Of the `counts[c]` records of a class the one that comes j-th is given
    floor((j + 1) w / n + phase) - floor(j w / n + phase) times, w of n wanted: evenly
    spaced, exactly w in all, and by the phase (in [0, 1)) not always the same ones.
    """
    num_classes = len(counts)
    counts, wanted = tf.constant(counts, tf.int64), tf.constant(wanted, tf.int64)
    grain = 1 << 16  # phases as integers: floors are exact

    def step(seen: tf.Tensor, row: tf.Tensor):
        label = tf.gather(labels, records.label_of(row))
        kept = label >= 0
        c = tf.maximum(label, 0)
        j, n, w = seen[c], tf.maximum(counts[c], 1), wanted[c]
        phase = tf.cast(phases[c] * grain, tf.int64) * n
        now = ((j + 1) * w * grain + phase) // (n * grain)
        before = (j * w * grain + phase) // (n * grain)
        seen += tf.one_hot(c, num_classes, dtype=tf.int64) * tf.cast(kept, tf.int64)
        return seen, (row, tf.where(kept, now - before, 0))

    return step


def _numbering(stream: int, rows_of_stream: int, global_batch_size: int):
    """Numbers a stream's records by batch and row: number = batch * rows + row."""

    def number(in_stream: tf.Tensor, record: tf.Tensor):
        batch, row = in_stream // rows_of_stream, in_stream % rows_of_stream
        return batch * global_batch_size + stream * rows_of_stream + row, record

    return number


def _decode(
    serialized: tf.Tensor, window: Window, draws: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Decodes the frames and pixels of one window; `draws` `[3]` in [0, 1) place it."""
    context, frames = records.parse(serialized)
    size = tf.stack([context["num_frames"], context["height"], context["width"]])
    taken = [window.length, window.resolution, window.resolution]
    room = tf.cast(tf.maximum(size - taken, 0) + 1, tf.float32)
    first, top, left = tf.unstack(tf.cast(tf.floor(draws * room), tf.int32))
    index = first + tf.range(window.num_frames) * window.stride
    last = tf.cast(context["num_frames"], tf.int32) - 1
    encoded = tf.unstack(
        tf.gather(frames, tf.minimum(index, last)), num=window.num_frames
    )
    side = window.resolution

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
