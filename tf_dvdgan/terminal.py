"""What a person sees on a terminal or in a log: lines, progress, no odd characters."""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import TextIO

_quiet = False  # as --quiet says
_standing = False  # whether progress stands on the terminal's last line
_LEAST_BAR = 10
_ERASE = "\r\x1b[K"


def be_quiet(quiet: bool) -> None:
    """Leaves out all progress from now on, or shows it again."""
    global _quiet
    _quiet = quiet


def share_with_progress() -> None:
    """Lets what is printed to a terminal stand above the progress, not behind it."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name).isatty():
            setattr(sys, name, _AboveProgress(getattr(sys, name)))


def printable(text: str) -> str:
    """A text for a terminal or a log, in one line.

    What is no visible character is shown by its code. Names that come from data may
    hold what moves a terminal's cursor, or turns the direction of reading.
    """
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in text
    )


class Progress:
    """How many are done, how fast, how long it will take; nothing with --quiet.

    On a terminal a bar that moves, in a log a line now and then:

      preparing clips  [██████▍░░░░░░░░]  43 %  740/1728  292.6/s  0:03 left
      preparing clips 740/1728  43 %  292.6/s  0:03 left

    Args:
      task: what is being done.
      total: how many there are.
      seconds_between: lines in a log come at most so often.
      done: of the total, before this began.
      stream: to write to; standard error by default.
    """

    def __init__(
        self,
        task: str,
        total: int,
        seconds_between: float = 10.0,
        done: int = 0,
        stream: TextIO | None = None,
    ):
        self._task = task
        self._total = total
        self._first = done
        self._stream = stream or sys.stderr
        self._between = 0.2 if self._stream.isatty() else seconds_between
        self._start = self._last = time.monotonic()

    def update(self, done: int, note: str = "", rate: str = "") -> None:
        """Says that `done` of the total are done.

        Args:
          done: with those before this began.
          note: behind all else.
          rate: instead of how many came in a second.
        """
        now = time.monotonic()
        if done < self._total and now - self._last < self._between:
            return
        self._last = now
        share = done / self._total if self._total else 1.0
        count, percent = f"{done}/{self._total}", f"{int(100 * share)} %"
        how = self._how_fast(done, now - self._start, rate)
        if self._stream.isatty():
            text = f"{percent:>5}  {count}  {how}"
            line = _with_bar(self._task, share, text, note, self._stream)
        else:
            line = f"{self._task} {count}  {percent}  {how}{note}"
        _show(line, self._stream, stays=done >= self._total)

    def _how_fast(self, done: int, elapsed: float, rate: str) -> str:
        came = done - self._first
        if came <= 0 and done < self._total:  # less than none where a run went back
            return "begins"
        rate = rate or _rate(came / max(elapsed, 1e-6))
        if done >= self._total:
            return f"{rate}  in {duration(elapsed)}"
        return f"{rate}  {duration((self._total - done) * elapsed / came)} left"


def _rate(per_second: float) -> str:
    """4.1/s, or 5.0 s each where fewer than one comes in a second."""
    if 0 < per_second < 1:
        return f"{1 / per_second:.1f} s each"
    return f"{per_second:.1f}/s"


def _with_bar(task: str, share: float, text: str, note: str, terminal: TextIO) -> str:
    """A line that fits; where it is too long, the note goes first and then the bar."""
    for end in (text + note, text):
        free = _columns(terminal) - len(f"{task}  []  {end}")
        if free >= _LEAST_BAR:
            return f"{task}  {bar(share, min(free, 30), terminal)}  {end}"
    return f"{task}  {text.lstrip()}"


def bar(share: float, width: int, terminal: TextIO) -> str:
    """A bar in brackets, eighths of a character wide where a terminal has such.

    Args:
      share: that is done, from 0 to 1.
      width: between the brackets.
      terminal: to be shown on.
    """
    eighths = int(8 * width * min(max(share, 0.0), 1.0))
    whole, part = divmod(eighths, 8)
    filled = "█" * whole + " ▏▎▍▌▋▊▉"[part].strip()
    try:
        filled.encode(terminal.encoding)
        "░".encode(terminal.encoding)
    except UnicodeEncodeError:
        return f"[{'#' * whole:.<{width}}]"
    return f"[{filled:░<{width}}]"


def _columns(terminal: TextIO) -> int:
    """How long a line may be: one that wraps could not be erased."""
    columns = 80
    with contextlib.suppress(OSError):  # it has gone
        columns = os.get_terminal_size(terminal.fileno()).columns or columns
    return columns - 1


@contextlib.contextmanager
def clock(task: str) -> Iterator[None]:
    """Says now and then how long a task has taken whose length nobody knows."""
    stream = sys.stderr
    terminal = stream.isatty()
    began, done = time.monotonic(), threading.Event()

    def tell() -> None:
        while not done.wait(1.0 if terminal else 10.0):
            _show(f"{task}  {duration(time.monotonic() - began)}", stream)

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield
    finally:
        done.set()
        teller.join()
        if terminal:
            _show("", stream)


def say(line: str) -> None:
    """Prints what is said on the way; nothing with --quiet."""
    if not _quiet:
        print(line, flush=True)


def _show(line: str, stream: TextIO, stays: bool = False) -> None:
    """Writes a line of progress; on a terminal instead of the last."""
    global _standing
    if _quiet:
        return
    if not stream.isatty():
        print(line, file=stream, flush=True)
        return
    line = line[: _columns(stream)]
    _standing = False
    print(_ERASE + line, end="\n" if stays else "", file=stream, flush=True)
    _standing = bool(line) and not stays


class _AboveProgress:
    """A terminal's stream that erases the progress before anything else is written."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        global _standing
        if _standing and text:
            _standing = False
            text = _ERASE + text
        return self._stream.write(text)

    def __getattr__(self, name: str):
        return getattr(self._stream, name)


def duration(seconds: float) -> str:
    """Seconds as 1:02:03 or 2:03."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02}:{seconds:02}"
    return f"{minutes}:{seconds:02}"
