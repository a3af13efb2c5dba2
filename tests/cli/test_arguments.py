from __future__ import annotations

import argparse
import inspect
from contextlib import suppress
from dataclasses import is_dataclass
from importlib import import_module
from pathlib import Path
from typing import get_args

import pytest

from avloc.cli.arguments import (
    VERBS,
    above_zero,
    add_dataset_options,
    add_localizer_options,
    add_longest_option,
    default_workers,
    duration,
    existing,
    number,
    output,
    parser,
    path,
    pop_localizer_settings,
    positive,
    whole,
)
from avloc.errors import AvlocError
from avloc.inference.settings import LocalizerSettings
from avloc.models.packaged import packaged_description


def test_paths_of_outputs_are_checked_before_the_work(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    assert output(str(tmp_path / "new" / "folder" / "t.html")) == tmp_path / "new" / "folder" / "t.html"
    assert not (tmp_path / "new").exists()
    monkeypatch.chdir(tmp_path)
    assert output("t.html") == Path("t.html")
    for text, message in (
        (str(tmp_path), "is a folder, want the name of a file to write"),
        ("/dev/null", "is a device or a pipe, want the name of a file to write"),
        (str(tmp_path / "file" / "t.html"), "is not a folder"),
    ):
        with pytest.raises(argparse.ArgumentTypeError, match=message):
            output(text)
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(argparse.ArgumentTypeError, match="cannot be written, no right to write in"):
        output("t.html")


def test_errors_are_one_line_with_the_way_to_the_help():
    with pytest.raises(AvlocError, match=r"unrecognized arguments: --odd \(see avloc synth --help\)"):
        parser("synth", "avloc synth clips").parse_args(["--odd"])


@pytest.mark.parametrize("text", ["0", "-3", "2.5", "many", ""])
def test_positive_refuses(text):
    with pytest.raises(argparse.ArgumentTypeError, match="want a whole number of at least 1"):
        positive(text)
    assert positive("7") == 7


def test_whole_numbers_name_their_smallest():
    assert (whole("0"), whole("07"), positive("3")) == (0, 7, 3)
    for text in ("-1", "1.5", ""):
        with pytest.raises(argparse.ArgumentTypeError, match=f"want a whole number of at least 0, got '{text}'"):
            whole(text)


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e999", "x", ""])
def test_numbers_are_finite(text):
    for parse, expected in (
        (number(), "want a number, got"),
        (number(0), "want a number of at least 0, got"),
        (number(0, 1), "want a number within 0 and 1, got"),
        (above_zero, "want a number above 0, got"),
    ):
        with pytest.raises(argparse.ArgumentTypeError, match=f"{expected} '{text}'"):
            parse(text)


def test_numbers_have_bounds():
    assert (number()("-1e3"), number(0)("0"), number(0, 1)("1"), above_zero("1e-9")) == (-1000.0, 0.0, 1.0, 1e-9)
    for parse, text in ((number(0), "-1"), (number(0, 1), "1.01"), (above_zero, "0")):
        with pytest.raises(argparse.ArgumentTypeError, match=f"got '{text}'"):
            parse(text)


def verb_parsers(verb: str) -> list[tuple[tuple[str, ...], argparse.ArgumentParser]]:
    """The parsers of a verb and of its actions, by their words; none for `train`, whose options are Lightning's."""
    made: list[argparse.ArgumentParser] = []
    with pytest.MonkeyPatch.context() as patch, suppress(SystemExit):
        patch.setattr(argparse.ArgumentParser, "print_help", lambda self, file=None: made.append(self))
        import_module(f"avloc.cli.{verb}").parse(["--help"])
    pending, parsers = [((verb,), each) for each in made], []
    while pending:
        words, each = pending.pop()
        parsers.append((words, each))
        for action in each._actions:
            if isinstance(action, argparse._SubParsersAction):
                pending += [((*words, name), inner) for name, inner in action.choices.items()]
    return parsers


def _reads_numbers(action: argparse.Action) -> bool:
    if action.type is None or action.choices is not None:
        return False
    try:
        value = action.type("0.5")
    except (argparse.ArgumentTypeError, ValueError, AvlocError):
        return False
    return isinstance(value, float) or (isinstance(value, tuple) and isinstance(value[0], float))


def test_no_option_of_any_verb_takes_what_is_no_finite_number():
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


def test_paths_expand_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert path("~/clips") == tmp_path / "clips"
    assert existing("folder")("~") == tmp_path
    with pytest.raises(argparse.ArgumentTypeError, match="~/none: no such checkpoint"):
        existing("checkpoint")("~/none")


def test_default_workers_is_the_number_of_cores():
    assert 1 <= default_workers() <= 4096


def test_localizer_options(tmp_path):
    (tmp_path / "c.ckpt").touch()
    options = parser("serve", "avloc serve")
    add_localizer_options(options)
    namespace = options.parse_args(["--checkpoint", str(tmp_path / "c.ckpt"), "--weights", "a=b=c", "--device", "cuda"])
    localizer = pop_localizer_settings(namespace)
    assert localizer == LocalizerSettings(tmp_path / "c.ckpt", weights={"a": Path("b=c")}, device="cuda")
    assert vars(namespace) == {}
    with pytest.raises(AvlocError, match="want NAME=FILE, got 'a'"):
        options.parse_args(["--checkpoint", str(tmp_path / "c.ckpt"), "--weights", "a"])


@pytest.mark.parametrize(
    ("verb", "default"),
    [
        ("localize", "the streams that a clip has"),
        ("serve", "the streams that a clip has"),
        ("predict", "both for all clips, also for those that lack a stream"),
    ],
)
def test_the_help_tells_the_networks_and_the_default_of_streams(verb, default):
    ((_, options),) = verb_parsers(verb)
    texts = {action.dest: action.help for action in options._actions}
    assert texts["streams"].endswith(f"(default: {default})")
    assert packaged_description().scope in texts["checkpoint"]


def test_dataset_options_check_the_folder(tmp_path):
    options = parser("extract", "avloc extract")
    add_dataset_options(options)
    assert options.parse_args(["--dataset", "lavdf", "--root", str(tmp_path)]).root == tmp_path
    with pytest.raises(AvlocError, match="none: no such folder"):
        options.parse_args(["--dataset", "lavdf", "--root", "none"])


def test_every_verb_has_a_file():
    folder = Path(__file__).parents[2] / "avloc" / "cli"
    modules = {path.parent if path.name == "__init__.py" else path for path in folder.rglob("*.py")} - {folder}
    files = {path.stem for path in modules if path.parent == folder}
    # A verb with long actions is a folder; `scores` holds what several verbs share.
    assert set(VERBS) == files - {"arguments", "help_texts", "main", "scores"}


@pytest.mark.parametrize("verb", list(VERBS))
def test_a_verb_parses_into_an_options_dataclass_and_works_elsewhere(verb):
    """`parse` returns options and does no work; `run` knows no argparse."""
    module = import_module(f"avloc.cli.{verb}")
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


@pytest.mark.parametrize(
    ("text", "seconds"), [("90m", 5400.0), ("6h", 21_600.0), ("45", 45.0), ("2.5s", 2.5), ("1e3", 1000.0)]
)
def test_durations(text, seconds):
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "0", "-1h", "inf", "infh", "nan", "6 hours", "1d", "1h30m"])
def test_wrong_durations(text):
    options = parser("extract", "avloc extract")
    add_longest_option(options)
    assert options.parse_args([]).longest == 21_600.0
    with pytest.raises(AvlocError, match="--longest: want a length of time above 0, as 90m, 6h or 45"):
        options.parse_args([f"--longest={text}"])
