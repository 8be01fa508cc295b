"""`tf_dvdgan.run` as a user starts it: training, resuming, stopping, mistakes."""

import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf
from command_server import WITHOUT_GRAPPLER
from conftest import (
    FEW,
    TINY,
    TINY_VGAN,
    TWO_UPDATES,
    after,
    limit_of_file_size,
    run_module,
    run_process,
)
from PIL import Image

COMMAND = ("tf_dvdgan.run", f"--gin_file={TINY}")


def start(*flags: str, gin_file: str = TINY) -> subprocess.Popen:
    module = ("tf_dvdgan.run", f"--gin_file={gin_file}")
    command = [sys.executable, "-m", *module, *flags]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def run(*flags: str) -> tuple[int, str, str]:
    done = run_module(*COMMAND, *flags)
    return done.returncode, done.stdout, done.stderr


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
def whole_run(tiny_run, tmp_path_factory):
    """Six steps without a break, evaluated before, at the third and at the sixth."""
    model_dir = str(tmp_path_factory.mktemp("whole") / "run")
    shutil.copytree(tiny_run, model_dir)
    with open(f"{tiny_run}.out") as file:
        return model_dir, file.read()


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
        "environment",
        "custom_scalars__config__",
        "_hparams_/session_start_info",
        "_hparams_/session_end_info",
    ):
        assert tag in tags, tag
    assert sum(tag.startswith("singular_values/") for tag in tags) == 54
    assert set(pictures) == {"videos/real", "videos/samples_raw", "videos/samples_ema"}
    for width, height, gif in pictures.values():
        assert int(width) > 50 and int(height) > 50
        assert gif.startswith(b"GIF89a") and Image.open(io.BytesIO(gif)).n_frames == 4


def test_a_run_resumed_at_step_3_in_a_new_process_is_bit_identical(
    whole_run, demo_shards, tmp_path
):
    model_dir = tmp_path / "run"
    shutil.copytree(whole_run[0], model_dir)
    for path in (model_dir / "checkpoints").glob("step-6.*"):
        path.unlink()
    flags = (f"--data_dir={demo_shards}", f"--model_dir={model_dir}", TWO_UPDATES, *FEW)
    script = f"{WITHOUT_GRAPPLER}; from tf_dvdgan import run; run.run()"
    # With another salt of hashes, too.
    resumed = run_process("-c", script, *COMMAND[1:], *flags)
    assert resumed.returncode == 0, resumed.stderr
    assert "Resuming from step 3" in resumed.stdout
    assert_same_bits(whole_run[0], model_dir)


def assert_same_bits(model_dir, other_dir, step=6):
    expected, found = checkpoint(model_dir, step), checkpoint(other_dir, step)
    assert expected.keys() == found.keys()
    assert any(key.endswith("/u/.ATTRIBUTES/VARIABLE_VALUE") for key in found)
    for key, value in expected.items():
        np.testing.assert_array_equal(found[key], value, err_msg=key)


@pytest.mark.slow  # test_object_stores kills one, too
def test_killed_three_times_while_stepping_and_saving(whole_run, demo_shards, tmp_path):
    flags = (
        f"--data_dir={demo_shards}",
        f"--model_dir={tmp_path}",
        TWO_UPDATES,
        "--gin_param=training.Schedule.checkpoint_every = 1",
    )
    for _ in range(3):
        process = start(*flags)
        for line in process.stdout:
            if line.startswith("step "):  # and its checkpoint comes next
                time.sleep(random.uniform(0, 0.3))
                process.kill()
                break
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    code, _, err = run(*flags)
    assert code == 0, err
    assert_same_bits(whole_run[0], tmp_path)


@pytest.mark.slow
def test_killed_at_twenty_random_moments(demo_shards, tmp_path):
    flags = (
        f"--data_dir={demo_shards}",
        "--gin_param=training.Schedule.checkpoint_every = 2",
        "--gin_param=training.Schedule.samples_every = 40",
        "--gin_param=NUM_STEPS = 400",
    )
    began = time.monotonic()
    whole = f"--model_dir={tmp_path}/whole"
    code, _, err = run(*flags, whole)
    assert code == 0, err
    longest = min(time.monotonic() - began, 60)
    killed = 0
    while killed < 20:
        process = start(*flags, f"--model_dir={tmp_path}/killed")
        try:
            process.communicate(timeout=random.uniform(0, longest))
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        killed += 1
    code, _, err = run(*flags, f"--model_dir={tmp_path}/killed")
    assert code == 0, err
    assert_same_bits(f"{tmp_path}/whole", f"{tmp_path}/killed", 400)


def test_a_full_disk_is_reported_and_leaves_no_partial_file(demo_shards, tmp_path):
    done = run_process(
        *after(limit_of_file_size(200_000), "-m", "tf_dvdgan.run"),
        f"--gin_file={TINY_VGAN}",
        f"--data_dir={demo_shards}",
        f"--model_dir={tmp_path}",
    )
    out, err = done.stdout, done.stderr
    assert "Step 3 cannot be saved" in out and "Training continues" in out, err
    assert done.returncode == 1
    assert err.startswith("error: Step 6 cannot be saved") and err.count("\n") == 1
    assert not os.listdir(tmp_path / "checkpoints")


def scores(model_dir) -> dict[tuple[int, int], dict[str, float]]:
    """By step and by how many videos they are of."""
    with open(f"{model_dir}/scores.jsonl") as file:
        rows = [json.loads(line) for line in file]
    counts = [row["protocol"]["num_generated"] for row in rows]
    return {
        (row["step"], count): row["scores"]
        for row, count in zip(rows, counts, strict=True)
    }


def test_each_checkpoint_is_evaluated_and_the_best_kept(whole_run):
    model_dir, out = whole_run
    found = scores(model_dir)
    # Before the first step, and at the end of more videos too.
    assert sorted(found) == [(0, 20), (3, 20), (6, 20), (6, 24)]
    assert "scores of step 3: fid_pixels" in out
    assert "at_end/fid_pixels" in out.partition("scores of step 6: ")[2]
    best = min((0, 3, 6), key=lambda step: found[step, 20]["fid_pixels"])
    newest = tf.train.latest_checkpoint(f"{model_dir}/best")
    assert newest.endswith(f"step-{best}")
    assert os.listdir(f"{model_dir}/eval")


@pytest.mark.slow
def test_another_process_finds_the_same_scores_once(whole_run, demo_shards, tmp_path):
    model_dir = str(tmp_path / "run")
    shutil.copytree(whole_run[0], model_dir)
    os.remove(f"{model_dir}/scores.jsonl")
    shutil.rmtree(f"{model_dir}/best")
    flags = (f"--data_dir={demo_shards}", f"--model_dir={model_dir}")
    done = run_module("tf_dvdgan.run", "--mode=eval", *flags)
    assert done.returncode == 0, done.stderr
    expected, found = scores(whole_run[0]), scores(model_dir)
    assert expected.keys() == found.keys()
    for step, row in expected.items():
        for name, value in row.items():
            np.testing.assert_allclose(found[step][name], value, rtol=1e-4, atol=1e-4)
    ours, its = (sorted(os.listdir(f"{run}/best")) for run in (whole_run[0], model_dir))
    assert ours == its


@pytest.mark.slow
def test_memory_does_not_grow(demo_shards, tmp_path):
    """The machine's free memory over 200 steps with sheets and checkpoints."""
    process = start(
        f"--data_dir={demo_shards}",
        f"--model_dir={tmp_path}",
        "--mode=train_and_eval",
        *FEW,
        "--gin_param=NUM_STEPS = 200",
        "--gin_param=training.Schedule.checkpoint_every = 10",
        "--gin_param=training.Schedule.samples_every = 10",
        "--gin_param=training.Schedule.steps_per_loop = 10",
    )
    used = {}
    for line in process.stdout:
        if line.startswith("step "):
            step = int(line.split()[1].split("/")[0])
            with open(f"/proc/{process.pid}/status") as file:
                kilobytes = next(row for row in file if row.startswith("VmRSS"))
            used[step] = int(kilobytes.split()[1]) / 1024
    assert process.wait() == 0
    after = [used[step] for step in used if step > 50]
    assert max(after[len(after) // 2 :]) < 1.05 * max(after[: len(after) // 2]), used


def test_a_finished_run_started_again_does_nothing(whole_run, demo_shards):
    flags = (f"--data_dir={demo_shards}", f"--model_dir={whole_run[0]}")
    code, out, err = run(*flags, "--mode=train_and_eval", *FEW)
    assert code == 0 and "nothing to train" in out, err
    assert "scores of" not in out  # it has them


def test_a_run_that_was_killed_while_it_scored_is_scored(
    whole_run, demo_shards, tmp_path
):
    model_dir = str(tmp_path / "run")
    shutil.copytree(whole_run[0], model_dir)
    path = f"{model_dir}/scores.jsonl"
    with open(path) as file:
        rows = file.readlines()
    last = [row for row in rows if json.loads(row)["step"] == 6]
    assert len(last) == 2  # with many videos, too
    with open(path, "w") as file:
        file.writelines(row for row in rows if row != last[1])
    flags = (f"--data_dir={demo_shards}", f"--model_dir={model_dir}")
    code, out, err = run(*flags, "--mode=train_and_eval", *FEW)
    assert code == 0 and "nothing to train" in out and "scores of step 6" in out, err
    expected, found = scores(whole_run[0]), scores(model_dir)
    assert expected.keys() == found.keys()
    for name, value in expected[6, 24].items():
        np.testing.assert_allclose(found[6, 24][name], value, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("number", "mode"),
    [
        (signal.SIGTERM, "train"),
        pytest.param(signal.SIGINT, "train_and_eval", marks=pytest.mark.slow),
    ],
    ids=["SIGTERM", "Ctrl-C"],
)
def test_a_signal_saves_and_ends_with_its_code(number, mode, demo_shards, tmp_path):
    process = start(
        f"--data_dir={demo_shards}",
        f"--model_dir={tmp_path}",
        f"--mode={mode}",
        *FEW,
        "--gin_param=NUM_STEPS=100000",
        gin_file=TINY_VGAN,
    )
    for line in process.stdout:
        if line.startswith("step 6/"):
            other = run(f"--data_dir={demo_shards}", f"--model_dir={tmp_path}")
            process.send_signal(number)
            break
    out, err = process.communicate(timeout=120)
    assert process.returncode == 128 + number, err
    assert other[0] == 1 and other[2].count("\n") == 1
    assert f"Another training is using {tmp_path}: process {process.pid} on" in other[2]
    assert not os.path.exists(tmp_path / "train.lock")
    assert "saved; the same command resumes from there" in out
    step = int(out.split("Stopped at step ")[1].split(",")[0])
    assert os.path.exists(f"{tmp_path}/checkpoints/step-{step}.index")


def test_a_second_signal_ends_it_at_once(demo_shards, tmp_path):
    process = start(f"--data_dir={demo_shards}", f"--model_dir={tmp_path}")
    while not handles(process.pid, signal.SIGTERM):  # then it traces, for seconds
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    err = process.stderr.readline()
    assert "Stopping after the current steps" in err
    process.send_signal(signal.SIGTERM)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, err + rest
    assert "Stopped at once; the same command resumes" in rest


def handles(pid: int, number: int) -> bool:
    """Whether a process has a handler of its own for a signal."""
    with open(f"/proc/{pid}/status") as file:
        caught = next(row for row in file if row.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


def with_other_classes(shards, tmp_path) -> str:
    """The same shards, whose first class has another name."""
    folder = tmp_path / "others"
    shutil.copytree(shards, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["class_names"][0] = "Other"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return str(folder)


def mistakes(demo_shards, whole_run, tmp_path):
    good = (f"--data_dir={demo_shards}", f"--model_dir={tmp_path}")
    old = (f"--data_dir={demo_shards}", f"--model_dir={whole_run}")
    binding = "--gin_param=dvd_gan.Generator.chanels = 3"
    other = f"--data_dir={with_other_classes(demo_shards, tmp_path)}"
    infinite = "--gin_param=trainer.build.generator_learning_rate=1e38"
    return [
        ((*good, binding), "dvd_gan.Generator has no parameter 'chanels'"),
        ((*good, "--gin_param=RESOLUTON=32"), "Did you mean 'RESOLUTION'?"),
        ((*good, "--gin_file=demo.gni"), "Did you mean 'demo.gin'?"),
        ((f"--model_dir={tmp_path}", "--data_dir=/nowhere"), "'/nowhere'"),
        ((*good, "--gin_param=RESOLUTION=32"), "--resolution=32"),
        ((*good, f"--model_dir={tmp_path}/run [lr=4e-4]"), "rename the folder without"),
        ((*good, rf"--model_dir={tmp_path}/ru\n"), "rename the folder without"),
        ((*good, "--gin_param=NUM_FRAMES=1"), "with 1 frames to sample from"),
        ((*old, "--gin_param=NUM_STEPS=9", "--gin_param=CH=4"), "not match the arch"),
        ((*old, "--gin_param=trainer.build.seed=5"), "was started with seed 0"),
        (
            (*old, other, "--gin_param=NUM_STEPS=9"),
            "class 'HorizontalCircle' is now 'Other'",
        ),
        ((*good, "--strategy=multi_worker"), "TF_CONFIG"),
        ((*good, "--gin_param=evaluation.Plan.best = 's3_mvt'"), "use tools.score"),
        ((*good, infinite), "finite"),
    ]


def test_each_mistake_is_reported(demo_shards, whole_run, tmp_path):
    for flags, message in mistakes(demo_shards, whole_run[0], tmp_path):
        code, _, err = run(*flags)
        assert code in (1, 2), (flags, err)
        assert message in err, err
        assert len(err.strip().splitlines()) == 1, err
