"""The timeline of the page as HTML: a lane of thumbnails, one of loudness, and one per modality with its curve and segments.

The names and the scales of the lanes lie in a column of their own beside them, which does not scroll.
"""

from __future__ import annotations

import base64
import html
import io
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from avloc.core.records import LANE_ORDER, MODALITIES
from avloc.localization.figure import envelope
from avloc.localization.segment import LocalizedSegment

if TYPE_CHECKING:
    from avloc.localization.preview import Preview
    from avloc.localization.result import Localization

CURVE_POINTS = 2000
MAX_TICKS = 10
LABEL_ROOM = 0.04  # of the axis, at its end
TICKS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
CURVE_TOP = 4.0  # height of a score of 1 in a lane, in percent from above; 0 is the lower edge
LEGEND = (
    '<ul class="legend faint">'
    '<li><svg class="visual-lane" viewBox="0 0 24 12"><path d="M1 9L7 7L12 2L17 8L23 9"/></svg>'
    '<svg class="audio-lane" viewBox="0 0 24 12"><path d="M1 9L7 7L12 2L17 8L23 9"/></svg>'
    "curve: the network’s score of each moment, from 0 (like genuine material) to 1 (like the forgeries of its training)</li>"
    '<li><i class="shade visual"></i><i class="shade audio"></i>shaded: a segment, the darker the higher its {unit}</li></ul>'
)


class Extent(NamedTuple):
    """The span of the timeline in seconds; never empty."""

    start_s: float
    end_s: float

    @property
    def length_s(self) -> float:
        """The length in seconds."""
        return self.end_s - self.start_s

    def fraction(self, time_s: float) -> float:
        """Return the position of a time: 0 at the start, 1 at the end."""
        return (time_s - self.start_s) / self.length_s


def timeline_extent(localization: Localization) -> Extent:
    """Return the span that the timeline shows."""
    start_s = round(localization.grid.start_s, 3)
    return Extent(start_s, max(round(localization.duration_s, 3), start_s + 0.01))


def timeline_html(localization: Localization, segments: Sequence[LocalizedSegment]) -> Iterator[str]:
    """Yield the timeline: names and scales, the lanes that scroll beside them, and the legend.

    Args:
        localization: the clip's localization.
        segments: the segments to draw; `data-segment` is the index in this sequence.
    """
    yield '<div class="timeline"><div class="names" aria-hidden="true">'
    yield from _names_html(localization)
    yield '</div><div class="scroll" tabindex="0" role="group" aria-label="Timeline"><div class="lanes">'
    yield from lanes_html(localization, segments)
    yield f'<div class="ruler" aria-hidden="true">{"".join(_ticks_html(timeline_extent(localization)))}</div>'
    yield '<div class="playhead"></div></div></div></div>'
    yield LEGEND.format(unit=localization.unit)


def _names_html(localization: Localization) -> Iterator[str]:
    """Yield the names of the lanes, with the scale of those that have a curve; their heights are those of the lanes."""
    preview = localization.preview
    if preview is not None and preview.thumbnails:
        yield '<div class="lane thumbnails">frames</div>'
    if preview is not None and len(preview.loudness()):
        yield '<div class="lane wave">loudness</div>'
    for modality in LANE_ORDER:
        scale = "".join(f'<i style="top:{_height(value):.0f}%">{value:g}</i>' for value in (1, 0.5, 0))
        is_judged = _is_judged(localization, modality)
        yield f'<div class="lane {modality}-lane">{modality}{f"<span class=scale>{scale}</span>" if is_judged else ""}</div>'
    yield '<div class="ruler">seconds</div>'


def lanes_html(localization: Localization, segments: Sequence[LocalizedSegment]) -> Iterator[str]:
    """Yield the lanes.

    Args:
        localization: the clip's localization.
        segments: the segments to draw; `data-segment` is the index in this sequence.
    """
    extent = timeline_extent(localization)
    if localization.preview is not None:
        yield from _preview_lanes(localization.preview, extent)
    for modality in LANE_ORDER:
        is_judged = _is_judged(localization, modality)
        content = _curve_svg(localization, modality, extent) if is_judged else '<p class="faint">not judged</p>'
        yield f'<div class="lane {modality}-lane">{content}'
        for number, segment in enumerate(segments):
            if segment.lies_in(modality):
                yield _mark_html(number, segment, extent)
        yield "</div>"


def _is_judged(localization: Localization, modality: str) -> bool:
    return not bool(np.isnan(localization.fakeness[:, MODALITIES.index(modality)]).all())


def _height(value: float) -> float:
    """Return the height of a score in a lane, in percent from above."""
    return 100 - (100 - CURVE_TOP) * value


def _ticks_html(extent: Extent) -> Iterator[str]:
    """Yield the marks of the time axis in seconds, as the table has them; the script draws others when the page is zoomed."""
    step_s = next((step for step in TICKS_S if extent.length_s / step <= MAX_TICKS), extent.length_s)
    last_s = extent.end_s - LABEL_ROOM * extent.length_s
    for k in range(math.ceil(extent.start_s / step_s - 1e-9), math.ceil(last_s / step_s - 1e-9)):
        yield f'<span style="left:{_percent(extent.fraction(k * step_s))}">{round(k * step_s, 1):g}</span>'


def _preview_lanes(preview: Preview, extent: Extent) -> Iterator[str]:
    if preview.thumbnails:
        yield '<div class="lane thumbnails">'
        for time_s, image in preview.thumbnails:
            left = extent.fraction(time_s)
            width = min(preview.interval_s / extent.length_s, 1 - left)
            yield f'<img alt="" src="{jpeg_url(image)}" style="left:{_percent(left)};width:{_percent(width)}">'
        yield "</div>"
    if len(preview.loudness()):
        yield f'<div class="lane wave">{_loudness_svg(preview, extent)}</div>'


def _mark_html(number: int, segment: LocalizedSegment, extent: Extent) -> str:
    left, width = extent.fraction(segment.start_s), (segment.end_s - segment.start_s) / extent.length_s
    return (
        f'<div class="segment" data-segment="{number}" '
        f'title="{segment.start_s:.2f}–{segment.end_s:.2f} s, {html.escape(segment.strength_text)}" '
        f'style="left:{_percent(left)};width:{_percent(width)}"><i style="opacity:{0.08 + 0.6 * segment.strength:.2f}"></i></div>'
    )


def _curve_svg(localization: Localization, modality: str, extent: Extent) -> str:
    """Draw the fakeness of a modality over its scale, with gaps at NaN."""
    grid = localization.grid
    values = envelope(localization.fakeness[:, MODALITIES.index(modality)], CURVE_POINTS)
    step_s = grid.hop_s * -(-grid.length // len(values)) if grid.length else grid.hop_s
    x = 1000 * ((np.arange(len(values)) + 0.5) * step_s + grid.start_s - extent.start_s) / extent.length_s
    points, command = [], "M"
    for position, value in zip(x, values, strict=True):
        if np.isnan(value):
            command = "M"
            continue
        points.append(f"{command}{position:.1f} {_height(value):.1f}")
        command = "L"
    scale = "".join(f"M0 {_height(value):.1f}H1000" for value in (1, 0.5))
    return _svg("".join(points), f'<path class="grid" d="{scale}"/>')


def _loudness_svg(preview: Preview, extent: Extent) -> str:
    peaks = envelope(preview.loudness(), CURVE_POINTS)
    times_s = preview.audio_start_s + np.arange(len(peaks)) * preview.peak_s * len(preview.loudness()) / len(peaks)
    x = 1000 * (times_s - extent.start_s) / extent.length_s
    height = 48 * peaks / max(float(peaks.max()), 1e-6)
    upper = [f"{a:.1f} {50 - h:.1f}" for a, h in zip(x, height, strict=True)]
    lower = [f"{a:.1f} {50 + h:.1f}" for a, h in zip(x[::-1], height[::-1], strict=True)]
    return _svg("M" + "L".join(upper + lower) + "Z")


def _svg(path: str, scale: str = "") -> str:
    return f'<svg viewBox="0 0 1000 100" preserveAspectRatio="none" aria-hidden="true">{scale}<path d="{path}"/></svg>'


def jpeg_url(image: npt.NDArray[np.uint8]) -> str:
    """Return an image (H, W, 3) as a data URL."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=70)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _percent(fraction: float) -> str:
    return f"{100 * max(0.0, fraction):.4f}%"
