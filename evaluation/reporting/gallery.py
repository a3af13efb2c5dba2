"""Ground truth and rows > a timeline per clip, truth above predictions, as inline SVG that a browser can filter."""

from __future__ import annotations

import html
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from avloc.evaluation.matching import PredictionRows
from avloc.evaluation.truth import Truth

SHOWN_CLIPS = 24  # at each end of the order
SHOWN_ROWS = 12
WIDTH, LANE_HEIGHT, AXIS_HEIGHT = 600, 14, 16
LANE_GAP = 3
TICKS_S = (0.5, 1, 2, 5, 10, 30, 60, 300, 600)
MAX_TICKS = 12
GALLERY_STYLE = """
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 26rem), 1fr)); gap: .8rem 1.6rem; }
.gallery figure { margin: 0; break-inside: avoid; } .gallery figcaption { overflow-wrap: anywhere; }
.gallery svg { width: 100%; height: auto; } .gallery text { font: 9px system-ui, sans-serif; fill: currentColor; }
.truth { fill: #2a78b5; background: #2a78b5; } .found { fill: #d1495b; background: #d1495b; }
.key { display: inline-block; width: .9em; height: .9em; vertical-align: -.1em; print-color-adjust: exact; }
.lane { fill: #8882; } .tick { stroke: #8886; }
.filter { display: flex; flex-wrap: wrap; gap: .3rem 1rem; margin: .6rem 0; } .filter label { cursor: pointer; }
.gallery [hidden] { display: none; } @media print { .filter { display: none; } }
"""
GALLERY_SCRIPT = """
document.querySelectorAll('.filter').forEach(form => form.addEventListener('change', () => {
  const end = form.elements.end.value, kind = form.elements.kind.value;
  document.querySelectorAll('.gallery figure').forEach(f => {
    f.hidden = !((end === 'all' || f.dataset.end === end) && (kind === 'all' || f.dataset.kind === kind));
  });
}));
"""


def gallery(truth: Truth, rows: PredictionRows, quality: npt.NDArray[np.floating]) -> Iterator[str]:
    """Yield the html of a filter form and of the timelines of the worst and best clips.

    Args:
        truth: the labelled clips.
        rows: their rows, in the same order.
        quality: quality of each clip, the higher the better: (V,).
    """
    order = np.argsort(quality, kind="stable")
    worst = _pick_of_each_modality(truth, order)
    chosen = set(worst)
    best = [k for k in _pick_of_each_modality(truth, order[::-1]) if k not in chosen]
    kinds = [name for name in truth.modality.names if name]
    yield '<form class="filter"><span>show</span>'
    yield from _choices("end", ["all", "worst", "best"])
    yield "<span>of</span>"
    yield from _choices("kind", ["all", *kinds])
    yield '</form><div class="gallery">'
    for end, clips in (("worst", worst), ("best", best)):
        for clip in clips:
            kind = truth.modality[clip]
            name = html.escape(truth.files[clip])
            caption = f"{name} · {html.escape(kind or 'kind unknown')} · {end}, {float(quality[clip]):.2f}"
            yield f'<figure data-end="{end}" data-kind="{html.escape(kind)}">{_timeline(truth, rows, clip)}'
            yield f"<figcaption>{caption}</figcaption></figure>"
    yield "</div>"


def _pick_of_each_modality(truth: Truth, order: npt.NDArray[np.int64]) -> list[int]:
    """Pick the first clips of an order, equally many of each modality."""
    modalities = len(truth.modality.names)
    limit = -(-SHOWN_CLIPS // modalities)
    chosen = [order[truth.modality.codes[order] == code][:limit] for code in range(modalities)]
    return sorted(np.concatenate(chosen).tolist(), key=lambda clip: int(np.flatnonzero(order == clip)[0]))


def _choices(name: str, values: list[str]) -> Iterator[str]:
    for k, value in enumerate(values):
        checked = " checked" if k == 0 else ""
        yield f'<label><input type="radio" name="{name}" value="{html.escape(value)}"{checked}> {html.escape(value)}</label>'


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
    shapes += [_bar("truth", a, b, 0, 1.0, scale, f"truth {a:.2f}–{b:.2f} s") for a, b in labels.tolist()]
    for score, (a, b) in zip(scores.tolist(), segments.tolist(), strict=True):
        if b > a:
            opacity = min(max(score, 0.04), 1.0)
            shapes.append(_bar("found", a, b, lower, opacity, scale, f"score {score:.3f}, {a:.2f}–{b:.2f} s"))
    shapes += _ticks(end_s, scale)
    text = f"{len(labels)} fake segments and the {len(best)} best rows of {truth.files[clip]}"
    height = 2 * LANE_HEIGHT + AXIS_HEIGHT + 4
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{html.escape(text)}">{"".join(shapes)}</svg>'


def _ticks(end_s: float, scale: float) -> Iterator[str]:
    """Yield lines and labels of the time axis."""
    step_s = next((t for t in TICKS_S if end_s / t <= MAX_TICKS), end_s)
    for k in range(int(end_s / step_s) + 1):
        x = k * step_s * scale
        yield f'<path class="tick" d="M{x:.1f} 0V{2 * LANE_HEIGHT + 6}"/>'
        anchor = "end" if x > WIDTH - 12 else "start" if k == 0 else "middle"
        yield f'<text x="{x:.1f}" y="{2 * LANE_HEIGHT + AXIS_HEIGHT}" text-anchor="{anchor}">{k * step_s:g}</text>'


def _bar(kind: str, start: float, end: float, y: int, opacity: float, scale: float, text: str) -> str:
    width = max((end - start) * scale, 1)
    return (
        f'<rect class="{kind}" x="{start * scale:.1f}" y="{y}" width="{width:.1f}" height="{LANE_HEIGHT}" '
        f'opacity="{opacity:.2f}"><title>{html.escape(text)}</title></rect>'
    )
