"""The timeline of the page as HTML: a lane of thumbnails, one of loudness, and one per modality with its curve and segments."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from avloc.core.records import MODALITIES
from avloc.localization.figure import envelope
from avloc.localization.segment import LocalizedSegment

if TYPE_CHECKING:
    from avloc.localization.preview import Preview
    from avloc.localization.result import Localization

CURVE_POINTS = 2000
LANE_ORDER = ("visual", "audio")


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
        curve = _curve_svg(localization, MODALITIES.index(modality), extent)
        label = modality if curve else f"{modality}: not judged"
        yield f'<div class="lane {modality}-lane"><span class="name">{label}</span>{curve}'
        for number, segment in enumerate(segments):
            if segment.lies_in(modality):
                yield _mark_html(number, segment, extent)
        yield "</div>"


def _preview_lanes(preview: Preview, extent: Extent) -> Iterator[str]:
    if preview.thumbnails:
        yield '<div class="lane thumbnails">'
        for time_s, image in preview.thumbnails:
            left = extent.fraction(time_s)
            width = min(preview.interval_s / extent.length_s, 1 - left)
            yield f'<img alt="" src="{_jpeg_url(image)}" style="left:{_percent(left)};width:{_percent(width)}">'
        yield "</div>"
    if len(preview.loudness()):
        yield f'<div class="lane wave"><span class="name">loudness</span>{_loudness_svg(preview, extent)}</div>'


def _mark_html(number: int, segment: LocalizedSegment, extent: Extent) -> str:
    left, width = extent.fraction(segment.start_s), (segment.end_s - segment.start_s) / extent.length_s
    return (
        f'<div class="segment" data-segment="{number}" '
        f'title="{segment.start_s:.2f}–{segment.end_s:.2f} s, {html.escape(segment.strength_text)}" '
        f'style="left:{_percent(left)};width:{_percent(width)}"><i style="opacity:{0.08 + 0.6 * segment.strength:.2f}"></i></div>'
    )


def _curve_svg(localization: Localization, column: int, extent: Extent) -> str:
    """Draw the fakeness of a modality, with gaps where it is NaN; empty if it is NaN everywhere."""
    grid = localization.grid
    values = envelope(localization.fakeness[:, column], CURVE_POINTS)
    if not len(values) or np.isnan(values).all():
        return ""
    step_s = grid.hop_s * -(-grid.length // len(values)) if grid.length else grid.hop_s
    x = 1000 * ((np.arange(len(values)) + 0.5) * step_s + grid.start_s - extent.start_s) / extent.length_s
    points, command = [], "M"
    for position, value in zip(x, values, strict=True):
        if np.isnan(value):
            command = "M"
            continue
        points.append(f"{command}{position:.1f} {100 - 96 * value:.1f}")
        command = "L"
    return _svg("".join(points))


def _loudness_svg(preview: Preview, extent: Extent) -> str:
    peaks = envelope(preview.loudness(), CURVE_POINTS)
    times_s = preview.audio_start_s + np.arange(len(peaks)) * preview.peak_s * len(preview.loudness()) / len(peaks)
    x = 1000 * (times_s - extent.start_s) / extent.length_s
    height = 48 * peaks / max(float(peaks.max()), 1e-6)
    upper = [f"{a:.1f} {50 - h:.1f}" for a, h in zip(x, height, strict=True)]
    lower = [f"{a:.1f} {50 + h:.1f}" for a, h in zip(x[::-1], height[::-1], strict=True)]
    return _svg("M" + "L".join(upper + lower) + "Z")


def _svg(path: str) -> str:
    return f'<svg viewBox="0 0 1000 100" preserveAspectRatio="none" aria-hidden="true"><path d="{path}"/></svg>'


def _jpeg_url(image: npt.NDArray[np.uint8]) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=70)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _percent(fraction: float) -> str:
    return f"{100 * max(0.0, fraction):.4f}%"
