"""What is done with one clip: decode > windows > rows of features, or streams for a network that runs elsewhere.

`process_clip` does it; `worker_main` does it in a process of its own, for one clip after another.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing import connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from avloc.errors import AvlocError
from avloc.feature_extraction.extractors import Extractor, build_extractor
from avloc.feature_extraction.extractors.base import check_finite
from avloc.feature_extraction.media.decode import stream
from avloc.feature_extraction.store.shards import to_half
from avloc.io.files import resolve_inside
from avloc.io.processes import prepare_process

Connection = connection.Connection
READY, ALIVE = "ready", "alive"  # what a worker says beside its messages
PULSE_S = 1.0
PICKLED_BYTES = 256 << 10  # more is sent as it is


@dataclass(frozen=True, slots=True)
class ExtractionSettings:
    """How clips are extracted; the same for a whole job.

    Attributes:
        root: the folder that the clips' names are relative to.
        extractors: name and arguments of each; one decode feeds them all.
        backend: who decodes the picture.
        device: where networks run: `cpu`, `cuda:0`, …
        precision: of networks: 32, bf16 or 16.
        networks_in_parent: networks run in the process that writes, for several clips at once, and the workers only decode; without it
            each worker does all of a clip. None: networks_in_parent unless the device is the CPU.
        workers: processes; 0 does everything in this one, where a clip that crashes or hangs takes the job with it.
        timeout_s: a clip is given up when nothing has come of it for so long.
    """

    root: Path
    extractors: tuple[tuple[str, dict[str, Any]], ...]
    backend: str = "pyav"
    device: str = "cpu"
    precision: str = "32"
    networks_in_parent: bool | None = None
    workers: int = 0
    timeout_s: float = 300.0

    @property
    def is_central(self) -> bool:
        """Whether networks run apart from the decoding."""
        return self.device != "cpu" if self.networks_in_parent is None else self.networks_in_parent

    def build_extractors(self) -> list[Extractor]:
        """The extractors, for `device`."""
        made = [build_extractor(name, arguments) for name, arguments in self.extractors]
        for extractor in made:
            if extractor.runs_network:
                extractor.to(self.device, self.precision)  # type: ignore[attr-defined]
        return made


class ClipTask(NamedTuple):
    """A clip, and which of the extractors (by their number) are wanted of it."""

    file: str
    wanted: tuple[int, ...]


class Chunk(NamedTuple):
    """Something of a clip: float16 rows, or a stream of which `rows[low:high]` are to be made elsewhere."""

    extractor: int
    is_rows: bool
    low: int
    high: int | None
    data: npt.NDArray[Any]


class ClipDone(NamedTuple):
    """The clip's end: when each wanted extractor's rows start, how long it is, and what it took.

    Attributes:
        starts_s: in the order of `ClipTask.wanted`.
        media_s: seconds of sound or picture, whichever is longer.
        faceless_frames: frames in which a crop found no face.
        decode_s: core seconds of decoding.
        extract_s: core seconds of extraction in this process.
    """

    starts_s: tuple[float, ...]
    media_s: float
    faceless_frames: int
    decode_s: float
    extract_s: float


class ClipFailed(NamedTuple):
    """The clip could not be read, and why."""

    reason: str


def process_clip(
    task: ClipTask, extractors: Sequence[Extractor], settings: ExtractionSettings
) -> Iterator[Chunk | ClipDone]:
    """Do a clip, window by window, in memory that does not grow with it.

    Raises:
        AvlocError: if it cannot be read, or its features are not finite.
    """
    path = resolve_inside(settings.root, task.file)
    cutters = {k: extractors[k].windows() for k in task.wanted}
    starts: dict[int, float] = {}
    formats = [f for k in task.wanted if (f := extractors[k].video_format) is not None]
    audio = any(extractors[k].video_format is None for k in task.wanted)
    clock, media_s, faceless = _CpuTimer(), 0.0, 0
    for part in stream(path, formats, audio=audio, backend=settings.backend):
        clock.decoded()
        media_s = max(media_s, part.duration_s)
        faceless += part.faceless_frames
        for k, cutter in cutters.items():
            data = extractors[k].select_stream(part)
            if data is not None and len(data):
                starts.setdefault(k, extractors[k].first_row_start_s(part))
                yield from _pieces(path, k, extractors[k], cutter.push(data), settings)
        clock.extracted()
    clock.decoded()
    for k, cutter in cutters.items():
        yield from _pieces(path, k, extractors[k], cutter.finish(), settings)
    clock.extracted()
    yield ClipDone(tuple(starts.get(k, 0.0) for k in task.wanted), media_s, faceless, clock.decode_s, clock.extract_s)


class _CpuTimer:
    """Splits this thread's core seconds between two kinds of work."""

    def __init__(self) -> None:
        self.decode_s = self.extract_s = 0.0
        self._last = time.thread_time()

    def decoded(self) -> None:
        """What was done since the last call was decoding."""
        self.decode_s += self._lap()

    def extracted(self) -> None:
        """What was done since the last call was extraction."""
        self.extract_s += self._lap()

    def _lap(self) -> float:
        last, self._last = self._last, time.thread_time()
        return self._last - last


def _pieces(
    path: Path, number: int, extractor: Extractor, windows: Iterator[Any], settings: ExtractionSettings
) -> Iterator[Chunk]:
    for window in windows:
        if extractor.runs_network and settings.is_central:
            yield Chunk(number, False, window.low, window.high, window.data)
        else:
            rows = extractor.rows([window.data])[0][window.low : window.high]
            check_finite(path, extractor, rows)
            yield Chunk(number, True, 0, None, to_half(rows))


def describe_error(error: Exception) -> str:
    """What a failure is called: our own errors say all; of others the kind is told too."""
    text = " ".join(str(error).split())
    return text if isinstance(error, AvlocError) and text else f"{type(error).__name__}: {text}"


def worker_main(link: Connection, settings: ExtractionSettings) -> None:
    """The work of a process: build the extractors, say so, then do one clip after another until told None."""
    prepare_process()
    # Where networks run elsewhere a worker has nothing to do with their device.
    extractors = (replace(settings, device="cpu") if settings.is_central else settings).build_extractors()
    if not settings.is_central:
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
    """Tells the parent that this process is at work, now and then."""

    def __init__(self, link: Connection) -> None:
        self._link, self._last = link, time.monotonic()

    def __call__(self) -> None:
        if time.monotonic() - self._last > PULSE_S:
            self._link.send(ALIVE)
            self._last = time.monotonic()


def send_message(link: Connection, message: Chunk | ClipDone | ClipFailed) -> None:
    """A message; a large array goes beside it, without being pickled."""
    if not isinstance(message, Chunk) or message.data.nbytes <= PICKLED_BYTES:
        link.send(message)
        return
    data = np.ascontiguousarray(message.data)
    link.send((message._replace(data=np.empty(0)), data.shape, data.dtype.str))
    link.send_bytes(data.reshape(-1).view(np.uint8).data)


def receive_message(link: Connection) -> Any:
    """What `send_message` sent.

    Raises:
        EOFError: if the sender is gone.
    """
    message = link.recv()
    if type(message) is tuple:
        piece, shape, dtype = message
        data = np.empty(shape, dtype)
        link.recv_bytes_into(data.reshape(-1).view(np.uint8).data)
        return piece._replace(data=data)
    return message
