"""Predictions for real and forged clips > AP, clip AUC, false alarms per minute, with intervals, by modality and method.

A clip's score is that of its best segment. Every alarm on a real clip is false.

Intervals (95 %) are bootstrapped over sources: all versions of one clip are drawn together. Where no false alarm was seen, the
bootstrap cannot tell their rate; the upper end is then the rate at which none would be seen in 2.5 % of cases (Poisson), in the
minutes of different real footage.

Legend: V clips, S sources, N rows of a clip.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from avloc.core.timeline import interval_iou
from avloc.errors import AvlocError
from avloc.evaluation import Evaluation, Truth, get_protocol, read_truth
from avloc.evaluation.bootstrap import LEVEL, RESAMPLES, Interval, bootstrap_intervals
from avloc.evaluation.predictions import Predictions, align
from avloc.evaluation.scoring import evaluate_aligned
from avloc.localization.segment import modality_name
from real_footage.alarms import Rows, Setting, count_alarms

Float = npt.NDArray[np.float64]

FOUND_IOU = 0.5
METRICS = ("ap@0.5", "ap@0.75", "ap@0.9", "ap@0.95", "ar@10")
PROTOCOL = get_protocol("avdeepfake1m")
KINDS = ("audio", "visual", "both")
GROUP_COUNTS = ("forged", "real", "segments", "flagged", "segments_found", "named")


class ClipScore(NamedTuple):
    """The outcome for one clip.

    Attributes:
        file: its name in the metadata.
        kind: `real`, `audio`, `visual` or `both`.
        methods: its methods by modality.
        segments: forged segments.
        score: of its best row; 0 without rows.
        alarms: alarms at the threshold.
        segments_found: forged segments that a row of at least the threshold overlaps with an IoU of at least `FOUND_IOU`.
        named: by forged segment, the modality named by the best row of such an IoU at any score; None if no row has it.
    """

    file: str
    kind: str
    methods: Mapping[str, str]
    segments: int
    score: float
    alarms: int
    segments_found: int
    named: tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class GroupResult:
    """The scores of some forged clips among all real ones.

    Attributes:
        forged: forged clips.
        real: real clips.
        segments: forged segments.
        metrics: strict AP and AR, and the clip AUC as `auc`.
        flagged: forged clips with an alarm.
        segments_found: see `ClipScore.segments_found`.
        named: by named modality, the number of segments found at any score; None: the predictions name none.
    """

    forged: int
    real: int
    segments: int
    metrics: dict[str, Interval]
    flagged: int
    segments_found: int
    named: dict[str, int] | None


@dataclass(frozen=True, slots=True)
class FootageResult:
    """All scores of one system.

    Attributes:
        sources: clips of the footage.
        footage_minutes: their length.
        real_minutes: length of all real versions.
        setting: the threshold.
        false_alarms: per minute of the real clips.
        real_flagged: real clips with an alarm.
        sources_flagged: clips of the footage with an alarm on a real version.
        groups: by group: `all`, a modality, or a method.
        clips: the outcome for each clip.
    """

    sources: int
    footage_minutes: float
    real_minutes: float
    setting: Setting
    false_alarms: Interval
    real_flagged: int
    sources_flagged: int
    groups: dict[str, GroupResult]
    clips: list[ClipScore]

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON: null for NaN."""
        groups = {
            name: {
                **{key: getattr(group, key) for key in GROUP_COUNTS},
                "metrics": {metric: interval.to_dict() for metric, interval in group.metrics.items()},
            }
            for name, group in self.groups.items()
        }
        counts = ("sources", "footage_minutes", "real_minutes", "real_flagged", "sources_flagged")
        return {
            **{key: getattr(self, key) for key in counts},
            "setting": self.setting._asdict(),
            "false_alarms_per_minute": self.false_alarms.to_dict(),
            "groups": groups,
            "clips": [clip._asdict() for clip in self.clips],
        }


# Scores.


def score_footage(
    rows: Rows, metadata: Path, methods: Mapping[str, Mapping[str, str]], setting: Setting, resamples: int = RESAMPLES
) -> FootageResult:
    """Score predictions for the clips that `pairs.make` made.

    Args:
        rows: the predictions, of every clip.
        metadata: the set's metadata.
        methods: by clip, its methods by modality.
        setting: the threshold.
        resamples: draws of the bootstrap.

    Raises:
        AvlocError: if a clip has no predictions (a clip without findings has an empty list).
    """
    truth = read_truth(metadata, PROTOCOL.segments_field)
    arrays = rows_in_order(rows, truth)
    clips = [
        _score_clip(file, truth.modality[k], methods[file], truth.segments(k), arrays[k], setting.threshold)
        for k, file in enumerate(truth.files)
    ]
    is_real = np.array([clip.kind == "real" for clip in clips])
    groups = {
        name: _score_group(truth, arrays, clips, is_real | mask, resamples) for name, mask in _groups(clips).items()
    }
    alarms = np.array([clip.alarms for clip in clips], dtype=np.float64)
    minutes = truth.duration_s / 60
    flagged = is_real & (alarms > 0)
    footage_minutes = sum(minutes[np.flatnonzero(truth.source == source)[0]] for source in np.unique(truth.source))
    return FootageResult(
        sources=len(np.unique(truth.source)),
        footage_minutes=float(footage_minutes),
        real_minutes=float(minutes[is_real].sum()),
        setting=setting,
        false_alarms=rate_interval(
            alarms[is_real], minutes[is_real], truth.source[is_real], float(footage_minutes), resamples
        ),
        real_flagged=int(flagged.sum()),
        sources_flagged=len(np.unique(truth.source[flagged])),
        groups=groups,
        clips=clips,
    )


def rows_in_order(rows: Rows, truth: Truth) -> list[Float]:
    """The rows of each labelled clip.

    Raises:
        AvlocError: if a clip has none (a clip without findings has an empty list).
    """
    if missing := [file for file in truth.files if file not in rows]:
        raise AvlocError(f"no predictions for {len(missing)} clips, the first is {missing[0]}")
    arrays = [np.asarray(rows[file], dtype=np.float64) for file in truth.files]
    return [array if array.size else np.zeros((0, 3)) for array in arrays]


def _groups(clips: Sequence[ClipScore]) -> dict[str, npt.NDArray[np.bool_]]:
    """The forged clips of each group: (V,)."""
    kinds = np.array([clip.kind for clip in clips])
    groups = {"all": kinds != "real"} | {kind: kinds == kind for kind in KINDS}
    names = {name: None for clip in clips for name in clip.methods.values()}
    for name in names:
        groups[name] = np.array([set(clip.methods.values()) == {name} for clip in clips])
    return {name: mask for name, mask in groups.items() if mask.any()}


def _score_clip(
    file: str, kind: str, methods: Mapping[str, str], segments: Float, rows: Float, threshold: float
) -> ClipScore:
    iou = interval_iou(segments, rows[:, 1:3])
    scores = rows[:, 0]
    is_found = ((iou >= FOUND_IOU) & (scores >= threshold)).any(axis=1)
    named = []
    for overlaps in iou >= FOUND_IOU if rows.shape[1] == 5 else ():
        best = int(np.argmax(np.where(overlaps, scores, -np.inf))) if overlaps.any() else None
        named.append(None if best is None else str(modality_name(rows[best, 3:])))
    return ClipScore(
        file=file,
        kind=kind,
        methods=methods,
        segments=len(segments),
        score=float(scores.max(initial=0)),
        alarms=count_alarms(rows, threshold),
        segments_found=int(is_found.sum()),
        named=tuple(named),
    )


def evaluate_clips(truth: Truth, arrays: Sequence[Float], mask: npt.NDArray[np.bool_]) -> Evaluation:
    """Evaluate the rows of the clips of a mask (V,), strictly."""
    selected = truth.select(mask)
    predictions = Predictions.from_dict({truth.files[k]: arrays[k][:, :3] for k in np.flatnonzero(mask)})
    return evaluate_aligned(selected, align(predictions, selected.files), PROTOCOL, modes=("strict",))


def _score_group(
    truth: Truth, arrays: Sequence[Float], clips: Sequence[ClipScore], mask: npt.NDArray[np.bool_], resamples: int
) -> GroupResult:
    """Score the clips of a mask (V,)."""
    evaluation, index = evaluate_clips(truth, arrays, mask), np.flatnonzero(mask)
    intervals = bootstrap_intervals(evaluation, resamples=resamples)
    scores = np.array([clips[k].score for k in index])
    forged = [clips[k] for k in index if clips[k].kind != "real"]
    is_forged = np.array([clips[k].kind != "real" for k in index])
    metrics = {name: intervals[name] for name in METRICS}
    metrics["auc"] = auc_interval(scores, is_forged, truth.source[mask], resamples)
    names = [name for clip in forged for name in clip.named if name is not None]
    has_names = any(clip.named for clip in forged)
    return GroupResult(
        forged=len(forged),
        real=len(index) - len(forged),
        segments=sum(clip.segments for clip in forged),
        metrics=metrics,
        flagged=sum(clip.alarms > 0 for clip in forged),
        segments_found=sum(clip.segments_found for clip in forged),
        named={kind: names.count(kind) for kind in KINDS} if has_names else None,
    )


# Intervals.


def _interval(statistic: Callable[[Float], float], sources: int, resamples: int) -> Interval:
    """A statistic of the sources' weights (S,), with its interval over draws of sources."""
    random = np.random.default_rng(0)
    draws = np.array(
        [
            statistic(np.bincount(random.integers(0, sources, sources), minlength=sources).astype(np.float64))
            for _ in range(resamples)
        ]
    )
    draws = draws[np.isfinite(draws)]
    value = statistic(np.ones(sources))
    if not len(draws):
        return Interval(value, math.nan, math.nan, None)
    low, high = np.percentile(draws, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return Interval(value, float(low), float(high), None)


def auc_interval(
    scores: Float, is_forged: npt.NDArray[np.bool_], source: npt.NDArray[np.int64], resamples: int
) -> Interval:
    """The area under the ROC curve of clips, ties counted half.

    Args:
        scores: (V,), or (R, V) of several runs, whose mean AUC it is.
        is_forged: (V,).
        source: index of each clip's source (V,).
        resamples: draws.
    """
    source = np.unique(source, return_inverse=True)[1]
    sources = int(source.max(initial=-1)) + 1
    forged, real = np.atleast_2d(scores)[:, is_forged, None], np.atleast_2d(scores)[:, None, ~is_forged]
    wins = ((forged > real) + 0.5 * (forged == real)).mean(axis=0)
    by_source = np.zeros((sources, sources))  # of the forged clip, of the real one
    pairs = source[is_forged][:, None], source[~is_forged][None]
    np.add.at(by_source, pairs, wins)
    counts = np.zeros_like(by_source)
    np.add.at(counts, pairs, 1.0)

    def auc(weights: Float) -> float:
        total = float(weights @ counts @ weights)
        return float(weights @ by_source @ weights) / total if total else math.nan

    return _interval(auc, sources, resamples)


def rate_interval(
    alarms: Float, minutes: Float, source: npt.NDArray[np.int64], independent_minutes: float, resamples: int
) -> Interval:
    """Alarms per minute.

    Args:
        alarms: of each clip (V,).
        minutes: of each clip (V,).
        source: index of each clip's source (V,).
        independent_minutes: length of different footage: versions of one clip tell little more than one of them.
        resamples: draws.
    """
    source = np.unique(source, return_inverse=True)[1]
    sums = np.bincount(source, alarms), np.bincount(source, minutes)
    interval = _interval(lambda weights: float(weights @ sums[0] / (weights @ sums[1])), len(sums[0]), resamples)
    if interval.value:
        return interval
    return Interval(0.0, 0.0, -math.log((1 - LEVEL) / 2) / independent_minutes, None)
