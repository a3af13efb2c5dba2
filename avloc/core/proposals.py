"""`Proposals`: scored segments of one clip, soft-NMS over them, and boundary voting. Legend: N rows, M modalities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from avloc.core.timeline import interval_iou
from avloc.errors import AvlocError

Float = npt.NDArray[np.float64]

MODALITY_SHARE = 0.5
"""Both modalities of a row count as forged if the weaker one scores at least this share of the stronger one."""


@dataclass(frozen=True, slots=True, repr=False)
class Proposals:
    """Scored segments of one clip.

    Attributes:
        segments: (N, 2) seconds.
        scores: (N,) in [0, 1].
        modality_scores: (N, M) score of each modality being forged there, in the order of `records.MODALITIES`.

    Raises:
        AvlocError: if the three arrays differ in length.

    >>> proposals = Proposals(np.array([[0, 1.0], [2, 3]]), np.array([0.4, 0.9]), np.array([[0.4, 0], [0, 0.9]]))
    >>> proposals.best(1).segments.tolist()
    [[2.0, 3.0]]
    """

    segments: Float
    scores: Float
    modality_scores: Float

    def __repr__(self) -> str:
        strongest = f", strongest {self.scores.max():.3f}" if len(self) else ""
        return f"Proposals({len(self)} segments{strongest})"

    def __post_init__(self) -> None:
        if not (len(self.segments) == len(self.scores) == len(self.modality_scores)):
            lengths = len(self.segments), len(self.scores), len(self.modality_scores)
            raise AvlocError(f"segments, scores and modality scores must have equal length, got {lengths}")

    def __len__(self) -> int:
        return len(self.scores)

    @classmethod
    def empty(cls, modalities: int = 2) -> Proposals:
        """Return proposals without a row."""
        return cls(np.zeros((0, 2)), np.zeros(0), np.zeros((0, modalities)))

    def take(self, index: npt.NDArray[np.int64] | npt.NDArray[np.bool_] | slice) -> Proposals:
        """Return the rows of an index, in its order."""
        return Proposals(self.segments[index], self.scores[index], self.modality_scores[index])

    def best(self, count: int) -> Proposals:
        """Return the `count` best rows, sorted by falling score; ties by start, then end."""
        order = np.lexsort((self.segments[:, 1], self.segments[:, 0], -self.scores))
        return self.take(order[:count])

    def shifted(self, seconds: float) -> Proposals:
        """Return the same rows, later by some seconds."""
        return Proposals(self.segments + seconds, self.scores, self.modality_scores)

    def cut(self, end_s: float) -> Proposals:
        """Cut the rows to a clip's end; rows behind it are dropped."""
        segments = np.minimum(self.segments, end_s)
        kept = segments[:, 1] > segments[:, 0]
        return Proposals(segments[kept], self.scores[kept], self.modality_scores[kept])

    def with_modalities(self, columns: slice, modalities: int) -> Proposals:
        """Return the same rows with scores of M modalities: these at `columns`, 0 for the others."""
        scores = np.zeros((len(self), modalities))
        scores[:, columns] = self.modality_scores
        return Proposals(self.segments, self.scores, scores)

    @classmethod
    def concatenate(cls, parts: list[Proposals]) -> Proposals:
        """Return the rows of all parts, in order."""
        if not parts:
            return cls.empty()
        return cls(
            np.concatenate([p.segments for p in parts]),
            np.concatenate([p.scores for p in parts]),
            np.concatenate([p.modality_scores for p in parts]),
        )


def soft_nms(
    proposals: Proposals,
    *,
    sigma: float = 0.5,
    keep: int = 100,
    floor: float = 1e-3,
    spare: tuple[float, float] | None = None,
) -> Proposals:
    """Suppress overlapping rows by soft-NMS with a Gaussian penalty.

    Bodla et al., "Soft-NMS", ICCV 2017, equation 3: the best remaining row is picked, and the score of every other one is
    multiplied by exp(−IoU² / sigma), until no row is left. Ties go to the earlier start, then the earlier end, so the order
    of the rows does not matter.

    Args:
        proposals: rows in any order, with finite scores.
        sigma: width of the Gaussian; a smaller one suppresses more.
        keep: at most this many rows are returned.
        floor: rows whose score falls below it are dropped.
        spare: (low, high), as in BA-TFD: a pick spares the rows whose IoU with it is at most
            low + (high − low) · its length in seconds.

    Returns:
        The picked rows with their scores at the time of the pick, sorted by falling score.

    Raises:
        AvlocError: if sigma is not positive, or a score is not finite.

    >>> twice = Proposals(np.array([[0.0, 1.0], [0.0, 1.0]]), np.array([0.9, 0.8]), np.zeros((2, 2)))
    >>> soft_nms(twice, sigma=0.5).scores.round(3).tolist()
    [0.9, 0.108]
    """
    if sigma <= 0:
        raise AvlocError(f"sigma must be positive, got {sigma:g}")
    if not np.isfinite(proposals.scores).all():
        raise AvlocError("soft-NMS wants finite scores")
    rows = proposals.best(len(proposals))
    iou = interval_iou(rows.segments, rows.segments)
    penalty = np.exp(-(iou**2) / sigma)
    if spare is not None:
        lengths = rows.segments[:, 1] - rows.segments[:, 0]
        penalty[iou <= (spare[0] + (spare[1] - spare[0]) * lengths)[:, None]] = 1.0
    scores = rows.scores.copy()
    kept: list[int] = []
    kept_scores: list[float] = []
    while len(kept) < keep and len(scores):
        k = int(scores.argmax())
        if not scores[k] >= floor:
            break
        kept.append(k)
        kept_scores.append(float(scores[k]))
        scores *= penalty[k]
        scores[k] = -np.inf
    picked = rows.take(np.array(kept, dtype=np.int64))
    return Proposals(picked.segments, np.array(kept_scores), picked.modality_scores)


def vote_boundaries(picked: Proposals, candidates: Proposals, min_iou: float) -> Proposals:
    """Move each row's ends to the mean of the candidates around it, weighted by score times IoU; scores stay.

    Gidaris and Komodakis, "Object detection via a multi-region and semantic segmentation-aware CNN model", ICCV 2015, section 5.

    Args:
        picked: the rows of a soft-NMS.
        candidates: the rows that it picked from.
        min_iou: candidates with a smaller IoU have no vote on a row.
    """
    if not len(picked) or not len(candidates):
        return picked
    iou = interval_iou(picked.segments, candidates.segments)
    weight = np.where(iou >= min_iou, iou * candidates.scores, 0.0)
    total = weight.sum(axis=1, keepdims=True)
    voted = weight @ candidates.segments / np.maximum(total, 1e-12)
    return Proposals(np.where(total > 1e-12, voted, picked.segments), picked.scores, picked.modality_scores)


def merge_modalities(first: Proposals, second: Proposals, *, min_iou: float, hull: bool = False) -> Proposals:
    """Merge the proposals of two modalities: rows that overlap by enough become one row with the scores of both.

    Each row merges with at most one of the other modality, the pairs of the highest scores first (ties: the larger IoU). The
    row of the higher score gives the score, and the ends unless `hull`. A row that overlaps another modality's without being
    merged, since sound and picture are forged over different times, gets that modality's score, times their IoU.

    Args:
        first: rows of one modality, the scores of the other one 0.
        second: rows of the other modality.
        min_iou: pairs with a smaller IoU stay apart.
        hull: a merged row whose modalities both count as forged (`MODALITY_SHARE`) reaches from the earlier start to the later
            end: the time in which either is forged. The ends of a modality that is hardly forged say nothing.

    >>> audio = Proposals(np.array([[0.0, 1.0]]), np.array([0.6]), np.array([[0.7, 0.0]]))
    >>> visual = Proposals(np.array([[0.0, 0.9], [1.5, 2.0]]), np.array([0.8, 0.1]), np.array([[0.0, 0.9], [0.0, 0.2]]))
    >>> merged = merge_modalities(audio, visual, min_iou=0.8)
    >>> merged.segments.tolist(), merged.scores.tolist(), merged.modality_scores.tolist()
    ([[0.0, 0.9], [1.5, 2.0]], [0.8, 0.1], [[0.7, 0.9], [0.0, 0.2]])
    """
    iou = interval_iou(first.segments, second.segments)
    pairs = np.argwhere((iou >= min_iou) & (iou > 0))
    strength = first.scores[pairs[:, 0]] + second.scores[pairs[:, 1]]
    partners = np.full(len(first), -1)
    has_partner = np.zeros(len(second), dtype=bool)
    for k in np.lexsort((-iou[tuple(pairs.T)], -strength)):
        i, j = pairs[k]
        if partners[i] < 0 and not has_partner[j]:
            partners[i], has_partner[j] = j, True
    merged = np.flatnonzero(partners >= 0)
    a, b = first.take(merged), second.take(partners[merged])
    stronger = np.where((a.scores >= b.scores)[:, None], a.segments, b.segments)
    outer = np.stack(
        [np.minimum(a.segments[:, 0], b.segments[:, 0]), np.maximum(a.segments[:, 1], b.segments[:, 1])], axis=1
    )
    modality_scores = np.maximum(a.modality_scores, b.modality_scores)
    is_both = modality_scores.min(axis=1) >= MODALITY_SHARE * modality_scores.max(axis=1)
    both = Proposals(
        np.where(hull & is_both[:, None], outer, stronger), np.maximum(a.scores, b.scores), modality_scores
    )
    return Proposals.concatenate(
        [both, _with_scores_of(first, second, iou, partners < 0), _with_scores_of(second, first, iou.T, ~has_partner)]
    )


def _with_scores_of(rows: Proposals, others: Proposals, iou: Float, kept: npt.NDArray[np.bool_]) -> Proposals:
    """The kept rows, with the modality scores of overlapping rows of another modality, times their IoU (N, others)."""
    if not len(others):
        return rows.take(kept)
    shared = (iou[kept][:, :, None] * others.modality_scores).max(axis=1)
    part = rows.take(kept)
    return Proposals(part.segments, part.scores, np.maximum(part.modality_scores, shared))
