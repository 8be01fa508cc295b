"""The proposed command: a config that loads, and a reason for each choice."""

import json
import shlex
import shutil

import numpy as np
import pytest
import tensorflow as tf
from conftest import prepare_in_process

from data_prep.sources import ucf101
from tf_dvdgan import benchmark, config, errors, plan
from tf_dvdgan.data import clips, windows


@pytest.fixture
def measured(monkeypatch):
    """Steps that take as long as their width says; gives the widths measured."""
    widths = []

    def measure(files, parameters, phases, num_classes, repeats):
        config.load(files, parameters)
        width = int(parameters[-1].removeprefix("CH = "))
        widths.append(width)
        step = {"median": 0.1 * (width / 8) ** 1.5, "peak_gib": 0.5 + width / 10}
        return {"phases": {phases[0]: step}}

    monkeypatch.setattr(benchmark, "measure", measure)
    return widths


def test_the_widest_model_that_fits_is_proposed(demo_shards, measured):
    proposal = plan.propose(demo_shards, hours=1.0, memory=8.0)
    # 6,000 steps in 0.9 hours: 0.54 s each; 16 takes 0.28 s, 32 takes 0.8 s.
    assert "CH = 16" in proposal.parameters and 64 not in measured
    assert proposal.num_steps == 0.9 * 3600 / (0.1 * 2**1.5) // 100 * 100
    assert plan.propose(demo_shards, 1.0, memory=1.4).parameters.count("CH = 8") == 1
    with pytest.raises(errors.UserError, match=r"takes 0\.04 s.*at most 0\.01 s"):
        plan.propose(demo_shards, hours=0.01, memory=8.0)


def test_clips_without_a_training_split_are_one_sentence(demo_shards, tmp_path):
    shards = shutil.copytree(demo_shards, tmp_path / "shards")
    found = json.loads((shards / "manifest.json").read_text())
    del found["splits"]["train"]
    (shards / "manifest.json").write_text(json.dumps(found))
    with pytest.raises(errors.UserError, match="no clips in the split 'train'"):
        plan.propose(str(shards), hours=1.0, memory=8.0)


def test_wide_models_are_not_tried_where_memory_cannot_hold_them(demo_shards, measured):
    proposal = plan.propose(demo_shards, hours=1000.0, memory=2.2)  # 16 takes 2.1
    assert "CH = 16" in proposal.parameters and measured == [4, 8, 16]
    measured.clear()
    with pytest.raises(errors.UserError, match=r"0\.9 GiB here.*there are 0\.5 GiB"):
        plan.propose(demo_shards, hours=1.0, memory=0.5)
    assert measured == [4]


def test_a_device_without_room_for_a_model_gets_a_narrower_one(
    demo_shards, measured, monkeypatch
):
    in_memory = benchmark.measure

    def measure(files, parameters, **options):
        if parameters[-1] not in ("CH = 4", "CH = 8"):
            raise tf.errors.ResourceExhaustedError(None, None, "OOM")
        return in_memory(files, parameters, **options)

    monkeypatch.setattr(benchmark, "measure", measure)
    assert "CH = 8" in plan.propose(demo_shards, 100.0, 100.0).parameters

    def too_large(*arguments, **options):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM")

    monkeypatch.setattr(benchmark, "measure", too_large)
    with pytest.raises(errors.UserError, match="CH = 4 a step does not fit into the"):
        plan.propose(demo_shards, 100.0, 100.0)


def test_motion_is_compared_with_the_distance_at_which_frames_differ_most(
    demo_shards, measured, monkeypatch
):
    blinking = {1: 80.0, 2: 3.0, 4: 100.0, 8: 0.0}
    monkeypatch.setattr(plan, "_choose_stride", lambda *_: (1, blinking))
    said = " ".join(plan.propose(demo_shards, 1.0, 8.0).reasons)
    assert "80.0 of 255 on average, 80 % of what they do at 4 frames, where" in said


def test_the_command_loads_and_says_why(demo_shards, measured):
    proposal = plan.propose(demo_shards, hours=1.0, memory=8.0)
    words = shlex.split(proposal.command(demo_shards).replace("\\\n", ""))
    assert words[:3] == ["python", "-m", "tf_dvdgan.run"]
    flags = [word.split("=", 1) for word in words[3:]]
    files = [value for name, value in flags if name == "--gin_file"]
    config.load(files, [value for name, value in flags if name == "--gin_param"])
    assert files[-1] == "small_data.gin"
    said = " ".join(proposal.reasons)
    for choice in ("STRIDE", "NUM_FRAMES", "CH", "NUM_STEPS", "small_data.gin"):
        assert choice in said
    assert "108 training clips of 9 classes, 16 pixels, 40 to 40 frames" in said


def test_slow_motion_gets_a_longer_stride(demo_shards, monkeypatch):
    def clips_of(speed):
        position = np.arange(9) * speed
        x = np.arange(400)[None, None, :]
        frames = 127 + 120 * np.sin((x - position[:, None, None]) / 40)
        return np.broadcast_to(frames[None, ..., None], [2, 9, 1, 400, 3])

    strides = []
    for speed in (20.0, 40.0):
        sample = {"video": clips_of(speed).astype(np.uint8), "label": np.zeros(2)}
        monkeypatch.setattr(
            plan.training_data.Shards, "sample", lambda *a, s=sample, **k: s
        )
        strides.append(plan._choose_stride(demo_shards, 16, [40] * 4)[0])
    assert strides == [2, 1]


def test_differences_are_of_frames_as_far_apart_as_said(demo_shards):
    _, found = plan._choose_stride(demo_shards, 16, [40] * 4)
    whole = clips.open_clips(demo_shards, "train").examples(windows.Window(9, 16, 1))
    videos = np.stack([example.video for example in whole]).astype(np.float32)
    assert len(videos) == 108 and sorted(found) == [*range(1, 9)]
    for distance, change in found.items():
        expected = np.abs(videos[:, distance:] - videos[:, :-distance]).mean()
        assert change == pytest.approx(expected, rel=1e-4), distance


def test_short_clips_get_fewer_frames():
    assert plan._choose_num_frames([40] * 10, 2) == 16
    assert plan._choose_num_frames([40] * 8 + [12] * 2, 2) == 6
    assert plan._choose_num_frames([3] + [4] * 9, 1) == 4
    assert plan._choose_num_frames([3] * 2 + [4] * 8, 1) is None


def test_clips_that_are_too_short_are_refused(demo_shards, measured, monkeypatch):
    monkeypatch.setattr(plan, "_lengths", lambda *_: [2, 3] * 10)
    with pytest.raises(errors.UserError, match=r"at least 4 frames.*median 2"):
        plan.propose(demo_shards, 1.0, 8.0)
    monkeypatch.setattr(plan, "_lengths", lambda *_: [5] * 10)
    parameters = plan.propose(demo_shards, 1.0, 8.0).parameters
    assert "STRIDE = 1" in parameters and "NUM_FRAMES = 4" in parameters


def test_data_without_classes_get_a_model_without(demo_videos, measured, tmp_path):
    listing = ucf101.list_clips(demo_videos)
    one = type(listing)(
        ["video"], [type(c)(**{**vars(c), "label": 0}) for c in listing.clips[:24]]
    )
    prepare_in_process(one, demo_videos, str(tmp_path), num_shards=1)
    proposal = plan.propose(str(tmp_path), 1.0, 8.0)
    assert "NUM_CLASSES = 0" in proposal.parameters
    assert "24 training clips without classes" in proposal.reasons[0]
    assert "With 24 clips no run was measured" in proposal.reasons[-1]
