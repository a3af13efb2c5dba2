"""AP and AR as a torchmetrics metric, for validation during training. The only file of this folder that imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchmetrics import Metric

from avloc.evaluation.matching import Labels, Mode, PredictionRows
from avloc.evaluation.metrics import score_rows

# V videos, R rows of one video, N labels of one video


class TemporalAveragePrecision(Metric):
    """AP at IoU thresholds, their mean, and AR; updated video by video and gathered over processes.

    Wraps `avloc.evaluation.metrics.score_rows`; see there for the definitions.

    Args:
        ap_ious: IoU thresholds of AP.
        ar_counts: numbers of rows per video of AR.
        mode: `strict` or `official`.
        kwargs: options of torchmetrics' `Metric`.

    >>> metric = TemporalAveragePrecision(ap_ious=(0.5,), ar_counts=(10,))
    >>> metric.update([(torch.tensor([0.9, 0.2]), torch.tensor([[1.0, 2.0], [5.0, 6.0]]))], [torch.tensor([[1.0, 2.1]])])
    >>> {name: round(value.item(), 3) for name, value in metric.compute().items()}
    {'ap@0.5': 1.0, 'ap': 1.0, 'ar@10': 0.9}
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    rows: list[Tensor]
    row_counts: list[Tensor]
    labels: list[Tensor]
    label_counts: list[Tensor]

    def __init__(
        self,
        *,
        ap_ious: Sequence[float] = (0.5, 0.75, 0.95),
        ar_counts: Sequence[int] = (20,),
        mode: Mode = "strict",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.ap_ious, self.ar_counts, self.mode = tuple(ap_ious), tuple(ar_counts), mode
        for name in ("rows", "row_counts", "labels", "label_counts"):
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, predictions: Sequence[tuple[Any, Any]], labels: Sequence[Any]) -> None:
        """Add some videos.

        Args:
            predictions: for each video, scores (R,) and segments (R, 2) in seconds, tensors or arrays.
            labels: for each video, fake segments (N, 2) in seconds.

        Raises:
            ValueError: if the numbers of videos differ.
        """
        if len(predictions) != len(labels):
            raise ValueError(f"rows of {len(predictions)} videos, but labels of {len(labels)}")
        for (scores, segments), truth in zip(predictions, labels, strict=True):
            scores = torch.as_tensor(scores, dtype=torch.float64, device="cpu").reshape(-1, 1)
            segments = torch.as_tensor(segments, dtype=torch.float64, device="cpu").reshape(-1, 2)
            truth = torch.as_tensor(truth, dtype=torch.float64, device="cpu").reshape(-1, 2)
            self.rows.append(torch.cat([scores, segments], dim=1).to(self.device))
            self.row_counts.append(torch.tensor([len(scores)], device=self.device))
            self.labels.append(truth.to(self.device))
            self.label_counts.append(torch.tensor([len(truth)], device=self.device))

    def compute(self) -> dict[str, Tensor]:
        """Compute `ap@…` for each threshold, their mean `ap`, and `ar@…` for each number of rows; NaN without labels."""
        rows, labels = _as_array(self.rows, (0, 3)), _as_array(self.labels, (0, 2))
        scores = score_rows(
            PredictionRows(rows[:, 0], rows[:, 1:], _offsets(self.row_counts)),
            Labels(labels, _offsets(self.label_counts)),
            mode=self.mode,
            ap_ious=self.ap_ious,
            ar_counts=self.ar_counts,
        )
        values = {f"ap@{iou:g}": value for iou, value in scores.ap.items()}
        values["ap"] = float(np.mean(list(scores.ap.values())))
        values |= {f"ar@{count}": value for count, value in scores.ar.items()}
        return {name: torch.tensor(value, device=self.device) for name, value in values.items()}


def _as_array(parts: list[Tensor] | Tensor, empty_shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Join a list state, or the tensor that gathering has made of it, into one array."""
    if isinstance(parts, Tensor):
        return parts.cpu().numpy()
    return torch.cat(parts).cpu().numpy() if parts else np.zeros(empty_shape)


def _offsets(counts: list[Tensor] | Tensor) -> npt.NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(_as_array(counts, (0,)))]).astype(np.int64)
