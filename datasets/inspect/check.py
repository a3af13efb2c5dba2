"""Clips > probed in parallel, compared with their metadata > a stream of problems."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from avloc.core.records import MODALITIES
from avloc.core.timeline import DEFAULT_FPS
from avloc.datasets.inspect.overview import lengths_s
from avloc.datasets.readers.table import RecordTable
from avloc.errors import AvlocError, MediaError
from avloc.feature_extraction.media.probe import probe
from avloc.feature_extraction.media.types import MediaInfo
from avloc.io.files import resolve_inside

LENGTH_TOLERANCE_S = 0.25
END_TOLERANCE_S = 0.05
FPS_TOLERANCE = 0.01
CLIPS_IN_FLIGHT = 256  # clips handed to the threads at a time: a million must not wait in memory
PROBLEM_KINDS = {
    "missing": "the file is missing",
    "outside": "the file lies outside of the dataset's folder",
    "unreadable": "the file cannot be opened as media",
    "no sound": "no audio stream",
    "no picture": "no video stream",
    "fps": f"the frame rate is not {DEFAULT_FPS:g}",
    "length": f"the metadata's length is more than {LENGTH_TOLERANCE_S} s off",
    "segment": "a segment reaches past the end",
}
"""Kind of a problem → its description."""


class ClipProblem(NamedTuple):
    """A fault of one clip.

    Attributes:
        kind: a key of `PROBLEM_KINDS`.
        file: the clip, relative to the dataset's folder.
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
    workers: int = 1,
    progress: Callable[[int], object] = lambda clips: None,
) -> Iterator[ClipProblem]:
    """Iterate over the problems of all clips, or of a sample, in the order of the clips.

    Headers are read, nothing is decoded.

    Args:
        root: the dataset's folder.
        table: its records.
        sample: number of clips drawn at random; None checks all.
        seed: seed of the sample.
        workers: threads.
        progress: called with the number of clips checked since the last call.
    """
    clips = _draw_sample(len(table), sample, seed)
    seconds = lengths_s(table)
    with ThreadPoolExecutor(max(1, workers)) as pool:
        for begin in range(0, len(clips), CLIPS_IN_FLIGHT):
            batch = clips[begin : begin + CLIPS_IN_FLIGHT].tolist()
            files = [table.files[k] for k in batch]
            for clip, file, info in zip(batch, files, pool.map(lambda f: _probe_file(root, f), files), strict=True):
                if isinstance(info, ClipProblem):
                    yield info
                else:
                    yield from _stream_problems(file, info)
                    yield from _time_problems(table, clip, file, float(seconds[clip]), info.duration_s)
                progress(1)


def _draw_sample(count: int, sample: int | None, seed: int) -> npt.NDArray[np.int64]:
    if sample is None or sample >= count:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, sample, replace=False))


def _probe_file(root: Path, file: str) -> MediaInfo | ClipProblem:
    try:
        path = resolve_inside(root, file)
    except AvlocError as error:
        return ClipProblem("outside", file, str(error))
    if not path.is_file():
        return ClipProblem("missing", file, str(path))
    try:
        return probe(path)
    except MediaError as error:
        return ClipProblem("unreadable", file, str(error))


def _stream_problems(file: str, info: MediaInfo) -> Iterator[ClipProblem]:
    if info.sample_rate is None:
        yield ClipProblem("no sound", file, "no audio stream")
    if info.width is None:
        yield ClipProblem("no picture", file, "no video stream")
    if info.fps is not None and abs(info.fps - DEFAULT_FPS) > FPS_TOLERANCE:
        yield ClipProblem("fps", file, f"{info.fps:g} frames per second")


def _time_problems(table: RecordTable, clip: int, file: str, metadata_s: float, file_s: float) -> Iterator[ClipProblem]:
    """Compare the metadata's length (NaN if unknown) and segments with the file's length (0 if unknown)."""
    if not file_s:
        return
    if abs(file_s - metadata_s) > LENGTH_TOLERANCE_S:
        yield ClipProblem("length", file, f"{metadata_s:.2f} s in the metadata, {file_s:.2f} s in the file")
    for modality in MODALITIES:
        for start, end in table.segments[modality][clip].tolist():
            if end > file_s + END_TOLERANCE_S:
                yield ClipProblem("segment", file, f"{modality} [{start:g}, {end:g}] in a file of {file_s:.2f} s")
