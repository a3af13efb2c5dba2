from __future__ import annotations

import subprocess

import pytest

from avloc.errors import AvlocError


def test_failed_installation_is_an_error(tmp_path):
    from forging.python_packages import install

    with pytest.raises(AvlocError, match="no-index-of-this: pip install failed"):
        install(["./no-index-of-this"], tmp_path)


def test_complete_folder_is_kept(tmp_path, monkeypatch):
    from forging import python_packages

    calls = []

    def run(command, **options):
        calls.append(command[command.index("install") :])
        (tmp_path / "site").mkdir()

    monkeypatch.setattr(subprocess, "run", run)
    for _ in range(2):
        assert python_packages.install(("a==1", "b"), tmp_path / "site") == tmp_path / "site"
    assert calls == [["install", "--quiet", "--no-deps", "--target", str(tmp_path / "site"), "a==1", "b"]]
