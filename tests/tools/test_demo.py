"""How the demo ends when one of its commands fails, or on a signal.

A small script replaces the commands; the signals are real.
"""

import os
import pathlib
import signal
import subprocess
import sys

import pytest
from conftest import DEFAULT_SIGNALS, after

ROOT = pathlib.Path(__file__).parents[2]
HOW_TO_RESUME = "The same command, or `make demo`, resumes from here."

DEMO = """
from tf_dvdgan import cli
from tools import demo

def main(argv):
    demo._run("A step", "step")
    print("the next step", flush=True)

cli.run(main)
"""

# Like training: continues for a while after a signal, and ends at once on a second.
STEP = """
import os, signal, sys, time

signals = []

def note(number, frame):
    signals.append(number)
    print("got", signal.Signals(number).name, flush=True)
    if len(signals) == 2:
        os._exit(128 + number)

for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, note)
print("ready", flush=True)
for _ in range(600):  # half a minute
    if signals:
        break
    time.sleep(0.05)
time.sleep({seconds})
{ending}
"""


def start(step: str, folder) -> subprocess.Popen:
    """Starts a demo whose only command is a script; returns once that is ready."""
    (folder / "step.py").write_text(step)
    process = subprocess.Popen(
        [sys.executable, *after(DEFAULT_SIGNALS, "-c", DEMO)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    for line in process.stdout:
        if line == "ready\n":
            break
    return process


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        ("pass", 0),
        ("sys.exit(1)", 1),
        ("sys.exit(143)", 143),
        ("sys.exit(130)", 130),
        ("os.kill(os.getpid(), signal.SIGKILL)", 137),
    ],
)
def test_it_ends_as_its_command_does(ending, code, tmp_path):
    process = start(f"import os, signal, sys\nprint('ready')\n{ending}", tmp_path)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert ("the next step" in out) == (code == 0)
    assert err == (
        f"Stopped with exit code {code}. {HOW_TO_RESUME}\n" if code > 128 else ""
    )


def by_process(process: subprocess.Popen, number: int) -> None:
    process.send_signal(number)


def by_group(process: subprocess.Popen, number: int) -> None:
    os.killpg(process.pid, number)


def by_both(process: subprocess.Popen, number: int) -> None:
    """As `timeout` does."""
    process.send_signal(number)
    os.killpg(process.pid, number)


@pytest.mark.parametrize(
    ("send", "number", "ending"),
    [
        (by_process, signal.SIGTERM, "sys.exit(128 + signals[0])"),
        (by_both, signal.SIGTERM, "sys.exit(128 + signals[0])"),
        (by_group, signal.SIGINT, "sys.exit(128 + signals[0])"),
        (by_process, signal.SIGTERM, "sys.exit(0)"),  # the last step was finished
        *(
            pytest.param(*case, "sys.exit(128 + signals[0])", marks=pytest.mark.slow)
            for case in ((by_group, signal.SIGTERM), (by_process, signal.SIGHUP))
        ),
    ],
)
def test_its_command_gets_the_signal_once_and_may_finish(
    send, number, ending, tmp_path
):
    process = start(STEP.format(seconds=2, ending=ending), tmp_path)
    send(process, number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number, err
    assert out == f"got {number.name}\n"
    assert err == f"Stopped with exit code {128 + number}. {HOW_TO_RESUME}\n"


def test_a_second_signal_is_forwarded_too(tmp_path):
    process = start(STEP.format(seconds=60, ending="sys.exit(1)"), tmp_path)
    for _ in range(2):
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "got SIGTERM\n"
    process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM
