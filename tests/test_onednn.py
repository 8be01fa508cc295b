"""Importing the package turns oneDNN on, unless the user has set the variable."""

import os
import subprocess
import sys

import pytest
import tensorflow as tf

from tf_dvdgan import onednn
from tf_dvdgan.training import environment

# Kernels that replace Eigen's when oneDNN is on.
OF_ONEDNN = {
    "Conv3D": "_MklNativeConv3D",
    "Conv3DBackpropInputV2": "_MklNativeConv3DBackpropInputV2",
    "Conv3DBackpropFilterV2": "_MklNativeConv3DBackpropFilterV2",
}
RUNS = """
import tensorflow.compat.v1 as tf1
with tf1.Graph().as_default(), tf1.Session() as session:
    x = tf1.random.normal([1, 4, 8, 8, 3])
    kernel = tf1.random.normal([3, 3, 3, 3, 4])
    y = tf1.nn.conv3d(x, kernel, [1, 1, 2, 2, 1], "SAME")
    options, found = tf1.RunOptions(output_partition_graphs=True), tf1.RunMetadata()
    session.run([*tf1.gradients(y, [x, kernel]), y], None, options, found)
    print(*(n.op for graph in found.partition_graphs for n in graph.node))
"""


def run(script: str, **variables: str) -> subprocess.CompletedProcess:
    """Runs Python in a process whose environment does not set the oneDNN variable."""
    without = {k: v for k, v in os.environ.items() if k != onednn.VARIABLE}
    return subprocess.run(
        [sys.executable, "-W", "always", "-c", script],
        env={**without, "TF_CPP_MIN_LOG_LEVEL": "3", **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_tensorflow_runs_onednn_convolutions_after_importing_the_package():
    ran = run("import tf_dvdgan" + RUNS)
    assert set(OF_ONEDNN.values()) <= set(ran.stdout.split()), ran.stderr
    assert "RuntimeWarning" not in ran.stderr


def test_a_users_own_setting_wins():
    ran = run("import tf_dvdgan" + RUNS, TF_ENABLE_ONEDNN_OPTS="0")
    ops = set(ran.stdout.split())
    assert set(OF_ONEDNN) <= ops and not set(OF_ONEDNN.values()) & ops, ran.stderr
    assert "RuntimeWarning" not in ran.stderr
    script = "import tf_dvdgan.onednn as o; print(o.describe())"
    ran = run(script, TF_ENABLE_ONEDNN_OPTS="0")
    assert ran.stdout == "off (TF_ENABLE_ONEDNN_OPTS=0)\n"


def test_it_is_on_in_these_tests_and_in_the_environment_text():
    assert onednn.is_enabled()
    assert environment.describe(tf.distribute.get_strategy())["oneDNN"] == "on"


# TensorFlow's default depends on the CPU. So set the variable, and unset it once
# TensorFlow has read it.
FIRST = """
import os
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "{}"
from tensorflow.python.util import _pywrap_util_port
_pywrap_util_port.IsMklEnabled()
del os.environ["TF_ENABLE_ONEDNN_OPTS"]
import tf_dvdgan
"""


@pytest.mark.parametrize(("value", "warnings"), [("0", 1), ("1", 0)])
def test_tensorflow_imported_first_without_it_gets_one_warning(value, warnings):
    ran = run(FIRST.format(value) + "import tf_dvdgan, data_prep, tools")
    assert ran.returncode == 0
    assert ran.stderr.count("TensorFlow was imported before tf_dvdgan") == warnings


@pytest.mark.parametrize("package", ["tf_dvdgan", "data_prep", "tools"])
def test_every_package_turns_it_on_before_its_modules_load_tensorflow(package):
    ran = run(
        f"import os, sys, {package}\n"
        "print(os.environ['TF_ENABLE_ONEDNN_OPTS'], 'tensorflow' in sys.modules)"
    )
    assert ran.stdout == "1 False\n", ran.stderr
