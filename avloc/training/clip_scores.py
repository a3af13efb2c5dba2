"""The best scores of validation clips > the calibration of a network's probabilities."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from avloc.core.calibration import CALIBRATED, PlattFit, best_scores, platt
from avloc.core.proposals import Proposals
from avloc.core.records import MODALITIES, VideoRecord


class ClipScores(Metric):
    """Best scores and labels of all validation clips, of all ranks; `compute` is the calibration."""

    full_state_update = False
    scores: list[Tensor]
    labels: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("scores", default=[], dist_reduce_fx="cat")
        self.add_state("labels", default=[], dist_reduce_fx="cat")

    def update(self, found: Proposals, record: VideoRecord) -> None:
        """Take a clip."""
        labels = [bool(record.segments), *(bool(record.modality_segments(m)) for m in MODALITIES)]
        self.scores.append(torch.as_tensor(best_scores(found)[None], dtype=torch.float32, device=self.device))
        self.labels.append(torch.tensor([labels], device=self.device))

    def compute(self) -> dict[str, PlattFit]:
        """A fit for each of `CALIBRATED` that has clips of both kinds."""
        if not len(self.scores):
            return {}
        scores, labels = (
            (torch.cat(x) if isinstance(x, list) else x).cpu().numpy() for x in (self.scores, self.labels)
        )
        fits = {what: platt(scores[:, k], labels[:, k]) for k, what in enumerate(CALIBRATED)}
        return {what: fit for what, fit in fits.items() if fit is not None}
