"""A localization as text that other programs read: csv, subtitles (WebVTT), labels (Audacity)."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from avloc.localization.result import Localization

NAMES = {"audio": "sound", "visual": "picture", "both": "sound and picture"}


def csv_text(found: Localization, threshold: float) -> str:
    """A row per segment, in order of time; with the file's name, so that tables of several clips can be joined."""
    buffer = io.StringIO()
    fields = ["file", "start", "end", "score", "modality", "audio_score", "visual_score"]
    writer = csv.DictWriter(buffer, fields, lineterminator="\n")
    writer.writeheader()
    writer.writerows({"file": found.file, **row} for row in _by_time(found, threshold))
    return buffer.getvalue()


def vtt_text(found: Localization, threshold: float) -> str:
    """A subtitle track (W3C, "WebVTT", 2019): a cue per segment, which any player shows while it lasts."""
    cues = [
        f"{k}\n{_clock(row['start'])} --> {_clock(max(row['end'], row['start'] + 0.001))}\n"
        f"fake {NAMES[row['modality']]} ({100 * row['score']:.0f} %)\n"
        for k, row in enumerate(_by_time(found, threshold), 1)
    ]
    return "\n".join(["WEBVTT\n", *cues])


def audacity_text(found: Localization, threshold: float) -> str:
    """Audacity's label track: start, end, text, with tabs between."""
    return "".join(
        f"{row['start']:.6f}\t{row['end']:.6f}\tfake {NAMES[row['modality']]} {row['score']:.2f}\n"
        for row in _by_time(found, threshold)
    )


def _by_time(found: Localization, threshold: float) -> list[dict[str, Any]]:
    return sorted(found.segments(threshold), key=lambda row: (row["start"], row["end"]))


def _clock(seconds: float) -> str:
    """hh:mm:ss.mmm."""
    milliseconds = round(1000 * seconds)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}.{rest % 1000:03d}"
