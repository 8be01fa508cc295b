"""Proposes a training command for some data, a machine, and a time: `propose`.

It examines the clips (their number, length, size and motion) and measures steps of the
resulting config on this machine. The rules are those of docs/small_data.md.
"""

import dataclasses
import math
import shlex
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tf_dvdgan import benchmark, errors, machine
from tf_dvdgan.data import (
    manifest,
    readers,
    record_index,
    records,
    training_data,
    windows,
)

_WIDTHS = (64, 48, 32, 16, 8, 4)
_BATCH_SIZE = 16
_NUM_FRAMES = (16, 12, 8, 6, 4)
_STRIDES = (1, 2, 3, 4)
_MAX_CLIPS = 256  # clips
_WELL_MOVED = 0.4  # of the largest difference between frames
_STEPS = (6_000, 100_000)  # the least that is worth training, and the most
_SMALL = 20_000  # clips
_VERY_FEW = 100  # clips; docs/small_data.md has no run of fewer
_FOR_STEPS = 0.9  # of the time; the rest is for sample sheets and checkpoints
_PRESET = "models/dvdgan_v2.gin"


@dataclasses.dataclass(frozen=True)
class Plan:
    """A proposed training run.

    Attributes:
      gin_files: Gin files of the config.
      parameters: Gin bindings.
      reasons: one sentence per choice.
      seconds_per_step: measured on this machine.
      peak_gib: measured peak memory.
      num_steps: length of the run.
    """

    gin_files: list[str]
    parameters: list[str]
    reasons: list[str]
    seconds_per_step: float
    peak_gib: float
    num_steps: int

    def command(self, data_dir: str, model_dir: str = "RUN") -> str:
        """Formats the command for a shell.

        Args:
          data_dir: folder of the shards.
          model_dir: directory of the new run.

        Returns:
          The command, one flag per line.
        """
        flags = [
            *(f"--gin_file={file}" for file in self.gin_files),
            f"--data_dir={data_dir}",
            f"--model_dir={model_dir}",
            *(f"--gin_param={parameter}" for parameter in self.parameters),
        ]
        lines = ["python -m tf_dvdgan.run", *map(shlex.quote, flags)]
        return " \\\n    ".join(lines)


def propose(data_dir: str, hours: float, memory: float) -> Plan:
    """Proposes a run that fits into a time and a memory.

    Args:
      data_dir: folder of prepared shards.
      hours: time for training.
      memory: memory for training, in GiB: the device's, or this process's on a CPU.

    Returns:
      The plan.

    Raises:
      UserError: there is no such data, the clips are too short, or even the narrowest
        model does not fit.
    """
    loaded = manifest.load(data_dir)
    if not loaded.splits.get("train"):
        raise errors.UserError(f"{data_dir} has no clips in the split 'train'.")
    count = loaded.num_clips("train")
    lengths = _lengths(data_dir, loaded)
    if _choose_num_frames(lengths, stride=1) is None:
        raise errors.UserError(
            f"A model needs clips of at least {_NUM_FRAMES[-1]} frames, and more than "
            f"10 % of these have fewer (median {int(np.median(lengths))}). Prepare "
            "longer ones."
        )
    stride, changes = _choose_stride(data_dir, loaded.resolution, lengths)
    num_frames = _choose_num_frames(lengths, stride)
    assert num_frames  # strides with too few are not chosen
    classes = len(loaded.class_names)
    parameters = [
        f"RESOLUTION = {loaded.resolution}",
        f"NUM_FRAMES = {num_frames}",
        f"STRIDE = {stride}",
        f"BATCH_SIZE = {_BATCH_SIZE}",
        *(["NUM_CLASSES = 0"] if classes < 2 else []),
        f"dvd_gan.SpatialDiscriminator.num_frames = {min(4, num_frames // 2)}",
        "trainer.build.num_d_steps = 1",
    ]
    files = [_PRESET, *(["small_data.gin"] if count < _SMALL else [])]
    for_steps = _FOR_STEPS * hours * 3600
    width, seconds, peak = _choose_width(
        files, parameters, max(classes, 1), for_steps, memory
    )
    steps = int(min(for_steps / seconds, _STEPS[1]))
    steps -= steps % 100
    parameters += _training(width, steps)
    farthest = max(changes, key=lambda apart: changes[apart])
    reasons = [
        f"{count:,} training clips {_of_classes(classes)}, {loaded.resolution} "
        f"pixels, {min(lengths)} to {max(lengths)} frames (median "
        f"{int(np.median(lengths))}).",
        f"STRIDE = {stride}: frames this far apart differ by {changes[stride]:.1f} of "
        f"255 on average, {100 * changes[stride] / max(changes[farthest], 1e-6):.0f} %"
        f" of what they do at {_frames(farthest)}, where they differ most.",
        f"NUM_FRAMES = {num_frames}: at least 90 % of the clips have the "
        f"{(num_frames - 1) * stride + 1} frames that it takes.",
        f"CH = {width}: the widest with at least {_STEPS[0]:,} steps in {hours:g} "
        f"hours and {memory:g} GiB: {seconds:.2f} s and {peak:.1f} GiB measured on "
        f"{machine.describe()}.",
        f"NUM_STEPS = {steps}: what fits into {100 * _FOR_STEPS:.0f} % of the time, at "
        f"most {_STEPS[1]:,}; the rest is for sample sheets and checkpoints.",
        "Learning rates, one discriminator update per step, batches of "
        f"{_BATCH_SIZE}: those of learn.gin, which were measured at CH = 8; half the "
        "rates above CH = 16, which was not measured. They decay over the last third.",
    ]
    if count < _SMALL:
        reasons.append(
            f"small_data.gin: with fewer than {_SMALL:,} clips discriminators memorize "
            "them; see docs/small_data.md."
        )
    if count < _VERY_FEW:
        reasons.append(
            f"With {count} clips no run was measured; expect videos that repeat them."
        )
    return Plan(files, parameters, reasons, seconds, peak, steps)


def _frames(count: int) -> str:
    return f"{count} frames" if count > 1 else "1 frame"


def _of_classes(count: int) -> str:
    return f"of {count} classes" if count > 1 else "without classes"


def _lengths(data_dir: str, loaded: manifest.Manifest) -> list[int]:
    """Numbers of frames of some training clips."""
    window = windows.Window(1, loaded.resolution)
    shards = readers.shards_of(loaded, data_dir, "train", window)
    paths = [f"{data_dir}/{shard.file}" for shard in shards]
    rows = record_index.rows(paths, at_most=_MAX_CLIPS)
    return [int(records.parse(row)[0]["num_frames"]) for row in rows]


def _choose_stride(
    data_dir: str, resolution: int, lengths: Sequence[int]
) -> tuple[int, dict[int, float]]:
    """Chooses the smallest stride at which consecutive frames clearly differ.

    Returns:
      The stride, and the mean difference of frames by their distance, up to eight
      frames.
    """
    longest = min(8, _shortest(lengths) - 1)
    window = windows.Window(longest + 1, resolution, stride=1)
    data = training_data.Shards(data_dir, window)
    videos = data.sample(_MAX_CLIPS, held_out=False)
    assert videos is not None  # every data set has training clips
    changes = {
        distance: float(
            np.mean([_change(frames, distance) for frames in videos["video"]])
        )
        for distance in range(1, longest + 1)
    }
    enough = _WELL_MOVED * max(changes.values())
    strides = [s for s in _STRIDES if s in changes and _choose_num_frames(lengths, s)]
    return next((s for s in strides if changes[s] >= enough), strides[-1]), changes


def _shortest(lengths: Sequence[int]) -> int:
    """The length that 90 % of the clips have."""
    return sorted(lengths)[len(lengths) // 10]


def _change(frames: np.ndarray, distance: int) -> float:
    """Mean absolute difference of the frames of a clip at a distance."""
    values = frames.astype(np.float32)
    return float(np.abs(values[distance:] - values[:-distance]).mean())


def _choose_num_frames(lengths: Sequence[int], stride: int) -> int | None:
    """The largest number that 90 % of the clips have; None if there is none."""
    shortest = _shortest(lengths)
    for count in _NUM_FRAMES:
        if (count - 1) * stride + 1 <= shortest:
            return count
    return None


def _choose_width(
    files: Sequence[str],
    parameters: Sequence[str],
    num_classes: int,
    seconds: float,
    memory: float,
) -> tuple[int, float, float]:
    """Measures steps, from a width that should fit downwards.

    Returns:
      The width, and the seconds and the peak memory in GiB of a step.

    Raises:
      UserError: the narrowest model does not fit into the time or the memory.
    """

    def measure(width: int) -> tuple[float, float]:
        try:
            found = benchmark.measure(
                files,
                [*parameters, f"CH = {width}"],
                phases=["whole step"],
                num_classes=num_classes,
                repeats=3,
            )["phases"]["whole step"]
        except tf.errors.ResourceExhaustedError:
            return math.inf, math.inf
        return found["median"], found["peak_gib"]

    allowed = seconds / _STEPS[0]
    second, first = _WIDTHS[-2:]
    narrow = measure(first)
    if math.isinf(narrow[0]):
        raise errors.UserError(
            f"Even with CH = {first} a step does not fit into the memory of this "
            "device. Prepare the data again at a lower resolution."
        )
    if narrow[0] > allowed or narrow[1] > memory:
        raise errors.UserError(
            f"Even with CH = {first} a step takes {narrow[0]:.2f} s and {narrow[1]:.1f}"
            f" GiB here; {_STEPS[0]:,} steps in the time need at most {allowed:.2f} s, "
            f"and there are {memory:g} GiB. Prepare the data again at a lower "
            "resolution, or allow more."
        )
    wider = measure(second)
    # Steps take time in proportion to a power of the width, between 0 and 2, and memory
    # at least in proportion. What is expected not to fit is not tried: on a small
    # machine, the system might end the process.
    power = math.log2(max(wider[0] / narrow[0], 1.0))
    memory_per_width = (wider[1] - narrow[1]) / (second - first)
    for width in _WIDTHS[:-1]:
        expected = wider[0] * (width / second) ** power
        needed = wider[1] + memory_per_width * (width - second)
        if expected > 1.3 * allowed or needed > memory:
            continue
        found = wider if width == second else measure(width)
        if found[0] <= allowed and found[1] <= memory:
            return width, *found
    return first, *narrow


def _training(width: int, steps: int) -> list[str]:
    rate = 4e-4 if width <= 16 else 2e-4
    return [
        f"CH = {width}",
        f"NUM_STEPS = {steps}",
        f"trainer.build.generator_learning_rate = {rate:g}",
        f"trainer.build.discriminator_learning_rate = {2 * rate:g}",
        f"optimizers.adam.decay_steps = ({steps * 2 // 3}, {steps * 11 // 10})",
        "optimizers.with_moving_average.decay = 0.999",
        "optimizers.with_moving_average.start_step = 100",
        "training.Schedule.checkpoint_every = 500",
    ]
