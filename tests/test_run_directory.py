"""A run's directory: what is written is read back, and names are those of the map."""

import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

from tf_dvdgan import errors, run_directory

ROOT = pathlib.Path(__file__).parent.parent


@pytest.fixture
def directory(tmp_path) -> run_directory.RunDirectory:
    return run_directory.RunDirectory(str(tmp_path))


def test_it_is_a_run_once_it_has_a_config(directory):
    assert not directory.is_run and directory.read_config() == ""
    directory.write_config("CH = 3\n")
    assert directory.is_run and directory.read_config() == "CH = 3\n"


def test_the_model_is_read_back_and_none_is_none(directory):
    assert directory.read_model() is None
    directory.write_model({"format": 1, "networks": {"ch": [1, 2]}})
    assert directory.read_model() == {"format": 1, "networks": {"ch": [1, 2]}}


def test_the_newest_operative_config_until_a_step(directory):
    assert directory.read_operative_config() == ""
    for step in (0, 90, 100):
        directory.write_operative_config(step, f"of {step}")
    assert directory.read_operative_config() == "of 100"
    assert directory.read_operative_config(99) == "of 90"
    assert directory.read_operative_config(89) == "of 0"


def test_class_names_and_the_name_of_the_data(directory):
    assert directory.dataset == ""
    directory.write_dataset(["läuft", "sprünge, hoch"], "UCF-101")
    assert directory.class_names == ["läuft", "sprünge, hoch"]
    assert directory.dataset == "UCF-101"


def test_frames_are_read_back(directory):
    assert directory.read_frame_bank() is None
    frames = np.random.default_rng(0).integers(0, 256, [3, 1, 4, 4, 3], np.uint8)
    directory.write_frame_bank(frames)
    np.testing.assert_array_equal(directory.read_frame_bank(), frames)


def test_rows_are_added_completely_and_in_order(directory):
    assert directory.read_scores() == directory.read_classification() == []
    run_directory.add_row(directory.scores_file, {"step": 1})
    run_directory.add_row(directory.scores_file, {"step": 2})
    directory.add_classification({"share": "1/8"})
    assert directory.read_scores() == [{"step": 1}, {"step": 2}]
    assert directory.read_classification() == [{"share": "1/8"}]
    assert sorted(os.listdir(directory.path)) == ["classify.jsonl", "scores.jsonl"]


_ADD_ROWS = """
import sys
from tf_dvdgan import run_directory
for number in range(100):
    run_directory.add_row(sys.argv[1], {"step": number, "by": sys.argv[2]})
"""


def test_processes_that_add_rows_lose_none(directory):
    command = [sys.executable, "-c", _ADD_ROWS, directory.scores_file]
    processes = [subprocess.Popen([*command, name]) for name in "ab"]
    assert [process.wait() for process in processes] == [0, 0]
    rows = run_directory.read_rows(directory.scores_file)
    for name in "ab":
        assert [row["step"] for row in rows if row["by"] == name] == [*range(100)]


def test_the_newest_sheet_of_its_kind_until_a_step(directory, tmp_path):
    assert directory.newest_sheet("samples_ema") is None
    os.mkdir(directory.samples)
    for kind, step in (("samples_ema", 5), ("samples_ema", 20), ("samples_raw", 30)):
        pathlib.Path(directory.sheet(kind, step) + ".gif").touch()
    step, path = directory.newest_sheet("samples_ema")
    assert step == 20 and os.path.basename(path) == "samples_ema-0000020.gif"
    assert directory.newest_sheet("samples_ema", 19)[0] == 5
    assert directory.newest_sheet("samples_ema", 4) is None


def test_the_map_of_the_repository_names_the_same_files():
    """WORKSPACE.md and the module's docstring, a file or folder a line each."""
    text = (ROOT / "WORKSPACE.md").read_text()
    section = text.split("## A run's directory")[1].split("```")[1]
    mapped = re.findall(r"^(\S+)(?:, \S+)?  ", section, re.M)
    documented = re.findall(r"^    (\S+?),?(?: \S+)?  ", run_directory.__doc__, re.M)
    assert len(documented) >= 12 and documented == [m.rstrip(",") for m in mapped]


def test_a_rollback_is_that_of_its_checkpoint(directory):
    assert directory.read_rollback(2, 7) is None
    directory.write_rollback(2, 7, count=1, num_raises=3)
    directory.write_rollback(4, 8, count=2, num_raises=3)
    assert directory.read_rollback(2, 7) == (1, 3)  # if that of 4 is damaged
    assert directory.read_rollback(4, 8) == (2, 3)
    assert directory.read_rollback(4, 9) is None  # of another start
    directory.write_rollback(2, 7, count=3, num_raises=4)
    assert directory.read_rollback(2, 7) == (3, 4)
    assert directory.read_rollback(4, 8) is None  # it is removed


def test_undamaged_rows_of_scores_are_read(directory, capsys):
    run_directory.add_row(directory.scores_file, {"step": 1})
    with open(directory.scores_file, "a") as file:
        file.write(NESTED + '\n{"step": 2, "sco')
    assert directory.read_scores() == [{"step": 1}]
    assert "2 damaged lines are skipped" in capsys.readouterr().out
    run_directory.add_row(directory.scores_file, {"step": 3})
    assert directory.read_scores() == [{"step": 1}, {"step": 3}]
    with open(directory.scores_file) as file:
        assert file.read().splitlines()[2] == '{"step": 2, "sco'  # for who mends it


NESTED = "[" * 100_000  # more than Python parses


@pytest.mark.parametrize(
    "text", ['{"class_na', "[1]", "", '{"class_names": 3}', NESTED], ids=range(5)
)
def test_a_damaged_dataset_file_is_reported(directory, text):
    directory.write_dataset(["a"], "ucf101")
    with open(os.path.join(directory.path, "dataset.json"), "w") as file:
        file.write(text)
    with pytest.raises(errors.UserError, match=r"dataset\.json is missing or damaged"):
        print(directory.class_names)
    assert not directory.has_dataset  # so that resuming writes it
    assert directory.dataset == ""


@pytest.mark.parametrize("text", ['{"class"', NESTED], ids=range(2))
def test_a_damaged_model_is_reported(directory, text):
    with open(os.path.join(directory.path, "model.json"), "w") as file:
        file.write(text)
    with pytest.raises(errors.UserError, match=r"model\.json is damaged"):
        directory.read_model()


def test_a_row_of_all_protocols_of_an_earlier_version_becomes_a_row_of_each(tmp_path):
    directory = run_directory.RunDirectory(str(tmp_path))
    window = {"num_frames": 8, "resolution": 16, "stride": 2, "flips": True}
    protocol = {
        "window": {**window, "consecutive_if_short": True},
        "a": {"name": "a", "num_frames": None, "stride": None, "num_real": 5},
        "b": {"name": "b", "num_frames": 4, "stride": 1},
    }
    scores = {"a": 1.0, "a/recall": 0.5, "b": 2.0, "scores/spatial_held_out": 3.0}
    own = {"step": 7, "scores": {"c": 4.0}, "protocol": {"name": "c"}}
    row = {"step": 6, "scores": scores, "protocol": protocol}
    run_directory.add_row(directory.scores_file, row, own)
    assert directory.read_scores() == [
        {
            "step": 6,
            "scores": {"a": 1.0, "a/recall": 0.5},
            "protocol": {
                **{"name": "a", "num_frames": 8, "stride": 2, "num_real": 5},
                **{"resolution": 16, "consecutive_if_short": True},
            },
        },
        {
            "step": 6,
            "scores": {"b": 2.0},
            "protocol": {
                **{"name": "b", "num_frames": 4, "stride": 1},
                **{"resolution": 16, "consecutive_if_short": True},
            },
        },
        own,
    ]
