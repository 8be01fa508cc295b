"""A model's card: its front matter, what it knows of a run, and nothing left open."""

import re
import shutil

import numpy as np
import pytest
import yaml

from tf_dvdgan import model_card, run_directory, trained
from tf_dvdgan.sampling import sampler


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
    assert "fid_pixels (24 real, 24 generated clips)" in names
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


def add_score(
    run, value, dataset="", name="clips", split="test", num_clips=9, row=(), **metadata
):
    """Adds a score that the run's evaluation wrote, or with a `row` another."""
    protocol = {"name": "fid_small", "num_real": 99, "num_generated": 2048} | metadata
    real = {"name": name, "dataset": dataset, "split": split, "num_clips": num_clips}
    protocol |= {"real": real, "weights": {}}
    run_directory.add_row(
        run_directory.RunDirectory(str(run)).scores_file,
        {"step": 6, "scores": {"fid_small": value}, "protocol": protocol} | dict(row),
    )


def test_the_front_matter_says_only_what_a_score_is_of(model, tiny_run, tmp_path):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    add_score(run, 3.0)
    add_score(run, 9.0, num_generated=64)  # a quick one does not replace it
    add_score(run, 4.0, truncation=0.5)
    add_score(run, 5.0, dataset="kinetics", name="k")
    add_score(run, 6.0, name="other", split="train", num_clips=7)  # of the same layout
    add_score(run, 9.0, num_real=5)
    by_command = {"inputs": {}}
    add_score(run, 7.0, name="strangers", row=by_command)  # of the same layout, too
    of_others = {"hashes": {"model": "of weights that were rolled back"}}
    add_score(run, 8.0, num_generated=9999, row=of_others)
    own = {"model": sampler.hashes_of_model(model.gan)["model"]}
    add_score(run, 3.5, num_generated=4096, row={"hashes": own})
    front, text = parts(model_card.write(model, str(run), "", "mine"))
    results = front["model-index"][0]["results"]
    found = {
        of["dataset"]["name"]: {m["name"]: m["value"] for m in of["metrics"]}
        for of in results
    }
    assert found["mine"]["fid_small (99 real, 4096 generated clips)"] == 3.5
    for name, value in (("k", 5.0), ("other", 6.0), ("strangers", 7.0)):
        assert found[name] == {"fid_small (99 real, 2048 generated clips)": value}
    assert "| fid_small | 0.5 | 4 |" in text and "| fid_small | 1 | 9 |" not in text
    assert "8" not in {
        line.split(" | ")[2] for line in text.splitlines() if "fid_s" in line
    }
    assert "| fid_small | 1 | 6 | 99 of other train | 2048 |" in text


@pytest.mark.parametrize(
    "name", ["moving shapes (tools.make_demo_videos)", "été", "🎬", "ucf101", ""]
)
def test_hubs_accept_the_front_matter(name, model, tiny_run):
    """They reject a data set's type that is no identifier."""
    front, _ = parts(model_card.write(model, tiny_run, "", name))
    for result in front["model-index"][0]["results"]:
        assert re.fullmatch(r"([\w-]+/)?[\w.-]+", result["dataset"]["type"], re.ASCII)


@pytest.mark.parametrize(
    ("data_license", "in_front"),
    [
        ("CC-BY-4.0", {"license": "cc-by-4.0"}),
        ("proprietary", {"license": "other", "license_name": "proprietary"}),
        ("my own terms", {"license": "other", "license_name": "my own terms"}),
    ],
)
def test_a_license_is_an_identifier_or_another_one(
    data_license, in_front, model, tiny_run
):
    card = model_card.write(model, tiny_run, data_license=data_license)
    front, text = parts(card)
    assert in_front.items() <= front.items() and data_license in text


def test_an_accuracy_of_real_clips_is_of_held_out_ones(model, tiny_run, tmp_path):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    held_out = {"name": "clips", "split": "test", "num_clips": 36}
    of_held_out = {"held-out": held_out, "num_held-out": 36, "metric": "accuracy"}
    add_score(run, 0.8, split="train", num_real=2160, metric="accuracy")  # earlier
    add_score(run, 0.9, split="train", num_real=2160, **of_held_out)
    front, text = parts(model_card.write(model, str(run)))
    assert "| 36 of clips test | 2048 |" in text and "2160 of" not in text
    assert "(36 real, 2048 generated clips)" in str(front)


@pytest.mark.parametrize(
    ("layout", "said"),
    [("ucf101", "trained on clips in the layout of ucf101"), ("folder", "of a folder")],
)
def test_a_layout_is_not_claimed_to_be_the_data(
    layout, said, model, tiny_run, tmp_path
):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    directory = run_directory.RunDirectory(str(run))
    directory.write_dataset(model.class_names, layout, 3)
    _, text = parts(model_card.write(model, str(run)))
    assert said in text


def test_settings_are_those_that_reached_the_step(model, tiny_run, tmp_path):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    directory = run_directory.RunDirectory(str(run))
    now = directory.read_operative_config().replace("BATCH_SIZE = 4", "BATCH_SIZE = 8")
    directory.write_operative_config(6, now)  # resumed there
    assert "| batch size | `4` |" in model_card.write(model, str(run))


def test_names_from_a_run_cannot_break_out_of_the_card(model, tiny_run, tmp_path):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    names = ["<script>", "a|b", "c\n---\nlicense: mit", *model.class_names[3:]]
    run_directory.RunDirectory(str(run)).write_dataset(names, "x\n# y", 3)
    front, text = parts(model_card.write(trained.load(str(run)), str(run)))
    assert front["license"] == "unknown"
    assert text.count("<script>") == 1  # in Python
    assert "\n# y" not in text and "a\\|b" in text
    name = "clip 🎬 <b> a|b"
    front, text = parts(model_card.write(trained.load(str(run)), str(run), name, name))
    (entry,) = front["model-index"]
    assert entry["name"] == name
    assert "# clip 🎬 &lt;b>" in text and "trained on clip 🎬 &lt;b> a\\|b:" in text
    assert "gan.sample(16, class_name='<script>')" in text
    # In the front matter nothing is escaped.
    add_score(run, 3.0, dataset="x\n# y")
    front, _ = parts(model_card.write(trained.load(str(run)), str(run), name, name))
    assert name in {r["dataset"]["name"] for r in front["model-index"][0]["results"]}


def test_a_license_from_a_run_cannot_break_out_of_the_card(model, tiny_run):
    license_ = "mit\n<script>\n# Hi"
    front, text = parts(model_card.write(model, tiny_run, data_license=license_))
    assert "<script>" not in text and "\n# Hi" not in text
    assert front["license"] == "other"
    assert front["license_name"] == "mit\\n<script>\\n# Hi"


def test_how_to_load_fits_what_is_written(model, tiny_run):
    saved, run, package = (
        model_card.write(model, tiny_run, "shapes", saved_as=kind)
        for kind in ("saved_model", "run", "package")
    )
    assert "tf.saved_model.load" in saved and "float16" not in saved
    for card, place in ((run, "FOLDER"), (package, "shapes")):
        assert f"dvd.load('{place}')" in card and "tf.saved_model" not in card
        assert "kernels rounded to float16" in card
