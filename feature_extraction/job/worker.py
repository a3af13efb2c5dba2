"""The work on one clip: decode > windows > rows of features, or streams for a network that runs in another process.

`process_clip` does this work; `worker_main` runs it in a process of its own, for one clip after another.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from multiprocessing import connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from avloc.errors import AvlocError
from avloc.feature_extraction.extractors.base import Extractor, check_rows
from avloc.feature_extraction.extractors.catalog import build_extractor
from avloc.feature_extraction.extractors.windows import StreamWindow
from avloc.feature_extraction.media.decode import stream
from avloc.feature_extraction.store.shards import to_half
from avloc.io.files import resolve_inside
from avloc.io.processes import prepare_process

Connection = connection.Connection
ExtractorSpec = tuple[str, Mapping[str, object]]
"""The name of an extractor, and its constructor's arguments."""

READY, ALIVE = "ready", "alive"  # a worker's signals beside its messages
PULSE_S = 1.0
PICKLED_BYTES = 256 << 10  # larger arrays are sent unpickled


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
        workers: processes; 0 does everything in this one, where a clip that crashes or hangs takes the job with it.
        timeout_s: give up on a clip after this many seconds without progress.

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


class ClipTask(NamedTuple):
    """A clip to process, and the numbers of the extractors to run on it."""

    file: str
    extractors: tuple[int, ...]


class Chunk(NamedTuple):
    """A part of a clip's result: float16 rows, or a stream whose rows are computed in another process.

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
        faceless_frames: frames in which a crop detected no face.
        decode_s: core seconds of decoding.
        extract_s: core seconds of extraction in this process.
    """

    starts_s: tuple[float, ...]
    media_s: float
    faceless_frames: int
    decode_s: float
    extract_s: float


class ClipFailed(NamedTuple):
    """A clip that could not be read, with the reason."""

    reason: str


Message = Chunk | ClipDone | ClipFailed


def process_clip(
    task: ClipTask, extractors: Sequence[Extractor], settings: ExtractionSettings
) -> Iterator[Chunk | ClipDone]:
    """Process a clip window by window, in memory that does not grow with its length.

    Args:
        task: the clip.
        extractors: all of the job; the task holds numbers of them.
        settings: the job's.

    Raises:
        AvlocError: if the clip cannot be read, or its features are not finite.
    """
    path = resolve_inside(settings.folder, task.file)
    cutters = {k: extractors[k].window_cutter() for k in task.extractors}
    starts: dict[int, float] = {}
    formats = [f for k in task.extractors if (f := extractors[k].video_format) is not None]
    audio = any(extractors[k].video_format is None for k in task.extractors)
    timer, media_s, faceless = _CpuTimer(), 0.0, 0
    for part in stream(path, formats, audio=audio, backend=settings.backend):
        timer.end_decoding()
        media_s = max(media_s, part.duration_s)
        faceless += part.faceless_frames
        for k, cutter in cutters.items():
            data = extractors[k].select_stream(part)
            if data is not None and len(data):
                starts.setdefault(k, extractors[k].first_row_start_s(part))
                yield from _chunks(path, k, extractors[k], cutter.push(data), settings)
        timer.end_extraction()
    timer.end_decoding()
    for k, cutter in cutters.items():
        yield from _chunks(path, k, extractors[k], cutter.finish(), settings)
    timer.end_extraction()
    starts_s = tuple(starts.get(k, 0.0) for k in task.extractors)
    yield ClipDone(starts_s, media_s, faceless, timer.decode_s, timer.extract_s)


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
            yield Chunk(number, True, 0, None, to_half(rows))


def describe_error(error: Exception) -> str:
    """Describe a failure in one line: an error of ours by its message, any other also by its type.

    >>> describe_error(ZeroDivisionError("division by zero"))
    'ZeroDivisionError: division by zero'
    >>> describe_error(AvlocError("a.mp4: no such file"))
    'a.mp4: no such file'
    """
    text = " ".join(str(error).split())
    return text if isinstance(error, AvlocError) and text else f"{type(error).__name__}: {text}"


def worker_main(link: Connection, settings: ExtractionSettings) -> None:
    """Run a worker process: build the extractors, report `READY`, then process clips until None arrives."""
    prepare_process()
    # A worker that only decodes must not touch the networks' device.
    extractors = (replace(settings, device="cpu") if settings.runs_networks_in_parent else settings).build_extractors()
    if not settings.runs_networks_in_parent:
        for extractor in extractors:
            extractor.load()
            extractor.pulse = _Pulse(link)  # type: ignore[attr-defined]
    link.send(READY)
    while (task := link.recv()) is not None:
        try:
            for message in process_clip(task, extractors, settings):
                send_message(link, message)
        except (BrokenPipeError, ConnectionError):
            raise
        except Exception as error:  # one odd clip must never end a job of a million
            link.send(ClipFailed(describe_error(error)))


class _Pulse:
    """Signals the parent from time to time that this process is at work."""

    def __init__(self, link: Connection) -> None:
        self._link, self._last = link, time.monotonic()

    def __call__(self) -> None:
        if time.monotonic() - self._last > PULSE_S:
            self._link.send(ALIVE)
            self._last = time.monotonic()


def send_message(link: Connection, message: Message) -> None:
    """Send a message; a large array follows it unpickled."""
    if not isinstance(message, Chunk) or message.data.nbytes <= PICKLED_BYTES:
        link.send(message)
        return
    data = np.ascontiguousarray(message.data)
    link.send((message._replace(data=np.empty(0)), data.shape, data.dtype.str))
    link.send_bytes(data.reshape(-1).view(np.uint8).data)


def receive_message(link: Connection) -> Message | str:
    """Receive a message sent by `send_message`, or a signal (`READY`, `ALIVE`).

    Raises:
        EOFError: if the sender is gone.
    """
    message = link.recv()
    if type(message) is tuple:
        chunk, shape, dtype = message
        data = np.empty(shape, dtype)
        link.recv_bytes_into(data.reshape(-1).view(np.uint8).data)
        return chunk._replace(data=data)
    return message
