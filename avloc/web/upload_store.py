"""Uploads and their timelines, each under a token that cannot be guessed, within a total size, until they expire.

A visitor never names a file. `UploadStore` alone makes files and tokens, and only the visitor who sent a clip gets its token.
"""

from __future__ import annotations

import math
import secrets
import shutil
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from avloc.web.limits import UploadLimits, UploadRefusedError

VIDEO_SUFFIXES = ".mp4 .mov .m4v .mkv .webm .avi .mpg .ogv"
AUDIO_SUFFIXES = ".wav .mp3 .m4a .flac .ogg .aac"
PLAYABLE_SUFFIXES = frozenset([*VIDEO_SUFFIXES.split(), *AUDIO_SUFFIXES.split()])
CLIP_NAME, PAGE_NAME = "clip", "timeline.html"
State = Literal["receiving", "waiting", "running", "done", "failed"]


@dataclass(slots=True, eq=False)
class Upload:
    """A visitor's clip.

    Attributes:
        token: the visitor's only handle on it.
        name: the visitor's name for it, for messages.
        folder: its own folder; the name does not tell the token.
        size_bytes: bytes on disk.
        state: the state of its localization.
        fraction: finished fraction of the localization, in [0, 1].
        text: the progress in words, or the reason of a failure.
        expires_s: time of its removal, on the monotonic clock.
    """

    token: str
    name: str
    folder: Path
    size_bytes: int = 0
    state: State = "receiving"
    fraction: float = 0.0
    text: str = ""
    expires_s: float = math.inf

    @property
    def clip(self) -> Path:
        """The clip; it keeps a suffix that browsers play, so that nothing else is ever served under its own type."""
        suffix = Path(self.name).suffix.lower()
        return self.folder / f"{CLIP_NAME}{suffix if suffix in PLAYABLE_SUFFIXES else ''}"

    @property
    def page(self) -> Path:
        """The timeline."""
        return self.folder / PAGE_NAME


class UploadStore:
    """A folder with one subfolder per upload. Safe to use from several threads.

    Args:
        folder: the folder; `UploadStore` creates it, and `close` removes it.
        limits: the number and the total size of the uploads, and the time until they expire.

    >>> import tempfile
    >>> store = UploadStore(Path(tempfile.mkdtemp()) / "uploads", UploadLimits())
    >>> upload = store.create("holiday.MP4")
    >>> upload.clip.name
    'clip.mp4'
    >>> store.find(upload.token) is upload
    True
    >>> store.close()
    """

    def __init__(self, folder: Path, limits: UploadLimits) -> None:
        self.folder, self.limits = folder, limits
        self._uploads: dict[str, Upload] = {}
        self._failed: dict[str, Upload] = {}  # without files, the oldest first
        self._count = 0
        self._total_bytes = 0
        self._lock = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def total_bytes(self) -> int:
        """Bytes of all uploads and timelines."""
        return self._total_bytes

    def check_room(self, size_bytes: int = 0) -> None:
        """Check that one more upload of this size can be kept now.

        Raises:
            UploadRefusedError: if the store is full.
        """
        if len(self._uploads) >= self.limits.max_clips or self._total_bytes + size_bytes > self.limits.total_bytes:
            minutes = max(1, math.ceil(self.limits.keep_s / 60))
            raise UploadRefusedError(
                507, f"The server is full. It removes old clips after {minutes} minutes; try again later."
            )

    def create(self, name: str) -> Upload:
        """Create an empty upload. It does not expire before `finish`.

        Raises:
            UploadRefusedError: if the store is full.
        """
        with self._lock:
            self.check_room()
            self._count += 1
            upload = Upload(secrets.token_urlsafe(24), name, self.folder / f"{self._count:08d}")
            upload.folder.mkdir()
            self._uploads[upload.token] = upload
        return upload

    def grow(self, upload: Upload, size_bytes: int) -> None:
        """Count bytes that are about to be written for an upload.

        Raises:
            UploadRefusedError: if the upload becomes too large, or the store is full.
        """
        self.limits.check_size(upload.size_bytes + size_bytes, upload.name)
        with self._lock:
            if self._total_bytes + size_bytes > self.limits.total_bytes:
                raise UploadRefusedError(507, f"{upload.name}: the server has no room for it now; try again later.")
            self._add(upload, size_bytes)

    def _add(self, upload: Upload, size_bytes: int) -> None:
        upload.size_bytes += size_bytes
        self._total_bytes += size_bytes

    def find(self, token: str) -> Upload | None:
        """Return an upload by its token; None if no upload has it, or the upload has expired."""
        with self._lock:
            upload = self._uploads.get(token) or self._failed.get(token)
        return None if upload is None or upload.expires_s < time.monotonic() else upload

    def finish(self, upload: Upload) -> None:
        """Mark an upload as done: it expires `keep_s` from now."""
        page_bytes = upload.page.stat().st_size
        with self._lock:
            self._add(upload, page_bytes)
        upload.expires_s = time.monotonic() + self.limits.keep_s
        upload.fraction, upload.state = 1.0, "done"

    def fail(self, upload: Upload, reason: str) -> None:
        """Mark an upload as failed and remove its files.

        The reason stays for `keep_s`, unless `max_clips` later ones fail before; it takes no place of another upload.
        """
        shutil.rmtree(upload.folder, ignore_errors=True)
        upload.text, upload.expires_s = reason, time.monotonic() + self.limits.keep_s
        upload.state = "failed"
        with self._lock:
            if self._uploads.pop(upload.token, None) is not None:
                self._add(upload, -upload.size_bytes)
                self._failed[upload.token] = upload
            while len(self._failed) > self.limits.max_clips:
                del self._failed[next(iter(self._failed))]

    def remove(self, upload: Upload) -> None:
        """Remove an upload and its files now."""
        shutil.rmtree(upload.folder, ignore_errors=True)
        with self._lock:
            self._failed.pop(upload.token, None)
            if self._uploads.pop(upload.token, None) is not None:
                self._total_bytes -= upload.size_bytes

    def sweep(self) -> None:
        """Remove expired uploads."""
        now_s = time.monotonic()
        with self._lock:
            uploads = [*self._uploads.values(), *self._failed.values()]
            expired = [upload for upload in uploads if upload.expires_s < now_s]
        for upload in expired:
            self.remove(upload)

    def close(self) -> None:
        """Remove all uploads and the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
