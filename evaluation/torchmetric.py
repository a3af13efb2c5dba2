"""AP and AR as a torchmetrics metric, for validation during training. The only file here that imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from avloc.evaluation.matching import Labels, Mode, Rows
from avloc.evaluation.metrics import evaluate

# V videos, R rows of one video, N labels of one video


class TemporalAveragePrecision(Metric):
    """Rows and labels, video by video > AP at IoU thresholds, their mean, and AR; gathered over processes.

    Wraps `avloc.evaluation.metrics.evaluate`; see there for the definitions.

    Args:
        ap_ious: thresholds of AP.
        ar_counts: rows per video of AR.
        mode: `strict` or `official`.
        kwargs: of torchmetrics' `Metric`.

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
        self, *, ap_ious: Sequence[float] = (0.5, 0.75, 0.95), ar_counts: Sequence[int] = (20,), mode: Mode = "strict",
        **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(**kwargs)
        self.ap_ious, self.ar_counts, self.mode = tuple(ap_ious), tuple(ar_counts), mode
        for name in ("rows", "row_counts", "labels", "label_counts"):
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, found: Sequence[tuple[Any, Any]], labels: Sequence[Any]) -> None:
        """Add some videos.

        Args:
            found: scores (R,) and segments (R, 2) in seconds, tensors or arrays, of each video.
            labels: fake segments (N, 2) in seconds of each video.

        Raises:
            ValueError: if there are more videos of one than of the other.
        """
        if len(found) != len(labels):
            raise ValueError(f"rows of {len(found)} videos, but labels of {len(labels)}")
        for (scores, segments), truth in zip(found, labels, strict=True):
            flat = torch.as_tensor(scores, dtype=torch.float64, device="cpu").reshape(-1, 1)
            ends = torch.as_tensor(segments, dtype=torch.float64, device="cpu").reshape(-1, 2)
            wanted = torch.as_tensor(truth, dtype=torch.float64, device="cpu").reshape(-1, 2)
            self.rows.append(torch.cat([flat, ends], dim=1).to(self.device))
            self.row_counts.append(torch.tensor([len(flat)], device=self.device))
            self.labels.append(wanted.to(self.device))
            self.label_counts.append(torch.tensor([len(wanted)], device=self.device))

    def compute(self) -> dict[str, Tensor]:
        """`ap@…` for each threshold, `ap` their mean, `ar@…` for each number of rows; NaN without labels."""
        rows, labels = _numpy(self.rows, (0, 3)), _numpy(self.labels, (0, 2))
        scores = evaluate(
            Rows(rows[:, 0], rows[:, 1:], _offsets(self.row_counts)),
            Labels(labels, _offsets(self.label_counts)),
            mode=self.mode, ap_ious=self.ap_ious, ar_counts=self.ar_counts,
        )  # fmt: skip
        values = {f"ap@{iou:g}": value for iou, value in scores.ap.items()}
        values["ap"] = float(np.mean(list(scores.ap.values())))
        values |= {f"ar@{count}": value for count, value in scores.ar.items()}
        return {name: torch.tensor(value, device=self.device) for name, value in values.items()}


def _numpy(parts: list[Tensor] | Tensor, empty: tuple[int, ...]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """A list state, or what gathering has made of it, as one array."""
    if isinstance(parts, Tensor):
        return parts.cpu().numpy()
    return torch.cat(parts).cpu().numpy() if parts else np.zeros(empty)


def _offsets(counts: list[Tensor] | Tensor) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.concatenate([[0], np.cumsum(_numpy(counts, (0,)))]).astype(np.int64)
