"""Finished timelines and their clips, each under a name that cannot be guessed, until they are too old."""

from __future__ import annotations

import math
import re
import secrets
import shutil
import threading
import time
from pathlib import Path

CLIP, PAGE = "clip", "timeline.html"
_TOKEN = re.compile(r"[A-Za-z0-9_-]{22,64}")


class UploadStore:
    """A folder with one folder per result.

    Args:
        folder: is made, and removed by `close`.
        keep_s: seconds that a result is kept.
    """

    def __init__(self, folder: Path, keep_s: float) -> None:
        self.folder, self.keep_s = folder, keep_s
        self._until: dict[str, float] = {}
        self._lock = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)

    def add(self) -> tuple[str, Path]:
        """A new, empty place, and its name."""
        token = secrets.token_urlsafe(24)
        place = self.folder / token
        place.mkdir()
        with self._lock:
            self._until[token] = math.inf
        return token, place

    def finish(self, token: str) -> None:
        """From now on a result is kept for `keep_s`; before, it is being worked on."""
        with self._lock:
            self._until[token] = time.monotonic() + self.keep_s

    def find(self, token: str, name: str) -> Path | None:
        """A file of a result; None if there is none, or it is too old. Only names that were given out are looked up."""
        if not _TOKEN.fullmatch(token):
            return None
        with self._lock:
            if self._until.get(token, 0.0) < time.monotonic():
                return None
        return next((p for p in (self.folder / token).iterdir() if p.name == name or p.stem == name), None)

    def remove(self, token: str) -> None:
        """Forget a result now."""
        with self._lock:
            self._until.pop(token, None)
        shutil.rmtree(self.folder / token, ignore_errors=True)

    def sweep(self) -> None:
        """Remove what is too old."""
        with self._lock:
            old = [token for token, until in self._until.items() if until < time.monotonic()]
        for token in old:
            self.remove(token)

    def close(self) -> None:
        """Remove all."""
        shutil.rmtree(self.folder, ignore_errors=True)
