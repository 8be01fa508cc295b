"""Reading a run's directory."""

import json
import time

import numpy as np
import pytest

from tf_dvdgan import run_directory
from tf_dvdgan.data import files
from tf_dvdgan.report import charts, history
from tf_dvdgan.training import summaries


def test_written_scalars_are_read_back(tmp_path):
    y = np.random.default_rng(0).normal(size=5).astype(np.float32)
    writer = summaries.Summaries(str(tmp_path))
    for step, value in enumerate(y):
        writer.scalars(10 * step, {"loss/a": value, "loss/b": 2 * value})
    writer.text(0, "config", "x")
    found = history.read_events(str(tmp_path), "train").curves
    assert set(found) == {"loss/a", "loss/b"}
    np.testing.assert_array_equal(found["loss/a"].x, [0, 10, 20, 30, 40])
    np.testing.assert_array_equal(found["loss/b"].y, 2 * y)


def test_steps_discarded_by_a_rollback_are_dropped(tmp_path):
    for steps, value in (((1, 2, 3, 4), 0.0), ((3, 5), 1.0)):
        writer = summaries.Summaries(str(tmp_path))
        for step in steps:
            writer.scalars(step, {"loss/a": value})
        time.sleep(1.1)  # files are read in the order of the seconds in their names
    found = history.read_events(str(tmp_path), "train").curves["loss/a"]
    np.testing.assert_array_equal(found.x, [1, 2, 3, 5])
    np.testing.assert_array_equal(found.y, [0, 0, 1, 1])


def curve(*y: float) -> charts.Curve:
    return charts.Curve(np.arange(len(y), dtype=np.float64), np.array(y))


def test_curves_are_grouped_into_panels():
    train = {
        "loss/generator": curve(1),
        "loss/spatial_discriminator": curve(1),
        "scores/spatial_discriminator_real": curve(1),
        "speed/seconds_per_step": curve(1),
        "singular_values/generator/a": curve(1, 5),
        "singular_values/generator/b/c": curve(3, 4),
        "singular_values/generator/d": curve(2, 9),
    }
    evaluated = {
        "scores/spatial_discriminator_held_out": curve(2),
        "fid_small": curve(3),
        "fid_small/real_from_real": curve(4),
        "fid_small/recall": curve(0.5),
        "at_end/fid_small": curve(3),
    }
    panels = history.panels(train, evaluated)
    assert {title: list(lines) for title, lines in panels.items()} == {
        "Losses": ["generator", "spatial discriminator"],
        "Scores of the spatial discriminator": ["real", "held out"],
        "fid_small by step": ["generated", "real from real"],
        "fid_small: other metrics": ["recall"],
        "Largest singular value of the generator's 3 kernels": [
            "largest kernel",
            "median kernel",
            "smallest kernel",
        ],
    }
    *_, values = panels.values()
    np.testing.assert_array_equal(values["largest kernel"].y, [3, 9])
    np.testing.assert_array_equal(values["median kernel"].y, [2, 5])


def test_scores_are_distinguished_by_protocol(tmp_path):
    def add(step, scores, protocol):
        row = {"step": step, "scores": scores, "protocol": protocol}
        run_directory.add_row(str(tmp_path / "scores.jsonl"), row)

    metadata = {"name": "fid_small", "num_generated": 8}
    for step, truncation in ((1, 1.0), (1, 0.5), (2, 1.0)):
        protocol = {**metadata, "truncation": truncation, "step": step}
        add(step, {"fid_small": 3.0, "fid_small/recall": 0.5}, protocol)
    # As an earlier version's training wrote the scores of all protocols.
    of_run = {"window": {"num_frames": 4}, "fid_small": metadata}
    add(3, {"fid_small": 2.0, "scores/d_held_out": 1.0}, of_run)
    scores = history.scores(str(tmp_path))
    assert [s.name for s in scores] == ["fid_small"] * 4
    assert [s.truncation for s in scores] == [1.0, 0.5, 1.0, 1.0]
    assert scores[0].others == {"recall": 0.5} and scores[3].others == {}
    assert len({s.protocol for s in scores[:3]}) == 1
    assert scores[3].protocol != scores[0].protocol
    assert scores[3].metadata["num_frames"] == 4
    # With what an earlier version did not record.
    held_out = {"held-out": {"split": "test"}, "num_held-out": 9}
    add(3, {"fid_small": 3.0}, {**metadata, "truncation": 1.0, "step": 3, **held_out})
    assert history.scores(str(tmp_path))[-1].protocol == scores[0].protocol
    # An earlier version's name.
    add(4, {"fid_small": 2.0, "fid_small/by_heart": 0.1}, {**metadata, "step": 4})
    assert history.scores(str(tmp_path))[-1].others == {"memorization": 0.1}


@pytest.mark.parametrize(("step", "expected"), [(None, 20), (19, 10), (5, None)])
def test_sheets_and_configs_are_the_newest_up_to_a_step(tmp_path, step, expected):
    (tmp_path / "samples").mkdir()
    for number in (10, 20):
        files.atomic_write(str(tmp_path / f"samples/samples_ema-{number:07}.gif"), b"x")
        name = f"operative_config-{number}.gin"
        files.atomic_write(str(tmp_path / name), f"x = {number}")
    directory = run_directory.RunDirectory(str(tmp_path))
    found = directory.newest_sheet("samples_ema", step)
    assert (found and found[0]) == expected
    config = directory.read_operative_config(step)
    assert config == (f"x = {expected}" if expected else "")


def test_the_name_of_the_data_is_empty_if_unknown(tmp_path):
    directory = run_directory.RunDirectory(str(tmp_path))
    assert directory.dataset == ""
    (tmp_path / "dataset.json").write_text('{"dataset": "UCF-101"}')
    assert directory.dataset == "UCF-101"


def test_bindings_may_span_lines():
    text = "# A\n# ==\nCH = 8\na.b = \\\n    [@x, @y]\nc.d = ('one',\n       'two')\n"
    assert history.bindings(text) == {
        "CH": "8",
        "a.b": "[@x, @y]",
        "c.d": "('one', 'two')",
    }


def test_accuracies_are_read_by_number_of_labeled_clips(tmp_path):
    rows = [
        {"step": 1, "clips": 9, "fine_tuned": 0.1, "new": 0.1},
        {"step": 2, "clips": 27, "fine_tuned": 0.5, "new": 0.2},
        {"step": 2, "clips": 9, "fine_tuned": 0.3, "new": 0.1},
        {"step": 2, "clips": 27, "logistic_regression": 0.4},
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "classify.jsonl").write_text(text)
    found = history.classification(str(tmp_path))
    gain = found["Gain of fine-tuning"]["gain"]
    np.testing.assert_allclose([gain.x, gain.y], [[9, 27], [3.0, 2.5]])
    lines = found["Accuracy"]
    assert list(lines) == ["fine tuned", "new", "logistic regression"]
    np.testing.assert_allclose(lines["fine tuned"].y, [0.3, 0.5])
    assert not any(history.classification(str(tmp_path / "none")).values())
