from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from avloc.cli.arguments.values import (
    above_zero,
    devices,
    duration,
    existing,
    existing_file,
    existing_folder,
    moment,
    number,
    open_share,
    output,
    output_folder,
    path,
    positive,
    whole,
)


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


def test_paths_expand_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert path("~/clips") == tmp_path / "clips"
    assert existing_folder("folder")("~") == existing("file or folder")("~") == tmp_path
    with pytest.raises(argparse.ArgumentTypeError, match="~/none: no such checkpoint"):
        existing_file("checkpoint")("~/none")


def test_a_file_is_no_folder_and_a_folder_no_file(tmp_path):
    file = tmp_path / "file"
    file.touch()
    assert existing_file("checkpoint")(str(file)) == file
    assert existing_folder("feature store")(str(tmp_path)) == tmp_path
    for parse, text, message in (
        (existing_file("checkpoint"), tmp_path, "is a folder, want a checkpoint"),
        (existing_folder("folder"), file, "is a file, want a folder"),
        (existing_folder("feature store"), file, "is a file, want the folder of a feature store"),
        (output_folder, file, "is a file, want the name of a folder"),
        (output_folder, file / "new", "file is not a folder; name another place"),
    ):
        with pytest.raises(argparse.ArgumentTypeError, match=message):
            parse(str(text))
    assert output_folder(str(tmp_path / "new" / "folder")) == tmp_path / "new" / "folder"
    assert not (tmp_path / "new").exists()


def test_percentages_are_told_as_shares():
    for parse, text, hint in (
        (number(0, 1), "50", "; 50 % is 0.5"),
        (number(0, 1), "1 %", "; 1 % is 0.01"),
        (open_share, "1%", "; 1 % is 0.01"),
        (open_share, "99.5", "; 99.5 % is 0.995"),
    ):
        with pytest.raises(argparse.ArgumentTypeError, match=f"got '{text}'{hint}$"):
            parse(text)
    for parse, text in ((number(0, 1), "500"), (number(0, 1), "high"), (open_share, "1"), (number(0, 9), "50")):
        with pytest.raises(argparse.ArgumentTypeError, match=f"got '{text}'$"):
            parse(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90m", 5400.0),
        ("6h", 21_600.0),
        ("45", 45.0),
        ("2.5s", 2.5),
        ("1e3", 1000.0),
        ("1:30", 90.0),
        ("00:02.25", 2.25),
        ("1:02:03", 3723.0),
        ("0:59.", 59.0),
    ],
)
def test_durations(text, seconds):
    assert duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["1:60", "60:00:", "1:2:3:4", ":30", "1:", "-1:30", "1:-3", "nan", "inf", "-0.1", "x", ""]
)
def test_what_is_no_time_is_refused(text):
    for parse, expected in ((moment, "want a time of at least 0"), (duration, "want a length of time above 0")):
        with pytest.raises(argparse.ArgumentTypeError, match=f"{expected}.*, got '{text}'"):
            parse(text)


def test_a_moment_may_be_the_start():
    assert (moment("0"), moment("0:00"), moment("1:02.5")) == (0.0, 0.0, 62.5)
    with pytest.raises(argparse.ArgumentTypeError, match="got '0'"):
        duration("0")


def test_devices_are_split_at_commas():
    assert devices("cuda:0, cuda:1") == ["cuda:0", "cuda:1"]
    assert devices("") == ["cpu"]
