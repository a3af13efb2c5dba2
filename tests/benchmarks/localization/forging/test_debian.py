from __future__ import annotations

import hashlib
import os

import pytest

from avloc.errors import AvlocError


@pytest.fixture
def package(tmp_path, write_package):
    """A package that is downloaded already, in its folder."""
    from forging import debian

    path = tmp_path / "x_1_all.deb"
    write_package(path, {"./usr/a": b"abc", "./usr/lib/b": b"de"}, [("./usr/c", "a")])
    return debian.Package("x", "pool/main/x/x/x_1_all.deb", hashlib.sha256(path.read_bytes()).hexdigest(), "MIT")


def test_files_are_read_without_links(package, tmp_path):
    from forging import debian

    path = debian.download(package, tmp_path)
    assert list(debian.read_files(path)) == [("usr/a", b"abc"), ("usr/lib/b", b"de")]


def test_links_are_unpacked(package, tmp_path):
    from forging import debian

    debian.unpack(debian.download(package, tmp_path), tmp_path / "root")
    assert (tmp_path / "root" / "usr" / "c").read_bytes() == b"abc"


def test_another_package_is_refused(package, tmp_path):
    from forging import debian

    with pytest.raises(AvlocError, match="not the package of this benchmark, want SHA-256 0; put the file of http"):
        debian.download(package._replace(sha256="0"), tmp_path)


def test_broken_package_is_named(tmp_path):
    from forging import debian

    (tmp_path / "y.deb").write_bytes(b"<html>")
    with pytest.raises(AvlocError, match="y.deb: not a Debian package"):
        next(debian.read_files(tmp_path / "y.deb"))


def test_failed_download_names_the_cure(package, tmp_path, monkeypatch):
    from forging import debian

    monkeypatch.setattr(debian, "MIRROR", "file:///does-not-exist/")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(AvlocError, match="download failed .*; put the file into"):
        debian.download(package, tmp_path / "empty")


def test_mirror_is_asked_if_apt_has_another_version(package, tmp_path, monkeypatch, write_package):
    from forging import debian

    mirror, folder = tmp_path / "mirror", tmp_path / "folder"
    (mirror / package.path).parent.mkdir(parents=True)
    (tmp_path / "x_1_all.deb").rename(mirror / package.path)

    def download_by_apt(name, apt):
        apt.mkdir(parents=True)
        write_package(apt / "x_2_all.deb", {"./usr/a": b"newer"})
        return apt / "x_2_all.deb"

    monkeypatch.setattr(debian, "download_by_apt", download_by_apt)
    monkeypatch.setattr(debian, "MIRROR", f"file://{mirror}/")
    assert next(debian.read_files(debian.download(package, folder))) == ("usr/a", b"abc")


def test_installed_program_is_preferred(tmp_path, monkeypatch):
    from forging import debian

    program = debian.find_program("cat", "no-such-package", tmp_path)
    assert program.environment == {}
    assert program.run(stdin=b"hello") == b"hello"
    with pytest.raises(AvlocError, match="no-such-file: failed .*No such file"):
        program.run("no-such-file")


APT = """#!/bin/sh
if [ "$*" != "--simulate --no-install-recommends install shout" ]; then echo "E: not simulated: $*" >&2; exit 100; fi
echo "Reading package lists..."
echo "Inst libshout (1-2 Debian:12.1/stable [amd64])"
echo "Inst shout [0.9] (1.0 Debian:12.1/stable [amd64])"
echo "Conf libshout (1-2 Debian:12.1/stable [amd64])"
"""


@pytest.fixture
def apt(tmp_path, monkeypatch):
    """A system whose apt names two packages."""
    command = tmp_path / "programs" / "apt-get"
    command.parent.mkdir()
    command.write_text(APT)
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}{os.pathsep}/usr/bin{os.pathsep}/bin")


def test_packages_are_those_that_the_system_lacks(apt):
    from forging import debian

    assert debian.list_missing_packages("shout") == ["libshout", "shout"]
    with pytest.raises(AvlocError, match="whisper: apt-get cannot find it .E: not simulated"):
        debian.list_missing_packages("whisper")


def test_program_is_unpacked_once_with_its_libraries(apt, tmp_path, monkeypatch, write_package):
    from forging import debian

    downloads = []
    files = {
        "libshout": {
            "./usr/lib/x/libshout.so.1": b"",
            "./usr/lib/x/private/libloud-2.so": b"",
            "./lib/x/libc-3.so": b"",
        },
        "shout": {"./usr/bin/shout": b'#!/bin/sh\necho "$LD_LIBRARY_PATH"\n'},
    }

    def download_by_apt(name, folder):
        downloads.append(name)
        path = tmp_path / f"{name}.deb"
        write_package(path, files[name])
        return path

    monkeypatch.setattr(debian, "download_by_apt", download_by_apt)
    root = tmp_path / "root"
    root.mkdir()
    (root / "shout.complete").touch()  # of an earlier release, which unpacked fewer packages
    for _ in range(2):
        program = debian.find_program("shout", "shout", root)
    assert downloads == ["libshout", "shout"]
    libraries = [str(root / path) for path in ("lib/x", "usr/lib/x", "usr/lib/x/private")]
    assert program.run().decode().strip().split(os.pathsep)[:3] == libraries
    with pytest.raises(AvlocError, match="usr/bin/cry: is not in the package shout; install cry"):
        debian.find_program("cry", "shout", tmp_path / "other")


def test_missing_program_says_which_package(tmp_path, monkeypatch):
    from forging import debian

    monkeypatch.setenv("PATH", "")
    with pytest.raises(AvlocError, match="shout-package: apt-get cannot find it .*; run apt-get update, or install"):
        debian.find_program("shout", "shout-package", tmp_path)
