"""Debian packages of recordings and programs: download > checksum > files, without an installation and without root."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import tarfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from avloc.errors import AvlocError
from avloc.io.files import replacing

MIRROR = "http://deb.debian.org/debian/"
TIMEOUT_S = 120.0
AR_MAGIC, AR_HEADER_BYTES = b"!<arch>\n", 60
PROGRAM_SECONDS = 60.0


class Package(NamedTuple):
    """A package of recordings, fixed by its checksum.

    Attributes:
        name: the package's name.
        path: relative to a mirror's folder.
        sha256: of the file.
        licence: of its content, by SPDX names.
    """

    name: str
    path: str
    sha256: str
    licence: str


def download(package: Package, folder: Path) -> Path:
    """Download a package into a folder, by apt, which may know a near mirror, or else from `MIRROR`; an existing file is kept.

    Raises:
        AvlocError: if the package cannot be downloaded, or its checksum differs.
    """
    path = folder / package.path.rpartition("/")[2]
    if not path.is_file():
        try:
            download_by_apt(package.name, folder / "apt").replace(path)
        except AvlocError:
            _download_from_mirror(package, path)
        else:
            if not _is_same(path, package):  # the system is of another release
                _download_from_mirror(package, path)
    if not _is_same(path, package):
        raise AvlocError(
            f"{path}: not the package of this benchmark, want SHA-256 {package.sha256}; "
            f"put the file of {MIRROR}{package.path} there"
        )
    return path


def _is_same(path: Path, package: Package) -> bool:
    return hashlib.sha256(path.read_bytes()).hexdigest() == package.sha256


def download_by_apt(name: str, folder: Path) -> Path:
    """Download the system's version of a package, which apt verifies.

    Raises:
        AvlocError: if the system has no apt, or apt has no such package.
    """
    folder.mkdir(parents=True, exist_ok=True)
    command = ["apt-get", "-o", "APT::Sandbox::User=root", "download", name]
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=10 * TIMEOUT_S)
    except (OSError, subprocess.SubprocessError) as error:
        raise AvlocError(f"{name}: apt-get download failed ({_reason(error)})") from error
    return max(folder.glob(f"{name}_*.deb"), key=lambda path: path.stat().st_mtime)


def _download_from_mirror(package: Package, path: Path) -> None:
    try:
        with urllib.request.urlopen(MIRROR + package.path, timeout=TIMEOUT_S) as response, replacing(path) as temporary:
            temporary.write_bytes(response.read())
    except OSError as error:
        raise AvlocError(
            f"{MIRROR}{package.path}: download failed ({error}); put the file into {path.parent}"
        ) from error


def read_files(path: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of each regular file in a package, in its order; names are relative to the root folder.

    A Debian package is an `ar` archive: members of a header of 60 bytes and an even number of bytes. `data.tar` is among them.
    """
    with _open_data(path) as archive:
        for member in archive:
            file = archive.extractfile(member) if member.isfile() else None
            if file is not None:
                yield member.name.removeprefix("./"), file.read()


def unpack(path: Path, folder: Path) -> None:
    """Unpack a package's files and links into a folder."""
    with _open_data(path) as archive:
        archive.extractall(folder, filter="tar")


def _open_data(path: Path) -> tarfile.TarFile:
    content = path.read_bytes()
    position = len(AR_MAGIC)
    while content.startswith(AR_MAGIC) and position < len(content):
        begin = position + AR_HEADER_BYTES
        size = int(content[position + 48 : position + 58])
        if content[position : position + 8] == b"data.tar":
            return tarfile.open(fileobj=io.BytesIO(content[begin : begin + size]))
        position = begin + size + size % 2
    raise AvlocError(f"{path}: not a Debian package; remove the file to download it again")


class Program(NamedTuple):
    """A program that is installed, or unpacked from a package.

    Attributes:
        path: of the program.
        environment: variables that it needs.
        root: folder that stands for `/`.
    """

    path: str
    environment: dict[str, str]
    root: Path

    def run(self, *arguments: str, stdin: bytes = b"") -> bytes:
        """Run the program and return its standard output.

        Raises:
            AvlocError: if it fails.
        """
        try:
            return subprocess.run(
                [self.path, *arguments],
                input=stdin,
                check=True,
                capture_output=True,
                timeout=PROGRAM_SECONDS,
                env={**os.environ, **self.environment},
            ).stdout
        except (OSError, subprocess.SubprocessError) as error:
            raise AvlocError(f"{self.path} {' '.join(arguments)}: failed ({_reason(error)})") from error


def find_program(name: str, package: str, folder: Path) -> Program:
    """Find an installed program, or unpack it and the libraries that this system lacks into a folder.

    Args:
        name: the program.
        package: Debian's package of it.
        folder: for the unpacked packages.

    Raises:
        AvlocError: if the packages cannot be had.
    """
    installed = shutil.which(name)
    if installed:
        return Program(installed, {}, Path("/"))
    program, marker = folder / "usr" / "bin" / name, folder / f"{package}.unpacked"
    if not marker.exists():
        for dependency in list_missing_packages(package):
            unpack(download_by_apt(dependency, folder / "apt"), folder)
        if not program.is_file():
            raise AvlocError(f"{program}: is not in the package {package}; install {name}")
        marker.touch()
    roots = (folder / "lib", folder / "usr" / "lib")
    libraries = sorted({path.parent for root in roots for path in root.rglob("*.so*")})
    search_path = os.pathsep.join(filter(None, [*map(str, libraries), os.environ.get("LD_LIBRARY_PATH")]))
    return Program(str(program), {"LD_LIBRARY_PATH": search_path}, folder)


def list_missing_packages(package: str) -> list[str]:
    """Names of a package and of all packages that it depends on and this system lacks, in apt's order.

    Raises:
        AvlocError: if the system has no apt, or apt has no such package.
    """
    command = ["apt-get", "--simulate", "--no-install-recommends", "install", package]
    try:
        output = subprocess.run(command, check=True, capture_output=True, timeout=TIMEOUT_S).stdout.decode()
    except (OSError, subprocess.SubprocessError) as error:
        raise AvlocError(
            f"{package}: apt-get cannot find it ({_reason(error)}); run apt-get update, or install the program"
        ) from error
    return [line.split()[1] for line in output.splitlines() if line.startswith("Inst ")]


def _reason(error: OSError | subprocess.SubprocessError) -> object:
    """The last line that a failed program printed to its standard error; the error itself if there is none."""
    lines = (getattr(error, "stderr", None) or b"").decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else error
