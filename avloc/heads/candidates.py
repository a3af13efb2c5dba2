"""Candidates of a clip's points > soft-NMS and boundary voting in each branch > the branches' rows merged > proposals.

The candidates hold everything that decoding reads, so that they can be kept and decoded again with other settings.

Legend: N candidates, M modalities, G branches of points.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from avloc.core.proposals import Proposals, merge_modalities, soft_nms, vote_boundaries
from avloc.errors import AvlocError

Float = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PointCandidates:
    """Segments of a branch of points, before any suppression.

    Attributes:
        segments: (N, 2) seconds.
        modality_scores: (N, M) in [0, 1], 0 in modalities that the branch does not judge.
        end_probabilities: (N, 2) probability of a start and of an end, read at the segment's own ends; 1 without a boundary
            head.

    >>> candidates = PointCandidates(np.array([[1.0, 2.0]]), np.array([[0.8, 0.1]]), np.array([[0.5, 0.5]]))
    >>> candidates.proposals(boundary_power=0.5).scores.tolist()
    [0.4]
    """

    segments: Float
    modality_scores: npt.NDArray[np.floating]
    end_probabilities: Float

    def __len__(self) -> int:
        return len(self.segments)

    def proposals(self, boundary_power: float) -> Proposals:
        """Score each candidate: its best modality times (start · end) ** `boundary_power`."""
        score = self.modality_scores.max(axis=1, initial=0.0).astype(np.float64)
        score = score * (self.end_probabilities[:, 0] * self.end_probabilities[:, 1]) ** boundary_power
        return Proposals(self.segments, score, self.modality_scores.astype(np.float64))

    def with_modalities(self, columns: slice, modalities: int) -> PointCandidates:
        """Return the same candidates with scores of M modalities: these at `columns`, 0 for the others."""
        scores = np.zeros((len(self), modalities), dtype=self.modality_scores.dtype)
        scores[:, columns] = self.modality_scores
        return replace(self, modality_scores=scores)

    def best(self, count: int, boundary_power: float) -> PointCandidates:
        """Return the `count` candidates of the highest scores, in their order."""
        if len(self) <= count:
            return self
        score = self.proposals(boundary_power).scores
        kept = np.sort(np.lexsort((self.segments[:, 1], self.segments[:, 0], -score))[:count])
        return PointCandidates(self.segments[kept], self.modality_scores[kept], self.end_probabilities[kept])


@dataclass(frozen=True, slots=True)
class ClipCandidates:
    """The candidates of a clip, or of one window of a long clip.

    Attributes:
        branches: the candidates of each branch of points.
        step_score: the highest fakeness of a step in any modality, in [0, 1].

    >>> nothing = PointCandidates(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros((0, 2)))
    >>> PointDecoding().decode(ClipCandidates((nothing,), 0.1))
    Proposals(0 segments)
    """

    branches: tuple[PointCandidates, ...]
    step_score: float


@dataclass(frozen=True, slots=True)
class PointDecoding:
    """Settings by which candidates become proposals.

    Attributes:
        boundary_power: exponent of the boundary probabilities in a score; 0: they have no effect.
        sigma: width of soft-NMS, see `avloc.heads.soft_nms`.
        voting_iou: average a proposal's ends with those of candidates that overlap it by at least this IoU; 0: no voting.
        before_nms: soft-NMS gets at most this many candidates of each branch.
        video_gate: scores are multiplied by the clip's `step_score` to this power; 0: they are not.
        merge_iou: proposals of two branches that overlap by at least this IoU become one; above 1: none.
        merge_hull: a merged row that both modalities support reaches from the earlier start to the later end.

    Raises:
        AvlocError: if a value is out of range.

    >>> PointDecoding(sigma=0.3).voting_iou
    0.8
    """

    boundary_power: float = 0.1
    sigma: float = 0.5
    voting_iou: float = 0.8
    before_nms: int = 300
    video_gate: float = 0.0
    merge_iou: float = 0.9
    merge_hull: bool = False

    def __post_init__(self) -> None:
        checks = {
            f"boundary_power of at least 0, got {self.boundary_power:g}": 0 <= self.boundary_power < np.inf,
            f"sigma above 0, got {self.sigma:g}": 0 < self.sigma < np.inf,
            f"voting_iou in [0, 1], got {self.voting_iou:g}": 0 <= self.voting_iou <= 1,
            f"before_nms of at least 1, got {self.before_nms}": self.before_nms >= 1,
            f"video_gate of at least 0, got {self.video_gate:g}": 0 <= self.video_gate < np.inf,
            f"merge_iou of at least 0, got {self.merge_iou:g}": 0 <= self.merge_iou < np.inf,
        }
        if wrong := [text for text, is_right in checks.items() if not is_right]:
            raise AvlocError(f"want {wrong[0]}")

    def decode(self, candidates: ClipCandidates, *, keep: int = 100) -> Proposals:
        """Return the proposals of a clip, sorted by falling score.

        Args:
            candidates: of the clip.
            keep: at most this many rows.

        Raises:
            AvlocError: if there are other than one or two branches.
        """
        parts = [self._suppress(branch, keep) for branch in candidates.branches]
        if len(parts) not in (1, 2):
            raise AvlocError(f"want candidates of one or two branches, got {len(parts)}")
        merged = parts[0] if len(parts) == 1 else merge_modalities(*parts, min_iou=self.merge_iou, hull=self.merge_hull)
        return replace(merged, scores=merged.scores * candidates.step_score**self.video_gate).best(keep)

    def _suppress(self, branch: PointCandidates, keep: int) -> Proposals:
        """Soft-NMS within one branch, then boundary voting. The order of the candidates has no effect."""
        candidates = branch.proposals(self.boundary_power).best(self.before_nms)
        proposals = soft_nms(candidates, sigma=self.sigma, keep=keep, floor=0.0)
        return vote_boundaries(proposals, candidates, self.voting_iou) if self.voting_iou else proposals

    def scores_like(self, other: PointDecoding) -> bool:
        """Tell whether a clip's best score is the same under other settings, so that the fits of clips hold for both.

        The scores and ends of weaker segments may still differ: the fit of segments holds for equal settings only.
        """
        return (self.boundary_power, self.video_gate) == (other.boundary_power, other.video_gate)

    def to_dict(self) -> dict[str, float]:
        """Convert to JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> PointDecoding:
        """Read what `to_dict` gave.

        Raises:
            AvlocError: if a value is missing, unknown, of another type or out of range.

        >>> PointDecoding.from_dict(PointDecoding(video_gate=0.5).to_dict()).video_gate
        0.5
        """
        types: dict[str, tuple[type, ...]] = {field.name: (int, float) for field in fields(cls)}
        types |= {"before_nms": (int,), "merge_hull": (bool,)}
        if unknown := sorted(values.keys() - types.keys()):
            raise AvlocError(f"unknown setting {unknown[0]!r}, want {', '.join(types)}")
        for name, kinds in types.items():
            if type(values.get(name)) not in kinds:
                raise AvlocError(f"{name} is {values.get(name)!r}")
        return cls(**values)  # type: ignore[arg-type]
