"""Ground truth and rows > a timeline per clip, truth above predictions, as inline SVG; `report.js` filters them."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from avloc.evaluation.matching import PredictionRows
from avloc.evaluation.truth import Truth

SHOWN_CLIPS = 24  # at each end of the order
SHOWN_ROWS = 12
WIDTH, LANE_HEIGHT, LANE_GAP = 600, 14, 3  # of the drawing, before it is stretched to the page
TICKS_S = (0.5, 1, 2, 5, 10, 20, 60, 120, 300, 600, 1200)
MAX_TICKS = 6
QUALITY = (
    "Quality: of a clip with fakes, the recall of its first rows, averaged over IoU .5 to .95; of a real clip, 1 minus its "
    "highest score."
)


def gallery(truth: Truth, rows: PredictionRows, quality: npt.NDArray[np.floating]) -> Iterator[str]:
    """Yield the html of a filter form and of the timelines of the worst and best clips.

    Args:
        truth: the labelled clips.
        rows: their rows, in the same order.
        quality: quality of each clip, the higher the better: (V,).
    """
    order = np.argsort(quality, kind="stable")
    worst, best = _pick_ends(truth, order)
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(1, len(order) + 1)
    yield f'<p class="note">{_selection_text(len(worst), len(best), quality)} {QUALITY}</p>'
    drawn = [rows.scores[rows.offsets[clip] : rows.offsets[clip + 1]] for clip in (*worst, *best)]
    yield from _filter_form(truth, len(worst), len(best), np.concatenate([*drawn, np.zeros(0)]))
    yield '<div class="gallery">'
    for end, clips in (("worst", worst), ("best", best)):
        for clip in clips:
            kind = html.escape(truth.modality[clip])
            place = _place(int(rank[clip]) if end == "worst" else len(order) + 1 - int(rank[clip]), end)
            rating = f"quality {float(quality[clip]):.2f}, {place} of {len(order)}"
            caption = f"{html.escape(truth.files[clip])} · {kind or 'kind unknown'} · {rating}"
            yield f'<figure data-end="{end}" data-kind="{kind}">{_timeline(truth, rows, clip)}'
            yield f"<figcaption>{caption}</figcaption></figure>"
    yield "</div>"


def _pick_ends(truth: Truth, order: npt.NDArray[np.int64]) -> tuple[list[int], list[int]]:
    """Pick clips from both ends of an order, equally many of each modality; no clip is at both ends."""
    limit = -(-SHOWN_CLIPS // max(1, len(truth.modality.names)))
    worst, best = [], []
    for code in range(len(truth.modality.names)):
        clips = order[truth.modality.codes[order] == code]
        worst.append(clips[: min(limit, (len(clips) + 1) // 2)])
        best.append(clips[max(len(clips) - limit, (len(clips) + 1) // 2) :])
    places = {int(clip): place for place, clip in enumerate(order.tolist())}
    ends = (sorted(np.concatenate([*end, []]).astype(int).tolist(), key=places.__getitem__) for end in (worst, best))
    return next(ends), next(ends)[::-1]


def _place(number: int, end: str) -> str:
    """Name a place, counted from one end.

    >>> [_place(number, "worst") for number in (1, 2, 13, 23)]
    ['worst', '2nd worst', '13th worst', '23rd worst']
    """
    if number == 1:
        return end
    suffix = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix} {end}"


def _selection_text(worst: int, best: int, quality: npt.NDArray[np.floating]) -> str:
    """Say which clips are shown, of how many."""
    total = len(quality)
    if total and quality.min() == quality.max():
        shown = f"All {total} clips" if worst + best == total else f"{worst + best} of {total} clips"
        return f"{shown}; all have the quality {float(quality[0]):.2f}."
    if not best:
        return f"All {worst} clips, from the worst on." if worst == total else f"The {worst} worst of {total} clips."
    halves = " (all, in two halves)" if worst + best == total else ""
    return f"The {worst} worst and the {best} best of {total} clips{halves}, equally many of each kind where there are."


def _filter_form(truth: Truth, worst: int, best: int, scores: npt.NDArray[np.floating]) -> Iterator[str]:
    """Yield the form that filters the timelines, and hides weak rows."""
    present = {truth.modality.names[code] for code in np.unique(truth.modality.codes)}
    kinds = [name for name in truth.modality.names if name and name in present]
    yield '<form class="filter">'
    if best:
        yield "<fieldset><span>show</span>"
        yield from _choices("end", {"all": "all", "worst": f"worst ({worst})", "best": f"best ({best})"})
        yield "</fieldset>"
    if len(kinds) > 1:
        yield "<fieldset><span>of</span>"
        yield from _choices("kind", {kind: kind for kind in ("all", *kinds)})
        yield "</fieldset>"
    if len(scores):
        low, high = float(scores.min()), float(scores.max())
        yield (
            f'<label>hide predictions below a score of <input type="range" name="threshold" min="{low:g}" max="{high:g}" '
            f'step="any" value="{low:g}"> <output></output></label>'
        )
    yield "</form>"


def _choices(name: str, labels: Mapping[str, str]) -> Iterator[str]:
    for k, (value, label) in enumerate(labels.items()):
        checked = " checked" if k == 0 else ""
        yield f'<label><input type="radio" name="{name}" value="{html.escape(value)}"{checked}> {html.escape(label)}</label>'


def _timeline(truth: Truth, rows: PredictionRows, clip: int) -> str:
    part = slice(int(rows.offsets[clip]), int(rows.offsets[clip + 1]))
    best = np.argsort(-rows.scores[part], kind="stable")[:SHOWN_ROWS][::-1]  # the best row is drawn last, on top
    scores, segments = rows.scores[part][best], rows.segments[part][best]
    labels = truth.segments(clip)
    last_s = max([float(s[:, 1].max()) for s in (segments, labels) if len(s)], default=1.0)
    duration_s = float(truth.duration_s[clip])
    end_s = duration_s if np.isfinite(duration_s) else max(last_s, 0.1)
    scale = WIDTH / end_s
    lower = LANE_HEIGHT + LANE_GAP
    shapes = [f'<rect class="lane" x="0" y="{y}" width="{WIDTH}" height="{LANE_HEIGHT}"/>' for y in (0, lower)]
    shapes += [_bar('class="truth"', a, b, 0, 1.0, scale, f"truth {a:.2f}–{b:.2f} s") for a, b in labels.tolist()]
    for score, (a, b) in zip(scores.tolist(), segments.tolist(), strict=True):
        if b > a:
            opacity = min(max(score, 0.04), 1.0)
            name = f'class="found" data-score="{score:.6g}"'
            shapes.append(_bar(name, a, b, lower, opacity, scale, f"score {score:.3f}, {a:.2f}–{b:.2f} s"))
    text = f"{len(labels)} fake segments and the {len(best)} best rows of {truth.files[clip]}"
    return (
        f'<svg viewBox="0 0 {WIDTH} {2 * LANE_HEIGHT + LANE_GAP}" preserveAspectRatio="none" role="img" '
        f'aria-label="{html.escape(text)}">{"".join(shapes)}</svg>'
        f'<div class="ticks" aria-hidden="true">{"".join(_ticks(end_s))}</div>'
    )


def _ticks(end_s: float) -> Iterator[str]:
    """Yield the marks of the time axis, in text that keeps its size."""
    step_s = next((t for t in TICKS_S if end_s / t <= MAX_TICKS), end_s)
    for k in range(math.ceil(0.97 * end_s / step_s)):  # a label at the very end would leave the page
        yield f'<span style="left:{100 * k * step_s / end_s:.2f}%">{k * step_s:g}</span>'


def _bar(attributes: str, start: float, end: float, y: int, opacity: float, scale: float, text: str) -> str:
    width = max((end - start) * scale, 1)
    return (
        f'<rect {attributes} x="{start * scale:.1f}" y="{y}" width="{width:.1f}" height="{LANE_HEIGHT}" '
        f'opacity="{opacity:.2f}"><title>{html.escape(text)}</title></rect>'
    )
