"""How commands end, and what they let through to a terminal."""

import subprocess
import sys

import pytest

from tf_dvdgan import cli

# Stands in for TensorFlow I/O: a process that has it aborts when Python ends.
SCRIPT = """
import atexit, os, sys
from absl import flags
from tf_dvdgan import cli

def main(argv):
    if os.environ.get("LOADED"):
        sys.modules["tensorflow_io"] = object()
        atexit.register(os.abort)
    print("said before the end", end="")
    {ending}

flags.DEFINE_string("path", None, "A path.")
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


@pytest.mark.parametrize("loaded", [False, True])
@pytest.mark.parametrize(
    ("ending", "code", "last_line"),
    [
        ("return", 0, ""),
        ("return 3", 3, ""),
        ("sys.exit(4)", 4, ""),
        ("raise cli.UserError('one sentence')", 1, "error: one sentence"),
        ("raise KeyboardInterrupt", 130, "interrupted"),
        ("raise ValueError('a bug')", 1, "ValueError: a bug"),
    ],
)
def test_exit_codes_say_how_it_went(ending, code, last_line, loaded):
    result = run(ending, loaded=loaded)
    assert result.returncode == code
    assert result.stdout == "said before the end"
    assert result.stderr.strip().endswith(last_line)
    assert ("Traceback" in result.stderr) == ("ValueError" in last_line)
    assert bool(result.stderr) == bool(last_line)


def test_a_wrong_flag_is_told_with_code_2():
    result = run("return", "--paht=x")
    assert result.returncode == 2 and "Did you mean" in result.stderr


def test_a_path_of_an_unknown_file_system_is_one_sentence():
    result = run("return", "--path=s4://bucket/x")
    assert result.returncode == 1
    assert "There is no file system s4://" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "error", ["cli.UserError({!r})", "ValueError({!r})"], ids=["user", "bug"]
)
def test_what_data_is_called_does_not_reach_the_terminal_raw(error):
    name = "a\x1b[31m\x9b2J\u202eb\udcffc"
    result = run(f"raise {error.format(name)}")
    assert result.returncode == 1
    assert r"a\x1b[31m\x9b2J\u202eb\udcffc" in result.stderr
    assert all(c.isprintable() or c == "\n" for c in result.stderr)


def test_names_of_any_language_stay_as_they_are():
    assert cli.printable("Tanz, 踊り") == "Tanz, 踊り"
    assert cli.printable("two\nlines\x00") == r"two\nlines\x00"


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (["/local/s3://x", "runs", None, 3], []),
        (["s3://bucket/a b", "gs://b"], ["s3://bucket/a b", "gs://b"]),
        ([["a.b = 's3://x/y'", 'c = "az://z"']], ["s3://x/y", "az://z"]),
        (["grpc://10.0.0.1:8470"], []),
    ],
)
def test_paths_are_found_in_flags(values, found):
    assert cli._remote_paths(values) == found
