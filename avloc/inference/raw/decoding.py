"""Raw rows > decoded by settings, part by part, in worker processes > each clip's rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from avloc.errors import AvlocError
from avloc.evaluation.inputs.rows import FloatRows
from avloc.inference.raw.raw_file import NamedClip, RawFile
from avloc.inference.raw.tuned_file import TunedSettings
from avloc.io.workers.pool import TaskPool

TIMEOUT_S = 300.0
DecodingTask = tuple[int, TunedSettings]
"""A part of the file, and the settings."""


def decode_clips(clips: Iterable[NamedClip], tuned: TunedSettings) -> Iterator[tuple[str, FloatRows]]:
    """Yield each clip with its rows (n, 3) of score, start and end, as `avloc predict` gives them; none of a clip that failed."""
    for file, clip in clips:
        if clip is None:
            yield file, np.zeros((0, 3))
        else:
            proposals = clip.decode(tuned.decoding, keep=tuned.keep)
            yield file, np.column_stack([proposals.scores, proposals.segments])


@dataclass(frozen=True, slots=True)
class DecodingJob:
    """The work of processes that decode raw rows (`avloc.io.workers.worker_process.Job`).

    Attributes:
        path: the file of raw rows.
        names: the name of each clip in the result, by its name in the file; others are left out.
    """

    path: Path
    names: Mapping[str, str]

    def build(self, pulse: Callable[[], None]) -> Callable[[DecodingTask], Iterator[dict[str, FloatRows]]]:
        """Open the file."""
        raw = RawFile(self.path)

        def decode(task: DecodingTask) -> Iterator[dict[str, FloatRows]]:
            part, tuned = task
            clips = [NamedClip(self.names[file], clip) for file, clip in raw.part(part) if file in self.names]
            rows = {}
            for file, each in decode_clips(clips, tuned):
                rows[file] = each
                pulse()
            yield rows

        return decode


class RawDecoder:
    """Decode clips of a file of raw rows by one setting after the other.

    Args:
        raw: the file.
        names: the name of each clip in the result, by its name in the file; others are left out.
        workers: number of processes; 0 decodes in this one.
    """

    def __init__(self, raw: RawFile, names: Mapping[str, str], *, workers: int = 0) -> None:
        self._raw = raw
        self._pool = TaskPool(DecodingJob(raw.path, dict(names)), workers=workers, timeout_s=TIMEOUT_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.close()

    def rows(self, tuned: TunedSettings) -> dict[str, FloatRows]:
        """Return the rows of each clip.

        Raises:
            AvlocError: if the file is damaged, or a process dies.
        """
        rows: dict[str, FloatRows] = {}
        for result in self._pool.run((part, tuned) for part in range(self._raw.parts)):
            if result.failure is not None:
                raise AvlocError(f"{self._raw.path}: part {result.task[0]} cannot be decoded: {result.failure}")
            rows |= result.result
        return rows
