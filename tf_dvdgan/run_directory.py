"""A run's directory: the names and formats of all that lies in it.

    config.gin                   the parsed config; read when the run resumes model.json
    the networks, resolved: class and arguments of every part
    operative_config-<step>.gin  what was used, at each start dataset.json class names,
    name of the data set frame_bank.npz               first frames of real clips, where
    a model starts from some checkpoints/, best/          TensorFlow checkpoints
    scores.jsonl                 scores, each with its protocol classify.jsonl
    what tools.classify measured train/, eval/ TensorBoard events samples/
    sample sheets export/<step>/ SavedModel report.html                  the page of
    tools.report

Paths may be remote. Files are written completely or not at all.
"""

import dataclasses
import io
import json
import os
import re
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from tf_dvdgan.data import files

SCORES_FILE = "scores.jsonl"

_CONFIG = "config.gin"
_MODEL = "model.json"
_DATASET = "dataset.json"
_FRAME_BANK = "frame_bank.npz"
_CLASSIFICATION = "classify.jsonl"
_OPERATIVE_CONFIG = r"operative_config-(\d+)\.gin"


@dataclasses.dataclass(frozen=True)
class RunDirectory:
    """Reads and writes the files of a run.

    Attributes:
      path: of the directory.
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

    def events(self, kind: str) -> str:
        """Folder of TensorBoard's events, of 'train' or 'eval'."""
        return self._of(kind)

    def export(self, step: int) -> str:
        """Folder of a step's SavedModel."""
        return self._of("export", str(step))

    def sheet(self, kind: str, step: int) -> str:
        """A sample sheet's path, without the suffix.

        Args:
          kind: such as 'samples_ema'.
          step: of the run.

        Returns:
          The path; `.gif` and `.png` follow.
        """
        return self._of("samples", f"{kind}-{step:07}")

    def newest_sheet(
        self, kind: str, step: int | None = None
    ) -> tuple[int, str] | None:
        """The newest moving sample sheet.

        Args:
          kind: 'real', 'samples_raw' or 'samples_ema'.
          step: later sheets are ignored.

        Returns:
          Step and path; None if there is no sheet.
        """
        pattern = rf"{kind}-(\d+)\.gif"
        name = _newest(files.list_dir(self.samples), pattern, step)
        if name is None:
            return None
        return int(re.fullmatch(pattern, name)[1]), self._of("samples", name)

    # The config and the model.

    @property
    def is_run(self) -> bool:
        """Whether a run was started in the directory."""
        return tf.io.gfile.exists(self._of(_CONFIG))

    @property
    def config_path(self) -> str:
        """Path of the config, for messages."""
        return self._of(_CONFIG)

    def read_config(self) -> str:
        """The Gin config that the run was started with; empty if there is none."""
        return _text(self._of(_CONFIG))

    def write_config(self, text: str) -> None:
        """Writes the Gin config."""
        files.atomic_write(self._of(_CONFIG), text)

    def read_model(self) -> dict | None:
        """The resolved networks, see `model_file`; None if the run has no such file."""
        text = _text(self._of(_MODEL))
        return json.loads(text) if text else None

    def write_model(self, model: Mapping) -> None:
        """Writes the resolved networks."""
        files.atomic_write(self._of(_MODEL), json.dumps(model, indent=1))

    def write_operative_config(self, step: int, text: str) -> None:
        """Writes the config that is in use.

        Args:
          step: at which the run starts or resumes.
          text: of `gin.operative_config_str`.
        """
        files.atomic_write(self._of(f"operative_config-{step}.gin"), text)

    def read_operative_config(self, step: int | None = None) -> str:
        """The newest config that was in use.

        Args:
          step: later configs are ignored.

        Returns:
          Its text; empty if there is none.
        """
        name = _newest(files.list_dir(self.path), _OPERATIVE_CONFIG, step)
        return _text(self._of(name)) if name else ""

    # The data.

    def write_dataset(self, class_names: Sequence[str], dataset: str) -> None:
        """Writes what sampling needs to know of the data.

        Args:
          class_names: in the order of the labels.
          dataset: name of the data set; empty if it has none.
        """
        known = {"class_names": list(class_names), "dataset": dataset}
        files.atomic_write(self._of(_DATASET), json.dumps(known))

    @property
    def class_names(self) -> list[str]:
        """Names of the classes that the run was trained on."""
        return json.loads(_text(self._of(_DATASET)))["class_names"]

    @property
    def dataset(self) -> str:
        """Name of the data set; empty if it has none."""
        return json.loads(_text(self._of(_DATASET)) or "{}").get("dataset", "")

    def read_frame_bank(self) -> np.ndarray | None:
        """Frames that samples start from.

        Returns:
          `[count, frames, height, width, 3]` uint8; None if the model starts from none.
        """
        path = self._of(_FRAME_BANK)
        if not tf.io.gfile.exists(path):
            return None
        with tf.io.gfile.GFile(path, "rb") as file:
            return np.load(io.BytesIO(file.read()), allow_pickle=False)["frames"]

    def write_frame_bank(self, frames: np.ndarray) -> None:
        """Writes the frames that samples start from."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, frames=frames)
        files.atomic_write(self._of(_FRAME_BANK), buffer.getvalue())

    # What was measured.

    def read_scores(self) -> list[dict]:
        """Rows of `scores.jsonl`, with "step", "scores" and "protocol" each."""
        return _rows(self.scores_file)

    def read_classification(self) -> list[dict]:
        """Rows of `classify.jsonl`, see `classification.classify`."""
        return _rows(self._of(_CLASSIFICATION))

    def add_classification(self, row: Mapping) -> None:
        """Adds a row to `classify.jsonl`."""
        add_row(self._of(_CLASSIFICATION), row)


def add_row(path: str, row: Mapping) -> None:
    """Adds a row to a JSON Lines file, completely or not at all.

    Args:
      path: of the file; it is created if it does not exist.
      row: only JSON's types.
    """
    text = "".join(json.dumps(entry) + "\n" for entry in [*_rows(path), row])
    files.atomic_write(path, text)


def _rows(path: str) -> list[dict]:
    return [json.loads(line) for line in _text(path).splitlines() if line.strip()]


def _newest(names: Sequence[str], pattern: str, step: int | None) -> str | None:
    """The name with the highest step, none beyond a given one."""
    found = {name: re.fullmatch(pattern, name) for name in names}
    steps = {name: int(match[1]) for name, match in found.items() if match}
    steps = {n: i for n, i in steps.items() if step is None or i <= step}
    return max(steps, key=lambda name: steps[name], default=None)


def _text(path: str) -> str:
    """A file's text; empty if there is none."""
    if not tf.io.gfile.exists(path):
        return ""
    with tf.io.gfile.GFile(path) as file:
        return file.read()
