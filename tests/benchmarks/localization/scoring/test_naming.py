from __future__ import annotations

import numpy as np
import pytest

from avloc.errors import AvlocError

ROWS = {
    "a": [(0.7, 0.0, 1.0, 0.7, 0.1)],
    "b": [(0.9, 1.0, 2.0, 0.9, 0.1), (0.8, 1.0, 2.0, 0.1, 0.9)],  # the better one counts
    "c": [(0.6, 1.0, 1.9, 0.3, 0.6), (0.2, 3.0, 3.1, 0.0, 0.2)],
    "d": [(0.5, 1.0, 2.0, 0.45, 0.5), (0.4, 5.0, 6.0, 0.4, 0.4)],
}


@pytest.fixture
def predictions(predict_clips):
    return predict_clips(ROWS)


def thresholds(score, share=0.5):
    from scoring.naming import NamingThresholds

    return NamingThresholds(score, share)


def test_confusion_by_hand(predictions, small_truth):
    from scoring.naming import confusion

    # Rows: forged audio, visual, both; columns: named so. 0.3 of 0.6 is half: named too.
    total = confusion(predictions, small_truth, thresholds(0.0)).sum(axis=0)
    assert total.tolist() == [[1, 0, 0], [0, 1, 1], [0, 0, 1]]
    assert confusion(predictions, small_truth, thresholds(0.3, 0.6)).sum(axis=0).tolist() == [
        [1, 0, 0],
        [0, 1, 0],
        [0, 0, 1],
    ]
    assert confusion(predictions, small_truth, thresholds(0.55, 0.95)).sum(axis=0).tolist() == [
        [1, 0, 0],
        [0, 1, 0],
        [0, 0, 0],
    ]
    assert confusion(predictions, small_truth, thresholds(float("inf"))).sum() == 0


def test_names_are_those_of_the_product(predictions, small_truth, monkeypatch):
    from scoring import naming

    calls = []
    monkeypatch.setattr(
        naming, "modality_name", lambda scores, share: calls.append((scores.tolist(), share)) or "audio"
    )
    total = naming.confusion(predictions, small_truth, thresholds(0.55, 0.3)).sum(axis=0)
    assert calls == [([0.9, 0.1], 0.3), ([0.3, 0.6], 0.3)]
    assert total.tolist() == [[1, 0, 0], [1, 0, 0], [0, 0, 0]]


def test_the_threshold_of_the_best_f1(predictions, small_truth):
    from scoring.naming import best_score_threshold

    # Hits at .9, .6, .5, .2 after 1, 4, 5, 7 reported rows; 5 labels: F1 2/6, 4/9, 6/10, 8/12.
    assert best_score_threshold(predictions, small_truth.table.labels) == pytest.approx(0.2)
    truth = small_truth.table.select(np.array([True, True, False, False]))
    two = predictions.take(np.array([0, 1]))
    assert best_score_threshold(two, truth.labels) == pytest.approx(0.9)
    assert best_score_threshold(predictions.take(np.array([0])), truth.select(np.array([True, False])).labels) == np.inf


def test_thresholds_are_those_of_the_best_names(predictions, small_truth, monkeypatch):
    from scoring.naming import choose_thresholds

    score, share = choose_thresholds(predictions, small_truth)
    assert (score, share) == (pytest.approx(0.2), 0.5)  # four segments choose no share
    monkeypatch.setattr("avloc.core.naming.FEWEST_SEGMENTS", 1)
    assert (
        choose_thresholds(predictions, small_truth).share == 0.6
    )  # the smallest change of .5 that names all four rightly


def test_shares_of_the_right_name():
    from scoring.naming import right_shares

    counts = np.array([[[3, 1, 0], [0, 0, 0], [2, 2, 4]]])
    assert right_shares(counts)[0] == pytest.approx([0.75, np.nan, 0.5], nan_ok=True)


def test_scores_over_seeds(predictions, small_truth, predict_clips):
    from scoring.naming import score_naming

    wrong = predict_clips({**ROWS, "b": [(0.9, 1.0, 2.0, 0.1, 0.9)]})
    score = score_naming(
        [(predictions, thresholds(0.0, 0.6)), (wrong, thresholds(0.0, 0.6))], small_truth, resamples=200
    )
    assert score.right == pytest.approx([0.5, 1.0, 1.0])
    assert score.deviation == pytest.approx([np.sqrt(0.5), 0, 0])
    assert score.confusion.tolist() == [[0.5, 0.5, 0], [0, 2, 0], [0, 0, 1]]
    assert score.recall == pytest.approx([1.0, 1.0, 1.0])
    assert (score.low <= score.right).all()
    assert (score.right <= score.high).all()
    alone = score_naming([(predictions, thresholds(0.0))], small_truth, resamples=20)
    assert np.isnan(alone.deviation).all()


def test_intervals_hold_the_population_share_and_come_from_sources():
    """Sources whose segments all are named alike: the interval is that of the sources, not of the segments."""
    from types import SimpleNamespace

    from scoring.naming import score_naming
    from scoring.predictions import SplitPredictions
    from scoring.truth import SplitTruth

    from avloc.core.proposals import Proposals
    from avloc.core.records import VideoRecord
    from avloc.core.timeline import Segment

    records, details, clips = [], {}, []
    for k in range(100):
        file, source = f"{k:03d}", k // 10
        records.append(VideoRecord(file, "test", None, (Segment(1.0, 2.0),)))
        details[file] = SimpleNamespace(source=str(source), methods={})
        scores = [0.9, 0.0] if source < 5 else [0.0, 0.9]
        clips.append((file, Proposals(np.array([[1.0, 2.0]]), np.array([0.9]), np.array([scores]))))
    truth = SplitTruth.build(records, details)
    score = score_naming([(SplitPredictions.from_clips(clips), thresholds(0.5))], truth, resamples=1000)
    half = (score.high[0] - score.low[0]) / 2
    assert score.right[0] == 0.5
    assert half == pytest.approx(1.96 * 0.5 / np.sqrt(10), rel=0.15)
    assert np.isnan(score.low[1])


def test_a_system_that_finds_nothing(small_truth, predict_clips):
    from scoring.naming import choose_thresholds, confusion, score_naming

    nothing = predict_clips(dict.fromkeys("abcd", ()))
    chosen = choose_thresholds(nothing, small_truth)
    assert (chosen.score, chosen.share) == (np.inf, 0.5)
    assert confusion(nothing, small_truth, thresholds(0.0)).sum() == 0
    score = score_naming([(nothing, chosen)], small_truth, resamples=5)
    assert np.isnan(score.right).all()
    assert score.recall.tolist() == [0, 0, 0]


def test_a_seed_that_finds_nothing_of_a_kind_does_not_count_there(predictions, small_truth, predict_clips):
    from scoring.naming import score_naming

    nothing = predict_clips(dict.fromkeys("abcd", ()))
    runs = [(predictions, thresholds(0.0, 0.6)), (nothing, thresholds(0.0, 0.6))]
    score = score_naming(runs, small_truth, resamples=20)
    assert score.right.tolist() == [1, 1, 1]
    assert score.recall.tolist() == [0.5, 0.5, 0.5]
    assert np.isfinite(score.low).all()


def test_other_clips_are_refused(predictions, small_truth):
    from scoring.naming import confusion

    with pytest.raises(AvlocError, match="want predictions of the 4 labelled clips, got 3"):
        confusion(predictions.take(np.arange(3)), small_truth, thresholds(0.0))
