"""Finished timelines and their clips, each under a name that cannot be guessed, until they expire."""

from __future__ import annotations

import math
import re
import secrets
import shutil
import threading
import time
from pathlib import Path

CLIP_NAME, PAGE_NAME = "clip", "timeline.html"
_TOKEN = re.compile(r"[A-Za-z0-9_-]{22,64}")


class UploadStore:
    """A folder with one subfolder per result, named by a random token. Safe to use from several threads.

    Args:
        folder: the folder; `UploadStore` creates it, and `close` removes it.
        keep_s: seconds until a finished result expires.

    >>> import tempfile
    >>> store = UploadStore(Path(tempfile.mkdtemp()) / "results", keep_s=60)
    >>> token, folder = store.create()
    >>> (folder / "clip.mp4").write_bytes(b"")
    0
    >>> store.finish(token)
    >>> store.find(token, "clip").name
    'clip.mp4'
    >>> store.close()
    """

    def __init__(self, folder: Path, keep_s: float) -> None:
        self.folder, self.keep_s = folder, keep_s
        self._expires_s: dict[str, float] = {}
        self._lock = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)

    def create(self) -> tuple[str, Path]:
        """Create an empty result; return its token and its folder. It does not expire before `finish`."""
        token = secrets.token_urlsafe(24)
        folder = self.folder / token
        folder.mkdir()
        with self._lock:
            self._expires_s[token] = math.inf
        return token, folder

    def finish(self, token: str) -> None:
        """Mark a result as finished: it expires `keep_s` from now."""
        with self._lock:
            self._expires_s[token] = time.monotonic() + self.keep_s

    def find(self, token: str, name: str) -> Path | None:
        """Return a file of a result by its name or stem; None if it does not exist or has expired.

        Tokens that `create` has not returned are never looked up on disk.
        """
        if not _TOKEN.fullmatch(token):
            return None
        with self._lock:
            if self._expires_s.get(token, 0.0) < time.monotonic():
                return None
        return next((path for path in (self.folder / token).iterdir() if name in (path.name, path.stem)), None)

    def remove(self, token: str) -> None:
        """Remove a result now."""
        with self._lock:
            self._expires_s.pop(token, None)
        shutil.rmtree(self.folder / token, ignore_errors=True)

    def sweep(self) -> None:
        """Remove expired results."""
        with self._lock:
            now_s = time.monotonic()
            expired = [token for token, expires_s in self._expires_s.items() if expires_s < now_s]
        for token in expired:
            self.remove(token)

    def close(self) -> None:
        """Remove all results and the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
