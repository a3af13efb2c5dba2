from __future__ import annotations

import re

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
    assert text.count('data-end="worst"') == text.count('data-end="best"') == 4
    assert "The 4 worst and the 4 best of 40 clips, equally many" in text
    assert "quality 0.00, worst of 40" in text
    assert "quality 0.97, best of 40" in text
    assert "2nd worst of 40" in text
    assert text.index("&lt;39&gt;") < text.index("&lt;36&gt;")  # the best comes first
    assert text.count('data-score="0.5"') == 8
    assert '<input type="range" name="threshold" min="-3" max="0.5" step="any" value="-3">' in text
    assert text.count('class="truth"') == 8
    assert text.count('class="found"') == 8  # a row that ends before it starts is not drawn
    parse_page(text)


def test_a_clip_without_rows_or_labels_has_an_axis(small_truth, parse_page):
    real = small_truth.select(small_truth.modality.isin("real"))
    text = "".join(gallery(real, Predictions.from_dict({"b.mp4": []}).rows, np.ones(1)))
    parse_page(text)
    assert text.count("<figure") == 1
    assert "0 fake segments and the 0 best rows of b.mp4" in text
    ticks = text.partition('class="ticks"')[2].partition("</div>")[0]
    assert re.findall(r"left:([\d.]+)%\">([\d.]+)<", ticks) == [
        ("0.00", "0"),
        ("25.00", "1"),
        ("50.00", "2"),
        ("75.00", "3"),
    ]
    assert "All 1 clips; all have the quality 1.00." in text
    assert "radio" not in text  # one clip of one kind: nothing to choose


def test_few_clips_are_shown_once_each(small_truth, parse_page):
    """With fewer clips than places, the lower half is called worst and the upper half best."""
    rows = Predictions.from_dict({file: [(0.5, 0, 1)] for file in small_truth.files}).rows
    text = "".join(gallery(small_truth, rows, np.linspace(0, 1, len(small_truth.files))))
    parse_page(text)
    assert text.count("<figure") == len(small_truth.files)
    kinds = small_truth.modality.codes
    assert text.count('data-end="worst"') == sum((np.sum(kinds == kind) + 1) // 2 for kind in np.unique(kinds))
    assert " worst " in text
