"""Stops a run on a signal, at the same step on all workers."""

import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import NoReturn

import tensorflow as tf

from tf_dvdgan.training import strategy as strategy_lib

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def sync_decision(
    strategy: tf.distribute.Strategy, received: signal.Signals | None, num_steps: int
) -> tuple[signal.Signals | None, int]:
    """Agrees with the other workers on whether to stop, and on the number of steps.

    Args:
      strategy: distribution strategy.
      received: the signal that this worker received, or None.
      num_steps: number of steps this worker would run next; only the chief's counts.

    Returns:
      SIGTERM if any worker received it, else SIGINT if any received that, else None;
      and the number of steps. They are the same on all workers.
    """
    own = [float(received == number) for number in _STOP_SIGNALS]
    own += [float(num_steps) if strategy_lib.is_chief(strategy) else 0.0]
    *counts, steps = strategy_lib.sum_over_workers(strategy, own)
    by_any = [n for n, count in zip(_STOP_SIGNALS, counts, strict=True) if count]
    return (by_any[0] if by_any else None), int(steps)


class StopRequest:
    """Context that records SIGINT or SIGTERM.

    Python delivers signals only to the main thread; in others it records nothing.

    Args:
      on_second: called with the number of a second signal.

    Attributes:
      signal: the received signal, or None.
    """

    def __init__(self, on_second: Callable[[int], None]):
        self._on_second = on_second

    def __enter__(self) -> "StopRequest":
        self.signal: signal.Signals | None = None
        self._handlers = {}
        if threading.current_thread() is threading.main_thread():
            for number in _STOP_SIGNALS:
                self._handlers[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: object) -> None:
        del frame
        if self.signal:
            self._on_second(number)
        self.signal = signal.Signals(number)
        _print("Stopping after the current steps… A second signal stops at once.")


def exit_at_once(number: int) -> NoReturn:
    """Ends the process at a second signal, for commands."""
    _print("Stopped at once; the same command resumes from the last checkpoint.")
    os._exit(128 + number)


def end_by(received: signal.Signals) -> NoReturn:
    """Ends a program's training after a signal, when the run is saved.

    Args:
      received: the signal that stopped the run.

    Raises:
      KeyboardInterrupt: it is SIGINT.
      SystemExit: it is SIGTERM.
    """
    if received == signal.SIGINT:
        raise KeyboardInterrupt("Training is stopped and saved; another call resumes.")
    raise SystemExit(128 + received)


def interrupt(number: int) -> None:
    """Raises `KeyboardInterrupt` at a second Ctrl-C, for notebooks and programs."""
    if number != signal.SIGINT:
        exit_at_once(number)
    raise KeyboardInterrupt


def _print(message: str) -> None:
    start = "\n" if sys.stderr.isatty() else ""  # after the terminal's own ^C
    print(f"{start}{message}", file=sys.stderr, flush=True)
