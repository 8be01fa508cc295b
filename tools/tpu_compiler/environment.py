"""The compiler's own virtual environment: JAX wants a NumPy that TensorFlow does not.

It is made once, on first use, from `requirements.txt`. A file `ready` says that it is
whole; a half-made one is made again. A lock lets two commands start at the same time.
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
    """In the user's cache, another for other requirements or another Python."""
    version = ".".join(map(str, sys.version_info[:2]))
    key = hashlib.sha256(_REQUIREMENTS.read_bytes() + version.encode()).hexdigest()
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return pathlib.Path(cache).expanduser() / "tf_dvdgan" / f"tpu_compiler-{key[:12]}"


def versions() -> dict[str, str]:
    """Of what decides how a program is compiled."""
    pinned = dict(
        line.split("==") for line in _REQUIREMENTS.read_text().split() if "==" in line
    )
    return {name: pinned[name] for name in ("jax", "jaxlib", "libtpu")}


def is_ready(folder: pathlib.Path) -> bool:
    """Whether the environment is there, whole."""
    return (folder / "ready").exists()


def ensure(folder: pathlib.Path) -> str:
    """Makes the environment unless it is there.

    Args:
      folder: of the environment.

    Returns:
      The path of its Python.

    Raises:
      UserError: it cannot be made.
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
    told = [line for line in lines if line.startswith("ERROR")] or lines[-1:]
    reason = told[-1].removeprefix("ERROR:").strip(" .") if told else "no reason"
    return errors.UserError(
        f"The TPU compiler cannot be installed in {str(folder)!r}: {reason}. It wants "
        "Python 3.11, 1.5 GB and a package index in reach; --environment names "
        "another folder."
    )
