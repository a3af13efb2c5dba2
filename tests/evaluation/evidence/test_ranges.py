from __future__ import annotations

import json

import numpy as np
import pytest

from avloc.evaluation.detection import score_detection
from avloc.evaluation.evidence import ranges
from avloc.evaluation.evidence.ranges import RESOLUTIONS_S, range_curve, score_ranges
from avloc.evaluation.matching import Labels, PredictionRows


def test_by_hand(build_arrays):
    # 10 s, fake 2–4. Rows: .9 on 2–3, .6 on 3–6. Time by score: .9: 1 s fake; .6: 1 s fake, 2 s real; 0: 6 s real.
    rows, labels = build_arrays([([(0.9, 2, 3), (0.6, 3, 6)], [(2, 4)])])
    curve = range_curve(rows, labels, np.array([10.0]))
    assert curve.thresholds.tolist() == [np.inf, 0.9, 0.6, 0]
    assert curve.hits.tolist() == pytest.approx([0, 1, 2, 2])
    assert curve.alarms.tolist() == pytest.approx([0, 0, 2, 8])
    scores = score_ranges(rows, labels, np.array([10.0]), steps_s=(1.0,))
    # between .9 (miss 1/2, alarm 0) and .6 (miss 0, alarm 1/4): 1/2 − 2 a = a
    assert scores.eer == pytest.approx(1 / 6)
    assert (scores.eer_threshold, scores.fake_s, scores.total_s) == (0.6, 2, 10)
    assert scores.frames[1.0].auc == pytest.approx((1 * 8 + 1 * (6 + 2 / 2)) / 16)


def test_time_without_rows_ranks_below_negative_scores(build_arrays):
    # The rows as log-likelihood ratios; a clip without rows ranks with the uncovered time.
    rows, labels = build_arrays([([(-1, 2, 3), (-4, 3, 6)], [(2, 4)]), ([], [])])
    curve = range_curve(rows, labels, np.array([10.0, 3.0]))
    assert curve.thresholds[:3].tolist() == [np.inf, -1, -4]
    assert curve.thresholds[3] < -4
    assert curve.hits.tolist() == pytest.approx([0, 1, 2, 2])
    assert curve.alarms.tolist() == pytest.approx([0, 0, 2, 11])


def random_clips(seed: int, clips: int = 13):
    """Rows and labels at whole milliseconds; some clips without rows, labels or a known duration."""
    rng = np.random.default_rng(seed)
    videos, durations_s = [], []
    for k in range(clips):
        end = int(rng.integers(300, 3000))
        spans = [np.sort(rng.integers(0, end + 40, (int(rng.integers(0, 9)), 2)), axis=1) / 1000 for _ in range(2)]
        scores = rng.integers(1, 8, len(spans[0])) / 8
        videos.append((np.column_stack([scores, spans[0]]), spans[1] if k % 3 else np.zeros((0, 2))))
        durations_s.append(end / 1000)
    return videos, np.array(durations_s)


def reference_curve(videos, durations_s):
    """Score and label of every millisecond, at its middle."""
    scores, is_fake = [], []
    for (rows, labels), end in zip(videos, durations_s, strict=True):
        for t in (np.arange(round(end * 1000)) + 0.5) / 1000:
            scores.append(max((score for score, a, b in rows if a <= t < b), default=0.0))
            is_fake.append(any(a <= t < b for a, b in labels))
    return np.array(scores), np.array(is_fake)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("block", [1, 1 << 18])
def test_equal_to_integration_over_milliseconds(seed, block, build_arrays, monkeypatch):
    monkeypatch.setattr("avloc.evaluation.matching.BLOCK_PAIRS", block)
    videos, durations_s = random_clips(seed)
    scores = score_ranges(*build_arrays(videos), durations_s, steps_s=())
    expected = score_detection(*reference_curve(videos, durations_s))
    assert scores.eer == pytest.approx(expected.eer, abs=1e-9)
    assert scores.eer_threshold == expected.eer_threshold
    assert scores.fake_s == pytest.approx(expected.fakes / 1000)
    assert scores.total_s == pytest.approx(expected.total / 1000)


def test_frames_are_fake_if_any_part_is(build_arrays):
    rows, labels = build_arrays([([(0.5, 0.7, 0.72)], [(0.62, 0.66)])])
    frames = score_ranges(rows, labels, np.array([1.3])).frames
    assert tuple(frames) == RESOLUTIONS_S
    assert [(d.fakes, d.total) for d in frames.values()] == [(2, 65), (2, 33), (2, 17), (2, 9), (2, 5), (2, 3)]
    # .62–.66 touches both sides of .64; at 640 ms the row's frame is the second one
    assert frames[0.64].auc == pytest.approx(0.75)


def test_scores_of_frames_at_their_own_resolution_tend_to_the_range(build_arrays):
    videos, durations_s = random_clips(5)
    rows, labels = build_arrays(videos)
    scores = score_ranges(rows, labels, durations_s, steps_s=(0.001,))
    assert scores.frames[0.001].eer == pytest.approx(scores.eer, abs=1e-3)


def test_nothing_forged_nothing_found_and_no_clips(build_arrays):
    rows, labels = build_arrays([([], []), ([(0.4, 0, 1)], [])])
    scores = score_ranges(rows, labels, np.array([2.0, np.nan]))
    assert np.isnan([scores.eer, scores.frames[0.02].eer]).all()
    assert (scores.fake_s, scores.total_s) == (0, 3)
    json.dumps(scores.to_dict(), allow_nan=False)
    missed = score_ranges(*build_arrays([([], [(1, 2)])]), np.array([4.0]))
    assert (missed.eer, missed.fake_s) == (0.5, 1)
    nobody = PredictionRows(np.zeros(0), np.zeros((0, 2)), np.array([0]))
    assert np.isnan(ranges.score_ranges(nobody, Labels.from_clips([]), np.zeros(0)).eer)
