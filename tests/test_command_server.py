"""Commands in forks end, speak and begin as in a process that starts from scratch."""

import os
import pathlib
import signal
import subprocess
import time

import command_server
import pytest
from conftest import run_module, run_process, run_python

ROOT = pathlib.Path(__file__).parent.parent


@pytest.mark.parametrize(
    ("ending", "code", "last_line"),
    [
        ("pass", 0, ""),
        ("sys.exit(3)", 3, ""),
        ("sys.exit('a sentence')", 1, "a sentence"),
        ("os._exit(5)", 5, ""),
        ("raise ValueError('a bug')", 1, "ValueError: a bug"),
        ("os.abort()", -signal.SIGABRT, ""),
        ("os.kill(os.getpid(), 9)", -signal.SIGKILL, ""),
        ("os.kill(os.getpid(), 2)", -signal.SIGINT, "KeyboardInterrupt"),
        ("atexit.register(os._exit, 6)", 6, ""),
        ("threading.Timer(0.2, lambda: os._exit(7)).start()", 7, ""),
    ],
)
def test_each_ending_is_that_of_a_new_process(ending, code, last_line):
    script = f"""
import atexit, os, signal, sys, threading
signal.signal(signal.SIGINT, signal.default_int_handler)  # tests may run without it
print("out", flush=True)
{ending}
"""
    forked, fresh = run_python("-c", script), run_process("-c", script)
    assert forked.returncode == fresh.returncode == code
    assert forked.stdout == fresh.stdout == "out\n"
    lines = [done.stderr.strip().split("\n")[-1] for done in (forked, fresh)]
    assert lines == [last_line, last_line]


def test_what_is_written_by_any_means_arrives_apart():
    script = """
import os, subprocess, sys
print("print")
sys.stdout.flush()
os.write(1, b"write\\n")
subprocess.run(["echo", "child"])
subprocess.run("echo of the child >&2", shell=True)
print("not flushed", end="")
print("error", file=sys.stderr)
"""
    done = run_python("-c", script)
    assert done.stdout == "print\nwrite\nchild\nnot flushed"
    assert done.stderr == "of the child\nerror\n"


SAYS_WHERE_IT_IS = """
import logging, os, signal, sys, threading
print(__name__, __file__, __spec__.name, sys.modules["__main__"].__spec__.name)
print(sys.argv, sys.orig_argv, sys.path[:5], os.getcwd())
print(sorted((n, v.encode(errors="replace")) for n, v in os.environ.items()))
print(repr(sys.stdin.read()), sys.stdout.encoding, sys.stderr.errors, os.isatty(1))
print(signal.getsignal(signal.SIGINT), threading.active_count(), logging.root.handlers)
"""


def test_arguments_folder_and_environment_are_the_command_s(tmp_path):
    (tmp_path / "module.py").write_text(SAYS_WHERE_IT_IS)
    env = {name: value for name, value in os.environ.items() if name != "HOME"}
    settings = {"cwd": tmp_path, "env": env | {"OWN": "b\udcff", "PYTHONPATH": "/x"}}
    arguments = ("-m", "module", "--flag=1", "two words")
    forked = run_python(*arguments, **settings)
    fresh = run_process(*arguments, **settings, stdin=subprocess.DEVNULL)
    assert forked.stdout == fresh.stdout and str(tmp_path) in forked.stdout
    assert (forked.stderr, fresh.stderr) == ("", "")


def test_a_child_that_python_spawns_is_in_the_command_s_folder(tmp_path):
    (tmp_path / "module.py").write_text("""
import multiprocessing, os
def work(x):
    return x + 1, os.getcwd()
if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.map(work, [1]))
""")
    done = run_module("module", cwd=tmp_path)
    assert done.stdout == f"[(2, {str(tmp_path)!r})]\n", done.stderr


FIRST = """
import os
import numpy as np, tensorflow as tf
from absl import flags
from tf_dvdgan import config
flags.DEFINE_string("of_the_first", "", "x")
config.load(["demo.gin"])
tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
tf.config.set_soft_device_placement(False)
print(np.random.random(), tf.random.normal([]).numpy())
os.environ["OF_THE_FIRST"] = "x"
os.chdir("/")
"""
NEXT = """
import os, sys
import gin, numpy as np, tensorflow as tf
from absl import flags
assert not any(name.startswith("tf_dvdgan") for name in sys.modules)
assert "of_the_first" not in flags.FLAGS
assert "OF_THE_FIRST" not in os.environ and os.getcwd() != "/"
assert gin.config_str() == "" and tf.config.get_soft_device_placement()
assert tf.keras.mixed_precision.global_policy().name == "float32"
print(np.random.random(), tf.random.normal([]).numpy())
"""


def test_nothing_is_left_for_the_next_command():
    done = [run_python("-c", script) for script in (FIRST, NEXT, NEXT)]
    assert [each.returncode for each in done] == [0, 0, 0], done
    drawn = [number for each in done for number in each.stdout.split()]
    assert len(set(drawn)) == 6  # each draws for itself


def test_what_is_read_on_importing_needs_a_new_process():
    with pytest.raises(ValueError, match="TF_ENABLE_ONEDNN_OPTS is read on importing"):
        run_python("-c", "", env=os.environ | {"TF_ENABLE_ONEDNN_OPTS": "0"})


def test_what_takes_too_long_is_killed_and_the_next_runs():
    script = "import time; print('said', flush=True); time.sleep(60)"
    began = time.monotonic()
    with pytest.raises(subprocess.TimeoutExpired) as expired:
        run_python("-c", script, timeout=1)
    assert expired.value.stdout == "said\n" and time.monotonic() - began < 30
    assert run_python("-c", "print(1)").stdout == "1\n"


THREADS = """
import os, sys, threading
from tensorflow.python.eager import context
print(threading.active_count(), len(os.listdir("/proc/self/task")))
print(context.context()._context_handle)
print("tensorflow_io" in sys.modules)
"""


def test_a_fork_has_no_threads_and_nothing_that_tensorflow_ran_before():
    """The server has native ones, which end at a fork: OpenBLAS's and jemalloc's."""
    assert run_python("-c", THREADS).stdout.split("\n")[1:3] == ["None", "False"]


def test_imports_say_nothing():
    """The server imports before a command's output begins; here it is all heard."""
    modules = "tf_dvdgan.config, tf_dvdgan.run, data_prep.prepare, tools.report"
    done = run_process("-c", f"import {modules}", cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_server_ends_with_its_client():
    server = command_server.Server()
    assert server.run(["-c", "print(2)"]).stdout == "2\n"
    server.close()
    assert server._process.returncode == 0
