from __future__ import annotations

import pytest

from avloc.cli.arguments.help_texts import help_width, wrap_examples, wrap_text


@pytest.fixture
def columns(monkeypatch):
    """A function that sets the terminal's width."""
    return lambda count: monkeypatch.setenv("COLUMNS", str(count))


def test_width_leaves_two_columns_as_argparse_does(columns):
    columns(80)
    assert help_width() == 78
    columns(10)
    assert help_width() == 40


def test_texts_fit_the_terminal_and_indented_lines_stay(columns):
    columns(50)
    first, *rest, last = wrap_text(f"{'word ' * 20}\n  {'code ' * 20}").splitlines()
    assert last == f"  {'code ' * 20}"
    assert len(rest) == 2
    assert all(len(line) <= 48 for line in (first, *rest))


def test_examples_that_fit_stay(columns):
    columns(80)
    assert wrap_examples("avloc a --b c\navloc d …  # a comment") == "  avloc a --b c\n  avloc d …  # a comment"


def test_an_option_stays_with_its_values(columns):
    columns(42)
    text = wrap_examples("avloc a one.mp4 two.mp4 --bb 'c d' \\\n   --extractors e f --g")
    assert text.splitlines() == ["  avloc a one.mp4 two.mp4 --bb 'c d' \\", "      --extractors e f --g"]


def test_the_last_option_needs_no_room_for_a_backslash(columns):
    columns(42)  # 38 for a command, behind the indent
    command = f"avloc a --b {'c' * 12} --d {'e' * 9}"
    assert len(command) == 38
    assert wrap_examples(command) == f"  {command}"
    assert wrap_examples(f"{command}e").splitlines() == [f"  avloc a --b {'c' * 12} \\", f"      --d {'e' * 10}"]


def test_a_comment_that_does_not_fit_goes_before_its_command(columns):
    columns(42)
    text = wrap_examples("avloc a --b c  # a comment that is longer than the line and goes on")
    assert text.splitlines() == ["  # a comment that is longer than the", "  # line and goes on", "  avloc a --b c"]
