"""Runs commands in forks of a process that has imported TensorFlow.

The import takes 2.4 s of CPU, and the tests run some 150 commands. `Server` starts this
file as a process of its own. It imports what commands import from others, runs
nothing, and forks for each command. A fork has the command's arguments, environment
and folder, runs the module as `__main__` and ends as every Python process does.

Its graphs run as they were traced, without Grappler, which would take a third of the
time in which a training starts (`WITHOUT_GRAPPLER`); it changes the last bits.

What a fork shares with others is the salt of Python's hashes, and what libraries read
from the environment as they are imported (`FIXED`). A test of either, or of what a
process is to the system, starts a real process.
"""

import gc
import importlib
import json
import logging
import multiprocessing.process
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import types
import warnings
from collections.abc import Sequence

FIXED = ("TF", "XLA_", "PYTHON")
GRAPPLER_OFF = {"disable_meta_optimizer": True}
WITHOUT_GRAPPLER = (
    "import tf_dvdgan, tensorflow as tf; "
    f"tf.config.optimizer.set_experimental_options({GRAPPLER_OFF})"
)
OF_THIS_PROJECT = ("tf_dvdgan", "tools", "data_prep")
IS_SECOND_LANE = sys.version_info >= (3, 12)
# What commands import from others. Not TensorFlow I/O: a process that has it ends in
# another way (`cli._exit_now`).
LIBRARIES = (
    "tf_dvdgan",  # first: it turns on oneDNN
    "tensorflow",
    *(("tf_keras",) if IS_SECOND_LANE else ("keras", "tensorflow_addons")),
    "tensorboard.plugins.custom_scalar.summary",
    "tensorboard.plugins.hparams.api",
    "absl.app",
    "apache_beam.options.pipeline_options",
    "apache_beam.runners.portability.fn_api_runner",
    "av",
    "cv2",
    "gin",
    "jinja2",
    "PIL.Image",
    "PIL.ImageDraw",
    "scipy.linalg",
)


class Server:
    """Starts the process; runs one command at a time in a fork of it."""

    def __init__(self):
        self._socket, theirs = socket.socketpair()
        # Without a buffer, in which `select` would not see an answer.
        self._answers = self._socket.makefile("rb", buffering=0)
        self._environment = dict(os.environ)
        without = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno())],
            env=without,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )
        theirs.close()

    def run(
        self,
        arguments: Sequence[str],
        cwd: str | os.PathLike | None = None,
        env: dict[str, str] | None = None,
        timeout: float | None = None,
    ) -> subprocess.CompletedProcess:
        """What `subprocess.run` gives for Python with these arguments.

        Args:
          arguments: "-m", a module and its arguments, or "-c", a script and its.
          cwd: where it runs; this process's folder by default.
          env: its whole environment; this process's by default.
          timeout: after so many seconds it is killed, and TimeoutExpired is raised.
        """
        env = dict(os.environ if env is None else env)
        self._check_environment(env)
        with tempfile.TemporaryDirectory() as folder:
            outputs = [os.path.join(folder, name) for name in ("out", "err")]
            request = {
                "arguments": list(map(str, arguments)),
                "cwd": os.path.abspath(cwd or os.curdir),
                "env": env,
                "outputs": outputs,
            }
            self._socket.sendall(json.dumps(request).encode() + b"\n")
            pid, expired = self._receive(), False
            if not select.select([self._socket], [], [], timeout)[0]:
                os.kill(pid, signal.SIGKILL)
                expired = True
            code = self._receive()
            texts = []
            for path in outputs:
                with open(path) as file:
                    texts.append(file.read())
        command = [sys.executable, *request["arguments"]]
        if expired:
            raise subprocess.TimeoutExpired(command, timeout, *texts)
        return subprocess.CompletedProcess(command, code, *texts)

    def close(self) -> None:
        """Ends the process, which waits for nothing."""
        self._answers.close()
        self._socket.close()
        self._process.wait()

    def _receive(self) -> int:
        line = self._answers.readline()
        if not line:
            raise RuntimeError("The process that runs commands has ended")
        return int(line)

    def _check_environment(self, env: dict[str, str]) -> None:
        for name in {*env, *self._environment}:
            if name.startswith(FIXED) and name != "PYTHONPATH":
                if env.get(name) != self._environment.get(name):
                    raise ValueError(f"{name} is read on importing: run a real process")


def _import_libraries() -> None:
    silent = logging.NullHandler()
    logging.root.addHandler(silent)  # without any, a warning would leave one of its own
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # test_command_server.py hears what is said
        for name in LIBRARIES:
            importlib.import_module(name)
        exec(WITHOUT_GRAPPLER, {})
    logging.root.removeHandler(silent)
    for name in list(sys.modules):
        if name.split(".")[0] in OF_THIS_PROJECT:
            del sys.modules[name]  # a command's own imports run


def _next_command(requests: socket.socket) -> dict | None:
    """Forks for each request; returns it in the fork, None when there are no more."""
    with requests, requests.makefile("rw") as stream:
        for line in stream:
            pid = os.fork()
            if not pid:
                return json.loads(line)
            print(pid, file=stream, flush=True)
            _, status = os.waitpid(pid, 0)
            print(os.waitstatus_to_exitcode(status), file=stream, flush=True)
    return None


def _become(command: dict, handler_of_interrupts) -> None:
    """Gives this process what belongs to a command."""
    import numpy as np

    signal.signal(signal.SIGINT, handler_of_interrupts)
    for number, path in enumerate(command["outputs"], 1):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)
    os.chdir(command["cwd"])
    os.environ.clear()
    os.environ.update(command["env"])
    option, _, *rest = command["arguments"]
    folders = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:1] = [command["cwd"] if option == "-m" else "", *filter(None, folders)]
    sys.argv[:] = [option, *rest]
    sys.orig_argv[:] = [sys.executable, *command["arguments"]]
    multiprocessing.process.ORIGINAL_DIR = command["cwd"]
    np.random.seed()  # Python's own generator draws a new seed by itself
    if "COVERAGE_PROCESS_START" in os.environ:  # as `make coverage` has it
        import coverage

        coverage.process_startup()


def _execute(option: str, what: str) -> None:
    """Runs a module (-m) or a script (-c) as `__main__`."""
    if option == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
        return
    sys.modules["__main__"] = module = types.ModuleType("__main__")
    exec(compile(what, "<string>", "exec"), module.__dict__)


if __name__ == "__main__":
    _handler = signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it silently
    _import_libraries()
    gc.freeze()  # or each fork would collect it all at its end, which takes a second
    _command = _next_command(socket.socket(fileno=int(sys.argv[1])))
    if _command:
        _become(_command, _handler)
        _execute(*_command["arguments"][:2])
