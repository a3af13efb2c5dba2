"""`Localizer` > a web application: upload or record a clip, watch the progress, see its timeline.

Gradio does the form, the queue and the progress; the timeline and the clip are served by two routes of our own, which know
nothing but the results' names.
"""

from __future__ import annotations

import logging
import mimetypes
import os
import shutil
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avloc.errors import AvlocError
from avloc.feature_extraction.media.decode import probe
from avloc.localization.page import POLICY, page
from avloc.web.upload_store import CLIP, PAGE, UploadStore

if TYPE_CHECKING:
    import gradio as gr
    from fastapi import FastAPI

    from avloc.inference.localizer import Localizer

SUFFIXES = {
    ".mp4",
    ".mov",
    ".m4v",
    ".mkv",
    ".webm",
    ".avi",
    ".mpg",
    ".ogv",
    ".wav",
    ".mp3",
    ".m4a",
    ".flac",
    ".ogg",
    ".aac",
}
SWEEP_S = 20.0
LEFT_EMPTY_S = 60.0
HEADERS = {
    "Content-Security-Policy": POLICY + "; frame-ancestors 'self'", "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
}  # fmt: skip
INTRODUCTION = """# Which seconds are fake?

Give a clip, or record one. Its sound and its picture are searched for forged parts. A score is no proof: it says how much a
place looks like the forgeries that the network was trained on."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a visitor may ask for.

    Attributes:
        largest_mb: megabytes of a clip.
        longest_s: seconds of a clip.
        parallel: clips that are worked on at once.
        queue: clips that may wait.
        keep_s: seconds that a timeline and its clip are kept.
    """

    largest_mb: int = 200
    longest_s: float = 1800.0
    parallel: int = 1
    queue: int = 20
    keep_s: float = 1800.0


def create_app(localizer: Localizer, folder: Path, limits: Limits, *, threshold: float = 0.2) -> FastAPI:
    """The application.

    Args:
        localizer: does the work.
        folder: for temporary files; its own folders in it are removed when the application ends.
        limits: see `Limits`.
        threshold: lowest score that a timeline shows at first.

    Raises:
        AvlocError: if the extra `web` is not installed.
    """
    uploads, shelf = folder / "uploads", UploadStore(folder / "results", limits.keep_s)
    # Gradio keeps uploads where this says, and reads it when components are made.
    os.environ["GRADIO_TEMP_DIR"] = str(uploads)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        import gradio
        from fastapi import FastAPI, HTTPException
        from fastapi.responses import FileResponse, HTMLResponse
    except ImportError as error:
        raise AvlocError(f"the web page needs the extra web: pip install 'avloc[web]' ({error})") from error

    done = threading.Event()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        sweeper = threading.Thread(target=_sweep, args=(shelf, uploads, done), daemon=True)
        sweeper.start()
        yield
        done.set()
        shelf.close()
        shutil.rmtree(uploads, ignore_errors=True)

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/timeline/{token}/", response_model=None)
    def timeline(token: str) -> HTMLResponse:
        path = shelf.find(token, PAGE)
        if path is None:
            raise HTTPException(404, "no such timeline, or it is too old")
        return HTMLResponse(path.read_text(encoding="utf-8"), headers=HEADERS)

    @app.get("/timeline/{token}/clip", response_model=None)
    def clip(token: str) -> FileResponse:
        path = shelf.find(token, CLIP)
        if path is None:
            raise HTTPException(404, "no such clip, or it is too old")
        # Whatever is in it: it is played, or downloaded, and never a page of this server's.
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        return FileResponse(
            path, media_type=kind, headers={**HEADERS, "Content-Security-Policy": "sandbox; default-src 'none'"}
        )

    work = _Work(localizer, shelf, uploads, limits, threshold)
    mounted: FastAPI = gradio.mount_gradio_app(
        app, _form(work, limits), path="/", max_file_size=f"{limits.largest_mb}mb", show_error=False, footer_links=[],
        ssr_mode=False,
        theme=gradio.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"]), enable_monitoring=False,
    )  # fmt: skip
    return mounted


def _sweep(shelf: UploadStore, uploads: Path, done: threading.Event) -> None:
    """Now and then: remove results that are too old, uploads that nobody asked for, and what Gradio left of others."""
    while not done.wait(min(SWEEP_S, max(0.2, shelf.keep_s / 4))):
        shelf.sweep()
        now = time.time()
        for path in [p for p in uploads.rglob("*") if p.is_file()]:
            with suppress(OSError):
                about = path.stat()
                if now - about.st_mtime > (shelf.keep_s if about.st_size else min(LEFT_EMPTY_S, shelf.keep_s)):
                    path.unlink()


def _form(work: _Work, limits: Limits) -> gr.Blocks:
    import gradio as gr

    with gr.Blocks(title="avloc", analytics_enabled=False, delete_cache=(60, int(limits.keep_s) + 60)) as form:
        gr.Markdown(INTRODUCTION)
        with gr.Tab("Upload"):
            given = gr.File(
                label=f"A clip, up to {limits.largest_mb} MB and {limits.longest_s / 60:.0f} minutes", height=160
            )
            start = gr.Button("Localize", variant="primary")
        with gr.Tab("Record"):
            # As it was recorded: mirroring would need FFmpeg's program, and another encoding of what is looked at.
            camera = gr.WebcamOptions(mirror=False)
            recorded = gr.Video(sources=["webcam"], include_audio=True, webcam_options=camera, label="A recording")
            start_recorded = gr.Button("Localize the recording", variant="primary")
        shown = gr.HTML(label="Timeline")

        def localize(path: str | None, progress: gr.Progress = gr.Progress()) -> str:  # noqa: B008 - Gradio's way
            try:
                return work.localize(path, lambda share, what: progress(share, desc=what))
            except AvlocError as error:
                raise gr.Error(str(error), duration=None, print_exception=False) from error

        for button, source in ((start, given), (start_recorded, recorded)):
            button.click(
                localize, source, shown, concurrency_limit=limits.parallel, concurrency_id="localize",
                api_name="localize" if source is given else None,
            )  # fmt: skip
    form.queue(max_size=limits.queue, default_concurrency_limit=limits.parallel)
    return form


def _public(text: str, clip: Path, name: str) -> str:
    """A message without a path of the server."""
    return text.replace(str(clip), name).replace(str(clip.parent), "")


class _Work:
    """An upload > a place on the shelf."""

    def __init__(
        self, localizer: Localizer, shelf: UploadStore, uploads: Path, limits: Limits, threshold: float
    ) -> None:
        self.localizer, self.shelf, self.uploads = localizer, shelf, uploads
        self.limits, self.threshold = limits, threshold

    def localize(self, path: str | None, progress: Callable[[float, str], Any]) -> str:
        """The timeline as a frame for the page.

        Raises:
            AvlocError: what a visitor should know; it names the clip as the visitor does.
        """
        if path is None:
            raise AvlocError("Choose a clip first.")
        upload = Path(path)
        # Gradio sees to it; but only what was uploaded may be looked at, whoever else should fail.
        if upload.resolve().parent.parent != self.uploads.resolve() or upload.is_dir():
            raise AvlocError("That is no upload.")
        if not upload.is_file():
            raise AvlocError(f"{upload.name}: was removed while it waited, upload it again")
        token, place = self.shelf.add()
        clip = place / f"{CLIP}{upload.suffix.lower() if upload.suffix.lower() in SUFFIXES else ''}"
        try:
            os.link(upload, clip)  # equal uploads are one file, which others may wait for: the sweeper removes it
            self._localize(clip, upload.name, place, progress)
        except Exception as error:
            self.shelf.remove(token)
            if isinstance(error, AvlocError):
                raise AvlocError(_public(str(error), clip, upload.name)) from error
            logging.getLogger("avloc.web").exception("a clip could not be localized")
            raise AvlocError(
                f"{upload.name}: could not be localized, for a reason that is in the server's log"
            ) from error
        self.shelf.finish(token)
        return (
            f'<iframe src="timeline/{token}/" title="Timeline" allow="fullscreen" '
            'style="width:100%;height:85vh;border:0;border-radius:8px"></iframe>'
        )

    def _localize(self, clip: Path, name: str, place: Path, progress: Callable[[float, str], Any]) -> None:
        if clip.stat().st_size > self.limits.largest_mb * 1_000_000:
            raise AvlocError(f"{name}: is larger than {self.limits.largest_mb} MB")
        header, longest_s = probe(clip).duration_s, self.limits.longest_s
        too_long = f"{name}: lasts {{:.1f}} minutes, at most {longest_s / 60:g} are taken"
        if header > longest_s:
            raise AvlocError(too_long.format(header / 60))
        progress(0.0, "decoding")
        started = None

        def told(end_s: float) -> None:
            nonlocal started
            started = end_s if started is None else started
            if end_s - started > longest_s:  # a header may say less than there is
                raise AvlocError(too_long.format((end_s - started) / 60))
            progress(min(0.99, end_s / max(header, end_s, 1e-3)), f"{end_s:.0f} of {header:.0f} s")

        found = self.localizer.localize(clip, preview=True, progress=told)
        found = replace(found, problems=tuple(_public(problem, clip, name) for problem in found.problems))
        text = page(replace(found, file=name), "clip", self.threshold)
        (place / PAGE).write_text(text, encoding="utf-8")
