"""Clips and folders of clips > `Localizer` > output files; a clip that cannot be read does not stop the rest."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from avloc.datasets.readers.tabular import SUFFIXES
from avloc.errors import AvlocError
from avloc.feature_extraction.media.probe import probe
from avloc.feature_extraction.media.types import WHOLE, MediaInfo, Span
from avloc.localization.result_folder import ClipJob, ResultFolder
from avloc.localization.summary import FailedClip

if TYPE_CHECKING:
    from avloc.inference.localizer import Localizer
    from avloc.localization.result import Localization

# A full, read-only or exhausted disk stops the run: the next clip would fail in the same way.
FATAL_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


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

    A folder's output files keep its order of subfolders.

    Raises:
        AvlocError: if none of the paths exists, a folder holds no media file, or two clips would be written to the same
            output file.
    """
    if not any(path.exists() for path in paths):
        raise AvlocError(f"{paths[0]}: no such file or folder")
    jobs: dict[Path, ClipJob] = {}
    for path in paths:
        for job in _folder_jobs(path) if path.is_dir() else [ClipJob(path, Path(path.stem))]:
            if job.name in jobs:
                raise AvlocError(
                    f"{jobs[job.name].clip} and {job.clip} would both be written as {job.name}.json; localize them into "
                    "different folders"
                )
            jobs[job.name] = job
    return list(jobs.values())


def _folder_jobs(folder: Path) -> list[ClipJob]:
    clips = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not clips:
        raise AvlocError(f"{folder}: a folder without media files")
    return [ClipJob(clip, clip.relative_to(folder).with_suffix("")) for clip in clips]


def probe_clip(clip: Path) -> MediaInfo | None:
    """Read a clip's header; None if it cannot be read: the clip then fails when it is localized."""
    try:
        return probe(clip)
    except AvlocError:
        return None


def expected_seconds(info: MediaInfo | None, span: Span) -> float:
    """Return the seconds of a clip that lie in a span, by its header; 0 without one."""
    return 0.0 if info is None else max(0.0, min(span.end_s, info.duration_s) - span.start_s)


def localize_clips(
    localizer: Localizer,
    jobs: Sequence[ClipJob],
    results: ResultFolder,
    *,
    span: Span = WHOLE,
    keep: int = 100,
    headers: Mapping[ClipJob, MediaInfo | None] | None = None,
    progress: Callable[[ClipJob, float], object] | None = None,
) -> Iterator[LocalizedClip | FailedClip]:
    """Localize clips one by one, write the output files of each, and yield it.

    Args:
        localizer: a trained network.
        jobs: the clips.
        results: the folder of output files.
        span: the part of each clip, and the audio track.
        keep: at most this many segments per 40 s of a clip.
        headers: the clips' headers, if they were probed before.
        progress: called with the clip, and the time on its clock up to which it is done, in seconds.

    Raises:
        OSError: if the disk is full or read-only.
    """
    for job in jobs:
        try:
            localization = localizer.localize(
                job.clip,
                keep=keep,
                span=span,
                preview="html" in results.formats,
                info=None if headers is None else headers.get(job),
                progress=None if progress is None else partial(progress, job),
            )
            results.write(job, localization)
        except AvlocError as error:
            yield FailedClip(job.clip, str(error))
        except (OSError, UnicodeError) as error:
            if getattr(error, "errno", None) in FATAL_ERRORS:
                raise
            yield FailedClip(job.clip, f"{job.clip}: {error}")
        else:
            yield LocalizedClip(job, localization)
