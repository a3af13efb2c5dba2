"""An uploaded clip > its timeline, as a page in the `UploadStore`; within limits, and without the server's paths in messages."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from avloc.errors import AvlocError
from avloc.feature_extraction.media.probe import probe
from avloc.localization.page import page
from avloc.web.upload_store import CLIP_NAME, PAGE_NAME, UploadStore

if TYPE_CHECKING:
    from avloc.inference.localizer import Localizer

VIDEO_SUFFIXES = ".mp4 .mov .m4v .mkv .webm .avi .mpg .ogv"
AUDIO_SUFFIXES = ".wav .mp3 .m4a .flac .ogg .aac"
PLAYABLE_SUFFIXES = frozenset([*VIDEO_SUFFIXES.split(), *AUDIO_SUFFIXES.split()])
Progress = Callable[[float, str], object]
"""Called with the finished fraction in [0, 1], and a text."""


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """Limits of the web page.

    Attributes:
        max_megabytes: largest size of a clip.
        max_duration_s: longest duration of a clip, in seconds.
        concurrency: clips that are localized at the same time.
        queue_size: clips that may wait.
        keep_s: seconds until a timeline and its clip are removed.

    >>> UploadLimits(max_duration_s=60).max_minutes
    1.0
    """

    max_megabytes: int = 200
    max_duration_s: float = 1800.0
    concurrency: int = 1
    queue_size: int = 20
    keep_s: float = 1800.0

    @property
    def max_minutes(self) -> float:
        """The longest duration of a clip, in minutes."""
        return self.max_duration_s / 60

    def check_size(self, clip: Path, name: str) -> None:
        """Raise an `AvlocError` if a file is too large; `name` is the visitor's name for it."""
        if clip.stat().st_size > self.max_megabytes * 1_000_000:
            raise AvlocError(f"{name}: is larger than {self.max_megabytes} MB")

    def check_duration(self, duration_s: float, name: str) -> None:
        """Raise an `AvlocError` if a clip is too long; `name` is the visitor's name for it."""
        if duration_s > self.max_duration_s:
            raise AvlocError(f"{name}: lasts {duration_s / 60:.1f} minutes, the limit is {self.max_minutes:g} minutes")


class UploadLocalizer:
    """Localizes uploads and keeps their timelines.

    Args:
        localizer: a trained network.
        results: the store of finished timelines.
        uploads: the folder of uploads; no other file is read.
        limits: the limits of a clip.
        threshold: the score that a timeline's slider starts at.
    """

    def __init__(
        self, localizer: Localizer, results: UploadStore, uploads: Path, limits: UploadLimits, threshold: float
    ) -> None:
        self.localizer, self.results, self.uploads = localizer, results, uploads
        self.limits, self.threshold = limits, threshold

    def localize(self, path: str | None, progress: Progress) -> str:
        """Localize an upload, and return an iframe with its timeline.

        Args:
            path: the uploaded file; None if the visitor chose no file.
            progress: see `Progress`.

        Raises:
            AvlocError: with a message for the visitor, which calls the clip by the visitor's name.
        """
        upload = self._check_upload(path)
        token, folder = self.results.create()
        suffix = upload.suffix.lower()
        clip = folder / f"{CLIP_NAME}{suffix if suffix in PLAYABLE_SUFFIXES else ''}"
        try:
            # Equal uploads are one file, which other visitors may wait for: link it, and leave it to the sweeper.
            os.link(upload, clip)
            self._write_timeline(clip, upload.name, folder, progress)
        except Exception as error:
            self.results.remove(token)
            if isinstance(error, AvlocError):
                raise AvlocError(hide_paths(str(error), clip, upload.name)) from error
            logging.getLogger("avloc.web").exception("a clip could not be localized")
            raise AvlocError(f"{upload.name}: could not be localized; the server's log has the reason") from error
        self.results.finish(token)
        return (
            f'<iframe src="timeline/{token}/" title="Timeline" allow="fullscreen" '
            'style="width:100%;height:85vh;border:0;border-radius:8px"></iframe>'
        )

    def _check_upload(self, path: str | None) -> Path:
        if path is None:
            raise AvlocError("Choose a clip first.")
        upload = Path(path)
        # Gradio checks this too; the server's other files must stay unreadable even if that check fails.
        if upload.resolve().parent.parent != self.uploads.resolve() or upload.is_dir():
            raise AvlocError("This is not an upload.")
        if not upload.is_file():
            raise AvlocError(f"{upload.name}: was removed while it waited, upload it again")
        return upload

    def _write_timeline(self, clip: Path, name: str, folder: Path, progress: Progress) -> None:
        self.limits.check_size(clip, name)
        info = probe(clip)
        self.limits.check_duration(info.duration_s, name)
        progress(0.0, "decoding")
        start_s = None

        def report(end_s: float) -> None:
            nonlocal start_s
            start_s = end_s if start_s is None else start_s
            self.limits.check_duration(end_s - start_s, name)  # a header may understate the duration
            fraction = min(0.99, end_s / max(info.duration_s, end_s, 1e-3))
            progress(fraction, f"{end_s:.0f} of {info.duration_s:.0f} s")

        localization = self.localizer.localize(clip, preview=True, info=info, progress=report)
        problems = tuple(hide_paths(problem, clip, name) for problem in localization.problems)
        document = page(replace(localization, file=name, problems=problems), CLIP_NAME, self.threshold)
        (folder / PAGE_NAME).write_text(document, encoding="utf-8")


def hide_paths(message: str, clip: Path, name: str) -> str:
    """Replace the server's path of a clip by the visitor's name for it.

    >>> hide_paths("/srv/x/clip.mp4: no audio stream", Path("/srv/x/clip.mp4"), "holiday.mp4")
    'holiday.mp4: no audio stream'
    """
    return message.replace(str(clip), name).replace(str(clip.parent), "")
