from __future__ import annotations

import os
from pathlib import Path

import pytest

from avloc.errors import AvlocError, CheckpointError, MediaError, StoreError, describe_error, one_line, shown


@pytest.mark.parametrize("kind", [MediaError, CheckpointError, StoreError])
def test_every_error_is_an_avloc_error_and_a_value_error(kind):
    with pytest.raises(AvlocError, match="a.mp4: broken"):
        raise kind("a.mp4: broken")
    assert issubclass(kind, ValueError)


def test_one_line_folds_white_space_and_cuts():
    assert one_line(ValueError("a\n  b\tc")) == "a b c"
    assert one_line(ValueError("")) == ""
    assert one_line(ValueError("x" * 400)) == "x" * 300 + " …"
    assert one_line(ValueError("abcdef"), length=3) == "abc …"
    assert one_line(ValueError("x" * 400), length=None) == "x" * 400
    assert one_line(ValueError("a\x1b]0;b\udcff")) == r"a\x1b]0;b\udcff"


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("plain ü 漢 😀.mp4", "plain ü 漢 😀.mp4"),
        ("two\nlines\r.mp4", r"two\nlines\r.mp4"),
        ("\x1b[31mred\x07\x9b.mp4", r"\x1b[31mred\x07\x9b.mp4"),
        (os.fsdecode(b"caf\xe9.mp4"), r"caf\udce9.mp4"),
        ("exe.\u202e4pm", r"exe.\u202e4pm"),  # turns the direction of writing
        (Path("a\tb"), r"a\tb"),
        ("", ""),
    ],
)
def test_shown_escapes_what_cannot_be_printed_and_nothing_else(name, line):
    assert shown(name) == line
    assert shown(shown(name)) == line
    assert shown(name).encode("utf-8").decode().isprintable()


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (MediaError("a\nb.mp4: no such file"), r"a\nb.mp4: no such file"),
        (KeyError("x"), "KeyError: 'x'"),
        (RuntimeError("two\n  lines"), "RuntimeError: two lines"),
        (AvlocError(""), "AvlocError: "),
    ],
)
def test_failures_are_one_line_and_keep_names(error, text):
    assert describe_error(error) == text
