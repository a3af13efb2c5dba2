from __future__ import annotations

import json

import pytest

from avloc.errors import AvlocError
from avloc.io import jsonstream
from avloc.io.jsonstream import Members, read_pieces


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(jsonstream, "PIECE_BYTES", 40)


class Taken:
    """Collects members, and counts how they came."""

    def __init__(self, path, kind, *, refuse=False):
        self.members, self.fast_pieces, self.slow_pieces, self.refuse = [], 0, 0, refuse
        read_pieces(path, kind, fast=self.fast, slow=self.slow, what="test file")

    def fast(self, parsed, text):
        if self.refuse:
            return False
        assert json.loads(text) is not None
        self.fast_pieces += 1
        members = json.loads(parsed.mini, object_pairs_hook=Members)
        self.members += members
        return True

    def slow(self, value):
        self.slow_pieces += 1
        self.members += value


def write(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_an_object_comes_in_pieces(tmp_path):
    data = {f"clip{k}": [[k, k + 0.5, 2]] * (k % 4) for k in range(50)}
    for text in (json.dumps(data), json.dumps(data, indent=1), " \n" + json.dumps(data, separators=(",", ":")) + "\n"):
        taken = Taken(write(tmp_path, text), "object")
        assert dict(taken.members) == data
        assert taken.fast_pieces > 9
        assert taken.slow_pieces == 0


def test_an_array_comes_in_pieces_and_refused_ones_go_the_slow_way(tmp_path):
    data = [{"file": f"{k}.mp4", "x": [[1, 2]]} for k in range(30)]
    path = write(tmp_path, json.dumps(data))
    taken = Taken(path, "array", refuse=True)
    assert [dict(m) for m in taken.members] == data
    assert taken.slow_pieces > 9


def test_names_that_look_like_cuts_are_still_read(tmp_path):
    data = {'a],"b': [[1, 2, 3]] * 5, 'c], "': [], "d]": [[1, 2, 3]] * 9, "e": []}
    assert dict(Taken(write(tmp_path, json.dumps(data)), "object").members) == data
    nested = [{"file": "a", "ops": [{"k": 1}, {"k": 2}, {"k": 3}, {"k": 4}]} for _ in range(9)]
    taken = Taken(write(tmp_path, json.dumps(nested)), "array")
    assert len(taken.members) == 9


def test_one_member_larger_than_any_piece(tmp_path):
    data = {"a": [[1, 2, 3]] * 1000, "b": [[4, 5, 6]]}
    assert dict(Taken(write(tmp_path, json.dumps(data)), "object").members) == data


def test_empties(tmp_path):
    assert Taken(write(tmp_path, "{}"), "object").members == []
    assert Taken(write(tmp_path, " [ ] "), "array").members == []


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
def test_what_is_not_json_is_said_with_its_place(tmp_path, text, message):
    filler = ""
    with pytest.raises(AvlocError) as error:
        Taken(write(tmp_path, filler.encode() + text if isinstance(text, bytes) else filler + text), "object")
    assert message in str(error.value)
    assert str(error.value).count("\n") == 0


def test_the_place_is_right_after_many_pieces(tmp_path):
    good = ",\n".join(f'"clip{k}": [[1, 2, 3]]' for k in range(40))
    with pytest.raises(AvlocError, match=r"line 41, column 13: not JSON \(Expecting value\) at 'nope"):
        Taken(write(tmp_path, "{" + good + ',\n"clip40":   nope}'), "object")


def test_missing_and_folder(tmp_path):
    with pytest.raises(AvlocError, match="no such test file"):
        Taken(tmp_path / "none.json", "object")
    with pytest.raises(AvlocError, match="is a folder, want a test file"):
        Taken(tmp_path, "object")
