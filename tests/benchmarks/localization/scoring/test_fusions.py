from __future__ import annotations

import numpy as np
import pytest

from avloc.core.columns import CategoricalColumn
from avloc.errors import AvlocError
from avloc.evaluation.fusion import fitting
from avloc.evaluation.matching import Labels
from avloc.evaluation.truth import Truth

CLIPS = 40  # of 10 sources, every other one fake


@pytest.fixture(autouse=True)
def few_candidates(monkeypatch):
    """Two settings of the fusion instead of dozens."""
    monkeypatch.setattr(fitting, "TRUSTS", ())
    monkeypatch.setattr(fitting, "MERGE_IOUS", (0.5,))
    monkeypatch.setattr(fitting, "ABSENCES", (0.0, 1.0))


@pytest.fixture
def table():
    segments = [np.array([[0.4 + 0.01 * k, 0.9 + 0.02 * k]]) if k % 2 else np.zeros((0, 2)) for k in range(CLIPS)]
    return Truth(
        [f"{k:02}" for k in range(CLIPS)],
        Labels.from_clips(segments),
        CategoricalColumn.from_strings(["audio" if k % 2 else "real" for k in range(CLIPS)]),
        {},
        np.full(CLIPS, np.nan),
        np.arange(CLIPS) // 4,
    )


def predictions(predict_clips, table, seed, *, hears):
    """A system whose false alarms lie anywhere, and that finds the fakes for which `hears` is true."""
    random = np.random.default_rng(seed)
    clips = {}
    for k, name in enumerate(table.files):
        rows = [(random.uniform(0, 0.7), 5 + start, 5.4 + start, 0.5, 0.5) for start in random.uniform(0, 3, 3)]
        if k % 2 and hears(k // 2):
            start, end = table.labels.segments[table.labels.offsets[k]]
            rows.append((random.uniform(0.5, 0.99), start, end, 0.9, 0.1))
        clips[name] = rows
    return predict_clips(clips)


def test_systems_that_find_different_fakes_gain_by_fusion(predict_clips, table):
    from scoring.fusions import evaluate_folds, fusion_table, summarize

    systems = {
        "first": predictions(predict_clips, table, 0, hears=lambda k: k % 2 == 0),
        "second": predictions(predict_clips, table, 1, hears=lambda k: k % 2 == 1),
    }
    folds = evaluate_folds(systems, table)
    assert (
        sorted(name for fold in folds for name in fold.fused.truth.files) == table.files
    )  # each clip is held out once
    result = summarize(folds, resamples=20)
    for metric in ("ap@0.5", "score"):
        best = result.alone[result.best[metric]][metric]
        assert best == max(scores[metric] for scores in result.alone.values())
        assert result.gain[metric].value == pytest.approx(result.fused[metric] - best)
        assert result.gain[metric].value > 0.1
    text = fusion_table({3: result}, {"first": "Sound", "second": "Picture"}, "short").to_text()
    assert "seed 3: Sound" in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_system_beside_itself_gains_nothing(predict_clips, table):
    from scoring.fusions import evaluate_folds, summarize

    one = predictions(predict_clips, table, 0, hears=lambda k: k % 3 > 0)
    result = summarize(evaluate_folds({"a": one, "b": one}, table), resamples=5)
    assert result.gain["ap@0.5"].value == pytest.approx(0)


def test_predictions_of_other_clips_are_refused(predict_clips, table):
    from scoring.fusions import evaluate_folds

    with pytest.raises(AvlocError, match="b: want predictions of the 40 labelled clips, got 1"):
        evaluate_folds({"b": predict_clips({"x": []})}, table)
