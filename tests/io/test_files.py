from __future__ import annotations

import errno
import hashlib
import os
import re
import subprocess
import sys
import time
from types import SimpleNamespace

import av
import pytest

from avloc.errors import AvlocError, StoreError
from avloc.io import files
from avloc.io.files import (
    copy_file,
    describe_os_error,
    file_sha256,
    format_bytes,
    no_room_error,
    numbered_fields,
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


def test_temporary_names_are_hidden_and_differ(tmp_path):
    names = {temporary_path(tmp_path / "a.b.mp4").name for _ in range(3)}
    assert len(names) == 3
    for name in names:
        assert name.startswith(f".a.b.{files._machine()}.{os.getpid()}.")
        assert name.endswith(".tmp.mp4")


@pytest.mark.parametrize("stem", ["n" * 251, "é" * 125 + "n", os.fsdecode(b"\xff" * 251)])
def test_the_longest_names_can_be_written(tmp_path, stem):
    path = tmp_path / f"{stem}.txt"
    assert len(os.fsencode(path.name)) == 255
    write_text(path, "whole")
    assert path.read_text() == "whole"
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_names_that_are_not_utf8_become_escapes(tmp_path):
    write_json(tmp_path / "a.json", {"a\udcff": 1})
    assert read_json(tmp_path / "a.json", "table") == {"a\udcff": 1}
    write_csv(tmp_path / "a.csv", ["file"], [["a\udcff"]])
    assert (tmp_path / "a.csv").read_text() == "file\na\\udcff\n"


LIMITED = """
import resource, sys
from pathlib import Path
from avloc.io.files import replacing
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    with replacing(sys.argv[1], int(sys.argv[2]) or None) as temporary:
        temporary.write_bytes(bytes(2000))
except OSError as error:
    print(error.errno, error.filename, error.strerror)
"""


@pytest.mark.parametrize(("size", "needed"), [(2000, "2.0 kB"), (0, "more than 1.0 kB")])
def test_a_file_that_does_not_fit_is_named_with_its_size(tmp_path, size, needed):
    """A limit on the size of files stands in for a full disk."""
    path = tmp_path / "a.bin"
    path.write_text("old")
    done = subprocess.run([sys.executable, "-c", LIMITED, path, str(size)], capture_output=True, text=True, check=True)
    assert done.stdout == (
        f"{errno.EFBIG} {path} the largest size of a file is reached (ulimit -f): the file needs {needed}; "
        "make room, then run the same command again\n"
    )
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_errors_name_the_file_and_not_its_temporary_name(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "temporary_path", lambda path: path.with_name("none") / "x.tmp")
    with pytest.raises(FileNotFoundError) as caught:
        write_text(tmp_path / "a.txt", "a")
    assert caught.value.filename == str(tmp_path / "a.txt")
    with pytest.raises(FileNotFoundError) as caught, files.replacing(tmp_path / "a.mp4") as temporary:
        raise av.error.FileNotFoundError(errno.ENOENT, "No such file or directory", str(temporary))
    assert caught.value.filename == str(tmp_path / "a.mp4")


def test_a_full_disk_is_reported_with_the_free_room(tmp_path):
    error = no_room_error(OSError(errno.ENOSPC, "No space left on device"), tmp_path / "a", written=1234)
    assert re.fullmatch(
        r"no room on the disk: the file needs more than 1\.2 kB, [\d.]+ .?B are free; make room, .*", error.strerror
    )
    assert no_room_error(error, tmp_path / "b") is error  # an inner file keeps its name
    other = OSError(errno.EIO, "Input/output error")
    assert no_room_error(other, tmp_path / "a") is other


def test_a_synced_file_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    steps = []
    monkeypatch.setattr(os, "fsync", lambda handle: steps.append(os.readlink(f"/proc/self/fd/{handle}")))
    with replacing(tmp_path / "a.txt", sync=True) as temporary:
        temporary.write_text("x")
    assert steps == [str(temporary), str(tmp_path)]


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


def write_owned(folder, machine, pid, age_s=0.0):
    """Write a temporary file as a process of some machine leaves it."""
    path = folder / f".a.{machine}.{pid}.0123abcd.tmp.h5"
    path.write_text("x")
    os.utime(path, (time.time() - age_s,) * 2)
    return path


def test_files_of_dead_processes_are_removed(tmp_path):
    with subprocess.Popen([sys.executable, "-c", "pass"]) as process:
        process.wait()
    dead, alive = (write_owned(tmp_path, files._machine(), pid) for pid in (process.pid, os.getpid()))
    for path in (tmp_path / "a.h5", tmp_path / ".other.tmp"):
        path.write_text("x")
    assert remove_stale(tmp_path) == 1
    assert not dead.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([alive.name, "a.h5", ".other.tmp"])


def test_files_of_other_machines_and_containers_are_removed_by_age_alone(tmp_path):
    """Their processes may run, also where their numbers are free here."""
    host = files._machine().partition(".")[0]
    for machine in ("elsewhere.0123abcd", f"{host}.0123abcd"):  # another host; another container of the same host name
        fresh, old = write_owned(tmp_path, machine, 99999997), write_owned(tmp_path, machine, 99999998, 3.1 * 86400)
        assert remove_stale(tmp_path) == 1
        assert fresh.exists()
        assert not old.exists()


def test_temporary_names_of_earlier_releases_are_removed_by_age_alone(tmp_path):
    host = files._machine().partition(".")[0]
    old, fresh = (tmp_path / f".{name}.{host}.99999999.tmp.h5" for name in ("old", "fresh"))
    for path in (old, fresh):
        path.write_text("x")
    os.utime(old, (0, 0))
    assert remove_stale(tmp_path) == 1
    assert fresh.exists()


def test_two_containers_with_one_host_name_are_two_machines(monkeypatch):
    names = set()
    for namespace in ("pid:[1]", "pid:[2]"):
        monkeypatch.setattr(os, "readlink", lambda path, namespace=namespace: namespace)
        names.add(files._machine())
    monkeypatch.setattr(files.Path, "read_text", lambda path: "another boot")
    names.add(files._machine())
    assert len(names) == 3
    assert len({name.partition(".")[0] for name in names}) == 1


def test_a_file_that_may_not_be_removed_stops_nothing(tmp_path, monkeypatch):
    path = write_owned(tmp_path, files._machine(), 99999999)

    def refuse(self):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(files.Path, "unlink", refuse)
    assert remove_stale(tmp_path) == 0
    assert path.exists()


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


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_400, "999.4 kB"), (999_999, "1.0 MB"), (3e15, "3000.0 TB")],
)
def test_format_bytes(size, text):
    assert format_bytes(size) == text


def test_errors_of_the_system_in_one_line(monkeypatch):
    assert describe_os_error(FileNotFoundError(errno.ENOENT, "No such file or directory", b"a\xff")) == (
        "a\udcff: no such file or folder"
    )
    assert describe_os_error(IsADirectoryError(errno.EISDIR, "Is a directory", "a")) == "a: is a folder, want a file"
    assert describe_os_error(OSError(errno.EIO, "Input/output error")) == "Input/output error"
    assert describe_os_error(OSError("two\nlines")) == "two lines"
    monkeypatch.setattr(
        files.shutil, "disk_usage", lambda folder: SimpleNamespace(free=0 if folder == "/dev/shm" else 10**9)
    )
    text = describe_os_error(OSError(errno.ENOSPC, "No space left on device"))
    full = "/dev/shm" if os.path.isdir("/dev/shm") else "a disk"
    assert text == f"{full}: no room on the disk; make room, then run the same command again"


def test_fields_keep_the_numbers_of_their_lines(tmp_path):
    path = tmp_path / "x.txt"
    path.write_bytes("\ufeffa  b\r\n\r\n\tc\r\n".encode())
    assert list(numbered_fields(path, "label file")) == [(1, ["a", "b"]), (3, ["c"])]
    for name, message in (("none.txt", "no such label file"), (".", "is a folder, want a label file")):
        with pytest.raises(AvlocError, match=message):
            list(numbered_fields(tmp_path / name, "label file"))
    path.write_bytes(b"\xff")
    with pytest.raises(AvlocError, match="not text in UTF-8"):
        list(numbered_fields(path, "label file"))


def test_a_copy_is_whole_or_absent(tmp_path):
    source, target = tmp_path / "a.bin", tmp_path / "new" / "b.bin"
    source.write_bytes(b"content" * 3)
    copy_file(source, target)
    assert target.read_bytes() == b"content" * 3
    with pytest.raises(FileNotFoundError):
        copy_file(tmp_path / "missing", tmp_path / "c.bin")
    with pytest.raises(AvlocError, match="is a folder"):
        copy_file(source, tmp_path / "new")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.bin", "b.bin", "new"]
