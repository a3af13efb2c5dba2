"""`Localizer` > a web application: upload or record a clip, watch the progress, see its timeline.

Gradio provides the form, the queue and the progress. Two routes of our own serve the timeline and the clip; they know only
the names in an `UploadStore`.
"""

from __future__ import annotations

import mimetypes
import os
import shutil
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from avloc.errors import AvlocError
from avloc.localization.options import THRESHOLD
from avloc.localization.page import POLICY
from avloc.web.upload_localizer import UploadLimits, UploadLocalizer
from avloc.web.upload_store import CLIP_NAME, PAGE_NAME, UploadStore

if TYPE_CHECKING:
    from fastapi import FastAPI

    from avloc.inference.localizer import Localizer

SWEEP_INTERVAL_S = 20.0
KEEP_EMPTY_S = 60.0
HEADERS = {
    "Content-Security-Policy": POLICY + "; frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
CLIP_HEADERS = {**HEADERS, "Content-Security-Policy": "sandbox; default-src 'none'"}


def create_app(localizer: Localizer, folder: Path, limits: UploadLimits, *, threshold: float = THRESHOLD) -> FastAPI:
    """Create the application.

    Args:
        localizer: a trained network.
        folder: a folder for temporary files; the application removes its subfolders when it stops.
        limits: the limits of a clip and of the queue.
        threshold: the score that a timeline's slider starts at.

    Raises:
        AvlocError: if the extra `web` is not installed.
    """
    uploads, results = folder / "uploads", UploadStore(folder / "results", limits.keep_s)
    # Gradio reads these when it is imported and when components are created.
    os.environ["GRADIO_TEMP_DIR"] = str(uploads)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        import gradio
        from fastapi import FastAPI

        from avloc.web.form import build_form
    except ImportError as error:
        raise AvlocError(f"the web page needs the extra web: pip install 'avloc[web]' ({error})") from error

    app = FastAPI(lifespan=make_lifespan(results, uploads), docs_url=None, redoc_url=None, openapi_url=None)
    add_timeline_routes(app, results)
    mounted: FastAPI = gradio.mount_gradio_app(
        app,
        build_form(UploadLocalizer(localizer, results, uploads, limits, threshold), limits),
        path="/",
        max_file_size=f"{limits.max_megabytes}mb",
        show_error=False,
        footer_links=[],
        ssr_mode=False,
        theme=gradio.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
        enable_monitoring=False,
    )
    return mounted


def add_timeline_routes(app: FastAPI, results: UploadStore) -> None:
    """Add the routes of the timelines in a store, and of their clips."""
    from fastapi import HTTPException
    from fastapi.responses import FileResponse, HTMLResponse

    @app.get("/timeline/{token}/", response_model=None)
    def timeline(token: str) -> HTMLResponse:
        path = results.find(token, PAGE_NAME)
        if path is None:
            raise HTTPException(404, "no such timeline, or it has expired")
        return HTMLResponse(path.read_text(encoding="utf-8"), headers=HEADERS)

    @app.get("/timeline/{token}/clip", response_model=None)
    def clip(token: str) -> FileResponse:
        path = results.find(token, CLIP_NAME)
        if path is None:
            raise HTTPException(404, "no such clip, or it has expired")
        # Whatever an upload holds, browsers play or download it; they never run it as a page of this server.
        media_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        return FileResponse(path, media_type=media_type, headers=CLIP_HEADERS)


def make_lifespan(results: UploadStore, uploads: Path) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    """Make the application's lifespan: sweep while it runs, remove everything when it stops."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        stop = threading.Event()
        threading.Thread(target=_sweep_until, args=(stop, results, uploads), daemon=True).start()
        yield
        stop.set()
        results.close()
        shutil.rmtree(uploads, ignore_errors=True)

    return lifespan


def _sweep_until(stop: threading.Event, results: UploadStore, uploads: Path) -> None:
    while not stop.wait(min(SWEEP_INTERVAL_S, max(0.2, results.keep_s / 4))):
        results.sweep()
        remove_old_uploads(uploads, results.keep_s)


def remove_old_uploads(uploads: Path, keep_s: float) -> None:
    """Remove uploads older than `keep_s` seconds, and the empty files that Gradio leaves sooner."""
    now_s = time.time()
    for path in [path for path in uploads.rglob("*") if path.is_file()]:
        with suppress(OSError):
            status = path.stat()
            limit_s = keep_s if status.st_size else min(KEEP_EMPTY_S, keep_s)
            if now_s - status.st_mtime > limit_s:
                path.unlink()
