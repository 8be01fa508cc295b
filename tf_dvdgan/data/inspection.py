"""Inspects shards: checks that every record is valid and collects statistics."""

import os
import random
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf

from tf_dvdgan import errors, terminal
from tf_dvdgan.data import (
    clip_files,
    files,
    filesystem,
    manifest,
    record_index,
    records,
    video_io,
)

_SHEET_FRAMES = 8
_SHEET_SIDE = 512  # at most, in pixels
_BAR = 40  # length of the longest bar, in characters


def inspect(
    path: str, all_frames: bool = False, num_sheet_clips: int = 12, seed: int = 0
) -> "Report":
    """Reads every record of shards and checks it; shows progress.

    Args:
      path: folder of prepared shards, or one TFRecord file.
      all_frames: whether to decode all frames, not only the first and last.
      num_sheet_clips: number of random clips to keep for a contact sheet.
      seed: seed of their choice.

    Returns:
      Statistics and problems.

    Raises:
      UserError: there are no shards.
    """
    class_names, shards = _shards_at(path)
    report = Report(class_names, num_sheet_clips, seed)
    progress = terminal.Progress("shards", len(shards))
    for done, (shard, expected) in enumerate(shards):
        report.add_shard(shard, expected, all_frames)
        progress.update(done + 1, f"  {report.num_clips} records")
    return report


class Report:
    """Statistics and problems of the shards read so far.

    Args:
      class_names: class names in the order of the labels; empty if unknown.
      num_sheet_clips: number of random clips to keep for a contact sheet.
      seed: seed of their choice.

    Attributes:
      num_clips: number of records.
      num_shards: number of shards.
      num_bytes: total size of the shards.
      class_counts: class name to number of clips.
      lengths: number of frames of every clip.
      sizes: frame size of every clip, such as '85x64' (width x height).
      rates: frames per second of every clip.
      sheet: random clips: `[frames, size, size, 3]` uint8 and class name.
      problems: one sentence per problem.
    """

    def __init__(
        self, class_names: Sequence[str], num_sheet_clips: int = 12, seed: int = 0
    ):
        self._names = list(class_names)
        self._num_sheet_clips = num_sheet_clips
        self._random = random.Random(seed)
        self.num_shards = self.num_clips = self.num_bytes = 0
        self.class_counts = dict.fromkeys(class_names, 0)
        self.lengths: list[int] = []
        self.sizes: list[str] = []
        self.rates: list[float] = []
        self.sheet: list[tuple[np.ndarray, str]] = []
        self.problems: list[str] = []

    def add_shard(self, path: str, expected: int | None, all_frames: bool) -> None:
        """Reads a shard and adds its statistics and problems.

        Args:
          path: path of the shard.
          expected: number of records according to the manifest; None if unknown.
          all_frames: whether to decode every frame, or only the first and the last.
        """
        name, count = os.path.basename(path), 0
        self.num_shards += 1
        try:
            self.num_bytes += filesystem.stat(path).length
            for serialized in record_index.rows([path]):
                count += 1
                try:
                    self._add_record(serialized, all_frames)
                except (tf.errors.OpError, ValueError) as error:
                    reason = errors.reason_of(error)
                    self.problems.append(f"{name}, record {count}: {reason}")
        except tf.errors.OpError as error:  # wrong checksum, truncated or missing file
            reason = errors.reason_of(error)
            self.problems.append(f"{name}, after {count} records: {reason}")
        if expected is not None and count != expected:
            self.problems.append(
                f"{name}: {count} records, the manifest has {expected}"
            )

    def _add_record(self, serialized: tf.Tensor, all_frames: bool) -> None:
        """Checks a record and adds its statistics.

        Raises:
          ValueError: the record is invalid.
        """
        self.num_clips += 1
        context, frames = records.parse(serialized)
        name = context["class_name"].numpy().decode("utf-8", "backslashreplace")
        self._check_label(int(context["label"]), name)
        self.class_counts[name] = self.class_counts.get(name, 0) + 1
        height, width = int(context["height"]), int(context["width"])
        if len(frames) != int(context["num_frames"]) or not len(frames):
            raise ValueError(
                f"{len(frames)} frames, the record declares {context['num_frames']}"
            )
        for i in range(len(frames)) if all_frames else {0, len(frames) - 1}:
            _decode(frames, i, context)
        self.lengths.append(len(frames))
        self.sizes.append(f"{width}x{height}")
        self.rates.append(round(float(context["fps"]), 2))
        self._sample_for_sheet(frames, context, name)

    def _check_label(self, label: int, name: str) -> None:
        if not self._names:
            return
        if not 0 <= label < len(self._names):
            raise ValueError(f"label {label} of {len(self._names)} classes")
        if name != self._names[label]:
            raise ValueError(f"label {label} is {self._names[label]!r}, not {name!r}")

    def _sample_for_sheet(
        self, frames: tf.Tensor, context: Mapping[str, tf.Tensor], name: str
    ) -> None:
        """Keeps each clip with the same probability (reservoir sampling)."""
        place = self._random.randrange(self.num_clips)
        if len(self.sheet) == self._num_sheet_clips and place >= len(self.sheet):
            return
        clip = _square_frames(frames, context), name
        if len(self.sheet) < self._num_sheet_clips:
            self.sheet.append(clip)
        else:
            self.sheet[place] = clip


@tf.function(input_signature=[tf.TensorSpec([], tf.string)])
def _size(frame: tf.Tensor) -> tf.Tensor:
    return records.frame_sizes(frame[None])[0]


def _decode(
    frames: tf.Tensor, number: int, context: Mapping[str, tf.Tensor]
) -> np.ndarray:
    """Decodes a frame, after a check of the size in its header.

    Raises:
      ValueError: the frame or its size is not what the record declares.
    """
    found = tuple(_size(frames[number]).numpy().tolist())
    declared = int(context["height"]), int(context["width"])
    text = "{}x{}".format(*found)
    if -1 in found:
        raise ValueError(f"frame {number} is neither JPEG nor PNG")
    if found != declared:
        raise ValueError(f"frame {number} is {text}, not {declared[0]}x{declared[1]}")
    if found[0] * found[1] > video_io.MAX_PIXELS:
        raise ValueError(f"frame {number} is too large, {text}")
    return tf.io.decode_image(frames[number], 3).numpy()


def _square_frames(frames: tf.Tensor, context: Mapping[str, tf.Tensor]) -> np.ndarray:
    """Decodes evenly spaced frames as squares that are not too large to keep."""
    taken = np.linspace(0, len(frames) - 1, _SHEET_FRAMES).round().astype(int)
    decoded = (_decode(frames, i, context) for i in taken)
    return np.stack(
        [clip_files.fit(f, min(_SHEET_SIDE, *f.shape[:2])) for f in decoded]
    )


def _shards_at(path: str) -> tuple[list[str], list[tuple[str, int | None]]]:
    """Lists the shards at a path.

    Args:
      path: a folder with a manifest, or a single TFRecord file.

    Returns:
      Class names, and per shard its path and its number of records according to the
      manifest. For a single file these are empty and None.

    Raises:
      UserError: there is neither.
    """
    if not files.is_folder(path):
        if not filesystem.exists(path):
            raise errors.UserError(f"There is nothing at {path}.")
        return [], [(path, None)]
    found = manifest.load(path)
    return found.class_names, [
        (os.path.join(path, shard.file), shard.num_clips)
        for shards in found.splits.values()
        for shard in shards
    ]


def histogram(counts: dict[str, int], at_most: int = 1000) -> Iterator[str]:
    """Formats class counts as a text histogram, one line per class.

    Args:
      counts: class name to number of clips.
      at_most: if there are more classes, only the first and last of them are shown.

    Yields:
      Lines of text.
    """
    largest = max([*counts.values(), 1])
    rows = []
    for name, count in counts.items():
        bar = "#" * round(_BAR * count / largest)
        rows.append(f"{terminal.printable(name)[:24]:<24} {count:>8} {bar}")
    if len(rows) <= at_most:
        yield from rows
        return
    yield from rows[: at_most // 2]
    yield f"… {len(rows) - 2 * (at_most // 2)} others …"
    yield from rows[-(at_most // 2) :]
