"""Turns on oneDNN, TensorFlow's library of fast CPU kernels.

TensorFlow decides on import whether to use oneDNN's kernels. By default it uses them
only on CPUs with AVX-512 VNNI, AVX-512 BF16 or AMX. On other CPUs the gradients of 3-D
convolutions run in Eigen, a hundred times slower. Importing this package therefore sets
the environment variable, for this process and its children, unless the user has set it.
"""

import os
import platform
import sys
import warnings

VARIABLE = "TF_ENABLE_ONEDNN_OPTS"


def enable() -> None:
    """Sets the variable, unless the user did; warns if TensorFlow is loaded already."""
    if VARIABLE in os.environ:
        return
    # Before the variable is set: TensorFlow reads it once, at the first call.
    too_late = "tensorflow" in sys.modules and not is_enabled()
    os.environ[VARIABLE] = "1"
    if too_late and is_x86():
        warnings.warn(
            "TensorFlow was imported before tf_dvdgan and runs without oneDNN: 3-D "
            "convolutions will be up to a hundred times slower. Restart, and import "
            f"tf_dvdgan first or set {VARIABLE}=1.",
            RuntimeWarning,
            stacklevel=3,
        )


def is_enabled() -> bool:
    """Whether TensorFlow uses oneDNN in this process; imports TensorFlow."""
    from tensorflow.python.util import _pywrap_util_port  # there is no public API

    return bool(_pywrap_util_port.IsMklEnabled())


def describe() -> str:
    """Returns "on", or "off" with the reason; imports TensorFlow."""
    if is_enabled():
        return "on"
    value = os.environ.get(VARIABLE, "1")
    return "off" if value == "1" else f"off ({VARIABLE}={value})"


def is_x86() -> bool:
    """Whether this is an x86 CPU; the variable has no effect on others."""
    return platform.machine() in ("x86_64", "AMD64")
