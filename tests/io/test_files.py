from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import pytest

from avloc.errors import AvlocError, StoreError
from avloc.io import files
from avloc.io.files import (
    file_sha256,
    read_json,
    read_lines,
    remove_stale,
    replacing,
    resolve_inside,
    temporary_path,
    write_csv,
    write_json,
    write_text,
)


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "new" / "a.json"
    write_json(path, {"ä": 1})
    assert read_json(path, "table") == {"ä": 1}
    with pytest.raises(KeyboardInterrupt), replacing(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert read_json(path, "table") == {"ä": 1}
    assert list(path.parent.iterdir()) == [path]


def test_paths_may_be_strings(tmp_path):
    path = f"{tmp_path}/a.json"
    write_json(path, [1])
    assert read_json(path, "table") == [1]
    write_text(path, "x\n")
    assert read_lines(path, "list") == ["x"]
    assert file_sha256(path) == hashlib.sha256(b"x\n").hexdigest()


def test_temporary_names_are_hidden_and_keep_the_suffix(tmp_path):
    name = temporary_path(tmp_path / "a.b.mp4").name
    assert name.startswith(".a.b.")
    assert name.endswith(".tmp.mp4")


def test_csv_rows_are_quoted_where_needed(tmp_path):
    write_csv(tmp_path / "a.csv", ["file", "score"], (row for row in [["a,b", 0.5], ["ü", None]]))
    assert (tmp_path / "a.csv").read_bytes().decode() == 'file,score\r\n"a,b",0.5\r\nü,\r\n'


def test_lines_are_stripped(tmp_path):
    path = tmp_path / "files.txt"
    path.write_bytes("a.mp4\r\n\n  ü b.mp4 \n\t\n".encode())
    assert read_lines(path, "list of files") == ["a.mp4", "ü b.mp4"]
    path.write_bytes(b"")
    assert read_lines(path, "list of files") == []
    path.write_bytes(b"\xff")
    with pytest.raises(AvlocError, match=r"files\.txt: not text in UTF-8"):
        read_lines(path, "list of files")
    with pytest.raises(AvlocError, match="no such list of files"):
        read_lines(tmp_path / "none", "list of files")


def test_errors_of_json_files(tmp_path):
    with pytest.raises(AvlocError, match="is a folder, want the name of a file to write"):
        write_json(tmp_path, {})
    with pytest.raises(AvlocError, match="no such table"):
        read_json(tmp_path / "none", "table")
    with pytest.raises(StoreError, match="no such table"):
        read_json(tmp_path / "none", "table", StoreError)
    with pytest.raises(AvlocError, match="is a folder, want a table"):
        read_json(tmp_path, "table")
    for content in (b"", b"\xff", b"[" * 100_000):
        (tmp_path / "x").write_bytes(content)
        with pytest.raises(AvlocError, match="x: not a JSON file"):
            read_json(tmp_path / "x", "table")


def test_old_files_of_other_machines_are_removed(tmp_path):
    old, fresh = (tmp_path / f".{name}.elsewhere.7.tmp.h5" for name in ("old", "fresh"))
    for path in (old, fresh):
        path.write_text("x")
    os.utime(old, (0, 0))
    assert remove_stale(tmp_path) == 1
    assert fresh.exists()


def test_files_of_dead_processes_are_removed(tmp_path):
    with subprocess.Popen([sys.executable, "-c", "pass"]) as process:
        process.wait()
    dead, alive = (tmp_path / f".a.{files._host()}.{pid}.tmp.h5" for pid in (process.pid, os.getpid()))
    for path in (dead, alive, tmp_path / "a.h5", tmp_path / ".other.tmp"):
        path.write_text("x")
    assert remove_stale(tmp_path) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([alive.name, "a.h5", ".other.tmp"])
    assert alive == temporary_path(tmp_path / "a.h5")


def test_paths_may_not_leave_the_root(tmp_path):
    root = tmp_path / "set"
    (root / "train").mkdir(parents=True)
    assert resolve_inside(root, "train/a.mp4") == root / "train" / "a.mp4"
    assert resolve_inside(str(root), "train/../b.mp4").resolve() == root / "b.mp4"
    for file in ("../a.mp4", "/etc/passwd", "train/../../a.mp4"):
        with pytest.raises(AvlocError, match="leads out of"):
            resolve_inside(root, file)
    (root / "link.mp4").symlink_to(tmp_path / "a.mp4")
    with pytest.raises(AvlocError, match=r"link\.mp4: leads out of"):
        resolve_inside(root, "link.mp4")
