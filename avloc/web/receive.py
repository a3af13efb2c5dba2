"""The body of a request > a clip in the `UploadStore`; limited in size, rate and number while it is read."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

from avloc.errors import shown
from avloc.web.limits import UploadRefusedError
from avloc.web.upload_store import Upload, UploadStore

if TYPE_CHECKING:
    from starlette.requests import Request

NAME_HEADER = "x-clip-name"
BODY_TYPE = "application/octet-stream"
MAX_NAME_LENGTH = 120
BUFFER_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class ReceiveLimits:
    """Limits of unfinished uploads.

    Attributes:
        max_open: uploads that are received at the same time.
        stall_s: longest time without a byte, in seconds.
        grace_s: time before the rate counts, in seconds.
        min_bytes_per_s: lowest mean rate after `grace_s`.
        spare_s: time before an upload may lose its place to a new one, if all places are taken, in seconds.
        spare_bytes_per_s: an upload of at least this mean rate keeps its place.
    """

    max_open: int = 256
    stall_s: float = 20.0
    grace_s: float = 15.0
    min_bytes_per_s: float = 4096.0
    spare_s: float = 3.0
    spare_bytes_per_s: float = 65536.0


@dataclass(slots=True, eq=False)
class _Reception:
    """An unfinished upload.

    Attributes:
        task: receives it.
        begin_s: its begin on the monotonic clock.
        size_bytes: bytes received.
        lost_place: true once it must give way to a new upload.
    """

    task: asyncio.Task[object]
    begin_s: float
    size_bytes: int = 0
    lost_place: bool = False

    @property
    def age_s(self) -> float:
        return time.monotonic() - self.begin_s

    @property
    def bytes_per_s(self) -> float:
        return self.size_bytes / max(self.age_s, 1e-3)


class Receiver:
    """Receives uploads.

    Args:
        store: the store that they go to.
        limits: the limits while they are unfinished.
    """

    def __init__(self, store: UploadStore, limits: ReceiveLimits) -> None:
        self.store, self.limits = store, limits
        self._receptions: set[_Reception] = set()

    async def receive(self, request: Request) -> Upload:
        """Write the body of a request into a new upload, and return it; nothing is kept if this fails.

        Raises:
            UploadRefusedError: if the body is empty, too large or too slow, or the server is full.
            ClientDisconnect: if the visitor leaves.
        """
        name = clip_name(request.headers.get(NAME_HEADER, ""))
        if request.headers.get("content-type") != BODY_TYPE:
            raise UploadRefusedError(415, f"want a clip as the body of the request, of content-type {BODY_TYPE}")
        size_bytes = parse_size(request.headers.get("content-length", "0"))
        self.store.limits.check_size(size_bytes, name)
        self.store.check_room(size_bytes)
        self._make_place()
        task = asyncio.current_task()
        assert task is not None
        reception = _Reception(task, time.monotonic())
        self._receptions.add(reception)
        try:
            return await self._store(request, reception, name)
        except OSError as error:
            raise UploadRefusedError(
                507, f"{name}: the server cannot store it now ({error.strerror or error})"
            ) from error
        except asyncio.CancelledError as error:
            task.uncancel()
            reason = _too_slow(name) if reception.lost_place else UploadRefusedError(503, "The server is stopping.")
            raise reason from error
        finally:
            self._receptions.discard(reception)

    def _make_place(self) -> None:
        """Let the slowest upload give way, if all places are taken: slow clients must not keep others out."""
        limits = self.limits
        if len(self._receptions) < limits.max_open:
            return
        old = (reception for reception in self._receptions if reception.age_s > limits.spare_s)
        slowest = min(old, key=lambda reception: reception.bytes_per_s, default=None)
        if slowest is None or slowest.bytes_per_s >= limits.spare_bytes_per_s:
            raise UploadRefusedError(503, "Too many uploads at once; try again in a minute.")
        slowest.lost_place = True
        slowest.task.cancel()
        self._receptions.discard(slowest)

    async def _store(self, request: Request, reception: _Reception, name: str) -> Upload:
        upload = self.store.create(name)
        try:
            with upload.clip.open("xb", buffering=BUFFER_BYTES) as file:
                async for chunk in self._chunks(request, reception, name):
                    self.store.grow(upload, len(chunk))
                    # In a thread: a slow disk must not hold up other visitors.
                    await asyncio.to_thread(file.write, chunk)
                await asyncio.to_thread(file.flush)
            if not upload.size_bytes:
                raise UploadRefusedError(400, f"{name}: is empty")
        except BaseException:
            self.store.remove(upload)
            raise
        return upload

    async def _chunks(self, request: Request, reception: _Reception, name: str) -> AsyncIterator[bytes]:
        """Yield the body as it comes; give up on a client that stalls or is too slow."""
        chunks, limits = request.stream(), self.limits
        while True:
            try:
                async with asyncio.timeout(limits.stall_s):
                    chunk = await anext(chunks, None)
            except TimeoutError as error:
                raise UploadRefusedError(408, f"{name}: the upload stalled; try again") from error
            if chunk is None:
                return
            reception.size_bytes += len(chunk)
            if reception.age_s > limits.grace_s and reception.bytes_per_s < limits.min_bytes_per_s:
                raise _too_slow(name)
            yield chunk


def _too_slow(name: str) -> UploadRefusedError:
    return UploadRefusedError(408, f"{name}: the upload is too slow; try again on a faster connection")


def clip_name(header: str) -> str:
    r"""Return the visitor's name for a clip, as text that is safe to show: no folders, no control characters.

    >>> clip_name("..%2f..%2fetc%2Fholiday%0a.mp4")
    'holiday\\n.mp4'
    >>> clip_name("C:\\videos\\")
    'clip'
    """
    name = shown(re.split(r"[/\\]", unquote(header))[-1].strip())
    return name[-MAX_NAME_LENGTH:] or "clip"


def parse_size(text: str) -> int:
    """Return a size that a client claims, in bytes; 0 if it is no number.

    >>> parse_size("12"), parse_size("-1"), parse_size("9" * 10_000) > 10**15
    (12, 0, True)
    """
    return int(text[:16]) if re.fullmatch(r"[0-9]+", text) else 0
