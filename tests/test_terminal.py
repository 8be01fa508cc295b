"""Progress as a terminal shows it, and as a log does."""

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest

from tf_dvdgan import terminal


def test_names_of_any_language_stay_as_they_are():
    assert terminal.printable("Tanz, 踊り") == "Tanz, 踊り"
    assert terminal.printable("two\nlines\x00") == r"two\nlines\x00"


WORKING = """
import sys, time
from tf_dvdgan import cli, terminal

def main(argv):
    progress = terminal.Progress("counting sheep", 40)
    for i in range(1, 41):
        time.sleep(0.03)
        progress.update(i, "  1 black")
        if i == 20:
            print("half of them")
    with terminal.clock("sleeping"):
        time.sleep(2.5)
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
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now[0])
    log = io.StringIO()
    progress = terminal.Progress("step", 300, done=100, stream=log)
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
    def stream(encoding: str) -> io.TextIOWrapper:
        return io.TextIOWrapper(io.BytesIO(), encoding)

    assert terminal.bar(share, 10, stream("utf-8")) == blocks
    assert terminal.bar(share, 10, stream("latin-1")) == ascii_
