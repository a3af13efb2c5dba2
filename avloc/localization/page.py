"""A localization as one html file: the clip, a timeline under it, and a table. No request leaves the page.

Readable without its script, in print, on a phone, in the dark, by keyboard and by screen reader.
"""

from __future__ import annotations

import base64
import html
import io
import json
import mimetypes
import os
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from avloc.core.records import MODALITIES
from avloc.io.files import write_text
from avloc.localization.picture import envelope
from avloc.localization.text import NAMES

if TYPE_CHECKING:
    from avloc.localization.formats import OutputOptions
    from avloc.localization.preview import Preview
    from avloc.localization.result import Localization

LARGEST_EMBEDDED = 12 << 20  # bytes of a clip that `auto` puts into the page
CURVE_POINTS = 2000
LEAST_SCORE = 0.02  # segments under it are in the json only
MOST_SEGMENTS = 500
FRAME_HEIGHT = 620
POLICY = (
    "default-src 'none'; img-src data:; media-src 'self' file: data: blob:; "
    "style-src 'unsafe-inline'; script-src 'unsafe-inline'"
)
LANES = {"visual": "picture", "audio": "sound"}


def save_page(found: Localization, path: Path, options: OutputOptions) -> None:
    """Write the page.

    Raises:
        OSError: if the clip is to be embedded and cannot be read.
    """
    write_text(path, page(found, _clip_source(Path(found.file), path, options), options.threshold))


def as_iframe(found: Localization) -> str:
    """The page without the clip in a frame, for a notebook."""
    inner = html.escape(page(found, None, 0.2), quote=True)
    return f'<iframe sandbox="allow-scripts" style="width:100%;height:{FRAME_HEIGHT}px;border:0" srcdoc="{inner}"></iframe>'


def _clip_source(clip: Path, page_path: Path, options: OutputOptions) -> str | None:
    """Where the page finds the clip: in itself, or by a path relative to it; None if there is no such file."""
    if not clip.is_file():
        return None
    if options.embed == "always" or (options.embed == "auto" and clip.stat().st_size <= LARGEST_EMBEDDED):
        kind = mimetypes.guess_type(clip.name)[0] or "video/mp4"
        return f"data:{kind};base64,{base64.b64encode(clip.read_bytes()).decode()}"
    try:
        relative = os.path.relpath(clip.resolve(), page_path.resolve().parent)
    except ValueError:  # another drive
        return clip.resolve().as_uri()
    return quote(Path(relative).as_posix())


def page(found: Localization, source: str | None, threshold: float) -> str:
    """The whole page.

    Args:
        found: what was found.
        source: where the clip is, as a URL; None: the page has no player.
        threshold: lowest score that is shown at first.
    """
    files = resources.files("avloc.localization")
    style, script = (files.joinpath(f"page.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    name = html.escape(Path(found.file).name)
    start_s, end_s = extent(found)
    about = json.dumps({"start": start_s, "end": end_s, "threshold": round(threshold, 2)})
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{html.escape(POLICY)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>{name}: which seconds are fake?</title><style>{style}</style></head><body>"
        f"<main>{''.join(_body(found, source, name))}</main>"
        f'<script type="application/json" id="about">{about}</script><script>{script}</script></body></html>\n'
    )


def extent(found: Localization) -> tuple[float, float]:
    """From when to when the timeline goes, in seconds; never empty."""
    start_s = round(found.grid.start_s, 3)
    return start_s, max(round(found.duration_s, 3), start_s + 0.01)


def shown_rows(found: Localization) -> list[dict[str, object]]:
    """The segments on the page, in order of time."""
    best = found.segments(LEAST_SCORE)[:MOST_SEGMENTS]
    return sorted(best, key=lambda row: (row["start"], row["end"]))


def _body(found: Localization, source: str | None, name: str) -> Iterator[str]:
    yield f"<header><h1>{name}</h1>{''.join(_verdict(found))}</header>"
    if source is not None:
        tag = "video" if found.decoded_s.get("visual", (0, 0)) is not None else "audio"
        yield f'<{tag} id="clip" controls preload="auto" playsinline src="{source}"></{tag}>'
        yield (
            '<p id="unplayable" class="problem" hidden>This browser cannot play the clip, or it is no longer where it was. '
            "The timeline works without it.</p>"
        )
    yield (
        '<div class="controls"><label>Hide scores under <input id="threshold" type="range" min="0" max="1" step="0.01" '
        'aria-describedby="count"><output id="least"></output></label>'
        '<label>Zoom <input id="zoom" type="range" min="0" max="8" step="0.5" value="0"><output id="zoomed">1×</output></label>'
        '<span>at <span id="now" class="time">0</span></span><output id="count"></output></div>'
    )
    yield '<div class="scroll" tabindex="0" role="group" aria-label="Timeline"><div class="lanes">'
    yield from _lanes(found)
    yield '<div class="ruler" aria-hidden="true"></div><div class="playhead"></div></div></div>'
    yield (
        '<p class="keys faint"><kbd>←</kbd> <kbd>→</kbd> previous and next segment, <kbd>space</kbd> plays, '
        'a click seeks.</p><div id="said" class="unseen" role="status"></div>'
    )
    yield from _table(found)
    yield (
        '<p class="faint">A score says how much a place looks like the forgeries that the network was trained on. It is no '
        "proof, and a clip without segments may be forged in a way that it never met.</p>"
    )


def _verdict(found: Localization) -> Iterator[str]:
    if found.probabilities:
        yield '<ul class="chances">'
        whole = "the clip is forged" if found.calibrated else "the best score"
        for what, words in (("clip", whole), ("visual", "its picture"), ("audio", "its sound")):
            chance = found.probabilities.get(what, 0.0)
            said = f"{100 * chance:.0f} %" if found.calibrated else f"{chance:.2f}"
            if what in found.decoded_s and found.decoded_s[what] is None:
                said = "–"
            yield f"<li><b>{said}</b> {words}</li>"
        yield "</ul>"
        yield (
            '<p class="faint">Probabilities, fitted on the validation split of the network’s training.</p>'
            if found.calibrated
            else '<p class="faint">These are scores, no probabilities: the checkpoint was not calibrated.</p>'
        )
    start_s, end_s = extent(found)
    seen = [f"{words} {_span(found.decoded_s[m])}" for m, words in LANES.items() if found.decoded_s.get(m)]
    yield f'<p class="faint">{end_s - start_s:.2f} s; {", ".join(seen) or "nothing"} decoded.</p>'
    yield from (f'<p class="problem">{html.escape(problem)}</p>' for problem in found.problems)


def _span(span: tuple[float, float] | None) -> str:
    return "" if span is None else f"{span[0]:.2f}–{span[1]:.2f} s"


def _lanes(found: Localization) -> Iterator[str]:
    start_s, end_s = extent(found)
    preview = found.preview
    if preview is not None and preview.strip:
        yield '<div class="lane strip">'
        for time_s, picture in preview.strip:
            left = (time_s - start_s) / (end_s - start_s)
            width = preview.interval_s / (end_s - start_s)
            yield f'<img alt="" src="{_jpeg(picture)}" style="left:{_percent(left)};width:{_percent(min(width, 1 - left))}">'
        yield "</div>"
    if preview is not None and len(preview.loudness()):
        yield f'<div class="lane wave"><span class="name">loudness</span>{_wave(preview, start_s, end_s)}</div>'
    rows = shown_rows(found)
    for modality, words in LANES.items():
        curve = _curve(found, MODALITIES.index(modality), start_s, end_s)
        yield f'<div class="lane {modality}-lane"><span class="name">{words}{"" if curve else ": none"}</span>{curve}'
        for number, row in enumerate(rows):
            if row["modality"] in (modality, "both"):
                yield _mark(number, row, start_s, end_s)
        yield "</div>"


def _mark(number: int, row: dict[str, object], start_s: float, end_s: float) -> str:
    begin, end, score = (float(str(row[k])) for k in ("start", "end", "score"))
    left, width = (begin - start_s) / (end_s - start_s), (end - begin) / (end_s - start_s)
    return (
        f'<div class="segment" data-segment="{number}" title="{begin:.2f}–{end:.2f} s, score {score:.2f}" '
        f'style="left:{_percent(left)};width:{_percent(width)}"><i style="opacity:{0.08 + 0.6 * score:.2f}"></i></div>'
    )


def _curve(found: Localization, column: int, start_s: float, end_s: float) -> str:
    """The fakeness of a modality; empty if it is nowhere known."""
    grid = found.grid
    values = envelope(found.fakeness[:, column], CURVE_POINTS)
    if not len(values) or np.isnan(values).all():
        return ""
    step = grid.hop_s * -(-grid.length // len(values)) if grid.length else grid.hop_s
    x = 1000 * ((np.arange(len(values)) + 0.5) * step + grid.start_s - start_s) / (end_s - start_s)
    # A gap in the curve where the modality is absent.
    parts, pen = [], "M"
    for at, value in zip(x, values, strict=True):
        if np.isnan(value):
            pen = "M"
            continue
        parts.append(f"{pen}{at:.1f} {100 - 96 * value:.1f}")
        pen = "L"
    return _svg("".join(parts))


def _wave(preview: Preview, start_s: float, end_s: float) -> str:
    peaks = envelope(preview.loudness(), CURVE_POINTS)
    times = preview.start_s + np.arange(len(peaks)) * preview.peak_s * len(preview.loudness()) / len(peaks)
    x = 1000 * (times - start_s) / (end_s - start_s)
    height = 48 * peaks / max(float(peaks.max()), 1e-6)
    upper = [f"{a:.1f} {50 - h:.1f}" for a, h in zip(x, height, strict=True)]
    lower = [f"{a:.1f} {50 + h:.1f}" for a, h in zip(x[::-1], height[::-1], strict=True)]
    return _svg("M" + "L".join(upper + lower) + "Z")


def _svg(path: str) -> str:
    return f'<svg viewBox="0 0 1000 100" preserveAspectRatio="none" aria-hidden="true"><path d="{path}"/></svg>'


def _jpeg(picture: npt.NDArray[np.uint8]) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=70)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _percent(share: float) -> str:
    return f"{100 * max(0.0, share):.4f}%"


def _table(found: Localization) -> Iterator[str]:
    yield (
        '<h2>Segments</h2><div class="table"><table><thead><tr><th>from</th><th>to</th><th class="wide">seconds</th>'
        '<th class="left">what</th><th>score</th><th class="wide">picture</th><th class="wide">sound</th></tr></thead><tbody>'
    )
    for number, row in enumerate(shown_rows(found)):
        start, end, score = row["start"], row["end"], row["score"]
        kinds = MODALITIES if row["modality"] == "both" else (row["modality"],)
        dots = "".join(f'<i class="dot {kind}"></i>' for kind in kinds)
        name = NAMES[str(row["modality"])]
        yield (
            f'<tr data-segment="{number}" data-start="{start}" data-end="{end}" data-score="{score}" '
            f'data-said="Fake {name}, from {start:.2f} to {end:.2f} seconds, score {score:.2f}">'
            f'<td><button aria-label="Go to {start:.2f} seconds">{start:.2f}</button></td><td>{end:.2f}</td>'
            f'<td class="wide">{float(str(end)) - float(str(start)):.2f}</td><td class="left">{dots}{name}</td>'
            f'<td>{score:.2f}</td><td class="wide">{row["visual_score"]:.2f}</td>'
            f'<td class="wide">{row["audio_score"]:.2f}</td></tr>'
        )
    yield '</tbody></table></div><p id="none" hidden>No segment has such a score.</p>'
    count = len(found.segments(LEAST_SCORE))
    if count > MOST_SEGMENTS:
        yield f'<p class="faint">The best {MOST_SEGMENTS} of {count} segments; the json has all.</p>'
