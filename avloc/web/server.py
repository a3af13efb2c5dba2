"""A socket, bound before anything heavy is loaded, and a web server on it."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
from typing import TYPE_CHECKING, Any

from avloc.errors import AvlocError, shown

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from uvicorn import Server

BACKLOG = 128
MAX_OPEN_FILES = 4096  # the usual limit of 1,024 is below connections and uploads together
SHUTDOWN_S = 3


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on an address.

    Args:
        host: name or address of an interface of this machine.
        port: port; 0 for any free one.

    Raises:
        AvlocError: if the host is unknown or not of this machine, or the port is taken or not permitted.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        raise AvlocError(f"--host {shown(host)}: is no address of this machine ({_reason(error)})") from error
    listener = socket.socket(family, kind, protocol)
    try:
        # A port whose last server has just stopped can be used at once.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise AvlocError(
            f"cannot listen on {url_of(host, port)} ({_reason(error)}); choose another --host or --port"
        ) from error
    listener.setblocking(False)
    return listener


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def url_of(host: str, port: int) -> str:
    """Return the URL of an address.

    >>> url_of("::1", 7860)
    'http://[::1]:7860'
    """
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def make_server(app: Starlette) -> Server:
    """Make the web server of an application; `run(sockets=[…])` serves until SIGTERM or Ctrl-C.

    Raises:
        AvlocError: if the extra `web` is not installed.
    """
    try:
        import uvicorn

        from avloc.web.protocol import MAX_CONNECTIONS, ImpatientProtocol
    except ImportError as error:
        raise missing_extra(error) from error

    _raise_file_limit()
    settings: dict[str, Any] = {
        "log_level": "error",
        "access_log": False,
        "server_header": False,
        "ws": "none",
        "limit_concurrency": MAX_CONNECTIONS,
        "timeout_graceful_shutdown": SHUTDOWN_S,
    }

    async def stoppable(scope: Any, receive: Any, send: Any) -> None:
        # When the server stops, requests in progress are cut off without an error.
        with contextlib.suppress(asyncio.CancelledError):
            await app(scope, receive, send)

    return uvicorn.Server(uvicorn.Config(stoppable, http=ImpatientProtocol, **settings))


def _raise_file_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(MAX_OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


def missing_extra(error: ImportError) -> AvlocError:
    """Return the error for an installation without the extra `web`."""
    return AvlocError(f"the web page needs the extra web: pip install 'avloc[web]' ({error})")
