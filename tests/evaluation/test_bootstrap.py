from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from avloc.core.columns import CategoricalColumn
from avloc.evaluation import bootstrap
from avloc.evaluation.bootstrap import _CountedSystem, bootstrap_intervals, fold_differences, intervals_to_dict
from avloc.evaluation.matching import Labels
from avloc.evaluation.metrics import score_rows
from avloc.evaluation.predictions import Predictions, align
from avloc.evaluation.protocols import PROTOCOLS
from avloc.evaluation.scoring import evaluate_aligned
from avloc.evaluation.truth import Truth


def generate(clips, *, noise, seed=0, digits=3):
    """Clips in sources of two (a real one and its fake), with rows around the labels; `noise` in seconds."""
    random = np.random.default_rng(seed)
    files = [f"{k}.mp4" for k in range(clips)]
    starts = np.round(random.uniform(0, 8, clips), 2)
    labels = [np.array([[s, s + 0.5]]) if k % 2 else np.zeros((0, 2)) for k, s in enumerate(starts)]
    rows = {}
    for file, label in zip(files, labels, strict=True):
        clip_rows = [(random.uniform(0, 0.7), *(random.uniform(0, 8) + np.array([0, 0.5]))) for _ in range(3)]
        if len(label):
            clip_rows.append((random.uniform(0.3, 1), *(label[0] + random.normal(0, noise, 2))))
        rows[file] = np.round(clip_rows, digits)
    truth = Truth(
        files,
        Labels.from_clips(labels),
        CategoricalColumn.from_strings("audio" if k % 2 else "real" for k in range(clips)),
        {},
        np.full(clips, 9.0),
        np.arange(clips) // 2,
    )
    return evaluate_aligned(truth, align(Predictions.from_dict(rows), files), PROTOCOLS["avdeepfake1m"])


def test_a_draw_of_everything_once_gives_the_exact_scores():
    evaluation = generate(61, noise=0.05, digits=2)
    counted = _CountedSystem(evaluation, evaluation.truth.source)
    assert counted.scores(np.ones(31)) == pytest.approx(counted.exact, abs=1e-12)


def test_a_draw_equals_an_evaluation_of_the_clips_drawn():
    evaluation = generate(12, noise=0.05, digits=2)
    weights = np.array([2.0, 0, 1, 3, 0, 0])
    rows, truth = evaluation.aligned.rows, evaluation.truth
    flat = np.column_stack([rows.scores, rows.segments])
    drawn = [c for s, w in enumerate(weights) for _ in range(int(w)) for c in (2 * s, 2 * s + 1)]
    parts = [flat[rows.offsets[c] : rows.offsets[c + 1]] for c in drawn]
    drawn_rows = Predictions.from_dict({str(k): part for k, part in enumerate(parts)}).rows
    expected = score_rows(
        drawn_rows,
        Labels.from_clips([truth.segments(c) for c in drawn]),
        mode="strict",
        ap_ious=(0.5, 0.75, 0.9, 0.95),
        ar_counts=(50, 30, 20, 10, 5),
    )
    scores = _CountedSystem(evaluation, truth.source).scores(weights)
    assert scores[:-1] == pytest.approx([*expected.ap.values(), *expected.ar.values()], abs=1e-12)


def test_few_bins_change_little(monkeypatch):
    evaluation = generate(600, noise=0.04, digits=6)
    exact = _CountedSystem(evaluation, evaluation.truth.source).exact
    monkeypatch.setattr(bootstrap, "MAX_BINS", 64)
    counted = _CountedSystem(evaluation, evaluation.truth.source)
    assert counted.bins <= 64
    assert counted.scores(np.ones(300)) == pytest.approx(exact, abs=0.02)


def test_intervals_hold_the_score_and_shrink_with_more_clips():
    few, many = (bootstrap_intervals(generate(n, noise=0.05), resamples=200)["ap@0.75"] for n in (40, 640))
    for interval in (few, many):
        assert interval.low < interval.value < interval.high
        assert interval.p is None
    assert many.high - many.low < (few.high - few.low) / 2
    assert bootstrap_intervals(generate(40, noise=0.05), resamples=50) == bootstrap_intervals(
        generate(40, noise=0.05), resamples=50
    )


def test_intervals_cover_the_population_score():
    """About 95 % of intervals hold the score of the whole population."""
    truth = bootstrap_intervals(generate(6000, noise=0.05, seed=99), resamples=2)["ap@0.75"].value
    inside = 0
    for seed in range(60):
        interval = bootstrap_intervals(generate(120, noise=0.05, seed=seed), resamples=150)["ap@0.75"]
        inside += interval.low <= truth <= interval.high
    assert inside >= 50


def test_a_paired_difference():
    good, bad = generate(200, noise=0.01), generate(200, noise=0.2)
    difference = bootstrap_intervals(good, bad, resamples=100)
    assert difference["ap@0.75"].low > 0
    assert difference["ap@0.75"].p < 0.05
    back = bootstrap_intervals(bad, good, resamples=100)
    assert back["ap@0.75"].value == -difference["ap@0.75"].value
    same = bootstrap_intervals(good, good, resamples=20)["score"]
    assert (same.value, same.low, same.high, same.p) == (0, 0, 0, 1)
    assert set(intervals_to_dict(difference)["score"]) == {"value", "low", "high", "p"}
    with pytest.raises(ValueError, match="must be scored on the same clips"):
        bootstrap_intervals(good, generate(40, noise=0.1))


def test_several_evaluations_count_by_their_mean_under_the_same_draws():
    seeds = [generate(200, noise=noise) for noise in (0.01, 0.05, 0.2)]
    mean, alone = bootstrap_intervals(seeds, resamples=50), [bootstrap_intervals(e, resamples=50) for e in seeds]
    assert mean["ap@0.75"].value == pytest.approx(np.mean([e["ap@0.75"].value for e in alone]))
    thrice = bootstrap_intervals([seeds[0]] * 3, resamples=50)["ap@0.75"]
    assert (thrice.value, thrice.low, thrice.high) == pytest.approx(
        [getattr(alone[0]["ap@0.75"], end) for end in ("value", "low", "high")]
    )
    better = bootstrap_intervals(seeds[:2], seeds[1:], resamples=50)["ap@0.75"]
    assert better.value == pytest.approx((alone[0]["ap@0.75"].value - alone[2]["ap@0.75"].value) / 2)
    assert better.p is not None
    with pytest.raises(ValueError, match="must be scored on the same clips"):
        bootstrap_intervals([seeds[0], generate(40, noise=0.1)])


def test_without_labels():
    evaluation = generate(40, noise=0.05)
    truth = evaluation.truth.select(evaluation.truth.modality.isin("real"))
    result = evaluate_aligned(
        truth, align(Predictions.from_dict({"0.mp4": [(0.5, 0, 1)]}), truth.files), PROTOCOLS["lavdf"]
    )
    assert intervals_to_dict(bootstrap_intervals(result, resamples=3))["ap@0.5"] == {
        "value": None,
        "low": None,
        "high": None,
    }


def test_one_fold_is_the_difference_of_two_systems():
    better, worse = (generate(40, noise=noise, digits=2) for noise in (0.02, 0.2))
    expected = bootstrap_intervals(better, worse, resamples=50, seed=3)
    intervals = fold_differences([(better, worse)], resamples=50, seed=3)
    for name, interval in expected.items():
        assert [*intervals[name].to_dict().values()] == pytest.approx([*interval.to_dict().values()])


def part_of(evaluation, mask):
    rows, truth = evaluation.aligned.rows, evaluation.truth.select(mask)
    flat = np.column_stack([rows.scores, rows.segments])
    clips = {evaluation.truth.files[k]: flat[rows.offsets[k] : rows.offsets[k + 1]] for k in np.flatnonzero(mask)}
    return evaluate_aligned(truth, align(Predictions.from_dict(clips), truth.files), evaluation.protocol)


def test_folds_count_by_their_sources_and_are_never_mixed():
    better, worse = (generate(40, noise=noise, digits=2) for noise in (0.02, 0.2))
    masks = [better.truth.source < 5, better.truth.source >= 5]
    folds = [(part_of(better, mask), part_of(worse, mask)) for mask in masks]
    alone = [fold_differences([fold], resamples=20)["score"].value for fold in folds]
    whole = fold_differences(folds, resamples=200)["score"]
    assert whole.value == pytest.approx((5 * alone[0] + 15 * alone[1]) / 20)
    assert whole.low < whole.value < whole.high
    # Scores of one fold on another scale change nothing.
    rows = folds[0][0].aligned.rows
    scaled = replace(folds[0][0].aligned, rows=replace(rows, scores=rows.scores / 1000))
    other = evaluate_aligned(folds[0][0].truth, scaled, better.protocol)
    assert fold_differences([(other, folds[0][1]), folds[1]], resamples=20)["score"].value == pytest.approx(whole.value)


def test_a_fold_of_one_source_still_has_an_interval():
    better, worse = (generate(6, noise=noise, digits=2) for noise in (0.02, 0.2))
    masks = [better.truth.source == k for k in range(3)]
    interval = fold_differences([(part_of(better, m), part_of(worse, m)) for m in masks], resamples=200)["ap@0.95"]
    assert interval.low < interval.high
