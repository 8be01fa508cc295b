"""Prepares a folder of videos as TFRecord shards for training: `prepare`.

`python -m data_prep.prepare` and `tf_dvdgan.prepare` both call it.
"""

import collections
import contextlib
import dataclasses
import math
import os
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.options import pipeline_options

from tf_dvdgan import errors, terminal
from tf_dvdgan.data import files

from . import decoding, duplicates, local_runner, pipeline, receipts, report, sources
from . import tasks as tasks_lib

# Of `prepare`'s numbers, the smallest and the largest; None if there is none.
_RANGES: dict[str, tuple[float, float | None]] = {
    "resolution": (4, None),
    "jpeg_quality": (1, 100),
    "segment_frames": (2, None),
    "fps": (0.1, 1000),
    "test_share": (0, 0.9),
    "split_list": (1, 3),
    "num_shards": (1, None),
    "seed": (-(2**63), 2**63 - 1),
    "max_bad_fraction": (0, 1),
    "decode_seconds": (0.1, None),
}
_FRACTIONAL = ("fps", "test_share", "max_bad_fraction", "decode_seconds")
_OPTIONAL = ("segment_frames", "fps", "test_share", "split_list")  # may be None


def prepare(
    input_dir: str | os.PathLike,
    output_dir: str | os.PathLike,
    *,
    dataset: str = "folder",
    resolution: int = 64,
    resize: Sequence[int] | None = None,
    encoding: str | None = None,
    jpeg_quality: int = 95,
    segment_frames: int | None = None,
    fps: float | None = None,
    split_scenes: bool = False,
    stabilize: bool = False,
    follow_links: bool = True,
    drop_duplicates: bool = False,
    test_share: float | None = None,
    split_list: int | None = None,
    lists: str | os.PathLike | None = None,
    num_shards: int = 16,
    seed: int = 0,
    max_bad_fraction: float = 0.05,
    decode_seconds: float = 60.0,
    beam_flags: Sequence[str] = (),
) -> receipts.Outcome:
    """Prepares videos as TFRecord shards; an interrupted job resumes.

    The output folder receives the shards, `manifest.json`, `contact_sheet.png` and
    `rejected.jsonl` (each unusable file, with the reason).

    Args:
      input_dir: folder of videos, with one sub-folder per class or without classes.
      output_dir: folder for the shards.
      dataset: layout of the input: "folder", or the name of a public data set.
      resolution: height and width of training's crops in pixels.
      resize: size of the stored frames: `[smaller side]`, `[height, width]`, or `[]` to
        keep the size of the videos. By default the smaller side is `resolution`.
      encoding: format of the stored frames, "jpeg" or "png"; the default depends on the
        data set.
      jpeg_quality: JPEG quality, from 1 to 100.
      segment_frames: cuts clips into segments of this many frames and drops a shorter
        remainder; None keeps whole clips.
      fps: rate that videos are resampled to, by the frames' timestamps; None keeps the
        frames as they are.
      split_scenes: cuts clips where their scene changes, before `segment_frames` does.
      stabilize: removes the camera's motion from each segment; drops segments whose
        motion is too complex.
      follow_links: whether to use clips behind links that lead out of the input folder.
      drop_duplicates: whether to drop clips that are nearly the same as others: of two
        splits the training clip, of one split the later clip. `duplicates.jsonl` lists
        those that are left.
      test_share: fraction of each class's clips to hold out as the split "test", for
        data sets without splits of their own.
      split_list: number of UCF-101's split, from 1 (the default) to 3.
      lists: folder of the data set's list files, if they are not in the input.
      num_shards: maximum number of shards per split.
      seed: seed of the order of the clips.
      max_bad_fraction: largest fraction of files that may be rejected.
      decode_seconds: time limit for each 300 decoded frames; slower clips are rejected.
      beam_flags: Apache Beam's own flags, such as "--runner=DataflowRunner"; by default
        processes on this machine.

    Returns:
      The manifest, and the rejected files with the reasons.

    Raises:
      UserError: the input has no clips, an argument is invalid, the arguments
        contradict each other, too many files are rejected, or the output cannot be
        written.
    """
    input_dir, output_dir = files.as_text(input_dir), files.as_text(output_dir)
    lists = None if lists is None else files.as_text(lists)
    _check_names(dataset, encoding)
    resolution = _number("resolution", resolution)
    jpeg_quality = _number("jpeg_quality", jpeg_quality)
    segment_frames = _number("segment_frames", segment_frames)
    fps = _number("fps", fps)
    test_share = _number("test_share", test_share)
    split_list = _number("split_list", split_list)
    num_shards = _number("num_shards", num_shards)
    seed = _number("seed", seed)
    max_bad_fraction = _number("max_bad_fraction", max_bad_fraction)
    decode_seconds = _number("decode_seconds", decode_seconds)
    resize = _size(resize)
    beam_flags = _flags(beam_flags)
    _check_combination(dataset, lists, split_list, resize, resolution)
    _check_folders(dataset, input_dir, output_dir)
    options = sources.Options(split_list or 1, lists, test_share or 0.0, follow_links)
    listing = _list_clips(dataset, input_dir, options)
    recipe = decoding.Recipe(
        resolution=resolution,
        encoding=encoding or listing.encoding,
        jpeg_quality=jpeg_quality,
        segment_frames=segment_frames or 0,
        stabilize=stabilize,
        resize=resize,
        fps=fps,
        split_scenes=split_scenes,
    )
    settings = tasks_lib.Settings(
        files.absolute(input_dir), files.absolute(output_dir), recipe, decode_seconds
    )
    tasks = tasks_lib.plan(listing, num_shards, seed)
    made_with = {
        "dataset": dataset,
        "input": input_dir,
        "num_shards": num_shards,
        "split_list": split_list,
        "lists": lists,
        "test_share": test_share,
        "seed": seed,
        **dataclasses.asdict(recipe),
    }
    outcome = _run(
        listing,
        tasks,
        settings,
        beam_flags,
        drop_duplicates,
        max_bad_fraction,
        {name: value for name, value in made_with.items() if value is not None},
    )
    report.show(outcome, settings.output_dir)
    return outcome


def _check_names(dataset: str, encoding: str | None) -> None:
    if dataset not in sources.NAMES:
        raise errors.UserError(
            f"`dataset` must be one of {', '.join(sources.NAMES)}, not {dataset!r}."
        )
    if encoding not in (None, "jpeg", "png"):
        raise errors.UserError(f"`encoding` must be 'jpeg' or 'png', not {encoding!r}.")


def _number(name: str, number: Any) -> Any:
    """Checks a number by the tables above; returns it as one of Python's."""
    if number is None and name in _OPTIONAL:
        return None
    if isinstance(number, np.generic):  # which JSON does not have
        number = number.item()
    may_be_float = name in _FRACTIONAL
    is_float = isinstance(number, float) and math.isfinite(number)
    if not _is_whole(number) and not (may_be_float and is_float):
        kind = "number" if may_be_float else "whole number"
        raise errors.UserError(f"`{name}` must be a {kind}, not {number!r}.")
    low, high = _RANGES[name]
    if not low <= number <= (number if high is None else high):
        limits = f"at least {low}" if high is None else f"from {low} to {high}"
        raise errors.UserError(f"`{name}` must be {limits}, not {number}.")
    return number


def _is_whole(number: object) -> bool:
    return isinstance(number, int | np.integer) and not isinstance(number, bool)


def _size(resize: Any) -> list[int] | None:
    """Checks `resize`; returns it with Python's integers."""
    if resize is None:
        return None
    sides = resize.tolist() if isinstance(resize, np.ndarray) else resize
    sides = list(sides) if isinstance(sides, Sequence) else [None]
    if len(sides) > 2 or not all(_is_whole(side) and side > 0 for side in sides):
        raise errors.UserError(
            "`resize` must be [smaller side], [height, width] or [], in whole pixels, "
            f"not {resize!r}."
        )
    return [int(side) for side in sides]


def _flags(beam_flags: Any) -> list[str]:
    """Checks that Beam's flags are a sequence of texts."""
    is_one = isinstance(beam_flags, str) or not isinstance(beam_flags, Sequence)
    if is_one or not all(isinstance(flag, str) for flag in beam_flags):
        raise errors.UserError(
            "`beam_flags` must be a list of flags, such as "
            f"['--runner=DataflowRunner'], not {beam_flags!r}."
        )
    return list(beam_flags)


def _check_combination(
    dataset: str,
    lists: str | None,
    split_list: int | None,
    resize: Sequence[int] | None,
    resolution: int,
) -> None:
    """Rejects arguments that would have no effect, and frames smaller than crops."""
    if lists and dataset not in sources.WITH_LISTS:
        raise errors.UserError(f"`dataset={dataset}` has no lists; omit `lists`.")
    if split_list and dataset not in sources.WITH_SPLIT_LISTS:
        raise errors.UserError(
            f"`split_list` applies only to UCF-101, not to `dataset={dataset}`."
        )
    if resize and min(resize) < resolution:
        raise errors.UserError(
            f"`resize={','.join(str(side) for side in resize)}` makes frames smaller "
            f"than `resolution={resolution}`, the size of the crops; enlarge `resize`."
        )


def _check_folders(dataset: str, input_dir: str, output_dir: str) -> None:
    """Rejects an output that cannot be used and an input that is no folder."""
    videos, shards = files.absolute(input_dir), files.absolute(output_dir)
    if dataset == "folder" and shards.startswith(videos.rstrip("/") + "/"):
        raise errors.UserError(
            "`output_dir` is inside `input_dir`, where it would count as a class; "
            "choose a folder outside."
        )
    files.check_writable(output_dir, as_folder=True)
    receipts.check_output(output_dir)
    files.register_filesystems(input_dir, by_tensorflow=False)
    if not files.is_folder(input_dir):
        raise errors.UserError(f"`input_dir={input_dir}` is not a folder.")


def _list_clips(
    dataset: str, input_dir: str, options: sources.Options
) -> sources.Listing:
    listing = sources.list_clips(dataset, input_dir, options)
    splits = collections.Counter(clip.split for clip in listing.clips)
    counts = ", ".join(f"{n} {split}" for split, n in sorted(splits.items()))
    print(f"{len(listing.class_names)} classes; clips: {counts}", flush=True)
    if listing.skipped:
        print(listing.skipped, flush=True)
    return listing


def _run(
    listing: sources.Listing,
    tasks: Sequence[tasks_lib.ShardTask],
    settings: tasks_lib.Settings,
    beam_flags: Sequence[str],
    drop_duplicates: bool,
    max_bad_fraction: float,
    made_with: Mapping[str, object],
) -> receipts.Outcome:
    """Writes the shards and, once all are there, the manifest."""
    with receipts.locked(settings):
        if drop_duplicates:
            tasks = _drop_duplicates(beam_flags, tasks, settings)
            listing = _only_of(tasks, listing)
        _run_beam(beam_flags, tasks, settings)
        receipts.remove_leftovers(settings)  # workers outlive a killed job for a while
        return receipts.finish_job(
            listing, tasks, settings, max_bad_fraction, made_with
        )


def _drop_duplicates(
    flags: Sequence[str],
    tasks: Sequence[tasks_lib.ShardTask],
    settings: tasks_lib.Settings,
) -> list[tasks_lib.ShardTask]:
    """The tasks without near-duplicates, which are known once clips are decoded.

    Shards that lose clips are written again. A later start of the same job knows the
    dropped clips, and decodes nothing for this; those whose copy is gone come back.
    """
    present = _ids(tasks)
    dropped = {
        name: other
        for name, other in receipts.read_dropped(settings).items()
        if name in present and other in present
    }
    left = tasks_lib.without(tasks, dropped)
    _run_beam(flags, left, settings)
    more = duplicates.to_drop(receipts.find_duplicates(left, settings))
    dropped |= more
    receipts.write_dropped(dropped, settings)
    print(f"{len(dropped)} near-duplicates were dropped", flush=True)
    return tasks_lib.without(left, more)


def _only_of(
    tasks: Sequence[tasks_lib.ShardTask], listing: sources.Listing
) -> sources.Listing:
    """The listing without the clips that no task has."""
    kept = _ids(tasks)
    clips = [clip for clip in listing.clips if clip.video_id in kept]
    return dataclasses.replace(listing, clips=clips)


def _ids(tasks: Sequence[tasks_lib.ShardTask]) -> set[str]:
    return {clip.video_id for task in tasks for clip in task.clips}


def _run_beam(
    flags: Sequence[str],
    tasks: Sequence[tasks_lib.ShardTask],
    settings: tasks_lib.Settings,
) -> None:
    """Writes the shards that an earlier, interrupted job has not written."""
    unfinished = receipts.start_job(tasks, settings)
    local = not any(flag.startswith("--runner") for flag in flags)
    if local:
        flags = [*local_runner.flags(len(unfinished)), *flags]
    options = pipeline_options.PipelineOptions([*flags])
    runner = options.view_as(pipeline_options.StandardOptions).runner
    with contextlib.ExitStack() as around:
        around.enter_context(local_runner.loopback_only(runner))
        if local:
            around.enter_context(local_runner.environment(settings))
        around.enter_context(_ProgressThread(tasks, settings))
        beam_pipeline = around.enter_context(beam.Pipeline(options=options))
        pipeline.run(beam_pipeline, unfinished, settings)


class _ProgressThread:
    """Shows how many clips are done, by reading the receipts of finished shards."""

    def __init__(
        self, tasks: Sequence[tasks_lib.ShardTask], settings: tasks_lib.Settings
    ):
        self._tasks = tasks
        self._settings = settings
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._show, daemon=True)

    def __enter__(self):
        self._thread.start()

    def __exit__(self, *error):
        self._stop.set()
        self._thread.join()

    def _show(self) -> None:
        waiting = {f"{task.file}.json": task for task in self._tasks}
        progress = terminal.Progress(
            "preparing clips", sum(len(task.clips) for task in self._tasks)
        )
        done = rejected = 0
        while waiting and not self._stop.wait(1.0):
            found = files.list_dir(receipts.folder_of(self._settings))
            for name in waiting.keys() & set(found):
                receipt = receipts.read(waiting[name], self._settings)
                if receipt is not None:
                    done += len(waiting.pop(name).clips)
                    rejected += len(receipt["rejected"])
            progress.update(done, f"  {rejected} rejected")
