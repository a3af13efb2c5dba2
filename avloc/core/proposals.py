"""`Proposals`: scored segments of one clip, and soft-NMS over them. Legend: N rows, M modalities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from avloc.core.timeline import interval_iou
from avloc.errors import AvlocError

Float = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Proposals:
    """Scored segments of one clip.

    Attributes:
        segments: (N, 2) seconds.
        scores: (N,) in [0, 1].
        modality_scores: (N, M) how sure it is that each modality lies there, in the order of `records.MODALITIES`.
    """

    segments: Float
    scores: Float
    modality_scores: Float

    def __post_init__(self) -> None:
        if not (len(self.segments) == len(self.scores) == len(self.modality_scores)):
            lengths = len(self.segments), len(self.scores), len(self.modality_scores)
            raise AvlocError(f"segments, scores and modality scores must have equal length, got {lengths}")

    def __len__(self) -> int:
        return len(self.scores)

    @classmethod
    def empty(cls, modalities: int = 2) -> Proposals:
        """No proposal."""
        return cls(np.zeros((0, 2)), np.zeros(0), np.zeros((0, modalities)))

    def take(self, index: npt.NDArray[np.int64] | npt.NDArray[np.bool_] | slice) -> Proposals:
        """The rows of an index, in its order."""
        return Proposals(self.segments[index], self.scores[index], self.modality_scores[index])

    def best(self, count: int) -> Proposals:
        """The `count` best rows, sorted by falling score, ties by start, then end."""
        order = np.lexsort((self.segments[:, 1], self.segments[:, 0], -self.scores))
        return self.take(order[:count])

    def shifted(self, seconds: float) -> Proposals:
        """The same rows later by some seconds."""
        return Proposals(self.segments + seconds, self.scores, self.modality_scores)

    def cut(self, end_s: float) -> Proposals:
        """The same rows cut to a clip's end; those behind it are left out."""
        segments = np.minimum(self.segments, end_s)
        kept = segments[:, 1] > segments[:, 0]
        return Proposals(segments[kept], self.scores[kept], self.modality_scores[kept])

    @classmethod
    def concatenate(cls, parts: list[Proposals]) -> Proposals:
        """The rows of all parts, in order."""
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
    """Soft non-maximum suppression with a Gaussian penalty: sorted by falling score, at most `keep` rows.

    Again and again the best remaining row is kept and each other one's score is multiplied by exp(−IoU² / sigma);
    rows that fall under `floor` are dropped. (Bodla et al., "Soft-NMS", ICCV 2017, equation 3.) Ties go to the earlier
    start, then the earlier end, so the order of the rows does not matter. With `spare` (low, high), as in BA-TFD, a pick
    spares the rows whose IoU is at most low + (high − low) · its length in seconds.
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
    chosen = rows.take(np.array(kept, dtype=np.int64))
    return Proposals(chosen.segments, np.array(kept_scores), chosen.modality_scores)


def vote_boundaries(chosen: Proposals, voters: Proposals, least_iou: float) -> Proposals:
    """Move each row's ends to the mean of the voters around it, weighted by score and by IoU; scores stay.

    Gidaris and Komodakis, "Object detection via a multi-region and semantic segmentation-aware CNN model", ICCV 2015, section 5.

    Args:
        chosen: the rows of a soft-NMS.
        voters: the rows that it chose from.
        least_iou: voters of a smaller IoU with a row have no say in it.
    """
    if not len(chosen) or not len(voters):
        return chosen
    iou = interval_iou(chosen.segments, voters.segments)
    weight = np.where(iou >= least_iou, iou * voters.scores, 0.0)
    total = weight.sum(axis=1, keepdims=True)
    voted = weight @ voters.segments / np.maximum(total, 1e-12)
    return Proposals(np.where(total > 1e-12, voted, chosen.segments), chosen.scores, chosen.modality_scores)
