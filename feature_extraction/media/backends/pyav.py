"""Packets of an open file > frames and samples for their consumers, by PyAV."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from avloc.feature_extraction.media.clock import ClipClock, has_reliable_header, may_restart
from avloc.feature_extraction.media.probe import Tracks, error_reason
from avloc.feature_extraction.media.sampling import FrameSampler, SampleCollector

SEEK_BACK_S = 1.0  # decoders of sound need a little run-up
Consumer = FrameSampler | SampleCollector
"""What takes the frames of a stream."""


def can_seek(container: Any) -> bool:
    """Tell whether `seek` goes to a place in a file; if not, the file is decoded from its beginning.

    In a transport stream FFmpeg goes to a packet, not to a key frame, and the picture would start much later. In sound files
    without an index, times behind the place are estimates.
    """
    return has_reliable_header(container)


def seek(container: Any, start_s: float) -> None:
    """Go to the last key frame before the start; frames between the two are decoded and left out."""
    import av

    if start_s > SEEK_BACK_S and can_seek(container):
        try:
            container.seek(int((start_s - SEEK_BACK_S) * 1_000_000))
        except (av.error.FFmpegError, OSError, OverflowError):
            return  # a file without an index is read from its beginning


def decode_packets(
    container: Any, tracks: Tracks, consumers: Mapping[int, Consumer], clock: ClipClock, problems: list[str]
) -> Iterator[None]:
    """Decode packet by packet; yields after each.

    Args:
        container: the open file.
        tracks: its picture and its sound.
        consumers: by the number of a stream.
        clock: the clip's.
        problems: damages are added.
    """
    if not consumers:
        return
    streams = [stream for stream in tracks.selected if stream.index in consumers]
    for stream in streams:
        stream.thread_type = "NONE"  # jobs run one process per core; threads would only compete for them
    if may_restart(container):  # only both streams together tell where their clock restarts
        streams = tracks.selected
    damaged: list[str] = []
    try:
        for packet in _packets(container, streams, problems):
            clock.place(packet)
            consumer = consumers.get(packet.stream_index)
            if consumer is not None:
                reason = _decode_packet(packet, consumer)
                if reason is not None:
                    damaged.append(reason)
                    consumer.damage = consumer.damage or reason
            yield
    finally:  # also if the caller has enough
        if damaged:
            problems.append(f"{_packets_were(len(damaged))} left out ({damaged[0]})")
        flawed = sum(consumer.flawed for consumer in consumers.values())
        if flawed:
            problems.append(f"{_packets_were(flawed)} decoded as far as possible")


def _packets_were(count: int) -> str:
    return "1 damaged packet was" if count == 1 else f"{count} damaged packets were"


def _packets(container: Any, streams: Sequence[Any], problems: list[str]) -> Iterator[Any]:
    """Read packets up to the end or the first error, and add the error to `problems`."""
    packets = container.demux(*streams)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except Exception as error:  # FFmpeg's dozens of errors, and PyAV's own
            problems.append(f"reading stopped early ({error_reason(error)})")
            return
        yield packet


def _decode_packet(packet: Any, consumer: Consumer) -> str | None:
    """Decode a packet for its consumer; returns the reason if it is damaged."""
    import av

    if isinstance(consumer, FrameSampler):
        consumer.note(packet)
    try:
        frames = packet.decode()
    except Exception as error:  # as in `_packets`
        consumer.lose(_time_s(packet))
        return error_reason(error)
    is_before = (
        _time_s(packet) or 0.0
    ) < consumer.from_s  # without its key frame, a frame before a span is never whole
    consumer.flawed += not is_before and (packet.is_corrupt or any(frame.is_corrupt for frame in frames))
    try:
        for frame in frames:
            if isinstance(frame, av.VideoFrame) != isinstance(consumer, FrameSampler):
                return "a frame of another kind"  # a damaged stream may change its codec on the way
            consumer.push_av(frame)
    except (av.error.FFmpegError, ValueError, ArithmeticError) as error:  # a format that cannot be converted
        consumer.lose(_time_s(packet))
        return error_reason(error)
    return None


def _time_s(packet: Any) -> float | None:
    return None if packet.pts is None else float(packet.pts * packet.time_base)
