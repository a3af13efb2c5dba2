from __future__ import annotations

import os

import pytest

from avloc.errors import AvlocError
from avloc.io.files import read_json, remove_stale, replacing, temporary_path, write_json


def test_a_file_is_there_as_a_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "a.json"
    write_json(path, {"ä": 1})
    assert read_json(path, "table") == {"ä": 1}
    with pytest.raises(KeyboardInterrupt), replacing(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert read_json(path, "table") == {"ä": 1}
    assert list(path.parent.iterdir()) == [path]


def test_temporary_names_are_hidden_and_keep_the_ending(tmp_path):
    name = temporary_path(tmp_path / "a.b.mp4").name
    assert name.startswith(".a.b.")
    assert name.endswith(".tmp.mp4")


def test_errors(tmp_path):
    with pytest.raises(AvlocError, match="is a folder, want the name of a file to write"):
        write_json(tmp_path, {})
    with pytest.raises(AvlocError, match="no such table"):
        read_json(tmp_path / "none", "table")
    with pytest.raises(AvlocError, match="is a folder, want a table"):
        read_json(tmp_path, "table")
    for content in (b"", b"\xff", b"[" * 100_000):
        (tmp_path / "x").write_bytes(content)
        with pytest.raises(AvlocError, match="x: not a JSON file"):
            read_json(tmp_path / "x", "table")


def test_leavings_of_other_machines_are_removed_when_old(tmp_path):
    old, fresh = (tmp_path / f".{name}.elsewhere.7.tmp.h5" for name in ("old", "fresh"))
    for path in (old, fresh):
        path.write_text("x")
    os.utime(old, (0, 0))
    assert remove_stale(tmp_path) == 1
    assert fresh.exists()
