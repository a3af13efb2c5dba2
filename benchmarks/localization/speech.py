"""Recorded speech of five speakers: Debian's packages of Asterisk's prompts > folders of recordings, one per speaker.

131 minutes in English, French, Spanish, Italian and Russian (CC BY-SA 3.0; the English ones CC BY 3.0 too: see each package's
`copyright`). They are fetched when the benchmark is set up, compared with their checksums, and never copied into the project.
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
SHORTEST_BYTES = 8000  # a second: digits and letters cannot be cut into words


def fetch(folder: Path) -> Path:
    """Get the recordings into `folder/LANGUAGE/*.g722`; what is there is kept.

    Raises:
        AvlocError: if a package cannot be had, or is another one.
    """
    for language, sha256 in SHA256.items():
        done = folder / language / "complete"
        if done.is_file():
            continue
        package = PACKAGE.format(language)
        path = folder / package
        if not path.is_file():
            _download(package, path)
        if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
            raise AvlocError(f"{path}: not the package that this benchmark is made of (its SHA-256 differs)")
        for name, content in _recordings(path):
            with replacing(folder / language / name) as temporary:
                temporary.write_bytes(content)
        done.touch()
    return folder


def _download(package: str, path: Path) -> None:
    """By HTTP, or by apt where that knows a way that we do not."""
    try:
        with urllib.request.urlopen(POOL + package, timeout=TIMEOUT_S) as response, replacing(path) as temporary:
            temporary.write_bytes(response.read())
    except OSError as error:
        path.parent.mkdir(parents=True, exist_ok=True)
        name = package.partition("_")[0]
        try:
            subprocess.run(["apt-get", "download", name], cwd=path.parent, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            raise AvlocError(f"{POOL}{package}: cannot be had ({error}); put the file into {path.parent}") from error


def _recordings(path: Path) -> Iterator[tuple[str, bytes]]:
    """The recordings in a Debian package: an `ar` archive with a tar in it. Those that are too short to cut are left out."""
    data = path.read_bytes()
    at = len(b"!<arch>\n")
    while at < len(data):
        name, size = data[at : at + 16].decode().strip().rstrip("/"), int(data[at + 48 : at + 58])
        if name.startswith("data.tar"):
            with tarfile.open(fileobj=io.BytesIO(data[at + 60 : at + 60 + size])) as archive:
                for member in archive:
                    file = archive.extractfile(member) if member.isfile() else None
                    inner = Path(member.name)
                    if file is not None and inner.suffix == ".g722" and member.size >= SHORTEST_BYTES:
                        yield f"{inner.parent.name}-{inner.name}", file.read()
        at += 60 + size + size % 2
