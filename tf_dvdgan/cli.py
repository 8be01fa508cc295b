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
from typing import NoReturn, TextIO

from absl import app, flags, logging

# TensorFlow's C++ side logs much that is no user's business; what matters is raised.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

flags.disclaim_key_flags()  # what is defined here for a command, its --help lists

_quiet = False  # as --quiet says
_standing = False  # whether progress stands on the terminal's last line
_if_interrupted = ""  # as given to `run`
_LEAST_BAR = 10
_ERASE = "\r\x1b[K"


class UserError(Exception):
    """A mistake of the user's; the message says what is wrong and what to do."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A suggestion to end a sentence with, or nothing if no known name is near."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def run(
    main: Callable[[list[str]], int | None],
    flags_parser: Callable | None = None,
    if_interrupted: str = "The same command begins anew.",
) -> NoReturn:
    """Runs a command's main: parses flags, turns `UserError` into one line.

    The file systems of paths in the flags are made ready first. Every command has
    --quiet, which leaves out all progress.

    Exit codes: 0 done, 1 an error, 2 flags that do not parse, 130 interrupted.

    Args:
      main: gets what is left of the command line; returns an exit code or None.
      flags_parser: in the place of absl's, from the command line to what is left.
      if_interrupted: a sentence about what Ctrl-C leaves, and how to go on.
    """
    global _if_interrupted
    _if_interrupted = if_interrupted
    flags.DEFINE_bool("quiet", False, "Show no progress, only what comes of it.")
    for name in ("stdout", "stderr"):
        if getattr(sys, name).isatty():
            setattr(sys, name, _AboveProgress(getattr(sys, name)))
    try:
        app.run(_Main(main), flags_parser=flags_parser or _parse_flags)
    except SystemExit as leaving:
        code = leaving.code
    except KeyboardInterrupt:
        _tell_interrupted()
        code = 128 + signal.SIGINT
    except Exception:
        lines = traceback.format_exc().splitlines()
        print("\n".join(map(printable, lines)), file=sys.stderr)
        code = 1
    _leave(code)


def _tell_interrupted() -> None:
    print(f"\nInterrupted. {_if_interrupted}", file=sys.stderr, flush=True)


def end_at_once(number: int, frame: object) -> NoReturn:
    """Handles a signal where what runs could not be unwound: the sentence, the end."""
    del frame
    _tell_interrupted()
    os._exit(128 + number)


class _Main:
    def __init__(self, main):
        self._main = main
        self.__doc__ = sys.modules[main.__module__].__doc__  # what --help prints

    def __call__(self, argv: list[str]) -> int | None:
        global _quiet
        _quiet = flags.FLAGS.quiet
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


def define_generator() -> None:
    """Defines --model_dir, --step and --saved_model, which generator is sampled."""
    flags.DEFINE_string("model_dir", None, "A run's folder.")
    define_step()
    flags.DEFINE_string(
        "saved_model", None, "In its place: a SavedModel's folder, of tools.export."
    )


def are_truncations(texts: Sequence[str]) -> bool:
    """Whether the values of a flag are numbers from 0 to 1, one at least."""
    try:
        return bool(texts) and all(0 <= float(text) <= 1 for text in texts)
    except ValueError:
        return False


def define_pictures(file_format: str = "gif") -> None:
    """Defines --output, --format and --fps, what videos are written as."""
    flags.DEFINE_string("output", None, "Folder to write to.", required=True)
    flags.DEFINE_enum("format", file_format, ["gif", "mp4", "png"], "Of the files.")
    flags.DEFINE_float("fps", 8.0, "Frames per second of GIF and MP4.", lower_bound=1)


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
          rate: in the place of how many came in a second.
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
    """Writes a line of progress; on a terminal in the place of the last."""
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


def safe_name(text: str) -> str:
    """A text as part of a file's name: letters, digits, dots and dashes stay."""
    return re.sub(r"[^\w.-]+", "_", text)
