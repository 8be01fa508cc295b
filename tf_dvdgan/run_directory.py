"""The directory of a run: names and formats of its files.

    config.gin                   the config of the run, parsed when it resumes; empty if
                                 it was started without Gin
    model.json                   class and arguments of every part: networks, training
    operative_config-<step>.gin  the operative config of each start
    dataset.json                 class names, name and number of clips of the data set
    frame_bank.npz               first frames of real clips, for prediction models
    checkpoints/, best/          TensorFlow checkpoints
    generator.npz                instead of them: only the averaged weights of one step
    rollback.json                rollbacks, with what differs from their checkpoints
    scores.jsonl                 scores with their protocols
    classify.jsonl               results of tools.classify
    train/, eval/                TensorBoard events
    samples/                     sample sheets
    export/<step>/               SavedModel
    report.html                  page of tools.report
    train.lock                   while a training uses the directory

Paths may be remote. Files are written completely or not at all.
"""

import contextlib
import dataclasses
import io
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeGuard

import numpy as np

from tf_dvdgan import array_files, errors, terminal
from tf_dvdgan.data import files, filesystem, locks

SCORES_FILE = "scores.jsonl"
GENERATOR = "generator.npz"

_LOCK = "train.lock"
_CONFIG = "config.gin"
_MODEL = "model.json"
_DATASET = "dataset.json"
_FRAME_BANK = "frame_bank.npz"
_ROLLBACK = "rollback.json"
_CLASSIFICATION = "classify.jsonl"
_STEP = "step"  # an array of `GENERATOR`
_WINDOW = ("num_frames", "stride", "resolution")  # of a row of scores
_METRICS_RENAMED = {"by_heart": "memorization"}  # since rows of earlier versions
_OPERATIVE_CONFIG = r"operative_config-(\d+)\.gin"


@dataclasses.dataclass(frozen=True)
class RunDirectory:
    """Reads and writes the files of a run.

    Attributes:
      path: path of the directory.
    """

    path: str

    def _of(self, *names: str) -> str:
        return os.path.join(self.path, *names)

    @property
    def checkpoints(self) -> str:
        """Folder of the newest checkpoints."""
        return self._of("checkpoints")

    @property
    def best(self) -> str:
        """Folder of the checkpoint with the best score."""
        return self._of("best")

    @property
    def samples(self) -> str:
        """Folder of the sample sheets."""
        return self._of("samples")

    @property
    def report(self) -> str:
        """The page of `tools.report`."""
        return self._of("report.html")

    @property
    def scores_file(self) -> str:
        """JSON Lines file of the scores."""
        return self._of(SCORES_FILE)

    def locked(self) -> contextlib.AbstractContextManager[None]:
        """Keeps other trainings out of the directory, see `locks.locked`."""
        return locks.locked(self._of(_LOCK), "training")

    def events(self, kind: str) -> str:
        """Folder of TensorBoard's events; `kind` is 'train' or 'eval'."""
        return self._of(kind)

    def export(self, step: int) -> str:
        """Folder of a step's SavedModel."""
        return self._of("export", str(step))

    def sheet(self, kind: str, step: int) -> str:
        """Returns the path of a sample sheet without the suffix.

        Args:
          kind: kind of the sheet, such as 'samples_ema'.
          step: step of the run.

        Returns:
          The path, to be completed by `.gif` or `.png`.
        """
        return self._of("samples", f"{kind}-{step:07}")

    def newest_sheet(
        self, kind: str, step: int | None = None
    ) -> tuple[int, str] | None:
        """Finds the newest animated sample sheet.

        Args:
          kind: 'real', 'samples_raw' or 'samples_ema'.
          step: ignores later sheets.

        Returns:
          Step and path; None if there is no sheet.
        """
        names = files.list_dir(self.samples)
        newest = _newest(names, rf"{kind}-(\d+)\.gif", step)
        if newest is None:
            return None
        found, name = newest
        return found, self._of("samples", name)

    # The config and the model.

    @property
    def is_run(self) -> bool:
        """Whether a run was started in the directory."""
        return filesystem.exists(self._of(_CONFIG))

    @property
    def is_without_gin(self) -> bool:
        """Whether a run was started in the directory without a Gin config."""
        return self.is_run and not self.read_config().strip()

    @property
    def config_path(self) -> str:
        """Path of the config, for messages."""
        return self._of(_CONFIG)

    def read_config(self) -> str:
        """Returns the Gin config of the run; empty if there is none."""
        return _text(self._of(_CONFIG))

    def write_config(self, text: str) -> None:
        """Writes the Gin config."""
        files.atomic_write(self._of(_CONFIG), text)

    def read_model(self) -> dict | None:
        """Returns what `models.resolved.resolve` wrote; None without `model.json`."""
        text = _text(self._of(_MODEL))
        try:
            found = files.parse_json(text) if text else None
        except ValueError:
            found = text
        if found is None or isinstance(found, dict):
            return found
        raise errors.UserError(
            f"{self._of(_MODEL)} is damaged. Remove it: the model is then built from "
            f"{_CONFIG}."
        )

    def write_model(self, model: Mapping) -> None:
        """Writes the result of `models.resolved.resolve`."""
        files.atomic_write(self._of(_MODEL), json.dumps(model, indent=1))

    def write_operative_config(self, step: int, text: str) -> None:
        """Writes the operative config.

        Args:
          step: step at which the run starts or resumes.
          text: result of `gin.operative_config_str`.
        """
        files.atomic_write(self._of(f"operative_config-{step}.gin"), text)

    def read_operative_config(self, step: int | None = None) -> str:
        """Reads the newest operative config, or that of a step.

        Args:
          step: a step that was trained; the config of the start that reached it.

        Returns:
          The text; empty if there is none.
        """
        names = files.list_dir(self.path)
        before = None if step is None else max(step - 1, 0)
        newest = _newest(names, _OPERATIVE_CONFIG, before)
        return _text(self._of(newest[1])) if newest else ""

    # The data.

    def write_dataset(
        self,
        class_names: Sequence[str],
        dataset: str,
        num_clips: int | None = None,
        **described: str,
    ) -> None:
        """Writes the properties of the data that sampling and cards need.

        Args:
          class_names: class names in the order of the labels.
          dataset: name of the data set, which is that of the layout that it was
            prepared from; empty if it has none.
          num_clips: number of training clips; None if unknown.
          **described: what only a user knows, for the card: "data_name",
            "data_license".
        """
        properties = {
            "class_names": list(class_names),
            "dataset": dataset,
            "num_clips": num_clips,
            **described,
        }
        files.atomic_write(self._of(_DATASET), json.dumps(properties))

    @property
    def has_dataset(self) -> bool:
        """Whether `dataset.json` exists and lists the classes."""
        return _are_names(self._dataset().get("class_names"))

    @property
    def class_names(self) -> list[str]:
        """Class names of the training data; `UserError` if they are not known."""
        names = self._dataset().get("class_names")
        if _are_names(names):
            return names
        raise errors.UserError(
            f"{self._of(_DATASET)} is missing or damaged: it lists the names of the "
            "classes. Resuming the training rewrites it."
        )

    @property
    def dataset(self) -> str:
        """Name of the data set; empty if it has none."""
        return str(self._dataset().get("dataset", ""))

    def described_as(self, key: str) -> str:
        """What a user said of the data as "data_name" or "data_license", or ''."""
        return str(self._dataset().get(key, ""))

    @property
    def num_clips(self) -> int | None:
        """Number of training clips; None if unknown."""
        found = self._dataset().get("num_clips")
        return found if isinstance(found, int) else None

    def _dataset(self) -> dict[str, Any]:
        try:
            found = files.parse_json(_text(self._of(_DATASET)) or "{}")
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def read_frame_bank(self) -> np.ndarray | None:
        """Reads the frame bank: frames that samples of a prediction model start from.

        Returns:
          `[count, frames, height, width, 3]` uint8; None for other models.
        """
        path = self._of(_FRAME_BANK)
        try:
            arrays = _arrays(path)
            return None if arrays is None else arrays["frames"]
        except (KeyError, ValueError) as error:
            raise errors.UserError(
                f"{path} is damaged ({error}). Remove it: resuming the training "
                "rewrites it."
            ) from None

    def write_frame_bank(self, frames: np.ndarray) -> None:
        """Writes the frame bank, `[count, frames, height, width, 3]` uint8."""
        _write_arrays(self._of(_FRAME_BANK), {"frames": frames})

    # The weights, of a run that `export.export_run` made.

    @property
    def is_exported(self) -> bool:
        """Whether `export.export_run` made it: its files have hashes, and stay."""
        return filesystem.exists(self._of(GENERATOR))

    def read_generator(self) -> tuple[dict[str, np.ndarray], int] | None:
        """Reads the averaged weights of a generator.

        Returns:
          Its variables by path, and their step; None if there is no such file.
        """
        path = self._of(GENERATOR)
        try:
            arrays = _arrays(path)
            if arrays is None:
                return None
            step = int(arrays.pop(_STEP))
            return arrays, step
        except (KeyError, ValueError, TypeError) as error:
            raise errors.UserError(f"{path} is damaged ({error}).") from None

    def write_generator(self, variables: Mapping[str, np.ndarray], step: int) -> None:
        """Writes the averaged weights of a generator.

        Args:
          variables: its variables by path.
          step: step of the weights.
        """
        arrays = {**variables, _STEP: np.array(step)}
        _write_arrays(self._of(GENERATOR), arrays)

    def write_rollback(
        self, step: int, written_at: int, count: int, num_raises: int
    ) -> None:
        """Writes what differs from a checkpoint after a rollback to it.

        Args:
          step: step of the checkpoint.
          written_at: when it was written, which tells it from those of other starts.
          count: number of rollbacks of the run.
          num_raises: number of raises of the augmentation.
        """
        earlier = [row for row in self._rollbacks() if row[0] < step]
        rows = [*earlier, [step, written_at, count, num_raises]]
        files.atomic_write(self._of(_ROLLBACK), json.dumps(rows))

    def read_rollback(self, step: int, written_at: int) -> tuple[int, int] | None:
        """Reads what `write_rollback` wrote of a checkpoint.

        Args:
          step: step of the checkpoint.
          written_at: when it was written.

        Returns:
          The numbers of rollbacks and of raises; None if the run was not rolled back to
          it.
        """
        for row in self._rollbacks():
            if row[:2] == [step, written_at]:
                return row[2], row[3]
        return None

    def _rollbacks(self) -> list[list[int]]:
        try:
            rows = files.parse_json(_text(self._of(_ROLLBACK)) or "[]")
            return [[int(number) for number in row] for row in rows if len(row) == 4]
        except (TypeError, ValueError):
            return []

    # The results.

    def read_scores(self) -> list[dict]:
        """Reads the rows of `scores.jsonl`, each with "step", "scores", "protocol".

        A row of an earlier version's training, which has the scores of all protocols,
        becomes a row for each. Metrics have their present names.
        """
        rows = map(_with_present_names, read_rows(self.scores_file))
        return [row for entry in rows for row in _rows_by_protocol(entry)]

    def read_classification(self) -> list[dict]:
        """Reads the rows of `classify.jsonl`, see `classification.classify`."""
        return read_rows(self._of(_CLASSIFICATION))

    def add_classification(self, row: Mapping) -> None:
        """Adds a row to `classify.jsonl`."""
        add_row(self._of(_CLASSIFICATION), row)


def add_row(path: str, *rows: Mapping) -> None:
    """Adds a row to a JSON Lines file, or several, completely or not at all.

    What the file has stays as it is, damaged lines too. Processes on one machine take
    turns.

    Args:
      path: path of the file, which is created if it does not exist.
      *rows: the rows, of JSON types.
    """
    files.make_folder_of(path)
    with locks.one_at_a_time(path):
        text = _text(path)
        if text and not text.endswith("\n"):
            text += "\n"
        text += "".join(json.dumps(row) + "\n" for row in rows)
        files.atomic_write(path, text)


def check_rows(path: str) -> None:
    """Checks that a file to add scores to has some, or does not exist.

    Raises:
      UserError: it is another file.
    """
    lines = _text(path).split("\n")
    is_known = any(line[:1] == "{" and '"scores"' in line for line in lines)
    if not is_known and any(map(str.strip, lines)):
        raise errors.UserError(f"{path} is not a file of scores; name another one.")


def read_rows(path: str) -> list[dict]:
    """Reads the rows of a JSON Lines file; skips lines that are damaged."""
    rows, damaged = [], 0
    for line in filter(str.strip, _text(path).splitlines()):
        try:
            row = files.parse_json(line)
        except ValueError:
            row = None
        if isinstance(row, dict):
            rows.append(row)
        else:
            damaged += 1
    if damaged:
        terminal.say(f"{path}: {damaged} damaged lines are skipped")
    return rows


def model_of(row: Mapping) -> str | None:
    """SHA-256 of the model that a row of scores is of; None if the row has none."""
    return (row.get("hashes") or {}).get("model")


def _with_present_names(row: dict) -> dict:
    """Renames the metrics that earlier versions called otherwise."""
    if not isinstance(row.get("scores"), dict):
        return row
    scores = {}
    for tag, value in row["scores"].items():
        protocol, slash, metric = tag.rpartition("/")
        scores[protocol + slash + _METRICS_RENAMED.get(metric, metric)] = value
    return {**row, "scores": scores}


def _rows_by_protocol(row: Mapping) -> Iterator[dict]:
    """Yields a row of scores, or the rows that an earlier version wrote as one."""
    protocol, scores = row.get("protocol"), row.get("scores", {})
    if not isinstance(protocol, dict) or "name" in protocol:
        yield dict(row)
        return
    window = protocol.get("window") or {}
    for name in filter(scores.__contains__, protocol):
        used = {key: protocol[name].get(key) or window.get(key) for key in _WINDOW}
        if window.get("consecutive_if_short"):
            used["consecutive_if_short"] = True
        tags = [tag for tag in scores if tag == name or tag.startswith(f"{name}/")]
        yield {
            **row,
            "scores": {tag: scores[tag] for tag in tags},
            "protocol": {**protocol[name], **used},
        }


def _newest(
    names: Sequence[str], pattern: str, last: int | None
) -> tuple[int, str] | None:
    """Returns the highest step up to `last`, and its name; None if there is none."""
    matches = [match for name in names if (match := re.fullmatch(pattern, name))]
    steps = [(int(match[1]), match[0]) for match in matches]
    return max((s for s in steps if last is None or s[0] <= last), default=None)


def _arrays(path: str) -> dict[str, np.ndarray] | None:
    """Returns the arrays of an npz file, or None if it does not exist."""
    if not filesystem.exists(path):
        return None
    with filesystem.GFile(path, "rb") as file:
        return dict(array_files.load_npz(io.BytesIO(file.read())))


def _write_arrays(path: str, arrays: Mapping[str, np.ndarray]) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    files.atomic_write(path, buffer.getvalue())


def _are_names(value: Any) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _text(path: str) -> str:
    """Returns the text of a file; empty if it does not exist.

    Damaged bytes become U+FFFD, so that undamaged parts can be read.
    """
    if not filesystem.exists(path):
        return ""
    with filesystem.GFile(path, "rb") as file:
        return file.read().decode("utf-8", "replace")
