from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avloc.evaluation.inputs.plausibility import UNITS_PER_SECOND, implausible_rows
from avloc.evaluation.matching import Labels, PredictionRows
from avloc.evaluation.predictions import align, read_predictions
from avloc.evaluation.truth import read_truth

RNG = np.random.default_rng(3)


def rows_of(arrays):
    """Rows (n, 3) of score, start, end per clip → PredictionRows."""
    flat = np.concatenate([np.zeros((0, 3)), *arrays])
    return PredictionRows(flat[:, 0], flat[:, 1:], np.cumsum([0, *map(len, arrays)]))


@pytest.fixture
def clips():
    """Right rows of 12 clips of 3 to 14 s, 30 rows each, with their lengths."""
    lengths_s = np.arange(3.0, 15.0)
    arrays = []
    for length_s in lengths_s:
        times = np.sort(RNG.uniform(0, length_s, (30, 2)), axis=1)
        arrays.append(np.column_stack([np.sort(RNG.uniform(0, 1, 30))[::-1], times]))
    return arrays, lengths_s


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("basename.json", None),
        ("anet.json", None),
        ("eval_results.pkl", None),
        (
            "frames.json",
            "1345 of 1500 rows start after the end of their clip: the times are likely frames (25 per second), want seconds; "
            "use the unit frames",
        ),
        (
            "startendscore.json",
            "1500 of 1500 rows end before they start: the columns are likely [start, end, score], want [score, start, end]",
        ),
        (
            "endfirst.json",
            "1500 of 1500 rows end before they start: the columns are likely [score, end, start], want [score, start, end]",
        ),
    ],
)
@pytest.mark.parametrize("knows", ["lengths", "labels", "both"])
def test_files_of_other_programs(cases, name, expected, knows):
    truth = read_truth(cases / "metadata.min.json", "fake_periods", "test")
    rows = align(read_predictions(cases / name).renamed(truth.files), truth.files).rows
    unknown = np.full(len(truth), np.nan)
    lengths_s = unknown if knows == "labels" else truth.duration_s
    warnings = implausible_rows(rows, lengths_s, None if knows == "lengths" else truth.labels)
    if name == "frames.json" and knows == "labels":
        expected = "no row is near a fake segment" + expected[expected.index(":") :]
    assert warnings == ([] if expected is None else [expected])


@pytest.mark.parametrize(
    ("reading", "columns"),
    [
        ("[score, end, start]", (0, 2, 1)),
        ("[start, end, score]", (1, 2, 0)),
        ("[end, start, score]", (2, 1, 0)),
    ],
)
@pytest.mark.parametrize("is_known", [True, False])
def test_order_of_columns(clips, reading, columns, is_known):
    arrays, lengths_s = clips
    lengths_s = lengths_s if is_known else np.full(len(lengths_s), np.nan)
    (warning,) = implausible_rows(rows_of([array[:, columns] for array in arrays]), lengths_s)
    assert f"the columns are likely {reading}, want [score, start, end]" in warning
    in_frames = [(array * [1, 25, 25])[:, columns] for array in arrays]
    as_read = rows_of([array / [1, 25, 25] for array in in_frames])
    (warning,) = implausible_rows(as_read, lengths_s, unit="frames")
    assert f"likely {reading}" in warning


def test_labels_tell_readings_apart_that_both_fit(clips):
    """Rows [score, start, length] of segments of half a second, where lengths and ends are both possible."""
    arrays, lengths_s = clips
    arrays = [np.column_stack([array[:, :2], np.full(len(array), 0.5)]) for array in arrays]
    starts = [array[:1, 1:2] for array in arrays]
    labels = Labels.from_clips([np.hstack([start, start + 0.5]) for start in starts])
    (warning,) = implausible_rows(rows_of(arrays), lengths_s, labels)
    assert "likely [score, start, length]" in warning
    centred = Labels.from_clips([np.hstack([start - 0.25, start + 0.25]) for start in starts])
    (warning,) = implausible_rows(rows_of(arrays), lengths_s, centred)
    assert "likely [score, centre, length]" in warning


@pytest.mark.parametrize("factor", UNITS_PER_SECOND)
def test_units_of_time(clips, factor):
    arrays, lengths_s = clips
    (warning,) = implausible_rows(rows_of([array * [1, factor, factor] for array in arrays]), lengths_s)
    assert f"the times are likely {UNITS_PER_SECOND[factor]}, want seconds" in warning
    assert ("use the unit frames" in warning) == (factor == 25)


def test_times_that_fit_no_unit(clips):
    arrays, lengths_s = clips
    (warning,) = implausible_rows(rows_of([array * [1, 1e9, 1e9] for array in arrays]), lengths_s)
    assert warning.endswith("rows start after the end of their clip; want times in seconds")


def test_seconds_read_as_frames_and_fractions_of_the_clip(clips):
    arrays, lengths_s = clips
    (warning,) = implausible_rows(rows_of([array / [1, 25, 25] for array in arrays]), lengths_s, unit="frames")
    assert warning == (
        "all 360 rows lie in the first 4 % of their clip: the times are likely seconds, want frames; use the unit seconds"
    )
    fractions = [array / [1, length_s, length_s] for array, length_s in zip(arrays, lengths_s, strict=True)]
    (warning,) = implausible_rows(rows_of(fractions), lengths_s)
    assert warning == "all 360 rows lie between 0 and 1: the times are likely fractions of the clip, want seconds"


def test_a_few_rows_that_end_before_they_start_are_counted(clips):
    arrays, lengths_s = clips
    arrays[3][4] = [0.5, 2, 1.5]
    assert implausible_rows(rows_of(arrays), lengths_s) == ["1 of 360 rows end before they start and count as wrong"]


def test_right_rows_are_never_warned_of(clips):
    arrays, lengths_s = clips
    unknown = np.full(len(lengths_s), np.nan)
    labels = Labels.from_clips([np.array([[1.0, 1.5]])] * 12)
    dummies = [np.zeros((1, 3))] * 12
    variants = {
        "as they are": arrays,
        "all-zero scores": [array * [0, 1, 1] for array in arrays],
        "logits": [array * [20, 1, 1] - [10, 0, 0] for array in arrays],
        "percent": [array * [100, 1, 1] for array in arrays],
        "one row": [arrays[0][:1], *[np.zeros((0, 3))] * 11],
        "no rows": [np.zeros((0, 3))] * 12,
        "dummies": dummies,
        "dummies beside rows": [*dummies[:6], *arrays[6:]],
        "windows padded to 20 s": [np.vstack([array, [0.01, 2, 20.48]]) for array in arrays],
        "rows behind the end": [array + np.array([0, 0, 0.5]) for array in arrays],
        "only the first second": [array[array[:, 2] < 1] for array in arrays],
        "zero lengths": [array[:, [0, 1, 1]] for array in arrays],
    }
    for name, variant in variants.items():
        for known_s in (lengths_s, unknown, np.zeros(12)):
            for some_labels in (None, labels):
                assert implausible_rows(rows_of(variant), known_s, some_labels) == [], name
    tiny = [np.array([[0.9, 0.0, 0.03], [0.2, 0.01, 0.04]])] * 12  # clips of one frame
    assert implausible_rows(rows_of(tiny), np.full(12, 0.04), labels) == []
    in_frames = [array / [1, 1, 1] for array in arrays]
    assert implausible_rows(rows_of(in_frames), lengths_s, labels, unit="frames") == []


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.integers(0, 9), st.integers(0, 99))
def test_random_right_rows_are_never_warned_of(clip_count, row_count, seed):
    rng = np.random.default_rng(seed)
    lengths_s = rng.uniform(0.04, 900, clip_count)
    arrays = [
        np.column_stack([rng.uniform(0, 1, row_count), np.sort(rng.uniform(0, length_s, (row_count, 2)), axis=1)])
        for length_s in lengths_s
    ]
    ends = np.sort(rng.uniform(0, 1, (clip_count, 2)), axis=1) * lengths_s[:, None]
    labels = Labels.from_clips([end[None] for end in ends])
    assert implausible_rows(rows_of(arrays), lengths_s, labels) == []
    assert implausible_rows(rows_of(arrays), np.full(clip_count, np.nan), None) == []


def test_values_that_are_not_finite_are_left_to_other_checks():
    rows = rows_of([np.array([[np.nan, 1, 2], [0.5, np.inf, 2], [0.5, 1, 2]])])
    assert implausible_rows(rows, np.array([4.0])) == []


def test_own_predictions_are_right(cases, tmp_path):
    """The rows of `basename.json`, written by avloc, in any of the forms of a clip's list."""
    truth = read_truth(cases / "metadata.min.json", "fake_periods", "test")
    predictions = json.loads((cases / "basename.json").read_text())
    for keep in (100, 3, 1, 0):
        (tmp_path / "p.json").write_text(json.dumps({file: rows[:keep] for file, rows in predictions.items()}))
        loaded = read_predictions(tmp_path / "p.json").renamed(truth.files)
        assert implausible_rows(align(loaded, truth.files).rows, truth.duration_s, truth.labels) == []
