"""The compiler's own virtual environment: JAX and TensorFlow need different NumPys.

It is created once, on first use, from `requirements.txt`. A file `ready` marks it as
complete; an incomplete one is created again. A lock allows two commands to start at the
same time.
"""

import fcntl
import hashlib
import os
import pathlib
import subprocess
import sys

from tf_dvdgan import errors

_FOLDER = pathlib.Path(__file__).parent
_REQUIREMENTS = _FOLDER / "requirements.txt"
WORKER = _FOLDER / "compile.py"


def default_folder() -> pathlib.Path:
    """The folder in the user's cache for these requirements and this Python version."""
    version = ".".join(map(str, sys.version_info[:2]))
    key = hashlib.sha256(_REQUIREMENTS.read_bytes() + version.encode()).hexdigest()
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return pathlib.Path(cache).expanduser() / "tf_dvdgan" / f"tpu_compiler-{key[:12]}"


def versions() -> dict[str, str]:
    """Versions of the packages that compile a program."""
    pinned = dict(
        line.split("==") for line in _REQUIREMENTS.read_text().split() if "==" in line
    )
    return {name: pinned[name] for name in ("jax", "jaxlib", "libtpu")}


def is_ready(folder: pathlib.Path) -> bool:
    """Whether the environment exists and is complete."""
    return (folder / "ready").exists()


def ensure(folder: pathlib.Path) -> str:
    """Creates the environment if necessary.

    Args:
      folder: of the environment.

    Returns:
      The path of its Python.

    Raises:
      UserError: it cannot be created.
    """
    python = str(folder / "bin" / "python")
    if is_ready(folder):
        return python
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with open(f"{folder}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not is_ready(folder):
                _run(sys.executable, "-m", "venv", "--clear", str(folder))
                pip = (python, "-m", "pip", "--disable-pip-version-check")
                _run(*pip, "install", "--quiet", "--requirement", str(_REQUIREMENTS))
                (folder / "ready").touch()
    except OSError as error:
        raise _failure(folder, str(error)) from None
    except subprocess.CalledProcessError as error:
        raise _failure(folder, error.stderr) from None
    return python


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


def _failure(folder: pathlib.Path, output: str) -> errors.UserError:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    found = [line for line in lines if line.startswith("ERROR")] or lines[-1:]
    reason = found[-1].removeprefix("ERROR:").strip(" .") if found else "no reason"
    return errors.UserError(
        f"The TPU compiler cannot be installed in {str(folder)!r}: {reason}. It needs "
        "Python 3.11, 1.5 GB and access to a package index; --environment selects "
        "another folder."
    )
