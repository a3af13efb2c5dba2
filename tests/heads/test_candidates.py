from __future__ import annotations

import numpy as np
import pytest

from avloc.errors import AvlocError
from avloc.heads.candidates import ClipCandidates, PointCandidates, PointDecoding


def branch(count=40, seed=0, columns=slice(0, 2)):
    random = np.random.default_rng(seed)
    starts = random.uniform(0, 8, count)
    scores = random.uniform(0, 1, (count, 2)).astype(np.float32)
    scores[:, [k for k in range(2) if k not in range(2)[columns]]] = 0
    return PointCandidates(
        np.stack([starts, starts + random.uniform(0.2, 2, count)], 1), scores, random.uniform(0, 1, (count, 2))
    )


def shuffled(candidates, seed):
    order = np.random.default_rng(seed).permutation(len(candidates))
    return PointCandidates(
        candidates.segments[order], candidates.modality_scores[order], candidates.end_probabilities[order]
    )


def test_the_power_of_the_boundaries_weights_scores():
    candidates = PointCandidates(np.array([[1.0, 2.0]]), np.array([[0.2, 0.8]]), np.array([[0.25, 1.0]]))
    assert [candidates.proposals(power).scores[0] for power in (0, 0.5, 1)] == pytest.approx([0.8, 0.4, 0.2])


def test_the_best_candidates_stay_in_their_order():
    candidates = PointCandidates(np.arange(6.0).reshape(3, 2), np.array([[0.2], [0.9], [0.5]]), np.ones((3, 2)))
    assert candidates.best(2, 0.25).segments.tolist() == [[2, 3], [4, 5]]
    assert candidates.best(3, 0.25) is candidates


def test_a_branch_of_one_modality_gets_the_columns_of_all():
    candidates = PointCandidates(np.zeros((2, 2)), np.array([[0.2], [0.9]], np.float32), np.ones((2, 2)))
    wide = candidates.with_modalities(slice(1, 2), 2)
    assert wide.modality_scores.tolist() == [[0, np.float32(0.2)], [0, np.float32(0.9)]]
    assert wide.modality_scores.dtype == np.float32


@pytest.mark.parametrize("decoding", [PointDecoding(), PointDecoding(before_nms=20, voting_iou=0, video_gate=0.5)])
def test_the_order_of_candidates_has_no_effect(decoding):
    parts = branch(seed=1, columns=slice(0, 1)), branch(33, seed=2, columns=slice(1, 2))
    expected = decoding.decode(ClipCandidates(parts, 0.6), keep=15)
    rows = decoding.decode(ClipCandidates(tuple(shuffled(part, 3) for part in parts), 0.6), keep=15)
    assert len(expected) == 15
    np.testing.assert_array_equal(rows.segments, expected.segments)
    np.testing.assert_array_equal(rows.scores, expected.scores)


def test_soft_nms_gets_the_best_candidates_only():
    rows = PointDecoding(before_nms=7).decode(ClipCandidates((branch(),), 1.0))
    assert len(rows) == 7


def test_the_gate_multiplies_the_scores_of_a_clip():
    candidates = branch()
    plain = PointDecoding().decode(ClipCandidates((candidates,), 0.25))
    gated = PointDecoding(video_gate=0.5).decode(ClipCandidates((candidates,), 0.25))
    np.testing.assert_array_equal(gated.segments, plain.segments)
    np.testing.assert_allclose(gated.scores, plain.scores / 2)
    np.testing.assert_array_equal(gated.modality_scores, plain.modality_scores)


def test_rows_of_two_branches_merge():
    def one(segment, scores):
        return PointCandidates(np.array([segment]), np.array([scores]), np.ones((1, 2)))

    parts = one([1.0, 2.0], [0.7, 0.0]), one([1.1, 2.1], [0.0, 0.8])
    (merged,) = PointDecoding(merge_iou=0.7, merge_hull=True).decode(ClipCandidates(parts, 1.0)).segments.tolist()
    assert merged == [1.0, 2.1]
    assert len(PointDecoding(merge_iou=1.01).decode(ClipCandidates(parts, 1.0))) == 2
    with pytest.raises(AvlocError, match="want candidates of one or two branches, got 3"):
        PointDecoding().decode(ClipCandidates((*parts, parts[0]), 1.0))


def test_many_rows_per_modality_find_what_one_row_for_both_misses():
    """The sound of a word is forged earlier than its mouth: points of each modality recall both, points of both one of them."""
    from avloc.evaluation import average_recall

    labels = [[1.0, 2.0], [1.6, 2.6], [5.0, 5.5]]
    sound = PointCandidates(np.array([[1.0, 2.0], [5, 5.5]]), np.array([[0.9, 0], [0.6, 0]]), np.ones((2, 2)))
    mouth = PointCandidates(np.array([[1.6, 2.6], [5.02, 5.52]]), np.array([[0, 0.8], [0, 0.7]]), np.ones((2, 2)))
    both = PointCandidates(np.array([[1.0, 2.6], [5, 5.5]]), np.array([[0.9, 0.8], [0.6, 0.7]]), np.ones((2, 2)))

    def rows(*branches):
        proposals = PointDecoding().decode(ClipCandidates(branches, 1.0), keep=50)
        return np.column_stack([proposals.scores, proposals.segments])

    separate, together = rows(sound, mouth), rows(both)
    assert (len(separate), len(together)) == (3, 2)
    assert average_recall(separate, labels, 50) > average_recall(together, labels, 50) + 0.2


def test_settings_as_json():
    decoding = PointDecoding(before_nms=100, merge_hull=True)
    assert PointDecoding.from_dict(decoding.to_dict()) == decoding
    for change, message in (
        ({"sigma": "1"}, "sigma is '1'"),
        ({"before_nms": 10.0}, r"before_nms is 10\.0"),
        ({"merge_hull": 1}, "merge_hull is 1"),
        ({"gate": 1}, "unknown setting 'gate', want boundary_power, "),
    ):
        with pytest.raises(AvlocError, match=message):
            PointDecoding.from_dict({**decoding.to_dict(), **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sigma": 0.0}, "want sigma above 0, got 0"),
        ({"boundary_power": -1}, "want boundary_power of at least 0, got -1"),
        ({"voting_iou": 1.1}, r"want voting_iou in \[0, 1\], got 1.1"),
        ({"before_nms": 0}, "want before_nms of at least 1, got 0"),
        ({"video_gate": float("nan")}, "want video_gate of at least 0, got nan"),
        ({"merge_iou": -0.1}, "want merge_iou of at least 0, got -0.1"),
    ],
)
def test_settings_out_of_range(change, message):
    with pytest.raises(AvlocError, match=message):
        PointDecoding(**change)


def test_the_fits_of_clips_hold_for_settings_that_leave_the_best_score():
    own = PointDecoding()
    assert own.scores_like(PointDecoding(sigma=0.1, voting_iou=0.5))
    assert not own.scores_like(PointDecoding(video_gate=0.5))
    assert not own.scores_like(PointDecoding(boundary_power=0.5))
