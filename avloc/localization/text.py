"""A localization as text for other programs and for people: csv, WebVTT subtitles, Audacity labels, lines for the terminal."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from avloc.errors import shown
from avloc.io.cells import quote_cell
from avloc.localization.segment import by_time, percent

if TYPE_CHECKING:
    from avloc.core.descriptions import NetworkDescription
    from avloc.localization.result import Localization
    from avloc.localization.segment import LocalizedSegment

CSV_FIELDS = (
    "file",
    "start",
    "end",
    "probability",
    "prior",
    "score",
    "modality",
    "audio_score",
    "visual_score",
    "verdict",
)
SHOWN_DIGITS = 12  # of a hash
NOT_JUDGED = "–"
NAMED_SEGMENTS = 3  # in the sentence


def csv_text(localization: Localization, threshold: float) -> str:
    """Format one row per segment, by time; each names the file, so that the tables of several clips can be joined.

    Without an operating point there is no verdict, and a stream that was not judged has no score: the cells are empty.
    """
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, CSV_FIELDS, lineterminator="\n")
    writer.writeheader()
    segments = by_time(localization.segments(threshold))
    writer.writerows(
        {"file": quote_cell(localization.file), "prior": localization.prior, **segment.to_dict()}
        for segment in segments
    )
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


def sentence(localization: Localization) -> str:
    """State the answer in one sentence; below the threshold it still names the strongest segment.

    >>> from avloc.core.calibration import PlattFit
    >>> from avloc.core.proposals import Proposals
    >>> from avloc.core.timeline import TimeGrid
    >>> from avloc.localization.result import Localization
    >>> import numpy as np
    >>> proposals = Proposals(np.array([[1.72, 2.16]]), np.array([0.9]), np.array([[0.05, 0.91]]))
    >>> fits = {name: PlattFit(1.0, 0.0, 50, 50) for name in ("clip", "audio", "visual", "segment")}
    >>> grid, scores = TimeGrid(0.0, 0.04, 1), {"clip": 0.9, "audio": 0.05, "visual": 0.91}
    >>> clip = Localization("clip.mp4", 3.0, proposals, grid, np.zeros((1, 2), np.float32), (), scores, fits)
    >>> sentence(clip)
    'Likely forged: visual, 1.72–2.16 s'
    >>> from dataclasses import replace
    >>> sentence(replace(clip, prior=0.01))
    'Some evidence of forgery (strongest: visual, 1.72–2.16 s, 8 %)'
    """
    strongest, verdict = localization.strongest(), localization.verdict
    if all(score is None for score in localization.scores.values()):
        return "Not judged"
    if verdict == "likely forged":
        detected = localization.segments()
        places = "; ".join(f"{each.modality_label}, {_span(each)}" for each in by_time(detected[:NAMED_SEGMENTS]))
        more = f"; {len(detected) - NAMED_SEGMENTS} more" if len(detected) > NAMED_SEGMENTS else ""
        return f"Likely forged: {places}{more}"
    answer = "Not calibrated, so no verdict" if verdict is None else verdict[0].upper() + verdict[1:]
    if strongest is None:
        return answer
    strength = f"score {strongest.score:.2f}" if strongest.probability is None else percent(strongest.probability)
    return f"{answer} (strongest: {strongest.modality_label}, {_span(strongest)}, {strength})"


def evidence_text(localization: Localization) -> str:
    """Format the numbers behind the sentence, with the prior that they hold at.

    >>> from avloc.localization.result import Localization
    >>> from avloc.core.proposals import Proposals
    >>> from avloc.core.timeline import TimeGrid
    >>> import numpy as np
    >>> empty = Proposals.empty(), TimeGrid(0.0, 0.04, 1), np.zeros((1, 2), np.float32)
    >>> evidence_text(Localization("clip.mp4", 0.04, *empty, (), {"clip": 0.62, "audio": 0.05, "visual": 0.6}))
    'strongest score 0.62 (visual 0.60, audio 0.05); not calibrated, so no probability'
    """
    values = {key: strength_text(localization, key) for key in ("clip", "visual", "audio")}
    llr, probabilities = localization.llrs.get("clip"), localization.probabilities
    if llr is None:
        streams = f"visual {values['visual']}, audio {values['audio']}"
        of_clip = " of the clip" if any(value is not None for value in probabilities.values()) else ""
        return f"strongest score {values['clip']} ({streams}); not calibrated, so no probability{of_clip}"
    without_fit = {key for key in values if localization.scores.get(key) is not None and probabilities[key] is None}
    streams = ", ".join(f"{key} {'score ' * (key in without_fit)}{values[key]}" for key in ("visual", "audio"))
    unknown = "; the prior of its calibration is unknown, taken as 50 %" if localization.split_prior is None else ""
    return (
        f"probability of forgery {values['clip']} at a prior of {percent_exact(localization.prior)} ({streams}); "
        f"log-likelihood ratio {llr:+.2f}{unknown}"
    )


def percent_exact(prior: float) -> str:
    """Format a prior or a threshold in percent, without rounding to whole numbers.

    >>> percent_exact(0.5), percent_exact(0.0001)
    ('50 %', '0.01 %')
    """
    return f"{100 * prior:g} %"


def threshold_text(localization: Localization, threshold: float) -> str:
    """Format a threshold with its unit.

    >>> from avloc.localization.result import Localization
    >>> from avloc.core.proposals import Proposals
    >>> from avloc.core.timeline import TimeGrid
    >>> import numpy as np
    >>> empty = Proposals.empty(), TimeGrid(0.0, 0.04, 1), np.zeros((1, 2), np.float32)
    >>> threshold_text(Localization("clip.mp4", 0.04, *empty), 0.2)
    'a score of 0.2'
    """
    return (
        f"a probability of {percent_exact(threshold)}"
        if localization.unit == "probability"
        else f"a score of {threshold:g}"
    )


def _span(segment: LocalizedSegment) -> str:
    return f"{segment.start_s:.2f}–{segment.end_s:.2f} s"


def summary_line(localization: Localization, threshold: float) -> str:
    """Format one line for a clip of many."""
    count = len(localization.segments(threshold))
    remarks = f" ({'; '.join(notes(localization))})" if notes(localization) else ""
    counted = f"{count} segment{'s' * (count != 1)} of {threshold_text(localization, threshold)} or more"
    return shown(f"{localization.file}: {sentence(localization)}; {evidence_text(localization)}; {counted}{remarks}")


def report(localization: Localization, threshold: float, paths: Sequence[Path]) -> str:
    """Format the answer, the problems and the segments of a single clip.

    Args:
        localization: the clip's localization.
        threshold: the lowest probability (or score) of a segment.
        paths: the output files.
    """
    segments = by_time(localization.segments(threshold))
    lines = [
        f"{localization.file}: {sentence(localization)}",
        f"  {evidence_text(localization)}",
        f"  {localization.duration_s:.2f} s, {len(segments)} segment{'s' * (len(segments) != 1)} of "
        f"{threshold_text(localization, threshold)} or more → {', '.join(map(str, paths))}",
        *(f"  network: {network_text(network)}" for network in (localization.network,) if network is not None),
        *(f"  note: {note}" for note in notes(localization)),
        *(
            f"  {segment.start_s:8.2f} – {segment.end_s:8.2f} s   {segment.strength_text}   {segment.modality_label:16}   "
            f"{segment.verdict or ''}".rstrip()
            for segment in segments
        ),
    ]
    return "\n".join(map(shown, lines))


def notes(localization: Localization) -> list[str]:
    """List the notes on a result: its problems, and the reason for each stream that was not judged."""
    reasons = [
        f"{modality} not judged: {reason}"
        for modality, reason in localization.unjudged.items()
        if not {*reason.split("; ")} <= {*localization.problems}  # which give it already
    ]
    return [*localization.problems, *reasons]


def network_text(network: NetworkDescription) -> str:
    """Describe the network and its training data in one phrase.

    >>> from avloc.core.descriptions import NetworkDescription
    >>> network_text(NetworkDescription("avloc-av", "3", "2026-11-26", "drawn faces", "1f2e" * 16))
    "avloc-av 3 (2026-11-26, weights' sha256 1f2e1f2e1f2e), trained only on drawn faces"
    >>> network_text(NetworkDescription("BATFD"))
    'BATFD'
    """
    origin = [network.date, f"weights' sha256 {network.sha256[:SHOWN_DIGITS]}" if network.sha256 else ""]
    text = " ".join(filter(None, [network.name, network.version]))
    text += f" ({', '.join(filter(None, origin))})" if any(origin) else ""
    return f"{text}, trained only on {network.scope}" if network.scope else text


def strength_text(localization: Localization, key: str) -> str:
    """Format the probability of the clip or of a modality, or without calibration its score; `NOT_JUDGED` for neither."""
    score, probability = localization.scores.get(key), localization.probabilities.get(key)
    if score is None:
        return NOT_JUDGED
    return f"{score:.2f}" if probability is None else percent(probability)


def _timestamp(seconds: float) -> str:
    """Format seconds as hh:mm:ss.mmm."""
    milliseconds = round(1000 * seconds)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}.{rest % 1000:03d}"
