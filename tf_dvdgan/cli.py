"""Shared by all commands: common flags, running a main, exit codes."""

import atexit
import contextlib
import gc
import logging as python_logging
import math
import os
import pathlib
import re
import select
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TextIO

from absl import app, flags, logging

from tf_dvdgan import errors, terminal
from tf_dvdgan.data import files

# TensorFlow's C++ code logs internals; what a user needs to know is raised as an error.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

flags.disclaim_key_flags()  # --help lists flags defined here as the command's own

# There, commands lie inside the package, see setup.py.
_INSTALLED = (pathlib.Path(__file__).parent / "tools").is_dir()
_if_interrupted = ""  # set by `run`
_PLACES = ("model_dir", "output")  # empty ones would be the working directory
# Flags whose arguments have other names, also without their "_dir".
_FLAG_OF = {"directory": "output"}


def run(
    main: Callable[[list[str]], int | None],
    flags_parser: Callable | None = None,
    if_interrupted: str = "The same command starts from the beginning.",
    any_store: Sequence[str] = ("output",),
) -> NoReturn:
    """Runs a command's main: parses flags, reports a `UserError` in one line.

    First registers the file systems of all paths in the flags. Adds the flag --quiet,
    which turns progress off.

    Exit codes: 0 success, 1 an error, 2 invalid flags, 128 plus a signal's number if
    one stopped the command: 130 for Ctrl-C, 143 for SIGTERM.

    Args:
      main: takes the remaining arguments; returns an exit code or None.
      flags_parser: replaces absl's; takes the command line, returns the remaining
        arguments.
      if_interrupted: a sentence printed after Ctrl-C: what was kept, how to resume.
      any_store: flags whose paths TensorFlow itself does not read or write; see
        `files.register_filesystems`.
    """
    global _if_interrupted
    _if_interrupted = if_interrupted
    flags.DEFINE_bool("quiet", False, "Show no progress, only results.")
    terminal.share_with_progress()
    _expect_many_models()
    # Tracing a model makes millions of objects; with Python's threshold of 700 a tenth
    # of the start of a training is garbage collection.
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)
    try:
        app.run(_Main(main, any_store), flags_parser=flags_parser or _parse_flags)
    except SystemExit as leaving:
        asked_for_help = {"--help", "-help", "-h", "--helpfull"} & set(sys.argv[1:])
        code = 0 if asked_for_help else leaving.code  # absl's is 1
    except KeyboardInterrupt:
        _print_interrupted()
        code = 128 + signal.SIGINT
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _is_unread(sys.stdout):
            _exit_now(128 + signal.SIGPIPE)  # as without Python, quietly
        lines = traceback.format_exc().splitlines()
        print("\n".join(map(terminal.printable, lines)), file=sys.stderr)
        code = 1
    _exit_now(code)


def _is_unread(stream: TextIO) -> bool:
    """Whether a stream is a pipe to a command that has ended, such as `head`."""
    poll = select.poll()
    poll.register(stream.fileno(), select.POLLOUT)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _expect_many_models() -> None:
    """Omits TensorFlow's warning that each further model is traced again."""

    def is_news(record: python_logging.LogRecord) -> bool:
        return "triggered tf.function retracing" not in str(record.msg)

    python_logging.getLogger("tensorflow").addFilter(is_news)


def _print_interrupted() -> None:
    print(f"\nInterrupted. {_if_interrupted}", file=sys.stderr, flush=True)


def end_at_once(number: int, frame: object) -> NoReturn:
    """Handles a signal by exiting at once, for code that cannot be unwound.

    Args:
      number: of the signal.
      frame: unused.
    """
    del frame
    _print_interrupted()
    os._exit(128 + number)


class _Main:
    def __init__(self, main, any_store):
        self._main = main
        self._any_store = any_store
        # --help prints it.
        self.__doc__ = as_installed(sys.modules[main.__module__].__doc__ or "")

    def __call__(self, argv: list[str]) -> int | None:
        terminal.be_quiet(flags.FLAGS.quiet)
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.WARNING)
        try:
            _expand_home()
            _check_numbers()
            _check_places()
            for name, value in flags.FLAGS.flag_values_dict().items():
                files.register_filesystems(
                    *_remote_paths(value), by_tensorflow=name not in self._any_store
                )
            return self._main(argv)
        except errors.InvalidValueError as error:
            logging.info("The invalid value was raised here:", exc_info=True)
            reason = str(errors.in_one_line(error)).rstrip(".")
            message = f"The config cannot be used: {reason}."
        except errors.UserError as error:
            message = str(errors.in_one_line(error))
        except Exception as error:
            message = _resource_error(error)
            if not message:
                raise
            logging.info("It was raised here:", exc_info=True)
        message = as_installed(with_flags(message))
        print(f"error: {terminal.printable(message)}", file=sys.stderr)
        return 1


def with_flags(message: str) -> str:
    """Writes arguments of functions in a message as the flags of the same names.

    Args:
      message: has arguments in backticks, such as `step` or `step=3`.

    Returns:
      The message with --step and --step=3, if they are flags of the command.
    """

    def replace(found: re.Match) -> str:
        name, value = found[1], (found[2] or "").removesuffix("=True")
        names = (name, name.removesuffix("_dir"), _FLAG_OF.get(name, name))
        known = [n for n in names if n in flags.FLAGS]
        return f"--{known[0]}{value}" if known else found[0]

    return re.sub(r"`(\w+)(=[^`]*)?`", replace, message)


def as_installed(text: str) -> str:
    """Writes commands in a text as they are where the package is installed.

    Args:
      text: has commands of a checkout, such as `python -m tools.sample`.

    Returns:
      The text, with the console script for each of them if this is no checkout.
    """
    if not _INSTALLED:
        return text
    return re.sub(r"python -m (?:tools|data_prep)\.(\w+)", r"tf_dvdgan_\1", text)


def _resource_error(error: Exception) -> str:
    """A message if a disk or device is full or permission is missing, else ''."""
    if errors.is_full_disk(error):
        place = getattr(error, "filename", None)
        return (
            f"The disk is full{f': {place} cannot be written' if place else ''}. Free "
            "some space and run the same command again."
        )
    if isinstance(error, PermissionError) and error.filename:
        return f"There is no permission to use {error.filename}."
    if type(error).__name__ == "PermissionDeniedError":  # TensorFlow's
        return f"There is no permission to use a file: {errors.reason_of(error)}."
    if type(error).__name__ == "ResourceExhaustedError":  # TensorFlow's
        return (
            "A device ran out of memory. Lower BATCH_SIZE, use gradient "
            "checkpointing, or use bfloat16; docs/troubleshooting.md explains how."
        )
    return ""


def _expand_home() -> None:
    """Expands "~" at the start of flags' values, which shells leave after "="."""
    for name, value in flags.FLAGS.flag_values_dict().items():
        if isinstance(value, str):
            flags.FLAGS[name].value = files.as_text(value)
        elif isinstance(value, list) and all(isinstance(v, str) for v in value):
            flags.FLAGS[name].value = [files.as_text(v) for v in value]


def _check_numbers() -> None:
    """Checks that numbers of flags are numbers, which bounds of flags do not."""
    for name, value in flags.FLAGS.flag_values_dict().items():
        if isinstance(value, float) and math.isnan(value):
            exit_with_flag_error(f"--{name} must be a number, not {value}")


def _check_places() -> None:
    """Checks that flags of places are not empty, as unset shell variables are."""
    for name in _PLACES:
        if name in flags.FLAGS and flags.FLAGS[name].value == "":
            exit_with_flag_error(f"--{name} is empty; it must name a folder or a file")


def _remote_paths(value: object) -> list[str]:
    """Paths of other file systems in the value of a flag; not a TPU's address.

    A Gin binding may contain a path in quotes.
    """
    found = []
    for text in value if isinstance(value, list) else [value]:
        if isinstance(text, str):
            found += re.findall(r"""(?:^|(?<=["']))[A-Za-z][\w+.-]*://[^"']*""", text)
    return [path for path in found if not path.startswith("grpc://")]


def _exit_now(code: int | str | None) -> NoReturn:
    """Ends the process with an exit code, without taking its objects apart.

    That takes a second or more once TensorFlow is loaded, and TensorFlow I/O aborts in
    Python's usual shutdown.
    """
    if isinstance(code, str):
        print(code, file=sys.stderr)  # as `sys.exit` does
    if "tensorflow_io" not in sys.modules:
        threading._shutdown()  # type: ignore[attr-defined]  # as Python itself does
        atexit._run_exitfuncs()
    logging.flush()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # a reader may be gone
            stream.flush()
    os._exit(code if isinstance(code, int) else 0 if code is None else 1)


def _parse_flags(argv: Sequence[str]) -> list[str]:
    """Parses absl flags; does not allow other arguments."""
    rest = parse_flags(argv)
    if rest[1:]:
        exit_with_flag_error(f"{rest[1]!r} is not a flag; flags start with --")
    return rest


def parse_flags(argv: Sequence[str], known_only: bool = False) -> list[str]:
    """Parses absl flags; ends the process if they are invalid.

    Args:
      argv: the command line.
      known_only: whether to keep unknown flags among the remaining arguments.

    Returns:
      The remaining arguments, after the program's name.
    """
    try:
        return flags.FLAGS(list(argv), known_only=known_only)
    except flags.Error as error:
        exit_with_flag_error(error)


def exit_with_flag_error(error: object) -> NoReturn:
    """Prints one sentence about the flags and exits with code 2."""
    message = terminal.printable(str(error)).rstrip(".")
    message = re.sub(r"Did you mean: (.*) \?$", r"Did you mean '\1'?", message)
    end = "" if message.endswith("?") else "."
    print(f"error: {message}{end} --help lists the flags.", file=sys.stderr)
    sys.exit(2)


def define_step() -> None:
    """Defines --step, the checkpoint of a run that a command loads."""
    flags.DEFINE_string(
        "step", None, "Checkpoint: its step or 'best'; the newest by default."
    )
    flags.register_validator(
        "step",
        lambda value: value in (None, "best") or value.isdigit(),
        message="it must be a number or 'best'",
    )


def define_generator() -> None:
    """Defines the flags of the generator to sample; see `generators.open_generator`."""
    flags.DEFINE_string("model_dir", None, "A run's folder.")
    define_step()
    flags.DEFINE_string(
        "pretrained",
        None,
        "Instead of --model_dir: name of a generator that comes with the package.",
    )
    flags.DEFINE_string(
        "saved_model",
        None,
        "Instead of --model_dir: a SavedModel's folder, from tools.export.",
    )
    flags.DEFINE_bool(
        "trust",
        False,
        "Run any operations in --saved_model, also those that read or write files.",
    )


def define_gin() -> None:
    """Defines --gin_file and --gin_param: the config."""
    flags.DEFINE_multi_string("gin_file", [], "Gin file; may be repeated.")
    flags.DEFINE_multi_string("gin_param", [], "Gin binding, such as 'CH = 32'.")


def generator_flags() -> dict[str, Any]:
    """Returns the values of `define_generator`'s flags, for `open_generator`."""
    names = ("model_dir", "step", "saved_model", "trust", "pretrained")
    return {name: flags.FLAGS[name].value for name in names}


def are_truncations(texts: Sequence[str]) -> bool:
    """Whether the values of a flag are numbers from 0 to 1, and at least one."""
    try:
        return bool(texts) and all(0 <= float(text) <= 1 for text in texts)
    except ValueError:
        return False


def numbers(name: str) -> list[float]:
    """Returns the values of a flag that is a list of numbers.

    Args:
      name: name of the flag.

    Raises:
      UserError: a value is not a number.
    """
    texts: list[str] = flags.FLAGS[name].value or []
    try:
        return [float(text) for text in texts]
    except ValueError:
        raise errors.UserError(
            f"`{name}` must be numbers, separated by commas, not {','.join(texts)!r}."
        ) from None


def define_pictures(file_format: str = "gif") -> None:
    """Defines --output, --format and --fps: how videos are written."""
    flags.DEFINE_string("output", None, "Folder to write to.", required=True)
    flags.DEFINE_enum("format", file_format, ["gif", "mp4", "png"], "File format.")
    flags.DEFINE_float("fps", 8.0, "Frames per second of GIF and MP4.", lower_bound=1)


def define_strategy() -> None:
    """Defines --strategy and --tpu: the devices that run the networks."""
    flags.DEFINE_enum(
        "strategy",
        "auto",
        ["auto", "one_device", "mirrored", "multi_worker", "tpu"],
        "Distribution strategy; multi_worker reads its workers from TF_CONFIG.",
    )
    flags.DEFINE_string("tpu", None, "'local' on a TPU VM, a TPU's name or grpc://...")
