"""The parser of a verb, and of its actions."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from typing import Any, NoReturn

from avloc.cli.arguments.help_texts import wrap_examples, wrap_text
from avloc.cli.catalog import VERBS, import_verb
from avloc.core.suggestions import did_you_mean
from avloc.errors import AvlocError


class _Parser(argparse.ArgumentParser):
    """An argument parser that takes whole option names, and reports a wrong input as an `AvlocError` of one line."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **{"allow_abbrev": False, **settings})

    def error(self, message: str) -> NoReturn:
        raise AvlocError(f"{message} (see avloc {self.prog.removeprefix('avloc ')} --help)")

    # The annotations of typeshed's overloads cannot be repeated.
    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse; words that no option takes are an error of this parser, which knows the action's options."""
        if _is_asked_for.get():
            raise _ParserFound(self)
        words = list(sys.argv[1:] if args is None else args)
        self._check_option_names(words)
        namespace, unrecognized = super().parse_known_args(words, namespace)
        if unrecognized:
            self.error(self._describe_unrecognized(unrecognized, words))
        return namespace, unrecognized

    def _check_option_names(self, words: Sequence[str]) -> None:
        """Raise if an option is like one that exists: before argparse misses a required one, or takes it for a value."""
        if self._subparsers is not None:  # the words may be an action's
            return
        for option, values in _runs_of_values(words):
            is_unknown = option.startswith("--") and len(option) > 2 and option not in self._option_string_actions
            if is_unknown and did_you_mean(option, self._option_string_actions):
                word = next(word for word in words if word.partition("=")[0] == option)
                self.error(self._describe_unrecognized([word, *values["=" in word :]], words))

    def _describe_unrecognized(self, unrecognized: Sequence[str], words: Sequence[str]) -> str:
        for option, values in _runs_of_values(words):
            takes_list = any(
                option in action.option_strings and "," in str(action.metavar or "") for action in self._actions
            )
            if takes_list and len(values) > 1 and not set(unrecognized).isdisjoint(values):
                return f"separate the values of {option} by commas, without spaces: {option} {','.join(values)}"
        first = unrecognized[0]
        hint = ""
        if first.startswith("-"):
            hint = did_you_mean(first.partition("=")[0], self._option_string_actions)
        return f"unrecognized arguments: {' '.join(unrecognized)}{hint}"

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Raise unless a value is one of the choices."""
        if action.choices is None or value in action.choices:
            return
        choices = [str(choice) for choice in action.choices]
        text = f"want one of {', '.join(choices)}, got {str(value)!r}{did_you_mean(str(value), choices)}"
        raise argparse.ArgumentError(None if isinstance(action, argparse._SubParsersAction) else action, text)


class _ParserFound(Exception):  # noqa: N818 - a way out of a verb's `parse`, and no error
    """Carries the parser that a verb has made."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self.parser = parser


_is_asked_for: ContextVar[bool] = ContextVar("_is_asked_for", default=False)


def parser_of(verb: str) -> argparse.ArgumentParser | None:
    """Return the parser of a verb, which parses nothing; None for `train`, whose options are Lightning's."""
    if verb == "train":
        return None
    token = _is_asked_for.set(True)
    try:
        import_verb(verb).parse([])
    except _ParserFound as found:
        return found.parser
    finally:
        _is_asked_for.reset(token)
    raise AssertionError(f"avloc {verb} parses without a parser of this module")


def _runs_of_values(words: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield each option with the words up to the next one."""
    option, values = "", list[str]()
    for word in [*words, "-"]:
        if word.startswith("-"):
            if option:
                yield option, values
            option, equals, value = word.partition("=")
            values = [value] if equals else []
        else:
            values.append(word)


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


def command_line(verb: str, arguments: Sequence[str]) -> str:
    """Return a command as a shell takes it, for the record of a result.

    >>> command_line("localize", ["my clip.mp4"])
    "avloc localize 'my clip.mp4'"
    """
    return shlex.join(["avloc", verb, *arguments])


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
