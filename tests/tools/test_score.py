"""`tools.score` as a user calls it; what it calculates is tested elsewhere."""

import json

import numpy as np
import pytest
from conftest import run_module

from tf_dvdgan import errors, scores
from tf_dvdgan.data import clips, windows


@pytest.fixture(scope="module")
def generated(demo_shards, tmp_path_factory) -> str:
    """The test clips as a generator would give them back, a little brighter."""
    window = windows.Window(4, 16, 2)
    real = clips.open_clips(demo_shards, "test")
    videos = np.stack([example.video for example in real.examples(window)])
    path = tmp_path_factory.mktemp("generated") / "videos.npy"
    np.save(path, np.minimum(videos, 250) + 5)
    return str(path)


def test_two_folders_are_scored_and_real_features_come_from_the_cache(
    demo_shards, generated, tmp_path
):
    output = tmp_path / "scores.jsonl"
    flags = (
        *("--protocol=fid_pixels", f"--real={demo_shards}", f"--generated={generated}"),
        *("--num_frames=4", "--stride=2", "--num_resamples=5"),
        *(f"--output={output}", f"--cache_dir={tmp_path}/cache"),
    )
    done = run_module("tools.score", *flags)
    assert done.returncode == 0, done.stderr
    assert "real clips 36/36" in done.stderr
    assert "fid_pixels: 0." in done.stdout
    assert "  4 frames, stride 2" in done.stdout
    assert "compares with nothing published" in done.stdout
    assert "warning: 36 real clips are too few for the covariance" in done.stdout
    again = run_module("tools.score", *flags)
    assert "clips 36/36" not in again.stderr
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert rows[0]["scores"] == rows[1]["scores"]
    # 5 of 255 in each of 192 numbers that lie in [-1, 1].
    assert rows[0]["scores"]["fid_pixels"] == pytest.approx(192 * (10 / 255) ** 2, 0.05)
    assert rows[0]["standard_error"] > 0.0
    assert rows[0]["protocol"]["num_real"] == 36
    verified = run_module("tools.score", f"--verify={output}", flags[-1], "--quiet")
    assert verified.returncode == 0, verified.stderr
    assert "real clips: the same" in verified.stdout
    explained = run_module("tools.score", "--explain", str(output), str(output))
    assert explained.returncode == 0, explained.stderr
    assert "differ in nothing that is scored" in explained.stdout
    moved = run_module(
        "tools.score", f"--verify={output}", flags[-1], f"--generated={demo_shards}"
    )
    assert moved.returncode == 1
    assert "generated clips: DIFFERENT" in moved.stdout


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "Set either --generated or --model_dir."),
        (("--generated=b", "--model_dir=c"), "Set either"),
        (("--model_dir=c", "--truncations=0.5,2"), "--truncations must be numbers"),
        (
            ("--generated=b", "--truncations=0.5"),
            "truncation is for the score of a m",
        ),
        (("--model_dir=c", "--truncations=0.5,x"), "--truncations must be numbers"),
        (("--model_dir=b", "--lpips=a"), "--lpips must be two files"),
        (("--generated=b", "--step=3"), "--step is for --model_dir"),
        (("--model_dir=c", "--pretrained=d"), "either --model_dir or --pretrained"),
        (("--pretrained=dvdgan_v2_shape",), "Did you mean 'dvdgan_v2_shapes'"),
        (("--generated=b", "--protocol=fvd_untertiner"), "Did you mean 'fvd_unterth"),
        (("--generated=b", "--lpips=a,b"), "--lpips is for the score of a m"),
        (
            ("--generated=b", "--num_repeats=2"),
            "--num_repeats is for the score of a m",
        ),
        (
            ("--model_dir=c", "--num_frames=4"),
            "--num_frames is for the score of a f",
        ),
        (("--model_dir=c", "--lpips=a,b"), "--lpips is for --protocol=prediction"),
        (("--generated=b", "--protocol=s3_mvt"), "s3_mvt scores a model"),
        (
            ("--model_dir=c", "--protocol=prediction", "--truncations=0.5,1"),
            "prediction is defined only for truncation 1",
        ),
        (("--generated=b", "--output=/proc/no/scores.jsonl"), "cannot be written"),
        (("--generated=b", "--cache_dir=/proc/no/cache"), "cannot be written"),
        (("--generated=/nowhere",), "There is nothing at /nowhere."),
        (("--generated=b", "--receipt=/proc/no/r.json"), "cannot be written"),
        (("--verify=a", "--explain", "a", "b"), "Set either --verify or --explain."),
        (("--explain", "a"), "--explain compares two scores"),
        (("--verify=a", "--num_real=3"), "--num_real does not apply to --verify"),
        (("--verify=/nowhere/r.json",), "There is nothing at /nowhere/r.json."),
    ],
)
def test_each_mistake_is_reported(flags, message, tmp_path):
    done = run_module(
        "tools.score", "--protocol=fid_pixels", f"--real={tmp_path}", *flags
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert message in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "Set either `generated` or `model_dir`"),
        ({"generated": "b", "step": 3}, "`step` is for `model_dir`"),
        ({"model_dir": "c", "truncations": []}, "`truncations` must be numbers"),
        ({"model_dir": "c", "truncations": [0.5, 1.1]}, "not '0.5,1.1'"),
        ({"model_dir": "c", "num_frames": 4}, "`num_frames` is for the score of a f"),
        ({"model_dir": "c", "lpips": ["a", "b"]}, "`lpips` is for `protocol=pred"),
        ({"model_dir": "c", "num_real": 0}, "`num_real` must be a whole number of at"),
        ({"model_dir": "c", "output": "/proc/no/s.jsonl"}, "cannot be written"),
        ({"model_dir": "c", "receipt": "/proc/no/r.json"}, "cannot be written"),
    ],
)
def test_python_gets_the_same_checks_before_the_model_is_loaded(arguments, message):
    with pytest.raises(errors.UserError) as raised:
        scores.print_scores("shards", "fid_pixels", **arguments)  # no run at "c"
    assert message in str(raised.value)


def test_a_count_that_no_protocol_uses_is_refused():
    """The record would say that so many were scored."""
    arguments = {"model_dir": "c", "num_generated": 4}
    with pytest.raises(errors.UserError, match="does not apply to prediction: omit"):
        scores.print_scores("shards", "prediction", **arguments)
    with pytest.raises(errors.UserError, match="not a run's directory"):  # one does
        scores.print_scores("shards", ["prediction", "fid_small"], **arguments)


def test_weights_that_are_not_there_are_asked_for(demo_shards, generated):
    done = run_module(
        "tools.score",
        *("--protocol=fvd_unterthiner", f"--real={demo_shards}"),
        f"--generated={generated}",
    )
    assert done.returncode == 1
    assert "from tools.convert_weights" in done.stderr
    assert done.stderr.count("\n") == 1
