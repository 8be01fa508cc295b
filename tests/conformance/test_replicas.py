"""The number of replicas does not change what is trained.

Strategies of different sizes clash in one process, so each trains in its own, on
logical CPU devices, and writes its weights; they are compared here.
"""

import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import TINY

pytestmark = pytest.mark.xdist_group("replicas")

_SCRIPT = """
import sys
replicas, shards, out = int(sys.argv[1]), sys.argv[2], sys.argv[3]
import numpy as np
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * replicas)
from tf_dvdgan import config
from tf_dvdgan.training import loop
parameters = ["BATCH_SIZE = 8", "NUM_STEPS = 3"]
if replicas == 2:  # recomputing changes nothing either
    parameters += [f"dvd_gan.{name}.recompute = True" for name in (
        "Generator", "SpatialDiscriminator", "TemporalDiscriminator")]
config.load([sys.argv[4]], parameters)
if replicas == 1:
    strategy = tf.distribute.OneDeviceStrategy("CPU:0")
else:
    strategy = tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(replicas)])
loop.train(out, shards, strategy)
"""


@pytest.fixture(scope="module")
def checkpoints(demo_shards, tmp_path_factory):
    folders = {}
    for replicas in (1, 2, 4):
        folder = str(tmp_path_factory.mktemp(f"replicas{replicas}"))
        command = [sys.executable, "-c", _SCRIPT, str(replicas), demo_shards, folder]
        result = subprocess.run(
            [*command, TINY], capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stderr[-3000:]
        folders[replicas] = folder
    return folders


@pytest.mark.parametrize("replicas", [2, 4])
def test_weights_u_vectors_and_averages_are_those_of_one(checkpoints, replicas):
    import tensorflow as tf

    one, many = (
        tf.train.load_checkpoint(f"{checkpoints[n]}/checkpoints/step-3")
        for n in (1, replicas)
    )
    keys = [k for k in one.get_variable_to_shape_map() if "OBJECT_GRAPH" not in k]
    assert any("/u/" in key for key in keys)
    assert any("average" in key for key in keys)
    for key in keys:
        a, b = one.get_tensor(key), many.get_tensor(key)
        if a.dtype.kind != "f":
            np.testing.assert_array_equal(a, b, err_msg=key)
            continue
        error, size = np.linalg.norm(a - b), np.linalg.norm(a)
        # A bias that batch norm cancels has rounding for a gradient: it stays tiny.
        cancelled = key.split("/.")[0].endswith("bias") and size < 1e-3
        bound = 1e-4 if cancelled else 1e-4 * size
        assert error <= bound, (key, error, size)


def test_pictures_are_made_under_replicas_too(checkpoints):
    assert os.path.exists(f"{checkpoints[2]}/samples/samples_ema-0000003.gif")
