"""Warnings of the libraries that tests of the command line let pass; and the parsers of the verbs."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from avloc.cli.catalog import import_verb

# Lightning's own hints, and the deprecations of the libraries under it.
IGNORED = ("DeprecationWarning", "FutureWarning", "UserWarning", "pytest.PytestUnraisableExceptionWarning")
ParsersOf = Callable[[str], list[tuple[tuple[str, ...], argparse.ArgumentParser]]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    folder = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(folder):
            for category in IGNORED:
                item.add_marker(pytest.mark.filterwarnings(f"ignore::{category}"))


@pytest.fixture(scope="session")
def verb_parsers() -> ParsersOf:
    """The parsers of a verb and of its actions, by their words; none for `train`, whose options are Lightning's."""
    return _verb_parsers


def _verb_parsers(verb: str) -> list[tuple[tuple[str, ...], argparse.ArgumentParser]]:
    made: list[argparse.ArgumentParser] = []
    with pytest.MonkeyPatch.context() as patch, suppress(SystemExit):
        patch.setattr(argparse.ArgumentParser, "print_help", lambda self, file=None: made.append(self))
        import_verb(verb).parse(["--help"])
    pending, parsers = [((verb,), each) for each in made], []
    while pending:
        words, each = pending.pop()
        parsers.append((words, each))
        for action in each._actions:
            if isinstance(action, argparse._SubParsersAction):
                pending += [((*words, name), inner) for name, inner in action.choices.items()]
    return parsers
