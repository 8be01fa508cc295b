"""How commands end, and what they let through to a terminal."""

import fcntl
import io
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios

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
        ("raise KeyboardInterrupt", 130, "Interrupted. The same command begins anew."),
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


WORKING = """
import sys, time
from tf_dvdgan import cli

def main(argv):
    progress = cli.Progress("counting sheep", 40)
    for i in range(1, 41):
        time.sleep(0.03)
        progress.update(i, "  1 black")
        if i == 20:
            print("half of them")
    with cli.clock("sleeping"):
        time.sleep(1.2)
    print("awake")

cli.run(main)
"""


def on_terminal(
    script: str, *arguments: str, columns: int = 70, encoding: str = "utf-8"
) -> str:
    """What a terminal of so many columns is sent."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdout=theirs,
        stderr=theirs,
        env=os.environ | {"PYTHONIOENCODING": encoding},
    )
    os.close(theirs)
    sent = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # the other side is closed
            break
        if not part:
            break
        sent += part
    os.close(ours)
    assert process.wait() == 0
    return sent.decode(encoding).replace("\r\n", "\n")


def shown(sent: str) -> list[str]:
    """The lines that stand on a terminal in the end."""
    return [line.split("\x1b[K")[-1] for line in sent.split("\n")]


@pytest.mark.parametrize(("encoding", "full"), [("utf-8", "█"), ("ascii", "#")])
def test_on_a_terminal_a_bar_moves_in_one_line(encoding, full):
    sent = on_terminal(WORKING, encoding=encoding)
    drawn = re.findall(r"\r\x1b\[K(counting sheep[^\r\n]*)", sent)
    assert len(drawn) > 3 and all(len(line) < 70 for line in drawn)
    assert drawn[0].count(full) < drawn[2].count(full) < drawn[-1].count(full)
    half, last, awake, nothing = shown(sent)
    assert half == "half of them"  # the bar was erased for it, and drawn again
    assert re.fullmatch(
        rf"counting sheep  \[{full}+\]  100 %  40/40  [\d.]+/s  in 0:0\d  1 black", last
    )
    assert (awake, nothing) == ("awake", "")
    assert "sleeping  0:01" in sent


@pytest.mark.parametrize(("columns", "bar", "note"), [(30, 0, 0), (64, 1, 0)])
def test_a_narrow_terminal_gets_no_line_that_wraps(columns, bar, note):
    drawn = re.findall(r"(counting[^\r\n]*)", on_terminal(WORKING, columns=columns))
    assert drawn and all(len(line) < columns for line in drawn)
    assert all(("[" in line, "black" in line) == (bar, note) for line in drawn)


def test_in_a_log_progress_is_plain_lines():
    done = subprocess.run(
        [sys.executable, "-c", WORKING], capture_output=True, text=True, check=True
    )
    assert done.stdout == "half of them\nawake\n"
    assert re.fullmatch(
        r"counting sheep 40/40  100 %  [\d.]+/s  in 0:0\d  1 black\n", done.stderr
    )


def test_quiet_leaves_the_results_alone():
    assert on_terminal(WORKING, "--quiet") == "half of them\nawake\n"


def test_what_is_left_and_how_fast(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(cli.time, "monotonic", lambda: now[0])
    log = io.StringIO()
    progress = cli.Progress("step", 300, done=100, stream=log)
    now[0] += 20
    progress.update(110)
    now[0] += 1
    progress.update(111)  # too soon after the last
    now[0] += 19
    progress.update(180, "  note", "0.5 s/step")
    now[0] += 20
    progress.update(300)
    assert log.getvalue().splitlines() == [
        "step 110/300  36 %  2.0 s each  6:20 left",
        "step 180/300  60 %  0.5 s/step  1:00 left  note",
        "step 300/300  100 %  3.3/s  in 1:00",
    ]


@pytest.mark.parametrize(
    ("share", "blocks", "ascii_"),
    [
        (0.0, "[░░░░░░░░░░]", "[..........]"),
        (0.5, "[█████░░░░░]", "[#####.....]"),
        (0.5375, "[█████▍░░░░]", "[#####.....]"),
        (1.0, "[██████████]", "[##########]"),
    ],
)
def test_bars(share, blocks, ascii_):
    def terminal(encoding: str) -> io.TextIOWrapper:
        return io.TextIOWrapper(io.BytesIO(), encoding)

    assert cli.bar(share, 10, terminal("utf-8")) == blocks
    assert cli.bar(share, 10, terminal("latin-1")) == ascii_


WAITING = """
import time
from tf_dvdgan import cli

def main(argv):
    with cli.clock("waiting"):
        print("ready", flush=True)
        time.sleep(60)

cli.run(main, if_interrupted="All is kept.")
"""


def test_ctrl_c_leaves_one_sentence():
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # As in a terminal's foreground, wherever the tests themselves run.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert err == "\nInterrupted. All is kept.\n"


def test_help_lists_flags_that_commands_share():
    script = WAITING.replace("cli.run", "cli.define_step(); cli.run")
    command = [sys.executable, "-c", script, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "--step" in done.stdout and "--[no]quiet" in done.stdout
