"""What is in a set: clips and hours by split, modality and generator; lengths of clips and fakes."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from avloc.core.columns import CategoricalColumn
from avloc.core.records import MODALITIES
from avloc.core.timeline import DEFAULT_FPS, DEFAULT_SAMPLE_RATE
from avloc.datasets.readers.table import RecordTable

GENERATORS = ("audio_model", "video_model")
CLIP_EDGES_S = (0, 2, 4, 6, 8, 10, 12, 16, 20, 30, 60, np.inf)
FAKE_EDGES_S = (0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1, 1.5, 2, 5, np.inf)


def overview(table: RecordTable) -> dict[str, Any]:
    """Counts, hours and histograms, as plain values.

    `groups`: by `split`, `modality` and generator, a list of name, clips, hours (of those whose length is known), segments;
    `lengths`: histograms of clips and fakes, `edges` in seconds and `counts`; `repaired`: see `RecordTable`.
    """
    seconds = lengths_s(table)
    fakes = _fake_lengths(table)
    columns = {"split": table.split, "modality": _modality(table)}
    columns |= {name: table.attributes[name] for name in GENERATORS if name in table.attributes}
    per_clip = np.sum([table.segments[m].counts() for m in MODALITIES], axis=0)
    return {
        "clips": len(table), "hours": _hours(seconds), "unknown_lengths": int(np.isnan(seconds).sum()),
        "segments": {m: int(table.segments[m].counts().sum()) for m in MODALITIES},
        "groups": {name: _group(column, seconds, per_clip) for name, column in columns.items()},
        "lengths": {"clips": _histogram(seconds[~np.isnan(seconds)], CLIP_EDGES_S), "fakes": _histogram(fakes, FAKE_EDGES_S)},
        "repaired": dict(table.repaired),
    }  # fmt: skip


def lengths_s(table: RecordTable) -> npt.NDArray[np.float64]:
    """Seconds of each clip, as the metadata say (duration, else frames or samples); NaN where they do not: (V,)."""
    seconds = table.duration_s.copy()
    for name, rate in (("video_frames", DEFAULT_FPS), ("audio_frames", float(DEFAULT_SAMPLE_RATE))):
        if name in table.attributes:
            column = table.attributes[name]
            values = (
                np.array([float(n) if n.isdigit() else np.nan for n in column.names] or [np.nan])[column.codes] / rate
            )
            seconds = np.where(np.isnan(seconds), values, seconds)
    return seconds


def _modality(table: RecordTable) -> CategoricalColumn:
    found = table.modality()
    return CategoricalColumn(
        np.where(table.labelled, found.codes, len(found.names)).astype(np.int32), [*found.names, "hidden"]
    )


def _fake_lengths(table: RecordTable) -> npt.NDArray[np.float64]:
    """Lengths of the fake segments, one that is in both modalities once."""
    parts = []
    for k in range(len(MODALITIES)):
        ragged = table.segments[MODALITIES[k]]
        clip = np.repeat(np.arange(len(table)), ragged.counts())
        parts.append(np.column_stack([clip, ragged.values]))
    rows = np.unique(np.concatenate(parts), axis=0)
    return rows[:, 2] - rows[:, 1]


def _hours(seconds: npt.NDArray[np.float64]) -> float:
    return float(np.nansum(seconds) / 3600)


def _group(
    column: CategoricalColumn, seconds: npt.NDArray[np.float64], segments: npt.NDArray[np.int64]
) -> list[dict[str, Any]]:
    rows = []
    for code, name in enumerate(column.names):
        mine = column.codes == code
        if mine.any():
            row = {"name": name or "–", "clips": int(mine.sum()), "hours": _hours(seconds[mine])}
            rows.append({**row, "segments": int(segments[mine].sum())})
    return sorted(rows, key=lambda row: -row["clips"])


def _histogram(values: npt.NDArray[np.float64], edges: tuple[float, ...]) -> dict[str, Any]:
    if not len(values):
        return {"edges": [], "counts": [], "median": None, "mean": None, "p95": None, "max": None}
    counts, _ = np.histogram(np.round(values, 9), edges)
    last = int(np.flatnonzero(counts)[-1])
    return {
        "edges": [float(e) for e in edges[: last + 2]], "counts": counts[: last + 1].tolist(),
        "median": float(np.median(values)), "mean": float(values.mean()), "p95": float(np.percentile(values, 95)),
        "max": float(values.max()),
    }  # fmt: skip


def edge_names(edges: list[float]) -> list[str]:
    """The bins of a histogram as texts."""
    return [f"{a:g}–{b:g} s" if np.isfinite(b) else f"{a:g} s and more" for a, b in itertools.pairwise(edges)]


def as_text(found: Mapping[str, Any]) -> str:
    """The overview for a terminal, histograms as bars."""
    lines = [f"{found['clips']:,} clips, {found['hours']:.1f} hours"]
    if found["unknown_lengths"]:
        lines[0] += f" (the metadata do not say how long {found['unknown_lengths']:,} of them are)"
    lines.append("fake segments: " + ", ".join(f"{n:,} {m}" for m, n in found["segments"].items()))
    for name, rows in found["groups"].items():
        width = max(len(row["name"]) for row in rows)
        lines.append(f"\n{name.replace('_', ' ')}")
        lines += [
            f"  {r['name']:{width}}  {r['clips']:>11,} clips  {r['hours']:>9.1f} h  {r['segments']:>11,} segments"
            for r in rows
        ]
    for name, histogram in found["lengths"].items():
        if histogram["counts"]:
            lines.append(
                f"\nlength of {name}: median {histogram['median']:.2f} s, mean {histogram['mean']:.2f}, 95 % under "
                f"{histogram['p95']:.2f}, longest {histogram['max']:.2f}"
            )
            most = max(histogram["counts"])
            for label, count in zip(edge_names(histogram["edges"]), histogram["counts"], strict=True):
                lines.append(f"  {label:>12}  {count:>11,}  {'█' * round(40 * count / most)}".rstrip())
    lines += [f"\nmended: {count:,} {what}" for what, count in found["repaired"].items()]
    return "\n".join(lines)


def as_html(found: Mapping[str, Any], title: str) -> str:
    """The overview as one self-contained page."""
    import html

    bars = []
    for name, histogram in found["lengths"].items():
        most = max(histogram["counts"], default=1)
        rows = "".join(
            f"<tr><td>{label}</td><td class='r'>{count:,}</td>"
            f"<td><div class='bar' style='width:{16 * count / most:.2f}rem'></div></td></tr>"
            for label, count in zip(edge_names(histogram["edges"]), histogram["counts"], strict=True)
        )
        bars.append(f"<h2>Length of {name}</h2><table>{rows}</table>")
    groups = []
    for name, rows_of in found["groups"].items():
        rows = "".join(
            f"<tr><td>{html.escape(r['name'])}</td><td class='r'>{r['clips']:,}</td><td class='r'>{r['hours']:.1f}</td>"
            f"<td class='r'>{r['segments']:,}</td></tr>"
            for r in rows_of
        )
        head = f"<tr><th>{html.escape(name.replace('_', ' '))}</th><th>clips</th><th>hours</th><th>segments</th></tr>"
        groups.append(f"<table>{head}{rows}</table>")
    mended = "".join(f"<p>Mended: {count:,} {html.escape(what)}.</p>" for what, count in found["repaired"].items())
    style = (
        ":root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:50rem;margin:2rem auto;padding:0 1rem}"
        "table{border-collapse:collapse;margin:1rem 0}td,th{padding:.15rem .7rem;text-align:left}.r{text-align:right}"
        "tr{border-bottom:1px solid #8884}.bar{height:.8em;background:#2a78b5;print-color-adjust:exact}"
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, '
        f'initial-scale=1"><title>{html.escape(title)}</title><style>{style}</style></head><body><h1>{html.escape(title)}</h1>'
        f"<p>{found['clips']:,} clips, {found['hours']:.1f} hours.</p>{''.join(groups)}{''.join(bars)}{mended}</body></html>\n"
    )
