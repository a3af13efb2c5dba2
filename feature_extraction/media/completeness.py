"""Truncated files: the ends that the header claims, compared with the decoded ends and with the file's size."""

from __future__ import annotations

import re
from typing import Any

from avloc.feature_extraction.media.clock import format_names, has_reliable_header, header_end_s, stream_end_s

SHORT_S = 0.25  # streams may end that much before the time in their header: encoders pad, and containers round
IS_SHORT = "its header claims"  # in the lines of `describe_shortfalls`, and in no other problem
WHOLE_CLIP = "clip"
KINDS = {"audio": "audio", "visual": "visual stream", WHOLE_CLIP: "clip"}
_CLOCK = re.compile(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)")


def claimed_ends_s(container: Any, streams: dict[str, Any]) -> dict[str, float]:
    """Read the ends of streams that a file's header claims, in seconds on the clip's clock.

    Args:
        container: the open file.
        streams: PyAV's streams by modality; None for a missing one.

    Returns:
        By modality, without streams whose end the header does not have, or estimates. If it has none of them, but a length, and
        these are all streams of the file: the end of the later one, as `WHOLE_CLIP`.
    """
    if not has_reliable_header(container) and "flv" not in format_names(container):
        return {}
    present = {modality: stream for modality, stream in streams.items() if stream is not None}
    ends = {name: end_s for name, stream in present.items() if (end_s := _claimed_end_s(container, stream))}
    if not ends and len(container.streams.video) + len(container.streams.audio) == len(present):
        return {WHOLE_CLIP: header_end_s(container)}
    return ends


def _claimed_end_s(container: Any, stream: Any) -> float:
    """The end of a stream by its header, or by the tag that Matroska files have; 0 if unknown."""
    if end_s := stream_end_s(container, stream):
        return end_s
    tag = _CLOCK.match(stream.metadata.get("DURATION", ""))
    return 0.0 if tag is None else 3600.0 * int(tag[1]) + 60.0 * int(tag[2]) + float(tag[3])


def describe_shortfalls(claimed_s: dict[str, float], decoded_s: dict[str, float], end_s: float) -> list[str]:
    """Describe the streams that end before the time in their header.

    Args:
        claimed_s: by modality, the end in the header.
        decoded_s: by modality, the end of the decoded data; streams without any are left out.
        end_s: the end of the requested part.

    >>> describe_shortfalls({"audio": 10.0, "visual": 4.0}, {"audio": 3.9, "visual": 3.96}, 60.0)
    ['the audio ends at 3.90 s, its header claims 10.00 s']
    """
    if decoded_s:
        decoded_s = {**decoded_s, WHOLE_CLIP: max(decoded_s.values())}
    return [
        f"the {KINDS[modality]} ends at {decoded:.2f} s, {IS_SHORT} {claimed_s[modality]:.2f} s"
        for modality, decoded in decoded_s.items()
        if min(claimed_s.get(modality, 0.0), end_s) > decoded + SHORT_S
    ]


def missing_bytes(container: Any) -> int:
    """Count the bytes past the file's end that the header's tables refer to; 0 for a format without such tables.

    Args:
        container: the open file.
    """
    ends = (entry.pos + entry.size for stream in container.streams for entry in stream.index_entries)
    return max(0, max(ends, default=0) - container.size)
