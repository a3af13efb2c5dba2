"""A localization as text for other programs and for people: csv, WebVTT subtitles, Audacity labels, a one-line verdict."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

from avloc.io.cells import quote_cell
from avloc.localization.segment import by_time

if TYPE_CHECKING:
    from avloc.core.descriptions import NetworkDescription
    from avloc.localization.result import Localization

CSV_FIELDS = ("file", "start", "end", "score", "modality", "audio_score", "visual_score")
LIKELY_FORGED = 0.5  # the lowest probability that is called "likely", without an operating point
SHOWN_DIGITS = 12  # of a hash
NOT_DECODED = "–"


def csv_text(localization: Localization, threshold: float) -> str:
    """Format one row per segment, by time; each names the file, so that the tables of several clips can be joined."""
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
        f"likely forged: {segment.modality_label} (score {segment.score:.2f})\n"
        for number, segment in enumerate(by_time(localization.segments(threshold)), 1)
    ]
    return "\n".join(["WEBVTT\n", *cues])


def audacity_text(localization: Localization, threshold: float) -> str:
    """Format an Audacity label track: start, end and text, separated by tabs."""
    return "".join(
        f"{segment.start_s:.6f}\t{segment.end_s:.6f}\tlikely forged: {segment.modality_label} (score {segment.score:.2f})\n"
        for segment in by_time(localization.segments(threshold))
    )


def verdict(localization: Localization) -> str:
    """State in one phrase whether the clip is likely forged, with the numbers behind it.

    With an operating point, the strongest score decides; without one, the probability; without calibration, nothing is decided.

    >>> from avloc.core.descriptions import NetworkDescription
    >>> from avloc.core.proposals import Proposals
    >>> from avloc.core.timeline import TimeGrid
    >>> from avloc.localization.result import Localization
    >>> import numpy as np
    >>> probabilities = {"clip": 0.62, "audio": 0.05, "visual": 0.6}
    >>> empty = Proposals.empty(), TimeGrid(0.0, 0.04, 1), np.zeros((1, 2), np.float32)
    >>> verdict(Localization("clip.mp4", 0.04, *empty, (), probabilities, calibrated=True))
    'likely forged (probability 0.62; visual 0.60, audio 0.05)'
    >>> network = NetworkDescription("avloc-av", threshold=0.7)
    >>> verdict(Localization("clip.mp4", 0.04, *empty, (), probabilities, calibrated=True, network=network))
    'not clearly forged (strongest score 0.00, threshold 0.70; probability 0.62; visual 0.60, audio 0.05)'
    >>> verdict(Localization("clip.mp4", 0.04, *empty, (), probabilities, calibrated=False))
    'strongest score 0.62 (visual 0.60, audio 0.05)'
    """
    clip, visual, audio = (probability_text(localization, key) for key in ("clip", "visual", "audio"))
    streams, operating = f"visual {visual}, audio {audio}", operating_text(localization)
    if likelihood(localization) is None:
        return f"strongest score {clip} ({streams})"
    numbers = [operating, f"probability {clip}" if localization.calibrated else "", streams]
    return f"{likelihood(localization)} ({'; '.join(filter(None, numbers))})"


def likelihood(localization: Localization) -> str | None:
    """Return the words for a clip's strongest score or calibrated probability; None if nothing decides."""
    if localization.network is not None and localization.network.threshold is not None:
        is_forged = strongest_score(localization) >= localization.network.threshold
    elif localization.calibrated:
        is_forged = localization.probabilities["clip"] >= LIKELY_FORGED
    else:
        return None
    return "likely forged" if is_forged else "not clearly forged"


def strongest_score(localization: Localization) -> float:
    """Return the highest score of a clip's segments; 0 without segments."""
    scores = localization.proposals.scores
    return float(scores[0]) if len(scores) else 0.0


def operating_text(localization: Localization) -> str:
    """Format the strongest score beside the network's operating point; empty without one."""
    if localization.network is None or localization.network.threshold is None:
        return ""
    return f"strongest score {strongest_score(localization):.2f}, threshold {localization.network.threshold:.2f}"


def network_text(network: NetworkDescription) -> str:
    """State in one phrase which network it was, and what it knows.

    >>> from avloc.core.descriptions import NetworkDescription
    >>> network_text(NetworkDescription("avloc-av", "3", "2026-11-26", "generated and re-voiced speech", "1f2e" * 16))
    'avloc-av 3 (2026-11-26, sha256 1f2e1f2e1f2e), which knows generated and re-voiced speech only'
    >>> network_text(NetworkDescription("BATFD"))
    'BATFD'
    """
    origin = [network.date, f"sha256 {network.sha256[:SHOWN_DIGITS]}" if network.sha256 else ""]
    text = " ".join(filter(None, [network.name, network.version]))
    text += f" ({', '.join(filter(None, origin))})" if any(origin) else ""
    return f"{text}, which knows {network.scope} only" if network.scope else text


def probability_text(localization: Localization, key: str) -> str:
    """Format the probability of the clip or of a modality; `NOT_DECODED` for a modality that the clip lacks."""
    return NOT_DECODED if localization.lacks(key) else f"{localization.probabilities.get(key, 0.0):.2f}"


def _timestamp(seconds: float) -> str:
    """Format seconds as hh:mm:ss.mmm."""
    milliseconds = round(1000 * seconds)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}.{rest % 1000:03d}"
