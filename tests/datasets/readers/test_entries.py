from __future__ import annotations

import json
from pathlib import Path

import pytest

from avloc.datasets.readers.entries import (
    attribute_fields,
    bool_field,
    duration_field,
    for_each_entry,
    relative_path,
    segments_field,
    string_field,
)
from avloc.errors import AvlocError

PATH = Path("metadata.json")


def read_entries(path):
    entries = []
    for_each_entry(path, lambda number, entry: entries.append((number, entry)))
    return entries


def test_entries_come_with_their_numbers(tmp_path):
    path = tmp_path / "m.json"
    rows = [{"file": f"{k}.mp4", "fake_periods": [[k, k + 0.5]], "nested": {"a": [k]}} for k in range(5000)]
    path.write_text(json.dumps(rows))  # several pieces
    assert read_entries(path) == list(enumerate(rows))
    path.write_text("[]")
    assert read_entries(path) == []


def test_entries_that_simdjson_refuses_are_read_all_the_same(tmp_path):
    path = tmp_path / "m.json"
    path.write_text(json.dumps([{"big": 10**400, "inner": {"x": [{"y": 1}]}}]))
    assert read_entries(path) == [(0, {"big": 10**400, "inner": {"x": [{"y": 1}]}})]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", r"m\.json: line 1, column 2: not JSON"),
        ("{}", "want a list of clips, got an object"),
        ('"a"', "want a list of clips, got a text|want a list of clips, got a string"),
        ("[{}, 1]", "entry 1 is not an object but a number"),
        ("[" * 100_000, "brackets nested too deeply"),
    ],
)
def test_files_that_are_no_list_of_objects(tmp_path, text, message):
    (tmp_path / "m.json").write_text(text)
    with pytest.raises(AvlocError, match=message):
        read_entries(tmp_path / "m.json")
    with pytest.raises(AvlocError, match=r"none\.json: no such metadata file"):
        read_entries(tmp_path / "none.json")


def test_required_fields_name_their_type():
    assert string_field({"a": "x"}, "a", PATH, 3) == "x"
    assert bool_field({"a": False}, "a", PATH, 3) is False
    with pytest.raises(AvlocError, match=r"metadata\.json: entry 3 has no field 'a'"):
        string_field({}, "a", PATH, 3)
    with pytest.raises(AvlocError, match=r"metadata\.json: entry 3: a is 1, want a string"):
        string_field({"a": 1}, "a", PATH, 3)
    with pytest.raises(AvlocError, match="entry 3: a is 0, want true or false"):
        bool_field({"a": 0}, "a", PATH, 3)


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ("x", "s is 'x', want a list"),
        ([[2, 1]], r"s: segment 0 is \[2, 1\], want \[start, end\] in seconds"),
        ([[0, 1], ["a", 1]], "s: segment 1 is"),
        ([[]], r"s: segment 0 is \[\]"),
        ([[True, 2]], r"s: segment 0 is \[True, 2\]"),
        ([[1, 10**400]], "s: segment 0 is"),
    ],
)
def test_segments_field_checks_every_pair(pairs, message):
    assert segments_field({"s": [[0, 1], [2.5, 2.5]]}, "s", PATH, 0) == [(0.0, 1.0), (2.5, 2.5)]
    with pytest.raises(AvlocError, match=message):
        segments_field({"s": pairs}, "s", PATH, 0)


def test_duration_field_is_optional():
    assert duration_field({}, PATH, 0) is None
    assert duration_field({"duration": 4}, PATH, 0) == 4.0
    for duration, message in ((0, "must be above 0 seconds, got 0"), ("4", "duration is '4', want a number")):
        with pytest.raises(AvlocError, match=message):
            duration_field({"duration": duration}, PATH, 0)


def test_attribute_fields_are_strings():
    entry = {"a": None, "b": 25, "c": "x", "d": 1}
    assert attribute_fields(entry, ("a", "b", "c", "missing")) == {"a": "", "b": "25", "c": "x"}


@pytest.mark.parametrize("file", ["a.mp4", "é/夏 1.mp4", ".hidden/a.mp4", "a..b.mp4", "caf\udce9.mp4", "a\nb.mp4"])
def test_names_within_the_folder_pass(file):
    assert relative_path(file, PATH, 0) == file


@pytest.mark.parametrize("file", ["../x.mp4", "a/../../x", "/etc/passwd", ".", ""])
def test_names_that_lead_out_are_refused(file):
    with pytest.raises(AvlocError, match="entry 7: the file .* leads out of the dataset's folder"):
        relative_path(file, PATH, 7)


@pytest.mark.parametrize("file", ["a\0.mp4", "a\ud800.mp4"])
def test_names_that_no_file_system_takes_are_refused(file):
    with pytest.raises(AvlocError, match="cannot be the name of a file"):
        relative_path(file, PATH, 0)
