from __future__ import annotations

import numpy as np
import pytest

from avloc.core.proposals import Proposals, soft_nms
from avloc.core.timeline import interval_iou
from avloc.errors import AvlocError
from avloc.evaluation.evidence.calibration import Calibration
from avloc.evaluation.evidence.row_calibration import calibrate_rows, fit_row_calibration
from avloc.evaluation.fusion import segments
from avloc.evaluation.fusion.segments import SegmentFusion
from avloc.evaluation.hits import find_hits
from avloc.evaluation.matching import PredictionRows, video_of_row

EVEN = Calibration("segments", ("logit",), (1.0,), 0.0, fakes=1, reals=1)  # scores stay as they are
IOUS = (0.5, 0.75, 0.9)


def as_dicts(rows: PredictionRows):
    """Rows of each clip as a list of (score, start, end)."""
    table = np.column_stack([rows.scores, rows.segments])
    return [table[a:b] for a, b in zip(rows.offsets[:-1], rows.offsets[1:], strict=True)]


def test_two_systems_by_hand(build_arrays):
    a, _ = build_arrays([([(0.8, 1, 2), (0.4, 5, 6)], []), ([], [])])
    b, _ = build_arrays([([(0.4, 1.2, 2.2), (0.6, 8, 9)], []), ([(0.2, 0, 1)], [])])
    fusion = SegmentFusion((EVEN, EVEN), (1.0, 1.0), merge_iou=0.5, absence=1.0)
    first, second = as_dicts(fusion.fuse([a, b]))
    # the ends weigh by score: (.8 · 1 + .4 · 1.2) / 1.2; a row of one system alone gets half its score
    assert first == pytest.approx(np.array([[0.6, 16 / 15, 31 / 15], [0.3, 8, 9], [0.2, 5, 6]]))
    assert second == pytest.approx(np.array([[0.1, 0, 1]]))
    alone = SegmentFusion((EVEN, EVEN), (3.0, 1.0), merge_iou=0.99, absence=0.0)
    assert as_dicts(alone.fuse([a, b]))[0][:, 0].tolist() == pytest.approx([0.8, 0.6, 0.4, 0.4])
    trusting = SegmentFusion((EVEN, EVEN), (3, 1), merge_iou=0.5, absence=0.0)  # whole numbers are weights too
    assert as_dicts(trusting.fuse([a, b]))[0][0] == pytest.approx([0.7, 1 + 0.2 * 0.4 / 2.8, 2 + 0.2 * 0.4 / 2.8])


def test_good_rows_meet_among_the_poor_ones_around_them(build_arrays):
    """Rows that soft-NMS has weakened overlap the other system's good row more than its partner does."""
    a, _ = build_arrays([([(0.9, 1, 2), (0.1, 1.1, 2.1)], [])])
    b, _ = build_arrays([([(0.8, 1.1, 2.1), (0.1, 1, 2)], [])])
    (rows,) = as_dicts(SegmentFusion((EVEN, EVEN), (1.0, 1.0), merge_iou=0.5, absence=1.0).fuse([a, b]))
    ends = np.array([0.9 * 1 + 0.8 * 1.1, 0.9 * 2 + 0.8 * 2.1]) / 1.7
    assert rows == pytest.approx(np.array([[0.85, *ends], [0.1, 1.05, 2.05]]))


def localizer_rows(rng, labels):
    """Soft-NMS of candidates around each label, and around as many places where there is none."""
    start = rng.uniform(0, 9, len(labels))
    places = np.concatenate([labels, np.stack([start, start + 0.5], 1)])
    peaks = np.concatenate([rng.uniform(0.2, 0.9, len(labels)), rng.uniform(0.0, 0.7, len(labels))])
    segments = np.sort(places + rng.normal(0, 0.05, (20, *places.shape)), axis=2).reshape(-1, 2)
    scores = (peaks * rng.uniform(0.5, 1, (20, len(places)))).ravel()
    return soft_nms(Proposals(segments, scores, np.zeros((len(scores), 0))), sigma=0.4, keep=40, floor=0.0)


def test_two_localizers_are_better_than_one(build_arrays):
    """Their soft-NMS leaves many weakened rows around each good one; fusion must not pair good rows with these."""
    rng = np.random.default_rng(5)
    labels = [np.array([[start, start + 0.4], [start + 3, start + 3.6]]) for start in rng.uniform(0, 5, 23)]
    clips = [[localizer_rows(rng, each) for each in labels] for _ in range(2)]
    systems = []
    for system in clips:
        rows = [np.column_stack([part.scores, part.segments]) for part in system]
        systems.append(build_arrays([(part, label) for part, label in zip(rows, labels, strict=True)]))
    truth = systems[0][1]
    calibrations = tuple(fit_row_calibration(rows, truth) for rows, _ in systems)
    fused = SegmentFusion(calibrations, (1.0, 1.0), merge_iou=0.6, absence=1.0).fuse([rows for rows, _ in systems])

    def ap(rows):
        return (
            find_hits(rows, truth, modes=("strict",), ap_ious=(0.5,), ar_counts=(10,))["strict"].scores((0.5,)).ap[0.5]
        )

    assert ap(fused) > max(ap(rows) for rows, _ in systems) + 0.02


@pytest.mark.parametrize("copies", [2, 3, 4])
@pytest.mark.parametrize("absence", [0.0, 1.0])
def test_copies_of_a_system_change_nothing(copies, absence, noisy_systems):
    (rows,), truth = noisy_systems(1)
    order = np.argsort(np.tile(video_of_row(rows.offsets), 2), kind="stable")
    scores = np.concatenate([rows.scores, 0.5 * rows.scores])[order]
    # each segment twice within the system
    crowded = PredictionRows(scores, np.concatenate([rows.segments] * 2)[order], 2 * rows.offsets)
    for system in (rows, crowded):
        calibration = fit_row_calibration(rows, truth.labels)
        fusion = SegmentFusion((calibration,) * copies, tuple(range(1, copies + 1)), absence=absence, keep=1000)
        fused = fusion.fuse([system] * copies)
        expected = [
            clip[np.lexsort((clip[:, 2], clip[:, 1], -clip[:, 0]))]
            for clip in as_dicts(calibrate_rows(system, calibration))
        ]
        for clip, other in zip(as_dicts(fused), expected, strict=True):
            assert clip == pytest.approx(other)


def strict_scores(rows, truth):
    return find_hits(rows, truth.labels, modes=("strict",), ap_ious=IOUS, ar_counts=(10,))["strict"].scores(IOUS)


def test_independent_noise_is_averaged_away(noisy_systems):
    """Boundaries and scores of four systems are better than those of one."""
    systems, truth = noisy_systems(4)
    calibrations = tuple(fit_row_calibration(rows, truth.labels) for rows in systems)
    fused = SegmentFusion(calibrations, (1.0,) * 4, merge_iou=0.5, absence=1.0).fuse(systems)
    assert np.diff(fused.offsets).min() >= 4
    best = max((strict_scores(rows, truth) for rows in systems), key=lambda scores: scores.ap[0.75])
    for iou, gain in ((0.5, 0.15), (0.75, 0.2)):
        assert strict_scores(fused, truth).ap[iou] > best.ap[iou] + gain


def reference_fusion(systems, weights, merge_iou, absence):
    """The rows of one clip, in plain loops."""
    fused = []  # [rows of (weight, score, start, end)]
    for weight, rows in zip(weights, systems, strict=True):
        rows = sorted(rows.tolist(), key=lambda r: (-r[0], r[1], r[2]))
        free = list(fused)
        pairs = []
        for row in rows:
            ious = [interval_iou(np.array([row[1:]]), np.array([mean_ends(group)]))[0, 0] for group in free]
            merits = [iou * mean_score(group) if iou >= merge_iou else 0 for iou, group in zip(ious, free, strict=True)]
            best = int(np.argmax(merits)) if merits else -1
            if best >= 0 and merits[best] > 0:
                pairs.append((free.pop(best), (weight, *row)))
            else:
                fused.append([(weight, *row)])
        for group, row in pairs:
            group.append(row)
    total = sum(weights)
    result = []
    for group in fused:
        present = sum(w for w, *_ in group)
        score = sum(w * s for w, s, *_ in group) / (present + absence * (total - present))
        result.append((score, *mean_ends(group)))
    return np.array(sorted(result, key=lambda r: (-r[0], r[1], r[2]))).reshape(-1, 3)


def mean_score(group):
    return sum(w * s for w, s, *_ in group) / sum(w for w, *_ in group)


def mean_ends(group):
    strength = sum(w * s for w, s, *_ in group)
    return [sum(w * s * row[k] for w, s, *row in group) / strength for k in (0, 1)]


@pytest.mark.parametrize("chunk", [1, 3, 1000])
def test_equal_to_plain_loops(chunk, build_arrays, monkeypatch):
    monkeypatch.setattr(segments, "CHUNK_CLIPS", chunk)
    rng = np.random.default_rng(6)
    clips = [
        [
            np.column_stack([rng.uniform(0.05, 0.95, n), np.sort(rng.uniform(0, 5, (n, 2)), axis=1)])
            for n in rng.integers(0, 9, 3)
        ]
        for _ in range(11)
    ]
    systems = [build_arrays([(clip[k], []) for clip in clips])[0] for k in range(3)]
    weights = (1.0, 2.0, 0.5)
    fused = SegmentFusion((EVEN,) * 3, weights, merge_iou=0.4, absence=0.3).fuse(systems)
    for clip, rows in zip(clips, as_dicts(fused), strict=True):
        assert rows == pytest.approx(reference_fusion(clip, weights, 0.4, 0.3))


def test_the_order_of_rows_in_the_files_does_not_matter(noisy_systems):
    systems, _ = noisy_systems(2, clips=6)
    turned = [PredictionRows(r.scores[::-1], r.segments[::-1], r.offsets) for r in systems]
    backwards = [PredictionRows(r.scores[::-1], r.segments[::-1], r.offsets) for r in turned]
    fusion = SegmentFusion((EVEN, EVEN), (1.0, 1.0))
    for rows, other in zip(as_dicts(fusion.fuse(systems)), as_dicts(fusion.fuse(backwards)), strict=True):
        assert rows == pytest.approx(other)


def test_soft_nms_over_all_rows(build_arrays):
    a, _ = build_arrays([([(0.8, 1, 2)], []), ([], [])])
    b, _ = build_arrays([([(0.6, 1, 2), (0.5, 5, 6)], []), ([], [])])
    fused = SegmentFusion((EVEN, EVEN), (2.0, 1.0), method="soft-nms", sigma=0.5, keep=3).fuse([a, b])
    first, second = as_dicts(fused)
    assert first == pytest.approx(np.array([[0.8, 1, 2], [0.25, 5, 6], [0.3 * np.exp(-2), 1, 2]]))
    assert len(second) == 0


def test_best_rows_are_kept(noisy_systems):
    systems, _ = noisy_systems(2, clips=5)
    whole = SegmentFusion((EVEN, EVEN), (1.0, 1.0)).fuse(systems)
    kept = SegmentFusion((EVEN, EVEN), (1.0, 1.0), keep=2).fuse(systems)
    assert np.diff(kept.offsets).tolist() == [2] * 5
    for rows, other in zip(as_dicts(kept), as_dicts(whole), strict=True):
        assert rows.tolist() == other[:2].tolist()


def test_no_clips_and_scores_of_zero(build_arrays):
    none = PredictionRows(np.zeros(0), np.zeros((0, 2)), np.array([0]))
    assert SegmentFusion((EVEN, EVEN), (1.0, 1.0)).fuse([none, none]).offsets.tolist() == [0]
    zero, _ = build_arrays([([(0.0, 1, 2)], [])])
    fused = SegmentFusion((EVEN, EVEN), (1.0, 1.0)).fuse([zero, zero])
    assert fused.segments == pytest.approx(np.array([[1, 2]]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weights": (1.0,)}, "got 2 calibrations and 1 weights"),
        ({"weights": (1.0, 0.0)}, "want weights above 0, got"),
        ({"merge_iou": 0.0}, "want a merging IoU above 0 and at most 1, got 0"),
        ({"absence": 1.5}, r"want an absence in \[0, 1\], got 1.5"),
        ({"method": "mean"}, "want a method of boxes, soft-nms, got 'mean'"),
        ({"sigma": 0.0}, "want a sigma above 0, got 0"),
        ({"keep": 0}, "want at least 1 row per clip, got 0"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(AvlocError, match=message):
        SegmentFusion(**({"calibrations": (EVEN, EVEN), "weights": (1.0, 1.0)} | settings))


def test_systems_that_do_not_fit_are_refused(build_arrays):
    one, two = (build_arrays([([(0.5, 0, 1)], [])] * n)[0] for n in (1, 2))
    fusion = SegmentFusion((EVEN, EVEN), (1.0, 1.0))
    with pytest.raises(AvlocError, match="want rows of 2 systems, got 1"):
        fusion.fuse([one])
    with pytest.raises(AvlocError, match="want rows of the same clips, got 1 and 2 clips"):
        fusion.fuse([one, two])
