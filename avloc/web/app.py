"""`UploadStore`, `UploadQueue` > a web application: upload or record a clip, watch the progress, see its timeline.

The routes are all there is. None takes the name, the path or the address of a file: a visitor sends the clip itself, and gets a
token that opens its state, its timeline and the clip, and nothing else.
"""

from __future__ import annotations

import html
import json
import mimetypes
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avloc.localization.pages.document import POLICY
from avloc.web.limits import UploadRefusedError
from avloc.web.receive import NAME_HEADER, ReceiveLimits, Receiver, clip_name, parse_size
from avloc.web.server import missing_extra
from avloc.web.upload_queue import UploadQueue
from avloc.web.upload_store import Upload, UploadStore

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

SWEEP_INTERVAL_S = 20.0
COMMON_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
}
FORM_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; frame-src 'self'; media-src 'self' blob:; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
TIMELINE_POLICY = POLICY + "; frame-ancestors 'self'"
CLIP_POLICY = "sandbox; default-src 'none'"
FORM_FILES = {"/": "form.html", "/form.css": "form.css", "/form.js": "form.js"}
ERROR_PAGE = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, '
    'initial-scale=1"><title>avloc</title><style>:root {{ color-scheme: light dark; }} body {{ font: 1rem/1.5 system-ui, '
    'sans-serif; padding: 1rem; }}</style></head><body><p role="alert">{}</p><p><a href="../../" target="_top">Localize another '
    "clip</a></p></body></html>\n"
)
OWN_SITES = ("same-origin", "none")


def create_app(queue: UploadQueue, receive_limits: ReceiveLimits | None = None, *, network: str = "") -> Starlette:
    """Create the application.

    Args:
        queue: localizes the uploads of its store; the application closes both when it stops.
        receive_limits: the limits of unfinished uploads.
        network: the networks that localize, in sentences for the page.

    Raises:
        AvlocError: if the extra `web` is not installed.
    """
    try:
        from starlette.applications import Starlette
        from starlette.requests import ClientDisconnect
        from starlette.routing import Route
    except ImportError as error:
        raise missing_extra(error) from error

    pages = Pages(queue, Receiver(queue.store, receive_limits or ReceiveLimits()), network)
    routes = [
        *(Route(path, _form_file(name)) for path, name in FORM_FILES.items()),
        Route("/room", pages.room),
        Route("/clips", pages.upload, methods=["POST"]),
        Route("/clips/{token}", pages.state),
        Route("/timeline/{token}/", pages.timeline),
        Route("/timeline/{token}/clip", pages.clip),
    ]
    app = Starlette(
        routes=routes,
        lifespan=make_lifespan(queue),
        exception_handlers={UploadRefusedError: _refuse, ClientDisconnect: _give_up},
    )
    app.router.redirect_slashes = False
    return app


class Pages:
    """The handlers of the routes.

    Args:
        queue: the uploads that wait.
        receiver: takes uploads.
        network: the networks that localize, in sentences.
    """

    def __init__(self, queue: UploadQueue, receiver: Receiver, network: str = "") -> None:
        self.queue, self.store, self.receiver, self.network = queue, queue.store, receiver, network

    async def room(self, request: Request) -> Response:
        """Report the limits and the network, or refuse a clip of `bytes` before it is sent.

        Browsers lose an answer that comes while they send.
        """
        limits = self.store.limits
        size_bytes = parse_size(request.query_params.get("bytes", "0"))
        self.queue.check_room()
        limits.check_size(size_bytes, clip_name(request.headers.get(NAME_HEADER, "")))
        self.store.check_room(size_bytes)
        return _json({"megabytes": limits.max_megabytes, "minutes": limits.max_minutes, "network": self.network})

    async def upload(self, request: Request) -> Response:
        """Take the body of the request as a clip, and answer with its token."""
        # Another site's page must not fill this server through a visitor's browser.
        if request.headers.get("sec-fetch-site", "none") not in OWN_SITES:
            raise UploadRefusedError(403, "Clips can be sent from the server's own page only.")
        self.queue.check_room()
        upload = await self.receiver.receive(request)
        try:
            self.queue.add(upload)
        except UploadRefusedError:
            self.store.remove(upload)
            raise
        return _json({"token": upload.token}, 201)

    async def state(self, request: Request) -> Response:
        """Report the state of a clip."""
        upload = self._find(request)
        state = {"state": upload.state, "name": upload.name, "fraction": upload.fraction, "text": upload.text}
        return _json({**state, "position": self.queue.position(upload)})

    async def timeline(self, request: Request) -> Response:
        """Show the timeline of a localized clip."""
        from starlette.responses import FileResponse

        headers = {**COMMON_HEADERS, "Content-Security-Policy": TIMELINE_POLICY}
        return FileResponse(self._find_file(request, "page"), media_type="text/html", headers=headers)

    async def clip(self, request: Request) -> Response:
        """Send a localized clip."""
        from starlette.responses import FileResponse

        path = self._find_file(request, "clip")
        # Whatever an upload holds, browsers play or download it; they never run it as a page of this server.
        media_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        return FileResponse(
            path, media_type=media_type, headers={**COMMON_HEADERS, "Content-Security-Policy": CLIP_POLICY}
        )

    def _find(self, request: Request) -> Upload:
        upload = self.store.find(request.path_params["token"])
        if upload is None:
            raise UploadRefusedError(404, "No such clip, or it has expired.")
        return upload

    def _find_file(self, request: Request, name: str) -> Path:
        upload = self._find(request)
        path: Path = getattr(upload, name)
        if upload.state != "done" or not path.is_file():
            raise UploadRefusedError(404, "No such clip, or it has expired.")
        return path


def make_lifespan(queue: UploadQueue) -> Callable[[Any], AbstractAsyncContextManager[None]]:
    """Make the application's lifespan: sweep while it runs, stop and remove everything at its end."""

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[None]:
        stop = threading.Event()
        threading.Thread(target=_sweep_until, args=(stop, queue.store), daemon=True).start()
        yield
        stop.set()
        queue.close()
        queue.store.close()

    return lifespan


def _sweep_until(stop: threading.Event, store: UploadStore) -> None:
    while not stop.wait(min(SWEEP_INTERVAL_S, max(0.2, store.limits.keep_s / 4))):
        store.sweep()


def _form_file(name: str) -> Callable[[Request], Awaitable[Response]]:
    """Make the handler that serves a file of the form from memory."""
    from starlette.responses import Response

    content = resources.files("avloc.web").joinpath(name).read_bytes()
    headers = {**COMMON_HEADERS, "Content-Security-Policy": FORM_POLICY}
    media_type = mimetypes.guess_type(name)[0]

    async def handle(_: Request) -> Response:
        return Response(content, media_type=media_type, headers=headers)

    return handle


async def _refuse(request: Request, error: Exception) -> Response:
    """Answer with the reason: to a script as JSON, to a browser that opens a timeline as a page."""
    status = error.status if isinstance(error, UploadRefusedError) else 500
    if not (request.url.path.startswith("/timeline/") and "text/html" in request.headers.get("accept", "")):
        return _json({"error": str(error)}, status)
    from starlette.responses import HTMLResponse

    headers = {**COMMON_HEADERS, "Content-Security-Policy": TIMELINE_POLICY}
    return HTMLResponse(ERROR_PAGE.format(html.escape(str(error))), status, headers)


async def _give_up(_: Request, error: Exception) -> Response:
    """Answer nobody: the visitor has left in the middle of an upload."""
    return _json({}, 400)


def _json(content: dict[str, object], status: int = 200) -> Response:
    from starlette.responses import Response

    return Response(json.dumps(content), status, COMMON_HEADERS, "application/json")
