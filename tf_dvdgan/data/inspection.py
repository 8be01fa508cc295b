"""Looking into shards: is each record whole, and what do all of them hold."""

import os
import random
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from tf_dvdgan import errors, terminal
from tf_dvdgan.data import files, manifest, records

_SHEET_FRAMES = 8
_BAR = 40  # characters of the largest class's


class Report:
    """What the records of some shards hold; those looked at so far.

    Args:
      class_names: in the order of the labels; none where no manifest tells.
      num_sheet_clips: clips that are kept for a picture.
      seed: of which ones.

    Attributes:
      num_clips: records.
      num_bytes: of all shards.
      class_counts: clips by class name.
      lengths, sizes, rates: of every clip, in frames, '64x85' and frames a second.
      sheet: of some clips at random, `[frames, size, size, 3]` uint8 and class name.
      problems: what is wrong, a sentence each.
    """

    def __init__(
        self, class_names: Sequence[str], num_sheet_clips: int = 12, seed: int = 0
    ):
        self._names = list(class_names)
        self._num_sheet_clips = num_sheet_clips
        self._random = random.Random(seed)
        self.num_clips = self.num_bytes = 0
        self.class_counts = dict.fromkeys(class_names, 0)
        self.lengths: list[int] = []
        self.sizes: list[str] = []
        self.rates: list[float] = []
        self.sheet: list[tuple[np.ndarray, str]] = []
        self.problems: list[str] = []

    def look_at(self, path: str, expected: int | None, all_frames: bool) -> None:
        """Reads a shard.

        Args:
          path: of the file.
          expected: how many records the manifest promises; None where it does not.
          all_frames: whether every frame is decoded, or the first and the last.
        """
        name, count = os.path.basename(path), 0
        try:
            self.num_bytes += tf.io.gfile.stat(path).length
            for serialized in tf.data.TFRecordDataset(path):
                count += 1
                try:
                    self._look_at_record(serialized, all_frames)
                except (tf.errors.OpError, ValueError) as error:
                    reason = str(error).splitlines()[0]
                    self.problems.append(f"{name}, record {count}: {reason}")
        except tf.errors.OpError as error:  # checksums, an end too early, no such file
            reason = str(error).splitlines()[0]
            self.problems.append(f"{name}, after {count} records: {reason}")
        if expected is not None and count != expected:
            self.problems.append(
                f"{name}: {count} records, the manifest has {expected}"
            )

    def _look_at_record(self, serialized: tf.Tensor, all_frames: bool) -> None:
        self.num_clips += 1
        context, frames = records.parse(serialized)
        label = int(context["label"])
        name = context["class_name"].numpy().decode("utf-8", "backslashreplace")
        if self._names:
            if not 0 <= label < len(self._names):
                raise ValueError(f"label {label} of {len(self._names)} classes")
            if name != self._names[label]:
                raise ValueError(
                    f"label {label} is {self._names[label]!r}, not {name!r}"
                )
        self.class_counts[name] = self.class_counts.get(name, 0) + 1
        height, width = int(context["height"]), int(context["width"])
        if len(frames) != int(context["num_frames"]) or not len(frames):
            raise ValueError(f"{len(frames)} frames, {context['num_frames']} promised")
        decoded = range(len(frames)) if all_frames else {0, len(frames) - 1}
        for i in decoded:
            shape = tf.io.decode_image(frames[i], 3).shape
            if tuple(shape) != (height, width, 3):
                raise ValueError(f"frame {i} is {shape}, not {height}x{width}")
        self.lengths.append(len(frames))
        self.sizes.append(f"{width}x{height}")
        self.rates.append(round(float(context["fps"]), 2))
        self._perhaps_keep(frames, name)

    def _perhaps_keep(self, frames: tf.Tensor, name: str) -> None:
        """Keeps each clip with the same chance, however many come (reservoir)."""
        place = self._random.randrange(self.num_clips)
        if len(self.sheet) == self._num_sheet_clips and place >= len(self.sheet):
            return
        taken = np.linspace(0, len(frames) - 1, _SHEET_FRAMES).round().astype(int)
        video = np.stack([tf.io.decode_image(frames[i], 3) for i in taken])
        side = min(video.shape[1:3])
        top, left = ((size - side) // 2 for size in video.shape[1:3])
        clip = video[:, top : top + side, left : left + side], name
        if len(self.sheet) < self._num_sheet_clips:
            self.sheet.append(clip)
        else:
            self.sheet[place] = clip


def shards_at(path: str) -> tuple[list[str], list[tuple[str, int | None]]]:
    """Class names, and each shard's path and promised number of records.

    Args:
      path: a folder with a manifest, or a single TFRecord file.

    Raises:
      UserError: there is neither.
    """
    if not files.is_folder(path):
        if not tf.io.gfile.exists(path):
            raise errors.UserError(f"There is nothing at {path}.")
        return [], [(path, None)]
    found = manifest.load(path)
    return found.class_names, [
        (os.path.join(path, shard.file), shard.num_clips)
        for shards in found.splits.values()
        for shard in shards
    ]


def histogram(counts: dict[str, int], at_most: int = 1000) -> Iterator[str]:
    """Lines that show how many clips each class has, the first ones and the last."""
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
