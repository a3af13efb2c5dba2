from __future__ import annotations

import numpy as np

from avloc.core.columns import CategoricalColumn
from avloc.evaluation.matching import Labels
from avloc.evaluation.predictions import Predictions
from avloc.evaluation.reporting import gallery as gallery_module
from avloc.evaluation.reporting.gallery import gallery
from avloc.evaluation.truth import Truth


def test_worst_and_best_clips_of_each_modality_are_shown(monkeypatch, parse_page):
    monkeypatch.setattr(gallery_module, "SHOWN_CLIPS", 4)
    clips = 40
    truth = Truth(
        [f"<{k}>" for k in range(clips)],
        Labels.from_clips([np.array([[1.0, 2.0]])] * clips),
        CategoricalColumn.from_strings("audio" if k % 2 else "visual" for k in range(clips)),
        {},
        np.full(clips, np.nan),
        np.arange(clips),
    )
    rows = Predictions.from_dict({file: [(0.5, 1, 2), (-3, 5, 4)] for file in truth.files}).rows
    text = "".join(gallery(truth, rows, np.arange(clips) / clips))
    shown = [k for k in range(clips) if f"&lt;{k}&gt; ·" in text]
    assert shown == [0, 1, 2, 3, 36, 37, 38, 39]
    assert text.count('class="truth"') == 8
    assert text.count('class="found"') == 8  # a row that ends before it starts is not drawn
    parse_page(text)


def test_a_clip_without_rows_or_labels_has_an_axis(small_truth, parse_page):
    real = small_truth.select(small_truth.modality.isin("real"))
    text = "".join(gallery(real, Predictions.from_dict({"b.mp4": []}).rows, np.ones(1)))
    parse_page(text)
    assert text.count("<figure") == 1
    assert "0 fake segments and the 0 best rows of b.mp4" in text
    assert text.count('class="tick"') == 9  # 4 s in steps of .5 s
