from __future__ import annotations

import numpy as np
import pytest

from avloc.errors import AvlocError


@pytest.fixture
def predictions(predict_clips):
    return predict_clips(
        {"b": [(0.9, 1.0, 2.0, 0.9, 0.1), (0.3, 4.0, 4.5, 0.2, 0.3)], "c": [], "a": [(0.5, 0, 1, 0.5, 0.4)]}
    )


def test_clips_are_sorted_by_name(predictions):
    assert predictions.files == ["a", "b", "c"]
    assert predictions.offsets.tolist() == [0, 1, 3, 3]
    assert predictions.rows().scores.tolist() == [0.5, 0.9, 0.3]


def test_a_file_keeps_rounded_numbers(predictions, tmp_path):
    from scoring.predictions import SplitPredictions

    path = tmp_path / "folder" / "x.npz"
    predictions.save(path)
    loaded = SplitPredictions.load(path)
    assert loaded.files == predictions.files
    assert loaded.offsets.tolist() == predictions.offsets.tolist()
    np.testing.assert_allclose(loaded.proposals.segments, predictions.proposals.segments, atol=2**-14, rtol=0)
    np.testing.assert_allclose(loaded.proposals.scores, predictions.proposals.scores, rtol=2**-12)
    np.testing.assert_allclose(loaded.proposals.modality_scores, predictions.proposals.modality_scores, rtol=2**-8)
    loaded.save(path)
    again = SplitPredictions.load(path)
    for name in ("segments", "scores", "modality_scores"):
        np.testing.assert_array_equal(getattr(again.proposals, name), getattr(loaded.proposals, name))
    assert [p.name for p in path.parent.iterdir()] == ["x.npz"]
    with pytest.raises(AvlocError, match="y.npz: no predictions; run the system first"):
        SplitPredictions.load(tmp_path / "y.npz")


def test_clips_of_an_index(predictions):
    taken = predictions.take(np.array([2, 1]))
    assert taken.files == ["c", "b"]
    assert taken.offsets.tolist() == [0, 0, 2]
    assert taken.proposals.scores.tolist() == [0.9, 0.3]
    assert len(predictions.take(np.array([], dtype=np.int64)).files) == 0


def test_the_best_rows_of_a_clip_are_kept():
    from scoring.predictions import ROWS, SplitPredictions

    from avloc.core.proposals import Proposals

    scores = np.linspace(0.1, 0.9, ROWS + 3)
    segments = np.tile([1.0, 2.0], (ROWS + 3, 1))
    kept = SplitPredictions.from_clips([("a", Proposals(segments, scores, scores[:, None].repeat(2, axis=1)))])
    assert kept.offsets.tolist() == [0, ROWS]
    assert kept.proposals.scores.tolist() == scores[:2:-1].tolist()


def test_a_clip_comes_once():
    from scoring.predictions import SplitPredictions

    from avloc.core.proposals import Proposals

    with pytest.raises(AvlocError, match="want each clip once, got 2 clips of 1 names"):
        SplitPredictions.from_clips([("a", Proposals.empty()), ("a", Proposals.empty())])
