"""Samples and SavedModels of a trained run, as their users get them."""

import dataclasses
import json
import os
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf
from conftest import after, limit_of_file_size, run_module, run_process
from PIL import Image

from tf_dvdgan import (
    addons,
    errors,
    export,
    generators,
    model_card,
    text_drawing,
    trained,
    video_gan,
    visualize,
)
from tf_dvdgan.data import transforms
from tf_dvdgan.layers import conditional_batch_norm
from tf_dvdgan.pictures import interpolations, predictions, samples, units
from tf_dvdgan.sampling import latents, standing_statistics
from tf_dvdgan.sampling import sampler as sampler_lib
from tf_dvdgan.training import optimizers

pytestmark = pytest.mark.usefixtures("quick_graphs")

NAME = "RoundCircle"


@pytest.fixture(scope="module")
def run_dir(tiny_run) -> str:
    return tiny_run


@pytest.fixture(scope="module")
def saved_model(run_dir, tmp_path_factory) -> str:
    folder = str(tmp_path_factory.mktemp("export") / "6")
    model = trained.load(run_dir)
    card = model_card.write(model, run_dir)
    export.export(model, folder, num_batches=3, batch_size=8, card=card)
    return folder


def test_a_trained_model_has_the_averaged_weights(run_dir):
    model = trained.load(run_dir)
    assert model.step == 6 and len(model.class_names) == 9
    reader = tf.train.load_checkpoint(f"{run_dir}/checkpoints/step-6")
    slot = "embedding/kernel/.OPTIMIZER_SLOT/generator_optimizer/average"
    average = reader.get_tensor(f"generator/{slot}/.ATTRIBUTES/VARIABLE_VALUE")
    np.testing.assert_array_equal(model.gan.generator.embedding.kernel, average)


def test_an_older_checkpoint_can_be_asked_for(run_dir):
    assert trained.load(run_dir, step=3).step == 3
    with pytest.raises(errors.UserError, match="no checkpoint of step 4"):
        trained.load(run_dir, step=4)


def test_a_class_is_known_by_name_and_number(run_dir):
    generator = generators.open_generator(run_dir)
    assert generator.label_of(NAME) == generator.label_of("2") == 2
    with pytest.raises(errors.UserError, match="Did you mean 'RoundCircle'"):
        generator.label_of("RoundCircel")
    with pytest.raises(errors.UserError, match="no class '9'"):
        generator.label_of("9")


def test_samples_do_not_depend_on_the_batch_size_or_the_count(run_dir):
    gan = trained.load(run_dir).gan
    sampler = sampler_lib.Sampler(gan, num_batches=2, statistics_batch_size=8)
    z = latents.draw(gan.latent, 5, seed=3)
    np.testing.assert_array_equal(z[:2], latents.draw(gan.latent, 2, seed=3))
    whole = sampler.sample(z, range(5))["videos"].astype(int)
    parts = sampler.sample(z, range(5), batch_size=2)["videos"]
    assert np.abs(whole - parts).max() <= 1
    np.testing.assert_allclose(
        latents.draw(gan.latent, 5, 3, truncation=0.5), 0.5 * z, rtol=1e-6
    )


def test_standing_statistics_are_those_of_the_truncation(run_dir):
    gan = trained.load(run_dir).gan
    standing = standing_statistics.StandingStatistics(gan, 8)
    norm = gan.generator.last_norm
    number = conditional_batch_norm.layers_of(gan.generator).index(norm)

    def mean(truncation: float) -> np.ndarray:
        return standing.compute(3, truncation)[number][0].numpy()

    half = mean(0.5)
    assert float(norm.standing_count) == 0.0  # nothing stays behind
    np.testing.assert_array_equal(mean(0.5), half)
    assert np.abs(mean(1.0) - half).max() > 1e-6


def test_the_saved_model_runs_where_the_package_cannot_be_imported(saved_model):
    script = f"""
import sys
for name in ("tf_dvdgan", "keras", "tensorflow_addons"):
    sys.modules[name] = None
import numpy as np
import tensorflow as tf
model = tf.saved_model.load({saved_model!r})
names = open(model.class_names.asset_path.numpy()).read().split()
assert names[2] == {NAME!r}, names
generate = model.signatures["generate"]
arguments = dict(count=tf.constant(5), truncation=tf.constant(0.6), seed=tf.constant(7))
videos = generate(label=tf.constant(2), **arguments)["videos"]
assert videos.shape == (5, 4, 16, 16, 3) and videos.dtype == tf.uint8
again = generate(label=tf.constant(2), **arguments)["videos"]
assert np.array_equal(videos, again)
any_class = generate(label=tf.constant(-1), **arguments)["videos"]
assert not np.array_equal(videos, any_class)
from_z = model.signatures["generate_from_latents_float"]
inputs = dict(z=tf.random.normal([3, 120]), class_weights=tf.one_hot([0, 1, 2], 9))
videos = from_z(**inputs, truncation=tf.constant(0.6))["videos"]
assert videos.shape == (3, 4, 16, 16, 3) and videos.dtype == tf.float32
assert float(tf.reduce_max(tf.abs(videos))) <= 1
print("served")
"""
    result = run_process("-c", script)
    assert "served" in result.stdout, result.stderr[-2000:]


def test_the_saved_model_gives_the_videos_of_sampling(run_dir, saved_model):
    gan = trained.load(run_dir).gan
    standing = standing_statistics.StandingStatistics(gan, 8)
    low, high = (standing.compute(3, truncation) for truncation in (0.5, 0.75))
    served = tf.saved_model.load(saved_model).signatures["generate"]
    for truncation, weight in ((0.5, 0.0), (0.6, 0.4)):  # on the grid, and between
        statistics = [
            tuple((1 - weight) * a + weight * b for a, b in zip(*pair, strict=True))
            for pair in zip(low, high, strict=True)
        ]
        z = latents.draw(gan.latent, 3, 11, truncation)
        conditioning = gan.conditioning(tf.constant([4, 4, 4]), None)
        videos = gan.generate(z, conditioning, statistics=statistics)["videos"]
        expected = transforms.to_uint8(videos).numpy().astype(int)
        found = served(
            count=tf.constant(3),
            label=tf.constant(4),
            truncation=tf.constant(truncation),
            seed=tf.constant(11),
        )["videos"]
        assert np.abs(found.numpy().astype(int) - expected).max() <= 1


def test_the_saved_model_has_its_card_and_can_be_replaced(saved_model, run_dir):
    with open(os.path.join(saved_model, "README.md")) as file:
        assert file.read() == model_card.write(trained.load(run_dir), run_dir)
    export._check_replaceable(saved_model)


def replace(target, contents: str) -> None:
    """Writes what looks like a SavedModel, as `export` does."""
    export._check_replaceable(str(target))
    with export._replacing(str(target)) as place:
        os.makedirs(os.path.join(place, "variables"))
        with open(os.path.join(place, "saved_model.pb"), "w") as file:
            file.write(contents)


@pytest.mark.parametrize("moves", [0, 1, 2])
def test_an_export_killed_at_any_moment_leaves_a_whole_one_or_none(
    tmp_path, monkeypatch, moves
):
    target = tmp_path / "export" / "6"
    replace(target, "old")
    original, done = tf.io.gfile.rename, []

    def rename(*paths):
        if len(done) == moves:
            raise OSError("killed")
        done.append(original(*paths))

    def remove(path):
        raise OSError("killed")

    monkeypatch.setattr(tf.io.gfile, "rename", rename)
    monkeypatch.setattr(tf.io.gfile, "rmtree", remove)
    with pytest.raises(OSError, match="killed"):
        replace(target, "new")
    monkeypatch.undo()
    assert target.exists() == (moves != 1)
    if target.exists():
        text = (target / "saved_model.pb").read_text()
        assert text == ("old" if moves == 0 else "new")
    # What is left over neither hinders the next nor stays.
    replace(target, "newer")
    assert os.listdir(tmp_path / "export") == ["6"]
    assert (target / "saved_model.pb").read_text() == "newer"


def test_an_old_export_is_there_again_if_a_new_one_fails(tmp_path):
    replace(tmp_path / "6", "old")
    (tmp_path / "6").rename(tmp_path / "6.replaced")  # killed between two moves
    with pytest.raises(KeyError), export._replacing(str(tmp_path / "6")):
        raise KeyError("killed")
    assert (tmp_path / "6" / "saved_model.pb").read_text() == "old"


@pytest.mark.parametrize("place", ["6", "6.unfinished", "6.replaced"])
def test_what_is_no_saved_model_is_never_written_over(tmp_path, place):
    (tmp_path / place).mkdir()
    (tmp_path / place / "thesis.txt").write_text("all my work")
    with pytest.raises(errors.UserError, match=r"thesis\.txt"):
        replace(tmp_path / "6", "new")
    assert (tmp_path / place / "thesis.txt").read_text() == "all my work"
    (tmp_path / "file").touch()
    with pytest.raises(errors.UserError, match="is a file"):
        replace(tmp_path / "file", "new")


@pytest.mark.parametrize("inside", ["assets/logo.svg", "variables/notes.txt"])
def test_a_folder_that_only_has_the_names_of_a_saved_model_is_kept(tmp_path, inside):
    path = tmp_path / "site" / inside
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    with pytest.raises(errors.UserError, match=rf"contains '{inside}'"):
        replace(tmp_path / "site", "new")
    assert path.read_text() == "mine"


def test_any_class_name_is_one_line_and_an_empty_folder_is_taken(run_dir, tmp_path):
    names = ["two\nlines", "\u202eb", "c\udcff"]
    model = dataclasses.replace(trained.load(run_dir), class_names=names)
    names_file = pathlib.Path(export._write_assets(model, str(tmp_path))["class_names"])
    target = tmp_path / "6"
    target.mkdir()
    replace(target, "new")
    assert (target / "saved_model.pb").read_text() == "new"
    assert names_file.read_text().splitlines() == [
        r"two\nlines",
        r"\u202eb",
        r"c\udcff",
    ]


@pytest.mark.parametrize(
    "command",
    [
        pytest.param("export", marks=pytest.mark.slow),
        pytest.param("sample", marks=pytest.mark.slow),  # test_run has training's
    ],
)
def test_a_full_disk_is_not_a_full_device(saved_model, run_dir, tmp_path, command):
    flags = {
        "export": [f"--model_dir={run_dir}"],
        "sample": [f"--saved_model={saved_model}", "--num_videos=100"],
    }[command]
    done = run_process(
        *after(limit_of_file_size(20_000), "-m", f"tools.{command}"),
        *(f"--output={tmp_path / 'out'}", *flags),
    )
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    assert "The disk is full" in done.stderr and "BATCH_SIZE" not in done.stderr
    left = [p for p in (tmp_path / "out").rglob("*") if p.is_file()]
    assert not [p for p in left if "unfinished" in p.name]


def sample(run_dir, output, *flags):
    places = f"--model_dir={run_dir}", f"--output={output}"
    return run_module("tools.sample", *places, *flags)


def test_the_sample_command_writes_what_is_asked(run_dir, tmp_path):
    result = sample(run_dir, tmp_path, "--num_videos=3", f"--class_name={NAME}")
    assert result.returncode == 0, result.stderr
    assert sorted(os.listdir(tmp_path)) == [
        *(f"000{i}_{NAME}.gif" for i in range(3)),
        "grid.gif",
    ]
    with Image.open(tmp_path / f"0000_{NAME}.gif") as image:
        assert image.n_frames == 4 and image.size == (16, 16)
        metadata = json.loads(image.info["comment"])
    assert (
        metadata["class"] == NAME and metadata["step"] == 6 and metadata["index"] == 0
    )
    assert (metadata["seed"], metadata["truncation"]) == (0, 1.0)
    result = sample(run_dir, tmp_path, "--num_videos=9", "--format=mp4")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "0000_HorizontalCircle.mp4").stat().st_size > 0


def test_the_command_and_python_sample_the_same_videos(run_dir, tmp_path):
    """More videos than classes, so that the order of the classes matters."""
    flags = "--num_videos=11", "--seed=3", "--truncation=0.5", "--format=png"
    result = sample(run_dir, tmp_path, *flags)
    assert result.returncode == 0, result.stderr
    gan = video_gan.load(run_dir)
    assert gan.class_names and len(gan.class_names) == 9
    videos = gan.sample(11, truncation=0.5, seed=3)
    for i, video in enumerate(videos):
        path = tmp_path / f"{i:04}_{gan.class_names[i % 9]}.png"
        np.testing.assert_array_equal(Image.open(path), np.concatenate(video, axis=1))


def test_samples_of_a_saved_model_over_truncations(saved_model, tmp_path):
    """The same latents over truncations, in a sheet; a SavedModel in a run's place."""
    result = run_module(
        "tools.sample",
        *(f"--saved_model={saved_model}", f"--output={tmp_path}"),
        *("--num_videos=2", "--truncation=0.5,1", "--format=png", "--seed=4"),
    )
    assert result.returncode == 0, result.stderr
    generator = generators.open_generator(None, saved_model=saved_model)
    z = latents.draw(generator.latent, 2, seed=4)
    for truncation in (0.5, 1.0):
        videos = generator.videos(z, [0, 1], truncation)
        for i, name in enumerate(generator.class_names[:2]):
            path = tmp_path / f"000{i}_{name}_{truncation:g}.png"
            strip = np.asarray(Image.open(path)).astype(int)
            assert np.abs(strip - np.concatenate(videos[i], axis=1)).max() <= 1
    with Image.open(tmp_path / "grid.png") as image:
        metadata = json.loads(image.text["Description"])
    assert metadata["truncation"] == [0.5, 1.0] * 2 and metadata["seed"] == 4


@pytest.mark.slow
def test_an_interpolation_ends_in_what_it_goes_between(saved_model, tmp_path):
    flags = [f"--saved_model={saved_model}", f"--output={tmp_path}", "--num_steps=3"]
    result = run_module(
        "tools.interpolate", *flags, "--between=both", f"--classes={NAME},0"
    )
    assert result.returncode == 0, result.stderr
    sheet = np.asarray(Image.open(tmp_path / "interpolation.png")).astype(int)
    generator = generators.open_generator(None, saved_model=saved_model)
    z = latents.draw(generator.latent, 2, seed=0).numpy()
    z = np.stack([z[0], z.mean(axis=0), z[1]])
    weights = np.zeros([3, 9])
    weights[[0, 1, 1, 2], [2, 2, 0, 0]] = 1.0, 0.5, 0.5, 1.0
    videos = generator.videos(z, weights).repeat(4, axis=2).repeat(4, axis=3)
    names = [f"frame {i}" for i in range(1, 5)]
    top, left = sheet.shape[0] - 4 * 66, text_drawing.margin(names)
    for step in range(3):
        for frame in range(4):
            y, x = top + 66 * frame, left + 66 * step
            found = sheet[y : y + 64, x : x + 64]
            assert np.abs(found - videos[step, frame]).max() <= 1


@pytest.mark.parametrize(
    ("module", "flags", "message"),
    [
        ("sample", ["--model_dir=/nowhere"], "Pass --model_dir (a run's folder)"),
        ("interpolate", ["--resample=A"], "has no subspaces"),
        (
            "interpolate",
            ["--between=both", "--classes=1"],
            "--classes must name 2 here",
        ),
        ("interpolate", ["--classes=Dancing"], "has no class 'Dancing'"),
        (
            "interpolate",
            ["--between=classes", "--resample=A"],
            "Set either --between or --resample",
        ),
        ("sample", ["--streams"], "--streams needs a run"),
        ("predict", ["--video=mine.mp4"], "does not start from frames"),
    ],
)
def test_a_mistake_is_reported(saved_model, tmp_path, module, flags, message):
    base = [f"--saved_model={saved_model}", f"--output={tmp_path}"]
    result = run_module(f"tools.{module}", *base, *flags)
    assert result.returncode == 1 and message in result.stderr, result.stderr
    assert result.stderr.count("error:") == 1 and "Traceback" not in result.stderr


class Unused(generators.Generator):
    """A generator that must not generate anything."""

    def __init__(self):
        self.num_conditioning_frames = 0
        self.class_names = ["A"]

    def videos(self, *arguments, **options):
        raise AssertionError("It is generated before the folder is checked.")


@pytest.mark.parametrize(
    "write",
    [
        lambda style: samples.write_samples(Unused(), samples.Samples(), style),
        lambda style: predictions.write_predictions(Unused(), "video.mp4", style),
        lambda style: interpolations.write_interpolation(
            Unused(), interpolations.Interpolation(), style
        ),
        lambda style: units.write_units(Unused(), "shards", style),
    ],
    ids=["sample", "predict", "interpolate", "units"],
)
def test_the_folder_is_checked_before_anything_is_generated(write):
    with pytest.raises(errors.UserError, match="cannot be written"):
        write(visualize.Style("/proc/no/folder"))


@pytest.mark.parametrize("name", ["e [1]", r"e\x", "e*"])
def test_a_folder_that_tensorflow_takes_for_a_pattern_is_refused(
    run_dir, saved_model, tmp_path, name
):
    folder = str(tmp_path / name)
    message = "cannot read checkpoints in .* rename the folder without"
    with pytest.raises(errors.UserError, match=message):
        export.export(trained.load(run_dir), folder)
    assert not os.path.exists(folder)
    for place, opened in ((run_dir, "model_dir"), (saved_model, "saved_model")):
        shutil.copytree(place, folder)
        with pytest.raises(errors.UserError, match=message):
            generators.open_generator(**{"model_dir": None, opened: folder})
        shutil.rmtree(folder)


def test_an_unknown_class_is_reported(run_dir, tmp_path):
    result = sample(run_dir, tmp_path, "--class_name=Dancing")
    assert result.returncode == 1
    assert "The model has no class 'Dancing'" in result.stderr
    assert "Traceback" not in result.stderr
    result = sample("/nowhere", tmp_path)
    assert result.returncode == 1 and "not a run's directory" in result.stderr


def test_learning_rate_is_the_config_s_after_a_restore():
    optimizer = optimizers.with_moving_average(optimizers.adam(0.5))
    variable = tf.Variable([1.0])
    addons.create_slots(optimizer, [variable])
    with optimizers.keep_hyperparameters([optimizer]):
        optimizer.learning_rate = 0.1
    assert addons.learning_rate(optimizer) == 0.5
