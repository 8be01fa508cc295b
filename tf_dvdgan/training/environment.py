"""The environment of a run: versions, devices, source commit, and command."""

import contextlib
import importlib.metadata
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence

import tensorflow as tf

from tf_dvdgan import machine, onednn
from tf_dvdgan.training import strategy as strategy_lib

_PACKAGES = (
    "tensorflow",
    "keras",
    "tf-keras",
    "tensorflow-addons",
    "gin-config",
    "numpy",
    "tensorboard",
)
_SECRET_FLAG = re.compile(r"(?i)^(-[\w-]*(?:secret|token|password|key)[\w-]*=).*")
_USER_OF_URL = re.compile(r"([A-Za-z][\w+.-]*://)[^/@\s]*@")
_QUERY_OF_URL = re.compile(r"([A-Za-z][\w+.-]*://[^?\s'\"]*\?)[^\s'\"]*")


def describe(strategy: tf.distribute.Strategy) -> dict[str, str]:
    """Returns the environment of a run, by title."""
    devices = tf.config.list_logical_devices()
    kinds = [device.device_type for device in devices]
    counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
    index, num_workers = strategy_lib.worker_index_and_count(strategy)
    return {
        "command": command_line(sys.orig_argv),
        "commit": commit() or "unknown",
        "python": platform.python_version(),
        **{name: _version(name) for name in _PACKAGES},
        "system": platform.platform(),
        "processor": machine.describe(),
        "oneDNN": onednn.describe(),
        "devices": counts + "".join(f"; {name}" for name in _gpu_names()),
        "strategy": type(strategy).__name__,
        "replicas": str(strategy.num_replicas_in_sync),
        "workers": f"{num_workers}; this one has index {index}",
    }


def to_text(entries: Mapping[str, str]) -> str:
    """Formats the result of `describe`, one entry per line."""
    return "\n".join(f"{title:18} {value}" for title, value in entries.items())


def parse(text: str) -> dict[str, str]:
    """Parses the output of `to_text`; titles contain no spaces."""
    pairs = (line.strip().partition(" ") for line in text.splitlines())
    return {title: value.strip() for title, _, value in pairs}


def command_line(argv: Sequence[str]) -> str:
    """Formats a command for a shell, with possible secrets masked.

    Args:
      argv: the command's words. Users and passwords in URLs, URL queries, and the
        values of flags named secret, token, password or key are replaced by stars.
    """
    words = []
    for word in argv:
        word = _SECRET_FLAG.sub(r"\1***", word)
        word = _QUERY_OF_URL.sub(r"\1***", _USER_OF_URL.sub(r"\1***@", word))
        words.append(shlex.quote(word))
    return " ".join(words)


def commit() -> str | None:
    """Returns the commit of the source checkout, with '-dirty' if it has changes."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    checkout = os.path.dirname(package)
    if not os.path.exists(os.path.join(checkout, ".git")):
        return None  # installed; an enclosing repository would be another project's
    command = ["git", "-C", checkout, "describe", "--always", "--dirty", "--abbrev=40"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(
            [*command, "--exclude=*"],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        ).stdout.strip()
    return None


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _gpu_names() -> list[str]:
    gpus = tf.config.list_physical_devices("GPU")
    details = map(tf.config.experimental.get_device_details, gpus)
    return [d["device_name"] for d in details if "device_name" in d]
