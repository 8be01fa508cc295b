"""What every command shares: its flags, how it runs and how it ends."""

import contextlib
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from typing import NoReturn

from absl import app, flags, logging

from tf_dvdgan import errors, terminal
from tf_dvdgan.data import files

# TensorFlow's C++ side logs much that is no user's business; what matters is raised.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

flags.disclaim_key_flags()  # what is defined here for a command, its --help lists

_if_interrupted = ""  # as given to `run`


def run(
    main: Callable[[list[str]], int | None],
    flags_parser: Callable | None = None,
    if_interrupted: str = "The same command starts from the beginning.",
) -> NoReturn:
    """Runs a command's main: parses flags, turns `UserError` into one line.

    The file systems of paths in the flags are made ready first. Every command has
    --quiet, which leaves out all progress.

    Exit codes: 0 done, 1 an error, 2 flags that do not parse, 128 and a signal's number
    if one stopped it: 130 by Ctrl-C, 143 by SIGTERM.

    Args:
      main: gets what is left of the command line; returns an exit code or None.
      flags_parser: instead of absl's, from the command line to what is left.
      if_interrupted: a sentence about what Ctrl-C leaves, and how to go on.
    """
    global _if_interrupted
    _if_interrupted = if_interrupted
    flags.DEFINE_bool("quiet", False, "Show no progress, only what comes of it.")
    terminal.share_with_progress()
    try:
        app.run(_Main(main), flags_parser=flags_parser or _parse_flags)
    except SystemExit as leaving:
        asked_for_help = {"--help", "-help", "-h", "--helpfull"} & set(sys.argv[1:])
        code = 0 if asked_for_help else leaving.code  # absl's is 1
    except KeyboardInterrupt:
        _tell_interrupted()
        code = 128 + signal.SIGINT
    except Exception:
        lines = traceback.format_exc().splitlines()
        print("\n".join(map(terminal.printable, lines)), file=sys.stderr)
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
        terminal.be_quiet(flags.FLAGS.quiet)
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.WARNING)
        try:
            files.ready(*_remote_paths(flags.FLAGS.flag_values_dict().values()))
            return self._main(argv)
        except errors.InvalidValueError as error:
            logging.info("The config was refused here:", exc_info=True)
            sentence = f"The config cannot be used: {_first_reason(error)}."
        except errors.UserError as error:
            sentence = str(error).split("\n")[0]  # Gin adds lines of its own
        except Exception as error:
            if type(error).__name__ != "ResourceExhaustedError":  # TensorFlow's
                raise
            logging.info("Memory was wanted here:", exc_info=True)
            sentence = (
                "A device has not enough memory. Lower BATCH_SIZE, have blocks "
                "recomputed, or take bfloat16; docs/troubleshooting.md says how."
            )
        print(f"error: {terminal.printable(sentence)}", file=sys.stderr)
        return 1


def _first_reason(error: errors.InvalidValueError) -> str:
    """What was refused; Keras adds lines before it, and Gin behind."""
    lines = str(error).splitlines()
    reasons = [line for line in lines if "Received: " in line]
    return (reasons or lines)[0].strip().rstrip(".")


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
    sentence = terminal.printable(str(error)).rstrip(".")
    sentence = re.sub(r"Did you mean: (.*) \?$", r"Did you mean '\1'?", sentence)
    end = "" if sentence.endswith("?") else "."
    print(f"error: {sentence}{end} --help lists the flags.", file=sys.stderr)
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
