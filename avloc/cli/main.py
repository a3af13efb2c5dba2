"""`avloc VERB …`: find the verb, and report a wrong input as one line with exit code 2."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from typing import Any, TextIO

from avloc import __version__
from avloc.cli.catalog import VERBS, import_verb
from avloc.core.suggestions import did_you_mean
from avloc.errors import AvlocError, shown

QUIET, VERBOSE = "--quiet", "--verbose"
FLAGS = (QUIET, VERBOSE)
TOP_OPTIONS = (*FLAGS, "--help", "--version", "--completion")
RESUMED = ("demo", "synth", "extract", "train", "predict")
CURES = dict.fromkeys(RESUMED, "; finished work is kept, run the same command again to continue")
CURES["localize"] = "; finished clips are kept, add --skip-done to continue"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb, and return its exit code: 0 done, 1 failed or done with recorded failures, 2 wrong input."""
    _prepare_output()
    words = list(sys.argv[1:] if arguments is None else arguments)
    flags = {word for word in words if word in FLAGS}
    words = [word for word in words if word not in FLAGS]
    if VERBOSE in flags:
        logging.basicConfig(level=logging.INFO)
    with _quiet() if QUIET in flags else contextlib.nullcontext():
        return _run_reported(words, verbose=VERBOSE in flags)


def _run_reported(words: Sequence[str], *, verbose: bool) -> int:
    """Run a verb, and report its errors in one line; `verbose` puts the traceback before it."""
    verb = words[0] if words and words[0] in VERBS else ""
    name = f"avloc {verb}".rstrip()
    try:
        code = _run(words)
        sys.stdout.flush()  # a full disk is an error here, and no traceback at Python's end
        return code
    except AvlocError as error:
        if verbose:
            traceback.print_exc()
        print(f"{name}: error: {shown(str(error).strip())}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # what reads the output, such as `head`, has ended
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - for Python's own flush at its end
        return 128 + signal.SIGPIPE
    except OSError as error:
        from avloc.io.files import describe_os_error

        if verbose:
            traceback.print_exc()
        print(f"{name}: error: {shown(describe_os_error(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{name}: stopped{CURES.get(verb, '')}", file=sys.stderr)
        return 130


def _run(words: Sequence[str]) -> int:
    """Run a verb, or show the help or the version."""
    if not words or words[0] in ("-h", "--help"):
        print(_help())
        return 0 if words else 2
    if words[0] == "--completion":
        from avloc.cli.completion import completion_script

        print(completion_script(" ".join(words[1:])), end="")
        return 0
    if words[0] == "--version":
        print(f"avloc {__version__}")
        return 0
    if words[0] not in VERBS:
        hint = did_you_mean(words[0], TOP_OPTIONS if words[0].startswith("-") else VERBS)
        raise AvlocError(f"unknown command {words[0]!r}{hint}, want one of {', '.join(VERBS)}")
    return int(import_verb(words[0]).run(words[1:]))


def entry() -> None:
    """The console script."""
    sys.exit(main())


class _PlainStream:
    """A stream that claims to be no terminal, so that no progress bar is drawn on it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def isatty(self) -> bool:
        return False


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Print nothing but warnings and errors within this block."""
    plain: Any = _PlainStream(sys.stderr)
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(plain):
        yield


def _prepare_output() -> None:
    """Let no output raise because a stream is closed, or lacks a character, as under LC_ALL=C: that becomes an escape."""
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115 - for as long as the process lives
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a notebook's and a test's streams take every text
            stream.reconfigure(errors="backslashreplace")


def _help() -> str:
    verbs = "\n".join(f"  {verb:10} {text}" for verb, text in VERBS.items())
    return (
        "usage: avloc COMMAND …\n\nAudio-visual temporal forgery localization: when does a video lie?\n\n"
        f"commands:\n{verbs}\n\n`avloc COMMAND --help` explains a command, with an example.\n"
        "`avloc --version` prints the version.\n"
        "`avloc --completion bash|zsh` prints a script that completes words.\n\n"
        f"options of every command:\n  {QUIET:10} print warnings and errors only\n"
        f"  {VERBOSE:10} print log messages, and the traceback of an error"
    )
