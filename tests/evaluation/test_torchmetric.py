from __future__ import annotations

import numpy as np
import pytest
import torch

from avloc.evaluation.matching import Labels, PredictionRows
from avloc.evaluation.metrics import score_rows
from avloc.evaluation.torchmetric import TemporalAveragePrecision


def test_equals_the_function_over_several_updates():
    random = np.random.default_rng(0)
    metric = TemporalAveragePrecision(ap_ious=(0.5, 0.75), ar_counts=(3,), mode="official")
    predictions, labels = [], []
    for batch in (3, 1, 2):
        rows = [
            (random.uniform(size=n), np.sort(random.uniform(0, 4, (n, 2)), axis=1))
            for n in random.integers(0, 7, batch)
        ]
        truth = [np.sort(random.uniform(0, 4, (n, 2)), axis=1) for n in random.integers(0, 3, batch)]
        metric.update([(torch.tensor(s), torch.tensor(b)) for s, b in rows], [torch.tensor(t) for t in truth])
        predictions += rows
        labels += truth
    offsets = np.cumsum([0, *[len(s) for s, _ in predictions]])
    rows = PredictionRows(
        np.concatenate([s for s, _ in predictions]), np.concatenate([b for _, b in predictions]), offsets
    )
    expected = score_rows(rows, Labels.from_clips(labels), mode="official", ap_ious=(0.5, 0.75), ar_counts=(3,))
    values = metric.compute()
    assert set(values) == {"ap@0.5", "ap@0.75", "ap", "ar@3"}
    assert values["ap@0.5"] == pytest.approx(expected.ap[0.5])
    assert values["ar@3"] == pytest.approx(expected.ar[3])
    assert values["ap"] == pytest.approx(np.mean(list(expected.ap.values())))
    metric.reset()
    assert metric.rows == []


def test_no_videos_no_rows_and_unequal_numbers_of_videos():
    metric = TemporalAveragePrecision()
    metric.update([], [])
    assert torch.isnan(metric.compute()["ap"])
    metric = TemporalAveragePrecision()
    metric.update([(np.zeros(0), np.zeros((0, 2)))], [np.array([[1.0, 2.0]])])
    assert metric.compute()["ap@0.5"] == 0
    with pytest.raises(ValueError, match="rows of 1 videos, but labels of 0"):
        metric.update([(np.zeros(0), np.zeros((0, 2)))], [])
