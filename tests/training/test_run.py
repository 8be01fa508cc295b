"""`tf_dvdgan.run` as a user starts it: training, resuming, stopping, mistakes."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf
from conftest import TINY

pytestmark = pytest.mark.xdist_group("run")


def start(*flags: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "tf_dvdgan.run", f"--gin_file={TINY}", *flags]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def run(*flags: str) -> tuple[int, str, str]:
    process = start(*flags)
    out, err = process.communicate()
    return process.returncode, out, err


def checkpoint(model_dir, step: int) -> dict[str, np.ndarray]:
    path = f"{model_dir}/checkpoints/step-{step}"
    reader = tf.train.load_checkpoint(path)
    return {
        key: reader.get_tensor(key)
        for key in reader.get_variable_to_shape_map()
        if key
        not in (
            "_CHECKPOINTABLE_OBJECT_GRAPH",
            "save_counter/.ATTRIBUTES/VARIABLE_VALUE",
        )
    }


@pytest.fixture(scope="module")
def whole_run(demo_shards, tmp_path_factory):
    """Six steps without a break."""
    model_dir = str(tmp_path_factory.mktemp("whole"))
    code, out, err = run(f"--data_dir={demo_shards}", f"--model_dir={model_dir}")
    assert code == 0, err
    return model_dir, out


def test_a_run_leaves_what_it_should(whole_run):
    model_dir, out = whole_run
    assert "step 6/6" in out and "clips/s" in out
    for path in (
        "config.gin",
        "operative_config-0.gin",
        "dataset.json",
        "checkpoints/step-6.index",
        "samples/real-0000000.gif",
        "samples/samples_ema-0000006.gif",
        "samples/samples_raw-0000006.png",
    ):
        assert os.path.exists(f"{model_dir}/{path}"), path


def test_tensorboard_has_curves_and_moving_pictures(whole_run):
    model_dir, _ = whole_run
    tags, pictures = set(), {}
    for name in os.listdir(f"{model_dir}/train"):
        for event in tf.compat.v1.train.summary_iterator(f"{model_dir}/train/{name}"):
            for value in event.summary.value:
                tags.add(value.tag)
                if value.metadata.plugin_data.plugin_name == "images":
                    pictures[value.tag] = value.tensor.string_val
    for tag in (
        "loss/generator",
        "loss/spatial_discriminator",
        "scores/temporal_discriminator_real",
        "scores/temporal_discriminator_fake",
        "gradient_norm/generator",
        "gradient_norm/discriminators",
        "learning_rate/generator",
        "speed/clips_per_second",
        "operative_config",
    ):
        assert tag in tags, tag
    assert sum(tag.startswith("singular_values/") for tag in tags) == 54
    assert set(pictures) == {"videos/real", "videos/samples_raw", "videos/samples_ema"}
    for width, height, gif in pictures.values():
        assert int(width) > 50 and int(height) > 50
        assert gif.startswith(b"GIF89a") and gif.count(b"\x21\xf9\x04") == 4


def test_three_steps_a_new_process_and_three_more_are_six_to_the_bit(
    whole_run, demo_shards, tmp_path
):
    flags = (f"--data_dir={demo_shards}", f"--model_dir={tmp_path}")
    code, out, err = run(*flags, "--gin_param=NUM_STEPS=3")
    assert code == 0, err
    code, out, err = run(*flags)
    assert code == 0, err
    assert "Going on from step 3" in out
    expected, found = checkpoint(whole_run[0], 6), checkpoint(tmp_path, 6)
    assert expected.keys() == found.keys()
    assert any(key.endswith("/u/.ATTRIBUTES/VARIABLE_VALUE") for key in found)
    for key, value in expected.items():
        np.testing.assert_array_equal(found[key], value, err_msg=key)


def test_a_finished_run_started_again_does_nothing(whole_run, demo_shards):
    code, out, _ = run(f"--data_dir={demo_shards}", f"--model_dir={whole_run[0]}")
    assert code == 0 and "nothing to train" in out


def test_sigterm_saves_and_says_how_to_go_on(demo_shards, tmp_path):
    process = start(
        f"--data_dir={demo_shards}",
        f"--model_dir={tmp_path}",
        "--gin_param=NUM_STEPS=100000",
    )
    for line in process.stdout:
        if line.startswith("step 6/"):
            process.send_signal(signal.SIGTERM)
            break
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "saved; the same command goes on from there" in out
    step = int(out.split("Stopped at step ")[1].split(",")[0])
    assert os.path.exists(f"{tmp_path}/checkpoints/step-{step}.index")


def mistakes(demo_shards, whole_run, tmp_path):
    good = (f"--data_dir={demo_shards}", f"--model_dir={tmp_path}")
    old = (f"--data_dir={demo_shards}", f"--model_dir={whole_run}")
    binding = "--gin_param=dvd_gan.Generator.chanels = 3"
    return [
        ((*good, binding), "dvd_gan.Generator has no parameter 'chanels'"),
        ((*good, "--gin_param=RESOLUTON=32"), "Did you mean 'RESOLUTION'?"),
        ((*good, "--gin_file=demo.gni"), "Did you mean 'demo.gin'?"),
        ((f"--model_dir={tmp_path}", "--data_dir=/nowhere"), "'/nowhere'"),
        ((*good, "--gin_param=RESOLUTION=32"), "--resolution=32"),
        ((*old, "--gin_param=NUM_STEPS=9", "--gin_param=CH=4"), "another architecture"),
        ((*old, "--gin_param=trainer.build.seed=5"), "This run has seed 0"),
        ((*good, "--gin_param=trainer.build.generator_learning_rate=1e38"), "finite"),
    ]


def test_each_mistake_gets_one_sentence(demo_shards, whole_run, tmp_path):
    for flags, sentence in mistakes(demo_shards, whole_run[0], tmp_path):
        began = time.monotonic()
        code, _, err = run(*flags)
        assert code in (1, 2), (flags, err)
        assert sentence in err, err
        assert len(err.strip().splitlines()) == 1, err
        assert time.monotonic() - began < 60
