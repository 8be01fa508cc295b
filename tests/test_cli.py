"""Exit codes of commands, and what they print on errors."""

import os
import signal
import subprocess
import sys

import pytest
from absl import flags
from conftest import DEFAULT_SIGNALS, after

from tf_dvdgan import cli

# Stands in for TensorFlow I/O: a process that has it aborts when Python ends.
SCRIPT = """
import atexit, os, sys
from absl import flags
from tf_dvdgan import cli, errors

def main(argv):
    if os.environ.get("LOADED"):
        sys.modules["tensorflow_io"] = object()
        atexit.register(os.abort)
    print("said before the end", end="")
    {ending}

flags.DEFINE_string("path", None, "A path.")
flags.DEFINE_float("number", 1.0, "A number.", lower_bound=0)
cli.run(main)
"""


def run(
    ending: str, *arguments: str, loaded: bool = False
) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", SCRIPT.format(ending=ending), *arguments],
        env={"LOADED": "1" if loaded else ""},
        capture_output=True,
        text=True,
        check=False,
    )


def test_that_many_models_are_traced_is_no_news():
    done = run(
        "import tensorflow as tf\n"
        "    for _ in range(9): tf.function(lambda x: x)(1)\n"
        "    tf.get_logger().warning('this is')"
    )
    assert done.returncode == 0
    assert "retracing" not in done.stderr and "this is" in done.stderr, done.stderr


def test_a_home_folder_is_expanded_in_flags_of_every_kind(monkeypatch):
    """Shells leave the "~" of --output=~/shards alone."""
    values = flags.FlagValues()
    flags.DEFINE_string("output", None, "", values)
    flags.DEFINE_multi_string("weights", None, "", values)
    flags.DEFINE_integer("number", 3, "", flag_values=values)
    values(["x", "--output=~/a", "--weights=~/b", "--weights=c~/d", "--weights=~"])
    root = os.path.expanduser("~root")
    monkeypatch.setattr(cli.flags, "FLAGS", values)
    monkeypatch.setenv("HOME", "/home/me")
    cli._expand_home()
    assert values.output == "/home/me/a" and values.number == 3
    assert values.weights == ["/home/me/b", "c~/d", "/home/me"]
    values(["x", "--output=~root/a"])
    cli._expand_home()
    assert values.output == f"{root}/a"


@pytest.mark.parametrize("loaded", [False, True])
@pytest.mark.parametrize(
    ("ending", "code", "last_line"),
    [
        ("return", 0, ""),
        ("return 3", 3, ""),
        ("sys.exit(4)", 4, ""),
        ("sys.exit('a sentence')", 1, "a sentence"),
        ("raise errors.UserError('one sentence')", 1, "error: one sentence"),
        (
            "raise KeyboardInterrupt",
            130,
            "The same command starts from the beginning.",
        ),
        (
            "raise errors.InvalidValueError('in x\\n k is 1. Received: 3\\n y')",
            1,
            "error: The config cannot be used: k is 1. Received: 3.",
        ),
        (
            "raise PermissionError(13, 'Permission denied', '/data/x')",
            1,
            "error: There is no permission to use /data/x.",
        ),
        ("raise ValueError('a bug. Received: 3')", 1, "ValueError: a bug. Received: 3"),
    ],
)
def test_exit_codes_say_how_it_went(ending, code, last_line, loaded):
    result = run(ending, loaded=loaded)
    assert result.returncode == code
    assert result.stdout == "said before the end"
    assert result.stderr.strip().endswith(last_line)
    assert ("Traceback" in result.stderr) == ("ValueError" in last_line)
    assert bool(result.stderr) == bool(last_line)


def test_a_reader_that_ends_is_no_error():
    """As `head` does, which closes the pipe after some lines."""
    script = SCRIPT.format(ending="print('x' * 100_000, flush=True)")
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait() == 128 + signal.SIGPIPE
    # A pipe to something else is one.
    assert "BrokenPipeError" in run("raise BrokenPipeError").stderr


def test_commands_in_texts_are_those_of_the_installation(monkeypatch):
    text = "Run python -m data_prep.prepare, python -m tools.score or tf_dvdgan.run."
    assert cli.as_installed(text) == text  # in a checkout
    monkeypatch.setattr(cli, "_INSTALLED", True)
    assert cli.as_installed(text) == (
        "Run tf_dvdgan_prepare, tf_dvdgan_score or tf_dvdgan.run."
    )


def test_a_wrong_flag_exits_with_code_2():
    result = run("return", "--paht=x")
    assert result.returncode == 2 and "Did you mean" in result.stderr
    result = run("return", "--number=nan")
    assert result.returncode == 2
    assert "--number must be a number, not nan" in result.stderr
    assert run("return", "--number=inf").returncode == 0


@pytest.mark.parametrize("name", ["output", "model_dir"])
def test_an_empty_place_is_not_the_working_directory(name):
    """An unset variable of a shell leaves --output=$FOLDER so."""
    define = f"flags.DEFINE_string({name!r}, None, '')\ncli.run(main)"
    script = SCRIPT.format(ending="return").replace("cli.run(main)", define)
    command = [sys.executable, "-c", script, f"--{name}="]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and not done.stdout
    assert done.stderr.startswith(f"error: --{name} is empty; it must name a folder")


def test_arguments_are_named_as_flags(monkeypatch):
    values = flags.FlagValues()
    for name in ("output", "input", "step"):
        flags.DEFINE_string(name, None, "", values)
    monkeypatch.setattr(cli.flags, "FLAGS", values)
    text = "Set `directory`, `input_dir=a`, `step=3` or `other`."
    assert cli.with_flags(text) == "Set --output, --input=a, --step=3 or `other`."


def test_a_path_of_an_unknown_file_system_is_reported():
    result = run("return", "--path=s4://bucket/x")
    assert result.returncode == 1
    assert "There is no file system s4://" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "error", ["errors.UserError({!r})", "ValueError({!r})"], ids=["user", "bug"]
)
def test_names_from_data_are_escaped_in_errors(error):
    name = "a\x1b[31m\x9b2J\u202eb\udcffc"
    result = run(f"raise {error.format(name)}")
    assert result.returncode == 1
    assert r"a\x1b[31m\x9b2J\u202eb\udcffc" in result.stderr
    assert all(c.isprintable() or c == "\n" for c in result.stderr)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("/local/s3://x", []),
        (None, []),
        (3, []),
        ("s3://bucket/a b", ["s3://bucket/a b"]),
        (["runs", "gs://b"], ["gs://b"]),
        (["a.b = 's3://x/y'", 'c = "az://z"'], ["s3://x/y", "az://z"]),
        ("grpc://10.0.0.1:8470", []),
    ],
)
def test_paths_are_found_in_a_flag(value, found):
    assert cli._remote_paths(value) == found


WAITING = """
import time
from tf_dvdgan import cli, terminal

def main(argv):
    with terminal.clock("waiting"):
        print("ready", flush=True)
        time.sleep(60)

cli.run(main, if_interrupted="Everything is kept.")
"""


def test_ctrl_c_prints_one_line():
    process = subprocess.Popen(
        [sys.executable, *after(DEFAULT_SIGNALS, "-c", WAITING)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert err == "\nInterrupted. Everything is kept.\n"


def test_help_lists_flags_that_commands_share():
    script = WAITING.replace("cli.run", "cli.define_step(); cli.run")
    command = [sys.executable, "-c", script, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "--step" in done.stdout and "--[no]quiet" in done.stdout
    assert done.returncode == 0
