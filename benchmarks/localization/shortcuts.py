"""A made set > simple facts about each clip > linear classifiers that must not tell forged clips from real ones.

Facts that a method of forging does not have to change: length, size, loudness, spectral tilt, the picture's statistics, and
where, how long and how many the edits are. A classifier is fitted on four fifths of the sources and scored on the rest; its area
under the curve has an interval by bootstrap over sources.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from corpus import ClipDetails, read_details, read_records

from avloc.core.records import VideoRecord
from avloc.core.timeline import DEFAULT_SAMPLE_RATE
from avloc.feature_extraction.media.decode import decode
from avloc.feature_extraction.media.types import VideoFormat
from avloc.io.workers import processes

Array = npt.NDArray[np.float64]

SPLITS = ("train", "val", "test")
TASK_CLIPS = 16
FOLDS = 5
RIDGE = 1.0
BOOTSTRAPS = 1000
INTERVAL = (2.5, 97.5)
MARGIN = 0.05
"""A shortcut is an area under the curve whose whole interval lies above one half by more than this."""
BAND_EDGES_HZ = (100, 300, 700, 1500, 3000, 5000, 7900)
PICTURE_SIDE = 48
MOST_COUNTED = 6  # edits


class Facts(NamedTuple):
    """Numbers about a clip, or about an edit, of one kind each.

    Attributes:
        values: group → numbers.
        forged: modalities that are forged.
        source: the source.
    """

    values: dict[str, list[float]]
    forged: frozenset[str]
    source: str


GROUPS: dict[str, str] = {
    "length, frames, start": "",
    "file size": "",
    "loudness": "audio",
    "loudness of words": "audio",
    "spectral tilt": "audio",
    "spectral tilt of words": "audio",
    "picture": "visual",
    "number of edits": "",
    "place and length of an edit": "",
}
"""The groups of facts, and the modality whose forgery they could give away; empty: any. The last one is about edits."""
EDIT_GROUP = [*GROUPS][-1]


class Row(NamedTuple):
    """A group's result: the area under the curve, its interval, and numbers of real and forged examples."""

    group: str
    auc: float
    low: float
    high: float
    real: int
    forged: int

    @property
    def is_shortcut(self) -> bool:
        """True if the classifier is better than chance by more than `MARGIN`."""
        return self.low > 0.5 + MARGIN


def check(clips: Path, workers: int = 2) -> str:
    """Look for shortcuts in a set; returns a table.

    Args:
        clips: folder of the set.
        workers: processes.
    """
    rows = find_shortcuts(read_facts(clips, workers))
    lines = ["| facts | AUC | 95 % interval | real | forged | |", "|---|---|---|---|---|---|"]
    for row in rows:
        verdict = "**shortcut**" if row.is_shortcut else "none"
        lines.append(
            f"| {row.group} | {row.auc:.3f} | {row.low:.3f}–{row.high:.3f} | {row.real} | {row.forged} | {verdict} |"
        )
    return "\n".join(lines)


def read_facts(clips: Path, workers: int = 1) -> list[Facts]:
    """The facts of all clips of a set, and of their edits."""
    details = read_details(clips)
    pairs = [(record, details[record.file]) for split in SPLITS for record in read_records(clips, split)]
    tasks = [_Task(clips, pairs[k : k + TASK_CLIPS]) for k in range(0, len(pairs), TASK_CLIPS)]
    facts = [fact for measured in processes.run(_measure, tasks, workers) for fact in measured]
    return facts + [fact for pair in pairs for fact in edit_facts(*pair)]


class _Task(NamedTuple):
    clips: Path
    pairs: list[tuple[VideoRecord, ClipDetails]]


def _measure(task: _Task) -> list[Facts]:
    return [clip_facts(task.clips, record, details) for record, details in task.pairs]


def find_shortcuts(facts: Sequence[Facts], groups: Iterable[str] | None = None) -> list[Row]:
    """The result of each group of facts, by default of all `GROUPS`."""
    rows = []
    for group in GROUPS if groups is None else groups:
        modality = GROUPS[group]
        selected = [
            fact
            for fact in facts
            if group in fact.values and (not modality or not fact.forged or modality in fact.forged)
        ]
        values = np.array([fact.values[group] for fact in selected])
        forged = np.array([bool(fact.forged) for fact in selected])
        sources = np.unique([fact.source for fact in selected], return_inverse=True)[1]
        scores = held_out_scores(values, forged, sources)
        low, high = bootstrap_interval(scores, forged, sources)
        rows.append(Row(group, area_under_curve(scores, forged), low, high, int((~forged).sum()), int(forged.sum())))
    return rows


# Facts.


def clip_facts(clips: Path, record: VideoRecord, details: ClipDetails) -> Facts:
    """Measure a clip."""
    path = clips / record.file
    clip = decode(path, [VideoFormat(PICTURE_SIDE, PICTURE_SIDE, "gray")])
    assert clip.samples is not None
    frames = next(iter(clip.frames.values())).astype(np.float64)
    size, attributes = path.stat().st_size, dict(record.attributes)
    words = [clip.samples[round(s * DEFAULT_SAMPLE_RATE) : round(e * DEFAULT_SAMPLE_RATE)] for s, e in details.words]
    tilts = np.array([tilt_db(word) for word in words])
    levels = np.array([level_db(word) for word in words])
    blocks = clip.samples[: len(clip.samples) // 320 * 320].reshape(-1, 320)
    edits = len(details.splices) + max(len(record.audio_segments), len(record.visual_segments))
    values = {
        "length, frames, start": [
            clip.duration_s,
            float(attributes["video_frames"]),
            details.video_start_s,
            float(len(words)),
        ],
        "file size": [float(size), size / clip.duration_s],
        "loudness": [
            level_db(clip.samples),
            float(np.abs(clip.samples).max()),
            *_percentiles([level_db(b) for b in blocks]),
        ],
        "loudness of words": [levels.mean(), levels.std(), levels.max() - levels.min()],
        "spectral tilt": tilt_db(clip.samples).tolist(),
        "spectral tilt of words": [*tilts.mean(axis=0), *tilts.std(axis=0)],
        "picture": [frames.mean(), frames.std(), np.abs(np.diff(frames, axis=0)).mean(), _sharpness(frames)],
        "number of edits": one_hot(edits),
    }
    forged = frozenset(details.methods)
    return Facts(values, forged, details.source)


def edit_facts(record: VideoRecord, details: ClipDetails) -> list[Facts]:
    """Measure the edits of a clip, forged and genuine: length in seconds, and place as a share of the clip."""
    assert record.duration_s
    forged = record.audio_segments or record.visual_segments
    spans = [(s, e, frozenset(details.methods)) for s, e in forged] + [
        (s, e, frozenset[str]()) for s, e in details.splices
    ]
    return [
        Facts(
            {EDIT_GROUP: [end - start, np.log(end - start), begin_share, abs(begin_share - 0.5)]},
            modalities,
            details.source,
        )
        for start, end, modalities in spans
        for begin_share in [(start + end) / 2 / record.duration_s]
    ]


def one_hot(edits: int) -> list[float]:
    """The number of edits as a vector with one 1, so that a linear classifier sees any use of it; at most `MOST_COUNTED`."""
    return [float(k == min(edits, MOST_COUNTED)) for k in range(MOST_COUNTED + 1)]


def level_db(samples: npt.NDArray[np.floating]) -> float:
    """Root mean square in dB."""
    return float(10 * np.log10(np.mean(samples.astype(np.float64) ** 2) + 1e-10))


def tilt_db(samples: npt.NDArray[np.floating]) -> Array:
    """Levels of bands over that of the lowest one, in dB."""
    size = max(1024, len(samples))
    power = np.abs(np.fft.rfft(samples, size)) ** 2
    bins = np.searchsorted(np.fft.rfftfreq(size, 1 / DEFAULT_SAMPLE_RATE), BAND_EDGES_HZ)
    levels = 10 * np.log10(np.add.reduceat(power, bins)[:-1] / np.diff(bins) / size + 1e-10)
    return np.asarray(levels[1:] - levels[0], dtype=np.float64)


def _percentiles(levels: Sequence[float]) -> list[float]:
    return [float(x) for x in np.percentile(levels, [10, 50, 90])]


def _sharpness(frames: Array) -> float:
    return float(np.abs(np.diff(frames, axis=1)).mean() + np.abs(np.diff(frames, axis=2)).mean())


# Classifiers.


def held_out_scores(values: Array, forged: npt.NDArray[np.bool_], sources: npt.NDArray[np.int64]) -> Array:
    """Scores by linear classifiers that were fitted on other sources (ridge regression): (N, K) → (N,)."""
    scores = np.zeros(len(values))
    for fold in range(FOLDS):
        held_out = sources % FOLDS == fold
        mean, std = values[~held_out].mean(axis=0), values[~held_out].std(axis=0) + 1e-9
        x = np.column_stack([(values - mean) / std, np.ones(len(values))])
        # Both classes weigh the same, so that folds of other shares have comparable scores.
        weight = np.where(forged, 1 / max(1, forged[~held_out].sum()), 1 / max(1, (~forged[~held_out]).sum()))
        fit = x[~held_out] * weight[~held_out, None]
        penalty = RIDGE / len(fit) * np.diag([1.0] * values.shape[1] + [0.0])
        solution = np.linalg.solve(fit.T @ x[~held_out] + penalty, fit.T @ np.where(forged[~held_out], 1.0, -1.0))
        scores[held_out] = x[held_out] @ solution
    return scores


def area_under_curve(scores: Array, positive: npt.NDArray[np.bool_]) -> float:
    """The share of pairs of a positive and a negative example that are in order; ties count half."""
    ordered = np.sort(scores[~positive])
    below, not_above = (np.searchsorted(ordered, scores[positive], side) for side in ("left", "right"))
    return float((below + not_above).mean() / 2 / len(ordered))


def bootstrap_interval(
    scores: Array, positive: npt.NDArray[np.bool_], sources: npt.NDArray[np.int64]
) -> tuple[float, float]:
    """The interval of the area under the curve, by drawing sources with replacement."""
    rng = np.random.default_rng(0)
    members = [np.flatnonzero(sources == source) for source in range(sources.max() + 1)]
    areas = []
    for _ in range(BOOTSTRAPS):
        drawn = np.concatenate([members[k] for k in rng.integers(len(members), size=len(members))])
        if 0 < positive[drawn].sum() < len(drawn):
            areas.append(area_under_curve(scores[drawn], positive[drawn]))
    low, high = np.percentile(areas, INTERVAL)
    return float(low), float(high)
