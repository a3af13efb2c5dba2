"""A localization as text for other programs and for people: csv, WebVTT subtitles, Audacity labels, lines for the terminal."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from avloc.errors import shown
from avloc.io.cells import quote_cell
from avloc.localization.segment import by_time

if TYPE_CHECKING:
    from avloc.core.descriptions import NetworkDescription
    from avloc.localization.result import Localization

CSV_FIELDS = ("file", "start", "end", "score", "modality", "audio_score", "visual_score", "verdict")
SHOWN_DIGITS = 12  # of a hash
NOT_JUDGED = "–"


def csv_text(localization: Localization, threshold: float) -> str:
    """Format one row per segment, by time; each names the file, so that the tables of several clips can be joined.

    Without an operating point there is no verdict, and a stream that was not judged has no score: the cells are empty.
    """
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, CSV_FIELDS, lineterminator="\n")
    writer.writeheader()
    segments = by_time(localization.segments(threshold))
    writer.writerows({"file": quote_cell(localization.file), **segment.to_dict()} for segment in segments)
    return buffer.getvalue()


def vtt_text(localization: Localization, threshold: float) -> str:
    """Format a subtitle track (W3C, "WebVTT", 2019): one cue per segment, which players show while the segment lasts."""
    cues = [
        f"{number}\n{_timestamp(segment.start_s)} --> {_timestamp(max(segment.end_s, segment.start_s + 0.001))}\n"
        f"{segment.label}\n"
        for number, segment in enumerate(by_time(localization.segments(threshold)), 1)
    ]
    return "\n".join(["WEBVTT\n", *cues])


def audacity_text(localization: Localization, threshold: float) -> str:
    """Format an Audacity label track: start, end and text, separated by tabs."""
    return "".join(
        f"{segment.start_s:.6f}\t{segment.end_s:.6f}\t{segment.label}\n"
        for segment in by_time(localization.segments(threshold))
    )


def verdict_text(localization: Localization) -> str:
    """State in one phrase whether the clip is likely forged (`Localization.verdict`), with the numbers behind it.

    >>> from avloc.core.descriptions import NetworkDescription
    >>> from avloc.core.proposals import Proposals
    >>> from avloc.core.timeline import TimeGrid
    >>> from avloc.localization.result import Localization
    >>> import numpy as np
    >>> probabilities = {"clip": 0.62, "audio": 0.05, "visual": 0.6}
    >>> empty = Proposals.empty(), TimeGrid(0.0, 0.04, 1), np.zeros((1, 2), np.float32)
    >>> verdict_text(Localization("clip.mp4", 0.04, *empty, (), probabilities, calibrated=True))
    'likely forged (probability 0.62; visual 0.60, audio 0.05)'
    >>> network = NetworkDescription("avloc-av", threshold=0.7)
    >>> verdict_text(Localization("clip.mp4", 0.04, *empty, (), probabilities, calibrated=True, network=network))
    'not clearly forged (strongest score 0.00, threshold 0.70; probability 0.62; visual 0.60, audio 0.05)'
    >>> verdict_text(Localization("clip.mp4", 0.04, *empty, (), probabilities, calibrated=False))
    'strongest score 0.62 (visual 0.60, audio 0.05)'
    """
    clip, visual, audio = (probability_text(localization, key) for key in ("clip", "visual", "audio"))
    streams, operating = f"visual {visual}, audio {audio}", operating_text(localization)
    if localization.verdict is None:
        return f"strongest score {clip} ({streams})"
    numbers = [operating, f"probability {clip}" if localization.calibrated else "", streams]
    return f"{localization.verdict} ({'; '.join(filter(None, numbers))})"


def summary_line(localization: Localization, threshold: float) -> str:
    """Format one line for a clip of many."""
    count = len(localization.segments(threshold))
    remarks = f" ({'; '.join(notes(localization))})" if notes(localization) else ""
    text = f"{verdict_text(localization)}; {count} segment{'s' * (count != 1)} of {threshold:g} or more{remarks}"
    return shown(f"{localization.file}: {text}")


def report(localization: Localization, threshold: float, paths: Sequence[Path]) -> str:
    """Format the verdict, the problems and the segments of a single clip.

    Args:
        localization: the clip's localization.
        threshold: the lowest score of a segment.
        paths: the output files.
    """
    segments = by_time(localization.segments(threshold))
    lines = [
        f"{localization.file}: {localization.duration_s:.2f} s, {len(segments)} segment{'s' * (len(segments) != 1)} "
        f"with a score of {threshold:g} or more → {', '.join(map(str, paths))}",
        f"  {verdict_text(localization)}",
        *(f"  network: {network_text(network)}" for network in (localization.network,) if network is not None),
        *(f"  note: {note}" for note in notes(localization)),
        *(
            f"  {segment.start_s:8.2f} – {segment.end_s:8.2f} s   score {segment.score:.2f}   {segment.modality_label:16}   "
            f"{segment.verdict or ''}".rstrip()
            for segment in segments
        ),
    ]
    return "\n".join(map(shown, lines))


def operating_text(localization: Localization) -> str:
    """Format the strongest score beside the network's operating point; empty without one."""
    if localization.operating_point is None:
        return ""
    strongest = localization.strongest()
    score = 0.0 if strongest is None else strongest.score
    return f"strongest score {score:.2f}, threshold {localization.operating_point:.2f}"


def notes(localization: Localization) -> list[str]:
    """List what a reader must know beside the scores: the problems, and the reason for each stream that was not judged."""
    reasons = [
        f"{modality} not judged: {reason}"
        for modality, reason in localization.unjudged.items()
        if not {*reason.split("; ")} <= {*localization.problems}  # which give it already
    ]
    return [*localization.problems, *reasons]


def network_text(network: NetworkDescription) -> str:
    """State in one phrase which network it was, and on what it was trained.

    >>> from avloc.core.descriptions import NetworkDescription
    >>> network_text(NetworkDescription("avloc-av", "3", "2026-11-26", "drawn faces", "1f2e" * 16))
    'avloc-av 3 (2026-11-26, sha256 1f2e1f2e1f2e), trained only on drawn faces'
    >>> network_text(NetworkDescription("BATFD"))
    'BATFD'
    """
    origin = [network.date, f"sha256 {network.sha256[:SHOWN_DIGITS]}" if network.sha256 else ""]
    text = " ".join(filter(None, [network.name, network.version]))
    text += f" ({', '.join(filter(None, origin))})" if any(origin) else ""
    return f"{text}, trained only on {network.scope}" if network.scope else text


def probability_text(localization: Localization, key: str) -> str:
    """Format the probability of the clip or of a modality; `NOT_JUDGED` for what was not judged."""
    probability = localization.probabilities.get(key)
    return NOT_JUDGED if probability is None else f"{probability:.2f}"


def _timestamp(seconds: float) -> str:
    """Format seconds as hh:mm:ss.mmm."""
    milliseconds = round(1000 * seconds)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}.{rest % 1000:03d}"
