"""What every command shares: errors of one sentence, progress, leaving."""

import contextlib
import difflib
import os
import re
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NoReturn

from absl import app, flags, logging

# TensorFlow's C++ side logs much that is no user's business; what matters is raised.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


class UserError(Exception):
    """A mistake of the user's; the message says what is wrong and what to do."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A suggestion to end a sentence with, or nothing if no known name is near."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def run(main: Callable[[list[str]], int | None], flags_parser: Callable | None = None):
    """Runs a command's main: parses flags, turns `UserError` into one line.

    The file systems of paths in the flags are made ready first.

    Exit codes: 0 done, 1 an error, 2 flags that do not parse, 130 interrupted.

    Args:
      main: gets what is left of the command line; returns an exit code or None.
      flags_parser: in the place of absl's, from the command line to what is left.
    """
    try:
        app.run(_Main(main), flags_parser=flags_parser or _parse_flags)
    except SystemExit as leaving:
        code = leaving.code
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        code = 128 + signal.SIGINT
    except Exception:
        lines = traceback.format_exc().splitlines()
        print("\n".join(map(printable, lines)), file=sys.stderr)
        code = 1
    _leave(code)


class _Main:
    def __init__(self, main):
        self._main = main
        self.__doc__ = sys.modules[main.__module__].__doc__  # what --help prints

    def __call__(self, argv: list[str]) -> int | None:
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.WARNING)
        try:
            remote = _remote_paths(flags.FLAGS.flag_values_dict().values())
            if remote:
                from tf_dvdgan.data import files

                files.ready(*remote)
            return self._main(argv)
        except UserError as error:
            sentence = printable(str(error).split("\n")[0])  # Gin adds lines of its own
            print(f"error: {sentence}", file=sys.stderr)
            return 1


def _remote_paths(values: Iterable[object]) -> list[str]:
    """What in the values of flags names another file system; a TPU's address does not.

    A Gin binding may hold a path in quotes.
    """
    texts = []
    for value in values:
        texts += value if isinstance(value, list) else [value]
    found = []
    for text in filter(lambda text: isinstance(text, str), texts):
        found += re.findall(r"""(?:^|(?<=["']))[A-Za-z][\w+.-]*://[^"']*""", text)
    return [path for path in found if not path.startswith("grpc://")]


def _leave(code: object) -> NoReturn:
    """Ends the process with an exit code that says how it went.

    What TensorFlow I/O has opened aborts when Python ends as it usually does.
    """
    if "tensorflow_io" not in sys.modules:
        sys.exit(code)
    logging.flush()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # nobody may be listening any more
            stream.flush()
    os._exit(code if isinstance(code, int) else 0 if code is None else 1)


def printable(text: str) -> str:
    """A text for a terminal or a log, in one line.

    What is no visible character is shown by its code. Names that come from data may
    hold what moves a terminal's cursor, or turns the direction of reading.
    """
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in text
    )


def _parse_flags(argv: Sequence[str]) -> list[str]:
    """Parses absl flags; nothing may be left over."""
    rest = parse_flags(argv)
    if rest[1:]:
        exit_with_flag_error(f"{rest[1]!r} is not a flag; flags begin with --")
    return rest


def parse_flags(argv: Sequence[str], known_only: bool = False) -> list[str]:
    """Parses absl flags; gives what is left, the program's name first.

    Flags that do not parse end the process.

    Args:
      argv: the command line.
      known_only: whether unknown flags are left, too.
    """
    try:
        return flags.FLAGS(list(argv), known_only=known_only)
    except flags.Error as error:
        exit_with_flag_error(error)


def exit_with_flag_error(error: object) -> NoReturn:
    """Leaves with one sentence about the flags and exit code 2."""
    sentence = printable(str(error).rstrip("."))
    print(f"error: {sentence}. --help lists the flags.", file=sys.stderr)
    sys.exit(2)


def define_step() -> None:
    """Defines --step, which checkpoint of a run a command takes."""
    flags.DEFINE_string(
        "step", None, "Which checkpoint: its number, 'best', or the newest by default."
    )
    flags.register_validator(
        "step",
        lambda value: value in (None, "best") or value.isdigit(),
        message="it is a number or 'best'",
    )


def define_strategy() -> None:
    """Defines --strategy and --tpu, where a command runs its networks."""
    flags.DEFINE_enum(
        "strategy",
        "auto",
        ["auto", "one_device", "mirrored", "multi_worker", "tpu"],
        "Where to run; multi_worker finds its workers by TF_CONFIG.",
    )
    flags.DEFINE_string("tpu", None, "'local' on a TPU VM, a TPU's name or grpc://...")


class Progress:
    """One line now and then: how many are done, how fast, how long it will take.

    On a terminal the line is rewritten; in a log each one stands.

    Args:
      task: what is being done.
      total: how many there are.
      seconds_between: lines in a log come at most so often.
    """

    def __init__(self, task: str, total: int, seconds_between: float = 10.0):
        self._task = task
        self._total = total
        self._terminal = sys.stderr.isatty()
        self._between = 0.2 if self._terminal else seconds_between
        self._start = self._last = time.monotonic()

    def update(self, done: int, note: str = "") -> None:
        """Says that `done` of the total are done."""
        now = time.monotonic()
        if done < self._total and now - self._last < self._between:
            return
        self._last = now
        elapsed = max(now - self._start, 1e-6)
        left = (self._total - done) * elapsed / max(done, 1)
        line = (
            f"{self._task}: {done}/{self._total} "
            f"({100 * done // max(self._total, 1)} %)"
            f"  {done / elapsed:.1f}/s  {duration(left)} left{note}"
        )
        _show(line, self._terminal, stays=done >= self._total)


@contextlib.contextmanager
def clock(task: str) -> Iterator[None]:
    """Says now and then how long a task has taken whose length nobody knows."""
    terminal = sys.stderr.isatty()
    began, done = time.monotonic(), threading.Event()

    def tell() -> None:
        while not done.wait(1.0 if terminal else 10.0):
            _show(f"{task}: {duration(time.monotonic() - began)}", terminal)

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield
    finally:
        done.set()
        teller.join()
        if terminal:
            _show("", terminal)


def _show(line: str, terminal: bool, stays: bool = False) -> None:
    """Writes a line of progress; on a terminal in the place of the last."""
    start = "\r\x1b[K" if terminal else ""
    end = "\n" if stays or not terminal else ""
    print(start + line, end=end, file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """Seconds as 1:02:03 or 2:03."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02}:{seconds:02}"
    return f"{minutes}:{seconds:02}"


def safe_name(text: str) -> str:
    """A text as part of a file's name: letters, digits, dots and dashes stay."""
    return re.sub(r"[^\w.-]+", "_", text)
