"""A localization as one HTML file: the clip, its timeline and a table of segments. The page loads nothing from the network.

It can be read without its script, in print, on a phone, in dark mode, by keyboard and by screen reader.
"""

from __future__ import annotations

import base64
import html
import json
import mimetypes
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from avloc.core.calibration import CALIBRATED
from avloc.core.records import LANE_ORDER
from avloc.io.files import json_text, write_text
from avloc.io.provenance import date_text
from avloc.localization.pages.document import html_document, page_footers, prose_html, provenance_html
from avloc.localization.pages.lanes import jpeg_url, timeline_extent, timeline_html
from avloc.localization.pages.stills import segment_stills
from avloc.localization.preview import Still
from avloc.localization.segment import LocalizedSegment, by_time, percent
from avloc.localization.text import (
    NOT_JUDGED,
    csv_text,
    evidence_text,
    network_text,
    notes,
    percent_exact,
    sentence,
    threshold_text,
    vtt_text,
)

if TYPE_CHECKING:
    from avloc.localization.options import OutputOptions
    from avloc.localization.result import Localization

MAX_EMBEDDED_BYTES = 12 << 20
MIN_LISTED_SCORE = 0.02  # weaker segments are in the JSON file only
MAX_LISTED_SEGMENTS = 500
FRAME_HEIGHT = 720
CLOCK_FROM_S = 60.0  # from this length on, times are also shown as minutes and seconds
CONTROLS = (
    '<div class="controls"><label>Hide segments below a {unit} of <input id="threshold" type="range" min="0" max="1" step="0.01" '
    'aria-describedby="count"><output id="least"></output></label>'
    '<label>Zoom <input id="zoom" type="range" min="0" max="8" step="0.5" value="0"><output id="zoomed">1×</output></label>'
    '<span>at <span id="now" class="time">0</span></span><output id="count"></output></div>'
)
KEYS = (
    '<p class="keys faint"><kbd>←</kbd> <kbd>→</kbd> previous and next segment, <kbd>space</kbd> plays, '
    'a click seeks.</p><div id="status" class="screen-reader" role="status"></div>'
)
UNPLAYABLE = (
    '<p id="unplayable" class="problem" hidden>This browser cannot play the clip, or the clip has moved. '
    "The timeline works without it.</p>"
)
CHECK = (
    "<p class=faint>To check it: <code>sha256sum</code> of the clip, and <code>avloc localize --verify RESULT.json "
    "CLIP</code>, which makes the result again and compares.</p>"
)
CAVEAT = (
    '<p class="faint">The result tells how much a segment resembles the forgeries that the network was trained on. '
    "It is no proof, "
    "and a clip without segments may be forged by a method that the network has never seen.</p>"
)


def save_page(localization: Localization, path: Path, options: OutputOptions) -> None:
    """Write the page, with stills of the segments that reach the threshold if the clip's file exists.

    Raises:
        OSError: if the clip is to be embedded and cannot be read.
    """
    clip, threshold = Path(localization.file), options.threshold_for(localization)
    stills = segment_stills(clip, localization.segments(threshold), options.pulse)
    write_text(path, page(localization, _clip_url(clip, path, options), threshold, stills))


def as_iframe(localization: Localization) -> str:
    """Return the page without the clip in an iframe, for a notebook."""
    document = html.escape(page(localization, None, localization.threshold), quote=True)
    return (
        '<iframe sandbox="allow-scripts allow-downloads allow-modals" '
        f'style="width:100%;height:{FRAME_HEIGHT}px;border:0" srcdoc="{document}"></iframe>'
    )


def page(
    localization: Localization, clip_url: str | None, threshold: float, stills: Sequence[Sequence[Still]] = ()
) -> str:
    """Build the whole page.

    Args:
        localization: the clip's localization.
        clip_url: the clip; None for a page without a player.
        threshold: the probability (or score) that the slider starts at.
        stills: of each segment that reaches the threshold, by descending score; they are shown in print.
    """
    extent = timeline_extent(localization)
    settings = json.dumps(
        {"start": extent.start_s, "end": extent.end_s, "threshold": threshold, "unit": localization.unit}
    )
    body = "".join(_body_html(localization, clip_url, threshold, stills))
    return html_document(
        f"{Path(localization.file).name}: which seconds are fake?",
        f'<main>{body}</main><script type="application/json" id="settings">{settings}</script>',
        style=page_footers(*_footers(localization)),
        script="clip_page.js",
        icon=_icon(localization),
    )


def _footers(localization: Localization) -> Iterator[str]:
    """Yield the lines at the foot of each printed sheet: the clip and its hash, and what made the result."""
    name, provenance = Path(localization.file).name, localization.provenance
    if provenance is None:
        yield name
        yield "avloc localize"
        return
    yield name if provenance.clip is None else f"{name}, sha256 {provenance.clip.sha256}"
    checkpoint = "" if provenance.checkpoint is None else f"; checkpoint sha256 {provenance.checkpoint.file.sha256}"
    yield f"avloc {provenance.avloc}, {date_text(provenance)}{checkpoint}"


def listed_segments(localization: Localization) -> list[LocalizedSegment]:
    """Return the segments of the page, by time: the strongest `MAX_LISTED_SEGMENTS` of at least `MIN_LISTED_SCORE`."""
    return by_time(_candidates(localization)[:MAX_LISTED_SEGMENTS])


def _candidates(localization: Localization) -> list[LocalizedSegment]:
    return [segment for segment in localization.segments(0.0) if segment.score >= MIN_LISTED_SCORE]


def _icon(localization: Localization) -> str:
    """Return the thumbnail that is nearest to the strongest segment as a data URL; empty without thumbnails."""
    thumbnails = [] if localization.preview is None else localization.preview.thumbnails
    if not thumbnails:
        return ""
    strongest = localization.strongest()
    middle_s = 0.0 if strongest is None else (strongest.start_s + strongest.end_s) / 2
    return jpeg_url(min(thumbnails, key=lambda thumbnail: abs(thumbnail.time_s - middle_s)).image)


def _clip_url(clip: Path, page_path: Path, options: OutputOptions) -> str | None:
    """Return a data URL or a relative path to the clip; None if the file does not exist."""
    if not clip.is_file():
        return None
    if options.embed == "always" or (options.embed == "auto" and clip.stat().st_size <= MAX_EMBEDDED_BYTES):
        media_type = mimetypes.guess_type(clip.name)[0] or "video/mp4"
        return f"data:{media_type};base64,{base64.b64encode(clip.read_bytes()).decode()}"
    try:
        relative = os.path.relpath(clip.resolve(), page_path.resolve().parent)
    except ValueError:  # another drive
        return clip.resolve().as_uri()
    return quote(os.fsencode(Path(relative).as_posix()))


def _body_html(
    localization: Localization, clip_url: str | None, threshold: float, stills: Sequence[Sequence[Still]]
) -> Iterator[str]:
    segments = listed_segments(localization)
    name = html.escape(Path(localization.file).name)
    yield f"<header><h1>{name}</h1>{''.join(_verdict_html(localization))}</header>"
    if clip_url is not None:
        tag = "audio" if localization.lacks("visual") else "video"
        yield f'<{tag} id="clip" controls preload="auto" playsinline src="{clip_url}"></{tag}>'
        yield UNPLAYABLE
    yield CONTROLS.format(unit=localization.unit)
    yield from timeline_html(localization, segments)
    yield KEYS
    yield from _table_html(localization, segments)
    count = len(_candidates(localization))
    if count > MAX_LISTED_SEGMENTS:
        yield f'<p class="faint">The strongest {MAX_LISTED_SEGMENTS} of {count} segments; the JSON file has all.</p>'
    yield from _downloads_html(localization, threshold)
    yield from _stills_html(localization.segments(threshold), segments, stills)
    yield CAVEAT
    yield from provenance_html(localization.provenance, CHECK)


def _verdict_html(localization: Localization) -> Iterator[str]:
    if localization.scores:
        yield f'<p class="answer">{prose_html(sentence(localization))}</p>'
        evidence = evidence_text(localization)
        yield f'<p class="faint">{prose_html(evidence[:1].upper() + evidence[1:])}.</p>'
        threshold = threshold_text(localization, localization.threshold)
        meaning = prose_html(f"{_meaning(localization)} A segment counts from {threshold} on.")
        yield f'<p class="faint">{meaning.replace("--prior", "<code>--prior</code>")}</p>'
    if localization.network is not None:
        yield f'<p class="faint network">Network: {html.escape(network_text(localization.network))}.</p>'
    spans = [
        f"{modality} {span[0]:.2f}–{span[1]:.2f} s"
        for modality in LANE_ORDER
        if (span := localization.decoded_s.get(modality)) is not None
    ]
    length_s = timeline_extent(localization).length_s
    decoded = f"{length_s:.2f} s; decoded: {', '.join(spans) or 'nothing'}."
    yield f'<p class="faint">{prose_html(decoded)}</p>'
    yield from (f'<p class="problem">{html.escape(note)}</p>' for note in notes(localization))


def _meaning(localization: Localization) -> str:
    """Explain the numbers."""
    if not any(key in localization.calibration for key in CALIBRATED):
        return "These are scores, not probabilities: the checkpoint is not calibrated."
    forged = localization.split_prior
    share = "" if forged is None else f", of which {percent(forged)} was forged"
    return (
        f"Probabilities hold at the prior of {percent_exact(localization.prior)}, which --prior changes; the evidence was "
        f"calibrated on the validation split of the network’s training{share}."
    )


def _table_html(localization: Localization, segments: Sequence[LocalizedSegment]) -> Iterator[str]:
    yield (
        '<h2>Segments</h2><div class="table"><table><thead><tr><th>start (s)</th><th>end (s)</th>'
        '<th class="wide">length (s)</th>'
        f'<th class="left">modality</th><th>{localization.unit}</th>'
        + ('<th class="wide">score</th>' if localization.unit == "probability" else "")
        + "".join(f'<th class="wide">{modality}</th>' for modality in LANE_ORDER)
        + '<th class="left wide">verdict</th></tr></thead><tbody>'
    )
    has_clock = localization.duration_s >= CLOCK_FROM_S
    for number, segment in enumerate(segments):
        yield _row_html(number, segment, has_clock=has_clock)
    yield '</tbody></table></div><p id="none" hidden>No segment reaches this threshold.</p>'


def _row_html(number: int, segment: LocalizedSegment, *, has_clock: bool) -> str:
    start_s, end_s, label = segment.start_s, segment.end_s, segment.modality_label
    subject = ": ".join(filter(None, (segment.verdict, label)))
    dots = "".join(f'<i class="dot {modality}"></i>' for modality in LANE_ORDER if segment.lies_in(modality))
    clocks = [f' <small class="faint">{clock_text(time_s)}</small>' if has_clock else "" for time_s in (start_s, end_s)]
    scores = {"visual": segment.visual_score, "audio": segment.audio_score}
    return (
        f'<tr data-segment="{number}" data-start="{start_s}" data-end="{end_s}" data-strength="{segment.strength}" '
        f'data-status="{subject[0].upper()}{subject[1:]}, from {start_s:.2f} to {end_s:.2f} seconds, '
        f'{html.escape(segment.strength_text)}">'
        f'<td><button aria-label="Go to {start_s:.2f} seconds">{start_s:.2f}</button>{clocks[0]}</td>'
        f"<td>{end_s:.2f}{clocks[1]}</td>"
        f'<td class="wide">{end_s - start_s:.2f}</td><td class="left">{dots}{label}</td>'
        f"<td>{_strength(segment)}</td>"
        + ("" if segment.probability is None else f'<td class="wide">{segment.score:.2f}</td>')
        + "".join(f'<td class="wide">{_score_text(scores[modality])}</td>' for modality in LANE_ORDER)
        + f'<td class="left wide">{segment.verdict or NOT_JUDGED}</td></tr>'
    )


def clock_text(time_s: float) -> str:
    """Format a time as minutes and seconds, from an hour on with hours.

    >>> clock_text(83.5), clock_text(3600.25)
    ('1:23.50', '1:00:00.25')
    """
    minutes, hundredths = divmod(round(100 * time_s), 6000)
    hours, minutes = divmod(minutes, 60)
    rest = f"{hundredths // 100:02d}.{hundredths % 100:02d}"
    return f"{hours}:{minutes:02d}:{rest}" if hours else f"{minutes}:{rest}"


def _downloads_html(localization: Localization, threshold: float) -> Iterator[str]:
    """Yield a button per file: the script hands out the text that `avloc localize --format json,csv,vtt` writes."""
    stem = Path(localization.file).stem or "result"
    shown_from = threshold_text(localization, threshold)
    files = (
        ("json", "application/json", json_text(localization.to_dict(threshold)), "the complete result"),
        ("csv", "text/csv", csv_text(localization, threshold), f"one row per segment of {shown_from} or more"),
        ("vtt", "text/vtt", vtt_text(localization, threshold), f"subtitles: segments of {shown_from} or more"),
    )
    yield '<p class="downloads"><span>Download</span>'
    for suffix, media_type, content, description in files:
        yield (
            f'<button data-file="{html.escape(stem)}.{suffix}" data-type="{media_type}" title="{description}" '
            f'data-content="{html.escape(content)}">{suffix}</button>'
        )
    yield '<button id="print" title="print, or save as PDF">print or PDF</button></p>'


def _stills_html(
    detected: Sequence[LocalizedSegment], listed: Sequence[LocalizedSegment], stills: Sequence[Sequence[Still]]
) -> Iterator[str]:
    """Yield a figure per segment that has stills, by time; the slider hides them with their rows."""
    pairs = [(segment, images) for segment, images in zip(detected, stills, strict=False) if images]
    if not pairs:
        return
    yield '<section class="print-only stills"><h2>Stills of the segments</h2>'
    for segment, images in sorted(pairs, key=lambda pair: (pair[0].start_s, pair[0].end_s)):
        pictures = "".join(
            f'<div><img alt="frame at {each.time_s:.2f} seconds" src="{jpeg_url(each.image)}"><p>{each.time_s:.2f} s</p></div>'
            for each in images
        )
        number = listed.index(segment) if segment in listed else -1
        yield (
            f'<figure class="still" data-segment="{number}"><figcaption>{segment.start_s:.2f}–{segment.end_s:.2f} s: '
            f"{html.escape(segment.label)}</figcaption>{pictures}</figure>"
        )
    yield "</section>"


def _score_text(score: float | None) -> str:
    return NOT_JUDGED if score is None else f"{score:.2f}"


def _strength(segment: LocalizedSegment) -> str:
    return f"{segment.score:.2f}" if segment.probability is None else html.escape(percent(segment.probability))
