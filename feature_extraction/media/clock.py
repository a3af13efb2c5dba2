"""One clock for a file: time stamps of its packets > times on the clip's clock, on which rows, labels and results lie.

In formats whose clock starts anywhere (`STARTING_AT_ZERO`) the clip starts at 0, as in every player. All others keep their own
times. A clock that goes back, as in files that were joined byte by byte, continues behind the end. One that leaps forward in a
broadcast stream continues there too, without the time that was left out; elsewhere only one that leaps by more than an hour.
"""

from __future__ import annotations

import contextlib
import math
from bisect import bisect_right, insort
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

STARTING_AT_ZERO = frozenset({"mpegts", "mpeg", "mpegvideo", "mp3", "aac", "flv"})
"""FFmpeg's names of formats whose clips start at 0, whatever their first time stamp."""
UNTIMED = frozenset({"h264", "hevc", "m4v", "h263", "mjpeg", "av1", "obu", "ac3", "eac3", "dts", "amr"})
"""Formats without time stamps, or without a length in their header."""
DURATION_IS_END = frozenset({"asf", "wtv"})
"""FFmpeg's names of formats whose durations of streams count from time 0, not from the stream's start."""
WITHOUT_STREAM_ENDS = frozenset({"matroska", "nut"})
"""Formats whose headers have one duration for the file: FFmpeg gives it to streams without a packet near the file's beginning."""
PAST_END_S = 10.0  # time stamps up to this far past the end in the file's header are trusted
BACKWARD_S = 0.5  # packets of a sound file are at most this far out of order
STAMP_S = 0.001  # time stamps that differ by less are equal: some containers round to milliseconds
FORWARD_S = 10.0  # a longer leap is a new clock, in a format whose clock may change; FFmpeg has the same limit
LONGEST_GAP_S = 3600.0  # in all other formats: a longer leap is no pause
NEAR_START_S = 1.0
HELD_S = 1.0  # a picture that is shown for longer is held
MOST_OFFSETS = 64  # a damaged file must not collect clocks without end
MOST_HELD = 64  # nor display times: frames wait for fewer others in a decoder
MOST_REORDERED = 16  # pictures that a decoder of H.264 or HEVC keeps for the right order
LISTED = 3


def format_names(container: Any) -> frozenset[str]:
    """FFmpeg's names of a container's format."""
    return frozenset(container.format.name.split(","))


def starts_at_zero(container: Any) -> bool:
    """Tell whether the container's format has a clock that starts anywhere, so that the clip starts at 0."""
    return bool(format_names(container) & STARTING_AT_ZERO)


def may_restart(container: Any) -> bool:
    """Tell whether a clock may start again on the way, as in joined files: the tables of an mp4 are those of one file."""
    return "mp4" not in format_names(container)


def has_reliable_header(container: Any) -> bool:
    """Tell whether the length in a container's header holds on the clip's clock."""
    return (container.duration or 0) > 0 and not format_names(container) & (STARTING_AT_ZERO | UNTIMED)


def stream_end_s(container: Any, stream: Any) -> float:
    """The end of a stream by the header, on the file's own clock, in seconds; 0 if unknown."""
    names = format_names(container)
    if not (stream.duration and stream.time_base) or names & WITHOUT_STREAM_ENDS:
        return 0.0
    start = 0 if names & DURATION_IS_END else stream.start_time or 0
    return float((start + stream.duration) * stream.time_base)


def header_end_s(container: Any) -> float:
    """The end of a file by its header, on the file's own clock, in seconds; 0 if unknown.

    FFmpeg's duration of an mp4 counts from the first frame or sample, and these may start late.
    """
    streams = (*container.streams.video, *container.streams.audio)
    return max(0.0, (container.duration or 0) / 1_000_000, *(stream_end_s(container, stream) for stream in streams))


def header_start_s(container: Any) -> float:
    """The first time of a file on the clip's clock, in seconds, never before 0."""
    return 0.0 if starts_at_zero(container) else max(0.0, (container.start_time or 0) / 1_000_000)


@dataclass(slots=True)
class _StreamClock:
    """The clock of one stream: seconds per unit of its time stamps, seconds to add to them, and the end of its last packet.

    The first packets of a picture with reordered frames may have a display time alone, which runs ahead of the decoding times
    that follow. The earliest of these times counts as their end.
    """

    unit_s: float
    offset_s: float
    end_s: float | None = None
    displayed: int = 0
    """Number of the newest packets that have a display time alone."""

    def reach(self, packet: Any, raw_s: float) -> None:
        """Take over the time of a packet."""
        time_s = raw_s + self.offset_s
        self.displayed = 0 if packet.dts is not None else self.displayed + 1
        if 0 < self.displayed <= MOST_REORDERED:
            self.end_s = time_s if self.end_s is None else min(self.end_s, time_s)
        else:
            self.end_s = time_s + (packet.duration or 0) * self.unit_s


class ClipClock:
    """Move the time stamps of a file's packets to the clip's clock.

    All packets of the picture and of the sound must be placed, in the file's order, if its clock `may_restart`: both streams
    share one clock.

    Args:
        container: the file, open at its beginning or at a place that was sought.

    Attributes:
        end_s: the end of the last packet so far.
        jumps: the time and the length of each jump that was taken out, in seconds.
    """

    def __init__(self, container: Any) -> None:
        self.restarts = starts_at_zero(container)
        self.end_s = 0.0
        self.jumps: list[tuple[float, float]] = []
        self._offsets = [-(container.start_time or 0) / 1_000_000 if self.restarts else 0.0]  # the newest is the last
        self._streams: dict[int, _StreamClock] = {}
        self._first_s: float | None = None  # the file's first time stamp
        self._header_end_s = header_end_s(container) if has_reliable_header(container) else 0.0

    def place(self, packet: Any) -> None:
        """Move a packet's time stamps to the clip's clock, and remove one that cannot be right."""
        pts, dts = packet.pts, packet.dts
        stamp = pts if dts is None else dts
        if stamp is None:
            return
        stream = self._streams.get(packet.stream_index)
        if stream is None:
            stream = _StreamClock(float(packet.time_base), self._offsets[-1])
            self._streams[packet.stream_index] = stream
        raw_s = stamp * stream.unit_s
        if self._first_s is None:
            self._first_s = raw_s
        if self._is_damaged(raw_s, stream):
            packet.pts = packet.dts = None
            return
        if not self._follows(raw_s, stream.offset_s, stream):
            self._change(raw_s, stream)
        offset = round(stream.offset_s / stream.unit_s) if stream.offset_s else 0
        if offset:
            packet.pts = None if pts is None else pts + offset
            packet.dts = None if dts is None else dts + offset
        stream.reach(packet, raw_s)
        last_s = raw_s if pts is None else max(raw_s, pts * stream.unit_s)
        self.end_s = max(self.end_s, last_s + stream.offset_s + (packet.duration or 0) * stream.unit_s)

    def _is_damaged(self, raw_s: float, stream: _StreamClock) -> bool:
        """Tell whether a time stamp lies far behind the end in the file's header, and behind all before it."""
        if stream.end_s is None or not self._header_end_s:
            return False
        return raw_s + stream.offset_s > max(self._header_end_s, self.end_s) + PAST_END_S

    def _follows(self, raw_s: float, offset_s: float, stream: _StreamClock) -> bool:
        """Tell whether a time stamp fits to the packets before it."""
        time_s = raw_s + offset_s
        if self.restarts:
            last_s = 0.0 if stream.end_s is None else stream.end_s
            return time_s - last_s >= -BACKWARD_S and time_s <= max(last_s, self.end_s) + FORWARD_S
        if stream.end_s is None:
            return True
        if time_s >= stream.end_s - BACKWARD_S:
            return time_s <= self.end_s + LONGEST_GAP_S
        # Elsewhere a single wrong time stamp is likelier than a second clip, unless all starts again.
        return abs(raw_s - (self._first_s or 0.0)) > NEAR_START_S

    def _change(self, raw_s: float, stream: _StreamClock) -> None:
        """Give a stream the clock that fits to a time stamp: one that the file had before, or a new one from its end on."""
        for offset_s in reversed(self._offsets):
            if offset_s != stream.offset_s and self._follows(raw_s, offset_s, stream):
                stream.offset_s = offset_s
                return
        jump_s = raw_s + stream.offset_s - self.end_s
        stream.offset_s = self.end_s - raw_s
        self.jumps.append((self.end_s, jump_s))
        self._offsets = [*self._offsets[-MOST_OFFSETS:], stream.offset_s]

    def problems(self) -> list[str]:
        """Describe the jumps that were taken out."""
        lines = [
            f"its clock goes back by {-jump_s:.2f} s at {at_s:.2f} s; the rest follows there"
            if jump_s < 0
            else f"its clock leaps by {jump_s:.2f} s at {at_s:.2f} s; that time is left out"
            for at_s, jump_s in self.jumps[:LISTED]
        ]
        more = len(self.jumps) - LISTED
        return [*lines, f"its clock changes {more} more times"] if more > 0 else lines


class HeldPictures:
    """The long display times that a file states, as spans of the clip's clock.

    A packet states the time until the next one in the order of decoding. Where frames are reordered, that is the display time of
    the frame that appears at the packet's decoding time, not of its own frame. A packet without a decoding time states that of
    its own.

    Attributes:
        stated_until_s: the end of the display times that packets have stated, long or short.

    >>> held = HeldPictures()
    >>> held.add(2.0, 10.0)
    >>> held.left_s(2.04), held.left_s(10.0)
    (7.96, 0.0)
    """

    def __init__(self) -> None:
        self._spans_s: list[tuple[float, float]] = []  # ascending
        self.stated_until_s = -math.inf

    def note(self, packet: Any) -> None:
        """Note the display time that a packet of the picture states."""
        stamp = packet.pts if packet.dts is None else packet.dts
        if stamp is not None and packet.duration:
            begin_s = float(stamp * packet.time_base)
            self.add(begin_s, begin_s + float(packet.duration * packet.time_base))

    def add(self, begin_s: float, end_s: float) -> None:
        """Note a display time; only a long one is kept."""
        self.stated_until_s = max(self.stated_until_s, end_s)
        if end_s - begin_s > HELD_S:
            insort(self._spans_s, (begin_s, end_s))

    def left_s(self, time_s: float) -> float:
        """Return for how long the frame of a time is held; 0 if no long display time is stated for it."""
        later = bisect_right(self._spans_s, (time_s + STAMP_S, math.inf))
        left_s = self._spans_s[later - 1][1] - time_s if later else 0.0
        return left_s if left_s > STAMP_S else 0.0

    def drop_before(self, time_s: float) -> None:
        """Forget the spans that end before a time, and all but the latest `MOST_HELD`."""
        self._spans_s = [span for span in self._spans_s[-MOST_HELD:] if span[1] > time_s]


class FrameTime(NamedTuple):
    """The time of a frame, from its packet.

    Attributes:
        time_s: the time when it appears.
        duration_s: its display time; None if unknown.
        is_discarded: true for a frame that the file's edit list cuts off.
    """

    time_s: float
    duration_s: float | None
    is_discarded: bool


def frame_times(container: Any, streams: Sequence[Any], picture: Any) -> list[FrameTime] | None:
    """Read the times of all frames from their packets, without decoding, in the order of time.

    Args:
        container: the file, open at its beginning.
        streams: its picture and its sound, for their common clock.
        picture: the picture.

    Returns:
        The times; None if a frame has none.
    """
    clock, held = ClipClock(container), HeldPictures()
    times: list[FrameTime] = []
    with contextlib.suppress(Exception):
        for packet in container.demux(*streams):
            clock.place(packet)
            if packet.stream_index != picture.index or not packet.size:
                continue
            if packet.pts is None:
                return None
            held.note(packet)
            duration_s = float(packet.duration * packet.time_base) if packet.duration else None
            times.append(FrameTime(float(packet.pts * packet.time_base), duration_s, packet.is_discard))
    return sorted((_with_own_duration(frame, held) for frame in times), key=lambda frame: frame.time_s)


def _with_own_duration(frame: FrameTime, held: HeldPictures) -> FrameTime:
    """Return a frame with the long display time that is stated for it, and without one that is another frame's."""
    if left_s := held.left_s(frame.time_s):
        return frame._replace(duration_s=left_s)
    return frame._replace(duration_s=None) if (frame.duration_s or 0.0) > HELD_S else frame


def scan_end_s(container: Any, streams: Sequence[Any], pulse: Callable[[], object] | None = None) -> float:
    """Find the end of a file on the clip's clock by reading its packets, without decoding.

    Args:
        container: the file, open at its beginning.
        streams: its picture and its sound.
        pulse: called with each packet.
    """
    clock, untimed_s = ClipClock(container), 0.0
    for packet in _placed_packets(clock, container.demux(*streams) if streams else ()):
        if packet.pts is None and packet.dts is None and packet.stream_index == streams[0].index and packet.size:
            untimed_s += float((packet.duration or 0) * packet.time_base)
        if pulse is not None:
            pulse()
    return max(clock.end_s, untimed_s)


def _placed_packets(clock: ClipClock, packets: Iterable[Any]) -> Iterator[Any]:
    """Place packets on a clock; a damaged file ends at its last readable packet."""
    with contextlib.suppress(Exception):
        for packet in packets:
            clock.place(packet)
            yield packet
