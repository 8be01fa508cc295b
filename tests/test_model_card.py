"""A model's card: its front matter, what it knows of a run, and nothing left open."""

import re
import shutil

import numpy as np
import pytest
import yaml

from tf_dvdgan import model_card, run_directory, trained


def parts(card):
    """Front matter and text of a card."""
    _, front, text = re.split(r"^---$", card, maxsplit=2, flags=re.MULTILINE)
    return yaml.safe_load(front), text


@pytest.fixture(scope="module")
def model(tiny_run):
    return trained.load(tiny_run)


def test_a_card_says_what_the_run_knows(model, tiny_run):
    front, text = parts(model_card.write(model, tiny_run, "shapes"))
    assert front["library_name"] == "tf_dvdgan"
    assert "dvd-gan" in front["tags"]
    (entry,) = front["model-index"]
    assert entry["name"] == "shapes"
    names = {metric["name"] for metric in entry["results"][0]["metrics"]}
    assert "fid_pixels" in names
    assert "# shapes" in text
    for row in (
        "| network | dvd_gan.Generator |",
        "| videos | 4 frames, 16x16 pixels, RGB |",
        "| training clips | 108 |",
        "| steps | 6 |",
        "| batch size | `4` |",
        "| discriminator updates per step | `2` |",
    ):
        assert row in text
    count = sum(int(np.prod(w.shape)) for w in model.gan.generator.trainable_variables)
    assert f"| parameters | {count:,} |" in text
    assert "| fid_pixels | 1 | " in text and "not measured" in text
    assert text.count("to be filled in") == 1
    assert "| data set | unknown |" in text  # the fixture names none


def test_a_step_without_scores_has_a_card_without_scores(model, tiny_run, tmp_path):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    (run / "scores.jsonl").unlink()
    front, text = parts(model_card.write(model, str(run), "", "mine", "apache-2.0"))
    assert "model-index" not in front
    assert front["license"] == "apache-2.0" and "to be filled in" not in text
    assert "| data set | mine |" in text and "trained on mine" in text
    assert "None were recorded" in text and "was not measured" in text


def test_names_from_a_run_cannot_break_out_of_the_card(model, tiny_run, tmp_path):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    names = ["<script>", "a|b", "c\n---\nlicense: mit", *model.class_names[3:]]
    run_directory.RunDirectory(str(run)).write_dataset(names, "x\n# y", 3)
    front, text = parts(model_card.write(trained.load(str(run)), str(run)))
    assert front["license"] == "unknown"
    assert "<script>" not in text and "\n# y" not in text and "a\\|b" in text
