"""Records of scores: whether they can be repeated, and why two of them differ.

A record is a row of a run's `scores.jsonl`, or of another file that `tools.score`
writes: the score with its protocol, the arguments that repeat it, and the hashes of the
clips and the weights that were scored.
"""

import dataclasses
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from tf_dvdgan import errors, pretrained, run_directory, terminal, version
from tf_dvdgan.data import clip_source, files, filesystem
from tf_dvdgan.evaluation.runs import arguments, comparison, protocols
from tf_dvdgan.sampling import standing_statistics

# Machines and versions of TensorFlow round features differently.
TOLERANCE = 1e-3
# Then a few of a thousand clips are on the other side of a threshold.
_TOLERANCE_OF_SHARES = 3e-3
_SHARES = ("precision", "recall", "density", "coverage", "memorization")

# What can be switched alone, in this order, and the arguments that it consists of.
_FACTORS = {
    "network": (
        *("protocol.network", "protocol.num_classes", "protocol.output"),
        *("protocol.preprocessing", "weights", "mean"),
    ),
    "weights": ("weights", "mean", "protocol.num_classes"),
    "resize": ("protocol.preprocessing",),
    "output": ("protocol.output",),
    "real clips": ("real", "split"),
    "split": ("split",),
    "number of real clips": ("protocol.num_real",),
    "generated clips": ("generated", "model_dir", "step"),
    "seed": ("protocol.seed",),
    "truncation": ("truncation",),
    "number of generated clips": (
        "protocol.num_generated",
        "protocol.samples_per_clip",
    ),
    "repeats": ("protocol.num_repeats",),
    "splits": ("protocol.num_splits",),
    "frames": ("protocol.num_frames",),
    "stride": ("protocol.stride",),
    "resolution": ("resolution",),
    "batches of standing statistics": ("standing_batches",),
}
# Of these the contents count, not the place: their hashes in a record.
_CONTENTS = {
    "weights": ("weights", "mean"),
    "real clips": ("real clips",),
    "generated clips": ("generated clips", "model", "model's state", "frame bank"),
}
# Arguments of `Scorer` in a record's "inputs", and what else these have.
OF_SCORER = (
    *("real", "weights", "mean", "lpips", "split", "held_out", "held_out_split"),
    *arguments.OF_FOLDERS,
)
_ARGUMENTS = {*OF_SCORER, "generated", "model_dir", "step", "protocol", "truncation"}
_EXPLAINED = (protocols.FRECHET, protocols.INCEPTION, protocols.ACCURACY)

# Computes a score from the arguments of a record.
Score = Callable[[Mapping[str, Any]], comparison.Result]


def record_of(result: comparison.Result) -> dict:
    """Converts a score to a record, of JSON types."""
    score, name = result.score, result.metadata["name"]
    others = {f"{name}/{other}": value for other, value in score.others.items()}
    row = {
        "step": result.metadata.get("step"),
        "scores": {name: score.value, **others},
        "sd": score.sd,
        "standard_error": score.error,
        "protocol": result.metadata,
        "inputs": result.inputs,
        "hashes": _hashes(result),
        "versions": _versions(),
    }
    return json.loads(json.dumps(row))


def _versions() -> dict[str, str]:
    return {"tf_dvdgan": version.__version__, "tensorflow": tf.__version__}


def _hashes(result: comparison.Result) -> dict[str, str]:
    weights = result.metadata["weights"]
    names = {"weights": "hash", "mean": "mean_hash"}
    of_files = {name: weights[key] for name, key in names.items() if key in weights}
    return result.hashes() | of_files


def write(path: str, records: Sequence[Mapping]) -> None:
    """Writes records to a file of their own, one per line.

    Args:
      path: the file, which is replaced.
      records: the records.
    """
    text = "".join(json.dumps(record) + "\n" for record in records)
    files.atomic_write(path, text)


def check_replaceable(path: str, output: str | None = None) -> None:
    """Checks that a receipt replaces no file that scores are added to.

    Args:
      path: the receipt's file, see `write`.
      output: file that scores are added to, if there is one besides a run's.

    Raises:
      UserError: it does.
    """
    is_output = output and files.absolute(path) == files.absolute(output)
    if is_output or _is_of_run(path):
        raise errors.UserError(
            f"{path} is a file that scores are added to, and a receipt would replace "
            "it; name another file."
        )
    run_directory.check_rows(path)


def read(path: str, names: Sequence[str] = (), every: bool = False) -> list[dict]:
    """Reads the records that can be repeated.

    Args:
      path: JSON Lines file of scores; or a run's directory, or the name of a generator
        of the package, for its `scores.jsonl`, of which the scores are of the model in
        this directory.
      names: names of the protocols to read; empty for all.
      every: whether to read all scores that differ in their arguments, the last of
        equal ones; by default only the last by each protocol, as of a run.

    Returns:
      The records.

    Raises:
      UserError: the file does not exist, or has no such record.
    """
    path = pretrained.resolve(path)
    folder = _folder_of(path)
    run = run_directory.RunDirectory(folder)
    if folder.rstrip("/") == path.rstrip("/"):
        path = run.scores_file
    is_of_run, is_exported = _is_of_run(path), run.is_exported
    if not filesystem.exists(path):
        raise errors.UserError(f"There is nothing at {path}.")
    found = {}
    for row in run_directory.read_rows(path):
        if _is_repeatable(row):
            name = row["protocol"]["name"]
            if not names or name in names:
                only_last = is_of_run or not every
                same = row["inputs"]["truncation"] if only_last else row["inputs"]
                found[name, json.dumps(same, sort_keys=True)] = row
    if not found:
        raise errors.UserError(
            f"{path} has no score{' by ' + ' or '.join(names) if names else ''} that "
            "can be repeated; those of an earlier version cannot."
        )
    for inputs in (row["inputs"] for row in found.values()):
        is_without_place = is_exported and not inputs["model_dir"]
        if not inputs["generated"] and (is_of_run or is_without_place):
            inputs["model_dir"] = folder  # wherever it is now
    return list(found.values())


def _is_of_run(path: str) -> bool:
    """Whether a file is the `scores.jsonl` of the run in its folder."""
    run = run_directory.RunDirectory(_folder_of(path))
    return run.is_run and files.absolute(path) == files.absolute(run.scores_file)


def _folder_of(path: str) -> str:
    """The folder of a file of records, or the path itself if it is a folder."""
    is_file = path.endswith((".json", ".jsonl"))  # not every store lists folders
    if not is_file and files.is_folder(path):
        return path
    return os.path.dirname(files.absolute(path))


def _is_repeatable(row: Mapping) -> bool:
    """Whether a row has what repeats its score."""
    try:
        inputs, name = row["inputs"], row["protocol"]["name"]
        return (
            _ARGUMENTS <= inputs.keys()
            and name in row["scores"]
            and ({"hashes", "versions"} <= row.keys())
        )
    except (KeyError, TypeError, AttributeError):
        return False


def split_of(record: Mapping) -> str | None:
    """Returns the split of a record's real clips; None for a folder without splits."""
    return record["protocol"].get("real", {}).get("split")


def of_training(row: Mapping) -> bool:
    """Returns whether a row is of a checkpoint's evaluation, and not of tools.score."""
    return bool(row.get("evaluation", "inputs" not in row))  # of an earlier version


def settings(row: Mapping) -> dict[str, Any] | None:
    """Returns what the scores of a run's checkpoints by one protocol share.

    Args:
      row: a record, or a row of `RunDirectory.read_scores` of an earlier version.

    Returns:
      The protocol, with the numbers of clips that were asked for and the split, frames,
      weights and standing statistics that were used; None if the row is none of ours.
    """
    try:
        return _settings(row)
    except (AttributeError, KeyError, TypeError):
        return None


def _settings(row: Mapping) -> dict[str, Any]:
    used = row["protocol"]
    asked = {**used, **row.get("inputs", {}).get("protocol", {})}
    found = {
        field.name: asked.get(field.name, field.default)
        for field in dataclasses.fields(protocols.Protocol)
        if field.name != "compares_with"
    }
    window = ("num_frames", "stride", "resolution", "consecutive_if_short")
    found |= {name: used.get(name) for name in (*window, "weights")}
    found["split"] = used.get("real", used).get("split")
    found["truncation"] = used.get("truncation", 1.0)
    found["standing_batches"] = _standing_batches(used)
    return json.loads(json.dumps(found))


def _standing_batches(used: Mapping) -> int:
    """Batches of the standing statistics, which earlier versions did not record."""
    return used.get("standing_batches", standing_statistics.NUM_BATCHES)


def protocol_of(inputs: Mapping[str, Any]) -> protocols.Protocol:
    """Returns the protocol in a record's arguments.

    Raises:
      UserError: it was written by another version.
    """
    try:
        return protocols.Protocol(**inputs["protocol"])
    except (KeyError, TypeError):
        raise errors.UserError(
            "The record was written by another version of tf_dvdgan, whose protocols "
            "have other properties."
        ) from None


def compare(recorded: Mapping, now: comparison.Result) -> tuple[list[str], bool]:
    """Compares a recorded score with the same score, computed again.

    Args:
      recorded: the record.
      now: the score by the record's arguments.

    Returns:
      What is the same and what differs, a sentence each; and whether the score and its
      other metrics are as recorded, up to `TOLERANCE`, from the same clips and weights.
    """
    name = recorded["protocol"]["name"]
    is_share = recorded["protocol"].get("metric") == protocols.ACCURACY
    before, value = recorded["scores"][name], now.score.value
    is_same = _is_close(name, before, value, is_share)
    lines = [f"{name}: recorded {before:.6g}, now {value:.6g}"]
    for metric, was in recorded["scores"].items():
        if not metric.startswith(f"{name}/"):
            continue
        found = now.score.others.get(metric.removeprefix(f"{name}/"), math.nan)
        if not _is_close(metric, was, found, is_share):
            lines.append(f"{metric}: DIFFERENT, recorded {was:.6g}, now {found:.6g}")
            is_same = False
    hashes, of_now = recorded["hashes"], _hashes(now)
    differing = []
    for key, digest in hashes.items():
        is_equal = _is_equal(key, hashes, of_now)
        if is_equal:
            lines.append(f"{key}: the same, {digest[:12]}")
        elif is_equal is None and key in of_now:
            lines.append(f"{key}: not compared, remote shards are not read")
        else:
            differing.append(key)
            other = of_now.get(key, "none")
            lines.append(f"{key}: DIFFERENT, {digest[:12]} recorded, {other[:12]} now")
    if not is_same and not differing:
        was, is_now = (
            ", ".join(f"{program} {number}" for program, number in versions.items())
            for versions in (recorded["versions"], _versions())
        )
        lines.append(
            "The clips and weights are the same, the scores are not: recorded by "
            f"{was}, this is {is_now}."
        )
    return lines, is_same and not differing


def _is_close(metric: str, before: float, now: float, is_share: bool) -> bool:
    is_share = is_share or metric.rpartition("/")[2] in _SHARES
    by = _TOLERANCE_OF_SHARES if is_share else 1e-4 if "/" in metric else 1e-6
    is_same = math.isclose(before, now, rel_tol=TOLERANCE, abs_tol=by)
    return is_same or (math.isnan(before) and math.isnan(now))


@dataclasses.dataclass(frozen=True)
class Contribution:
    """What switching one factor changes.

    Attributes:
      names: name of the factor; several if they can only be switched together.
      values: its values in the first and in the second record, as text.
      score: the score after this and all earlier factors are switched.
      change: difference from the score before.
      alone: change of the first record's score if only this factor is switched; None
        if that cannot be scored.
    """

    names: str
    values: tuple[str, str]
    score: float
    change: float
    alone: float | None


def explain(first: Mapping, second: Mapping, score: Score) -> list[Contribution]:
    """Explains why two scores differ: switches one factor after the other.

    Args:
      first: a record.
      second: a record of the same metric.
      score: computes a score from arguments.

    Returns:
      The contribution of each factor in which the records differ. The changes add up
      to the whole difference; they depend on the order if factors interact, which a
      difference from `alone` shows.

    Raises:
      UserError: the metrics differ or cannot be explained, or what a record is of does
        not exist any more.
    """
    metrics = [record["protocol"]["metric"] for record in (first, second)]
    if metrics[0] != metrics[1] or metrics[0] not in _EXPLAINED:
        raise errors.UserError(
            f"The difference of scores by {metrics[0]} and by {metrics[1]} cannot be "
            f"explained: both must use the same one of {', '.join(_EXPLAINED)}."
        )
    here, there = _flat(first), _flat(second)
    differing = _differing(first, second)
    known: dict[str, comparison.Result] = {}

    def score_of(
        arguments: dict[str, Any], record: Mapping | None = None
    ) -> float | None:
        """The score; None if these arguments are no record's and do not fit."""
        key = json.dumps(arguments, sort_keys=True)
        if key not in known:
            try:
                known[key] = score(_nested(arguments))
            except errors.UserError:
                if record:
                    raise
                return None
        if record:
            _check_contents(record, _hashes(known[key]))
        return known[key].score.value

    start = score_of(here, first)
    assert start is not None  # as of every record
    before, at, found, waiting = start, dict(here), [], []
    for factor in differing:
        switched = {key: there[key] for key in _FACTORS[factor]}
        at |= switched
        waiting.append(factor)
        value = score_of(at, second if factor == differing[-1] else None)
        if value is None:
            continue
        alone = score_of({**here, **switched}) if len(waiting) == 1 else None
        here_value, there_value = (
            ", ".join(_value(name, record) for name in waiting)
            for record in (first, second)
        )
        found.append(
            Contribution(
                " and ".join(waiting),
                (here_value, there_value),
                value,
                value - before,
                None if alone is None else alone - start,
            )
        )
        before, waiting = value, []
    return found


def table(
    first: Mapping, second: Mapping, contributions: Sequence[Contribution]
) -> str:
    """Formats contributions as a table, in plain text.

    Args:
      first: the first record.
      second: the second record.
      contributions: the result of `explain`.

    Returns:
      Several lines.
    """
    scores = [
        record["scores"][record["protocol"]["name"]] for record in (first, second)
    ]
    lines = [f"recorded: {scores[0]:.6g} and {scores[1]:.6g}"]
    if not contributions:
        return "\n".join([*lines, "The records differ in nothing that is scored."])
    rows = [("factor", "first", "second", "score", "change", "alone")]
    start = contributions[0].score - contributions[0].change
    rows.append(("", "", "", f"{start:.4g}", "", ""))
    for found in contributions:
        alone = "" if found.alone is None else f"{found.alone:+.4g}"
        numbers = f"{found.score:.4g}", f"{found.change:+.4g}", alone
        rows.append((found.names, *found.values, *numbers))
    return "\n".join([*lines, terminal.table(rows)])


def _differing(first: Mapping, second: Mapping) -> list[str]:
    """Names of the factors in which two records differ."""
    here, there = _flat(first), _flat(second)

    def differ(*keys: str) -> bool:
        return any(here[key] != there[key] for key in keys)

    found = {factor for factor, keys in _FACTORS.items() if differ(*keys)}
    found -= {f for f in _CONTENTS if _contents_differ(f, first, second) is False}
    found.discard("split" if differ("real") else "real clips")
    if differ("protocol.network"):
        found -= {"weights", "resize", "output"}
    else:
        found.discard("network")
    return [factor for factor in _FACTORS if factor in found]


def _contents_differ(factor: str, first: Mapping, second: Mapping) -> bool | None:
    """Whether what a factor stands for differs; None if the hashes do not say."""
    hashes = first["hashes"], second["hashes"]
    common = [name for name in _CONTENTS[factor] if all(name in h for h in hashes)]
    are_equal = [_is_equal(name, *hashes) for name in common]
    if False in are_equal:
        return True
    return False if common and all(are_equal) else None


def _check_contents(record: Mapping, now: Mapping[str, str]) -> None:
    """Checks that what was scored again is what a record is of.

    Raises:
      UserError: it has another content.
    """
    for names in _CONTENTS.values():
        for name in names:
            if _is_equal(name, record["hashes"], now) is False:
                was, found = record["hashes"][name], now[name]
                raise errors.UserError(
                    f"The {name} of the score {record['protocol']['name']} have been "
                    f"replaced: {was[:12]} recorded, {found[:12]} now. Put them back, "
                    "or score again."
                )


def _is_equal(
    name: str, first: Mapping[str, str], second: Mapping[str, str]
) -> bool | None:
    """Whether a content is the same; None if one side did not read or hash it."""
    if name not in first or name not in second:
        return None
    if clip_source.UNREAD in first[name] + second[name]:
        return None
    return first[name] == second[name]


def _flat(record: Mapping) -> dict[str, Any]:
    """A record's arguments by name, with what was used where they left it open."""
    inputs, used = record["inputs"], record["protocol"]
    flat = {key: value for key, value in inputs.items() if key != "protocol"}
    flat |= {f"protocol.{key}": value for key, value in inputs["protocol"].items()}
    flat |= {f"protocol.{key}": used[key] for key in ("num_frames", "stride")}
    flat |= {"resolution": used["resolution"]}
    flat["standing_batches"] = _standing_batches(used)
    if "real" in used:
        flat["split"] = used["real"].get("split")
        # 0 by earlier versions, of a score that only continues them.
        flat["protocol.num_real"] = used["num_real"] or flat["protocol.num_real"]
    if inputs["protocol"]["samples_per_clip"] == 1:
        flat["protocol.num_generated"] = used["num_generated"]
    return flat


def _nested(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `_flat`."""
    mark = "protocol."
    inputs = {k: v for k, v in arguments.items() if not k.startswith(mark)}
    protocol = {
        key.removeprefix(mark): value
        for key, value in arguments.items()
        if key.startswith(mark)
    }
    return {**inputs, "protocol": protocol}


def _value(factor: str, record: Mapping) -> str:
    """The value of a factor in a record, as text."""
    side = factor.split()[0]
    if factor in ("real clips", "generated clips"):
        described = record["protocol"].get(side)
        if described is None:  # a model's samples
            folder = files.base_name(str(record["inputs"]["model_dir"]))
            return f"{folder}, step {record['inputs']['step']}"
        properties = [*described["codecs"], *described["sizes"]]
        return f"{described['name']} ({', '.join(properties)})"
    if factor in ("network", "weights"):
        digest = record["hashes"].get("weights", "none")[:12]
        return f"{record['protocol']['network']} {digest}"
    values = [_flat(record)[key] for key in _FACTORS[factor]]
    if factor == "number of generated clips" and values[1] == 1:
        return str(values[0])
    return ", ".join(map(str, values))
