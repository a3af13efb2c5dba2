from __future__ import annotations

import pytest

from avloc.cli.arguments.parser import add_action, parser
from avloc.errors import AvlocError


@pytest.fixture
def options():
    """A parser of some options, two of which take lists."""
    options = parser("extract", "avloc extract")
    options.add_argument("--extractors", metavar="A,B")
    options.add_argument("--ap-ious", metavar="A,B")
    options.add_argument("--root")
    options.add_argument("--crop", choices=("face", "mouth"))
    return options


def test_errors_are_one_line_with_the_way_to_the_help():
    with pytest.raises(AvlocError, match=r"unrecognized arguments: --odd \(see avloc synth --help\)"):
        parser("synth", "avloc synth clips").parse_args(["--odd"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--extractor", "logspec"], "unrecognized arguments: --extractor logspec (did you mean --extractors?)"),
        (["--rot=clips"], "unrecognized arguments: --rot=clips (did you mean --root?)"),
        (["--ro", "clips"], "unrecognized arguments: --ro clips (did you mean --root?)"),  # no abbreviations
        (["--crop", "fase"], "argument --crop: want one of face, mouth, got 'fase' (did you mean face?)"),
        (["--crop", "x"], "argument --crop: want one of face, mouth, got 'x'"),
        (
            ["--extractors", "logspec", "residual_grid", "--root", "clips"],
            "separate the values of --extractors by commas, without spaces: --extractors logspec,residual_grid",
        ),
        (["--ap-ious=0.5", "0.75"], "separate the values of --ap-ious by commas, without spaces: --ap-ious 0.5,0.75"),
        (["--root", "a", "b"], "unrecognized arguments: b"),
    ],
)
def test_wrong_words_name_the_cure(options, words, message):
    with pytest.raises(AvlocError) as error:
        options.parse_args(words)
    assert str(error.value) == f"{message} (see avloc extract --help)"


def test_an_action_reports_its_own_options():
    options = parser("store", "avloc store ls")
    actions = options.add_subparsers(dest="action", metavar="ls|verify", parser_class=type(options))
    add_action(actions, "ls", "list", "avloc store ls s").add_argument("--failures", action="store_true")
    add_action(actions, "verify", "check", "avloc store verify s")
    with pytest.raises(
        AvlocError, match=r"arguments: --failure \(did you mean --failures\?\) \(see avloc store ls --help"
    ):
        options.parse_args(["ls", "--failure"])
    with pytest.raises(AvlocError, match=r"want one of ls, verify, got 'verfy' \(did you mean verify\?\)"):
        options.parse_args(["verfy"])
    assert options.parse_args(["ls", "--failures"]).failures
