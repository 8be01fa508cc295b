"""Receipts of finished shards: what is still to do, and what a job has done.

A worker writes a receipt after each shard, with a fingerprint of everything that
determines the shard's bytes. So an interrupted job resumes with the missing shards, and
a finished one accounts for every clip.
"""

import collections
import contextlib
import dataclasses
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from tf_dvdgan import errors
from tf_dvdgan.data import files, filesystem, locks, record_index
from tf_dvdgan.data import manifest as manifest_lib

from . import duplicates, sources
from .tasks import Settings, ShardTask

_FOLDER = ".prepare"  # beside the shards; one file per finished shard
_DROPPED = "dropped"  # in that folder
_DUPLICATES = "duplicates.jsonl"


def start_job(tasks: Sequence[ShardTask], settings: Settings) -> list[ShardTask]:
    """Prepares the output folder and selects the shards that still have to be written.

    A shard is written again if one of its rejected clips has changed since, or if the
    time limit was raised. The manifest is removed while shards are missing, because it
    may no longer describe them.

    Args:
      tasks: all shards, from `tasks.plan`.
      settings: of the job.

    Returns:
      The tasks of the missing shards.
    """
    filesystem.makedirs(folder_of(settings))
    remove_leftovers(settings)
    unfinished = [t for t in tasks if not _is_final(t, settings)]
    for task in unfinished:
        if filesystem.exists(_path(task, settings)):
            filesystem.remove(_path(task, settings))
    path = os.path.join(settings.output_dir, manifest_lib.FILE_NAME)
    if unfinished and filesystem.exists(path):
        filesystem.remove(path)
    return unfinished


def _is_final(task: ShardTask, settings: Settings) -> bool:
    """Whether a shard exists and writing it again would produce the same bytes."""
    receipt = read(task, settings)
    if receipt is None or not receipt["rejected"]:
        return receipt is not None
    if settings.decode_seconds > receipt.get("decode_seconds", 0.0):
        return False
    return all(
        entry.get("stamp") == stamp(entry["path"], settings)
        for entry in receipt["rejected"]
    )


def stamp(path: str, settings: Settings) -> list[int] | None:
    """Identifies a version of a file or folder.

    Args:
      path: path relative to the input folder.
      settings: of the job.

    Returns:
      Size and modification time; None if it does not exist.
    """
    full_path = os.path.join(settings.input_dir, path)
    try:
        if not files.is_remote(full_path):  # TensorFlow takes only UTF-8 names
            local = os.stat(full_path)
            return [local.st_size, local.st_mtime_ns]
        stat = filesystem.stat(full_path)
    except (tf.errors.OpError, OSError):
        return None
    return [stat.length, stat.mtime_nsec]


def check_output(output_dir: str) -> None:
    """Checks that a folder is empty or holds shards, so that nothing else is replaced.

    Raises:
      UserError: it holds other files.
    """
    names = [name for name in files.list_dir(output_dir) if name != "lost+found"]
    if _FOLDER in names or not [name for name in names if name[:1] != "."]:
        return
    try:
        manifest_lib.load(output_dir)
    except errors.UserError:
        raise errors.UserError(
            f"`output_dir={output_dir}` has other files, such as {min(names)!r}, and "
            "no shards; choose an empty folder."
        ) from None


def locked(settings: Settings) -> contextlib.AbstractContextManager[None]:
    """Keeps other preparations out of the output folder, see `locks.locked`."""
    path = os.path.join(folder_of(settings), "prepare.lock")
    return locks.locked(path, "preparation")


def folder_of(settings: Settings) -> str:
    """Folder of the receipts; their number is the job's progress."""
    return os.path.join(settings.output_dir, _FOLDER)


def _path(task: ShardTask, settings: Settings) -> str:
    return os.path.join(folder_of(settings), f"{task.file}.json")


def write(task: ShardTask, settings: Settings, receipt: dict) -> None:
    """Writes the receipt of a finished shard.

    Args:
      task: the shard.
      settings: of the job.
      receipt: contents and rejected clips.
    """
    files.atomic_write(_path(task, settings), json.dumps(receipt))


def read(task: ShardTask, settings: Settings) -> dict | None:
    """Reads the receipt of a finished shard.

    Args:
      task: the shard.
      settings: of the job.

    Returns:
      The receipt; None if the shard is unfinished or was written from other clips or
      with other settings.
    """
    path = _path(task, settings)
    shard = os.path.join(settings.output_dir, task.file)
    if not (filesystem.exists(path) and filesystem.exists(shard)):
        return None
    with filesystem.GFile(path) as file:
        receipt = files.parse_json(file.read())
    same = receipt["fingerprint"] == task.fingerprint(settings)
    complete = receipt["shard"]["num_bytes"] == filesystem.stat(shard).length
    return receipt if same and complete else None


def remove_leftovers(settings: Settings) -> None:
    """Removes unfinished files of jobs that were killed on this machine."""
    if files.is_object_store(settings.output_dir):
        return  # files appear there only when they are complete
    for folder in (settings.output_dir, folder_of(settings)):
        for name in files.list_dir(folder):
            found = re.search(r"\.unfinished-(\d+)$", name)
            if found and not _is_running(int(found.group(1))):
                filesystem.remove(os.path.join(folder, name))


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # the process belongs to another user
    return True


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The result of a finished job.

    Attributes:
      manifest: as written to the output folder.
      num_written: number of clips per split that were written, each as one record or
        several.
      rejected: entries with 'path' and 'reason' for rejected clips; entries that also
        have 'segment' are dropped segments of clips that were written.
      list_path: path of `rejected.jsonl`, which has the same entries.
      rates: number of videos by frames per second.
      duplicates: pairs of clips that are nearly the same.
    """

    manifest: manifest_lib.Manifest
    num_written: dict[str, int]
    rejected: list[dict]
    list_path: str
    rates: dict[str, int]
    duplicates: list[tuple[duplicates.HashedClip, duplicates.HashedClip]]


def finish_job(
    listing: sources.Listing,
    tasks: Sequence[ShardTask],
    settings: Settings,
    max_bad_fraction: float,
    made_with: Mapping[str, object],
) -> Outcome:
    """Checks that every clip is accounted for; writes index, rejections and manifest.

    Args:
      listing: all clips of the data set.
      tasks: all shards, from `tasks.plan`.
      settings: of the job.
      max_bad_fraction: maximum fraction of rejected clips, 0 to 1.
      made_with: flags to record in the manifest.

    Returns:
      The result of the job.

    Raises:
      UserError: clips are missing, or too many were rejected.
    """
    receipts = [_checked(task, settings) for task in tasks]
    pairs = _duplicates(tasks, receipts)
    _write_lines(_DUPLICATES, map(duplicates.describe, pairs), settings)
    rejected = [
        {key: entry[key] for key in ("path", "reason")}
        for receipt in receipts
        for entry in receipt["rejected"]
    ]
    unusable = rejected + [entry for r in receipts for entry in r["dropped"]]
    list_path = _write_lines("rejected.jsonl", unusable, settings)
    bad = len(rejected) / max(len(listing.clips), 1)
    if bad > max_bad_fraction:
        raise errors.UserError(
            f"{len(rejected)} of {len(listing.clips)} files cannot be used, more than "
            f"`max_bad_fraction={max_bad_fraction}`; {list_path} lists the reasons."
        )
    splits: dict[str, list[manifest_lib.Shard]] = {c.split: [] for c in listing.clips}
    index: dict[str, list[record_index.Entries]] = {split: [] for split in splits}
    num_written = dict.fromkeys(splits, 0)
    rates: collections.Counter[str] = collections.Counter()
    for task, receipt in zip(tasks, receipts, strict=True):
        split = task.clips[0].split
        splits[split].append(manifest_lib.Shard(**receipt["shard"]))
        index[split].append(_entries(task, settings, receipt))
        num_written[split] += receipt["num_written"]
        rates.update(receipt.get("rates", {}))  # earlier versions lack them
    _save_index(index, settings)
    manifest = _manifest(listing, splits, unusable, settings, made_with)
    manifest.save(settings.output_dir)
    return Outcome(manifest, num_written, unusable, list_path, dict(rates), pairs)


def _save_index(
    index: Mapping[str, Sequence[record_index.Entries]], settings: Settings
) -> None:
    joined = {split: record_index.join(entries) for split, entries in index.items()}
    record_index.save(settings.output_dir, joined)


def _manifest(
    listing: sources.Listing,
    splits: dict[str, list[manifest_lib.Shard]],
    unusable: Sequence[Mapping],
    settings: Settings,
    made_with: Mapping[str, object],
) -> manifest_lib.Manifest:
    kinds = collections.Counter(_kind(entry["reason"]) for entry in unusable)
    return manifest_lib.Manifest(
        dataset=str(made_with.get("dataset", "")),
        class_names=listing.class_names,
        resolution=settings.recipe.resolution,
        splits=splits,
        num_rejected=dict(kinds),
        made_with=dict(made_with),
    )


def _checked(task: ShardTask, settings: Settings) -> dict:
    """A shard's receipt, if it accounts for all of the shard's clips."""
    receipt = read(task, settings)
    num_written = receipt["num_written"] if receipt else 0
    num_rejected = len(receipt["rejected"]) if receipt else 0
    if receipt is None or num_written + num_rejected != len(task.clips):
        raise errors.UserError(
            f"{task.file} should hold {len(task.clips)} clips, but {num_written} were "
            f"written and {num_rejected} rejected: the runner lost work. Run the same "
            "command again, or use another Beam runner."
        )
    return receipt


def find_duplicates(
    tasks: Sequence[ShardTask], settings: Settings
) -> list[tuple[duplicates.HashedClip, duplicates.HashedClip]]:
    """Finds near-duplicates among the clips of finished shards.

    Args:
      tasks: the shards.
      settings: of the job.

    Returns:
      Pairs of clips.
    """
    return _duplicates(tasks, [read(task, settings) or {} for task in tasks])


def _duplicates(
    tasks: Sequence[ShardTask], receipts: Sequence[Mapping]
) -> list[tuple[duplicates.HashedClip, duplicates.HashedClip]]:
    clips = []
    for task, receipt in zip(tasks, receipts, strict=True):
        hashes = receipt.get("hashes", {})  # earlier versions lack them
        for clip in task.clips:
            if clip.video_id in hashes:
                own = tuple(hashes[clip.video_id])
                clips.append(duplicates.HashedClip(clip.video_id, clip.split, own))
    return duplicates.find(clips)


def read_dropped(settings: Settings) -> dict[str, str]:
    """Reads which clips an earlier start of the job dropped as near-duplicates.

    Args:
      settings: of the job.

    Returns:
      The id of each, with that of the clip that it is like.
    """
    path = os.path.join(folder_of(settings), _DROPPED)
    if not filesystem.exists(path):
        return {}
    with filesystem.GFile(path) as file:
        found = files.parse_json(file.read())
    return found if isinstance(found, dict) else {}  # earlier: a list of ids only


def write_dropped(dropped: Mapping[str, str], settings: Settings) -> None:
    """Writes which clips are dropped.

    Args:
      dropped: as in `read_dropped`.
      settings: of the job.
    """
    path = os.path.join(folder_of(settings), _DROPPED)
    files.atomic_write(path, json.dumps(dropped, sort_keys=True))


def _write_lines(name: str, entries: Iterable[Mapping], settings: Settings) -> str:
    """Writes a JSON Lines file beside the shards and returns its path."""
    path = os.path.join(settings.output_dir, name)
    files.atomic_write(path, "".join(json.dumps(entry) + "\n" for entry in entries))
    return path


def _entries(
    task: ShardTask, settings: Settings, receipt: Mapping
) -> record_index.Entries:
    """A shard's index entries; receipts of earlier versions lack them."""
    if "index" not in receipt:
        return record_index.scan(os.path.join(settings.output_dir, task.file))
    return record_index.Entries(
        np.array(receipt["index"]["lengths"], np.int64),
        np.array(receipt["index"]["labels"], np.int32),
    )


def _kind(reason: str) -> str:
    """A reason without its details, for counting."""
    return reason.split(":")[0]
