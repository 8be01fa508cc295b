"""Output for a terminal or a log: progress, status lines, printable text."""

import contextlib
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import TextIO

import tqdm

_SECONDS_BETWEEN_REDRAWS = 0.2
_quiet = False  # set by --quiet


def be_quiet(quiet: bool) -> None:
    """Turns progress and `say` off, or on again."""
    global _quiet
    _quiet = quiet


def share_with_progress() -> None:
    """Makes everything printed to a terminal appear above the progress bar."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name).isatty():
            setattr(sys, name, _AboveProgress(getattr(sys, name)))


def printable(text: str) -> str:
    """Escapes a text for a terminal or a log, in one line.

    Replaces each character that is not visible by its code. Names that come from data
    may contain characters that move a terminal's cursor or reverse the reading
    direction.
    """
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in text
    )


class Progress:
    """Shows the count, the rate and the remaining time; nothing with --quiet.

    A terminal gets a tqdm bar, a log gets a line at intervals::

      preparing clips:  43%|████▎     | 740/1728 [00:02<00:03, 292.6it/s, 2 rejected]
      preparing clips 740/1728  43 %  292.6/s  0:03 left  2 rejected

    Args:
      task: what is done, a few words.
      total: count of items.
      seconds_between: minimum time between two lines in a log.
      done: items that were done before this started.
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
        stream = _unwrapped(stream or sys.stderr)
        self._view: _BarView | _LogView
        if stream.isatty():
            self._view = _BarView(task, total, done, stream)
        else:
            self._view = _LogView(task, total, seconds_between, done, stream)

    def update(self, done: int, note: str = "", rate: str = "") -> None:
        """Shows that `done` items of the total are done.

        Args:
          done: count of items, including those done before this started.
          note: text shown last.
          rate: replaces the number of items per second.
        """
        if not _quiet:
            self._view.update(done, note, rate)


class _BarView:
    """Progress as a bar on a terminal."""

    def __init__(self, task: str, total: int, done: int, terminal: TextIO):
        self._bar = _Bar(
            terminal, _SECONDS_BETWEEN_REDRAWS, desc=task, total=total, initial=done
        )

    def update(self, done: int, note: str, rate: str) -> None:
        bar = self._bar
        rate = rate or "{rate_fmt}"
        bar.bar_format = (
            f"{{l_bar}}{{bar}}| {{n_fmt}}/{{total_fmt}} [{{elapsed}}<{{remaining}}, "
            f"{rate}{{postfix}}]"
        )
        bar.set_postfix_str(note.strip(), refresh=False)
        bar.initial = min(bar.initial, done)  # a run may be rolled back
        finished = done >= bar.total
        if finished:
            bar.mininterval = 0
        bar.update(done - bar.n)
        if finished:
            bar.leave = True
            bar.close()


class _LogView:
    """Progress as lines in a log."""

    def __init__(
        self, task: str, total: int, seconds_between: float, done: int, log: TextIO
    ):
        self._task = task
        self._total = total
        self._first = done
        self._log = log
        self._seconds_between = seconds_between
        self._start = self._last = time.monotonic()

    def update(self, done: int, note: str, rate: str) -> None:
        now = time.monotonic()
        if done < self._total and now - self._last < self._seconds_between:
            return
        self._last = now
        percent = int(100 * done / self._total) if self._total else 100
        speed = self._speed(done, now - self._start, rate)
        line = f"{self._task} {done}/{self._total}  {percent} %  {speed}{note}"
        print(line, file=self._log, flush=True)

    def _speed(self, done: int, elapsed: float, rate: str) -> str:
        """The rate, then the remaining time, or the elapsed time at the end."""
        came = done - self._first
        if came <= 0 and done < self._total:  # negative after a run was rolled back
            return "begins"
        rate = rate or _rate(came / max(elapsed, 1e-6))
        if done >= self._total:
            return f"{rate}  in {duration(elapsed)}"
        return f"{rate}  {duration((self._total - done) * elapsed / came)} left"


def _rate(per_second: float) -> str:
    """4.1/s, or 5.0 s each below one per second."""
    if 0 < per_second < 1:
        return f"{1 / per_second:.1f} s each"
    return f"{per_second:.1f}/s"


class _Bar(tqdm.tqdm):
    """A tqdm bar that `_AboveProgress` can erase."""

    monitor_interval = 0  # starts no thread
    on_screen: "_Bar | None" = None

    def __init__(self, terminal: TextIO, seconds_between: float, **settings):
        super().__init__(
            file=terminal,
            mininterval=seconds_between,
            miniters=0,  # the note may change while the count does not
            smoothing=0,  # counts may come in jumps, which mislead a moving average
            delay=1e-6,  # draws nothing before the first update
            leave=False,
            position=0,
            dynamic_ncols=True,
            **settings,
        )

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        before = _Bar.on_screen
        if before is not None and before is not self:
            before.clear(nolock=True)
        _Bar.on_screen = None if self.disable else self  # disabled while it closes
        return super().display(msg, pos)


_Bar.set_lock(threading.RLock())  # tqdm's own also locks between processes


class _AboveProgress:
    """A terminal's stream that erases the progress bar before other text."""

    def __init__(self, terminal: TextIO):
        self.terminal = terminal

    def write(self, text: str) -> int:
        with _Bar.get_lock():
            bar = _Bar.on_screen
            if text and bar is not None:
                _Bar.on_screen = None
                bar.clear(nolock=True)
            return self.terminal.write(text)

    def __getattr__(self, name: str):
        return getattr(self.terminal, name)


def _unwrapped(stream: TextIO) -> TextIO:
    return stream.terminal if isinstance(stream, _AboveProgress) else stream


@contextlib.contextmanager
def clock(task: str) -> Iterator[None]:
    """Shows the elapsed time of a task of unknown length, at intervals."""
    stream = _unwrapped(sys.stderr)
    began, done, bar = time.monotonic(), threading.Event(), None
    if stream.isatty():
        bar = _Bar(stream, 0.0, desc=task, bar_format="{desc}  {elapsed}")

    def show() -> None:
        while not done.wait(10.0 if bar is None else 1.0):
            if _quiet:
                continue
            if bar is not None:
                bar.update(0)
            else:
                elapsed = duration(time.monotonic() - began)
                print(f"{task}  {elapsed}", file=stream, flush=True)

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        if bar is not None:
            bar.close()


def say(line: str) -> None:
    """Prints a status line, escaped as by `printable`; nothing with --quiet."""
    if not _quiet:
        print(printable(line), flush=True)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Aligns the columns of rows of text.

    Args:
      rows: rows with the same number of cells.

    Returns:
      A line for each row.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def duration(seconds: float) -> str:
    """Seconds as 1:02:03 or 2:03."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02}:{seconds:02}"
    return f"{minutes}:{seconds:02}"
