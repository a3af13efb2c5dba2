"""`avloc VERB …`: find the verb, and report a wrong input as one line with exit code 2."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from avloc import __version__
from avloc.cli.arguments import VERBS
from avloc.errors import AvlocError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb, and return its exit code: 0 done, 1 failed or done with recorded failures, 2 wrong input."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help"):
        print(_help())
        return 0 if words else 2
    if words[0] == "--version":
        print(f"avloc {__version__}")
        return 0
    verb = words[0]
    if verb not in VERBS:
        print(f"avloc: error: unknown command {verb!r}, want one of {', '.join(VERBS)}", file=sys.stderr)
        return 2
    try:
        return int(import_module(f"avloc.cli.{verb}").run(words[1:]))
    except AvlocError as error:
        print(f"avloc {verb}: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"avloc {verb}: error: {where}{error.strerror or error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"avloc {verb}: stopped; finished work is kept, run the same command again to continue", file=sys.stderr)
        return 130


def entry() -> None:
    """The console script."""
    sys.exit(main())


def _help() -> str:
    verbs = "\n".join(f"  {verb:10} {text}" for verb, text in VERBS.items())
    return (
        "usage: avloc COMMAND …\n\nAudio-visual temporal forgery localization: when does a video lie?\n\n"
        f"commands:\n{verbs}\n\n`avloc COMMAND --help` explains a command, with an example. `avloc --version` prints the version."
    )
