"""Small runs: exported, opened by name, checked; and those that the package has."""

import os
import pathlib
import shutil

import numpy as np
import pytest
from conftest import run_module

from tf_dvdgan import (
    errors,
    export,
    generators,
    model_card,
    pretrained,
    run_directory,
    scores,
    trained,
    video_gan,
)
from tf_dvdgan.data import filesystem
from tf_dvdgan.evaluation.features.networks import weights
from tf_dvdgan.report import page
from tf_dvdgan.training import warm_start

pytestmark = pytest.mark.usefixtures("quick_graphs")

FOLDER = pathlib.Path(pretrained.__file__).parent
LARGEST, LARGEST_OF_ALL = 3_000_000, 15_000_000  # bytes


@pytest.fixture(scope="module")
def exported(tiny_run, tmp_path_factory):
    """The parent of a small run "tiny", as the package has them."""
    folder = tmp_path_factory.mktemp("pretrained")
    run = str(shutil.copytree(tiny_run, folder.parent / f"{folder.name}_run"))
    directory = run_directory.RunDirectory(run)
    directory.write_config(
        directory.read_config() + "SMALL_CLASSIFIER = '/home/me/of_mine.h5'\n"
    )
    of_older = {"fid_small": 2.0, "fid_small/by_heart": 0.1}
    row = {"step": 6, "scores": of_older, "protocol": {"name": "fid_small"}}
    run_directory.add_row(directory.scores_file, row)
    model = trained.load(run)
    for _ in range(2):  # the second replaces the first
        card = model_card.write(model, tiny_run)
        export.export_run(model, run, str(folder / "tiny"), card)
    return folder


@pytest.fixture
def of_package(exported, monkeypatch):
    monkeypatch.setattr(pretrained, "_FOLDER", exported)


def test_it_has_only_what_sampling_needs_and_gives_the_same_videos(
    exported, tiny_run, of_package
):
    names = {path.name for path in (exported / "tiny").iterdir()}
    assert names == {
        *("README.md", "SHA256SUMS", "config.gin", "dataset.json", "generator.npz"),
        *("model.json", "operative_config-0.gin", "scores.jsonl"),
    }
    assert pretrained.names() == ["tiny"]
    gan = video_gan.load("tiny")
    of_run = video_gan.load(tiny_run)
    assert gan.class_names == of_run.class_names
    videos = gan.sample(4, seed=3)
    difference = np.abs(videos.astype(int) - of_run.sample(4, seed=3))
    assert difference.max() <= 1 and difference.mean() < 0.05  # kernels are float16
    assert gan.generator.metadata["weights"] == of_run.generator.metadata["weights"]
    directory = run_directory.RunDirectory(str(exported / "tiny"))
    assert "SMALL_CLASSIFIER = 'of_mine.h5'" in directory.read_config()
    assert {row["step"] for row in directory.read_scores()} == {6}


def test_a_name_stands_for_it_everywhere(
    of_package, exported, demo_shards, tmp_path, monkeypatch, capsys
):
    (exported / "small.weights.h5").touch()
    monkeypatch.chdir(tmp_path)
    assert pretrained.resolve("tiny") == str(exported / "tiny")
    assert pretrained.resolve("small") == str(exported / "small.weights.h5")
    for path in ("other", "./tiny", "s3://bucket/tiny"):
        assert pretrained.resolve(path) == path
    assert generators.open_generator("tiny").place == str(exported / "tiny")
    numbers = {"num_generated": 40, "num_resamples": 0, "receipt": "scores.json"}
    scores.print_scores(demo_shards, "fid_pixels", model_dir="tiny", **numbers)
    assert "output" not in capsys.readouterr().out  # the receipt is one
    assert scores.verify("scores.json", places={"model_dir": "tiny"})
    (tmp_path / "tiny").mkdir()  # of samples, for example
    assert pretrained.resolve("tiny") == str(exported / "tiny")
    (tmp_path / "tiny" / "config.gin").touch()
    assert pretrained.resolve("tiny") == "tiny"
    with pytest.raises(errors.UserError, match="is an exported run, which has no disc"):
        warm_start._build(str(exported / "tiny"))


def test_an_exported_run_is_not_written_to_and_not_trained(of_package, demo_shards):
    gan = video_gan.load("tiny")
    with pytest.raises(errors.UserError, match="Set `directory`"):
        gan.save()
    with pytest.raises(errors.UserError, match="which can only be sampled"):
        gan.fit(demo_shards, 1, "new_run")
    with pytest.raises(errors.UserError, match="set `output`, the page to write"):
        page.write("tiny")


def test_the_command_names_its_flag_for_the_folder(exported):
    done = run_module("tools.export", f"--model_dir={exported / 'tiny'}")
    assert done.returncode == 1
    assert done.stderr == "error: Set --output, the folder to write to.\n"


def test_metrics_of_older_runs_are_exported_by_their_present_names(exported):
    text = (exported / "tiny" / run_directory.SCORES_FILE).read_text()
    assert '"fid_small/memorization": 0.1' in text and "by_heart" not in text


def test_a_step_that_it_does_not_have_is_refused(exported):
    assert trained.load(str(exported / "tiny"), "6").step == 6
    with pytest.raises(errors.UserError, match="has only step 6"):
        trained.load(str(exported / "tiny"), 3)


def test_weights_of_another_architecture_are_refused(exported, tmp_path):
    run = shutil.copytree(exported / "tiny", tmp_path / "run")
    directory = run_directory.RunDirectory(str(run))
    weights, step = directory.read_generator()
    weights["embedding/kernel"] = weights["embedding/kernel"][:, :3]
    directory.write_generator(weights, step)
    with pytest.raises(errors.UserError, match="do not fit the architecture"):
        trained.load(str(run))
    (run / "generator.npz").write_bytes(b"PK nothing")
    with pytest.raises(errors.UserError, match="is damaged"):
        trained.load(str(run))


def test_files_that_were_changed_and_unknown_names_are_refused(
    exported, tmp_path, monkeypatch
):
    shutil.copytree(exported, tmp_path / "package")
    monkeypatch.setattr(pretrained, "_FOLDER", tmp_path / "package")
    with pytest.raises(errors.UserError, match="Did you mean 'tiny'"):
        pretrained.path_of("tyny")
    with open(tmp_path / "package" / "tiny" / "model.json", "a") as file:
        file.write(" ")
    with pytest.raises(
        errors.UserError, match=r"model\.json is missing or was changed"
    ):
        pretrained.path_of("tiny")
    with pytest.raises(errors.UserError, match="cannot be set with it"):
        generators.open_generator("run", pretrained="tiny")


def test_other_files_are_not_replaced(tiny_run, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    model = trained.load(tiny_run)
    with pytest.raises(
        errors.UserError, match="is not empty and is not an exported run"
    ):
        export.export_run(model, tiny_run, str(tmp_path), "")
    assert (tmp_path / "mine.txt").read_text() == "mine"
    for listed in ("mine.txt", "generator.npz"):  # a user's own list of sums
        (tmp_path / "SHA256SUMS").write_text(f"{'0' * 64}  {listed}\n")
        with pytest.raises(
            errors.UserError, match="is not empty and is not an exported run"
        ):
            export.export_run(model, tiny_run, str(tmp_path), "")
        assert (tmp_path / "mine.txt").read_text() == "mine"


def test_an_export_that_is_killed_leaves_the_earlier_one(
    tiny_run, tmp_path, monkeypatch
):
    model, place = trained.load(tiny_run), tmp_path / "exported"
    export.export_run(model, tiny_run, str(place), "first")
    copy, copied = filesystem.copy, []

    def killed(source, target, overwrite=False):
        copied.append(target)
        if len(copied) == 3:
            raise KeyboardInterrupt
        copy(source, target, overwrite)

    monkeypatch.setattr(filesystem, "copy", killed)
    with pytest.raises(KeyboardInterrupt):
        export.export_run(model, tiny_run, str(place), "second")
    monkeypatch.undo()
    assert (place / "README.md").read_text() == "first"
    (tmp_path / "exported.replaced").mkdir()  # as if killed while it was removed
    (tmp_path / "exported.replaced" / "model.json").touch()
    assert trained.load(str(place)).step == model.step
    export.export_run(model, tiny_run, str(place), "second")
    assert (place / "README.md").read_text() == "second"
    assert [path.name for path in tmp_path.iterdir()] == ["exported"]
    (tmp_path / "exported.replaced").write_text("mine")
    with pytest.raises(errors.UserError, match="is a file"):
        export.export_run(model, tiny_run, str(place), "third")
    monkeypatch.setattr(os.path, "ismount", lambda _: True)  # it is not renamed
    (tmp_path / "empty").mkdir()
    inode = (tmp_path / "empty").stat().st_ino
    export.export_run(model, tiny_run, str(tmp_path / "empty"), "")
    (tmp_path / "empty" / "generator.npz").unlink()  # as if killed
    (tmp_path / "empty" / "SHA256SUMS").unlink()
    export.export_run(model, tiny_run, str(tmp_path / "empty"), "again")
    assert (tmp_path / "empty" / "README.md").read_text() == "again"
    assert (tmp_path / "empty").stat().st_ino == inode


def test_no_path_of_a_config_is_exported():
    config = """
        a.x = "/home/o'brien/x/w.h5"
        a.y = ['/home/me/folder/', 'gs://bucket/me/v.h5', '../me/private/u.h5']
        a.z = 'results/classifiers/t.weights.h5'
        a.long = \\
            ('/home/a very long path with spaces that Gin splits over lines and/'
             'results/classifiers/s.h5')
        b.frozen = ['*/block_0/*', 'discriminator/block_1/conv_1/kernel']
        b.text = 'color'
        b.slashes = ['/', 'w/o.mask']
        data.Window.classes = ["it's", '/m/09x0r']
    """
    config = "\n".join(line.strip() for line in config.splitlines())
    found = export._names_for_paths(config)
    for text in ("'w.h5'", "['folder', 'v.h5', 'u.h5']", "'t.weights.h5'", "('s.h5')"):
        assert text in found
    assert found.partition("b.frozen")[2] == config.partition("b.frozen")[2]


@pytest.mark.slow
def test_a_copy_of_a_copy_has_the_same_card_and_scores_that_can_be_verified(
    tiny_run, demo_shards, tmp_path, capsys
):
    copies, options = [str(tmp_path / name) for name in ("a", "b")], {}
    options = {"data_name": "shapes", "data_license": "apache-2.0"}
    run = str(shutil.copytree(tiny_run, tmp_path / "run"))
    directory = run_directory.RunDirectory(run)
    origin = {"run": "/home/me/a|b/", "step": 3, "classes": [], "networks": {}}
    directory.write_model(directory.read_model() | {"initialized_from": origin})
    numbers = {"num_generated": 40, "num_resamples": 0}
    scores.print_scores(demo_shards, "fid_pixels", model_dir=run, **numbers)
    for source, copy in ((run, copies[0]), (copies[0], copies[1])):
        video_gan.load(source).save(copy, as_run=True, card_name="x", **options)
        options = {}  # the copy knows them
    first, second = (pathlib.Path(copy, "README.md").read_text() for copy in copies)
    assert first == second
    for said in ("trained on shapes", "apache-2.0", "| batch size | `4` |"):
        assert said in second
    texts = [
        p.read_text() for p in pathlib.Path(copies[1]).iterdir() if p.suffix != ".npz"
    ]
    assert len(texts) == 7
    for place in (str(tmp_path), demo_shards, "/home/me"):
        assert not [text for text in texts if place in text], place
    assert "| initialized from | step 3 of a\\|b |" in second
    video_gan.load(copies[1]).save(str(tmp_path / "saved_model"), [0.5, 1])
    card = (tmp_path / "saved_model" / "README.md").read_text()
    assert "kernels rounded to float16" in card  # those that it was made of
    capsys.readouterr()
    assert scores.verify(copies[1], ["fid_pixels"], {"real": demo_shards})
    shown = capsys.readouterr().out
    assert "model: the same" in shown and "real clips: the same" in shown


def test_scoring_a_generator_of_the_package_does_not_change_it(
    exported, of_package, demo_shards, tmp_path, capsys
):
    options = {"cache_dir": str(tmp_path), "num_resamples": 0, "num_generated": 40}
    place = pretrained.path_of("tiny")
    scores.print_scores(demo_shards, "fid_pixels", model_dir=place, **options)
    assert "fid_pixels at truncation 1: " in capsys.readouterr().out
    assert pretrained.path_of("tiny") == place  # its files are as they were


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if "v1" in name else ())
        for name in sorted(pretrained.names())
    ],
)
def test_a_generator_of_the_package_gives_its_recorded_frames(name):
    """`tests/pretrained/NAME.npy`, made by `python tests/test_pretrained.py`."""
    recorded = np.load(pathlib.Path(__file__).parent / "pretrained" / f"{name}.npy")
    difference = np.abs(sampled(name).astype(int) - recorded)
    # Processors and versions of TensorFlow round differently.
    assert difference.max() <= 8 and difference.mean() < 0.2
    assert recorded.std() > 20
    assert "to be filled in" not in (FOLDER / name / "README.md").read_text()


def test_the_card_of_the_classifiers_names_each_with_its_hash_and_accuracy():
    text = (FOLDER / "README.md").read_text()
    for path in FOLDER.glob("*.weights.h5"):
        metadata = weights.read_metadata(str(path))
        name = path.name.removesuffix(".weights.h5")
        (row,) = [line for line in text.splitlines() if line.startswith(f"| `{name}`")]
        accuracy = metadata.source.rpartition("; ")[2].partition("%")[0]
        assert metadata.hash[:12] in row and f"{accuracy} %" in row
        assert f"| {len(metadata.class_names)} |" in row


def test_those_of_the_package_are_small():
    sizes = {
        name: sum(path.stat().st_size for path in (FOLDER / name).rglob("*"))
        for name in pretrained.names()
    }
    assert max(sizes.values(), default=0) <= LARGEST
    files = (path for path in FOLDER.rglob("*") if path.suffix != ".pyc")
    assert sum(path.stat().st_size for path in files) <= LARGEST_OF_ALL


@pytest.mark.slow
def test_commands_take_a_name(tmp_path):
    name = pretrained.names()[0]
    done = run_module("tools.sample", f"--pretrained={name}", f"--output={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "grid.gif").exists()


def sampled(name: str) -> np.ndarray:
    gan = video_gan.load(name)
    if gan.generator.num_conditioning_frames:
        frames = gan.networks.require_frame_bank()[0]
        return gan.predict_frames(frames, seed=0, count=2)
    return gan.sample(2, seed=0)


if __name__ == "__main__":
    for known in pretrained.names():
        np.save(pathlib.Path(__file__).parent / "pretrained" / known, sampled(known))
