"""The work on one clip: decode > windows > rows of features, or streams for a network that runs in another process.

`process_clip` does this work; an `ExtractionJob` runs it in the processes of a pool.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy.typing as npt

from avloc.core.descriptions import ExtractorDescription
from avloc.core.records import MODALITIES
from avloc.core.timeline import Segment, TimeGrid
from avloc.errors import AvlocError
from avloc.feature_extraction.extractors.base import Extractor, check_rows, gap_rows
from avloc.feature_extraction.extractors.catalog import build_extractor, with_default_key
from avloc.feature_extraction.extractors.windows import StreamWindow
from avloc.feature_extraction.job.engines.units import absolute_path
from avloc.feature_extraction.media.augmented import MediaAugmentation
from avloc.feature_extraction.media.decode import stream
from avloc.feature_extraction.media.types import LONGEST_S, NO_STREAM, Clip, Span, VideoFormat
from avloc.feature_extraction.store.dtypes import to_stored
from avloc.io.files import resolve_inside
from avloc.io.workers.worker_process import Pulse, TaskFunction

MOST_ROWS = 2**40  # gaps are cut to a clip's rows where these are counted, when they are written
ExtractorSpec = tuple[str, Mapping[str, object]]
"""The name of an extractor, and its constructor's arguments."""


@dataclass(frozen=True, slots=True)
class ExtractionSettings:
    """The settings of an extraction, common to all clips of a job.

    Attributes:
        root: the folder that the clips' names are relative to, `~` expanded.
        extractors: name and arguments of each; a clip is decoded once for all of them.
        backend: decoder of the picture, `pyav` or `decord`.
        device: device of the networks: `cpu`, `cuda:0`, …
        precision: of the networks: 32, bf16 or 16.
        networks_in_parent: run networks in the process that writes, on batches of several clips, so that workers only decode;
            otherwise each worker processes its clips completely. None: only if the device is not the CPU.
        workers: processes; 0 does everything in this one, so a clip that crashes or hangs takes the job with it.
        timeout_s: give up on a clip after this many seconds without progress.
        longest_s: refuse clips that are longer, in seconds.
        augmentation: of an augmented copy; None: the clips themselves.

    >>> settings = ExtractionSettings("~/clips", [("logmel", {"bands": 40})])
    >>> settings.build_extractors()[0].dim
    40
    """

    root: str | Path
    extractors: Sequence[ExtractorSpec]
    backend: str = "pyav"
    device: str = "cpu"
    precision: str = "32"
    networks_in_parent: bool | None = None
    workers: int = 0
    timeout_s: float = 300.0
    longest_s: float = LONGEST_S
    augmentation: MediaAugmentation | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", Path(self.root).expanduser())
        object.__setattr__(self, "extractors", tuple(self.extractors))

    @property
    def folder(self) -> Path:
        """The root as a path."""
        return Path(self.root)

    @property
    def runs_networks_in_parent(self) -> bool:
        """True if networks run in the process that writes, apart from the decoding."""
        return self.device != "cpu" if self.networks_in_parent is None else self.networks_in_parent

    def with_resources(self, workers: int, device: str | None = None) -> ExtractionSettings:
        """The same settings with this number of workers, and on this device; None: the same device."""
        return replace(self, device=self.device if device is None else device, workers=workers)

    def absolute(self) -> ExtractionSettings:
        """The same settings with absolute paths, independent of the job's working directory."""
        extractors = []
        for name, arguments in self.extractors:
            named = with_default_key(name, arguments)
            extractors.append((name, {k: absolute_path(v) if k == "weights" else v for k, v in named.items()}))
        augmentation = None if self.augmentation is None else self.augmentation.absolute()
        return replace(self, root=self.folder.absolute(), extractors=extractors, augmentation=augmentation)

    def build_extractors(self) -> list[Extractor]:
        """Build the extractors, with their networks on `device`.

        Raises:
            AvlocError: if an extractor is unknown, has no such argument, or the device is missing.
        """
        extractors = [build_extractor(name, arguments) for name, arguments in self.extractors]
        for extractor in extractors:
            if extractor.runs_network:
                extractor.to(self.device, self.precision)  # type: ignore[attr-defined]
        return extractors


def describe_extractor(extractor: Extractor, backend: str) -> ExtractorDescription:
    """Describe an extractor with the decoder, which matters for the picture only.

    Raises:
        AvlocError: if the extractor takes the frames of another decoder.
    """
    description = extractor.describe()
    if extractor.video_format is None:
        return description
    if extractor.decoder not in (None, backend):
        raise AvlocError(
            f"{extractor.name} learned from frames of the decoder {extractor.decoder}, not of {backend}: give --decoder "
            f"{extractor.decoder}"
        )
    return replace(description, decoder=backend)


class ClipTask(NamedTuple):
    """A clip to process, and the numbers of the extractors to run on it."""

    file: str
    extractors: tuple[int, ...]


class Chunk(NamedTuple):
    """A part of a clip's result: rows as they are stored, or a stream whose rows are computed in another process.

    Attributes:
        extractor: its number.
        is_rows: true for rows.
        low: first row of the stream's rows to keep.
        high: end of the rows to keep; None: all up to the last.
        data: the rows (T, D) or the stream.
    """

    extractor: int
    is_rows: bool
    low: int
    high: int | None
    data: npt.NDArray[Any]


class ClipDone(NamedTuple):
    """The end of a clip, with its times and costs.

    Attributes:
        starts_s: start of each extractor's first row, in the order of `ClipTask.extractors`.
        media_s: seconds of sound or picture, whichever is longer.
        faceless_frames: cropped frames without a detected face.
        decode_s: core seconds of decoding.
        extract_s: core seconds of extraction in this process.
        gaps: (first, end) pairs of each extractor's rows for which nothing was decoded, in the order of `starts_s`.
        failures: the error of each extractor's stream that exists but gave nothing; None: the stream is fine, or missing.
        problems: faults of the clip's streams, a line each.
        decoded_s: decoded seconds of the stream with the fewest.
        claimed_s: its length by the file's header; 0 if unknown.
    """

    starts_s: tuple[float, ...]
    media_s: float
    faceless_frames: int
    decode_s: float
    extract_s: float
    gaps: tuple[tuple[tuple[int, int], ...], ...] = ()
    failures: tuple[str | None, ...] = ()
    problems: tuple[str, ...] = ()
    decoded_s: float = 0.0
    claimed_s: float = 0.0

    @property
    def damage(self) -> tuple[str, ...]:
        """The problems other than a stream that the clip does not have."""
        return tuple(problem for problem in self.problems if problem not in NO_STREAM.values())

    @property
    def failure(self) -> str | None:
        """The first of the extractors' failures."""
        return next((reason for reason in self.failures if reason is not None), None)


def process_clip(
    task: ClipTask,
    extractors: Sequence[Extractor],
    settings: ExtractionSettings,
    pulse: Callable[[], object] | None = None,
) -> Iterator[Chunk | ClipDone]:
    """Process a clip window by window, in memory that does not grow with its length.

    Args:
        task: the clip.
        extractors: all of the job; the task holds numbers of them.
        settings: the job's.
        pulse: called during the decoding, to show that this process is alive: a window of rows may take minutes to decode.

    Raises:
        AvlocError: if the clip cannot be read, or its features are not finite.
    """
    path = resolve_inside(settings.folder, task.file)
    cutters = {k: extractors[k].window_cutter() for k in task.extractors}
    formats = [f for k in task.extractors if (f := extractors[k].video_format) is not None]
    audio = any(extractors[k].video_format is None for k in task.extractors)
    timer, totals = _CpuTimer(), _ClipTotals()
    for part in _parts(path, task.file, formats, audio, settings, pulse):
        timer.end_decoding()
        totals.add(part)
        for k, cutter in cutters.items():
            data = extractors[k].select_stream(part)
            if data is not None and len(data):
                totals.add_stream(k, extractors[k], part)
                yield from _chunks(path, k, extractors[k], cutter.push(data), settings)
        timer.end_extraction()
    timer.end_decoding()
    for k, cutter in cutters.items():
        yield from _chunks(path, k, extractors[k], cutter.finish(), settings)
    timer.end_extraction()
    yield totals.done(task, extractors, timer)


def _parts(
    path: Path,
    file: str,
    formats: Sequence[VideoFormat],
    audio: bool,
    settings: ExtractionSettings,
    pulse: Callable[[], object] | None,
) -> Iterator[Clip]:
    """Decode a clip in parts, or as a whole if it is augmented."""
    span, augmentation, backend = Span(longest_s=settings.longest_s), settings.augmentation, settings.backend
    if augmentation is None:
        yield from stream(path, formats, audio=audio, backend=backend, span=span, pulse=pulse)
    else:
        yield augmentation.decode(path, file, formats, audio=audio, backend=backend, span=span, pulse=pulse)


@dataclass(slots=True)
class _ClipTotals:
    """Sums over the parts of a clip.

    Attributes:
        media_s: end of the last part.
        faceless_frames: cropped frames without a detected face.
        claimed_s: the length by the file's header; 0 if unknown.
        problems: the clip's.
        failures: by modality, the error of a stream that exists but gave nothing.
        seconds: by modality, of the parts so far.
        missing: by modality, their spans without decoded data.
        starts_s: by extractor, the start of its first row.
        gaps: by extractor, the spans of its stream for which nothing was decoded.
    """

    media_s: float = 0.0
    faceless_frames: int = 0
    claimed_s: float = 0.0
    problems: Sequence[str] = ()
    failures: Mapping[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(MODALITIES, 0.0))
    missing: Mapping[str, Sequence[Segment]] = field(default_factory=dict)
    starts_s: dict[int, float] = field(default_factory=dict)
    gaps: dict[int, list[Segment]] = field(default_factory=dict)

    def add(self, part: Clip) -> None:
        """Add the next part."""
        self.media_s = max(self.media_s, part.duration_s)
        self.faceless_frames += part.faceless_frames
        self.claimed_s, self.problems, self.failures = part.claimed_s, part.problems, part.failures
        self.seconds["audio"] += 0.0 if part.samples is None else len(part.samples) / part.sample_rate
        self.seconds["visual"] += part.video_grid.length / part.fps
        self.missing = part.gaps

    def add_stream(self, number: int, extractor: Extractor, part: Clip) -> None:
        """Note an extractor's stream in a part."""
        self.starts_s.setdefault(number, extractor.first_row_start_s(part))
        self.gaps[number] = extractor.stream_gaps(part)

    def done(self, task: ClipTask, extractors: Sequence[Extractor], timer: _CpuTimer) -> ClipDone:
        """Return the message that ends the clip."""
        grids = {k: TimeGrid(self.starts_s.get(k, 0.0), extractors[k].hop_s, MOST_ROWS) for k in task.extractors}
        modalities = {k: extractors[k].modality for k in task.extractors}
        missing_s = {m: sum(gap.duration_s for gap in gaps) for m, gaps in self.missing.items()}
        decoded_s = {m: seconds - missing_s.get(m, 0.0) for m, seconds in self.seconds.items() if seconds}
        return ClipDone(
            tuple(grid.start_s for grid in grids.values()),
            self.media_s,
            self.faceless_frames,
            timer.decode_s,
            timer.extract_s,
            gaps=tuple(gap_rows(self.gaps.get(k, ()), grid) for k, grid in grids.items()),
            failures=tuple(None if k in self.starts_s else self.failures.get(m) for k, m in modalities.items()),
            problems=tuple(self.problems),
            decoded_s=max(0.0, min(decoded_s.values(), default=0.0)),
            claimed_s=self.claimed_s,
        )


class _CpuTimer:
    """Splits this thread's core seconds between decoding and extraction."""

    def __init__(self) -> None:
        self.decode_s = self.extract_s = 0.0
        self._last = time.thread_time()

    def end_decoding(self) -> None:
        """Count the time since the last call as decoding."""
        self.decode_s += self._lap()

    def end_extraction(self) -> None:
        """Count the time since the last call as extraction."""
        self.extract_s += self._lap()

    def _lap(self) -> float:
        last, self._last = self._last, time.thread_time()
        return self._last - last


def _chunks(
    path: Path, number: int, extractor: Extractor, windows: Iterator[StreamWindow], settings: ExtractionSettings
) -> Iterator[Chunk]:
    for window in windows:
        if extractor.runs_network and settings.runs_networks_in_parent:
            yield Chunk(number, False, window.low, window.high, window.data)
        else:
            rows = extractor.window_rows(window)
            check_rows(path, extractor, rows)
            yield Chunk(number, True, 0, None, to_stored(rows, extractor.dtype))


@dataclass(frozen=True, slots=True)
class ExtractionJob:
    """The work of a pool's processes in an extraction (`avloc.io.workers.worker_process.Job`): a task is a `ClipTask`.

    Attributes:
        settings: the job's.
    """

    settings: ExtractionSettings

    def build(self, pulse: Pulse) -> TaskFunction:
        """Build the extractors, and load those that run in this process."""
        settings = self.settings
        if settings.runs_networks_in_parent:  # a worker that only decodes must not touch the networks' device
            extractors = replace(settings, device="cpu").build_extractors()
        else:
            extractors = settings.build_extractors()
            for extractor in extractors:
                extractor.load()
                extractor.pulse = pulse  # type: ignore[attr-defined]
        return partial(process_clip, extractors=extractors, settings=settings, pulse=pulse)
