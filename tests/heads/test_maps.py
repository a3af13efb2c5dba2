from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avloc.core.records import VideoRecord
from avloc.core.timeline import Segment, TimeGrid
from avloc.errors import AvlocError
from avloc.heads.map_nms import SoftNMS
from avloc.heads.maps import MapTargetMaker, boundary_map, boundary_overlap, decode_map, rounded_frame_labels

DATA = np.load(Path(__file__).parents[1] / "data" / "batfd" / "postprocess.npz")


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_round_trip_returns_every_segment_on_frames(data):
    """Ground truth → map → aligned decoding: the best rows are the segments, for any of up to D steps."""
    frames, durations = data.draw(st.integers(3, 60)), data.draw(st.integers(1, 12))
    steps, position = [], 0
    for _ in range(data.draw(st.integers(0, 3))):
        start = position + data.draw(st.integers(0, 9))
        length = data.draw(st.integers(1, durations))
        if start + length > frames:
            break
        steps.append((start, start + length))
        position = start + length + 1
    grid = TimeGrid(0.0, 0.04, frames)
    segments = grid.to_seconds(np.array(steps, dtype=float).reshape(-1, 2))
    proposals = decode_map(boundary_map(segments, grid, durations, frames), grid)
    best = proposals.segments[proposals.scores > 0.999]
    assert sorted(map(tuple, best.round(6))) == sorted(map(tuple, segments.round(6)))


@pytest.mark.parametrize("k", range(4))
def test_maps_equal_the_published_ones(k):
    labels = boundary_map(DATA[f"label{k}_segments"], TimeGrid(0, 0.04, 256), 40, int(DATA[f"label{k}_frames"]))
    assert labels == pytest.approx(DATA[f"label{k}_map"], abs=1e-6)


def _reference_map(segments, frames, durations, steps):
    label = np.zeros((durations, frames))
    for d in range(durations):
        for t in range(frames):
            if t + d <= steps:
                for start, end in segments:
                    shared = max(0.0, min(end, t + d + 1) - max(start, t))
                    label[d, t] = max(label[d, t], shared / (max(end, t + d + 1) - min(start, t)) if shared else 0)
    return label


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.floats(-3, 30), st.floats(-3, 30)), max_size=4),
    st.integers(1, 9),
    st.integers(1, 23),
    st.data(),
)
def test_maps_equal_plain_loops(pairs, durations, frames, data):
    segments = np.array([sorted(p) for p in pairs]).reshape(-1, 2)
    steps = data.draw(st.integers(0, frames))
    labels = boundary_map(segments, TimeGrid(0, 1.0, frames), durations, steps)
    assert labels == pytest.approx(_reference_map(segments, frames, durations, steps), abs=1e-6)


def test_boundary_overlap_by_hand():
    """A boundary at 5.0 reaches from 3.5 to 6.5."""
    grid = TimeGrid(0, 0.04, 9)
    assert boundary_overlap(np.array([0.2]), grid).tolist() == pytest.approx([0, 0, 0, 0.5, 1, 1, 0.5, 0, 0], abs=1e-6)
    assert boundary_overlap(np.array([0.0, 0.36]), grid).tolist() == pytest.approx(
        [1, 0.5, 0, 0, 0, 0, 0, 0.5, 1], abs=1e-6
    )
    assert not boundary_overlap(np.zeros(0), grid).any()


def test_rounded_frame_labels_cover_whole_steps():
    grid = TimeGrid(0, 0.04, 6)
    assert rounded_frame_labels(np.array([[0.05, 0.2]]), grid).tolist() == [0, 1, 1, 1, 1, 0]
    assert rounded_frame_labels(np.array([[0.04, 0.08], [-1.0, 0.03]]), grid).tolist() == [0, 1, 0, 0, 0, 0]
    assert rounded_frame_labels(np.array([[0.2, 9.0]]), grid).tolist() == [0, 0, 0, 0, 0, 1]


def test_target_maker_keeps_modalities_apart():
    record = VideoRecord("x", "t", None, (Segment(0.04, 0.12),), (Segment(0.2, 0.28), Segment(0.0, 0.28)))
    targets, unassigned_segments = MapTargetMaker(3)(record, TimeGrid(0, 0.04, 8), 11)
    assert unassigned_segments == 1  # 7 steps do not fit 3 durations
    assert targets.fused_map.shape == (3, 11)
    assert targets.modality_maps[0, 1, 1] == pytest.approx(1)
    assert targets.modality_maps[1, 1, 5] == pytest.approx(1)
    assert targets.modality_maps[0, 1, 5] == 0
    assert targets.frame_labels.tolist() == [[0, 1, 1] + [0] * 8, [1] * 7 + [0] * 4]
    assert targets.mask.tolist() == [True] * 8 + [False] * 3
    assert targets.is_fake == 1
    assert targets.modality_boundaries.shape == (2, 2, 11)
    real, unassigned_segments = MapTargetMaker(3)(VideoRecord("y", "t"), TimeGrid(0, 0.04, 8), 8)
    assert (real.is_fake, unassigned_segments, real.fused_map.max()) == (0, 0, 0)


def test_sound_and_mouth_of_one_forgery_are_one_fused_segment():
    """As validation counts them: the decoded fused map of a perfect network is the truth of `val/ap`."""
    record = VideoRecord("a.mp4", "train", None, (Segment(0.4, 0.8),), (Segment(0.44, 0.88), Segment(1.4, 1.6)))
    grid = TimeGrid(0.0, 0.04, 50)
    targets, unassigned = MapTargetMaker(15)(record, grid, 50)
    proposals = decode_map(targets.fused_map, grid)
    best = proposals.segments[proposals.scores > 0.999]
    assert (
        sorted(best.round(6).tolist())
        == [list(s) for s in record.with_joined_segments().segments]
        == [[0.4, 0.88], [1.4, 1.6]]
    )
    assert unassigned == 0
    assert np.flatnonzero(targets.modality_maps[0].max(axis=0) == 1).tolist() == [10]
    assert np.flatnonzero(targets.modality_maps[1].max(axis=0) == 1).tolist() == [11, 35]


def test_a_map_needs_a_duration():
    with pytest.raises(AvlocError, match="at least 1 duration, got 0"):
        boundary_map(np.zeros((0, 2)), TimeGrid(0, 1, 3), 0)


@pytest.mark.parametrize("k", range(5))
def test_published_decoding_equals_the_published_code(k):
    frames, _, steps, *nms_settings = DATA[f"nms{k}_params"]
    ends = np.stack([DATA["nms4_start"], DATA["nms4_end"]]) if k == 4 else None
    grid, nms = TimeGrid(0, 0.04, int(steps)), SoftNMS(*nms_settings)
    proposals = decode_map(DATA[f"nms{k}_map"], grid, decoding="published", boundaries=ends, keep=101, nms=nms)
    rows = np.column_stack([proposals.scores, proposals.segments / 0.04])
    assert rows.shape == DATA[f"nms{k}_out"].shape
    assert rows == pytest.approx(DATA[f"nms{k}_out"], abs=1e-6)
    assert int(frames) == DATA[f"nms{k}_map"].shape[1]
    assert len(decode_map(DATA[f"nms{k}_map"], grid, decoding="published", keep=500)) == len(rows)


def test_decoding_by_hand():
    scores = np.array([[0.1, 0.2, 0.3], [0.9, 0.4, 0.8]])  # cell (1, 1) is [1, 3]; (1, 2) reaches past the clip
    grid = TimeGrid(1.0, 0.5, 3)
    by_modality = np.stack([scores, np.zeros_like(scores)])
    proposals = decode_map(scores, grid, modality_scores=by_modality, nms=SoftNMS(0.5, 0.0, 0.0))
    third, half = np.exp(-((1 / 3) ** 2) / 0.5), np.exp(-0.25 / 0.5)
    # After [1.0, 2.0]: [1.5, 2.5] overlaps by a third, its parts by half.
    assert proposals.segments.tolist() == [[1, 2], [1.5, 2.5], [2, 2.5], [1.5, 2], [1, 1.5]]
    assert proposals.scores == pytest.approx([0.9, 0.4 * third, 0.3 * half, 0.2 * half * half, 0.1 * half])
    assert proposals.modality_scores == pytest.approx(np.array([[0.9, 0], [0.4, 0], [0.3, 0], [0.2, 0], [0.1, 0]]))
    published = decode_map(scores, grid, decoding="published", nms=SoftNMS(0.5, 0.0, 0.0))
    assert published.segments.tolist() == [[1, 1.5], [2, 2.5]]  # d > 0, a step shorter; the last one is dropped


def test_avdeepfake1m_decoding_truncates_and_rounds():
    """6 frames squeezed into 4 steps."""
    scores = np.zeros((3, 4))
    scores[1, 1], scores[2, 2], scores[2, 0], scores[1, 3] = 0.87654321, 0.5, 0.25, 0.125
    proposals = decode_map(scores, TimeGrid(0, 0.06, 4), decoding="published_avdeepfake1m")
    # [1, 2] · 1.5 frames → [1, 3]; [2, 4] → [3, 6]; [0, 2] → [0, 3]; [3, 4] → [4, 6].
    assert proposals.segments.tolist() == [[0.04, 0.12], [0.12, 0.24], [0, 0.12], [0.16, 0.24]]
    assert proposals.scores[:2].tolist() == [0.8765, 0.5]
    assert (proposals.scores > 0).all()


def test_maps_that_cannot_be_decoded():
    scores = np.ones((2, 3))
    with pytest.raises(AvlocError, match="3 steps cannot be decoded on a clock of 4"):
        decode_map(scores, TimeGrid(0, 1, 4))
    with pytest.raises(AvlocError, match="got 'odd'"):
        decode_map(scores, TimeGrid(0, 1, 3), decoding="odd")
    with pytest.raises(AvlocError, match="NaN"):
        decode_map(scores * np.nan, TimeGrid(0, 1, 3))
    assert len(decode_map(scores, TimeGrid(0, 1, 0))) == 0
    assert len(decode_map(scores, TimeGrid(0, 1, 1), decoding="published")) == 0
