"""Traces of training steps for TensorBoard's profile plugin."""

import contextlib
from collections.abc import Iterator

import tensorflow as tf

from tf_dvdgan import errors, run_directory


class Profiler:
    """Traces steps of a run, from its second call to the device on.

    The first call is skipped, because it mostly compiles the step. If a trace cannot be
    recorded or written, a warning is printed and the run continues without it. Use as a
    context manager around all calls, so that the trace is written even if the run ends
    early.

    Args:
      model_dir: folder of the run; the trace goes to `train/plugins/profile` in it.
      num_steps: number of steps to trace; 0 for none.
    """

    def __init__(self, model_dir: str, num_steps: int = 0):
        self._folder = run_directory.RunDirectory(model_dir).events("train")
        self._left = num_steps
        self._compiled = False
        self._running = False

    def limit(self, num_steps: int) -> int:
        """Reduces the next call's number of steps so as not to pass the trace's end."""
        return min(num_steps, self._left) if self._left else num_steps

    def __enter__(self) -> "Profiler":
        return self

    def __exit__(self, *error: object) -> None:
        self._stop()

    @contextlib.contextmanager
    def call(self, num_steps: int) -> Iterator[None]:
        """Starts and stops the trace around a call of `num_steps` steps."""
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
            print(f"Trace written to {self._folder}/plugins/profile", flush=True)
        except (tf.errors.OpError, OSError) as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self._left = 0
        print(f"Profiling failed: {errors.reason_of(error)}", flush=True)
