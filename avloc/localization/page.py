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
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from avloc.core.records import MODALITIES
from avloc.io.files import write_text
from avloc.localization.lanes import LANE_ORDER, lanes_html, timeline_extent
from avloc.localization.segment import LocalizedSegment, by_time, percent
from avloc.localization.text import (
    NOT_JUDGED,
    evidence_text,
    network_text,
    notes,
    percent_exact,
    sentence,
    threshold_text,
)

if TYPE_CHECKING:
    from avloc.localization.options import OutputOptions
    from avloc.localization.result import Localization

MAX_EMBEDDED_BYTES = 12 << 20
MIN_LISTED_SCORE = 0.02  # weaker segments are in the JSON file only
MAX_LISTED_SEGMENTS = 500
FRAME_HEIGHT = 620
POLICY = (
    "default-src 'none'; img-src data:; media-src 'self' file: data: blob:; "
    "style-src 'unsafe-inline'; script-src 'unsafe-inline'"
)
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
CAVEAT = (
    '<p class="faint">The result tells how much a segment resembles the forgeries that the network was trained on. '
    "It is no proof, "
    "and a clip without segments may be forged by a method that the network has never seen.</p>"
)


def save_page(localization: Localization, path: Path, options: OutputOptions) -> None:
    """Write the page.

    Raises:
        OSError: if the clip is to be embedded and cannot be read.
    """
    write_text(
        path, page(localization, _clip_url(Path(localization.file), path, options), options.threshold_for(localization))
    )


def as_iframe(localization: Localization) -> str:
    """Return the page without the clip in an iframe, for a notebook."""
    document = html.escape(page(localization, None, localization.threshold), quote=True)
    return f'<iframe sandbox="allow-scripts" style="width:100%;height:{FRAME_HEIGHT}px;border:0" srcdoc="{document}"></iframe>'


def page(localization: Localization, clip_url: str | None, threshold: float) -> str:
    """Build the whole page.

    Args:
        localization: the clip's localization.
        clip_url: the clip; None for a page without a player.
        threshold: the probability (or score) that the slider starts at.
    """
    files = resources.files("avloc.localization")
    style, script = (files.joinpath(f"page.{suffix}").read_text(encoding="utf-8") for suffix in ("css", "js"))
    name = html.escape(Path(localization.file).name)
    extent = timeline_extent(localization)
    settings = json.dumps(
        {"start": extent.start_s, "end": extent.end_s, "threshold": threshold, "unit": localization.unit}
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{html.escape(POLICY)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>{name}: which seconds are fake?</title><style>{style}</style></head><body>"
        f"<main>{''.join(_body_html(localization, clip_url, name))}</main>"
        f'<script type="application/json" id="settings">{settings}</script><script>{script}</script></body></html>\n'
    )


def listed_segments(localization: Localization) -> list[LocalizedSegment]:
    """Return the segments of the page, by time: the strongest `MAX_LISTED_SEGMENTS` of at least `MIN_LISTED_SCORE`."""
    return by_time(_candidates(localization)[:MAX_LISTED_SEGMENTS])


def _candidates(localization: Localization) -> list[LocalizedSegment]:
    return [segment for segment in localization.segments(0.0) if segment.score >= MIN_LISTED_SCORE]


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


def _body_html(localization: Localization, clip_url: str | None, name: str) -> Iterator[str]:
    segments = listed_segments(localization)
    yield f"<header><h1>{name}</h1>{''.join(_verdict_html(localization))}</header>"
    if clip_url is not None:
        tag = "audio" if localization.lacks("visual") else "video"
        yield f'<{tag} id="clip" controls preload="auto" playsinline src="{clip_url}"></{tag}>'
        yield UNPLAYABLE
    yield CONTROLS.format(unit=localization.unit)
    yield '<div class="scroll" tabindex="0" role="group" aria-label="Timeline"><div class="lanes">'
    yield from lanes_html(localization, segments)
    yield '<div class="ruler" aria-hidden="true"></div><div class="playhead"></div></div></div>'
    yield KEYS
    yield from _table_html(segments, localization.unit)
    count = len(_candidates(localization))
    if count > MAX_LISTED_SEGMENTS:
        yield f'<p class="faint">The strongest {MAX_LISTED_SEGMENTS} of {count} segments; the JSON file has all.</p>'
    yield CAVEAT


def _verdict_html(localization: Localization) -> Iterator[str]:
    if localization.scores:
        yield f'<p class="answer">{html.escape(sentence(localization))}</p>'
        evidence = evidence_text(localization)
        yield f'<p class="faint">{html.escape(evidence[:1].upper() + evidence[1:])}.</p>'
        threshold = threshold_text(localization, localization.threshold)
        yield f'<p class="faint">{_meaning(localization)} A segment counts from {threshold} on.</p>'
    if localization.network is not None:
        yield f'<p class="faint network">Network: {html.escape(network_text(localization.network))}.</p>'
    spans = [
        f"{modality} {span[0]:.2f}–{span[1]:.2f} s"
        for modality in LANE_ORDER
        if (span := localization.decoded_s.get(modality)) is not None
    ]
    length_s = timeline_extent(localization).length_s
    yield f'<p class="faint">{length_s:.2f} s; decoded: {", ".join(spans) or "nothing"}.</p>'
    yield from (f'<p class="problem">{html.escape(note)}</p>' for note in notes(localization))


def _meaning(localization: Localization) -> str:
    """Tell what the numbers are."""
    if not localization.calibrated:
        return "These are scores, not probabilities: the checkpoint is not calibrated."
    forged = localization.split_prior
    share = "" if forged is None else f", of which {percent(forged)} was forged"
    return (
        f"Probabilities hold at the prior of {percent_exact(localization.prior)}, which --prior changes; the evidence was "
        f"calibrated on the validation split of the network’s training{share}."
    )


def _table_html(segments: Sequence[LocalizedSegment], unit: str) -> Iterator[str]:
    yield (
        '<h2>Segments</h2><div class="table"><table><thead><tr><th>start</th><th>end</th><th class="wide">seconds</th>'
        f'<th class="left">modality</th><th>{unit}</th><th class="wide">score</th><th class="wide">visual</th>'
        '<th class="wide">audio</th>'
        '<th class="left wide">verdict</th></tr></thead><tbody>'
    )
    for number, segment in enumerate(segments):
        start_s, end_s, strength = segment.start_s, segment.end_s, segment.strength
        subject = ": ".join(filter(None, (segment.verdict, segment.modality_label)))
        dots = "".join(f'<i class="dot {modality}"></i>' for modality in MODALITIES if segment.lies_in(modality))
        label = segment.modality_label
        yield (
            f'<tr data-segment="{number}" data-start="{start_s}" data-end="{end_s}" data-strength="{strength}" '
            f'data-status="{subject[0].upper()}{subject[1:]}, from {start_s:.2f} to {end_s:.2f} seconds, '
            f'{html.escape(segment.strength_text)}">'
            f'<td><button aria-label="Go to {start_s:.2f} seconds">{start_s:.2f}</button></td><td>{end_s:.2f}</td>'
            f'<td class="wide">{end_s - start_s:.2f}</td><td class="left">{dots}{label}</td>'
            f"<td>{_strength(segment)}</td>"
            f'<td class="wide">{segment.score:.2f}</td><td class="wide">{_score_text(segment.visual_score)}</td>'
            f'<td class="wide">{_score_text(segment.audio_score)}</td>'
            f'<td class="left wide">{segment.verdict or NOT_JUDGED}</td></tr>'
        )
    yield '</tbody></table></div><p id="none" hidden>No segment reaches this threshold.</p>'


def _score_text(score: float | None) -> str:
    return NOT_JUDGED if score is None else f"{score:.2f}"


def _strength(segment: LocalizedSegment) -> str:
    return f"{segment.score:.2f}" if segment.probability is None else html.escape(percent(segment.probability))
