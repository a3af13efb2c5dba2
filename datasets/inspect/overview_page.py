"""An overview of a dataset > one self-contained html page."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence

from avloc.datasets.inspect.overview import GroupRow, LengthHistogram, Overview, length_text, total_text

STYLE = """
:root { color-scheme: light dark; --bar: light-dark(#2a78b5, #6fb3e8); }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem; }
h1, p { overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .15rem .7rem .15rem 0; text-align: left; vertical-align: top; }
.name { overflow-wrap: anywhere; min-width: 5rem; }
.r, .bin { white-space: nowrap; } .r { text-align: right; } .bin { width: 1%; } tr { border-bottom: 1px solid #8884; }
.room { width: 99%; } .bar { height: 1em; margin-top: .25em; min-width: 1px; background: var(--bar); print-color-adjust: exact; }
.note { opacity: .8; font-size: .92em; }
@media (max-width: 34rem) { body { margin: .8rem auto; padding: 0 .6rem; } th, td { padding-right: .45rem; font-size: .92rem; } }
"""


def as_html(summary: Overview, title: str) -> str:
    """Format an overview as one self-contained page."""
    heading = html.escape(title)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, '
        f'initial-scale=1"><link rel="icon" href="data:,"><title>{heading}</title><style>{STYLE}</style></head>'
        f"<body><h1>{heading}</h1>{''.join(_sections(summary))}</body></html>\n"
    )


def _sections(summary: Overview) -> Iterator[str]:
    unknown = (
        f"; the metadata lack the length of {summary.unknown_lengths:,} of them" if summary.unknown_lengths else ""
    )
    yield f"<p>{summary.clips:,} clips, {total_text(summary.hours)}{unknown}.</p>"
    by_modality = ", ".join(f"{count:,} {modality}" for modality, count in summary.segments.items())
    yield f"<p>{sum(summary.segments.values()):,} fake segments: {by_modality}.</p>"
    for name, rows in summary.groups.items():
        yield from _group_table(name, rows)
    for name, histogram in summary.lengths.items():
        yield from _histogram_table(name, histogram)
    for fault, count in summary.repaired.items():
        yield f"<p>Repaired: {count:,} {html.escape(fault)}.</p>"


def _group_table(name: str, rows: Sequence[GroupRow]) -> Iterator[str]:
    if not rows:
        return
    yield (
        f'<table><tr><th class="name">{html.escape(name.replace("_", " "))}</th><th class="r">clips</th><th class="r">length</th>'
        '<th class="r">segments</th></tr>'
    )
    for row in rows:
        yield (
            f'<tr><td class="name">{html.escape(row.name)}</td><td class="r">{row.clips:,}</td>'
            f'<td class="r">{length_text(row.hours)}</td><td class="r">{row.segments:,}</td></tr>'
        )
    yield "</table>"


def _histogram_table(name: str, histogram: LengthHistogram) -> Iterator[str]:
    if not histogram.counts:
        return
    yield (
        f'<h2>Length of {name}</h2><p class="note">Median {histogram.median:.2f} s, mean {histogram.mean:.2f} s, 95 % under '
        f"{histogram.p95:.2f} s, longest {histogram.max:.2f} s.</p><table>"
    )
    most = max(histogram.counts)
    for label, count in zip(histogram.bin_names(), histogram.counts, strict=True):
        bar = f'<div class="bar" style="width:{100 * count / most:.1f}%"></div>' if count else ""
        yield f'<tr><td class="bin">{label}</td><td class="bin r">{count:,}</td><td class="room">{bar}</td></tr>'
    yield "</table>"
