from __future__ import annotations

import hashlib
import io
import tarfile

import pytest

from avloc.errors import AvlocError

FILES = {
    "./usr/share/x/en_US/vm-intro.g722": b"a" * 9000,
    "./usr/share/x/digits/1.g722": b"b" * 100,
    "./doc": b"c" * 9000,
}


def write_package(path, files):
    """Write a Debian package that holds data alone."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w:xz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    with path.open("wb") as out:
        out.write(b"!<arch>\n")
        for name, content in (("debian-binary", b"2.0"), ("data.tar.xz", tar.getvalue())):
            out.write(f"{name:16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode())
            out.write(content + b"\n" * (len(content) % 2))


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The only package of a benchmark in English, downloaded already."""
    import speech

    path = tmp_path / speech.PACKAGE.format("en")
    write_package(path, FILES)
    monkeypatch.setattr(speech, "SHA256", {"en": hashlib.sha256(path.read_bytes()).hexdigest()})
    return path


def test_long_recordings_are_unpacked(package):
    import speech

    folder = package.parent
    assert speech.fetch(folder) == folder
    assert [p.name for p in sorted((folder / "en").glob("*.g722"))] == ["en_US-vm-intro.g722"]
    assert (folder / "en" / "en_US-vm-intro.g722").read_bytes() == b"a" * 9000


def test_complete_languages_are_kept(package):
    import speech

    speech.fetch(package.parent)
    package.unlink()
    speech.fetch(package.parent)


def test_another_package_is_refused(package):
    import speech

    write_package(package, FILES | {"./more": b""})
    with pytest.raises(AvlocError, match="not the package of this benchmark, want SHA-256"):
        speech.fetch(package.parent)


def test_failed_download_names_the_cure(package, monkeypatch):
    import speech

    package.unlink()
    monkeypatch.setattr(speech, "POOL", "file:///does-not-exist/")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(AvlocError, match="download failed .*; put the file into"):
        speech.fetch(package.parent)
