from __future__ import annotations

import json

import pytest

from avloc.errors import AvlocError
from avloc.io import jsonstream
from avloc.io.jsonstream import Members, json_type, read_pieces


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(jsonstream, "PIECE_BYTES", 40)


class Collector:
    """Collects the members of a file, and counts the pieces by parser."""

    def __init__(self, path, kind, *, refuse=False):
        self.members, self.simdjson_pieces, self.python_pieces, self.refuse = [], 0, 0, refuse
        read_pieces(path, kind, simdjson_parser=self.parse, python_parser=self.collect, what="test file")

    def parse(self, parsed, text):
        if self.refuse:
            return False
        assert json.loads(text) is not None
        self.simdjson_pieces += 1
        self.members += json.loads(parsed.mini, object_pairs_hook=Members)
        return True

    def collect(self, value):
        self.python_pieces += 1
        self.members += value


def write(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_an_object_is_read_in_pieces(tmp_path):
    data = {f"clip{k}": [[k, k + 0.5, 2]] * (k % 4) for k in range(50)}
    for text in (json.dumps(data), json.dumps(data, indent=1), " \n" + json.dumps(data, separators=(",", ":")) + "\n"):
        collector = Collector(write(tmp_path, text), "object")
        assert dict(collector.members) == data
        assert collector.simdjson_pieces > 9
        assert collector.python_pieces == 0


def test_pieces_of_an_array_that_simdjson_refuses_go_to_python(tmp_path):
    data = [{"file": f"{k}.mp4", "x": [[1, 2]]} for k in range(30)]
    path = write(tmp_path, json.dumps(data))
    collector = Collector(path, "array", refuse=True)
    assert [dict(m) for m in collector.members] == data
    assert collector.python_pieces > 9


def test_strings_that_look_like_cuts(tmp_path):
    data = {'a],"b': [[1, 2, 3]] * 5, 'c], "': [], "d]": [[1, 2, 3]] * 9, "e": []}
    assert dict(Collector(write(tmp_path, json.dumps(data)), "object").members) == data
    nested = [{"file": "a", "ops": [{"k": 1}, {"k": 2}, {"k": 3}, {"k": 4}]} for _ in range(9)]
    collector = Collector(write(tmp_path, json.dumps(nested)), "array")
    assert len(collector.members) == 9


def test_a_member_larger_than_a_piece(tmp_path):
    data = {"a": [[1, 2, 3]] * 1000, "b": [[4, 5, 6]]}
    assert dict(Collector(write(tmp_path, json.dumps(data)), "object").members) == data


def test_empty_files_of_each_kind(tmp_path):
    assert Collector(write(tmp_path, "{}"), "object").members == []
    assert Collector(write(tmp_path, " [ ] "), "array").members == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1, column 1: not JSON (Expecting value) at the end of the file"),
        ('{"a": [[1, 2, 3]], "b": [[1,\n 2, 3}', "line 2, column 6: not JSON (Expecting ',' delimiter) at '}'"),
        ('{"a": [[1, 2, 3]],\n\n "b": oops}', "line 3, column 7: not JSON (Expecting value) at 'oops}'"),
        ('{"a": []} x', "line 1, column 11: not JSON (Extra data) at 'x'"),
        ('{"é": [], "b": x}', "line 1, column 17: not JSON (Expecting value)"),
        (b'{"a": [], "\xff": []}', "line 1, column 12: not text in UTF-8"),
        ("[" * 100_000, "brackets nested too deeply"),
        ('{"a": [[' + "9" * 5000 + ", 1, 2]]}", "Exceeds the limit"),
    ],
)
def test_errors_name_line_and_column(tmp_path, text, message):
    with pytest.raises(AvlocError) as error:
        Collector(write(tmp_path, text), "object")
    assert message in str(error.value)
    assert str(error.value).count("\n") == 0


def test_line_and_column_after_many_pieces(tmp_path):
    good = ",\n".join(f'"clip{k}": [[1, 2, 3]]' for k in range(40))
    with pytest.raises(AvlocError, match=r"line 41, column 13: not JSON \(Expecting value\) at 'nope"):
        Collector(write(tmp_path, "{" + good + ',\n"clip40":   nope}'), "object")


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(AvlocError, match="no such test file"):
        Collector(tmp_path / "none.json", "object")
    with pytest.raises(AvlocError, match="is a folder, want a test file"):
        Collector(tmp_path, "object")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("{}", "an object"),
        ("[]", "a list"),
        ('"a"', "a text"),
        ("true", "true or false"),
        ("null", "null"),
        ("1", "a number"),
        ("-0.5", "a number"),
    ],
)
def test_types_in_the_words_of_json(text, name):
    assert json_type(json.loads(text, object_pairs_hook=Members)) == name


def test_another_top_level_goes_to_python(tmp_path):
    values = []
    path = write(tmp_path, ' [{"a": 1}] ')
    read_pieces(
        path, "object", simdjson_parser=lambda parsed, text: False, python_parser=values.append, what="test file"
    )
    assert values == [[[("a", 1)]]]
