"""What all descriptions of `avloc info` must keep: the width of the terminal, commands that exist, JSON."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from avloc.cli.arguments.parser import parser_of
from avloc.cli.catalog import VERBS
from avloc.cli.info.description import Description
from avloc.cli.info.detectors import detect

COLUMNS = 80


@pytest.fixture
def describe(monkeypatch) -> Callable[[Path, str], tuple[Description, dict[str, str]]]:
    """A function that describes a path, checks its kind, and returns the description with its facts by label."""
    monkeypatch.setenv("COLUMNS", str(COLUMNS))

    def described(path: Path, kind: str) -> tuple[Description, dict[str, str]]:
        found, description = detect(path)
        assert found == kind
        _check_text(description.text(path))
        for command in description.commands:
            _check_command(command)
        assert json.loads(json.dumps(description.to_dict(path, kind)))["kind"] == kind
        return description, dict(description.facts)

    return described


def _check_text(text: str) -> None:
    """A line is wider than the terminal only for one word that cannot be broken, such as a path."""
    for line in text.splitlines():
        assert len(line) <= COLUMNS or max(map(len, line.split())) > COLUMNS - 24, line


def _check_command(command: str) -> None:
    """The verb exists, and has the options."""
    program, verb, *words = shlex.split(command, comments=True)
    assert program == "avloc"
    assert verb in VERBS
    parser = parser_of(verb)
    if parser is None:  # `train`: its options are those of Lightning
        return
    actions = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if actions:
        parser = actions[0].choices[words.pop(0)]
    for word in words:
        assert not word.startswith("--") or word in parser._option_string_actions, command


@pytest.fixture
def write(tmp_path) -> Callable[[str, object], Path]:
    """A function that writes a file of the test's folder: a text, or JSON."""

    def written(name: str, content: object) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return written
