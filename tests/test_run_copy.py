"""Runs are copied, and copies are updated."""

import os
import pathlib

import pytest

from tf_dvdgan import errors, run_copy, run_directory


def test_a_run_is_copied_again_but_not_into_another_run(tmp_path):
    runs = [run_directory.RunDirectory(str(tmp_path / name)) for name in "ab"]
    for number, run in enumerate(runs):
        os.makedirs(run.events("train"))
        run.write_config("CH = 3\n")
        pathlib.Path(run.events("train"), f"events.{number}").write_text(run.path)
    copy = str(tmp_path / "copy")
    assert run_copy.copy_run(runs[0].path, copy) == 2
    pathlib.Path(runs[0].events("train"), "events.2").write_text("of a resumption")
    assert run_copy.copy_run(runs[0].path, copy) == 3
    with pytest.raises(errors.UserError, match="has another run"):
        run_copy.copy_run(runs[1].path, copy)
    assert sorted(os.listdir(f"{copy}/train")) == ["events.0", "events.2"]
