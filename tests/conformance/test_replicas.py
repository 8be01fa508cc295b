"""The number of replicas, and of workers, does not change what is trained.

Strategies of different sizes clash in one process, so each trains in its own, on
logical CPU devices, and writes its weights; they are compared here.
"""

import concurrent.futures
import contextlib
import functools
import glob
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf
from command_server import WITHOUT_GRAPPLER
from conftest import TINY, TINY_VGAN, run_python

STEPS = 5
PARAMETERS = [
    "BATCH_SIZE = 8",
    f"NUM_STEPS = {STEPS}",
    "training.Schedule.steps_per_loop = 1",
    "training.Schedule.checkpoint_every = 3",
    "trainer.build.augmentation = @augmentation.Augmentation",
    "augmentation.Augmentation.probability = 0.5",
    "augmentation.Augmentation.adaptation = @augmentation.Adaptation",
    "augmentation.Adaptation.clips = 200",
    "video_gan.build.discriminator_terms = [@discriminator_terms.LeCam]",
    "discriminator_terms.LeCam.start_step = 0",
]
# Recomputing and a thread that writes checkpoints change nothing either.
OF_TWO = [
    *(
        f"dvd_gan.{name}.gradient_checkpointing = True"
        for name in ("Generator", "SpatialDiscriminator", "TemporalDiscriminator")
    ),
    "training.Schedule.asynchronous_checkpoints = True",
]

# A ReLU's derivative jumps: where rounding, which the number of replicas does change,
# turns one over, a bias's gradient is another by a thousandth. What is compared here is
# therefore smooth.
_SMOOTH = f"{WITHOUT_GRAPPLER}; tf.nn.relu = tf.nn.softplus"
RUN = ("-m", "tf_dvdgan.run")
SMOOTH_RUN = ("-c", f"{_SMOOTH}; from tf_dvdgan import run; run.run()")
_SCRIPT = (
    f"{_SMOOTH}\n"
    + """
import sys
replicas, shards, out, gin_file, *parameters = sys.argv[1:]
replicas = int(replicas)
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * replicas)
from tf_dvdgan import config
from tf_dvdgan.training import train
config.load([gin_file], parameters)
if replicas == 1:
    strategy = tf.distribute.OneDeviceStrategy("CPU:0")
else:
    strategy = tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(replicas)])
train.from_config(out, shards, strategy).run()
"""
)


def free_ports(count: int) -> list[int]:
    """Ports that nobody takes before the workers do.

    The system gives those above 32,767 to whoever connects anywhere.
    """
    ports = []
    while len(ports) < count:
        port = random.SystemRandom().randrange(10_000, 32_000)
        if port in ports:
            continue
        with socket.socket() as one, contextlib.suppress(OSError):
            one.bind(("127.0.0.1", port))
            ports.append(port)
    return ports


def start_workers(shards, model_dir, *parameters, program=RUN, gin_file=TINY):
    """Two workers of one run, each as a user starts it, on loopback."""
    cluster = {"worker": [f"127.0.0.1:{port}" for port in free_ports(2)]}
    how = {"program": program, "gin_file": gin_file}
    return [
        start_worker(cluster, i, shards, model_dir, *parameters, **how)
        for i in range(2)
    ]


def start_worker(
    cluster, index, shards, model_dir, *parameters, program=RUN, gin_file=TINY
) -> subprocess.Popen:
    task = {"type": "worker", "index": index}
    return subprocess.Popen(
        [
            *(sys.executable, *program, f"--gin_file={gin_file}"),
            *(f"--data_dir={shards}", f"--model_dir={model_dir}"),
            *(f"--gin_param={parameter}" for parameter in parameters),
        ],
        env={**os.environ, "TF_CONFIG": json.dumps({"cluster": cluster, "task": task})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def outputs_of(workers: list[subprocess.Popen]) -> list[str]:
    """What workers print until they end; where one fails, others would wait for it."""
    with concurrent.futures.ThreadPoolExecutor(len(workers)) as threads:
        outputs = [threads.submit(worker.communicate) for worker in workers]
        while not all(output.done() for output in outputs):
            if any(worker.poll() for worker in workers):
                for worker in workers:
                    worker.kill()
            time.sleep(0.2)
    return [output.result()[0] for output in outputs]


@pytest.fixture(scope="module")
def runs(demo_shards, tmp_path_factory):
    """Gives the folder of a run on 1, 2 or 4 replicas or two workers, made once."""

    @functools.cache
    def run_on(others: int | str) -> str:
        folder = str(tmp_path_factory.mktemp(f"replicas-{others}"))
        if others == "workers":
            workers = start_workers(
                demo_shards, folder, *PARAMETERS, program=SMOOTH_RUN
            )
            outputs = outputs_of(workers)
            assert [worker.returncode for worker in workers] == [0, 0], outputs
            # The chief speaks.
            assert "step 5/5" in outputs[0] and "step" not in outputs[1]
            return folder
        parameters = PARAMETERS + (OF_TWO if others == 2 else [])
        arguments = [str(others), demo_shards, folder, TINY, *parameters]
        result = run_python("-c", _SCRIPT, *arguments)
        assert result.returncode == 0, result.stderr[-3000:]
        return folder

    return run_on


_RELATIVISTIC = """
import numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from tf_dvdgan import losses
x = np.random.default_rng(0).normal(size=[2, 8]).astype(np.float32)

def gradients(strategy, count):
    with strategy.scope():
        weights = [tf.Variable(1.5), tf.Variable(0.5)]
    def step():
        i = tf.distribute.get_replica_context().replica_id_in_sync_group
        real, fake = (tf.reshape(side, [count, -1])[i] for side in x)
        with tf.GradientTape() as tape:
            loss = losses.relativistic_hinge_discriminator_loss(
                weights[0] * real, weights[1] * fake) / count
        relative = [*losses.relative_to_the_other_side(real, fake),
                    *losses.relative_to_the_middle(real, fake)]
        shares = [tf.reduce_mean(tf.nn.sigmoid(s)) / count for s in relative]
        return *tape.gradient(loss, weights), *shares
    found = strategy.run(tf.function(step))
    return [float(strategy.reduce("SUM", g, axis=None)) for g in found]

one = gradients(tf.distribute.OneDeviceStrategy("CPU:0"), 1)
two = gradients(tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]), 2)
np.testing.assert_allclose(one, two, rtol=1e-5)
assert min(map(abs, one)) > 1e-3, one
print("equal")
"""


def test_relativistic_losses_are_those_of_the_whole_batch():
    result = run_python("-c", _RELATIVISTIC)
    assert "equal" in result.stdout, result.stderr[-2000:]


def rms(values: np.ndarray) -> float:
    return np.sqrt(np.mean(np.square(values)))


OTHERS = [*(pytest.param(n, marks=pytest.mark.slow) for n in (2, 4)), "workers"]


@pytest.mark.parametrize("others", OTHERS)
def test_weights_u_vectors_and_averages_are_those_of_one(runs, others):
    one, many = (
        tf.train.load_checkpoint(f"{runs(n)}/checkpoints/step-{STEPS}")
        for n in (1, others)
    )
    # How often it was saved is TensorFlow's own count; a thread does not keep it.
    others_own = ("OBJECT_GRAPH", "save_counter")
    keys = [
        key
        for key in one.get_variable_to_shape_map()
        if not any(own in key for own in others_own)
    ]
    assert any("/u/" in key for key in keys)
    assert any("average" in key for key in keys)
    for key in keys:
        a, b = one.get_tensor(key), many.get_tensor(key)
        if a.dtype.kind != "f":
            np.testing.assert_array_equal(a, b, err_msg=key)
            continue
        error, size = rms(a - b), rms(a)
        # The gradient of a bias that batch norm cancels is rounding; Adam turns it into
        # steps of the size of the rate, 4e-4.
        canceled = key.split("/.")[0].endswith("bias") and size < 1e-3
        bound = 2e-3 if canceled else 1e-4 * size
        assert error <= bound, (key, error, size)


def first_metrics(model_dir) -> dict[str, float]:
    """Losses, scores, accuracies and gradient norms of the first step."""
    found = {}
    for path in glob.glob(f"{model_dir}/train/*"):
        for event in tf.compat.v1.train.summary_iterator(path):
            for value in event.summary.value:
                kind = value.tag.split("/")[0]
                if event.step == 1 and kind in ("loss", "gradient_norm", "accuracy"):
                    found[value.tag] = float(tf.make_ndarray(value.tensor))
    return found


@pytest.mark.parametrize("others", OTHERS)
def test_losses_and_gradient_norms_are_those_of_one(runs, others):
    one, many = first_metrics(runs(1)), first_metrics(runs(others))
    assert len(one) == 8 and one.keys() == many.keys()
    for tag, value in one.items():
        # The generator's come after Adam's first step, which goes by signs and makes
        # rounding larger; and its loss may be near zero.
        bounds = {"atol": 3e-5} if tag.endswith("/generator") else {}
        np.testing.assert_allclose(many[tag], value, rtol=1e-5, err_msg=tag, **bounds)


def test_pictures_are_made_under_replicas_too(runs):
    assert os.path.exists(f"{runs('workers')}/samples/samples_ema-0000005.gif")


@pytest.mark.slow  # test_run has the signals of one process
def test_a_signal_to_one_worker_stops_all_with_its_code(demo_shards, tmp_path):
    parameters = [*PARAMETERS, "NUM_STEPS = 100000"]
    workers = start_workers(demo_shards, tmp_path, *parameters, gin_file=TINY_VGAN)
    for line in workers[0].stdout:
        if line.startswith("step 2/"):
            workers[1].send_signal(signal.SIGTERM)
            break
    outputs = [worker.communicate(timeout=120)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [143, 143], outputs
    step = int(outputs[0].split("Stopped at step ")[1].split(",")[0])
    assert os.path.exists(f"{tmp_path}/checkpoints/step-{step}.index")


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_worker_is_waited_for_and_nothing_is_lost(
    demo_shards, tmp_path, victim
):
    parameters = [*PARAMETERS, "NUM_STEPS = 60"]
    whole, killed = str(tmp_path / "whole"), str(tmp_path / "killed")
    outputs_of(start_workers(demo_shards, whole, *parameters))
    cluster = {"worker": [f"127.0.0.1:{port}" for port in free_ports(2)]}
    workers = [
        start_worker(cluster, i, demo_shards, killed, *parameters) for i in range(2)
    ]
    for line in workers[0].stdout:
        if line.startswith("step 10/"):
            break
    workers[victim].kill()
    workers[victim].communicate()
    workers[victim] = start_worker(cluster, victim, demo_shards, killed, *parameters)
    outputs = [worker.communicate(timeout=300)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], outputs
    assert "A worker is lost" in outputs[1 - victim]
    assert "Resuming from step" in outputs[0]
    expected, found = (
        tf.train.load_checkpoint(f"{folder}/checkpoints/step-60")
        for folder in (whole, killed)
    )
    for key in expected.get_variable_to_shape_map():
        if "OBJECT_GRAPH" in key or "save_counter" in key:
            continue
        a, b = expected.get_tensor(key), found.get_tensor(key)
        np.testing.assert_array_equal(a, b, err_msg=key)
