"""Rows of several systems > calibrated scores > rows that agree become one > one list of rows for each clip.

Solovyev, Wang & Gabruseva, "Weighted boxes fusion", Image and Vision Computing 2021, in one dimension, with one difference: a
fused row holds at most one row of each system, so that rows which one system keeps apart stay apart, and copies of a system
change nothing. Of the rows that a row may join, it joins the one with the largest product of score and IoU: near each good row
soft-NMS leaves many poor ones, of which one often overlaps a little more, and good rows that miss each other stay as duplicates.
Or soft-NMS over the rows of all systems.

Legend: K systems, V clips, R rows of all clips, C fused rows of all clips.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from avloc.core.proposals import Proposals, soft_nms
from avloc.errors import AvlocError
from avloc.evaluation.evidence.calibration import Calibration
from avloc.evaluation.evidence.roc import Float
from avloc.evaluation.evidence.row_calibration import calibrate_rows
from avloc.evaluation.matching import (
    IOU_TOLERANCE,
    IntArray,
    Labels,
    PredictionRows,
    overlapping_pairs,
    rank_pairs,
    video_of_row,
)

Method = Literal["boxes", "soft-nms"]
METHODS: tuple[Method, ...] = ("boxes", "soft-nms")
KEEP = 100
ROUNDED_DECIMALS = 9  # of seconds
CHUNK_CLIPS = 2048  # clips that are fused at a time: their arrays stay small beside the rows of all clips


@dataclass(frozen=True, slots=True)
class SegmentFusion:
    """Settings for fusing the rows of several systems into one list.

    Attributes:
        calibrations: of the rows of each system.
        weights: trust in each system, above 0.
        merge_iou: lowest IoU to merge rows of two systems (`boxes`).
        absence: how much a system without a row there counts, in [0, 1]: with 1 a row of one of two systems gets half its
            score, with 0 all of it (`boxes`).
        method: `boxes`, or `soft-nms`.
        sigma: width of soft-NMS.
        keep: at most this many rows per clip.

    Raises:
        AvlocError: if a value is out of range, or the numbers of calibrations and weights differ.

    >>> one = Calibration("segments", ("identity",), (1.0,), 0.0, fakes=1, reals=1)
    >>> a = PredictionRows(np.array([2.0]), np.array([[1.0, 2.0]]), np.array([0, 1]))
    >>> b = PredictionRows(np.array([2.0]), np.array([[1.2, 2.2]]), np.array([0, 1]))
    >>> SegmentFusion((one, one), (1.0, 1.0)).fuse([a, b]).segments.round(3).tolist()
    [[1.1, 2.1]]
    """

    calibrations: tuple[Calibration, ...]
    weights: tuple[float, ...]
    merge_iou: float = 0.6
    absence: float = 0.5
    method: Method = "boxes"
    sigma: float = 0.4
    keep: int = KEEP

    def __post_init__(self) -> None:
        if len(self.calibrations) != len(self.weights) or not self.weights:
            raise AvlocError(f"fusion: got {len(self.calibrations)} calibrations and {len(self.weights)} weights")
        checks = {
            f"want weights above 0, got {self.weights}": all(0 < w < np.inf for w in self.weights),
            f"want a merging IoU above 0 and at most 1, got {self.merge_iou:g}": 0 < self.merge_iou <= 1,
            f"want an absence in [0, 1], got {self.absence:g}": 0 <= self.absence <= 1,
            f"want a method of {', '.join(METHODS)}, got {self.method!r}": self.method in METHODS,
            f"want a sigma above 0, got {self.sigma:g}": 0 < self.sigma < np.inf,
            f"want at least 1 row per clip, got {self.keep}": self.keep >= 1,
        }
        if wrong := [text for text, is_right in checks.items() if not is_right]:
            raise AvlocError(f"fusion: {wrong[0]}")

    def fuse(self, systems: Sequence[PredictionRows]) -> PredictionRows:
        """Fuse the rows of the same clips by all systems, in the order of the calibrations.

        Returns:
            The rows of each clip by descending score, the probability that the row is a hit.

        Raises:
            AvlocError: if the numbers of systems or of their clips differ.
        """
        parts = list(self.iter_parts(systems))
        offsets = (
            np.concatenate([[0], np.cumsum(np.concatenate([np.diff(part.offsets) for part in parts]))])
            if parts
            else [0]
        )
        return PredictionRows(
            np.concatenate([np.zeros(0), *(part.scores for part in parts)]),
            np.concatenate([np.zeros((0, 2)), *(part.segments for part in parts)]),
            np.asarray(offsets, dtype=np.int64),
        )

    def iter_parts(self, systems: Sequence[PredictionRows]) -> Iterator[PredictionRows]:
        """Yield the fused rows of some thousand clips at a time, see `fuse`."""
        if len(systems) != len(self.weights):
            raise AvlocError(f"fusion: want rows of {len(self.weights)} systems, got {len(systems)}")
        clips = {len(rows.offsets) - 1 for rows in systems}
        if len(clips) > 1:
            raise AvlocError(f"fusion: want rows of the same clips, got {' and '.join(map(str, sorted(clips)))} clips")
        for begin in range(0, clips.pop(), CHUNK_CLIPS):
            yield self._fuse_part([_select(rows, begin, begin + CHUNK_CLIPS) for rows in systems])

    def _fuse_part(self, systems: Sequence[PredictionRows]) -> PredictionRows:
        calibrated = [
            _best_first(calibrate_rows(rows, calibration))
            for rows, calibration in zip(systems, self.calibrations, strict=True)
        ]
        fused = self._merge(calibrated) if self.method == "boxes" else self._suppress(calibrated)
        return _keep_best(_best_first(fused), self.keep)

    def _merge(self, systems: Sequence[PredictionRows]) -> PredictionRows:
        """Let each row join a free fused row that it overlaps enough, system by system, the best rows first."""
        fused = _FusedRows.start(systems[0], self.weights[0])
        for rows, weight in zip(systems[1:], self.weights[1:], strict=True):
            fused = fused.join(rows, weight, self.merge_iou)
        total = sum(self.weights)
        score = fused.score_sum / (fused.weight + self.absence * (total - fused.weight))
        return PredictionRows(score, fused.segments, fused.offsets)

    def _suppress(self, systems: Sequence[PredictionRows]) -> PredictionRows:
        """Run soft-NMS over the rows of all systems; a system's scores are multiplied by its share of the largest weight."""
        parts = []
        for clip in range(len(systems[0].offsets) - 1):
            rows = [_select(system, clip, clip + 1) for system in systems]
            shares = [weight / max(self.weights) for weight in self.weights]
            scores = np.concatenate([part.scores * share for part, share in zip(rows, shares, strict=True)])
            segments = np.concatenate([part.segments for part in rows])
            parts.append(
                soft_nms(
                    Proposals(segments, scores, np.zeros((len(scores), 0))), sigma=self.sigma, keep=self.keep, floor=0.0
                )
            )
        offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
        return PredictionRows(
            np.concatenate([part.scores for part in parts]), np.concatenate([part.segments for part in parts]), offsets
        )


@dataclass(frozen=True, slots=True)
class _FusedRows:
    """Rows that hold at most one row of each system so far.

    Attributes:
        ends_sum: weighted sum of their segments: (C, 2).
        ends_weight: sum of these weights, trust · score: (C,).
        score_sum: sum of trust · score: (C,).
        weight: sum of the trust in the systems that have a row there: (C,).
        offsets: first fused row of each clip: (V + 1,).
    """

    ends_sum: Float
    ends_weight: Float
    score_sum: Float
    weight: Float
    offsets: IntArray

    @property
    def segments(self) -> Float:
        """Mean of the segments: (C, 2)."""
        return self.ends_sum / self.ends_weight[:, None]

    @classmethod
    def start(cls, rows: PredictionRows, weight: float) -> _FusedRows:
        """Make one fused row of each row of a system."""
        score = weight * rows.scores.astype(np.float64)
        ends_weight = np.maximum(score, np.finfo(np.float64).tiny * 1e20)  # a score of 0 has a segment too
        trust = np.full(len(score), float(weight))
        ends_sum = rows.segments.astype(np.float64) * ends_weight[:, None]
        return cls(ends_sum, ends_weight, score, trust, rows.offsets)

    def join(self, rows: PredictionRows, weight: float, merge_iou: float) -> _FusedRows:
        """Add the rows of one more system, whose rows are sorted by descending score."""
        partner = self._partners(rows, merge_iou)
        new = _FusedRows.start(rows, weight)
        merged, is_alone = np.flatnonzero(partner >= 0), np.ones(len(rows.scores), dtype=bool)
        is_alone[partner[merged]] = False
        clip = np.concatenate([video_of_row(self.offsets), video_of_row(rows.offsets)[is_alone]])
        order = np.argsort(clip, kind="stable")
        columns: dict[str, Float] = {}
        for name in ("ends_sum", "ends_weight", "score_sum", "weight"):
            column, other = getattr(self, name).copy(), getattr(new, name)
            column[merged] += other[partner[merged]]
            columns[name] = np.concatenate([column, other[is_alone]])[order]
        counts = np.bincount(clip, minlength=len(self.offsets) - 1)
        return _FusedRows(**columns, offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))

    def _partners(self, rows: PredictionRows, merge_iou: float) -> IntArray:
        """Let each row by descending score take the free fused row of the largest score · IoU, at or above an IoU.

        Returns:
            The row that each fused row gets, −1 for none: (C,).
        """
        # Rounded, so that means of equal ends are equal: among rows of one segment, the best ones meet.
        targets = Labels(np.round(self.segments, ROUNDED_DECIMALS), self.offsets)
        moved = dataclasses.replace(rows, segments=np.round(rows.segments, ROUNDED_DECIMALS))
        pairs = overlapping_pairs(moved, targets, merge_iou)
        pairs = pairs.select(pairs.iou >= merge_iou - IOU_TOLERANCE)
        merit = pairs.iou * (self.ends_weight / self.weight)[pairs.label]  # above 0, even for a score of 0
        ranked = rank_pairs(moved, targets, dataclasses.replace(pairs, iou=merit))
        return ranked.match((0.0,)).rows[0.0]


def _select(rows: PredictionRows, begin: int, end: int) -> PredictionRows:
    """Return the rows of consecutive clips."""
    offsets = rows.offsets[begin : end + 1]
    part = slice(offsets[0], offsets[-1])
    return PredictionRows(rows.scores[part], rows.segments[part], offsets - offsets[0])


def _best_first(rows: PredictionRows) -> PredictionRows:
    """Sort the rows of each clip by descending score, then start, then end: the order in the file never matters."""
    order = np.lexsort((rows.segments[:, 1], rows.segments[:, 0], -rows.scores, video_of_row(rows.offsets)))
    return PredictionRows(rows.scores[order], rows.segments[order], rows.offsets)


def _keep_best(rows: PredictionRows, keep: int) -> PredictionRows:
    """Keep the first rows of each clip."""
    counts = np.diff(rows.offsets)
    if not (counts > keep).any():
        return rows
    is_kept = np.arange(len(rows.scores)) - rows.offsets[video_of_row(rows.offsets)] < keep
    offsets = np.concatenate([[0], np.cumsum(np.minimum(counts, keep))]).astype(np.int64)
    return dataclasses.replace(rows, scores=rows.scores[is_kept], segments=rows.segments[is_kept], offsets=offsets)
