"""Records > counts and hours by split, modality and generator, lengths of clips and fakes > text or JSON."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from avloc.core.columns import CategoricalColumn
from avloc.core.records import MODALITIES, VideoRecord
from avloc.core.timeline import DEFAULT_FPS, DEFAULT_SAMPLE_RATE, Segment
from avloc.datasets.readers.table import RecordTable

GENERATORS = ("audio_model", "video_model")
CLIP_EDGES_S = (0, 2, 4, 6, 8, 10, 12, 16, 20, 30, 60, np.inf)
FAKE_EDGES_S = (0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1, 1.5, 2, 5, np.inf)
BAR_CHARACTERS = 40


@dataclass(frozen=True, slots=True)
class GroupRow:
    """The clips of one split, modality or generator.

    Attributes:
        name: the group's name; – if the metadata have none.
        clips: number of clips.
        hours: total length of the clips whose length is known.
        segments: number of fake segments; one of both modalities counts once.
    """

    name: str
    clips: int
    hours: float
    segments: int


@dataclass(frozen=True, slots=True)
class LengthHistogram:
    """A histogram of lengths in seconds, up to the last bin that is not empty.

    Attributes:
        edges: bin edges, one more than `counts`; empty if there are no lengths. The last may be infinite.
        counts: lengths per bin.
        median: the median, None without lengths; so are the others.
        mean: the mean.
        p95: the 95th percentile.
        max: the longest.

    >>> LengthHistogram.from_lengths(np.array([0.5, 3.0, 3.5]), (0, 2, 4, 6)).counts
    [1, 2]
    """

    edges: list[float]
    counts: list[int]
    median: float | None = None
    mean: float | None = None
    p95: float | None = None
    max: float | None = None

    @classmethod
    def from_lengths(cls, lengths_s: npt.NDArray[np.float64], edges_s: Sequence[float]) -> LengthHistogram:
        """Count lengths (N,) in seconds per bin."""
        if not len(lengths_s):
            return cls([], [])
        counts, _ = np.histogram(np.round(lengths_s, 9), edges_s)
        last = int(np.flatnonzero(counts)[-1])
        return cls(
            [float(edge) for edge in edges_s[: last + 2]],
            counts[: last + 1].tolist(),
            float(np.median(lengths_s)),
            float(lengths_s.mean()),
            float(np.percentile(lengths_s, 95)),
            float(lengths_s.max()),
        )

    def bin_names(self) -> list[str]:
        """Return a label per bin, like `2–4 s`."""
        return [f"{a:g}–{b:g} s" if np.isfinite(b) else f"{a:g} s and more" for a, b in itertools.pairwise(self.edges)]


@dataclass(frozen=True, slots=True)
class Overview:
    """Counts, hours and lengths of a dataset.

    Attributes:
        clips: number of clips.
        hours: total length of the clips whose length is known.
        unknown_lengths: number of clips without a length in the metadata.
        segments: number of fake segments in `audio` alone, in `visual` alone, and in `both`.
        groups: `split`, `modality` and the generators → rows, largest first.
        lengths: `clips` and `fakes` → histogram.
        repaired: fault of the metadata → number of repairs, see `RecordTable`.
    """

    clips: int
    hours: float
    unknown_lengths: int
    segments: Mapping[str, int]
    groups: Mapping[str, list[GroupRow]]
    lengths: Mapping[str, LengthHistogram]
    repaired: Mapping[str, int]

    def to_dict(self) -> dict[str, object]:
        """Return plain dictionaries and lists for a JSON file."""
        return asdict(self)


def overview(table: RecordTable) -> Overview:
    """Count the clips, hours and segments of a dataset.

    >>> from avloc.datasets.readers.table import TableBuilder
    >>> builder = TableBuilder()
    >>> builder.add("a.mp4", "train", duration_s=4.0, audio=[(1.0, 1.5)])
    >>> builder.add("b.mp4", "train", duration_s=5.0)
    >>> [(row.name, row.clips, row.segments) for row in overview(builder.build()).groups["modality"]]
    [('real', 1, 0), ('audio', 1, 1)]
    """
    seconds = lengths_s(table)
    columns = {"split": table.split, "modality": _modality_or_hidden(table)}
    columns |= {name: table.attributes[name] for name in GENERATORS if name in table.attributes}
    segments = forgeries(table)
    per_clip = np.bincount(segments[:, 0].astype(np.int64), minlength=len(table))
    counts = {modality: len(rows) for modality, rows in _rows_by_modality(table).items()}
    both = sum(counts.values()) - len(segments)
    return Overview(
        clips=len(table),
        hours=_hours(seconds),
        unknown_lengths=int(np.isnan(seconds).sum()),
        segments={**{modality: count - both for modality, count in counts.items()}, "both": both},
        groups={name: _group_rows(column, seconds, per_clip) for name, column in columns.items()},
        lengths={
            "clips": LengthHistogram.from_lengths(seconds[~np.isnan(seconds)], CLIP_EDGES_S),
            "fakes": LengthHistogram.from_lengths(segments[:, 2] - segments[:, 1], FAKE_EDGES_S),
        },
        repaired=dict(table.repaired),
    )


def lengths_s(table: RecordTable) -> npt.NDArray[np.float64]:
    """Return the seconds of each clip by the metadata (duration, else frames or samples), NaN if unknown: (V,)."""
    seconds = table.duration_s.copy()
    for name, rate in (("video_frames", DEFAULT_FPS), ("audio_frames", float(DEFAULT_SAMPLE_RATE))):
        if name in table.attributes:
            column = table.attributes[name]
            counts = [float(n) if n.isdigit() else np.nan for n in column.names] or [np.nan]
            seconds = np.where(np.isnan(seconds), np.array(counts)[column.codes] / rate, seconds)
    return seconds


def _modality_or_hidden(table: RecordTable) -> CategoricalColumn:
    modality = table.modality()
    codes = np.where(table.labelled, modality.codes, len(modality.names)).astype(np.int32)
    return CategoricalColumn(codes, [*modality.names, "hidden"])


def forgeries(table: RecordTable) -> npt.NDArray[np.float64]:
    """Return each forgery's clip (index), start and end in seconds: (N, 3).

    A forgery of both modalities counts once, also if its sound and its picture differ a little: then it is the joined segment
    of `VideoRecord.with_joined_segments`.
    """
    by_modality = _rows_by_modality(table)
    rows = np.concatenate(list(by_modality.values()))
    distinct, inverse, counts = np.unique(rows, axis=0, return_inverse=True, return_counts=True)
    is_lone = (counts == 1)[inverse.ravel()]
    first = len(by_modality[MODALITIES[0]])
    # Clips where each modality has a segment that the other lacks: the two may be one forgery. Few clips need this.
    clips = np.intersect1d(rows[:first, 0][is_lone[:first]], rows[first:, 0][is_lone[first:]])
    joined = [
        (clip, segment.start_s, segment.end_s)
        for clip in clips.tolist()
        for segment in _joined_segments(table[int(clip)])
    ]
    kept = distinct[~np.isin(distinct[:, 0], clips)]
    return np.concatenate([kept, np.array(joined, dtype=np.float64).reshape(-1, 3)])


def _joined_segments(record: VideoRecord) -> set[Segment]:
    joined = record.with_joined_segments()
    return {*joined.audio_segments, *joined.visual_segments}


def _rows_by_modality(table: RecordTable) -> dict[str, npt.NDArray[np.float64]]:
    """Return clip, start and end of each modality's segments, each once: (N, 3)."""
    rows = {}
    for modality in MODALITIES:
        intervals = table.segments[modality]
        clips = np.repeat(np.arange(len(table)), intervals.counts())
        rows[modality] = np.unique(np.column_stack([clips, intervals.values]), axis=0)
    return rows


def _hours(seconds: npt.NDArray[np.float64]) -> float:
    return float(np.nansum(seconds) / 3600)


def _group_rows(
    column: CategoricalColumn, seconds: npt.NDArray[np.float64], segments: npt.NDArray[np.int64]
) -> list[GroupRow]:
    rows = []
    for code, name in enumerate(column.names):
        members = column.codes == code
        if members.any():
            hours, segment_count = _hours(seconds[members]), int(segments[members].sum())
            rows.append(GroupRow(name or "–", int(members.sum()), hours, segment_count))
    return sorted(rows, key=lambda row: -row.clips)


def length_text(hours: float) -> str:
    """Format a total length in the unit that shows it: hours, or below one of them minutes, or seconds; – if it is unknown.

    >>> length_text(12.34), length_text(0.2), length_text(0.01), length_text(0.0)
    ('12.3 hours', '12.0 minutes', '36.0 seconds', '–')
    """
    if not hours:
        return "–"
    if hours >= 1:
        return f"{hours:,.1f} hours"
    return f"{60 * hours:.1f} minutes" if 60 * hours >= 1 else f"{3600 * hours:.1f} seconds"


def total_text(hours: float) -> str:
    """Format the length of all clips."""
    return length_text(hours) if hours else "0 hours"


def as_text(summary: Overview) -> str:
    """Format an overview for a terminal, with histograms as bars."""
    lines = [f"{summary.clips:,} clips, {total_text(summary.hours)}"]
    if summary.unknown_lengths:
        lines[0] += f" (the metadata lack the length of {summary.unknown_lengths:,} of them)"
    by_modality = ", ".join(f"{count:,} {modality}" for modality, count in summary.segments.items())
    lines.append(f"fake segments: {sum(summary.segments.values()):,} ({by_modality})")
    for name, rows in summary.groups.items():
        width = max((len(row.name) for row in rows), default=0)
        lines.append(f"\n{name.replace('_', ' ')}")
        lines += [
            f"  {row.name:{width}}  {row.clips:>11,} clips  {length_text(row.hours):>13}  {row.segments:>11,} segments"
            for row in rows
        ]
    for name, histogram in summary.lengths.items():
        lines += _histogram_lines(name, histogram)
    lines += [f"\nrepaired: {count:,} {fault}" for fault, count in summary.repaired.items()]
    return "\n".join(lines)


def _histogram_lines(name: str, histogram: LengthHistogram) -> list[str]:
    if not histogram.counts:
        return []
    lines = [
        f"\nlength of {name}: median {histogram.median:.2f} s, mean {histogram.mean:.2f}, 95 % under "
        f"{histogram.p95:.2f}, longest {histogram.max:.2f}"
    ]
    most = max(histogram.counts)
    for label, count in zip(histogram.bin_names(), histogram.counts, strict=True):
        lines.append(f"  {label:>12}  {count:>11,}  {'█' * round(BAR_CHARACTERS * count / most)}".rstrip())
    return lines
