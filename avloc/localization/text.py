"""A localization as text for other programs and for people: csv, WebVTT subtitles, Audacity labels, a one-line verdict."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

from avloc.io.cells import quote_cell
from avloc.localization.segment import by_time

if TYPE_CHECKING:
    from avloc.localization.result import Localization

CSV_FIELDS = ("file", "start", "end", "score", "modality", "audio_score", "visual_score")
LIKELY_FORGED = 0.5  # the lowest probability that is called "likely"
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
    """State in one phrase whether the clip is likely forged, with the probability, or the strongest score if uncalibrated.

    >>> from avloc.core.proposals import Proposals
    >>> from avloc.core.timeline import TimeGrid
    >>> from avloc.localization.result import Localization
    >>> import numpy as np
    >>> probabilities = {"clip": 0.62, "audio": 0.05, "visual": 0.6}
    >>> empty = Proposals.empty(), TimeGrid(0.0, 0.04, 1), np.zeros((1, 2), np.float32)
    >>> verdict(Localization("clip.mp4", 0.04, *empty, (), probabilities, calibrated=True))
    'likely forged (probability 0.62; visual 0.60, audio 0.05)'
    >>> verdict(Localization("clip.mp4", 0.04, *empty, (), probabilities, calibrated=False))
    'strongest score 0.62 (visual 0.60, audio 0.05)'
    """
    clip, visual, audio = (probability_text(localization, key) for key in ("clip", "visual", "audio"))
    if localization.calibrated:
        return f"{likelihood(localization)} (probability {clip}; visual {visual}, audio {audio})"
    return f"strongest score {clip} (visual {visual}, audio {audio})"


def likelihood(localization: Localization) -> str:
    """Return the words for a calibrated probability of the clip."""
    return "likely forged" if localization.probabilities["clip"] >= LIKELY_FORGED else "not clearly forged"


def probability_text(localization: Localization, key: str) -> str:
    """Format the probability of the clip or of a modality; `NOT_DECODED` for a modality that the clip lacks."""
    return NOT_DECODED if localization.lacks(key) else f"{localization.probabilities.get(key, 0.0):.2f}"


def _timestamp(seconds: float) -> str:
    """Format seconds as hh:mm:ss.mmm."""
    milliseconds = round(1000 * seconds)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}.{rest % 1000:03d}"
