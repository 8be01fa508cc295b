"""Progress on a terminal and in a log."""

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

BAR_ALONE = WORKING.replace("time.sleep(2.5)", "pass")


def on_terminal(
    script: str, *arguments: str, columns: int = 70, encoding: str = "utf-8"
) -> str:
    """What a terminal with this number of columns receives."""
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
    """The lines on a terminal at the end: a carriage return writes over a line."""
    lines = []
    for line in sent.split("\n"):
        cells: list[str] = []
        for text in line.split("\r"):
            cells[: len(text)] = text
        lines.append("".join(cells).rstrip())
    return lines


@pytest.mark.parametrize(("encoding", "full"), [("utf-8", "█"), ("ascii", "#")])
def test_on_a_terminal_a_bar_moves_in_one_line(encoding, full):
    sent = on_terminal(WORKING, encoding=encoding)
    drawn = re.findall(r"\r(counting sheep[^\r\n]*)", sent)
    assert len(drawn) > 3 and all(len(line.rstrip()) <= 70 for line in drawn)
    assert drawn[0].count(full) < drawn[2].count(full) < drawn[-1].count(full)
    rate, left = r"[\d.]+it/s", r"00:0\d"
    assert re.match(rf".* \[{left}<00:0\d, {rate}, 1 black\]", drawn[2])
    half, last, awake, nothing = shown(sent)
    assert half == "half of them"  # the bar was erased for it, and drawn again
    assert re.fullmatch(
        rf"counting sheep: 100%\|{full}+\| 40/40 \[{left}<00:00, {rate}, 1 black\]",
        last,
    )
    assert (awake, nothing) == ("awake", "")
    assert "sleeping  00:01" in sent


@pytest.mark.parametrize(("columns", "rate", "note"), [(30, 0, 0), (55, 1, 0)])
def test_a_narrow_terminal_gets_no_line_that_wraps(columns, rate, note):
    drawn = re.findall(r"(counting[^\r\n]*)", on_terminal(BAR_ALONE, columns=columns))
    assert drawn and all(len(line) <= columns for line in drawn)
    assert all(("it/s" in line, "black" in line) == (rate, note) for line in drawn)


TWO_BARS = """
import sys, time
from tf_dvdgan import cli, terminal

def main(argv):
    outer = terminal.Progress("step", 4, 0.0, 2, sys.stdout)
    time.sleep(0.3)
    outer.update(3, "  a note that is longer than the other line", "0.5 s/step")
    inner = terminal.Progress("x", 9)
    time.sleep(0.3)
    inner.update(4)
    stopped = terminal.Progress("never shown", 9)
    print("early end")
    outer.update(1)  # rolled back
    time.sleep(0.3)
    outer.update(1)
    outer.update(4)

cli.run(main)
"""


def test_bars_replace_one_another_and_unfinished_ones_disappear():
    sent = on_terminal(TWO_BARS, columns=100)
    assert re.search(r"step: +75%\|.*\| 3/4 \[00:00<00:00, 0.5 s/step, a note", sent)
    assert re.search(r"\rx: +44%\|.*\| 4/9 ", sent)
    assert re.search(r"step: +25%\|.*\| 1/4 \[00:00<\?, \?it/s\]", sent)
    early, last, nothing = shown(sent)
    assert (early, nothing) == ("early end", "")
    assert re.fullmatch(r"step: 100%\|█+\| 4/4 \[00:0\d<00:00, +[\d.]+it/s\]", last)
    assert "never" not in sent


def test_in_a_log_progress_is_plain_lines():
    done = subprocess.run(
        [sys.executable, "-c", BAR_ALONE], capture_output=True, text=True, check=True
    )
    assert done.stdout == "half of them\nawake\n"
    assert re.fullmatch(
        r"counting sheep 40/40  100 %  [\d.]+/s  in 0:0\d  1 black\n", done.stderr
    )


def test_quiet_leaves_the_results_alone():
    assert on_terminal(BAR_ALONE, "--quiet") == "half of them\nawake\n"


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
