"""Turns on oneDNN, TensorFlow's library of fast CPU kernels.

TensorFlow decides once, while it is imported, whether oneDNN's kernels are used, and
by itself uses them on CPUs with AVX-512 VNNI, AVX-512 BF16 or AMX only. Elsewhere the
gradients of 3-D convolutions run in Eigen, a hundred times slower. So the package sets
the environment variable when it is imported, for this process and the processes that
it starts. A value that the user has set is left alone.
"""

import os
import platform
import sys
import warnings

VARIABLE = "TF_ENABLE_ONEDNN_OPTS"


def enable() -> None:
    """Sets the variable, unless the user did; warns where that comes too late."""
    if VARIABLE in os.environ:
        return
    # Asked before the variable is set: the answer is found once, at the first call.
    too_late = "tensorflow" in sys.modules and not is_enabled()
    os.environ[VARIABLE] = "1"
    if too_late and _is_x86():
        warnings.warn(
            "TensorFlow was imported before tf_dvdgan and runs without oneDNN: 3-D "
            "convolutions will be up to a hundred times slower. Restart, and import "
            f"tf_dvdgan first or set {VARIABLE}=1.",
            RuntimeWarning,
            stacklevel=3,
        )


def is_enabled() -> bool:
    """Whether TensorFlow uses oneDNN in this process; imports TensorFlow."""
    from tensorflow.python.util import _pywrap_util_port  # nothing public tells

    return bool(_pywrap_util_port.IsMklEnabled())


def describe() -> str:
    """The same in words: "on", or "off" and why; imports TensorFlow."""
    if is_enabled():
        return "on"
    value = os.environ.get(VARIABLE, "1")
    return "off" if value == "1" else f"off ({VARIABLE}={value})"


def _is_x86() -> bool:
    """Elsewhere TensorFlow has no oneDNN to turn on in this way."""
    return platform.machine() in ("x86_64", "AMD64")
