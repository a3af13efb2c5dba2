from __future__ import annotations

import argparse
import inspect
from dataclasses import is_dataclass
from importlib import import_module
from pathlib import Path
from typing import get_args

import pytest

from avloc.cli.catalog import FOLDERS, VERBS, import_verb
from avloc.errors import AvlocError


def _reads_numbers(action: argparse.Action) -> bool:
    if action.type is None or action.choices is not None:
        return False
    try:
        value = action.type("0.5")
    except (argparse.ArgumentTypeError, ValueError, AvlocError):
        return False
    return isinstance(value, float) or (isinstance(value, tuple) and isinstance(value[0], float))


def test_no_option_of_any_verb_takes_what_is_no_finite_number(verb_parsers):
    checked = set()
    for verb in VERBS:
        for words, each in verb_parsers(verb):
            for option in (a.option_strings[0] for a in each._actions if a.option_strings and _reads_numbers(a)):
                for text in ("nan", "inf"):
                    with pytest.raises(AvlocError, match=f"argument {option}.*: .* got '{text}'"):
                        each.parse_args([f"{option}={text}"])
                checked.add((*words, option))
    assert checked > {
        ("localize", "--threshold"),
        ("localize", "--start"),
        ("localize", "--end"),
        ("serve", "--threshold"),
        ("serve", "--memory"),
        ("predict", "--timeout"),
        ("evaluate", "--ap-ious"),
        ("evaluate", "--frame-step"),
        ("store", "import", "--hop"),
    }, checked


def test_every_option_with_a_value_tells_its_default(verb_parsers):
    missing = [
        (*words, action.option_strings[0])
        for verb in VERBS
        for words, each in verb_parsers(verb)
        for action in each._actions
        if action.option_strings and action.nargs != 0 and not action.required and "(default: " not in action.help
    ]
    assert missing == []


def test_every_action_of_a_verb_has_a_description_and_an_example(verb_parsers):
    actions = [(words, each) for verb in VERBS for words, each in verb_parsers(verb) if len(words) > 1]
    assert {words for words, _ in actions} >= {("data", "info"), ("store", "merge")}
    for words, each in actions:
        assert each.description, words
        assert f"avloc {' '.join(words)} " in each.epilog


def test_every_verb_has_a_file():
    folder = Path(__file__).parents[2] / "avloc" / "cli"
    modules = {path.parent if path.name == "__init__.py" else path for path in folder.rglob("*.py")} - {folder}
    files = {path.stem for path in modules if path.parent == folder}
    # A verb with long actions is a folder; `scores` holds verbs that belong together, and what they share.
    assert set(VERBS) - set(FOLDERS) == files - {"arguments", "catalog", "completion", "main", "scores"}
    for verb in VERBS:
        assert import_verb(verb).__name__.rpartition(".")[2] == verb


@pytest.mark.parametrize("verb", list(VERBS))
def test_a_verb_parses_into_an_options_dataclass_and_works_elsewhere(verb):
    """`parse` returns options and does no work; `run` knows no argparse."""
    module = import_verb(verb)
    options = get_type_hints_of(module.parse)
    assert all(is_dataclass(each) and each.__dataclass_params__.frozen for each in options)
    source = inspect.getsource(module.run)
    assert "parse(" in source
    assert "add_argument" not in source
    assert "parse_args" not in source


def get_type_hints_of(parse) -> list[type]:
    """The classes that `parse` may return, by name in its module."""
    names = str(parse.__annotations__["return"]).replace("|", " ").split()
    module = import_module(parse.__module__)
    return [each for name in names for each in get_args(getattr(module, name)) or [getattr(module, name)]]
