"""Stopping a run: signals, and what all workers decide together."""

import os
import signal
import sys
import threading

import tensorflow as tf

from tf_dvdgan.training import strategy as strategy_lib

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def sync_decision(
    strategy: tf.distribute.Strategy, received: signal.Signals | None, num_steps: int
) -> tuple[signal.Signals | None, int]:
    """Agrees with the other workers on whether to stop, and on the number of steps.

    Args:
      strategy: of the workers.
      received: the signal that asked this worker to stop, or None.
      num_steps: what this worker would do next; the chief's number counts.

    Returns:
      SIGTERM if any worker received it, else SIGINT if any received that, else None;
      and the number of steps. They are the same on all workers.
    """
    own = [received == number for number in _STOP_SIGNALS]
    own += [num_steps if strategy_lib.is_chief(strategy) else 0]
    *counts, steps = strategy_lib.sum_over_workers(strategy, own)
    got = [number for number, count in zip(_STOP_SIGNALS, counts, strict=True) if count]
    return (got[0] if got else None), int(steps)


class StopRequest:
    """Notes SIGINT and SIGTERM while it is entered; a second one ends the process.

    Python delivers signals only to the main thread; in another one nothing is noted.

    Attributes:
      signal: the one that was received, or None.
    """

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
            _print(
                "Stopped at once; the same command resumes from the last checkpoint."
            )
            os._exit(128 + number)
        self.signal = signal.Signals(number)
        _print("Stopping after the steps in hand… Once more stops at once.")


def _print(sentence: str) -> None:
    start = "\n" if sys.stderr.isatty() else ""  # after the terminal's own ^C
    print(f"{start}{sentence}", file=sys.stderr, flush=True)
