"""Is a set what its metadata say? Clips > probed in parallel > a table of problems."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from avloc.core.records import MODALITIES
from avloc.core.timeline import DEFAULT_FPS
from avloc.datasets.inspect.overview import lengths_s
from avloc.datasets.readers.table import RecordTable
from avloc.errors import AvlocError, MediaError
from avloc.feature_extraction.media.decode import probe
from avloc.feature_extraction.media.types import MediaInfo
from avloc.io.files import resolve_inside

LENGTH_TOLERANCE_S = 0.25
END_TOLERANCE_S = 0.05
AHEAD = 256  # clips in the threads' hands at a time: a million must not wait in memory
KINDS = {
    "missing": "the file is not there",
    "outside": "the file lies outside of the dataset's folder",
    "unreadable": "the file cannot be opened as media",
    "no sound": "there is no audio stream",
    "no picture": "there is no video stream",
    "fps": f"the frame rate is not {DEFAULT_FPS:g}",
    "length": f"the metadata's length is more than {LENGTH_TOLERANCE_S} s off",
    "segment": "a segment reaches past the end",
}


class Problem(NamedTuple):
    """One thing that is wrong with a clip: a name of `KINDS`, the clip, and what came."""

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
) -> Iterator[Problem]:
    """The problems of all clips, or of a sample, in the order of the clips. Headers are read, nothing is decoded.

    Args:
        root: the dataset's folder.
        table: its records.
        sample: so many clips by chance; None: all.
        seed: of the sample.
        workers: threads.
        progress: called with the number of clips looked at since the last call.
    """
    chosen = np.arange(len(table))
    if sample is not None and sample < len(table):
        chosen = np.sort(np.random.default_rng(seed).choice(len(table), sample, replace=False))
    seconds = lengths_s(table)
    with ThreadPoolExecutor(max(1, workers)) as pool:
        for begin in range(0, len(chosen), AHEAD):
            part = chosen[begin : begin + AHEAD].tolist()
            files = [table.files[k] for k in part]
            for clip, file, found in zip(part, files, pool.map(lambda f: _look(root, f), files), strict=True):
                yield from _problems(table, clip, file, float(seconds[clip]), found)
                progress(1)


def _look(root: Path, file: str) -> MediaInfo | Problem:
    try:
        path = resolve_inside(root, file)
    except AvlocError as error:
        return Problem("outside", file, str(error))
    if not path.is_file():
        return Problem("missing", file, str(path))
    try:
        return probe(path)
    except MediaError as error:
        return Problem("unreadable", file, str(error))


def _problems(
    table: RecordTable, clip: int, file: str, seconds: float, found: MediaInfo | Problem
) -> Iterator[Problem]:
    if isinstance(found, Problem):
        yield found
        return
    if found.sample_rate is None:
        yield Problem("no sound", file, "no audio stream")
    if found.width is None:
        yield Problem("no picture", file, "no video stream")
    if found.fps is not None and abs(found.fps - DEFAULT_FPS) > 0.01:
        yield Problem("fps", file, f"{found.fps:g} frames per second")
    if found.duration_s and abs(found.duration_s - seconds) > LENGTH_TOLERANCE_S:
        yield Problem("length", file, f"{seconds:.2f} s in the metadata, {found.duration_s:.2f} s in the file")
    for modality in MODALITIES:
        for start, end in table.segments[modality][clip].tolist():
            if found.duration_s and end > found.duration_s + END_TOLERANCE_S:
                yield Problem("segment", file, f"{modality} [{start:g}, {end:g}] in a file of {found.duration_s:.2f} s")
