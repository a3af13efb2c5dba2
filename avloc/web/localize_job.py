"""The work on one upload, in a worker process: the clip > its timeline, as a page beside it."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from avloc.core.calibration import PRIOR
from avloc.errors import AvlocError, one_line
from avloc.feature_extraction.media.probe import probe
from avloc.feature_extraction.media.types import WHOLE, Span
from avloc.io.workers.worker_process import Pulse
from avloc.localization.pages.clip_page import page
from avloc.localization.pages.stills import segment_stills
from avloc.web.limits import UploadLimits

if TYPE_CHECKING:
    from avloc.core.provenance import Provenance
    from avloc.inference.localizer import Localizer
    from avloc.localization.result import Localization

LOG = logging.getLogger("avloc.web")
LONGEST_WINDOW_S = 120.0  # of a clip, between two reports of progress


class UploadTask(NamedTuple):
    """An upload to localize.

    Attributes:
        clip: the file.
        name: the visitor's name for it; messages call it so.
        page: the timeline to write.
    """

    clip: Path
    name: str
    page: Path


class DescribeTask(NamedTuple):
    """Ask for the description of the network; the result is None if it has none."""


class Localized(NamedTuple):
    """The timeline is written."""


class Refused(NamedTuple):
    """The clip cannot be localized, for a reason that the visitor may read."""

    reason: str


@dataclass(frozen=True, slots=True)
class LocalizeJob:
    """The job of the worker processes of a page's server.

    Attributes:
        load: loads the network; called with a function to call during long work (`LocalizerSettings.load_for_work`); picklable.
        limits: the limits of a clip.
        threshold: the probability (or score) that a timeline's slider starts at; None: that of the localization.
        prior: the probability that a clip is forged, before the network is asked.
        clip_url: the clip, as its timeline names it.
        settings: those of the network's run (`LocalizerSettings.recorded`), for the record of a timeline.
    """

    load: Callable[[Callable[[], None]], Localizer]
    limits: UploadLimits
    threshold: float | None
    prior: float = PRIOR
    clip_url: str = "clip"
    settings: Mapping[str, object] = field(default_factory=dict)

    def build(self, pulse: Pulse) -> Callable[[UploadTask | DescribeTask], Iterator[object]]:
        """Load the network, and return the function that localizes uploads with it: its messages are `Localized` or `Refused`.

        Args:
            pulse: see `localize`.

        Raises:
            AvlocError: if the network cannot be loaded.
        """
        localizer = self.load(pulse)

        def run(task: UploadTask | DescribeTask) -> Iterator[object]:
            if isinstance(task, DescribeTask):
                yield localizer.description
                return
            with _time_limit(self.limits.time_limit_s):
                yield self.localize(localizer, task, pulse)

        return run

    def localize(self, localizer: Localizer, task: UploadTask, pulse: Pulse) -> Localized | Refused:
        """Write the timeline of an upload.

        Args:
            localizer: the network.
            task: the upload.
            pulse: called during long work; also sends the progress, the fraction of the work that is done and a text.
        """
        try:
            self._write_timeline(localizer, task, pulse)
        except AvlocError as error:
            return Refused(hide_paths(str(error), task))
        except Exception:  # the visitor must not read of the server's code and files
            LOG.exception("a clip could not be localized")
            return Refused(f"{task.name}: could not be localized; the server's log has the reason")
        return Localized()

    def _write_timeline(self, localizer: Localizer, task: UploadTask, pulse: Pulse) -> None:
        info = probe(task.clip, pulse)
        seconds = info.seconds_in(WHOLE)
        self.limits.check_duration(seconds, task.name)
        pulse.report((0.0, "decoding"))
        start_s = None

        def progress(end_s: float) -> None:
            nonlocal start_s
            start_s = end_s if start_s is None else start_s
            self.limits.check_duration(end_s - start_s, task.name)  # a header may understate the duration
            done_s = end_s - info.start_s  # the clock of a recording's later part starts late
            pulse.report((min(0.99, done_s / max(seconds, done_s, 1e-3)), f"{done_s:.0f} of {seconds:.0f} s"))

        # The page's own limit comes first, with a message for visitors.
        span = Span(longest_s=self.limits.max_duration_s + LONGEST_WINDOW_S)
        localization = localizer.localize(task.clip, span=span, preview=True, info=info, progress=progress)
        problems = tuple(hide_paths(problem, task) for problem in localization.problems)
        threshold = localization.threshold if self.threshold is None else self.threshold
        unjudged = {modality: hide_paths(reason, task) for modality, reason in localization.unjudged.items()}
        public = replace(
            localization,
            file=task.name,
            problems=problems,
            unjudged=unjudged,
            prior=self.prior,
            provenance=self._public_provenance(localization, task),
        )
        stills = segment_stills(task.clip, public.segments(threshold), pulse)
        document = page(public, self.clip_url, threshold, stills)
        task.page.write_text(document, encoding="utf-8")

    def _public_provenance(self, localization: Localization, task: UploadTask) -> Provenance | None:
        """The record of a timeline without the server's folders, with the visitor's name of the clip."""
        if localization.provenance is None:
            return None
        public = localization.provenance.without_folders()
        inputs = {role: replace(file, file=task.name) for role, file in public.inputs.items()}
        settings = {**self.settings, "prior": self.prior, "threshold": self.threshold}
        return replace(public, settings=settings, inputs=inputs)


def hide_paths(message: str, task: UploadTask) -> str:
    """Return a message on one line, with the visitor's name of the clip for the server's path.

    >>> task = UploadTask(Path("/srv/x/clip.mp4"), "holiday.mp4", Path("/srv/x/timeline.html"))
    >>> hide_paths("/srv/x/clip.mp4: no audio stream", task)
    'holiday.mp4: no audio stream'
    """
    return one_line(message.replace(str(task.clip), task.name).replace(str(task.clip.parent), ""))


@contextmanager
def _time_limit(limit_s: float) -> Iterator[None]:
    """Let the system end this process after a time, even if a decoder hangs in native code."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
