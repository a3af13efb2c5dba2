from __future__ import annotations

import fcntl
import signal
import subprocess
import sys

import pytest

from avloc.web.server_folder import LOCK_NAME, remove_abandoned, server_folder

KILLED = """
import os, signal, sys
from pathlib import Path
from avloc.web.server_folder import server_folder
with server_folder(Path(sys.argv[1])) as uploads:
    uploads.mkdir()
    (uploads / "clip.mp4").write_bytes(b"x")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_folder_is_private_and_removed_at_the_end(tmp_path):
    with server_folder(tmp_path) as uploads:
        uploads.mkdir()
        (uploads / "clip.mp4").write_bytes(b"x")
        assert uploads.parent.parent == tmp_path
        assert uploads.parent.stat().st_mode & 0o777 == 0o700
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_a_killed_server_is_removed_by_the_next(tmp_path):
    process = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)])
    assert process.returncode == -signal.SIGKILL
    (abandoned,) = tmp_path.iterdir()
    with server_folder(tmp_path) as uploads:
        assert list(tmp_path.iterdir()) == [uploads.parent]
        assert not abandoned.exists()


def test_the_folder_of_a_running_server_stays(tmp_path):
    with server_folder(tmp_path) as first, server_folder(tmp_path) as second:
        assert first.parent.is_dir()
        assert second.parent.is_dir()
        assert remove_abandoned(tmp_path) == []


def make_abandoned(folder):
    folder.mkdir()
    (folder / LOCK_NAME).touch()
    return folder


def test_only_folders_of_servers_are_removed(tmp_path):
    with_more = make_abandoned(tmp_path / "avloc-serve-more")
    (with_more / "thesis.txt").touch()
    (tmp_path / "avloc-serve-unlocked").mkdir()  # a server that is just starting has no lock yet
    (tmp_path / "avloc-serve-file").touch()
    other = make_abandoned(tmp_path / "other")
    (tmp_path / "avloc-serve-link").symlink_to(other)
    link = make_abandoned(tmp_path / "avloc-serve-lock-link")
    (link / LOCK_NAME).unlink()
    (link / LOCK_NAME).symlink_to(other / LOCK_NAME)
    abandoned = make_abandoned(tmp_path / "avloc-serve-abandoned")
    names = {path.name for path in tmp_path.iterdir()}
    assert remove_abandoned(tmp_path) == [abandoned]
    assert {path.name for path in tmp_path.iterdir()} == names - {abandoned.name}


def test_the_folder_of_another_user_stays(tmp_path, monkeypatch):
    folder = make_abandoned(tmp_path / "avloc-serve-theirs")
    monkeypatch.setattr("os.getuid", lambda: folder.stat().st_uid + 1)
    assert remove_abandoned(tmp_path) == []


@pytest.mark.parametrize("error", [OSError("no locks available"), BlockingIOError()])
def test_without_locks_nothing_is_removed(tmp_path, monkeypatch, error):
    make_abandoned(tmp_path / "avloc-serve-1")

    def fail(*_):
        raise error

    monkeypatch.setattr(fcntl, "flock", fail)
    with server_folder(tmp_path) as uploads:
        assert remove_abandoned(tmp_path) == []
        assert uploads.parent.is_dir()
