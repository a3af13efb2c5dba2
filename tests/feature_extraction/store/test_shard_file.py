from __future__ import annotations

import errno
import fcntl
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from avloc.errors import AvlocError, StoreError
from avloc.feature_extraction.store.shard_file import EXTRACT_AGAIN, explain_error, open_shard, shard_error
from avloc.feature_extraction.store.shard_tables import read_tables
from avloc.feature_extraction.store.shards import ShardWriter

NO_LOCKS = """
#include <errno.h>
#include <fcntl.h>
int flock(int file, int operation) { errno = ENOLCK; return -1; }
"""
READ = """
import sys
from pathlib import Path
from avloc.feature_extraction.store.shard_tables import read_tables
print(read_tables(Path(sys.argv[1])).files)
"""


@pytest.fixture
def shard(tmp_path):
    path = tmp_path / "0.h5"
    with ShardWriter(path, 2) as writer:
        writer.append(np.ones((3, 2), np.float32))
        writer.end("a", 0.0)
    return path


def edited(path, name, make):
    """Replace a table by what `make` puts into the open file."""
    with h5py.File(path, "a") as file:
        del file[name]
        make(file, name)
    return path


def test_a_shard_is_read_while_another_process_has_locked_it(shard):
    with shard.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(BlockingIOError):
            h5py.File(shard, "r", locking=True)
        assert read_tables(shard).files == ["a"]


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs a C compiler")
def test_a_file_system_without_locks(shard, tmp_path):
    library = tmp_path / "nolock.so"
    (tmp_path / "nolock.c").write_text(NO_LOCKS)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, tmp_path / "nolock.c"], check=True)
    environment = {**os.environ, "LD_PRELOAD": str(library)}
    locked = [sys.executable, "-c", f"import h5py; h5py.File({str(shard)!r}, 'r', locking=True)"]
    assert subprocess.run(locked, env=environment, capture_output=True, check=False).returncode == 1
    done = subprocess.run(
        [sys.executable, "-c", READ, shard], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "['a']\n"


@pytest.mark.parametrize(
    ("number", "cure"),
    [
        (errno.ENOLCK, "check the disk or the network"),
        (errno.EAGAIN, "check the disk or the network"),
        (errno.EACCES, "correct its rights"),
        (errno.EPERM, "correct its rights"),
        (errno.EIO, "check the disk or the network"),
        (errno.ESTALE, "check the disk or the network"),
        (errno.ETIMEDOUT, "check the disk or the network"),
        (errno.EMFILE, "ulimit -n"),
        (errno.ENOENT, "it disappeared"),
    ],
)
def test_a_refused_read_is_no_damage(shard, monkeypatch, number, cure):
    text = f"Unable to open file (file read failed: errno = {number}, error message = 'x')"
    for error in (OSError(number, os.strerror(number)), OSError(text)):

        def refuse(*_, error=error, **__):
            raise error

        monkeypatch.setattr(h5py, "File", refuse)
        with pytest.raises(StoreError, match=r"0\.h5: cannot be read") as caught:
            read_tables(shard)
        assert cure in str(caught.value)
        assert "damaged" not in str(caught.value)
        assert "remove" not in str(caught.value)


def test_a_missing_shard_and_one_without_rights(shard, monkeypatch):
    with pytest.raises(StoreError, match=r"1\.h5: cannot be read \(No such file or directory\); it disappeared"):
        read_tables(shard.with_name("1.h5"))

    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)  # rights do not hold for root, who may run this test
    with pytest.raises(
        StoreError, match=r"cannot be read \(Permission denied\); the file may be whole; correct its rights"
    ):
        read_tables(shard)


def test_full_memory_is_no_damage(shard):
    assert "free some memory" in str(explain_error(shard, MemoryError()))


@pytest.mark.parametrize("content", [b"", b"no shard", b"\x89HDF\r\n\x1a\n" + bytes(3000)])
def test_another_file_is_a_damaged_shard(shard, content):
    shard.write_bytes(content)
    with pytest.raises(StoreError, match=r"0\.h5: a damaged shard \(.*\); remove it and run the same extraction again"):
        read_tables(shard)


def test_what_is_no_file_is_not_read(shard):
    """Opening a pipe would wait for ever."""
    shard.unlink()
    os.mkfifo(shard)
    with pytest.raises(StoreError, match="is no regular file; move it out of the store"):
        read_tables(shard)
    shard.unlink()
    shard.symlink_to("/dev/zero")
    with pytest.raises(StoreError, match="is no regular file"):
        read_tables(shard)


def external_file(file, name):
    file.create_dataset(name, shape=(3,), dtype="f8", external=[("/etc/passwd", 0, 24)])


def virtual(file, name):
    layout = h5py.VirtualLayout(shape=(3, 2), dtype="<f2")
    layout[:] = h5py.VirtualSource("elsewhere.h5", "values", shape=(3, 2))
    file.create_virtual_dataset(name, layout)


def external_link(file, name):
    file[name] = h5py.ExternalLink("elsewhere.h5", "values")


def soft_link(file, name):
    file[name] = h5py.SoftLink("/values")


def group(file, name):
    file.create_group(name)


def huge(file, name):
    file.create_dataset(name, shape=(1 << 40,), dtype="<f8", chunks=(1 << 10,))


def compressed(file, name):
    file.create_dataset(name, data=np.zeros((3, 2), "<f2"), chunks=(2, 2), compression="gzip")


def columns(file, name):
    file.create_dataset(name, data=np.zeros((3, 2), "<f2"), chunks=(2, 1))


def single(file, name):
    file.create_dataset(name, data=np.zeros((3, 2), "<f4"), chunks=(2, 2))


def no_space(file, name):
    file.create_dataset(name, data=h5py.Empty("<f8"))


def square(file, name):
    file.create_dataset(name, data=np.zeros((1, 1), "<f8"))


def text(file, name):
    file.create_dataset(name, data=["a"], dtype=h5py.string_dtype())


@pytest.mark.parametrize(
    ("table", "make", "problem"),
    [
        ("start", external_file, "its table start lies in another file"),
        ("values", virtual, "its table values lies in another file"),
        ("values", external_link, "its table values is a link to another place"),
        ("start", soft_link, "its table start is a link to another place"),
        ("offsets", group, "'offsets' is no table"),
        ("start", huge, "its table start is larger than the file"),
        ("bytes", no_space, "'bytes' is no table"),
        ("start", square, "its table start is float64"),
        ("offsets", text, "its table offsets is object"),
        ("values", compressed, "want values of plain float16"),
        ("values", columns, "want values of plain float16"),
        ("values", single, "want values of plain float16, int16 or uint8 in chunks of rows, got float32"),
        ("gaps", text, "its table gaps is object"),
    ],
)
def test_hostile_tables_are_refused_before_they_are_read(shard, table, make, problem):
    with pytest.raises(StoreError, match=problem):
        read_tables(edited(shard, table, make))


def test_errors_of_the_block_pass(shard):
    with pytest.raises(AvlocError, match="^mine$"), open_shard(shard):
        raise AvlocError("mine")


def test_errors_of_shards_pass_between_processes():
    error = pickle.loads(pickle.dumps(shard_error(Path("0.h5"), "has no checksum")))
    assert (str(error), error.problem, error.remedy) == (
        f"0.h5: has no checksum; {EXTRACT_AGAIN}",
        "has no checksum",
        EXTRACT_AGAIN,
    )
