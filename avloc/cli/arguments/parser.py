"""The parser of a verb, and of its actions."""

from __future__ import annotations

import argparse
from typing import NoReturn

from avloc.cli.arguments.help_texts import wrap_examples, wrap_text
from avloc.cli.catalog import VERBS
from avloc.errors import AvlocError


class _Parser(argparse.ArgumentParser):
    """An argument parser that reports a wrong input as an `AvlocError` of one line."""

    def error(self, message: str) -> NoReturn:
        raise AvlocError(f"{message} (see avloc {self.prog.removeprefix('avloc ')} --help)")


def parser(verb: str, example: str, *, description: str | None = None) -> argparse.ArgumentParser:
    """Make the parser of a verb.

    Args:
        verb: a key of `VERBS`.
        example: command lines for the end of the help, as `wrap_examples` takes them.
        description: a longer text than the verb's own line.
    """
    return _Parser(
        prog=f"avloc {verb}",
        description=wrap_text(description or VERBS[verb]),
        epilog=f"example:\n{wrap_examples(example)}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_action(
    actions: argparse._SubParsersAction[argparse.ArgumentParser], name: str, description: str, example: str
) -> argparse.ArgumentParser:
    """Add an action of a verb, such as `avloc store ls`, whose help ends with an example."""
    return actions.add_parser(
        name,
        help=description,
        description=wrap_text(description),
        epilog=f"example:\n{wrap_examples(example)}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
