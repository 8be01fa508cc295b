"""Traces of steps for TensorBoard's profile plugin."""

import contextlib
import os
from collections.abc import Iterator

import tensorflow as tf


class Profiler:
    """Traces so many steps of a run, from its second call to the device on.

    The first call compiles the step, and would show little else. What cannot be traced
    or written is said, and the run goes on without. Entered around all calls, it writes
    at the end what is there, should the run stop before.

    Args:
      model_dir: of the run; the trace goes to its `train/plugins/profile`.
      num_steps: to trace; 0 for none.
    """

    def __init__(self, model_dir: str, num_steps: int = 0):
        self._folder = os.path.join(model_dir, "train")
        self._left = num_steps
        self._compiled = False
        self._running = False

    def limit(self, num_steps: int) -> int:
        """How many steps to do in the next call: none past the end of the trace."""
        return min(num_steps, self._left) if self._left else num_steps

    def __enter__(self) -> "Profiler":
        return self

    def __exit__(self, *error: object) -> None:
        self._stop()

    @contextlib.contextmanager
    def call(self, num_steps: int) -> Iterator[None]:
        """Around a call of so many steps: begins the trace, ends it after the last."""
        if self._left and self._compiled and not self._running:
            self._start()
        yield
        self._compiled = True
        if self._running:
            self._left -= num_steps
            if self._left <= 0:
                self._stop()

    def _start(self) -> None:
        try:
            tf.profiler.experimental.start(self._folder)
            self._running = True
        except (tf.errors.OpError, OSError) as error:
            self._give_up(error)

    def _stop(self) -> None:
        if not self._running:
            return
        self._running, self._left = False, 0
        try:
            tf.profiler.experimental.stop()
            print(f"Trace of the steps: {self._folder}/plugins/profile", flush=True)
        except (tf.errors.OpError, OSError) as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self._left = 0
        print(f"The steps cannot be traced: {str(error).splitlines()[0]}", flush=True)
