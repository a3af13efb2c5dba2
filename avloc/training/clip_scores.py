"""Best scores of validation clips > calibration of a network's probabilities, and how well they detect forged clips."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from avloc.core.calibration import CALIBRATED, PlattFit, best_scores, fit_platt
from avloc.core.clip_records import Record, clip_record
from avloc.core.proposals import Proposals
from avloc.core.records import MODALITIES
from avloc.evaluation.detection import score_detection


class ClipResults(NamedTuple):
    """The results of a validation that need no segments.

    Attributes:
        calibration: the fit of each of `CALIBRATED` that has both real and forged clips.
        auc: area under the ROC curve of the clips' best scores; NaN unless there are both real and forged clips.
        eer: their equal error rate.
    """

    calibration: dict[str, PlattFit]
    auc: float
    eer: float


class ClipScores(Metric):
    """Collect the best scores and labels of all validation clips, across ranks; `compute` fits the calibration.

    >>> import numpy as np
    >>> from avloc.core.records import VideoRecord
    >>> from avloc.core.timeline import Segment
    >>> scores = ClipScores()
    >>> for score, segments in ((0.9, (Segment(0.0, 1.0),)), (0.1, ())):
    ...     row = Proposals(np.array([[0.0, 1.0]]), np.array([score]), np.array([[score, 0.0]]))
    ...     scores.update(row, VideoRecord("a.mp4", "val", audio_segments=segments))
    >>> results = scores.compute()
    >>> sorted(results.calibration), results.auc
    (['audio', 'clip'], 1.0)
    """

    full_state_update = False
    scores: list[Tensor]
    labels: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("scores", default=[], dist_reduce_fx="cat")
        self.add_state("labels", default=[], dist_reduce_fx="cat")

    def update(self, proposals: Proposals, record: Record) -> None:
        """Add a clip: its proposals and its labels."""
        forged = clip_record(record).forged_modalities
        labels = [bool(forged), *(m in forged for m in MODALITIES)]
        self.scores.append(torch.as_tensor(best_scores(proposals)[None], dtype=torch.float32, device=self.device))
        self.labels.append(torch.tensor([labels], device=self.device))

    def compute(self) -> ClipResults:
        """Fit each of `CALIBRATED`, and score the detection of forged clips."""
        if not len(self.scores):
            return ClipResults({}, math.nan, math.nan)
        scores, labels = (
            (torch.cat(x) if isinstance(x, list) else x).cpu().numpy() for x in (self.scores, self.labels)
        )
        fits = {name: fit_platt(scores[:, k], labels[:, k]) for k, name in enumerate(CALIBRATED)}
        detection = score_detection(scores[:, 0], labels[:, 0])
        calibration = {name: fit for name, fit in fits.items() if fit is not None}
        return ClipResults(calibration, detection.auc, detection.eer)
