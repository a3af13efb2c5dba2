"""Recorded speech of five speakers: Debian's packages of Asterisk's prompts > folders of recordings, one per speaker.

131 minutes in English, French, Spanish, Italian and Russian (CC BY-SA 3.0; the English ones also CC BY 3.0: see each package's
`copyright`). The benchmark downloads them and compares their checksums; they are never copied into the project.
"""

from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from avloc.errors import AvlocError
from avloc.io.files import replacing

POOL = "http://deb.debian.org/debian/pool/main/a/asterisk-core-sounds/"
PACKAGE = "asterisk-core-sounds-{}-g722_1.6.1-1_all.deb"
SHA256 = {
    "en": "38c5261820b406dcb0ecb37675720da2b0864850690690352ca52707eb623806",
    "fr": "7add61d5e42279ecff1bbdf842a5a946ac3644fac9a0fe44384731aa7270c8e0",
    "it": "46b4cf7afc508a5fcfc051b7ea233251c0d195dd4ef83cc4b7facb4c6429b016",
    "ru": "673b4238a6b8269960f055d868c6a11083f7a0d00979167cb01554046b48ed9b",
    "es": "e4e3b4281057d3b81b779298fd6be705f57411513955c518eed1bcaabbd615b8",
}
TIMEOUT_S = 120.0
SHORTEST_BYTES = 8000  # one second: shorter recordings are digits and letters, too short to cut into words
AR_HEADER_BYTES = 60


def fetch(folder: Path) -> Path:
    """Download the recordings to `folder/LANGUAGE/*.g722`; complete languages are kept.

    Raises:
        AvlocError: if a package cannot be downloaded, or its checksum differs.
    """
    for language, sha256 in SHA256.items():
        marker = folder / language / "complete"
        if marker.is_file():
            continue
        package = PACKAGE.format(language)
        path = folder / package
        if not path.is_file():
            _download(package, path)
        if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
            raise AvlocError(
                f"{path}: not the package of this benchmark, want SHA-256 {sha256}; remove the file to download it again"
            )
        for name, content in _read_recordings(path):
            with replacing(folder / language / name) as temporary:
                temporary.write_bytes(content)
        marker.touch()
    return folder


def _download(package: str, path: Path) -> None:
    """Download a package by HTTP, or else by apt, which may know a mirror or a proxy."""
    try:
        with urllib.request.urlopen(POOL + package, timeout=TIMEOUT_S) as response, replacing(path) as temporary:
            temporary.write_bytes(response.read())
    except OSError as error:
        path.parent.mkdir(parents=True, exist_ok=True)
        name = package.partition("_")[0]
        try:
            subprocess.run(["apt-get", "download", name], cwd=path.parent, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            raise AvlocError(f"{POOL}{package}: download failed ({error}); put the file into {path.parent}") from error


def _read_recordings(path: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of each recording in a Debian package that is long enough.

    A Debian package is an `ar` archive: members of a header of 60 bytes and an even number of bytes. `data.tar` is among them.
    """
    data = path.read_bytes()
    position = len(b"!<arch>\n")
    while position < len(data):
        begin = position + AR_HEADER_BYTES
        name, size = (
            data[position : position + 16].decode().strip().rstrip("/"),
            int(data[position + 48 : position + 58]),
        )
        if name.startswith("data.tar"):
            yield from _read_tar(data[begin : begin + size])
        position = begin + size + size % 2


def _read_tar(content: bytes) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        for member in archive:
            file = archive.extractfile(member) if member.isfile() else None
            path = Path(member.name)
            if file is not None and path.suffix == ".g722" and member.size >= SHORTEST_BYTES:
                yield f"{path.parent.name}-{path.name}", file.read()
