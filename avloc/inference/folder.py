"""Clips and folders of clips > `Localizer` in worker processes > output files; a clip that fails does not stop the rest."""

from __future__ import annotations

import errno
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from avloc.core.calibration import PRIOR
from avloc.core.provenance import current_provenance
from avloc.datasets.readers.tabular import SUFFIXES
from avloc.errors import AvlocError
from avloc.feature_extraction.media.probe import probe
from avloc.feature_extraction.media.types import WHOLE, MediaInfo, Span
from avloc.io.workers.pool import TaskPool
from avloc.io.workers.processes import available_cores
from avloc.io.workers.worker_process import Pulse
from avloc.localization.result_folder import ClipJob, ResultFolder
from avloc.localization.summary import FailedClip

if TYPE_CHECKING:
    from avloc.inference.localizer import Localizer
    from avloc.localization.result import Localization

_ADDRESS = re.compile(r"[a-z]+:/", re.IGNORECASE)  # a path joins its two slashes
# A full, read-only or exhausted disk stops the run: the next clip would fail in the same way.
FATAL_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)


class LocalizedClip(NamedTuple):
    """A clip whose output files are written.

    Attributes:
        job: the clip, and the name of its output files.
        localization: its localization.
    """

    job: ClipJob
    localization: Localization


def find_clips(paths: Sequence[Path]) -> list[ClipJob]:
    """List the clips to localize: files as they are, and the media files in folders and their subfolders.

    A folder's output files keep its order of subfolders. Hidden files and folders are left out. Where clips differ in the suffix
    only, their output files keep it. A clip that is named twice is listed once.

    Raises:
        AvlocError: if none of the paths exists, a folder holds no media file, or two clips would be written to the same
            output file.
    """
    if not any(path.exists() for path in paths):
        hint = "; addresses are not opened, download it first" if _ADDRESS.match(str(paths[0])) else ""
        raise AvlocError(f"{paths[0]}: no such file or folder{hint}")
    jobs = dict.fromkeys(
        job for path in paths for job in (_folder_jobs(path) if path.is_dir() else [ClipJob(path, Path(path.stem))])
    )
    counts = Counter(job.name for job in jobs)
    named: dict[Path, ClipJob] = {}
    for job in jobs:
        # clip.mp4 beside clip.wav: each keeps its suffix.
        name = job.name if counts[job.name] == 1 else job.name.with_name(job.clip.name)
        if name in named:
            raise AvlocError(
                f"{named[name].clip} and {job.clip} would both be written as {name}.json; localize them into different folders"
            )
        named[name] = ClipJob(job.clip, name)
    return list(named.values())


def _folder_jobs(folder: Path) -> list[ClipJob]:
    clips = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and path.is_file() and not _is_hidden(path.relative_to(folder))
    )
    if not clips:
        raise AvlocError(f"{folder}: a folder without media files, such as .mp4 or .wav")
    return [ClipJob(clip, clip.relative_to(folder).with_suffix("")) for clip in clips]


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def expected_seconds(info: MediaInfo | None, span: Span) -> float:
    """Return the seconds of a clip that lie in a span, by its header; 0 without one, or if they are refused as too many."""
    seconds = 0.0 if info is None else info.seconds_in(span)
    return seconds if seconds <= span.longest_s else 0.0


class ProbeTask(NamedTuple):
    """Read a clip's header; the result is None if it cannot be read: the clip then fails when it is localized."""

    job: ClipJob


class LocalizeTask(NamedTuple):
    """Localize a clip and write its output files; `info` is its header, if it could be read."""

    job: ClipJob
    info: MediaInfo | None


class DiskError(NamedTuple):
    """The disk accepts no more files; the next clip would fail in the same way."""

    error: OSError


@dataclass(frozen=True, slots=True)
class LocalizationJob:
    """The work of processes that localize clips (`avloc.io.workers.worker_process.Job`).

    Attributes:
        load: loads the network; called with a function to call during long work (`LocalizerSettings.load_for_work`).
        results: the folder of output files.
        span: the part of each clip, and the audio track.
        keep: at most this many segments per 40 s of a clip.
        options: the options of the run that change results, which each result records.
        prior: the probability that a clip is forged, before the network is asked.
        command: the command line of the run, which each result records.
    """

    load: Callable[[Callable[[], None]], Localizer]
    results: ResultFolder
    span: Span = WHOLE
    keep: int = 100
    options: Mapping[str, object] = field(default_factory=dict)
    prior: float = PRIOR
    command: str = ""

    def build(self, pulse: Pulse) -> Callable[[ProbeTask | LocalizeTask], Iterator[Any]]:
        """Load the network."""
        localizer = self.load(pulse)
        options = replace(self.results.options, pulse=pulse)
        job = replace(self, results=replace(self.results, options=options))

        def run(task: ProbeTask | LocalizeTask) -> Iterator[Any]:
            if isinstance(task, ProbeTask):
                yield _probe(task.job.clip, pulse)
            else:
                yield job._localize(localizer, task, pulse.report)

        return run

    def _localize(
        self, localizer: Localizer, task: LocalizeTask, progress: Callable[[float], object]
    ) -> LocalizedClip | FailedClip | DiskError:
        clip = task.job.clip
        try:
            localization = localizer.localize(
                clip,
                keep=self.keep,
                span=self.span,
                preview="html" in self.results.formats,
                info=task.info,
                progress=progress,
            )
            provenance = localization.provenance or current_provenance()
            provenance = replace(provenance, command=self.command, settings=self.options)
            localization = replace(localization, provenance=provenance, prior=self.prior)
            self.results.write(task.job, localization)
        except AvlocError as error:
            return FailedClip(clip, str(error))
        except OSError as error:
            return DiskError(error) if error.errno in FATAL_ERRORS else FailedClip(clip, f"{clip}: {error}")
        except UnicodeError as error:
            return FailedClip(clip, f"{clip}: {error}")
        return LocalizedClip(task.job, replace(localization, preview=None))  # the page has it


def _probe(clip: Path, pulse: Pulse) -> MediaInfo | None:
    try:
        return probe(clip, pulse)
    except AvlocError:
        return None


def localize_clips(
    work: LocalizationJob,
    jobs: Sequence[ClipJob],
    *,
    workers: int = 1,
    timeout_s: float = 300.0,
    progress: Callable[[float, float], object] = lambda done_s, total_s: None,
) -> Iterator[LocalizedClip | FailedClip]:
    """Localize clips in worker processes, write the output files of each, and yield it, in order.

    A clip that crashes its process, or makes no progress, fails alone.

    Args:
        work: the network, and the folder of output files.
        jobs: the clips; without any, the network is not loaded.
        workers: processes, each with a network; 0: this process, and a clip that crashes it ends the run.
        timeout_s: give up on a clip after this many seconds without progress.
        progress: called with the seconds that are done, and the seconds of all clips by their headers.

    Raises:
        AvlocError: if the network cannot be loaded.
        OSError: if the disk is full or read-only.
    """
    if not jobs:
        return
    threads = None if workers <= 1 else max(1, available_cores() // workers)
    with TaskPool(work, workers=workers, timeout_s=timeout_s, threads=threads) as pool:
        headers = {result.task.job: result for result in pool.run(ProbeTask(job) for job in jobs)}
        seconds = {job: expected_seconds(headers[job].result, work.span) for job in jobs}
        total_s, done_s, ends_s = sum(seconds.values()), 0.0, dict.fromkeys(jobs, 0.0)

        def advance(job: ClipJob, end_s: float) -> None:
            nonlocal done_s
            done_s += end_s - ends_s[job]
            ends_s[job] = end_s
            progress(done_s, total_s)

        def report(task: LocalizeTask, end_s: float) -> None:
            advance(task.job, min(max(0.0, end_s - work.span.start_s), seconds[task.job]))

        readable = [job for job in jobs if not headers[job].crashed]
        results = pool.run((LocalizeTask(job, headers[job].result) for job in readable), report)
        for job in jobs:
            result = headers[job] if headers[job].crashed else next(results)
            advance(job, seconds[job])
            if isinstance(result.result, DiskError):
                raise result.result.error
            yield result.result if result.failure is None else FailedClip(job.clip, f"{job.clip}: {result.failure}")
