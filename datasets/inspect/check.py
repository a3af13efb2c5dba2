"""Clips > probed, or decoded, in worker processes, and compared with their metadata > a stream of problems."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from avloc.core.records import MODALITIES
from avloc.core.timeline import DEFAULT_FPS
from avloc.datasets.inspect.overview import lengths_s
from avloc.datasets.readers.table import RecordTable
from avloc.errors import AvlocError, MediaError, shown
from avloc.feature_extraction.media.completeness import IS_SHORT, missing_bytes
from avloc.feature_extraction.media.decode import stream
from avloc.feature_extraction.media.limits import check_claims
from avloc.feature_extraction.media.probe import media_errors, open_container, probe
from avloc.feature_extraction.media.types import LONGEST_S, NO_DECODER, NO_STREAM, WHOLE, MediaInfo, Span, VideoFormat
from avloc.io.files import resolve_inside
from avloc.io.workers.pool import TaskResult, run_tasks
from avloc.io.workers.worker_process import Pulse, TaskFunction

LENGTH_TOLERANCE_S = 0.25
END_TOLERANCE_S = 0.05
FPS_TOLERANCE = 0.01
TIMEOUT_S = 60.0
DECODED_FORMAT = VideoFormat(8, 8, "gray")  # only whether it can be decoded matters
PROBLEM_KINDS = {
    "missing": "the file is missing",
    "outside": "the file lies outside of the dataset's folder",
    "name": "the file's name has control characters, or is not UTF-8",
    "unreadable": "the file cannot be opened as media",
    "crash": "the file crashes or hangs the process that reads it",
    "limit": "the file is, or claims to be, longer or larger than the limits",
    "stream": "a stream has no decoder, or gives nothing",
    "cut off": "the file was cut off",
    "damaged": "parts of the file cannot be decoded",
    "no audio": "no audio stream",
    "no visual": "no video stream",
    "fps": f"the frame rate is not {DEFAULT_FPS:g}",
    "length": f"the metadata's length is more than {LENGTH_TOLERANCE_S} s off",
    "segment": "a segment reaches past the end",
}
"""Kind of a problem → its description."""


class ClipProblem(NamedTuple):
    """A fault of one clip.

    Attributes:
        kind: a key of `PROBLEM_KINDS`.
        file: the clip, relative to the dataset's folder, as `shown` prints it.
        detail: the values that disagree, or the error.
    """

    kind: str
    file: str
    detail: str


def check_clips(
    root: Path,
    table: RecordTable,
    *,
    sample: int | None = None,
    seed: int = 0,
    decode: bool = False,
    workers: int = 1,
    timeout_s: float = TIMEOUT_S,
    longest_s: float = LONGEST_S,
    modalities: Collection[str] = MODALITIES,
    progress: Callable[[int], object] = lambda clips: None,
) -> Iterator[ClipProblem]:
    """Iterate over the problems of all clips, or of a sample, in the order of the clips.

    Args:
        root: the dataset's folder.
        table: its records.
        sample: number of clips drawn at random; None checks all.
        seed: seed of the sample.
        decode: decode each clip as a whole, instead of reading its header only.
        workers: processes; 0 reads in this one, so a clip that crashes or hangs ends the check.
        timeout_s: give up on a clip after this many seconds without progress.
        longest_s: the limit of a clip's length.
        modalities: those that a clip must have.
        progress: called with the number of clips checked since the last call.

    Raises:
        AvlocError: if the worker processes cannot be started.
    """
    clips = _draw_sample(len(table), sample, seed)
    seconds = lengths_s(table)
    job = _CheckJob(root, decode, longest_s)
    files = (table.files[k] for k in clips.tolist())
    results = run_tasks(job, files, workers=workers, timeout_s=timeout_s, threads=None)
    for clip, result in zip(clips.tolist(), results, strict=True):
        file = shown(result.task)
        if file != result.task:
            yield ClipProblem("name", file, file)
        yield from _result_problems(file, result)
        if isinstance(result.result, _CheckedClip) and result.result.info is not None:
            info = result.result.info
            yield from _stream_problems(file, info, modalities)
            yield from _time_problems(table, clip, file, float(seconds[clip]), info)
        progress(1)


def _draw_sample(count: int, sample: int | None, seed: int) -> npt.NDArray[np.int64]:
    if sample is None or sample >= count:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, sample, replace=False))


class _CheckedClip(NamedTuple):
    """The result for one clip.

    Attributes:
        info: its header; None if it cannot be read.
        problems: kinds and details.
    """

    info: MediaInfo | None
    problems: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class _CheckJob:
    """The work of a process: a task is a clip's name, its result a `_CheckedClip`."""

    root: Path
    decode: bool
    longest_s: float

    def build(self, pulse: Pulse) -> TaskFunction:
        """Return the function for a clip."""

        def check(file: str) -> Iterator[_CheckedClip]:
            yield self._check(file, pulse)

        return check

    def _check(self, file: str, pulse: Pulse) -> _CheckedClip:
        try:
            path = resolve_inside(self.root, file)
        except AvlocError as error:
            return _CheckedClip(None, [("outside", str(error))])
        if not path.exists():
            return _CheckedClip(None, [("missing", str(path))])
        try:
            info = probe(path, pulse)
            cut_off = _missing_bytes(path)
        except MediaError as error:
            return _CheckedClip(None, [("unreadable", str(error))])
        problems = [("stream", problem) for problem in info.problems]
        if cut_off:
            problems.append(("cut off", f"its index counts {cut_off} bytes more than the file has"))
        try:
            check_claims(info, Span(longest_s=self.longest_s))
        except MediaError as error:
            return _CheckedClip(None, [*problems, ("limit", str(error))])
        return _CheckedClip(info, problems + (self._decode(path, pulse) if self.decode else []))

    def _decode(self, path: Path, pulse: Pulse) -> list[tuple[str, str]]:
        failures: dict[str, str] = {}
        lines: list[str] = []
        try:
            for part in stream(path, [DECODED_FORMAT], span=Span(longest_s=self.longest_s), pulse=pulse):
                failures, lines = part.failures, part.problems
        except MediaError as error:
            return [("unreadable", str(error))]
        # A stream without a decoder is among the problems of the header.
        problems = [("stream", f"{m}: {reason}") for m, reason in failures.items() if reason != NO_DECODER[m]]
        others = [line for line in lines if line not in (*NO_STREAM.values(), *failures.values())]
        return problems + [("cut off" if IS_SHORT in line else "damaged", line) for line in others]


def _missing_bytes(path: Path) -> int:
    with open_container(path) as container, media_errors(path):
        return missing_bytes(container)


def _result_problems(file: str, result: TaskResult) -> Iterator[ClipProblem]:
    """The problems that a process found, or the loss of the process."""
    if result.failure is not None:
        yield ClipProblem("crash" if result.crashed else "unreadable", file, shown(result.failure))
        return
    for kind, detail in dict.fromkeys(result.result.problems):
        yield ClipProblem(kind, file, shown(detail))


def _stream_problems(file: str, info: MediaInfo, modalities: Collection[str]) -> Iterator[ClipProblem]:
    if "audio" in modalities and info.sample_rate is None and NO_DECODER["audio"] not in info.problems:
        yield ClipProblem("no audio", file, "no audio stream")
    if "visual" in modalities and info.width is None and NO_DECODER["visual"] not in info.problems:
        yield ClipProblem("no visual", file, "no video stream")
    if info.fps is not None and abs(info.fps - DEFAULT_FPS) > FPS_TOLERANCE:
        yield ClipProblem("fps", file, f"{info.fps:g} frames per second")


def _time_problems(
    table: RecordTable, clip: int, file: str, metadata_s: float, info: MediaInfo
) -> Iterator[ClipProblem]:
    """Compare the metadata's length (NaN if unknown) and segments with the file's end (0 if unknown).

    Metadata of a file that starts late may state its end, or the time from its start.
    """
    file_s = info.duration_s
    if not file_s:
        return
    if min(abs(file_s - metadata_s), abs(info.seconds_in(WHOLE) - metadata_s)) > LENGTH_TOLERANCE_S:
        yield ClipProblem("length", file, f"{metadata_s:.2f} s in the metadata, {file_s:.2f} s in the file")
    for modality in MODALITIES:
        for start, end in table.segments[modality][clip].tolist():
            if end > file_s + END_TOLERANCE_S:
                yield ClipProblem("segment", file, f"{modality} [{start:g}, {end:g}] in a file of {file_s:.2f} s")
