"""Continuing a user's own video, and classifying with VGAN's discriminator."""

import json
import os

import numpy as np
import pytest
from conftest import run_module
from PIL import Image

from tf_dvdgan import classification, errors, export, generators, launch, trained
from tf_dvdgan.data import clip_files, video_io, video_reader, windows
from tf_dvdgan.models import vgan
from tf_dvdgan.report import page

pytestmark = pytest.mark.usefixtures("quick_graphs")

TINY = ["RESOLUTION = 16", "STRIDE = 2", "BATCH_SIZE = 4", "CH = 2", "NUM_FRAMES = 8"]


def train(folder: str, shards: str, file: str, *parameters: str) -> str:
    launch.train(folder, shards, file, [*TINY, "NUM_STEPS = 2", *parameters])
    return folder


@pytest.fixture(scope="module")
def fp_run(demo_shards, tmp_path_factory) -> str:
    return train(
        str(tmp_path_factory.mktemp("fp")),
        demo_shards,
        "models/dvdgan_fp_v2.gin",
        "CONDITIONING_FRAMES = 3",
        "dvd_gan.SpatialDiscriminator.num_frames = 2",
        "trainer.build.num_d_steps = 1",
    )


@pytest.fixture(scope="module")
def vgan_run(demo_shards, tmp_path_factory) -> str:
    folder = str(tmp_path_factory.mktemp("vgan"))
    return train(folder, demo_shards, "models/vgan.gin")


@pytest.fixture
def video(tmp_path) -> str:
    rng = np.random.default_rng(0)
    base = rng.integers(0, 255, [24, 40, 3], np.uint8).repeat(2, 0).repeat(2, 1)
    frames = np.stack([np.roll(base, 2 * t, axis=1) for t in range(20)])
    path = str(tmp_path / "mine.avi")
    video_io.write_video(path, frames)
    return path


def test_a_video_is_continued_from_its_own_frames(fp_run, video, tmp_path):
    out = tmp_path / "out"
    flags = [f"--model_dir={fp_run}", f"--video={video}", f"--output={out}"]
    result = run_module("tools.predict", *flags, "--num_samples=2", "--format=png")
    assert result.returncode == 0, result.stderr
    assert sorted(os.listdir(out)) == ["0000.png", "0001.png", "grid.png"]
    strip = np.asarray(Image.open(out / "0000.png"))
    assert strip.shape == (16, 8 * 16, 3)
    given = clip_files.read_frames(video, 3, 2, 0, 16)
    np.testing.assert_array_equal(strip[:, : 3 * 16], np.concatenate(list(given), 1))


@pytest.mark.slow  # test_generators exports such a model
def test_a_saved_model_continues_a_video_too(fp_run, video, tmp_path):
    """That it does as its run is tested in test_generators.py."""
    saved, out = str(tmp_path / "saved"), tmp_path / "out"
    model = trained.load(fp_run)
    export.export(model, saved, (0.5, 1.0), num_batches=1, batch_size=4)
    flags = [f"--saved_model={saved}", f"--video={video}", f"--output={out}"]
    result = run_module("tools.predict", *flags, "--num_samples=1", "--format=png")
    assert result.returncode == 0, result.stderr
    with Image.open(out / "0000.png") as image:
        metadata = json.loads(image.text["Description"])
        strip = np.asarray(image)
    assert metadata["video"] == "mine.avi" and metadata["step"] == 2
    given = clip_files.read_frames(video, 3, 2, 0, 16)
    np.testing.assert_array_equal(strip[:, : 3 * 16], np.concatenate(list(given), 1))


def test_frames_are_read_with_stride_from_the_start_asked_for(video):
    every = list(video_reader.VideoReader(video))
    frames = clip_files.read_frames(video, 3, 4, 5, 16)
    for frame, t in zip(frames, (5, 9, 13), strict=True):
        small = video_io.resize_smallest_side(every[t], 16)
        left = (small.shape[1] - 16 + 1) // 2
        np.testing.assert_array_equal(frame, small[:, left : left + 16])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--start_frame=18"], "is too short"),
        (["--video=/nowhere.mp4"], "cannot be used: not a file"),
    ],
)
def test_a_video_that_cannot_be_continued_is_reported(
    fp_run, video, tmp_path, flags, message
):
    base = [f"--model_dir={fp_run}", f"--video={video}", f"--output={tmp_path}"]
    result = run_module("tools.predict", *base, *flags)
    assert result.returncode == 1 and message in result.stderr
    assert "Traceback" not in result.stderr


def test_a_model_without_frames_is_sent_elsewhere(vgan_run, video, tmp_path):
    flags = [f"--model_dir={vgan_run}", f"--video={video}", f"--output={tmp_path}"]
    result = run_module("tools.predict", *flags)
    assert result.returncode == 1 and "does not start from frames" in result.stderr


@pytest.mark.slow
def test_the_discriminator_becomes_a_classifier(vgan_run, demo_shards):
    flags = [f"--model_dir={vgan_run}", f"--data_dir={demo_shards}", "--num_steps=2"]
    flags.append("--batch_size=16")
    result = run_module("tools.classify", *flags, "--shares=1/4,1")
    assert result.returncode == 0, result.stderr
    rows = [json.loads(line) for line in open(f"{vgan_run}/classify.jsonl")]
    assert [row["clips"] for row in rows] == [27, 108]
    assert all(0 <= row[name] <= 1 for row in rows for name in ("fine_tuned", "new"))
    result = run_module("tools.classify", *flags, "--shares=1/4,1", "--frozen")
    assert result.returncode == 0, result.stderr
    rows = [json.loads(line) for line in open(f"{vgan_run}/classify.jsonl")]
    assert [row["clips"] for row in rows] == [27, 108, 27, 108]
    assert rows[-1]["logistic_regression"] > 1 / 9  # of 9 classes
    assert "logistic regression" in page.of_run(vgan_run)


def test_fine_tuning_starts_from_the_given_weights_and_learns():
    discriminator = vgan.Discriminator(16, 0, ch=8)
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    videos = rng.integers(0, 60, [60, 8, 16, 16, 3], np.uint8)
    videos += (labels * 80).astype(np.uint8)[:, None, None, None, None]
    discriminator(videos[:1].astype(np.float32))
    before = discriminator.encoder.get_weights()
    clips = classification.LabeledClips((videos, labels), (videos, labels))
    accuracy, count = classification.fine_tune(
        discriminator,
        clips,
        3,
        share=0.5,
        fine_tuning=classification.FineTuning(30, 16, 1e-3),
    )
    assert count == 30 and accuracy > 0.9
    for a, b in zip(before, discriminator.encoder.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_logistic_regression_leaves_the_discriminator_as_it_is():
    discriminator = vgan.Discriminator(16, 0, ch=4)
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    videos = rng.integers(0, 60, [60, 8, 16, 16, 3], np.uint8)
    videos += (labels * 80).astype(np.uint8)[:, None, None, None, None]
    discriminator(videos[:1].astype(np.float32))
    before = [v.numpy() for v in discriminator.trainable_variables]
    train, test = (videos[:30], labels[:30]), (videos[30:], labels[30:])
    clips = classification.LabeledClips(train, test)
    assert classification.logistic_regression(discriminator, clips) == (1.0, 30)
    shuffled = classification.LabeledClips(train, (test[0], test[1][::-1]))
    assert classification.logistic_regression(discriminator, shuffled)[0] < 0.6
    for a, b in zip(before, discriminator.trainable_variables, strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(errors.UserError, match="two classes"):
        one = classification.LabeledClips((videos[:1], labels[:1]), clips.test)
        classification.logistic_regression(discriminator, one)


def test_a_seed_that_numpy_does_not_take_is_refused_before_the_run_is_read():
    with pytest.raises(errors.UserError, match=r"`seed` must be .*, not -1"):
        classification.classify("/nowhere", "/nowhere", seed=-1)


def test_clips_are_read_once_each(demo_shards):
    clips = classification.LabeledClips.read(demo_shards, windows.Window(4, 16))
    assert len(clips.train[0]) == 108 and len(clips.test[0]) == 36


def sample(run_dir: str, output, *flags: str):
    return run_module(
        "tools.sample", f"--model_dir={run_dir}", f"--output={output}", *flags
    )


def test_streams_are_what_a_video_is_made_of(vgan_run, tmp_path):
    result = sample(vgan_run, tmp_path, "--streams", "--num_videos=2", "--format=png")
    assert result.returncode == 0, result.stderr
    parts = "videos", "foreground", "background", "mask"
    shown = {}
    for part in parts:
        with Image.open(tmp_path / f"0001_video_{part}.png") as image:
            strip = np.asarray(image).astype(np.float64)
            assert json.loads(image.text["Description"])["part"] == part
        shown[part] = strip.reshape(16, 8, 16, 3).swapaxes(0, 1)
    mask = shown["mask"] / 255.0
    made = mask * shown["foreground"] + (1.0 - mask) * shown["background"]
    assert np.abs(made - shown["videos"]).max() <= 3
    assert np.ptp(shown["background"], axis=0).max() == 0.0  # it stands still
    assert (tmp_path / "grid.png").exists()


@pytest.mark.slow
def test_runs_stand_beside_one_another_with_the_same_classes(
    vgan_run, tiny_run, tmp_path
):
    flags = "--num_videos=2", "--format=png"
    result = sample(tiny_run, tmp_path, f"--beside={tiny_run}/../again", *flags)
    assert result.returncode == 1  # there is no such run
    result = sample(tiny_run, tmp_path, f"--beside={tiny_run}", *flags)
    assert result.returncode == 0, result.stderr
    alone = tmp_path / "alone"
    assert sample(tiny_run, alone, *flags).returncode == 0
    name = os.path.basename(tiny_run)
    beside = sorted(tmp_path.glob(f"0001_*_{name}.png"))
    (single,) = alone.glob("0001_*.png")
    np.testing.assert_array_equal(np.asarray(Image.open(beside[0])), Image.open(single))
    result = sample(vgan_run, tmp_path, f"--beside={tiny_run}", *flags)
    assert result.returncode == 1 and "has no class 'video'" in result.stderr


@pytest.mark.parametrize(
    ("panel", "cells"), [("first_frames", (3, 3)), ("raster", (7 * 2, 4))]
)
def test_panels_are_one_picture(vgan_run, tmp_path, panel, cells):
    result = sample(vgan_run, tmp_path, f"--panel={panel}", "--num_videos=7")
    assert result.returncode == 0, result.stderr
    assert os.listdir(tmp_path) == [f"{panel}.png"]
    with Image.open(tmp_path / f"{panel}.png") as image:
        assert image.size == (cells[1] * 66, cells[0] * 66)


def test_different_pictures_at_a_time_are_refused(vgan_run, tmp_path):
    result = sample(vgan_run, tmp_path, "--streams", "--panel=raster")
    assert result.returncode == 1 and "--streams and --panel" in result.stderr


@pytest.mark.slow
def test_units_of_the_future_predictor(vgan_run, demo_shards, tmp_path):
    folder = str(tmp_path / "run")
    future = train(folder, demo_shards, "models/vgan_future.gin")
    flags = [f"--data_dir={demo_shards}", f"--output={tmp_path / 'o'}", "--layer=2"]
    chosen = ["--units=1,3", "--num_frames=4"]
    result = run_module("tools.units", f"--model_dir={future}", *flags, *chosen)
    assert result.returncode == 0, result.stderr
    assert "2 of 4 units on 108 frames" in result.stdout
    with Image.open(tmp_path / "o" / "units.png") as image:
        assert image.height == 2 * 66
        assert json.loads(image.text["Description"])["units"] == [1, 3]
    result = run_module("tools.units", f"--model_dir={future}", *flags, "--units=99")
    assert result.returncode == 1 and "from 0 to 3" in result.stderr
    result = run_module("tools.units", f"--model_dir={vgan_run}", *flags)
    assert result.returncode == 1 and "no encoder of first frames" in result.stderr


@pytest.mark.slow
def test_the_autoencoder_samples_from_a_mixture_and_is_no_classifier(
    demo_shards, tmp_path
):
    run_dir = train(str(tmp_path / "run"), demo_shards, "models/vgan_autoencoder.gin")
    flags = [f"--model_dir={run_dir}", f"--data_dir={demo_shards}"]
    output = [f"--output={tmp_path / 'o'}", "--num_videos=3"]
    result = run_module("tools.sample", *flags, *output)
    assert result.returncode == 0, result.stderr
    assert "mixture of 54 components" in result.stdout
    assert "grid.gif" in os.listdir(tmp_path / "o")
    sampler = generators.open_generator(run_dir).sampler
    videos, _ = sampler.from_mixture(3, seed=0)
    shifted = [(mean + 1.0, variance) for mean, variance in sampler.statistics(1.0)]
    sampler._statistics[1.0] = shifted
    assert (sampler.from_mixture(3, seed=0)[0] != videos).any()  # they are used
    result = run_module("tools.sample", *flags, *output, "--truncation=0.5")
    assert "samples have no truncation" in result.stderr
    result = run_module("tools.classify", *flags)
    assert result.returncode == 1
    assert "has no discriminator to fine-tune" in result.stderr
    assert "Traceback" not in result.stderr
    flags = [f"--model_dir={run_dir}", f"--real={demo_shards}"]
    result = run_module("tools.score", *flags, "--protocol=fid_pixels")
    assert result.returncode == 1
    assert "an autoencoder, which reconstructs whole clips" in result.stderr
    html = page.of_run(run_dir)
    assert html.count("is an autoencoder: it reconstructs clips") == 3  # sections
    assert "python -m tools.sample" in html
