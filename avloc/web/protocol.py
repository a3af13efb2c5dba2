"""HTTP connections that do not wait for ever (needs the extra `web`)."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS = 900
IDLE_S = 20.0  # without a request, or within the header of one
UNREAD_S = 300.0  # an answer that the client does not read
CHECK_S = 2.0


class ImpatientProtocol(H11Protocol):
    """Closes connections that hold a place without need.

    These are the ones without a request in progress for `IDLE_S`, and those whose answer is not read for `UNREAD_S`.
    At `MAX_CONNECTIONS`, a new connection takes the place of the one that has been idle for longest.
    """

    _idle_s = _unread_s = 0.0
    _is_unread = False

    @property
    def is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        if len(self.connections) >= MAX_CONNECTIONS - 1:
            idle = (each for each in self.connections if isinstance(each, ImpatientProtocol) and each.is_idle)
            longest = max(idle, key=lambda each: each._idle_s, default=None)
            if longest is not None:
                longest.transport.abort()
                self.connections.discard(longest)
        super().connection_made(transport)
        self._check_later()

    def _check_later(self) -> None:
        self.loop.call_later(CHECK_S, self._check)

    def _check(self) -> None:
        if self.transport.is_closing():
            return
        self._idle_s = self._idle_s + CHECK_S if self.is_idle else 0.0
        self._unread_s = self._unread_s + CHECK_S if self._is_unread else 0.0
        if self._idle_s >= IDLE_S or self._unread_s >= UNREAD_S:
            self.transport.abort()
        else:
            self._check_later()

    def pause_writing(self) -> None:
        self._is_unread = True
        super().pause_writing()

    def resume_writing(self) -> None:
        self._is_unread, self._unread_s = False, 0.0
        super().resume_writing()
