"""Scores of validation clips and of their segments > calibration, how well they detect, and how to name what is forged."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchmetrics import Metric

from avloc.core.calibration import (
    CALIBRATED,
    SEGMENT_FIT,
    SEGMENT_ROWS,
    PlattFit,
    best_scores,
    fit_platt,
)
from avloc.core.clip_records import Record, clip_record
from avloc.core.naming import choose_modality_share, find_segments
from avloc.core.proposals import Proposals
from avloc.core.records import MODALITIES, VideoRecord
from avloc.evaluation.detection import score_detection

SEGMENT_COLUMNS = 2 + 2 * len(MODALITIES)


class ClipResults(NamedTuple):
    """The results of a validation that need no segments.

    Attributes:
        calibration: the fit of each of `CALIBRATED` that has both real and forged clips, and of segments if some are right and
            some wrong.
        auc: area under the ROC curve of the clips' best scores; NaN unless there are both real and forged clips.
        eer: their equal error rate.
        modality_share: the share at which a segment is named after its weaker modality too, chosen on the right segments with a
            fitted probability of at least one half; None if they are too few (`choose_modality_share`).
    """

    calibration: dict[str, PlattFit]
    auc: float
    eer: float
    modality_share: float | None = None


class ClipScores(Metric):
    """Collect scores and labels of all validation clips and of their segments, across ranks; `compute` fits the calibration.

    >>> import numpy as np
    >>> from avloc.core.timeline import Segment
    >>> scores = ClipScores()
    >>> for score, segments in ((0.9, (Segment(0.0, 1.0),)), (0.1, ())):
    ...     row = Proposals(np.array([[0.0, 1.0]]), np.array([score]), np.array([[score, 0.0]]))
    ...     scores.update(row, VideoRecord("a.mp4", "val", audio_segments=segments))
    >>> results = scores.compute()
    >>> sorted(results.calibration), results.auc
    (['audio', 'clip', 'segment'], 1.0)
    """

    full_state_update = False
    scores: list[Tensor]
    labels: list[Tensor]
    segments: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("scores", default=[], dist_reduce_fx="cat")
        self.add_state("labels", default=[], dist_reduce_fx="cat")
        self.add_state("segments", default=[], dist_reduce_fx="cat")  # (n, 2 + 2 M): see `_rate_segments`

    def update(self, proposals: Proposals, record: Record) -> None:
        """Add a clip: its proposals and its labels."""
        forged = clip_record(record).forged_modalities
        labels = [bool(forged), *(m in forged for m in MODALITIES)]
        self.scores.append(torch.as_tensor(best_scores(proposals)[None], dtype=torch.float32, device=self.device))
        self.labels.append(torch.tensor([labels], device=self.device))
        # A record of clip labels does not tell which segments are right.
        rows = _rate_segments(proposals, record) if isinstance(record, VideoRecord) else np.zeros((0, SEGMENT_COLUMNS))
        self.segments.append(torch.as_tensor(rows, dtype=torch.float32, device=self.device))

    def compute(self) -> ClipResults:
        """Fit each of `CALIBRATED` and the segments, score the detection of forged clips, and choose the share for names."""
        if not len(self.scores):
            return ClipResults({}, math.nan, math.nan)
        scores, labels, segments = (
            (torch.cat(x) if isinstance(x, list) else x).cpu().numpy()
            for x in (self.scores, self.labels, self.segments)
        )
        fits = {name: fit_platt(scores[:, k], labels[:, k]) for k, name in enumerate(CALIBRATED)}
        fits[SEGMENT_FIT] = fit_platt(segments[:, 0], segments[:, 1])
        detection = score_detection(scores[:, 0], labels[:, 0])
        calibration = {name: fit for name, fit in fits.items() if fit is not None}
        share = _choose_share(segments, fits[SEGMENT_FIT])
        return ClipResults(calibration, detection.auc, detection.eer, share)


def _rate_segments(proposals: Proposals, record: VideoRecord) -> npt.NDArray[np.float64]:
    """The strongest segments: score, whether it is right, its score per modality, and if it is right those of the fake."""
    strongest = proposals.take(slice(SEGMENT_ROWS))
    right = find_segments(strongest, record)
    is_right, forged = np.zeros(len(strongest)), np.zeros((len(strongest), len(MODALITIES)))
    is_right[right.rows], forged[right.rows] = 1, right.forged
    return np.column_stack([strongest.scores, is_right, strongest.modality_scores, forged])


def _choose_share(segments: npt.NDArray[np.floating], fit: PlattFit | None) -> float | None:
    """Choose the share for names on the right segments that are probable: those to which their fit gives at least one half."""
    if fit is None:
        return None
    probable = segments[[bool(is_right) and fit.log_odds(score) >= 0 for score, is_right in segments[:, :2]]]
    return choose_modality_share(probable[:, 2 + len(MODALITIES) :], probable[:, 2 : 2 + len(MODALITIES)])
