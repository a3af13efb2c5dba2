"""A file > windows of a network's inputs, decoded as they are consumed, in flat memory for a file of any length.

Audio and video are read apart, each only as far as it is needed. So neither waits in memory for the other, however the file
interleaves them.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from avloc.core.records import MODALITIES
from avloc.core.timeline import Segment, TimeGrid
from avloc.errors import MediaError
from avloc.feature_extraction.extractors.base import Extractor, Features, check_rows, gap_rows
from avloc.feature_extraction.media.types import Clip

if TYPE_CHECKING:
    from avloc.datasets.examples.example import Example


class Windowing(NamedTuple):
    """The layout of windows: `size` steps each (None: one window for all), of which neighbours share `overlap`."""

    size: int | None
    overlap: int = 0


LATE_S = 10.0  # streams that start later than this are taken to have a clock of their own
Observer = Callable[[Clip], object]
"""Called with each decoded part."""


class Window(NamedTuple):
    """A part of a clip as a network takes it, on the file's own time.

    Attributes:
        example: its inputs.
        begin: its first step on the clip's clock.
        last: whether the clip ends in it.
    """

    example: Example
    begin: int
    last: bool


class StreamConsumer(Protocol):
    """Receives decoded parts, and buffers the rows made from them until they are dropped."""

    @property
    def start_s(self) -> float | None:
        """Start of the first row; None before any part came."""

    @property
    def end_s(self) -> float:
        """End of the last row; -inf before any."""

    def push(self, part: Clip) -> None:
        """Consume the next part."""

    def finish(self) -> None:
        """Flush: the stream has ended."""

    def drop_before(self, before_s: float) -> None:
        """Drop the rows that end before `before_s`; they will not be read again."""


class RowBuffer:
    """A buffer of consecutive rows at a fixed rate; the oldest can be dropped.

    Args:
        hop_s: seconds per row.
    """

    def __init__(self, hop_s: float) -> None:
        self.hop_s = hop_s
        self.start_s: float | None = None
        self._parts: list[npt.NDArray[Any]] = []
        self._first = 0  # number of the first row in the buffer
        self._count = 0

    @property
    def end_s(self) -> float:
        """End of the last row; -inf while empty."""
        return -math.inf if self.start_s is None else self.start_s + self._count * self.hop_s

    def add(self, rows: npt.NDArray[Any]) -> None:
        """Append rows (N, …)."""
        if len(rows):
            self._parts.append(rows)
            self._count += len(rows)

    def between(self, low_s: float, high_s: float) -> tuple[npt.NDArray[Any], float]:
        """Return the rows that overlap [low_s, high_s), and the start of the first; an empty array if none does."""
        if self.start_s is None or not self._parts:
            return np.zeros((0,)), low_s
        low = self._number(low_s, math.floor)
        high = max(low, self._number(high_s, math.ceil))
        rows, at = [], self._first
        for part in self._parts:
            rows.append(part[max(0, low - at) : max(0, high - at)])
            at += len(part)
        return np.concatenate(rows), self.start_s + low * self.hop_s

    def drop_before(self, before_s: float) -> None:
        """Drop whole parts that end before `before_s`, but keep one row before it for interpolation."""
        if self.start_s is None or not self._parts:
            return
        keep = self._number(before_s, math.floor) - 1
        while self._parts and self._first + len(self._parts[0]) <= keep:
            self._first += len(self._parts.pop(0))

    def _number(self, at_s: float, rounded: Callable[[float], int]) -> int:
        assert self.start_s is not None
        exact = (at_s - self.start_s) / self.hop_s if math.isfinite(at_s) else math.copysign(2**62, at_s)
        near = round(exact)
        number = near if abs(exact - near) < 1e-6 else rounded(exact)
        return min(max(number, self._first), self._count)


class FeatureBuffer(RowBuffer):
    """The features of one extractor, extracted as parts come.

    Args:
        extractor: the extractor.
    """

    def __init__(self, extractor: Extractor) -> None:
        super().__init__(extractor.hop_s)
        self.extractor, self._cutter = extractor, extractor.window_cutter()
        self._path = Path()  # of the clip
        self._gaps: list[Segment] = []  # of the clip, shared by its parts

    def push(self, part: Clip) -> None:
        """Consume the next part."""
        data = self.extractor.select_stream(part)
        if data is None or not len(data):
            return
        if self.start_s is None:
            self.start_s, self._path = self.extractor.first_row_start_s(part), part.path
            self._gaps = self.extractor.stream_gaps(part)
        self._extract(self._cutter.push(data))

    def finish(self) -> None:
        """Flush: the stream has ended."""
        self._extract(self._cutter.finish())

    def _extract(self, windows: Iterator[Any]) -> None:
        for window in windows:
            rows = self.extractor.window_rows(window)
            check_rows(self._path, self.extractor, rows)
            self.add(rows)

    def features(self, low_s: float, high_s: float) -> Features:
        """Return the features that cover [low_s, high_s), with one more row on each side to interpolate from."""
        rows, start_s = self.between(low_s - self.hop_s, high_s + self.hop_s)
        if not len(rows):
            return self.extractor.empty_features()
        grid = TimeGrid(start_s, self.hop_s, len(rows))
        return Features(rows, grid, gap_rows(self._gaps, grid))


class RawBuffer(RowBuffer):
    """Frames or samples, unchanged.

    Args:
        get: selects the frames or samples of a part; None if it has none.
        start: the start of these, in seconds.
        hop_s: seconds per frame or sample.
        largest_bytes: limit of the buffer, past which `push` raises a MediaError; None: no limit.
    """

    def __init__(
        self,
        get: Callable[[Clip], npt.NDArray[Any] | None],
        start: Callable[[Clip], float],
        hop_s: float,
        largest_bytes: int | None = None,
    ) -> None:
        super().__init__(hop_s)
        self._get, self._start, self._largest = get, start, largest_bytes

    def push(self, part: Clip) -> None:
        """Consume the next part."""
        data = self._get(part)
        if data is None or not len(data):
            return
        if self.start_s is None:
            self.start_s = self._start(part)
        self.add(data)
        if self._largest is not None and sum(rows.nbytes for rows in self._parts) > self._largest:
            raise MediaError(f"{part.path}: its frames do not fit into memory at once, cut it into parts")

    def finish(self) -> None:
        """Flush: the stream has ended."""


class Track:
    """The video or the audio of a file, decoded only as far as it is needed.

    Args:
        parts: the decoded parts.
        consumers: receive each part.
        observe: called with each part.

    Attributes:
        ended: whether all parts have come.
        problems: decoding problems; complete once the track has ended.
        gaps: spans in which nothing was decoded, by modality, as far as the parts have come.
        decoded_s: start and end of the decoded stretch; None before the first part.
        error: the error if nothing could be decoded.
    """

    def __init__(
        self, parts: Iterator[Clip], consumers: Sequence[StreamConsumer], observe: Observer | None = None
    ) -> None:
        self._parts, self.consumers, self._observe = parts, consumers, observe
        self.ended = False
        self.problems: list[str] = []
        self.gaps: dict[str, list[Segment]] = {modality: [] for modality in MODALITIES}
        self.decoded_s: tuple[float, float] | None = None
        self.error: MediaError | None = None

    def decode_until(self, until_s: float) -> None:
        """Decode until every consumer has rows up to `until_s`, or the track ends."""
        while not self.ended and min((t.end_s for t in self.consumers), default=-math.inf) < until_s:
            try:
                part = next(self._parts, None)
            except MediaError as error:
                self.error, part = error, None
            if part is None:
                self.ended = True
                for consumer in self.consumers:
                    consumer.finish()
                return
            self.problems, self.gaps = part.problems, part.gaps
            if part.duration_s:
                start_s = part.video_start_s if part.frames else part.audio_start_s
                self.decoded_s = (start_s if self.decoded_s is None else self.decoded_s[0], part.duration_s)
            if self._observe is not None:
                self._observe(part)
            for consumer in self.consumers:
                consumer.push(part)

    @property
    def start_s(self) -> float:
        """Start of the earliest row of all consumers; inf if none has any."""
        return min((t.start_s for t in self.consumers if t.start_s is not None), default=math.inf)

    @property
    def end_s(self) -> float:
        """End of the latest row of all consumers; -inf if none has any."""
        return max((t.end_s for t in self.consumers), default=-math.inf)

    def drop_before(self, before_s: float) -> None:
        """Drop the rows that end before `before_s`; they will not be read again."""
        for consumer in self.consumers:
            consumer.drop_before(before_s)


def decoding_problems(tracks: Sequence[Track], name: str) -> list[str]:
    """List the decoding problems of tracks that have ended, without repeats.

    Args:
        tracks: of a clip.
        name: of the clip, for the error.

    Raises:
        MediaError: if nothing could be decoded.
    """
    errors = [track.error for track in tracks if track.error is not None]
    if tracks and all(track.start_s == math.inf for track in tracks):
        texts = [p for track in tracks for p in track.problems]
        reason = "; ".join(dict.fromkeys(texts)) or "nothing could be decoded"
        raise errors[0] if errors else MediaError(f"{name}: {reason}")
    problems = [*(p for track in tracks for p in track.problems), *(str(error) for error in errors)]
    return list(dict.fromkeys(problems))


def windows_of(
    tracks: Sequence[Track],
    windowing: Windowing,
    *,
    name: str,
    hop_s: float,
    start_s: float | None,
    margin_s: float,
    end_s: Callable[[], float],
    example_at: Callable[[TimeGrid], Example],
) -> Iterator[Window]:
    """Decode tracks as far as needed, and yield one window after another.

    Args:
        tracks: the tracks of the file.
        windowing: size and overlap of the windows.
        name: of the clip, for errors.
        hop_s: seconds per step.
        start_s: start of the clip's clock, unless the earlier track starts much later; None: the start of that track.
        margin_s: seconds past a window that must be decoded before it is known not to be the last one.
        end_s: the end of the clip; called once all tracks have ended.
        example_at: makes the inputs on a clock.

    Raises:
        MediaError: if nothing can be decoded.
    """
    for track in tracks:
        track.decode_until(-sys.float_info.max)  # to its first part
    first_s = min(track.start_s for track in tracks)
    if start_s is None:
        start_s = first_s
    elif (
        LATE_S < first_s - start_s < math.inf
    ):  # e.g. the clock of a longer recording: skip the time before the streams
        start_s += math.floor((first_s - start_s) / hop_s) * hop_s
    begin, last = 0, False
    while not last:
        size = windowing.size
        for track in tracks:
            track.decode_until(math.inf if size is None else start_s + (begin + size) * hop_s + margin_s)
        if all(track.ended for track in tracks):
            decoding_problems(tracks, name)
            length = TimeGrid.covering(end_s() - start_s, hop_s).length - begin
            size, last = (length, True) if size is None or length <= size else (size, False)
        assert size is not None
        yield Window(example_at(TimeGrid(start_s + begin * hop_s, hop_s, size)), begin, last)
        begin += size - windowing.overlap
        for track in tracks:
            track.drop_before(start_s + begin * hop_s)
