"""`tf.keras` is Keras 2 in both lanes, and what is wrong about it is one sentence."""

import os
import subprocess
import sys

import pytest

IS_SECOND_LANE = sys.version_info >= (3, 12)
second_lane = pytest.mark.skipif(not IS_SECOND_LANE, reason="TensorFlow has Keras 2")


def run(script: str, **environment: str) -> subprocess.CompletedProcess:
    env = {k: v for k, v in os.environ.items() if k != "TF_USE_LEGACY_KERAS"}
    return subprocess.run(
        [sys.executable, "-c", script],
        env=env | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    "environment",
    [{}, pytest.param({"TF_USE_LEGACY_KERAS": "1"}, marks=pytest.mark.slow)],
)
def test_keras_is_keras_2_and_a_child_s_too(environment):
    script = """
import subprocess, sys
import tf_dvdgan
assert "tensorflow" not in sys.modules
import tensorflow as tf
module = tf.keras.layers.Dense.__module__
assert module.startswith(("keras.src.layers.core", "tf_keras.src.layers.core")), module
tf.keras.optimizers.legacy.Adam()
if len(sys.argv) == 1:
    child = "import tensorflow as tf; tf.keras.optimizers.legacy.Adam()"
    subprocess.run([sys.executable, "-c", child], check=True)
"""
    done = run(script, **environment)
    assert done.returncode == 0, done.stderr


@second_lane
@pytest.mark.parametrize(
    ("script", "environment", "message"),
    [
        (
            "import tensorflow, tf_dvdgan",
            {},
            "was imported before tf_dvdgan, with Keras 3: import tf_dvdgan first",
        ),
        ("import keras, tf_dvdgan", {}, "was imported before tf_dvdgan, with Keras 3"),
        (
            "import tf_dvdgan",
            {"TF_USE_LEGACY_KERAS": "0"},
            "TF_USE_LEGACY_KERAS=0 selects Keras 3: remove the variable",
        ),
        (
            "import importlib.util as u; found = u.find_spec; "
            "u.find_spec = lambda n: None if n == 'tf_keras' else found(n); "
            "import tf_dvdgan",
            {},
            "TensorFlow 2.20 needs tf-keras, which is not installed",
        ),
    ],
    ids=["tensorflow_first", "keras_first", "switched_off", "not_installed"],
)
def test_keras_3_is_refused(script, environment, message):
    done = run(script, **environment)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: ") and message in last, done.stderr


@second_lane
def test_tensorflow_may_come_first_if_the_variable_was_set():
    script = "import tensorflow, tf_dvdgan.addons"
    done = run(script, TF_USE_LEGACY_KERAS="1")
    assert done.returncode == 0, done.stderr
